"""Which values of an event are personal, and of whom: declared by rules, labels and schemas.

- A *rule* names places by JSON pointer, `*` standing for any member or index.
- A *label* stands in the event: a facet's own member `lodeline_personal`, pointers below the facet.
- A *schema* marks properties `"x-personal": true`; it counts for facets whose `_schemaURL` it is.

Whose a value is says the pointer `subject`; without one the value itself is the subject. What the
graph is made of (names, identifiers, times) can't be declared: identifiers carry no personal data.

Pure. Encrypting is the store's; what is found here is replaced by null before anything is hashed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from lodeline.errors import UsageError
from lodeline.limits import (
    PERSONAL_LABELS_MAX,
    PERSONAL_SCHEMA_DEPTH_MAX,
    PERSONAL_VALUES_MAX,
)
from lodeline.wire.canonical import canonical_bytes
from lodeline.wire.scanning import escape_pointer

LABEL: Final = "lodeline_personal"
# The subject of values whose rule names a subject that is not there.
UNATTRIBUTED: Final = "unattributed"

_ANY: Final = "*"
LABEL_MARK: Final = b'"lodeline_personal":'
_STRUCTURE: Final = frozenset(
    {
        "eventTime",
        "eventType",
        "producer",
        "schemaURL",
        "run",
        "job",
        "dataset",
        "inputs",
        "outputs",
    }
)
_NAMES: Final = frozenset({"runId", "namespace", "name"})
_CONTAINERS: Final = frozenset({"facets", "inputFacets", "outputFacets"})

Tokens = tuple[str, ...]


class Rule(NamedTuple):
    """One declaration.

    Attributes:
        pointer: tokens of the place; `*` is any member or index.
        subject: tokens of the subject's identifier; its wildcards are bound as the pointer's, in
            order. None: the value itself.
        schema: the rule counts below facets whose `_schemaURL` this is; empty: from the event's
            root.
    """

    pointer: Tokens
    subject: Tokens | None = None
    schema: str = ""


class PersonalValue(NamedTuple):
    """One personal value of an event.

    Attributes:
        pointer: its JSON pointer.
        value: its canonical bytes.
        subject: whose it is.
    """

    pointer: str
    value: bytes
    subject: str


class PersonalRules:
    """Rules in force, and a way to tell quickly that none can match."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = tuple(rules)
        self._rooted = [rule for rule in rules if not rule.schema]
        self._below_facets = [rule for rule in rules if rule.schema]
        # Whatever a rule matches holds one of these bytes, so most events need no second look.
        self._marks = (LABEL_MARK, *dict.fromkeys(_mark(rule) for rule in rules))

    def may_match(self, canonical: bytes) -> bool:
        """Whether an event in canonical form may hold a personal value."""
        # A loop: a generator would cost more than the search.
        for mark in self._marks:  # noqa: SIM110
            if mark in canonical:
                return True
        return False

    def find(self, event: Mapping[str, Any], *, labelled: bool = True) -> list[PersonalValue]:
        """List the personal values of an event, in order of their pointers, none within another.

        Args:
            event: parsed by `parse_with_tokens`.
            labelled: whether a facet may have a label.
        """
        found: dict[Tokens, str] = {}
        for rule in self._rooted:
            _match(event, rule, (), found)
        for place, facet in _iter_facets(event) if labelled or self._below_facets else ():
            for rule in self._below_facets:
                if facet.get("_schemaURL") == rule.schema:
                    _match(facet, rule, place, found)
            if LABEL in facet:
                for rule in _labels_of(facet[LABEL]):
                    _match(facet, rule, place, found)
        if len(found) > PERSONAL_VALUES_MAX:
            found = dict.fromkeys(map(_holder, found), UNATTRIBUTED)
        kept: list[PersonalValue] = []
        last: Tokens | None = None
        for place in sorted(found):
            if last is not None and place[: len(last)] == last:
                continue
            last = place
            value = canonical_bytes(_at(event, place), finished=True)
            kept.append(PersonalValue(_write_pointer(place), value, found[place]))
        return sorted(kept)


