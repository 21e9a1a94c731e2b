"""A Parquet archive of the record, in folders by day, to which each export adds only new files.

    DIR/lodeline-archive.json              how far the archive goes, and of which log
    DIR/events/date=YYYY-MM-DD/*.parquet   every event, by event time
    DIR/nodes/date=…                       every node, by the first event that named it
    DIR/edges/date=…                       every assertion of an edge, by its run's first event
    DIR/row_steps/date=…, DIR/row_links/…  which rows were made of which (`row_links`)

A file's name tells the positions of the log that it covers. Files are made under another name and
the archive's own file is written last: whatever a crash left beyond the size written there is
removed by the next export. An archive is a copy: what is erased later stays in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lodeline.errors import MissingExtraError, UsageError
from lodeline.exports import row_links
from lodeline.exports.events import iter_opened
from lodeline.exports.exporting import Exporting, begin_export, day_of
from lodeline.exports.graph_rows import iter_assertions, iter_nodes
from lodeline.limits import ARCHIVE_ROWS_MAX
from lodeline.model import KINDS_OF_ONE_PART, parse_time
from lodeline.store import Segment

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST: Final = "lodeline-archive.json"
_FORMAT: Final = 2
_PART: Final = re.compile(r"(\d{12})-(\d{12})(-\d+)?\.parquet")

Row = dict[str, Any]


class Archived(NamedTuple):
    """What an export added.

    Attributes:
        since: entries that the archive held before.
        size: entries that it holds now; the next export goes on from there.
        files: added.
        export: what was left out.
    """

    since: int
    size: int
    files: list[Path]
    export: Exporting


def archive(segment: Segment, folder: Path, *, since: int | None = None) -> Archived:
    """Bring an archive up to what is folded.

    Args:
        segment: exported.
        folder: of the archive; made when missing.
        since: must be where the archive ends, if given.

    Raises:
        MissingExtraError: pyarrow is not installed.
        UsageError: the folder holds another log's archive, or `since`
            would leave a hole or write rows twice.
    """
    _need_pyarrow()
    held = _read_manifest(segment, folder)
    if since is not None and since != held:
        raise UsageError(f"--since {since}: the archive in {folder} ends at {held}")
    export = begin_export(segment, since=held)
    _remove_leftovers(folder, held)
    files: list[Path] = []
    if export.size > held:
        for table, (schema, rows) in _tables().items():
            files += _write_table(folder / table, schema(), rows(export), export)
        files += row_links.write_links(folder / "row_links", export)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"format": _FORMAT, "origin": segment.origin, "size": export.size}
    waiting = folder / f".{MANIFEST}.part"
    waiting.write_text(json.dumps(manifest) + "\n", encoding="utf-8")
    waiting.replace(folder / MANIFEST)
    return Archived(held, export.size, files, export)


def _need_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise MissingExtraError("rows", "pyarrow") from error


def _read_manifest(segment: Segment, folder: Path) -> int:
    path = folder / MANIFEST
    if not path.exists():
        if folder.exists() and any(one.suffix == ".parquet" for one in folder.rglob("*")):
            raise UsageError(f"{folder} has Parquet files and no {MANIFEST}; name another folder")
        return 0
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        origin, size, form = manifest["origin"], int(manifest["size"]), manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no description of an archive: {error}") from error
    if form != _FORMAT:
        raise UsageError(f"{path}: format {form}; this program writes {_FORMAT}")
    if origin != segment.origin:
        raise UsageError(f"{folder} is an archive of {origin}, not of {segment.origin}")
    return size


def _remove_leftovers(folder: Path, held: int) -> None:
    """Remove what an export wrote that did not come to its end."""
    for path in folder.rglob("*.parquet*"):
        named = _PART.match(path.name.lstrip("."))
        if path.name.startswith(".") or (named and int(named[1]) >= held):
            path.unlink()


def _write_table(
    folder: Path, schema: pa.Schema, rows: Iterator[tuple[str, Row]], export: Exporting
) -> list[Path]:
    """Write rows into a file a day, or several where they are many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files: list[Path] = []
    waiting: dict[str, list[Row]] = {}

    def flush() -> None:
        for day, held in sorted(waiting.items()):
            part = folder / f"date={day}"
            part.mkdir(parents=True, exist_ok=True)
            name = f"{export.since:012d}-{export.size:012d}-{len(files)}.parquet"
            unfinished = part / f".{name}"
            pq.write_table(
                pa.Table.from_pylist(held, schema=schema), unfinished, compression="zstd"
            )
            unfinished.replace(part / name)
            files.append(part / name)
        waiting.clear()

    for count, (day, row) in enumerate(rows, start=1):
        waiting.setdefault(day, []).append(row)
        if count % ARCHIVE_ROWS_MAX == 0:
            flush()
    flush()
    return files


def _tables() -> dict[str, tuple[Callable[[], pa.Schema], Callable[..., Any]]]:
    return {
        "events": (_event_schema, _event_rows),
        "nodes": (_node_schema, _node_rows),
        "edges": (_edge_schema, _edge_rows),
        "row_steps": (row_links.step_schema, row_links.step_rows),
    }


def _time_type() -> pa.DataType:
    import pyarrow as pa

    return pa.timestamp("us", tz="UTC")


def _event_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("position", pa.int64()),
            ("log_time", _time_type()),
            ("event_time", _time_type()),
            ("event_type", pa.string()),
            ("run", pa.string()),
            ("job_namespace", pa.string()),
            ("job_name", pa.string()),
            ("producer", pa.string()),
            ("event", pa.string()),
        ]
    )


def _event_rows(export: Exporting) -> Iterator[tuple[str, Row]]:
    for stored, opened in iter_opened(export):
        event = json.loads(opened.payload)
        time_us = parse_time(event["eventTime"])[0]
        job = event.get("job") or {}
        yield (
            day_of(time_us),
            {
                "position": stored.position,
                "log_time": stored.log_time_us,
                "event_time": time_us,
                "event_type": event.get("eventType"),
                "run": (event.get("run") or {}).get("runId"),
                "job_namespace": job.get("namespace"),
                "job_name": job.get("name"),
                "producer": event.get("producer"),
                "event": opened.payload.decode(),
            },
        )


def _node_schema() -> pa.Schema:
    import pyarrow as pa

    names = ("id", "kind", "namespace", "name", "part")
    texts = [(name, pa.string()) for name in names]
    return pa.schema([*texts, ("first_seen", _time_type()), ("position", pa.int64())])


def _node_rows(export: Exporting) -> Iterator[tuple[str, Row]]:
    for node, position, first_us in iter_nodes(export):
        yield (
            day_of(first_us),
            {
                "id": str(node),
                "kind": node.kind,
                "namespace": None if node.kind in KINDS_OF_ONE_PART else node.namespace,
                "name": node.name,
                "part": node.part or None,
                "first_seen": first_us,
                "position": position,
            },
        )


def _edge_schema() -> pa.Schema:
    import pyarrow as pa

    names = ("source", "target", "kind", "job", "run", "basis")
    texts = [(name, pa.string()) for name in names]
    return pa.schema([*texts, ("first_seen", _time_type()), ("position", pa.int64())])


def _edge_rows(export: Exporting) -> Iterator[tuple[str, Row]]:
    for source, target, kind, job, run, basis, position, time_us in iter_assertions(export):
        yield (
            day_of(time_us),
            {
                "source": str(source),
                "target": str(target),
                "kind": kind,
                "job": None if job is None else str(job),
                "run": run,
                "basis": basis,
                "first_seen": time_us,
                "position": position,
            },
        )
