"""Write the record for other programs, to standard output or to `--output`.

`openlineage` gives every event of the log in log order, one a line, in canonical form (RFC 8785);
`prov-json` one W3C PROV document; `csv` the nodes and edges (a ZIP, or with `--output` a folder);
`parquet` adds to an archive in a folder, by day; `cyclonedx` gives the ML-BOM of the model ID, and
`croissant` describes the dataset ID. The size of the log that an export went to is told on standard
error; the next one goes on from there with `--since`. With `--server` the record of that server is
exported, as far as the key may see it; archives of `parquet` are made where the store is.
"""

from __future__ import annotations

import sys
import zipfile
from argparse import ArgumentParser, Namespace
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.served import copy_to, download, find_server
from lodeline.errors import UsageError

if TYPE_CHECKING:
    from lodeline.exports.exporting import Exporting
    from lodeline.questions import ServerQuestions
    from lodeline.store import Segment

FORMATS = ("openlineage", "prov-json", "csv", "parquet", "cyclonedx", "croissant")
_FOLDERS = frozenset({"csv", "parquet"})
_TABLES = ("nodes.csv", "edges.csv")


def configure(parser: ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "id", metavar="ID", nargs="?", help="the model or dataset of cyclonedx and croissant"
    )
    parser.add_argument(
        "--format", choices=FORMATS, default="openlineage", help="default: %(default)s"
    )
    parser.add_argument(
        "--since",
        metavar="SIZE",
        type=int,
        help="leave out what the log held when it had SIZE entries",
    )
    parser.add_argument(
        "--output",
        "-o",
        metavar="PATH",
        type=Path,
        help="a file, or the folder of csv and parquet (default: standard output)",
    )


def execute(arguments: Namespace) -> int:
    """Write; what is left out is told on standard error."""
    if arguments.since is not None and arguments.since < 0:
        raise UsageError(f"--since {arguments.since}: a size is 0 or more")
    if arguments.format == "parquet" and (arguments.output is None or arguments.id):
        raise UsageError("parquet is an archive of the whole record in a folder: --output DIR")
    server = find_server(arguments)
    if server is not None:
        return _export_served(arguments, server)
    from lodeline.ingest import fold_pending

    with closing(open_segment(arguments)) as segment:
        fold_pending(segment)
        if arguments.format == "parquet":
            return _export_archive(arguments, segment)
        return _export(arguments, segment)


def _export_served(arguments: Namespace, server: ServerQuestions) -> int:
    """Export through a server."""
    if arguments.format == "parquet":
        raise UsageError("an archive is made where the store is; name it: --store")
    asked = {"format": arguments.format, "id": arguments.id, "since": arguments.since}
    given = {name: value for name, value in asked.items() if value is not None}
    path = f"/api/v2/export?{urlencode(given)}"
    output: Path | None = arguments.output
    files: list[str] | None = None
    if output is None:
        if arguments.format == "csv" and sys.stdout.isatty():
            raise UsageError("a ZIP is not for a terminal: --output DIR")
        headers = copy_to(server, path, sys.stdout.buffer)
    elif arguments.format == "csv" and output.suffix != ".zip":
        output.mkdir(parents=True, exist_ok=True)
        packed = output / ".csv.zip"
        headers = download(server, path, packed)
        with zipfile.ZipFile(packed) as archive:
            # Named here, not there: what a server calls a file must not choose where it lies.
            for name in _TABLES:
                (output / name).write_bytes(archive.read(name))
        packed.unlink()
        files = [str(output / name) for name in _TABLES]
    else:
        headers = download(server, path, output)
        files = [str(output)]
    left_out = headers.get("lodeline-left-out", "")
    if any(part.partition("=")[2] != "0" for part in left_out.split(", ") if part):
        print(f"left out: {left_out}", file=sys.stderr)
    size = headers.get("lodeline-tree-size", "")
    _tell_files(arguments, arguments.since or 0, int(size) if size.isdigit() else None, files)
    return 0


def _export_archive(arguments: Namespace, segment: Segment) -> int:
    from lodeline.exports.parquet_archive import archive

    done = archive(segment, arguments.output, since=arguments.since)
    _tell(arguments, done.export, [str(path) for path in done.files])
    return 0


def _export(arguments: Namespace, segment: Segment) -> int:
    from lodeline.exports.csv_tables import write_csv_folder
    from lodeline.exports.exporting import begin_export
    from lodeline.exports.formats import check_format

    since = arguments.since or 0
    form = check_format(arguments.format, arguments.id, since)
    export = begin_export(segment, since=since)
    output: Path | None = arguments.output
    if output is None:
        if form.media_type == "application/zip" and sys.stdout.isatty():
            raise UsageError("a ZIP is not for a terminal: --output DIR")
        form.write(export, arguments.id or "", sys.stdout.buffer)
        sys.stdout.buffer.flush()
        # Standard output is the export's; nothing else may come there.
        _tell(arguments, export, None)
        return 0
    if arguments.format in _FOLDERS and output.suffix != ".zip":
        files = write_csv_folder(export, output)
    else:
        waiting = output.with_name(f".{output.name}.part")
        with waiting.open("wb") as file:
            form.write(export, arguments.id or "", file)
        waiting.replace(output)
        files = [output]
    _tell(arguments, export, [str(path) for path in files])
    return 0


def _tell(arguments: Namespace, export: Exporting, files: list[str] | None) -> None:
    for note in export.left_out.notes():
        print(note, file=sys.stderr)
    _tell_files(arguments, export.since, export.size, files)


def _tell_files(
    arguments: Namespace, since: int, size: int | None, files: list[str] | None
) -> None:
    if files is not None and arguments.json:
        print_json({"since": since, "size": size, "files": files})
        return
    if files is not None:
        print(f"{len(files)} files written" + "".join(f"\n  {path}" for path in files))
    if not arguments.id and size is not None:
        print(f"to tree size {size}; next: --since {size}", file=sys.stderr)
