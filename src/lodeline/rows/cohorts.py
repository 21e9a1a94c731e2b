"""The question `cohort`: the population of a decision, or everything that a row reached."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Annotated, Any

import msgspec

from lodeline.errors import MissingLinksError, NoCohortError, UnknownNodeError, UsageError
from lodeline.ingest.predictions import (
    PredictionBlock,
    count_predictions,
    iter_blocks,
    iter_predictions,
)
from lodeline.limits import COHORT_RECORDS_MAX
from lodeline.model import NodeId, parse_time
from lodeline.query.answers import Gap, Page
from lodeline.query.asking import Inquiry
from lodeline.query.concealing import conceal
from lodeline.query.parameters import GraphQuestion, read_question
from lodeline.query.permission import OPEN, Authoriser
from lodeline.query.predictions import expiry_gaps, sampling_gap
from lodeline.query.trace import walk
from lodeline.query.visibility import hidden_gap
from lodeline.rows.composition import Composition, FollowedStep
from lodeline.rows.questions import Asked, Asking, RowsQuestion, open_question
from lodeline.rows.values import select_records
from lodeline.store import Segment

Answer = dict[str, Any]
# Of each segment, the blocks of predictions that count.
_Blocks = list[tuple[Inquiry, list[PredictionBlock]]]


class CohortQuestion(RowsQuestion, frozen=True, kw_only=True):
    """Who was decided about, or learnt from, like this?"""

    since: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    until: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    predictions: bool = False

    def period_us(self) -> tuple[int | None, int | None]:
        """Give the period asked about, in microseconds.

        Raises:
            UsageError: not a time.
        """
        try:
            since, until = (
                None if text is None else parse_time(text)[0] for text in (self.since, self.until)
            )
        except ValueError as error:
            raise UsageError(f"since, until: {error}") from error
        return since, until

    @property
    def narrows(self) -> bool:
        """Whether records have to be looked at, one by one."""
        return any((self.since, self.until, self.where, self.predictions))


def cohort(
    segment: Segment, parameters: Mapping[str, object], *, authoriser: Authoriser = OPEN
) -> Answer:
    """Answer `cohort`.

    Of a prediction or a model: the rows that the model was fitted on, with `predictions` among the
    counts, how many the same deployment made with the same version of the model; asked for
    `predictions`, those themselves. `since`, `until` and `where` narrow the predictions. Of a row:
    every row, model, deployment and prediction that it reached.

    Raises:
        UsageError: a malformed question.
        UnknownNodeError: not in the record.
        CouldNotTellError: the optional packages are missing, or the model is not known.
    """
    return cohort_among({"": segment}, parameters, authoriser=authoriser)


def cohort_among(
    sources: Mapping[str, Segment],
    parameters: Mapping[str, object],
    *,
    authoriser: Authoriser,
    hidden: Mapping[str, Segment] | None = None,
    pinned: Mapping[str, int] | None = None,
) -> Answer:
    """Answer `cohort` over several segments: what was learnt and what was decided, wherever."""
    question = read_question(CohortQuestion, parameters)
    asked = Asked("cohort", question, parameters, authoriser, pinned)
    with open_question(asked, sources, hidden or {}) as (asking, page):
        if question.id.startswith("row:"):
            return _reached(asking, question, page)
        return _population(asking, question, page)


# Of a row


def _reached(asking: Asking, question: CohortQuestion, page: Page) -> Answer:
    root, starts, gaps = asking.find_roots(question.id, None, back=False)
    found = asking.composer.walk(starts, back=False)
    for gap in gaps:
        found.add_gap(gap)
    asking.note_hidden([root, *found.rows], found, back=False)
    asking.add_predictions(found)
    made = _add_deployments(asking, found)
    answer = asking.write(root, "forward", found, set(starts), page)
    answer["counts"] |= made
    return answer


def _add_deployments(asking: Asking, found: Composition) -> dict[str, int]:
    """Add the deployments of the models that learnt from the row; count what they predicted."""
    models = [node for node in found.rows if node.kind == "model"]
    count = 0
    served: set[NodeId] = set()
    below = GraphQuestion(depth=1)
    for inquiry in asking.inquiries:
        served |= {
            block.deployment
            for block in iter_blocks(inquiry.segment, size=inquiry.moment.size)
            if block.model in models
        }
        for model in models:
            graph, _ = walk(inquiry, model, below, direction="down", versions=True)
            served.update(graph.nodes_of({"deployment"}))
    depth = 1 + max(found.depths.values(), default=0)
    for deployment in sorted(served):
        if asking.may_see(deployment):
            found.rows.setdefault(deployment, None)
            found.depths.setdefault(deployment, depth)
            count += sum(
                count_predictions(one.segment, deployment, size=one.moment.size)
                for one in asking.inquiries
            )
    return {"predictions": count} if models else {}


# Of a decision


def _population(asking: Asking, question: CohortQuestion, page: Page) -> Answer:
    root = asking.resolve(question.id)
    deployment: NodeId | None = None
    model = root
    if root.kind == "prediction":
        block = asking.find_prediction(root).block
        if block is None or block.model is None:
            raise NoCohortError(str(root))
        if not asking.may_see(block.model):
            raise UnknownNodeError(question.id)
        model = block.model
        deployment = block.deployment
    elif root.kind != "model":
        raise UsageError("cohort: a prediction, a model or a row")
    if not model.version:
        model = asking.at_version(model)
    blocks = [
        (
            inquiry,
            [
                block
                for block in iter_blocks(inquiry.segment, deployment, size=inquiry.moment.size)
                if block.model in {model, model.at("")} and asking.may_see(block.deployment)
            ],
        )
        for inquiry in asking.inquiries
    ]
    if question.predictions:
        return _list_predictions(asking, root, question, blocks, page)
    found = _fitted(asking, model)
    asking.note_hidden(found.rows, found, back=True)
    counts = _count(asking, question, blocks, found)
    answer = asking.write(root, "back", found, set(), page)
    answer["counts"] |= counts
    return answer


def _fitted(asking: Asking, model: NodeId) -> Composition:
    """Find the rows that a model was fitted on."""
    found = Composition()
    import numpy as np

    for step in asking.index.into(model):
        if not step.learned:
            continue
        if not asking.may_see(step.input):
            found.steps[step.content] = FollowedStep(step)
            found.add_gap(hidden_gap(model))
            continue
        try:
            fitted = asking.links.back(step, None)
        except MissingLinksError as error:
            found.steps[step.content] = FollowedStep(step)
            found.add_gap(Gap(str(model), error.reason, str(error)))
            continue
        known = found.rows.get(step.input)
        found.rows[step.input] = fitted if known is None else np.union1d(known, fitted)
        found.depths[step.input] = 1
        found.steps[step.content] = FollowedStep(step, 1, len(fitted))
    if not found.rows and not found.gaps:
        found.add_gap(Gap(str(model), "capture", "the rows that it was fitted on"))
    return found


def _count(
    asking: Asking, question: CohortQuestion, blocks: _Blocks, found: Composition
) -> dict[str, int]:
    _note_kept_out(blocks, found)
    if question.narrows:
        records, gaps = _records(asking, question, blocks)
        for gap in gaps:
            found.add_gap(gap)
        return {"predictions": len(records)}
    total = sum(
        count_predictions(inquiry.segment, deployment, size=inquiry.moment.size, blocks=some)
        for inquiry, some in blocks
        for deployment in {block.deployment for block in some}
    )
    return {"predictions": total} if any(some for _, some in blocks) else {}


def _note_kept_out(blocks: _Blocks, found: Composition) -> None:
    """Tell of predictions that only summaries stand for, and of those that retention let go."""
    for inquiry, some in blocks:
        segment, size = inquiry.segment, inquiry.moment.size
        expired = expiry_gaps(segment, size=size)
        for deployment in sorted({block.deployment for block in some}):
            for gap in (sampling_gap(segment, deployment, size=size), expired.get(deployment)):
                if gap is not None:
                    found.add_gap(gap)


def _list_predictions(
    asking: Asking,
    root: NodeId,
    question: CohortQuestion,
    blocks: _Blocks,
    page: Page,
) -> Answer:
    """Write the predictions of the population, with what they were made of and what they said."""
    found = Composition()
    records, gaps = _records(asking, question, blocks)
    for gap in gaps:
        found.add_gap(gap)
    _note_kept_out(blocks, found)
    answer = asking.write(root, "forward", found, set(), page)
    shown = records[page.offset : page.offset + page.limit]
    answer["rows"] = [_prediction_json(record) for record in shown]
    answer["counts"] = {"predictions": len(records)}
    more = page.limit and page.offset + page.limit < len(records)
    answer["next"] = page.next_cursor(asking.moment) if more else None
    return conceal(answer, asking.reader)


def _records(
    asking: Asking, question: CohortQuestion, blocks: _Blocks
) -> tuple[list[dict[str, Any]], list[Gap]]:
    """Give the records that the question's filters leave, by time."""
    since, until = question.period_us()
    found: list[dict[str, Any]] = []
    gaps: list[Gap] = []
    each = (_iter_records(inquiry, some, since, until) for inquiry, some in blocks)
    for record in chain.from_iterable(each):
        if len(found) >= COHORT_RECORDS_MAX:
            detail = f"only the first {COHORT_RECORDS_MAX} predictions were looked at"
            gaps.append(Gap(question.id, "size", detail))
            break
        if asking.may_see(NodeId("prediction", "", record["id"])):
            found.append(record)
    if question.where is not None and found:
        kept = select_records(question.where, [flat_record(record) for record in found])
        found = [found[number] for number in kept]
    return found, gaps


def _iter_records(
    inquiry: Inquiry, blocks: list[PredictionBlock], since: int | None, until: int | None
) -> Iterator[dict[str, Any]]:
    wanted = {(block.block, block.reserved_us) for block in blocks}
    valid = inquiry.moment.valid_us
    last = min((one for one in (until, valid) if one is not None), default=None)
    segment, size = inquiry.segment, inquiry.moment.size
    for deployment in sorted({block.deployment for block in blocks}):
        for block, record in iter_predictions(
            segment, deployment, size=size, since_us=since, until_us=last
        ):
            if (block.block, block.reserved_us) in wanted:
                yield record


def flat_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give the columns of a prediction that conditions may name: its features, and what it said."""
    features = record.get("features")
    named = dict(features) if isinstance(features, dict) else {}
    told = {name: record.get(name) for name in ("id", "time", "status", "output")}
    return {
        name: value if isinstance(value, (str, int, float, bool, type(None))) else json.dumps(value)
        for name, value in {**told, **named}.items()
    }


def _prediction_json(record: Mapping[str, Any]) -> Answer:
    node = str(NodeId("prediction", "", str(record["id"])))
    values = flat_record(record)
    del values["id"]
    return {"id": node, "dataset": node, "version": None, "key": None, "values": values}
