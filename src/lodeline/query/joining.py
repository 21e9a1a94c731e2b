"""What several segments are to one question: one reader, and names that any of them knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from lodeline.errors import LodelineError, UnknownNodeError
from lodeline.model import NodeId
from lodeline.query.asking import Inquiry
from lodeline.query.permission import Authoriser

# No namespace of a node begins with it: nodes of segments that the caller may not use.
ELSEWHERE: Final = "\0"


class JoinedReader:
    """The reader of an answer over segments: a run is seen in the segment that knows it.

    Args:
        inquiries: one a segment, at least one.
        authoriser: the caller's.
        whole: whether no segment is hidden from them.
    """

    def __init__(
        self, inquiries: Sequence[Inquiry], authoriser: Authoriser, *, whole: bool
    ) -> None:
        self._visibilities = [inquiry.visibility for inquiry in inquiries]
        self.sees_all = authoriser.sees_all and whole

    def may_see(self, node: NodeId) -> bool:
        """Whether the reader may know that the node exists."""
        if node.namespace.startswith(ELSEWHERE):
            return False
        if node.kind == "run" and not self._visibilities[0].sees_all:
            return self.judge_run(node.name) is True
        if node.kind == "prediction" and not self._visibilities[0].sees_all:
            return any(one.may_see(node) for one in self._visibilities)
        return self._visibilities[0].may_see(node)

    def judge_run(self, run_id: str) -> bool | None:
        """Whether the reader may know of a run: wherever it is known, they may."""
        told = {one.judge_run(run_id) for one in self._visibilities}
        return False if False in told else True if True in told else None

    def look_up_runs(self, run_ids: Iterable[str]) -> None:
        """Judge many runs at once."""
        wanted = list(run_ids)
        for one in self._visibilities:
            one.look_up_runs(wanted)

    def text(self, node: NodeId) -> str:
        """Write a node: its identifier, or its stub."""
        return str(node) if self.may_see(node) else self.stub(node)

    def stub(self, node: NodeId) -> str:
        """Write the stub of a node."""
        return self._visibilities[0].stub(node)


def resolve_among(
    inquiries: Sequence[Inquiry],
    text: str,
    find: Callable[[Inquiry, str], NodeId] = Inquiry.resolve,
) -> NodeId:
    """Find the node that a text means, in whichever segment knows it.

    Args:
        inquiries: one a segment.
        text: as asked.
        find: finds it in one.

    Raises:
        UnknownNodeError: none does.
    """
    found: list[NodeId] = []
    errors: list[LodelineError] = []
    for inquiry in inquiries:
        try:
            found.append(find(inquiry, text))
        except LodelineError as error:
            errors.append(error)
    if found:
        # Names are each segment's own; where they differ, the one that was asked for counts.
        return next((one for one in found if str(one) == text), min(found))
    for other in errors:
        if not isinstance(other, UnknownNodeError):
            raise other
    if len(errors) == 1:
        raise errors[0]
    nearest = [one for other in errors for one in getattr(other, "nearest", ())]
    raise UnknownNodeError(text, tuple(dict.fromkeys(nearest))[:3])
