"""Verbs that answer by themselves, by name. Each loads when first asked."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, Protocol

from lodeline.errors import UsageError
from lodeline.query.permission import OPEN, Authoriser
from lodeline.store import Segment

Answer = dict[str, Any]


class Verb(Protocol):
    """Answers one verb to one reader."""

    def __call__(
        self,
        segment: Segment,
        parameters: Mapping[str, object],
        /,
        *,
        authoriser: Authoriser = OPEN,
    ) -> Answer:
        """Answer a question."""


# Verb -> "module:function" of a `Verb`.
FOREIGN_VERBS: Final = {
    "rows": "lodeline.rows:rows",
    "cohort": "lodeline.rows:cohort",
    # Of the pages alone: they compose them with the others.
    "runs": "lodeline.query.run_list:runs",
    "predictions": "lodeline.query.prediction_list:predictions",
}

# Verb -> "module:function" of what answers it over several segments at once.
JOINED_VERBS: Final = {
    "rows": "lodeline.rows:rows_among",
    "cohort": "lodeline.rows:cohort_among",
}


class JoinedVerb(Protocol):
    """Answers one verb over several segments to one reader."""

    def __call__(
        self,
        sources: Mapping[str, Segment],
        parameters: Mapping[str, object],
        /,
        *,
        authoriser: Authoriser,
        hidden: Mapping[str, Segment],
        pinned: Mapping[str, int] | None = None,
    ) -> Answer:
        """Answer a question.

        Args:
            sources: segments that the reader may use, by name.
            parameters: of the question.
            authoriser: the reader's.
            hidden: segments that they may not use.
            pinned: tree sizes by the segments' identifiers, where the moment is given.
        """


def find_joined(name: str) -> JoinedVerb:
    """Give the function that answers a key of `JOINED_VERBS`."""
    module, _, attribute = JOINED_VERBS[name].partition(":")
    verb: JoinedVerb = getattr(import_module(module), attribute)
    return verb


def find_verb(name: str) -> Verb:
    """Give the function of a verb that another package answers.

    Raises:
        UsageError: no such verb here.
    """
    place = FOREIGN_VERBS.get(name)
    if place is None:
        raise UsageError(f"no verb {name!r}")
    module, _, attribute = place.partition(":")
    verb: Verb | None = getattr(import_module(module), attribute, None)
    if verb is None:
        raise UsageError(f"{name} is not available in this installation")
    return verb
