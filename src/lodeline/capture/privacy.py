"""Which values and names of columns may leave the process: the table `[privacy]`.

Rules go by the dataset, deployment or model that a column belongs to, and by the column's name,
both as globs. What a rule withholds is replaced before it reaches a journal or the spool, so no
disk, network or store sees it:

- `deny`, and whatever an `allow` list does not name: the value becomes `[withheld]`;
- `hash`: a keyed digest (HMAC-SHA-256), the same for the same value wherever it is met;
- `encrypt`: AES-256-GCM, which `lodeline open` opens with the same key;
- `hide`: no value, and no name either; that a name is missing is said as a gap.

A `lodeline run` parent reads the table once and hands it down. A table that cannot be understood
turns capture off: nothing is recorded under rules that nobody could read.

Left out: names of datasets, jobs and files, which are what the graph is made of.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lodeline.credentials import MARK, is_secret_name

if TYPE_CHECKING:
    from pathlib import Path

    from lodeline.errors import UsageError

# What only rules need is imported where it is needed: observed programs mostly have none, and
# start with the rest.
WITHHELD: Final = "[withheld]"
RULES: Final = "LODELINE_PRIVACY_RULES"
_SEALED: Final = "lodeline:aes256gcm:"
_HASHED: Final = "hmac-sha256:"
# Where several rules speak of a column, the one that gives least away counts.
_STRENGTH: Final = ("hide", "deny", "encrypt", "hash")
_MEMBERS: Final = frozenset({"dataset", "allow", *_STRENGTH})
# Members of facets whose keys, or whose elements, are columns.
_KEYED: Final = frozenset({"fields", "columnMetrics", "columns"})
_LISTED: Final = _KEYED | {
    "features", "entityKeys", "assertions", "logicalSchema", "inputFields", "keys", "dataset",
}  # fmt: skip
_VALUE_FACETS: Final = frozenset({"columnMetrics"})


class Rule(NamedTuple):
    """What one entry of `columns` says. All patterns are globs."""

    dataset: str = "*"
    allow: tuple[str, ...] | None = None
    hide: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    encrypt: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()

    def action(self, column: str) -> str:
        """One of `_STRENGTH`, or `keep`."""
        for name in _STRENGTH:
            if any(fnmatchcase(column, pattern) for pattern in getattr(self, name)):
                return name
        listed = self.allow is None or any(fnmatchcase(column, one) for one in self.allow)
        return "keep" if listed else "deny"


# Types of values that hold no text, and nothing inside.
_HARMLESS: Final = frozenset({int, float, bool, type(None)})


class Privacy:
    """The rules of this process.

    Args:
        rules: of columns.
        parameters: names of parameters, metrics and seeds whose values are withheld.
        variables: environment variables that are recorded beside the built-in list.
        key: where the key lies: `file:PATH` or `env:NAME`.
    """

    # No dataclass: what makes one takes longer to load than all else that a program without rules
    # needs of this.
    __slots__ = ("_actions", "key", "parameters", "rules", "variables")

    def __init__(
        self,
        rules: tuple[Rule, ...] = (),
        parameters: tuple[str, ...] = (),
        variables: tuple[str, ...] = (),
        key: str = "",
    ) -> None:
        self.rules = rules
        self.parameters = parameters
        self.variables = variables
        self.key = key
        self._actions: dict[tuple[str, str], str] = {}

    def _said(self) -> tuple[object, ...]:
        return self.rules, self.parameters, self.variables, self.key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Privacy) and self._said() == other._said()

    def __hash__(self) -> int:
        return hash(self._said())

    @property
    def hides(self) -> bool:
        """Whether names of columns are hidden at all."""
        return any(rule.hide for rule in self.rules)

    def hides_of(self, owner: str) -> bool:
        """Whether some columns of this dataset may not be named."""
        return any(rule.hide and fnmatchcase(owner, rule.dataset) for rule in self.rules)

    def covers(self, owner: str) -> bool:
        """Whether a rule speaks of this dataset, deployment or model (`namespace:name`)."""
        return any(fnmatchcase(owner, rule.dataset) for rule in self.rules)

    def action(self, owner: str, column: str) -> str:
        """What happens to a column: `keep`, `hash`, `encrypt`, `deny` or `hide`."""
        found = self._actions.get((owner, column))
        if found is None:
            said = {r.action(column) for r in self.rules if fnmatchcase(owner, r.dataset)}
            found = next((name for name in _STRENGTH if name in said), "keep")
            if len(self._actions) < 10_000:
                self._actions[owner, column] = found
        return found

    # Values

    def conceal(self, owner: str, values: Any, notes: list[str], *, column: str = "") -> Any:
        """Give values as they may be recorded.

        Args:
            owner: `namespace:name` of what they belong to.
            values: plain JSON; members of mappings are columns, at any depth.
            notes: gets what was withheld, in words.
            column: the name that values without names go by.
        """
        if not self.rules:
            return _without_secrets(values)
        if isinstance(values, Mapping):
            members = (self._member(owner, str(k), v, notes) for k, v in values.items())
            return {name: value for name, value in members if name}
        if isinstance(values, list) and any(isinstance(one, Mapping | list) for one in values):
            return [self.conceal(owner, one, notes, column=column) for one in values]
        if not self.covers(owner):
            return values
        if not column:
            _note(notes, "values without names of columns are withheld")
            return WITHHELD
        return self._value(self.action(owner, column), column, values, notes)

    def _member(self, owner: str, name: str, value: Any, notes: list[str]) -> tuple[str, Any]:
        action = self.action(owner, name)
        if action == "hide":
            _note(notes, "the names of some columns are withheld")
            return "", None
        if isinstance(value, str) and is_secret_name(name):
            return name, MARK
        if action != "keep":
            return name, self._value(action, name, value, notes)
        if isinstance(value, Mapping) or (
            isinstance(value, list) and any(isinstance(one, Mapping) for one in value)
        ):
            return name, self.conceal(owner, value, notes, column=name)
        return name, value

    def _value(self, action: str, name: str, value: Any, notes: list[str]) -> Any:
        if action == "keep":
            return value
        if action == "hash":
            import hashlib
            import hmac

            return _HASHED + hmac.new(self._part("hash"), _text(value), hashlib.sha256).hexdigest()
        if action == "encrypt":
            return self._seal(value)
        _note(notes, f"values of {name} are withheld")
        return WITHHELD

    def _seal(self, value: Any) -> str:
        import base64

        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = self._part("encrypt")
        mark = _key_mark(key)
        nonce = os.urandom(12)
        sealed = nonce + AESGCM(key).encrypt(nonce, _text(value), mark.encode())
        return f"{_SEALED}{mark}:{base64.urlsafe_b64encode(sealed).decode()}"

    def _part(self, purpose: str) -> bytes:
        if not self.key:
            raise _refusal("privacy: hash and encrypt need a key; set `key` in `[privacy]`")
        return _derive(read_key(self.key), purpose)

    def parameter(self, name: str, value: Any) -> Any:
        """Give a parameter's value as it may be recorded."""
        if any(fnmatchcase(name, pattern) for pattern in self.parameters):
            return WITHHELD
        return value

    # Names

    def conceal_facets(self, owner: str, facets: Any) -> Any:
        """Give facets without hidden columns, and without figures of columns with rules."""
        if not self.rules or facets is None:
            return facets
        return self._walk(owner, "", facets)

    def _walk(self, owner: str, place: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            kept: dict[str, Any] = {}
            for key, member in value.items():
                action = self.action(owner, str(key)) if place in _KEYED else "keep"
                if action == "hide" or (action != "keep" and place in _VALUE_FACETS):
                    continue
                # A column's own entry holds no further columns of the same dataset by key.
                kept[key] = self._walk(owner, "" if place in _KEYED else str(key), member)
            return kept
        if isinstance(value, list | tuple):
            if place not in _LISTED:
                return [self._walk(owner, "", one) for one in value]
            shown = [one for one in value if not self._is_hidden(owner, one)]
            return [self._walk(owner, "", one) for one in shown]
        return value

    def _is_hidden(self, owner: str, entry: Any) -> bool:
        if isinstance(entry, Mapping):
            column = entry.get("field") or entry.get("column") or entry.get("name")
            if "field" in entry and "namespace" in entry and "name" in entry:
                owner = f"{entry['namespace']}:{entry['name']}"
        else:
            column = entry
        return isinstance(column, str) and self.action(owner, column) == "hide"

    def is_hidden(self, owner: str, column: str) -> bool:
        """Whether a column's name may not be recorded."""
        return bool(self.rules) and self.action(owner, column) == "hide"

    def conceal_words(self, text: str) -> str:
        """Take hidden names out of a text that may quote SQL or code."""
        if not self.hides:
            return text
        patterns = [pattern for rule in self.rules for pattern in rule.hide]
        words = _split_words(text)
        return "".join(
            WITHHELD if any(fnmatchcase(word, one) for one in patterns) and word.strip() else word
            for word in words
        )

    # Handing down

    def to_text(self) -> str:
        """JSON for the processes below; empty for no rules."""
        if not any(self._said()):
            return ""
        import json

        columns = [
            {name: said for name in sorted(_MEMBERS) if (said := getattr(rule, name))}
            | ({} if rule.allow is None else {"allow": rule.allow})
            for rule in self.rules
        ]
        return json.dumps(
            {"columns": columns, "parameters": self.parameters, "variables": self.variables,
             "key": self.key}
        )  # fmt: skip


def _without_secrets(values: Any) -> Any:
    """Values of secret names become marks. What holds none, as most predictions, stays as it is."""
    kind = type(values)
    if kind in _HARMLESS or kind is str:
        return values
    if isinstance(values, Mapping):
        changed = {}
        for name, value in values.items():
            held = type(value)
            if held in _HARMLESS:
                continue
            if held is str:
                if is_secret_name(name if type(name) is str else str(name)):
                    changed[name] = MARK
            elif (shown := _without_secrets(value)) is not value:
                changed[name] = shown
        return {**values, **changed} if changed else values
    if isinstance(values, list):
        shown_all = [_without_secrets(one) for one in values]
        same = all(one is other for one, other in zip(shown_all, values, strict=True))
        return values if same else shown_all
    return values


NOTHING: Final = Privacy()


def parse_privacy(table: Mapping[str, Any], *, folder: Path | None = None) -> Privacy:
    """Read the table `[privacy]`.

    Args:
        table: as TOML gives it.
        folder: where a relative path of the key starts.

    Raises:
        UsageError: it holds what is not known here, or a pattern is no text.
    """
    unknown = table.keys() - {"columns", "parameters", "variables", "key"}
    if unknown:
        raise _refusal(f"privacy: unknown members {', '.join(sorted(unknown))}")
    entries = table.get("columns", [])
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise _refusal("privacy.columns: write [[privacy.columns]] for each rule")
    rules = tuple(_parse_rule(entry) for entry in entries)
    key = table.get("key", "")
    if not isinstance(key, str) or (key and not key.startswith(("file:", "env:"))):
        raise _refusal("privacy.key: write file:PATH or env:NAME")
    if key.startswith("file:") and folder is not None:
        key = f"file:{folder / key.removeprefix('file:')}"
    if not key and any(rule.hash or rule.encrypt for rule in rules):
        raise _refusal("privacy: hash and encrypt need a key; set `key` in `[privacy]`")
    return Privacy(
        rules,
        _patterns(table.get("parameters", ()), "parameters"),
        _patterns(table.get("variables", ()), "variables"),
        key,
    )


def _parse_rule(entry: Any) -> Rule:
    if not isinstance(entry, Mapping) or entry.keys() - _MEMBERS:
        raise _refusal(f"privacy.columns: a rule has {', '.join(sorted(_MEMBERS))}")
    dataset = entry.get("dataset", "*")
    if not isinstance(dataset, str):
        raise _refusal("privacy.columns: dataset is a pattern of namespace:name")
    allow = None if "allow" not in entry else _patterns(entry["allow"], "allow")
    listed = {name: _patterns(entry.get(name, ()), name) for name in _STRENGTH}
    return Rule(dataset, allow, **listed)


def _patterns(value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _refusal(f"privacy: {name} is a list of patterns")
    if not all(isinstance(one, str) for one in value):
        raise _refusal(f"privacy: {name} is a list of patterns")
    return tuple(value)


def _refusal(text: str) -> UsageError:
    from lodeline.errors import UsageError

    return UsageError(text)


def current() -> Privacy:
    """The rules of this process: handed down, else of the settings here.

    Raises:
        UsageError: they cannot be read. Then nothing may be recorded.
    """
    return _current(os.environ.get(RULES), os.getcwd() if RULES not in os.environ else "")


@lru_cache(maxsize=4)
def _current(handed: str | None, folder: str) -> Privacy:
    del folder
    if handed:
        import json

        return parse_privacy(json.loads(handed))
    if handed is not None:
        return NOTHING
    from lodeline.settings import privacy_table

    found = privacy_table()
    return NOTHING if found is None else parse_privacy(found[1], folder=found[0])


def hand_down() -> Privacy:
    """Read the rules and put them where the processes below this one find them."""
    found = current()
    os.environ[RULES] = found.to_text()
    return found


# Keys


@lru_cache(maxsize=4)
def read_key(place: str) -> bytes:
    """Read a key of at least 16 bytes: text, hexadecimal or not, or raw.

    Args:
        place: `file:PATH` or `env:NAME`.

    Raises:
        UsageError: there is none.
    """
    from pathlib import Path

    scheme, _, name = place.partition(":")
    try:
        data = os.environ[name].encode() if scheme == "env" else Path(name).read_bytes()
    except (KeyError, OSError) as error:
        raise _refusal(f"the privacy key {place} cannot be read") from error
    data = data.strip()
    if len(data) < 16:
        raise _refusal(f"the privacy key {place} is shorter than 16 bytes")
    return data


def _derive(key: bytes, purpose: str) -> bytes:
    import hashlib
    import hmac

    return hmac.new(key, f"lodeline privacy {purpose}".encode(), hashlib.sha256).digest()


def _key_mark(key: bytes) -> str:
    import hashlib

    return hashlib.sha256(b"lodeline key mark" + key).hexdigest()[:12]


def open_values(value: Any, key: bytes, problems: list[str]) -> Any:
    """Open every sealed value in a JSON answer.

    Args:
        value: plain JSON.
        key: as `read_key` gives it.
        problems: gets a line for each that another key sealed, or that was changed.
    """
    if isinstance(value, Mapping):
        return {name: open_values(member, key, problems) for name, member in value.items()}
    if isinstance(value, list):
        return [open_values(member, key, problems) for member in value]
    if not isinstance(value, str) or not value.startswith(_SEALED):
        return value
    import base64
    import binascii
    import json

    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    mark, _, text = value.removeprefix(_SEALED).partition(":")
    own = _derive(key, "encrypt")
    try:
        sealed = base64.urlsafe_b64decode(text)
        return json.loads(AESGCM(own).decrypt(sealed[:12], sealed[12:], mark.encode()))
    except (InvalidTag, ValueError, binascii.Error):
        other = mark != _key_mark(own)
        problems.append(f"sealed with another key ({mark})" if other else "changed since sealed")
        return value


def _text(value: Any) -> bytes:
    import json

    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def _note(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)


def _split_words(text: str) -> Iterator[str]:
    import re

    return iter(re.split(r"(\W+)", text))
