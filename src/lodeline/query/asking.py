"""One question under way: its snapshot, its moment, its reader, and what resolves names in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lodeline.errors import AmbiguousIdentifierError, UnknownNodeError, UsageError
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
from lodeline.query.visibility import Visibility
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

    def __post_init__(self) -> None:
        if not self.authoriser.sees_all:
            self.authoriser = self.visibility

    @cached_property
    def view(self) -> View:
        """The graph at the moment."""
        return View(self.connection, self.moment, self.segment)

    @cached_property
    def groups(self) -> Groups:
        """The groups at the moment."""
        return Groups(self.view)

    @cached_property
    def visibility(self) -> Visibility:
        """What the reader sees."""
        return Visibility(self.authoriser, self.view)

    def resolve(self, text: str) -> NodeId:
        """Find the node that a text means; see `identifying.resolve`.

        A prediction is looked up in its block, by whoever asks about it. What is hidden is unknown.
        """
        if text.startswith("prediction:"):
            node = parse_identifier(text)
            return self.require(NodeId("prediction", "", node.name.lower()), text)
        try:
            return self.require(resolve(self.view, text), text)
        except UnknownNodeError as error:
            raise UnknownNodeError(text, self._visible(error.nearest)) from None
        except AmbiguousIdentifierError as error:
            candidates = self._visible(error.candidates)
            if len(candidates) > 1:
                raise AmbiguousIdentifierError(error.message, candidates) from None
            if candidates:
                return parse_identifier(candidates[0])
            raise UnknownNodeError(text) from None

    def require(self, node: NodeId, text: str) -> NodeId:
        """Give a node that the reader may see.

        Raises:
            UnknownNodeError: it is hidden, which is told as if it did not exist.
        """
        if not self.visibility.may_see(node):
            raise UnknownNodeError(text)
        return node

    def _visible(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(one for one in names if self.visibility.may_see(parse_identifier(one)))


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
