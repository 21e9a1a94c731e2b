"""Nodes and edges as CSV (RFC 4180), for spreadsheets, graph databases and data frames.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` (or a tab or line break before
them) for a formula, and names come from whoever sends events. Such a cell gets an apostrophe before
it, and so does one that begins with an apostrophe: whoever reads the files takes one leading
apostrophe away and has the value again.

Source: OWASP, CSV Injection.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Final

from lodeline.exports.exporting import Exporting
from lodeline.exports.graph_rows import iter_edges, iter_nodes
from lodeline.model import KINDS_OF_ONE_PART, format_time

NODE_COLUMNS: Final = ("id", "kind", "namespace", "name", "part", "first_seen", "position")
EDGE_COLUMNS: Final = (
    *("source", "target", "kind", "job", "basis", "first_seen", "last_seen", "runs"),
)

_DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "＝", "＋", "－", "＠")
# Of every file in an archive: exports of the same record are the same bytes.
_ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)

_Open = Callable[[str], AbstractContextManager[IO[bytes]]]


def safe_cell(value: object) -> object:
    """Give a cell that no spreadsheet takes for a formula; numbers are as they are."""
    if isinstance(value, str) and value.startswith(_DANGEROUS):
        return "'" + value
    return value


def write_csv_folder(export: Exporting, folder: Path) -> list[Path]:
    """Write nodes.csv and edges.csv into a folder, each whole or not at all.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def open_file(name: str) -> Iterator[IO[bytes]]:
        path = folder / name
        waiting = path.with_name(f".{name}.part")
        with waiting.open("wb") as file:
            yield file
        waiting.replace(path)

    _write_tables(export, open_file)
    return [folder / "nodes.csv", folder / "edges.csv"]


def write_csv_zip(export: Exporting, out: IO[bytes]) -> None:
    """Write both files as one ZIP archive; `out` need not be seekable."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:

        @contextmanager
        def open_file(name: str) -> Iterator[IO[bytes]]:
            member = zipfile.ZipInfo(name, _ZIP_DATE)
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as file:
                yield file

        _write_tables(export, open_file)


def _write_tables(export: Exporting, open_file: _Open) -> None:
    with open_file("nodes.csv") as file:
        _write(file, NODE_COLUMNS, _node_cells(export))
    with open_file("edges.csv") as file:
        _write(file, EDGE_COLUMNS, _edge_cells(export))


def _write(file: IO[bytes], columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([safe_cell(cell) for cell in row])
    text.flush()
    text.detach()


def _node_cells(export: Exporting) -> Iterator[tuple[Any, ...]]:
    for node, position, first_us in iter_nodes(export):
        namespace = "" if node.kind in KINDS_OF_ONE_PART else node.namespace
        first = format_time(first_us)
        yield (str(node), node.kind, namespace, node.name, node.part, first, position)


def _edge_cells(export: Exporting) -> Iterator[tuple[Any, ...]]:
    for source, target, kind, job, basis, first_us, last_us, runs in iter_edges(export):
        times = (format_time(first_us), format_time(last_us))
        yield (str(source), str(target), kind, "" if job is None else str(job), basis, *times, runs)
