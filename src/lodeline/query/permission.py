"""Who may see what: the authoriser that every read passes, from the first endpoint on.

Without configured authentication there is one reader, whoever reaches the loopback address, and
`OPEN` lets them see everything. A key may confine its holder to namespaces. Policies are
governance's; this is the place where they plug in.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from functools import lru_cache
from typing import Protocol

from lodeline.model import NodeId


class Authoriser(Protocol):
    """Decides for one reader."""

    @property
    def sees_all(self) -> bool:
        """Whether nothing is hidden from the reader, so that nothing needs to be asked."""
        ...

    def may_see(self, node: NodeId) -> bool:
        """Whether the reader may know that the node exists.

        Asked of nodes that have a namespace. A run is seen by who may see its jobs, a prediction
        by who may see its deployment; `visibility` finds these.
        """
        ...


class Reader(Authoriser, Protocol):
    """An authoriser that also writes what it may not show; see `visibility`."""

    def text(self, node: NodeId) -> str:
        """Write a node: its identifier, or its stub."""
        ...

    def stub(self, node: NodeId) -> str:
        """Write the stub of a node."""
        ...

    def judge_run(self, run_id: str) -> bool | None:
        """Whether the reader may know of a run; `None` of one that is not known."""
        ...

    def look_up_runs(self, run_ids: Iterable[str]) -> None:
        """Learn at once what the reader may know of runs that are about to be asked for."""
        ...


class _Everything:
    """Everything, for everyone."""

    sees_all = True

    def may_see(self, node: NodeId) -> bool:  # noqa: ARG002  # the protocol's argument
        return True


class _Nothing:
    """Nothing, for nobody."""

    sees_all = False

    def may_see(self, node: NodeId) -> bool:  # noqa: ARG002  # the protocol's argument
        return False


OPEN: Authoriser = _Everything()
CLOSED: Authoriser = _Nothing()


class NamespacePatterns(Container[str]):
    """A set of namespaces: whole ones, and beginnings that end in `*`.

    Args:
        patterns: as `warehouse` or `s3://lake-*`; none of them mean no namespace.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = tuple(patterns)
        self.patterns = patterns
        self._whole = frozenset(one for one in patterns if not one.endswith("*"))
        self._beginnings = tuple(one[:-1] for one in patterns if one.endswith("*"))

    def __contains__(self, namespace: object) -> bool:
        return isinstance(namespace, str) and (
            namespace in self._whole or namespace.startswith(self._beginnings)
        )


class NamespaceAuthoriser:
    """Lets a reader see what lies in some namespaces; agents, who lie in none, are not hidden.

    Args:
        namespaces: that the reader may see.
    """

    sees_all = False

    def __init__(self, namespaces: NamespacePatterns) -> None:
        self._holds = lru_cache(maxsize=4096)(namespaces.__contains__)

    def may_see(self, node: NodeId) -> bool:
        """Whether the node's namespace is one of them."""
        return node.kind == "agent" or self._holds(node.namespace)
