"""Predictions: what a deployment answered, or a model, the newest first, filtered.

There is no index of what predictions hold: one walk reads so many records at most, says so, and
goes on at its cursor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Any, Literal

import msgspec

from lodeline.errors import UsageError
from lodeline.ingest.predictions import PredictionBlock, iter_blocks
from lodeline.limits import PREDICTIONS_LISTED_MAX, PREDICTIONS_SCANNED_MAX
from lodeline.model import NodeId
from lodeline.query.answers import cursor_at
from lodeline.query.asking import Inquiry, find_inquiry, open_page
from lodeline.query.concealing import conceal
from lodeline.query.moments import read_moment
from lodeline.query.parameters import Question, read_question
from lodeline.query.permission import OPEN, Authoriser
from lodeline.query.predictions import sampling_gap
from lodeline.store import Segment
from lodeline.store.prediction_blobs import iter_rows

Answer = dict[str, Any]


class PredictionsQuestion(Question, frozen=True, kw_only=True):
    """Which predictions did a deployment make, or a model?"""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    outcome: Literal["answered", "failed"] | None = None
    since: str | None = None
    until: str | None = None
    entity: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PREDICTIONS_LISTED_MAX)] = 50
    cursor: str | None = None


def predictions(
    segment: Segment, parameters: Mapping[str, object], *, authoriser: Authoriser = OPEN
) -> Answer:
    """Answer `predictions`: `predictions`, how many were `scanned`, and where to go on.

    Raises:
        UnknownNodeError: not in the record.
        UsageError: neither a deployment nor a model, or a malformed question.
    """
    question = read_question(PredictionsQuestion, parameters)
    page, pinned = open_page("predictions", question, dict(parameters))
    with segment.reading() as connection:
        inquiry = find_inquiry(segment, connection, question, pinned=pinned, authoriser=authoriser)
        node = inquiry.resolve(question.id)
        if node.kind not in {"deployment", "model"}:
            raise UsageError(f"predictions: of a deployment or a model, not of a {node.kind}")
        wanted = _Filter(question)
        listed: list[Answer] = []
        scanned = 0
        walk = islice(_walk(inquiry, node), page.offset, None)
        for block, record in walk:
            if len(listed) >= page.limit or scanned >= PREDICTIONS_SCANNED_MAX:
                after: str | None = cursor_at(
                    page.offset + scanned, inquiry.moment.size, page.question
                )
                break
            scanned += 1
            if wanted.holds(record):
                listed.append(_prediction_json(block, record))
        else:
            after = None
        sampled = (
            sampling_gap(segment, node, size=inquiry.moment.size)
            if node.kind == "deployment"
            else None
        )
        answer = {
            "id": str(node),
            "predictions": listed,
            "scanned": scanned,
            "sampled": None if sampled is None else sampled.detail,
            "as_of": inquiry.moment.to_json(),
            "trees": inquiry.moment.trees_json(),
            "next": after,
        }
        return conceal(answer, inquiry.visibility)


class _Filter:
    def __init__(self, question: PredictionsQuestion) -> None:
        self._outcome = question.outcome
        self._entity = (question.entity or "").casefold()
        self._since = _time(question.since, "since")
        self._until = _time(question.until, "until")

    def holds(self, record: Mapping[str, Any]) -> bool:
        if self._outcome is not None and (self._outcome == "failed") != is_failed(record):
            return False
        if self._since is not None or self._until is not None:
            time_us = read_moment(str(record.get("time")), name="time")
            if self._since is not None and time_us < self._since:
                return False
            if self._until is not None and time_us > self._until:
                return False
        keys = json.dumps(record.get("entityKeys") or {}, ensure_ascii=False).casefold()
        return not self._entity or self._entity in keys


def _time(text: str | None, name: str) -> int | None:
    return read_moment(text, name=name) if text else None


def is_failed(record: Mapping[str, Any]) -> bool:
    """Whether a prediction's caller got an error in place of an answer."""
    status = record.get("status")
    return bool(record.get("error")) or not isinstance(status, int) or status >= 400


def _walk(inquiry: Inquiry, node: NodeId) -> Iterator[tuple[PredictionBlock, Mapping[str, Any]]]:
    """Walk records, the newest block first, newest first within."""
    segment, size = inquiry.segment, inquiry.moment.size
    of = node if node.kind == "deployment" else None
    for block in reversed(list(iter_blocks(segment, of, size=size))):
        if not inquiry.visibility.may_see(block.deployment.at("")):
            continue
        if of is None and not _is_of(block, node):
            continue
        digests = inquiry.connection.execute(
            "SELECT digest FROM prediction_batch WHERE block = ? AND reserved_us = ?"
            " AND position < ? ORDER BY first_us DESC",
            (block.block, block.reserved_us, size),
        ).fetchall()
        for (digest,) in digests:
            for record in reversed(list(iter_rows(segment.get_blob(digest)))):
                yield block, record


def _is_of(block: PredictionBlock, model: NodeId) -> bool:
    if block.model is None or block.model.at("") != model.at(""):
        return False
    return not model.version or block.model.version == model.version


def _prediction_json(block: PredictionBlock, record: Mapping[str, Any]) -> Answer:
    return {
        "id": f"prediction:{record['id']}",
        "time": record.get("time"),
        "status": record.get("status"),
        "failed": is_failed(record),
        "output": record.get("output"),
        "entity": record.get("entityKeys") or {},
        "latency_us": record.get("latencyUs"),
        "deployment": str(block.deployment),
        "model": None if block.model is None else str(block.model),
    }