def redact(event: Mapping[str, Any], pointers: Sequence[str]) -> dict[str, Any]:
    """Give an event with the values at some pointers replaced by null.

    Args:
        event: parsed; left as it is.
        pointers: none within another, each of them there.
    """
    return restore(event, dict.fromkeys(pointers))


def restore(event: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Give an event with values put where its pointers say; `redact` undone."""
    copied: dict[str, Any] = dict(event)
    fresh = {id(copied)}  # Containers that are copies already; all of them stay alive within.
    for pointer, value in values.items():
        *path, last = _read_tokens(pointer)
        holder: Any = copied
        for token in path:
            key = int(token) if isinstance(holder, list) else token
            inner = holder[key]
            if id(inner) not in fresh:
                inner = dict(inner) if isinstance(inner, dict) else list(inner)
                fresh.add(id(inner))
                holder[key] = inner
            holder = inner
        holder[int(last) if isinstance(holder, list) else last] = value
    return copied


def facet_of(pointer: str) -> str:
    """Give the pointer of the facet that a place lies in, or would lie in."""
    parts = pointer.split("/")
    return "/".join(parts[: 5 if parts[1] in {"inputs", "outputs"} else 4])


def value_at(event: Mapping[str, Any], pointer: str) -> Any:
    """Give what stands at a pointer; `None` where nothing does."""
    return _at(event, _read_tokens(pointer))


_DECLARED: Final = frozenset({"rules", "schemas"})


def read_rules(table: Mapping[str, Any]) -> list[Rule]:
    """Read declarations: `{"rules": [{"pointer", "subject"}]}`.

    Raises:
        UsageError: malformed, something else, or a pointer to what the graph is made of.
    """
    unknown = sorted(table.keys() - _DECLARED)
    if unknown:
        # Passed over, a misspelt name would let into the log what should be sealed.
        raise UsageError(f"personal fields: no {unknown[0]!r}; there are `rules` and `schemas`")
    rows = table.get("rules", [])
    if not isinstance(rows, list):
        raise UsageError("personal rules: `rules` is an array of tables with `pointer`")
    rules = []
    for row in rows:
        rule = _read_rule(row)
        if rule is None:
            raise UsageError(f'personal rule {row!r}: write pointer = "/…" and subject = "/…"')
        if not _may_be_personal(rule.pointer):
            raise UsageError(
                f"personal rule {row['pointer']!r}: names, identifiers and times make the graph; "
                "declare values within facets, or members that OpenLineage does not know"
            )
        rules.append(rule)
    return rules


def rules_of_schema(schema: Mapping[str, Any]) -> list[Rule]:
    """Read the `x-personal` marks of a facet's JSON Schema.

    A property is marked `true`, or `{"subject": "/pointer"}`, below the facet.
    """
    identifier = str(schema.get("$id", ""))
    definitions = schema.get("$defs") or schema.get("definitions") or {}
    rules = [Rule(path, subject, identifier) for path, subject in _marked(schema, definitions, ())]
    for name, body in definitions.items():
        url = f"{identifier}#/$defs/{name}"
        rules += [Rule(path, subject, url) for path, subject in _marked(body, definitions, ())]
    return [rule for rule in rules if rule.pointer and identifier]


def _marked(
    schema: Any, definitions: Any, path: Tokens, depth: int = 0
) -> Iterator[tuple[Tokens, Tokens | None]]:
    if not isinstance(schema, dict) or depth > PERSONAL_SCHEMA_DEPTH_MAX:
        return
    mark = schema.get("x-personal")
    if mark:
        subject = mark.get("subject") if isinstance(mark, dict) else None
        yield path, _read_tokens(subject) if isinstance(subject, str) else None
        return
    inner: list[tuple[Tokens, Any]] = [(path, one) for one in schema.get("allOf") or ()]
    inner += [((*path, name), one) for name, one in (schema.get("properties") or {}).items()]
    inner += [((*path, _ANY), schema.get(word)) for word in ("items", "additionalProperties")]
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        inner.append((path, definitions.get(reference.rpartition("/")[2])))
    for place, one in inner:
        yield from _marked(one, definitions, place, depth + 1)


def _labels_of(labels: Any) -> list[Rule]:
    rows = labels if isinstance(labels, list) and len(labels) <= PERSONAL_LABELS_MAX else [None]
    rules = [_read_rule(row) for row in rows]
    # A label that can't be read says that something is personal: then the whole facet is.
    return [rule or Rule((), (LABEL,)) for rule in rules]


def _read_rule(row: Any) -> Rule | None:
    pointer = row.get("pointer") if isinstance(row, dict) else None
    subject = row.get("subject") if isinstance(row, dict) else None
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        return None
    if subject is not None and (not isinstance(subject, str) or not subject.startswith("/")):
        return None
    return Rule(_read_tokens(pointer), None if subject is None else _read_tokens(subject))


def _may_be_personal(tokens: Tokens) -> bool:
    first, rest = tokens[0], tokens[1:]
    if first not in _STRUCTURE:
        return first != _ANY
    if first in {"inputs", "outputs"}:
        rest = rest[1:]
    elif first not in {"run", "job", "dataset"}:
        return False
    if not rest or rest[0] in _NAMES or rest[0] == _ANY:
        return False
    return len(rest) > 1 and rest[1] != "" if rest[0] in _CONTAINERS else True


def _holder(place: Tokens) -> Tokens:
    """Give the facet, or the member that OpenLineage does not know, that a place lies in."""
    if place[0] not in _STRUCTURE:
        return place[:1]
    within = 2 if place[0] in {"inputs", "outputs"} else 1
    return place[: within + 2] if place[within] in _CONTAINERS else place[: within + 1]


def _mark(rule: Rule) -> bytes:
    if rule.schema:
        return json.dumps(rule.schema, ensure_ascii=False).encode()
    named = next((one for one in reversed(rule.pointer) if one != _ANY and not one.isdigit()), "")
    return json.dumps(named, ensure_ascii=False).encode() + b":"


def _match(root: Any, rule: Rule, place: Tokens, found: dict[Tokens, str]) -> None:
    for path, bound in _expand(root, rule.pointer, (), ()):
        value = _at(root, path)
        if value is not None:
            found.setdefault((*place, *path), _subject(root, rule.subject, bound, value))


def _expand(
    value: Any, pointer: Tokens, path: Tokens, bound: Tokens
) -> Iterator[tuple[Tokens, Tokens]]:
    for i, token in enumerate(pointer):
        if token == _ANY:
            rest = pointer[i + 1 :]
            for key, inner in _members(value).items():
                yield from _expand(inner, rest, (*path, *pointer[:i], key), (*bound, key))
            return
        value = _at(value, (token,))
        if value is None:
            return
    yield (*path, *pointer), bound


def _members(value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    return {str(i): item for i, item in enumerate(value)} if isinstance(value, list) else {}


def _subject(root: Any, subject: Tokens | None, bound: Tokens, value: Any) -> str:
    if subject is None:
        return value if isinstance(value, str) and value else UNATTRIBUTED
    keys = iter(bound)
    found = _at(root, tuple(next(keys, token) if token == _ANY else token for token in subject))
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        return UNATTRIBUTED
    return str(found)


def _at(value: Any, path: Tokens) -> Any:
    for token in path:
        if isinstance(value, list):
            value = value[int(token)] if token.isdecimal() and int(token) < len(value) else None
        else:
            value = value.get(token) if isinstance(value, dict) else None
    return value


def _iter_facets(event: Mapping[str, Any]) -> Iterator[tuple[Tokens, Mapping[str, Any]]]:
    holders: list[tuple[Tokens, Any]] = [
        ((key,), event.get(key)) for key in ("run", "job", "dataset")
    ]
    for key in ("inputs", "outputs"):
        holders += [((key, place), one) for place, one in _members(event.get(key)).items()]
    for place, holder in holders:
        for container in _CONTAINERS:
            for name, facet in _members(_members(holder).get(container)).items():
                if isinstance(facet, dict):
                    yield (*place, container, name), facet


def _read_tokens(pointer: str) -> Tokens:
    tokens = pointer.split("/")[1:]
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


def _write_pointer(tokens: Tokens) -> str:
    return "".join("/" + escape_pointer(token) for token in tokens)
