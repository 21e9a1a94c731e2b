"""One question under way: its snapshot, its moment, its reader, and what resolves names in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lodeline.errors import UsageError
from lodeline.limits import ANSWER_NODES_MAX
from lodeline.model import NodeId, parse_identifier
from lodeline.query.answers import Page, question_digest, read_cursor
from lodeline.query.bounds import Budget
from lodeline.query.groups import Groups
from lodeline.query.identifying import resolve
from lodeline.query.moments import Moment, find_moment
from lodeline.query.parameters import Question
from lodeline.query.permission import OPEN, Authoriser
from lodeline.query.view import View
from lodeline.store import Segment
from lodeline.store.connections import Connection


@dataclass
class Inquiry:
    """What every verb works with.

    Attributes:
        segment: asked.
        connection: one snapshot of it.
        moment: position and event time.
        authoriser: the reader's.
        budget: bounds of this question.
    """

    segment: Segment
    connection: Connection
    moment: Moment
    authoriser: Authoriser = OPEN
    budget: Budget = field(default_factory=Budget)

    @cached_property
    def view(self) -> View:
        """The graph at the moment."""
        return View(self.connection, self.moment, self.segment)

    @cached_property
    def groups(self) -> Groups:
        """The groups at the moment."""
        return Groups(self.view)

    def resolve(self, text: str) -> NodeId:
        """Find the node that a text means; see `identifying.resolve`.

        A prediction is looked up in its block, by whoever asks about it.
        """
        if text.startswith("prediction:"):
            node = parse_identifier(text)
            return NodeId("prediction", "", node.name.lower())
        return resolve(self.view, text)


def open_page(verb: str, question: Question, parameters: dict[str, Any]) -> tuple[Page, int | None]:
    """Read which page is asked for.

    Returns:
        The page, and the tree size that its cursor is bound to (`None` for a first page).

    Raises:
        UsageError: no cursor of ours, or one of another question.
    """
    digest = question_digest(verb, parameters)
    limit = int(getattr(question, "limit", ANSWER_NODES_MAX))
    cursor = getattr(question, "cursor", None)
    if not cursor:
        return Page(0, limit, digest), None
    offset, size, asked = read_cursor(cursor)
    if asked != digest:
        raise UsageError("the cursor belongs to another question")
    return Page(offset, limit, digest), size


def find_inquiry(
    segment: Segment,
    connection: Connection,
    question: Question,
    *,
    pinned: int | None,
    authoriser: Authoriser,
) -> Inquiry:
    """Find the moment of a question and open it.

    Args:
        segment: asked.
        connection: one snapshot of it.
        question: with its two times.
        pinned: the tree size that a cursor is bound to.
        authoriser: the reader's.
    """
    as_of = question.as_of if pinned is None else pinned
    moment = find_moment(segment, connection, as_of=as_of, valid_at=question.valid_at)
    return Inquiry(segment, connection, moment, authoriser)
