"""Predictions: taken in as batches, kept in blobs, committed to by the log, found by identifier.

A `block` entry of the log carries an OpenLineage DatasetEvent with a `lodeline_prediction_batch`
facet, of one of three meanings:

- *reserved*: a process may give out identifiers of a block from now on;
- a batch: rows `first` to `last` of the block are in a blob, under a root;
- *ended*: the process gives out no more; `clean` says whether it said so itself.

So an identifier of a reserved block is a record, still to come (`pending`), or `lost`; of a block
that nobody reserved, `unknown`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from lodeline.errors import CouldNotTellError, UnknownBlobError
from lodeline.ingest.sketches import MergedSketches
from lodeline.limits import PREDICTION_BLOB_ROWS_MAX
from lodeline.model import NodeId, PredictionId, find_prediction_id, format_time
from lodeline.store import Segment, StoredEntry
from lodeline.store.connections import Connection
from lodeline.store.prediction_blobs import encode_blob, erased_counters, iter_rows
from lodeline.store.prediction_tables import (
    create_prediction_tables,
    drop_prediction_tables,
    has_prediction_tables,
    has_summaries,
)
from lodeline.store.senders import Sender, add_sender, beside_entries
from lodeline.wire.facets import PRODUCER, LodelinePredictionBatchDatasetFacet

FACET: Final = "lodeline_prediction_batch"
_EVENT_SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/DatasetEvent"

Status = Literal["record", "pending", "lost", "sampled", "erased", "retention", "unknown"]


@dataclass(frozen=True, slots=True)
class PredictionBlock:
    """A reserved range of identifiers.

    Attributes:
        block: below 2**40.
        reserved_us: when its first identifier was about to be drawn.
        position: of the reservation in the log.
        deployment: node identifier, with version where known.
        model: node identifier; `None` where the deployment names none.
        run_id: of the observed process; `None` outside `lodeline run`.
        ended: no further identifiers come.
        ended_clean: the process said so itself.
        next_counter: identifiers from here on were never drawn; `None` if unknown.
    """

    block: int
    reserved_us: int
    position: int
    deployment: NodeId
    model: NodeId | None
    run_id: str | None
    ended: bool
    ended_clean: bool
    next_counter: int | None


@dataclass(frozen=True, slots=True)
class FoundPrediction:
    """What is known of an identifier.

    Attributes:
        status: `record`: it is here; `pending`: its block is still open; `lost`: the process that
            drew it ended without delivering it; `sampled`: it was made, counted in a summary, and
            not kept; `erased`: its record was erased with the person it was about; `retention`: its
            batch was let go by age; `unknown`: nobody reserved its block.
        prediction_id: as asked, in lower case.
        record: as `docs/reference/predictions.md` describes it; only of a `record`.
        block: its block, when reserved.
        position: of the batch in the log; only of a `record`, or where one was.
    """

    status: Status
    prediction_id: str
    record: dict[str, Any] | None = None
    block: PredictionBlock | None = None
    position: int | None = None


def accept_predictions(
    segment: Segment, records: Iterable[dict[str, Any]], *, sender: Sender | None = None
) -> list[str | None]:
    """Take in records of the types `reservation`, `predictions` and `end`. Idempotent.

    Neighbouring `predictions` of one block become one batch.

    Args:
        segment: where to.
        records: as `docs/reference/predictions.md` describes them.
        sender: who brought them, as authenticated; `None` where nobody had to say.

    Returns:
        For each record `None` once it is durable, else why it cannot be taken.

    Raises:
        CouldNotTellError: the store cannot be written; what was taken is recognised next time.
    """
    fold_blocks(segment)
    outcomes: list[str | None] = []
    rows: list[dict[str, Any]] = []
    for record in records:
        try:
            kind, block = str(record.get("type")), _block_of(record)
            own = _checked_rows(record, block) if kind == "predictions" else []
            summary = _checked_summary(record) if kind == "predictions" else None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            outcomes.append(f"malformed: {error}")
            continue
        if rows and (kind != "predictions" or not _fits(rows, own)):
            _append_batch(segment, rows, sender)
            rows = []
        if kind == "predictions":
            rows += own
            if summary is not None:
                _append_summary(segment, block, summary, sender)
            outcomes.append(None)
        elif kind in {"reservation", "end"}:
            append = _append_reservation if kind == "reservation" else _append_end
            outcomes.append(append(segment, record, block, sender))
        else:
            outcomes.append(f"unknown type {kind!r}")
    if rows:
        _append_batch(segment, rows, sender)
    return outcomes


def _block_of(record: dict[str, Any]) -> int:
    text = record["block"]
    if not isinstance(text, str) or len(text) != 10:
        raise ValueError("block: not ten hexadecimal digits")
    return int(text, 16)


def _checked_rows(record: dict[str, Any], block: int) -> list[dict[str, Any]]:
    checked = []
    for row in record["rows"]:
        drawn = find_prediction_id(row["id"])
        if drawn is None or drawn.block != block:
            raise ValueError(f"{row['id']!r} is no identifier of block {block:010x}")
        own = {key: value for key, value in row.items() if key != "time"}
        checked.append({**own, "id": str(drawn), "time": format_time(drawn.time_us)})
    return checked


def _checked_summary(record: dict[str, Any]) -> dict[str, Any] | None:
    """Check what a summary says of which predictions it stands for."""
    summary = record.get("summary")
    if summary is None:
        return None
    counters = [(int(first), int(last)) for first, last in summary["counters"]]
    count = sum(last - first + 1 for first, last in counters)
    if not counters or any(not 0 <= a <= b < 1 << 22 for a, b in counters):
        raise ValueError("summary: counters are ranges of a block's counters")
    if count != summary["count"] or not isinstance(summary["columns"], dict):
        raise ValueError(f"summary: {summary['count']} predictions, its counters are {count}")
    _ = int(summary["firstTime"]), int(summary["lastTime"])
    for name, figures in summary["columns"].items():
        _check_figures(name, figures)
    return dict(summary)


def _check_figures(name: str, figures: Any) -> None:
    """Check the figures of a column, which answers add up."""
    counts = [figures.get(one, 0) for one in ("count", "nulls", "numbers")]
    if any(type(one) is not int or one < 0 for one in counts):
        raise ValueError(f"summary: {name} has counts that are none")
    exact = [figures[one] for one in ("min", "max", "sum")] if figures.get("numbers") else []
    if any(isinstance(one, bool) or not math.isfinite(one) for one in exact):
        raise ValueError(f"summary: {name} has figures that are no numbers")


def _append_summary(
    segment: Segment, block: int, summary: dict[str, Any], sender: Sender | None
) -> None:
    found = _find_block(segment, block, int(summary["lastTime"]))
    reserved_us = int(summary["firstTime"]) if found is None else found.reserved_us
    first, last = summary["counters"][0][0], summary["counters"][-1][1]
    with segment.reading() as connection:
        known = (
            has_summaries(connection)
            and connection.execute(
                "SELECT 1 FROM prediction_summary WHERE block = ? AND reserved_us = ? AND first = ?"
                " AND last = ?",
                (block, reserved_us, first, last),
            ).fetchone()
        )
    if known:
        return
    deployment = NodeId("deployment", "default", "unknown") if found is None else found.deployment
    facet = {"reserved": False, "time": str(reserved_us), "summary": summary}
    _append(segment, block, int(summary["lastTime"]), deployment, facet, sender)


def _fits(rows: Sequence[dict[str, Any]], more: Sequence[dict[str, Any]]) -> bool:
    return len(rows) + len(more) <= PREDICTION_BLOB_ROWS_MAX and (
        not more or _drawn(rows[0]).block == _drawn(more[0]).block
    )


def _drawn(row: dict[str, Any]) -> PredictionId:
    drawn = find_prediction_id(row["id"])
    assert drawn is not None  # checked when it came in
    return drawn


def _append_reservation(
    segment: Segment, record: dict[str, Any], block: int, sender: Sender | None
) -> str | None:
    try:
        reserved_us = int(record["time"])
        deployment = dict(record["deployment"])
        _ = str(deployment["namespace"]), str(deployment["name"])
    except (KeyError, TypeError, ValueError) as error:
        return f"malformed reservation: {error}"
    with segment.reading() as connection:
        known = (
            has_prediction_tables(connection)
            and connection.execute(
                "SELECT 1 FROM prediction_block WHERE block = ? AND reserved_us = ?",
                (block, reserved_us),
            ).fetchone()
        )
    if not known:
        facet = {
            "reserved": True,
            "time": str(reserved_us),
            "model": record.get("model"),
            "run": record.get("run"),
            "gaps": record.get("gaps"),
        }
        version = str(deployment.get("digest") or "")
        node = NodeId("deployment", deployment["namespace"], deployment["name"], "", version)
        _append(segment, block, reserved_us, node, facet, sender)
    return None


def _append_end(
    segment: Segment, record: dict[str, Any], block: int, sender: Sender | None
) -> str | None:
    found = _find_block(segment, block, None)
    if found is None:
        return "no such block is reserved"
    if not found.ended:
        counter = record.get("next")
        facet = {
            "reserved": False,
            "ended": True,
            "time": str(found.reserved_us),
            "clean": bool(record.get("clean")),
            "next": counter if isinstance(counter, int) else None,
        }
        _append(segment, block, found.reserved_us, found.deployment, facet, sender)
    return None


def _append_batch(segment: Segment, rows: list[dict[str, Any]], sender: Sender | None) -> None:
    rows = sorted({row["id"]: row for row in rows}.values(), key=_drawn)
    first = _drawn(rows[0])
    block = _find_block(segment, first.block, first.time_us)
    known = _known_ids(segment, first.block, [_drawn(row) for row in rows])
    # Who claims something else under an identifier that is known did not deliver what is here.
    again = {place.position for row in rows if (place := known.get(row["id"])) and place.row == row}
    if again and sender is not None:
        add_sender(segment, again, sender)
    rows = [row for row in rows if row["id"] not in known]
    if not rows:
        return
    first, last = _drawn(rows[0]), _drawn(rows[-1])
    blob, root = encode_blob(first.block_text, rows, os.urandom(32))
    reserved_us = first.time_us if block is None else block.reserved_us
    deployment = NodeId("deployment", "default", "unknown") if block is None else block.deployment
    counters = [_drawn(row).counter for row in rows]
    facet = {
        "reserved": False,
        "time": str(reserved_us),
        "first": min(counters),
        "last": max(counters),
        "count": len(rows),
        "firstTime": str(first.time_us),
        "lastTime": str(last.time_us),
        "digest": segment.put_blob(blob),
        "root": root,
    }
    _append(segment, first.block, last.time_us, deployment, facet, sender)


def _append(  # noqa: PLR0917  # what an entry is made of
    segment: Segment,
    block: int,
    time_us: int,
    deployment: NodeId,
    facet: dict[str, Any],
    sender: Sender | None,
) -> None:
    """Append one `block` entry and bring the tables up to it."""
    full = {
        "_producer": PRODUCER,
        "_schemaURL": LodelinePredictionBatchDatasetFacet.facet_schema_url,
        "block": f"{block:010x}",
        "deployment": {
            "namespace": deployment.namespace,
            "name": deployment.name,
            "version": deployment.version or None,
        },
        **{name: value for name, value in facet.items() if value is not None},
    }
    event = {
        "eventTime": format_time(time_us),
        "producer": PRODUCER,
        "schemaURL": _EVENT_SCHEMA,
        "dataset": {
            "namespace": deployment.namespace,
            "name": f"{deployment.name}/predictions",
            "facets": {FACET: full},
        },
    }
    roots = [str(facet["root"])] if "root" in facet else []
    segment.append_record("block", event, roots=roots, beside=beside_entries([sender]))
    fold_blocks(segment)


class _Known(NamedTuple):
    """A record that is here: the position of its batch, and itself unless retention let it go."""

    position: int
    row: dict[str, Any] | None


def _known_ids(segment: Segment, block: int, rows: Sequence[PredictionId]) -> dict[str, _Known]:
    """Identifiers of some of one block that are recorded already: a delivery may come again."""
    known: dict[str, _Known] = {}
    with segment.reading() as connection:
        if not has_prediction_tables(connection):
            return known
        batches = connection.execute(
            "SELECT position, digest, first, last FROM prediction_batch "
            "WHERE block = ? AND last_us >= ? AND first_us <= ?",
            (block, rows[0].time_us, rows[-1].time_us),
        ).fetchall()
    gone = segment.expired_blobs()
    for position, digest, first, last in batches:
        if digest in gone:
            # What retention let go must not come back with a late delivery.
            late = [str(one) for one in rows if first <= one.counter <= last]
            known.update(dict.fromkeys(late, _Known(position, None)))
        else:
            held = iter_rows(segment.get_blob(digest))
            known.update((row["id"], _Known(position, row)) for row in held)
    return known


# The view


def fold_blocks(segment: Segment) -> int:
    """Bring the prediction tables up to the log.

    Returns:
        How many `block` entries were folded.
    """
    with segment.reading() as connection:
        start = _folded_to(connection)
        waiting = connection.execute(
            "SELECT 1 FROM entry WHERE kind = 'block' AND position >= ? LIMIT 1", (start,)
        ).fetchone()
    if waiting is None:
        return 0
    count = 0
    size = segment.size()
    entries = list(segment.iter_entries(start, size, kinds={"block"}))
    with segment.writing(durable=False) as connection:
        create_prediction_tables(connection)
        # Someone else may have folded between the two looks; every insert can be repeated.
        for entry in entries:
            count += _fold_entry(connection, entry)
        connection.execute("DELETE FROM prediction_state")
        connection.execute("INSERT INTO prediction_state VALUES (?)", (size,))
    return count


def rebuild_predictions(segment: Segment) -> None:
    """Make the prediction tables anew from the log."""
    with segment.writing() as connection:
        drop_prediction_tables(connection)
    fold_blocks(segment)


def _folded_to(connection: Connection) -> int:
    if not has_prediction_tables(connection):
        return 0
    row = connection.execute("SELECT max(folded_to) FROM prediction_state").fetchone()
    return row[0] or 0


def _fold_entry(connection: Connection, entry: StoredEntry) -> int:
    if entry.payload is None:
        return 0
    facet = json.loads(entry.payload).get("dataset", {}).get("facets", {}).get(FACET)
    if facet is None:
        return 0
    block, reserved_us = int(facet["block"], 16), int(facet["time"])
    if facet.get("ended"):
        connection.execute(
            "UPDATE prediction_block SET ended_position = ?, ended_clean = ?, next_counter = ? "
            "WHERE block = ? AND reserved_us = ? AND ended_position IS NULL",
            (entry.position, facet["clean"], facet.get("next"), block, reserved_us),
        )
    elif facet.get("reserved"):
        deployment, model = facet["deployment"], facet.get("model") or {}
        connection.execute(
            "INSERT INTO prediction_block VALUES (?,?,?,?,?,?,?,?,?,?,NULL,NULL,NULL) "
            "ON CONFLICT DO NOTHING",
            (
                block,
                reserved_us,
                entry.position,
                deployment["namespace"],
                deployment["name"],
                deployment.get("version"),
                model.get("namespace"),
                model.get("name"),
                model.get("version"),
                facet.get("run"),
            ),
        )
    elif facet.get("summary"):
        _fold_summary(connection, entry.position, (block, reserved_us), facet["summary"])
    else:
        connection.execute(
            "INSERT INTO prediction_batch VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            (
                entry.position,
                block,
                reserved_us,
                facet["first"],
                facet["last"],
                facet["count"],
                int(facet["firstTime"]),
                int(facet["lastTime"]),
                facet["digest"],
                facet["root"],
            ),
        )
    return 1


def _fold_summary(
    connection: Connection, position: int, block: tuple[int, int], summary: dict[str, Any]
) -> None:
    first, last = summary["counters"][0][0], summary["counters"][-1][1]
    connection.execute(
        "INSERT INTO prediction_summary VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
        (position, *block, first, last, summary["count"], json.dumps(summary)),
    )


# Questions

_BLOCK_COLUMNS: Final = (
    "block, reserved_us, position, deployment_namespace, deployment_name, deployment_version, "
    "model_namespace, model_name, model_version, run_id, ended_position, ended_clean, next_counter"
)


def find_prediction(
    segment: Segment, prediction_id: str, *, size: int | None = None
) -> FoundPrediction:
    """Look a prediction up.

    Args:
        segment: where.
        prediction_id: a UUIDv7.
        size: only the first so many entries of the log count; all by default.

    Returns:
        The record, or what is known of its absence.
    """
    drawn = find_prediction_id(prediction_id)
    if drawn is None:
        return FoundPrediction("unknown", prediction_id)
    with contextlib.suppress(CouldNotTellError):
        # A crash may have come between the log and its view. A store that cannot be written now
        # answers from the view as it is.
        fold_blocks(segment)
    block = _find_block(segment, drawn.block, drawn.time_us, size=size)
    for position, digest in _find_batches(segment, drawn, size):
        try:
            blob = segment.get_blob(digest)
        except UnknownBlobError:
            if digest in segment.expired_blobs():
                return FoundPrediction("retention", str(drawn), None, block, position)
            continue
        for row in iter_rows(blob):
            if row["id"] == str(drawn):
                return FoundPrediction("record", str(drawn), row, block, position)
        if drawn.counter in erased_counters(blob):
            return FoundPrediction("erased", str(drawn), None, block, position)
    if block is None:
        return FoundPrediction("unknown", str(drawn))
    if block.next_counter is not None and drawn.counter >= block.next_counter:
        return FoundPrediction("unknown", str(drawn), None, block)
    if any(
        first <= drawn.counter <= last
        for summary in _summaries_of(segment, block, size)
        for first, last in summary["counters"]
    ):
        return FoundPrediction("sampled", str(drawn), None, block)
    return FoundPrediction("lost" if block.ended else "pending", str(drawn), None, block)


def _summaries_of(
    segment: Segment, block: PredictionBlock, size: int | None
) -> list[dict[str, Any]]:
    with segment.reading() as connection:
        if not has_summaries(connection):
            return []
        rows = connection.execute(
            "SELECT body FROM prediction_summary WHERE block = ? AND reserved_us = ?"
            " AND position < ? ORDER BY first",
            (block.block, block.reserved_us, _bound(size)),
        ).fetchall()
    return [json.loads(row[0]) for row in rows]


def summarise_deployment(
    segment: Segment, deployment: NodeId | None = None, *, size: int | None = None
) -> dict[str, Any]:
    """Put the summaries of a deployment's predictions together: exact figures, merged sketches.

    Args:
        segment: where.
        deployment: any version when it names none; all deployments by default.
        size: only the first so many entries of the log count.

    Returns:
        `count` of what was left out, `kept` one by one beside it and not in the figures, `windows`
        (summaries), `firstTime` and `lastTime` of them, `heads` (shares that rules kept), and
        `columns` with `count`, `nulls`, `numbers`, `min`, `max`, `sum`, `mean`, and `distribution`
        where sketches were made.
    """
    merged = MergedSketches()
    columns: dict[str, dict[str, Any]] = {}
    count = windows = 0
    heads: set[float] = set()
    times: list[int] = []
    for block in iter_blocks(segment, deployment, size=size):
        for summary in _summaries_of(segment, block, size):
            count += summary["count"]
            windows += 1
            times += [int(summary["firstTime"]), int(summary["lastTime"])]
            heads |= {one for one in (summary.get("head"),) if isinstance(one, int | float)}
            for name, figures in summary["columns"].items():
                _add_figures(columns.setdefault(name, {}), figures)
                merged.add(name, figures)
    for name, total in columns.items():
        distribution = merged.distribution(name)
        if distribution is not None:
            total["distribution"] = distribution
    found: dict[str, Any] = {"count": count, "windows": windows, "columns": columns}
    if windows:
        found |= {
            "kept": count_predictions(segment, deployment, size=size),
            "heads": sorted(heads),
            "firstTime": format_time(min(times)),
            "lastTime": format_time(max(times)),
        }
    return found


def _add_figures(total: dict[str, Any], figures: dict[str, Any]) -> None:
    for name in ("count", "nulls", "numbers"):
        total[name] = total.get(name, 0) + int(figures.get(name, 0))
    if figures.get("numbers"):
        total["sum"] = total.get("sum", 0.0) + figures["sum"]
        total["min"] = min(total.get("min", figures["min"]), figures["min"])
        total["max"] = max(total.get("max", figures["max"]), figures["max"])
        total["mean"] = total["sum"] / total["numbers"]


def count_summarised(segment: Segment, *, size: int | None = None) -> dict[NodeId, tuple[int, int]]:
    """Count the predictions that only summaries stand for, and the summaries, by deployment.

    Each version of a deployment is counted apart.
    """
    with segment.reading() as connection:
        if not has_summaries(connection):
            return {}
        rows = connection.execute(
            "SELECT k.deployment_namespace, k.deployment_name, k.deployment_version, sum(s.count),"
            " count(*) FROM prediction_summary s JOIN prediction_block k USING (block, reserved_us)"
            " WHERE s.position < ? GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            (_bound(size),),
        ).fetchall()
    return {
        NodeId("deployment", namespace, name, "", version or ""): (int(count), int(windows))
        for namespace, name, version, count, windows in rows
    }


def _find_batches(segment: Segment, drawn: PredictionId, size: int | None) -> list[tuple[int, str]]:
    with segment.reading() as connection:
        if not has_prediction_tables(connection):
            return []
        return connection.execute(
            "SELECT position, digest FROM prediction_batch WHERE block = ? AND first <= ? "
            "AND last >= ? AND first_us <= ? AND last_us >= ? AND position < ?",
            (
                drawn.block,
                drawn.counter,
                drawn.counter,
                drawn.time_us,
                drawn.time_us,
                _bound(size),
            ),
        ).fetchall()


def _bound(size: int | None) -> int:
    return 2**63 - 1 if size is None else size


def has_block(segment: Segment, block: str) -> bool:
    """Whether a segment has a reservation of a block, by its ten hexadecimal digits."""
    try:
        return _find_block(segment, int(block, 16), None) is not None
    except ValueError:
        return False


def _find_block(
    segment: Segment, block: int, time_us: int | None, *, size: int | None = None
) -> PredictionBlock | None:
    """The reservation that an identifier of a time belongs to; the latest without a time."""
    with segment.reading() as connection:
        if not has_prediction_tables(connection):
            return None
        row = connection.execute(
            f"SELECT {_BLOCK_COLUMNS} FROM prediction_block WHERE block = ? AND reserved_us <= ? "
            "AND position < ? ORDER BY reserved_us DESC LIMIT 1",
            (block, _bound(time_us), _bound(size)),
        ).fetchone()
    return None if row is None else _to_block(row, _bound(size))


def _to_block(row: Sequence[Any], bound: int) -> PredictionBlock:
    ended = row[10] is not None and row[10] < bound
    return PredictionBlock(
        block=row[0],
        reserved_us=row[1],
        position=row[2],
        deployment=NodeId("deployment", row[3], row[4], "", row[5] or ""),
        model=None if row[7] is None else NodeId("model", row[6] or "", row[7], "", row[8] or ""),
        run_id=row[9],
        ended=ended,
        ended_clean=ended and bool(row[11]),
        next_counter=row[12] if ended else None,
    )


def iter_blocks(
    segment: Segment, deployment: NodeId | None = None, *, size: int | None = None
) -> Iterator[PredictionBlock]:
    """List reserved blocks, oldest first.

    Args:
        segment: where.
        deployment: only of this one; any version when it names none.
        size: only the first so many entries of the log count.
    """
    clause, parameters = "", [_bound(size)]
    if deployment is not None:
        clause = " AND deployment_namespace = ? AND deployment_name = ?"
        parameters += [deployment.namespace, deployment.name]  # type: ignore[list-item]
        if deployment.version:
            clause += " AND deployment_version = ?"
            parameters.append(deployment.version)  # type: ignore[arg-type]
    with segment.reading() as connection:
        if not has_prediction_tables(connection):
            return
        rows = connection.execute(
            f"SELECT {_BLOCK_COLUMNS} FROM prediction_block WHERE position < ?{clause} "
            "ORDER BY reserved_us",
            parameters,
        ).fetchall()
    for row in rows:
        yield _to_block(row, _bound(size))


def iter_predictions(
    segment: Segment,
    deployment: NodeId | None = None,
    *,
    size: int | None = None,
    since_us: int | None = None,
    until_us: int | None = None,
) -> Iterator[tuple[PredictionBlock, dict[str, Any]]]:
    """Walk recorded predictions with their blocks, oldest block first, by identifier within.

    Reads one blob at a time; the caller stops when it has enough.

    Args:
        segment: where.
        deployment: only of this one; any version when it names none.
        size: only the first so many entries of the log count.
        since_us: none before; batches that end earlier are not read.
        until_us: none after.
    """
    first, last = since_us or 0, _bound(until_us)
    gone = segment.expired_blobs()
    for block in iter_blocks(segment, deployment, size=size):
        with segment.reading() as connection:
            digests = connection.execute(
                "SELECT digest FROM prediction_batch WHERE block = ? AND reserved_us = ? "
                "AND position < ? AND last_us >= ? AND first_us <= ? ORDER BY first_us",
                (block.block, block.reserved_us, _bound(size), first, last),
            ).fetchall()
        for (digest,) in digests:
            if digest in gone:
                continue  # `count_expired` tells how many.
            for row in iter_rows(segment.get_blob(digest)):
                if first <= _drawn(row).time_us <= last:
                    yield block, row


def count_expired(segment: Segment, *, size: int | None = None) -> dict[NodeId, int]:
    """Count the predictions that retention let go, by deployment with its version."""
    gone = segment.expired_blobs()
    found: dict[NodeId, int] = {}
    for block in iter_blocks(segment, size=size) if gone else ():
        with segment.reading() as connection:
            batches = connection.execute(
                "SELECT digest, count FROM prediction_batch "
                "WHERE block = ? AND reserved_us = ? AND position < ?",
                (block.block, block.reserved_us, _bound(size)),
            ).fetchall()
        count = sum(count for digest, count in batches if digest in gone)
        if count:
            found[block.deployment] = found.get(block.deployment, 0) + count
    return found


def count_predictions(
    segment: Segment,
    deployment: NodeId | None = None,
    *,
    size: int | None = None,
    blocks: Sequence[PredictionBlock] | None = None,
) -> int:
    """Count recorded predictions without reading them; with `blocks`, those of these alone."""
    total = 0
    for block in iter_blocks(segment, deployment, size=size):
        if blocks is not None and block not in blocks:
            continue
        with segment.reading() as connection:
            total += connection.execute(
                "SELECT coalesce(sum(count), 0) FROM prediction_batch "
                "WHERE block = ? AND reserved_us = ? AND position < ?",
                (block.block, block.reserved_us, _bound(size)),
            ).fetchone()[0]
    return total
