"""A snapshot for readers that page through the catalogue: the same moment, budget and authoriser.

Beside `door.ask`, which answers the verbs. What is read here passes the reader's authoriser in the
same way: whoever lists nodes asks it for every node that is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lodeline.query.asking import Inquiry, find_inquiry
from lodeline.query.collecting import collector_at_rest
from lodeline.query.parameters import Question
from lodeline.query.permission import OPEN, Authoriser
from lodeline.store import Segment


@contextmanager
def consult(
    segment: Segment, *, as_of: str | int | None = None, authoriser: Authoriser = OPEN
) -> Iterator[Inquiry]:
    """Open one snapshot at one moment.

    Args:
        segment: to read.
        as_of: a tree size, a time, or `None` for all that the view holds.
        authoriser: decides what this reader may see.

    Raises:
        UsageError: neither a size nor a time, or a size beyond the log.
        NotYetFoldedError: the log holds the position, the view does not yet.
    """
    with collector_at_rest(), segment.reading() as connection:
        question = Question(as_of=as_of)
        yield find_inquiry(segment, connection, question, pinned=None, authoriser=authoriser)
