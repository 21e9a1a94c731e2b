"""The moment of a question over several segments, and cursors that are bound to all of them."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from lodeline.errors import UsageError
from lodeline.limits import ANSWER_NODES_MAX
from lodeline.query.answers import Page, question_digest
from lodeline.query.moments import Moment, read_as_of
from lodeline.query.parameters import Question


class FederatedMoment:
    """The moments of several segments.

    Args:
        moments: one a segment.
    """

    def __init__(self, moments: Sequence[Moment]) -> None:
        self._moments = moments

    @property
    def size(self) -> Any:
        """What a cursor is bound to: the tree sizes by segment."""
        return {moment.segment: moment.size for moment in self._moments}

    def to_json(self) -> dict[str, Any]:
        """Give `as_of`: the latest log time; a tree size only where there is one tree."""
        latest = max(self._moments, key=lambda moment: moment.time_us or 0).to_json()
        return latest if len(self._moments) == 1 else {**latest, "tree_size": None}

    def trees_json(self) -> list[dict[str, Any]]:
        """Give `trees`: one a segment."""
        return [tree for moment in self._moments for tree in moment.trees_json()]


def open_federated_page(
    verb: str, question: Question, parameters: Mapping[str, object], *, several: bool
) -> tuple[Page, dict[str, int] | None]:
    """Read which page is asked for, and the tree sizes that its cursor is bound to.

    Raises:
        UsageError: no cursor of ours, one of another question, or a tree size for several trees.
    """
    if several and question.as_of is not None and read_as_of(question.as_of)[0] is not None:
        raise UsageError("as_of: a tree size needs one segment; give a time")
    digest = question_digest(f"{verb} of segments", parameters)
    limit = int(getattr(question, "limit", ANSWER_NODES_MAX))
    cursor = getattr(question, "cursor", None)
    if not cursor:
        return Page(0, limit, digest), None
    try:
        offset, sizes, asked = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        pinned = {str(segment): int(size) for segment, size in sizes.items()}
        offset = int(offset)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"not a cursor: {cursor[:64]!r}") from error
    if asked != digest or offset < 0:
        raise UsageError("the cursor belongs to another question")
    return Page(offset, limit, digest), pinned
