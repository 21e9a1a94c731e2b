"""Several segments in one service: which rule sends what where, and who may use which.

The store that the service is started with is the segment `default`: it keeps the keys, and takes
whatever no rule sends elsewhere. Rules stand in the configuration file, the first that matches
wins. An event lies in exactly one segment, by the namespace of its job; an event about a dataset
alone, by the dataset's. Namespaces are all that a rule looks at: tags come with some events of a
run and not with others, and a run must not be torn apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from lodeline.errors import UnknownSegmentError, UsageError
from lodeline.limits import SEGMENTS_MAX
from lodeline.model import NodeId
from lodeline.query.permission import Authoriser, NamespacePatterns
from lodeline.server.endpoints import Caller
from lodeline.settings import store_url
from lodeline.store import SqlSegment
from lodeline.wire import find_namespace

DEFAULT_SEGMENT: Final = "default"


class SegmentRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One segment of the configuration.

    Attributes:
        name: of the segment, in keys and answers.
        store: URL of its store; made when missing.
        namespaces: that it takes: whole ones, or beginnings that end in `*`.
        domain: whose it is, for people.
        sensitivity: how sensitive, for people.
    """

    name: str
    store: str
    namespaces: list[str]
    domain: str = ""
    sensitivity: str = ""


def read_segments(table: object) -> list[SegmentRule]:
    """Read `[[segments]]` of the configuration file.

    Raises:
        UsageError: something in it makes no sense.
    """
    if table is None:
        return []
    try:
        rules = msgspec.convert(table, list[SegmentRule])
    except msgspec.ValidationError as error:
        raise UsageError(f"segments: {error}") from error
    if len(rules) >= SEGMENTS_MAX:
        raise UsageError(f"segments: at most {SEGMENTS_MAX - 1} beside the default one")
    for name in (rule.name for rule in rules):
        if name == DEFAULT_SEGMENT or not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", name):
            raise UsageError(f"segments: {name[:80]!r} is no name for one (a-z, 0-9, _ . -)")
    for what in ("name", "store"):
        values = [getattr(rule, what) for rule in rules]
        if len(set(values)) != len(values):
            raise UsageError(f"segments: two have the same {what}")
    for rule in rules:
        if not rule.namespaces or any(not one or "*" in one[:-1] for one in rule.namespaces):
            raise UsageError(f"segments: {rule.name} needs namespaces, with * at the end alone")
    return rules


def segment_stores(store: str, table: object) -> dict[str, str]:
    """Give the URLs of the segments' stores by name, the default one's first.

    Args:
        store: URL of the default segment's.
        table: `segments` of the configuration file.

    Raises:
        UsageError: the table makes no sense, or two have the same store.
    """
    stores = {DEFAULT_SEGMENT: store}
    stores |= {rule.name: store_url(rule.store) for rule in read_segments(table)}
    if len(set(stores.values())) != len(stores):
        raise UsageError("segments: two have the same store")
    return stores


class Router:
    """Tells of namespaces and events to which segment they belong.

    Args:
        rules: in the order in which they are tried.
    """

    def __init__(self, rules: Sequence[SegmentRule] = ()) -> None:
        self._rules = [(rule.name, NamespacePatterns(rule.namespaces)) for rule in rules]

    def of_namespace(self, namespace: str) -> str:
        """Give the segment of a namespace."""
        for name, patterns in self._rules:
            if namespace in patterns:
                return name
        return DEFAULT_SEGMENT

    def of_event(self, raw: bytes) -> str:
        """Give the segment of an event; what cannot be read is the default one's to refuse."""
        if not self._rules:
            return DEFAULT_SEGMENT
        namespace = find_namespace(raw)
        return DEFAULT_SEGMENT if namespace is None else self.of_namespace(namespace)

    def rules_out(self, segments: frozenset[str], node: NodeId) -> bool:
        """Whether a rule sends a node's namespace to a segment that is none of these."""
        name = self.of_namespace(node.namespace)
        return name != DEFAULT_SEGMENT and name not in segments


class SegmentAuthoriser:
    """Hides nodes of namespaces that belong to segments which the reader may not use.

    Args:
        router: tells whose they are.
        segments: that the reader may use.
        within: what the reader may see in these.
    """

    sees_all = False

    def __init__(self, router: Router, segments: frozenset[str], within: Authoriser) -> None:
        self._router = router
        self._segments = segments
        self._within = within

    def may_see(self, node: NodeId) -> bool:
        """Whether the reader may know that the node exists."""
        return not self._router.rules_out(self._segments, node) and self._within.may_see(node)


@dataclass(frozen=True, slots=True)
class Segments:
    """The segments of one service, by name; `default` is among them.

    Attributes:
        by_name: all of them, `default` first.
        router: sends events to them.
    """

    by_name: Mapping[str, SqlSegment]
    router: Router

    def of_caller(self, caller: Caller) -> tuple[dict[str, SqlSegment], dict[str, SqlSegment]]:
        """Give those that a caller may use, and the others."""
        allowed = {name: one for name, one in self.by_name.items() if may_use(caller, name)}
        return allowed, {k: one for k, one in self.by_name.items() if k not in allowed}

    def of_question(
        self, caller: Caller, parameters: Mapping[str, object]
    ) -> tuple[dict[str, SqlSegment], dict[str, SqlSegment], dict[str, object]]:
        """Give the segments that a question asks, the others, and its parameters without them.

        Raises:
            UnknownSegmentError: it names one that is not there, or not for this caller.
        """
        allowed, hidden = self.of_caller(caller)
        rest = {name: value for name, value in parameters.items() if name != "segment"}
        name = parameters.get("segment")
        if name is None:
            return allowed, hidden, rest
        if name not in allowed:
            raise UnknownSegmentError(str(name)[:80], tuple(allowed))
        # The others are not asked, but that data flows on there is told all the same.
        others = {other: one for other, one in self.by_name.items() if other != name}
        return {str(name): allowed[str(name)]}, others, rest

    def authoriser(self, caller: Caller) -> Authoriser:
        """Give what a caller may see."""
        if caller.segments is None or len(self.by_name) == 1:
            return caller.authoriser
        return SegmentAuthoriser(self.router, caller.segments, caller.authoriser)


def may_use(caller: Caller, segment: str) -> bool:
    """Whether a caller may use a segment at all."""
    return caller.segments is None or segment in caller.segments
