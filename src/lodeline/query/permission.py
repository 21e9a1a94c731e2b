"""Who may see what: the authoriser that every read passes, from the first endpoint on.

Without configured authentication there is one reader, whoever reaches the loopback address, and
`OPEN` lets them see everything. Policies are governance's; this is the place where they plug in.
"""

from __future__ import annotations

from typing import Protocol

from lodeline.model import NodeId


class Authoriser(Protocol):
    """Decides for one reader."""

    def may_see(self, node: NodeId) -> bool:
        """Whether the reader may know that the node exists."""
        ...


class _Open:
    """Everything, for everyone."""

    def may_see(self, node: NodeId) -> bool:  # noqa: ARG002  # the protocol's argument
        return True


OPEN: Authoriser = _Open()
