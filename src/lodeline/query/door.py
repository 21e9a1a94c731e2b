"""The one door: every question of the CLI, the SDK, HTTP and the pages passes `ask`.

It reads the parameters, takes one snapshot, finds the moment, and hands both to the verb together
with the reader's authoriser.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import Any, Final

from lodeline.errors import StoreLostError
from lodeline.limits import QUESTION_ATTEMPTS
from lodeline.query.asking import find_inquiry, open_page
from lodeline.query.collecting import collector_at_rest
from lodeline.query.concealing import conceal
from lodeline.query.erased import note_erased
from lodeline.query.parameters import (
    DiffQuestion,
    ImpactQuestion,
    PathQuestion,
    Question,
    SearchQuestion,
    ShowQuestion,
    StatsQuestion,
    TraceQuestion,
    read_question,
)
from lodeline.query.permission import OPEN, Authoriser
from lodeline.query.registry import FOREIGN_VERBS, find_verb
from lodeline.store import Segment

Answer = dict[str, Any]

# Verb -> (shape of its question, module below lodeline.query with a function of that name).
VERBS: Final[dict[str, tuple[type[Question], str]]] = {
    "trace": (TraceQuestion, "trace"),
    "path": (PathQuestion, "path"),
    "impact": (ImpactQuestion, "impact"),
    "show": (ShowQuestion, "show"),
    "search": (SearchQuestion, "search"),
    "diff": (DiffQuestion, "diff"),
    "stats": (StatsQuestion, "stats"),
}


def ask(
    segment: Segment,
    verb: str,
    parameters: Mapping[str, object],
    *,
    authoriser: Authoriser = OPEN,
    encoded: bool = False,
    every_gap: bool = False,
) -> Answer:
    """Answer one question in the contract's JSON.

    Args:
        segment: to ask.
        verb: a key of `VERBS`, or `rows` or `cohort`.
        parameters: the command's options in snake_case; text where numbers or flags are due is
            read.
        authoriser: decides what this reader may see.
        encoded: whether parts of the answer may come as JSON (`msgspec.Raw`): for who sends it on.
        every_gap: whether a closure's gaps are all told, not the first of each reason.

    Raises:
        UsageError: no such verb, or a malformed question.
        UnknownNodeError: the record does not know the node at the moment asked about.
        CouldNotTellError: the view does not hold that moment, or evidence is missing.
    """
    if verb in FOREIGN_VERBS or verb not in VERBS:
        return find_verb(verb)(segment, parameters, authoriser=authoriser)
    shape, module = VERBS[verb]
    question = read_question(shape, parameters)
    page, pinned = open_page(verb, question, dict(parameters))
    page = replace(page, encoded=encoded, every_gap=every_gap)
    answering = getattr(import_module(f"lodeline.query.{module}"), verb)

    def answer_once() -> Answer:
        with collector_at_rest(), segment.reading() as connection:
            inquiry = find_inquiry(
                segment, connection, question, pinned=pinned, authoriser=authoriser
            )
            answer: Answer = answering(inquiry, question, page)
            note_erased(inquiry, verb, answer)
            return conceal(answer, inquiry.visibility)

    # A question changes nothing: where the database went away under it, it is asked again.
    for _ in range(QUESTION_ATTEMPTS - 1):
        with suppress(StoreLostError):
            return answer_once()
    return answer_once()
