"""Copies that nobody saw being made: a file is recognised by its bytes when it is read later.

Where a run read a file that no run is known to have written, and exactly one other file with the
same bytes was written before, an event is appended that says so: a run of the job `content:<file>`
took the one and gave the other, its flow marked as recognised by content. The event is part of the
log like any other, so the graph does not depend on when or where it was concluded, and folding it
twice changes nothing.

1. Only digests over the bytes of single files count, and only of files that hold something: at
   least `CONTENT_INFORMATION_MIN` compressed bytes past their first line. Empty files, headers,
   markers and files of zeros are equal by chance.
2. Earlier is told by event time: the first event that names the file as an output, before the first
   that names the other as an input. A run is no source of what it read itself.
3. Several files with the same bytes: which of them was copied cannot be told, and the run has a gap
   that names them instead of a source.
4. What arrives late can change a conclusion (a second source, the run that did write the file). A
   later event of the same run then replaces the earlier one.

Left out: copies of models, whose identity is their digest in any place; of folders; of parts.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec

from lodeline.limits import CONTENT_DUE_MAX, CONTENT_INFORMATION_MIN, CONTENT_NAMED_MAX
from lodeline.model import NodeId, format_time
from lodeline.store import AcceptedEvent, Segment
from lodeline.store.connections import Connection
from lodeline.wire import decode_document
from lodeline.wire.facets import PRODUCER, type_of

JOB_NAMESPACE: Final = "content"
# Only capture measures the information of a file: what has it not is not looked at further.
MARK: Final = b'"information"'

_RUNS: Final = UUID("7c0a5f5e-3d0f-5c55-9d0b-6f1f7a1f5b0c")
_EVENT_SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_NOTHING: Final = "none"
_AMBIGUOUS: Final = "ambiguous"

_Name = tuple[str, str]


class _Digest(msgspec.Struct):
    value: str | None = None
    source: str = ""
    information: int | None = None


class _DatasetFacets(msgspec.Struct):
    lodeline_digest: _Digest | None = None


class _Used(msgspec.Struct):
    namespace: str
    name: str
    facets: _DatasetFacets | None = None


class _RunFacets(msgspec.Struct):
    lodeline_capture: dict[str, Any] | None = None


class _Run(msgspec.Struct):
    run_id: str = msgspec.field(name="runId")
    facets: _RunFacets | None = None


class _Job(msgspec.Struct):
    namespace: str
    name: str


class _Event(msgspec.Struct):
    run: _Run | None = None
    job: _Job | None = None
    inputs: list[_Used] = []
    outputs: list[_Used] = []


_decode: Final = msgspec.json.Decoder(_Event).decode


class Contents:
    """Notes what a batch of the fold says of the bytes of files."""

    def __init__(self) -> None:
        self._uses: list[tuple[str, int, str, str, str, int, int]] = []
        self._joins: list[tuple[str, str, str, int, str]] = []
        self._due: dict[str, int] = {}

    def note(self, payload: bytes, *, time_us: int, position: int) -> None:
        """Take in one event that has `MARK`."""
        try:
            event = _decode(payload)
        except msgspec.DecodeError:
            return  # A facet of another shape under that name: nothing is known of its bytes.
        if event.run is None or event.job is None:
            return
        if event.job.namespace == JOB_NAMESPACE:
            self._note_join(event, time_us)
            return
        for written, used in ((0, event.inputs), (1, event.outputs)):
            for one in used:
                digest = one.facets.lodeline_digest if one.facets else None
                if digest and digest.value and digest.information and digest.source == "bytes":
                    name = (one.namespace, one.name, event.run.run_id.lower())
                    self._uses.append((digest.value, written, *name, time_us, digest.information))
                    self._due[digest.value] = position

    def _note_join(self, event: _Event, time_us: int) -> None:
        assert event.run is not None
        for made in event.outputs:
            digest = made.facets.lodeline_digest if made.facets else None
            if digest is None or digest.value is None:
                continue
            conclusion = _NOTHING
            if event.inputs:
                conclusion = _named((event.inputs[0].namespace, event.inputs[0].name))
            elif event.run.facets is not None and event.run.facets.lodeline_capture is not None:
                conclusion = _AMBIGUOUS
            self._joins.append((digest.value, made.namespace, made.name, time_us, conclusion))

    def flush(self, connection: Connection) -> None:
        """Write what was noted, in the transaction of the batch."""
        for table, rows in (("content_use", self._uses), ("content_join", self._joins)):
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                connection.executemany(
                    f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT DO NOTHING", rows
                )
                rows.clear()
        if self._due:
            # Not an upsert: PostgreSQL's unique index is over a digest of the text.
            connection.executemany(
                "DELETE FROM content_due WHERE version = ?", [(one,) for one in self._due]
            )
            connection.executemany("INSERT INTO content_due VALUES (?, ?)", list(self._due.items()))
            self._due.clear()


@dataclass
class _Uses:
    """How files with the same bytes were used: first times and runs by name."""

    read: dict[_Name, int] = field(default_factory=dict)
    written: dict[_Name, int] = field(default_factory=dict)
    readers: dict[_Name, set[str]] = field(default_factory=lambda: defaultdict(set))
    writers: dict[_Name, set[str]] = field(default_factory=lambda: defaultdict(set))
    information: int = 0

    def add(self, written: int, name: _Name, run_id: str, time_us: int, information: int) -> None:
        times = self.written if written else self.read
        times[name] = min(time_us, times.get(name, time_us))
        (self.writers if written else self.readers)[name].add(run_id)
        self.information = max(self.information, information)

    def sources_of(self, name: _Name) -> list[_Name] | None:
        """Files that this one may have been copied from; `None` where a run wrote it itself."""
        read_us = self.read[name]
        if self.written.get(name, read_us + 1) <= read_us:
            return None
        return sorted(
            other
            for other, time_us in self.written.items()
            if other != name and time_us < read_us and not self.writers[other] <= self.readers[name]
        )


def stitch(segment: Segment) -> bool:
    """Append what follows from files with equal bytes; whether there was anything to look at.

    Raises:
        StoreFullError: no room; what is due stays due.
        StoreUnreachableError: the store cannot be written.
    """
    with segment.reading() as connection:
        due: list[tuple[str, int]] = connection.execute(
            "SELECT version, position FROM content_due ORDER BY version LIMIT ?",
            (CONTENT_DUE_MAX,),
        ).fetchall()
        events = [event for version, _ in due for event in _conclude(connection, version)]
    if not due:
        return False
    if events:
        segment.append(events)
    with segment.writing(durable=False) as connection:
        # What came meanwhile has a later position, and is due still.
        connection.executemany("DELETE FROM content_due WHERE version = ? AND position <= ?", due)
    return True


def _conclude(connection: Connection, version: str) -> Iterator[AcceptedEvent]:
    uses = _Uses()
    rows: Sequence[Any] = connection.execute(
        "SELECT written, namespace, name, run_id, time_us, information FROM content_use "
        "WHERE version = ?",
        (version,),
    ).fetchall()
    for written, namespace, name, run_id, time_us, information in rows:
        uses.add(written, (namespace, name), run_id, time_us, information)
    if uses.information < CONTENT_INFORMATION_MIN or not uses.written:
        return
    before = _conclusions(connection, version)
    for name in sorted(uses.read):
        sources = uses.sources_of(name) or []
        conclusion = _NOTHING
        if sources:
            conclusion = _named(sources[0]) if len(sources) == 1 else _AMBIGUOUS
        last_us, last = before.get(name, (uses.read[name] - 2, _NOTHING))
        if conclusion != last:
            yield _event(name, version, sources, time_us=last_us + 1, information=uses.information)


def _conclusions(connection: Connection, version: str) -> dict[_Name, tuple[int, str]]:
    rows = connection.execute(
        "SELECT namespace, name, time_us, conclusion FROM content_join WHERE version = ? "
        "ORDER BY time_us",
        (version,),
    ).fetchall()
    return {(namespace, name): (time_us, said) for namespace, name, time_us, said in rows}


def _named(name: _Name) -> str:
    return json.dumps(name)


def _event(
    name: _Name, version: str, sources: list[_Name], *, time_us: int, information: int
) -> AcceptedEvent:
    digest = {"algorithm": "sha256", "source": "bytes", "value": version}
    digest["information"] = information  # type: ignore[assignment]
    facets = {"lodeline_digest": _stamped("dataset", "lodeline_digest", digest)}
    inputs = [{"namespace": one[0], "name": one[1]} for one in sources if len(sources) == 1]
    observed = {"inputs": inputs, "content": True}
    run: dict[str, Any] = {"runId": str(uuid5(_RUNS, json.dumps([*name, version])))}
    if len(sources) > 1:
        run["facets"] = {
            "lodeline_capture": _stamped("run", "lodeline_capture", _gap(name, sources))
        }
    event = {
        "eventType": "COMPLETE",
        "eventTime": format_time(time_us),
        "producer": PRODUCER,
        "schemaURL": _EVENT_SCHEMA,
        "run": run,
        "job": {"namespace": JOB_NAMESPACE, "name": f"{name[0]}:{name[1]}"},
        "inputs": [{**one, "facets": facets} for one in inputs],
        "outputs": [
            {
                "namespace": name[0],
                "name": name[1],
                "facets": facets,
                "outputFacets": {
                    "lodeline_observed": _stamped("output", "lodeline_observed", observed)
                },
            }
        ],
    }
    document = decode_document(json.dumps(event).encode())
    return AcceptedEvent(document.canonical, document.fields())


def _gap(name: _Name, sources: list[_Name]) -> dict[str, Any]:
    shown = ", ".join(str(NodeId("dataset", *one)) for one in sources[:CONTENT_NAMED_MAX])
    detail = f"its bytes are those of {len(sources)} datasets, one of which was copied: {shown}"
    return {"gaps": [{"at": str(NodeId("dataset", *name)), "reason": "capture", "detail": detail}]}


def _stamped(scope: Any, name: str, facet: dict[str, Any]) -> dict[str, Any]:
    known = type_of(scope, name)
    assert known is not None
    return {"_producer": PRODUCER, "_schemaURL": known.facet_schema_url, **facet}
