"""Node identifiers: one text form for every entity, activity and agent of the graph.

`kind:namespace:name[#version]`. In the canonical form `%` and `#` are percent-encoded in every
part, `:` too in every part but the namespace and the version. Parsing splits at the first `#`,
then from the right, so it needs no store and any tuple round-trips.

Raw foreign identifiers (Marquez style, unencoded) have several readings; `iter_readings` lists
them, and a store decides which exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from lodeline.errors import MalformedIdentifierError

# Kinds with one part after the kind, and a null namespace.
KINDS_OF_ONE_PART: Final = frozenset({"run", "prediction"})
# Kinds with namespace and name.
KINDS_OF_TWO_PARTS: Final = frozenset({"dataset", "job", "model", "deployment", "agent"})
# Kinds with namespace, name and a last part, by the JSON key of that part.
KINDS_OF_THREE_PARTS: Final = {"datasetField": "field", "feature": "feature", "row": "key"}
KINDS: Final = KINDS_OF_ONE_PART | KINDS_OF_TWO_PARTS | KINDS_OF_THREE_PARTS.keys()

_ENCODED = re.compile(r"%(?:25|23|3A)")
_DECODE = {"%25": "%", "%23": "#", "%3A": ":"}


class NodeId(NamedTuple):
    """Identity of one node.

    A tuple, since graphs hash and compare them by the million.

    Attributes:
        kind: one of `KINDS`.
        namespace: empty string where the kind has none (`run`, `prediction`).
        name: never empty.
        part: field, feature or key of the kinds with a last part, else empty.
        version: empty where the identifier names no version.
    """

    kind: str
    namespace: str
    name: str
    part: str = ""
    version: str = ""

    def __str__(self) -> str:
        return format_identifier(self)

    def at(self, version: str) -> NodeId:
        """Give the same node at another version (`""` for none)."""
        if version == self.version:
            return self
        return NodeId(self.kind, self.namespace, self.name, self.part, version)

    @property
    def dataset(self) -> NodeId:
        """The dataset that a field or a row belongs to, without version; other kinds: itself."""
        if self.kind in KINDS_OF_THREE_PARTS:
            return NodeId("dataset", self.namespace, self.name)
        return self.at("")

    def to_json(self, text: str | None = None) -> dict[str, str | None]:
        """Give the keys that every answer carries, `id` (`text`, if that is known) among them."""
        answer: dict[str, str | None] = {
            "id": format_identifier(self) if text is None else text,
            "kind": self.kind,
            "namespace": None if self.kind in KINDS_OF_ONE_PART else self.namespace,
            "name": self.name,
            "version": self.version or None,
        }
        if self.kind in KINDS_OF_THREE_PARTS:
            answer[KINDS_OF_THREE_PARTS[self.kind]] = self.part
        return answer


def _encode(part: str) -> str:
    if ":" not in part and "%" not in part and "#" not in part:
        return part  # Nearly always, and identifiers are written by the ten thousand.
    return part.replace("%", "%25").replace("#", "%23").replace(":", "%3A")


def _encode_keeping_colons(part: str) -> str:
    if "%" not in part and "#" not in part:
        return part
    return part.replace("%", "%25").replace("#", "%23")


def _decode(text: str, *, whole: str) -> str:
    if "%" not in text:
        return text
    if text.count("%") != len(_ENCODED.findall(text)):
        raise MalformedIdentifierError(
            f"{whole!r}: '%' must be written %25 (only %25, %23 and %3A are decoded)"
        )
    return _ENCODED.sub(lambda match: _DECODE[match[0]], text)


def format_identifier(node: NodeId) -> str:
    """Write the canonical text form. `parse_identifier` is its inverse for every tuple."""
    if node.kind in KINDS_OF_ONE_PART:
        text = f"{node.kind}:{_encode(node.name)}"
    elif node.kind in KINDS_OF_TWO_PARTS:
        text = f"{node.kind}:{_encode_keeping_colons(node.namespace)}:{_encode(node.name)}"
    else:
        text = (
            f"{node.kind}:{_encode_keeping_colons(node.namespace)}"
            f":{_encode(node.name)}:{_encode(node.part)}"
        )
    return f"{text}#{_encode_keeping_colons(node.version)}" if node.version else text


def parse_identifier(text: str) -> NodeId:
    """Read the canonical text form.

    Raises:
        MalformedIdentifierError: unknown kind, missing part, empty name or version, or a `%`
            that starts none of `%25`, `%23`, `%3A`.
    """
    head, mark, version = text.partition("#")
    kind, colon, rest = head.partition(":")
    if not colon or kind not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise MalformedIdentifierError(f"{text!r}: starts with none of the kinds {known}")
    if mark and not version:
        raise MalformedIdentifierError(f"{text!r}: nothing after '#'")
    parts = _split(kind, rest)
    if parts is None or not parts[1]:
        raise MalformedIdentifierError(f"{text!r}: {_shape_of(kind)}")
    namespace, name, part = (_decode(piece, whole=text) for piece in parts)
    return NodeId(kind, namespace, name, part, _decode(version, whole=text))


def _split(kind: str, rest: str) -> tuple[str, str, str] | None:
    if kind in KINDS_OF_ONE_PART:
        return ("", rest, "") if ":" not in rest else None
    pieces = rest.rsplit(":", 1 if kind in KINDS_OF_TWO_PARTS else 2)
    if kind in KINDS_OF_TWO_PARTS:
        return (pieces[0], pieces[1], "") if len(pieces) == 2 else None
    return (pieces[0], pieces[1], pieces[2]) if len(pieces) == 3 else None


def _shape_of(kind: str) -> str:
    if kind in KINDS_OF_ONE_PART:
        return f"must look like {kind}:<id>"
    if kind in KINDS_OF_TWO_PARTS:
        return f"must look like {kind}:<namespace>:<name>[#<version>]"
    return f"must look like {kind}:<namespace>:<name>:<{KINDS_OF_THREE_PARTS[kind]}>[#<version>]"


def iter_readings(text: str) -> Iterator[NodeId]:
    """List what a raw, unencoded identifier may mean, the canonical reading first.

    The parts are taken literally, split at every choice of colons; a `#` may start a version or
    belong to the name. Bounded by the colons and hashes in the text (at most 64 of each are
    tried).
    """
    seen: set[NodeId] = set()
    try:
        canonical = parse_identifier(text)
    except MalformedIdentifierError:
        pass
    else:
        seen.add(canonical)
        yield canonical
    kind, colon, rest = text.partition(":")
    if not colon or kind not in KINDS:
        return
    hashes = [i for i, character in enumerate(rest) if character == "#"][:64]
    for cut in [None, *hashes]:
        body, version = (rest, "") if cut is None else (rest[:cut], rest[cut + 1 :])
        if cut is not None and not version:
            continue
        for node in _iter_splits(kind, body, version):
            if node not in seen:
                seen.add(node)
                yield node


def _iter_splits(kind: str, body: str, version: str) -> Iterator[NodeId]:
    if kind in KINDS_OF_ONE_PART:
        if body:
            yield NodeId(kind, "", body, "", version)
        return
    colons = [i for i, character in enumerate(body) if character == ":"][-64:]
    for i in reversed(colons):
        if kind in KINDS_OF_TWO_PARTS:
            if body[i + 1 :]:
                yield NodeId(kind, body[:i], body[i + 1 :], "", version)
            continue
        for j in reversed([k for k in colons if k < i]):
            if body[j + 1 : i]:
                yield NodeId(kind, body[:j], body[j + 1 : i], body[i + 1 :], version)
