"""Take in OpenLineage events from files, folders or standard input.

Files hold one event a line, an array, or captured requests (`{"path", "headers", "body"}`), plain
or gzipped. A folder gives its .json, .jsonl and .ndjson files, gzipped ones too. What is refused is
kept: `lodeline dead-letter list`. Exit status 1 if anything was refused. With `--server` the events
are sent there, and what is refused is kept there.

`--dbt` names a target folder of dbt: its manifest.json and run_results.json become events of the
models and tests that were run. They do not say which database it was: `--dataset-namespace` does.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import zlib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.dead_letter import print_letter
from lodeline.cli.progress import counting
from lodeline.cli.served import Sent, find_server, send_events
from lodeline.errors import UsageError
from lodeline.ingest import ImportResult, Submission, accept, fold_pending
from lodeline.questions import ServerQuestions
from lodeline.settings import find_setting
from lodeline.wire.reading import iter_raw_events

_SUFFIXES = {".json", ".jsonl", ".ndjson"}
_GZIP_MAGIC = b"\x1f\x8b"
# Refusals printed for people; `dead-letter list` has the rest.
_PRINTED_MAX = 10


def configure(parser: ArgumentParser) -> None:
    """Add the files."""
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="file, folder, or - for standard input"
    )
    parser.add_argument("--dbt", metavar="DIR", help="target folder of dbt")
    parser.add_argument(
        "--dataset-namespace",
        metavar="NS",
        help="with --dbt: of its database, as in postgres://db.example.org:5432",
    )
    parser.add_argument("--namespace", metavar="NS", help="with --dbt: of its jobs")


def execute(arguments: Namespace) -> int:
    """Import everything; answer with the counts."""
    files = [file for name in arguments.files for file in _files_of(name)]
    told = _dbt_events(arguments)
    if not files and not told:
        raise UsageError("import: name files, or a target folder of dbt with --dbt")
    server = find_server(arguments)
    if server is not None:
        return _send(arguments, server, files, told)
    segment = open_segment(arguments, create=True)
    total = sum(file.stat().st_size for file in files if file is not None)
    with counting("import", quiet=arguments.json) as progress:
        done = _Reading()

        def show(result: ImportResult) -> None:
            progress(done.byte_count, total, f"{result.seen} events")

        found = chain(told, _iter_submissions(files, done))
        result = accept(segment, found, progress=show, fold=False)
    size = segment.size()
    with counting("fold", quiet=arguments.json) as progress:
        fold_pending(segment, progress=lambda folded: progress(folded, size, f"{folded} entries"))
    segment.close()
    if arguments.json:
        print_json(result.to_json())
    else:
        _print_result(result)
    return 1 if result.refused else 0


def _dbt_events(arguments: Namespace) -> list[Submission]:
    """Give the events of dbt's artifacts that are asked for."""
    if arguments.dbt is None:
        return []
    if not arguments.dataset_namespace:
        raise UsageError("import --dbt: say with --dataset-namespace which database it was")
    from lodeline.capture.dbt_results import DbtTelling, events_of, read_results

    jobs = find_setting("namespace", argument=arguments.namespace) or "default"
    found = read_results(Path(arguments.dbt))
    events = events_of(found, DbtTelling(jobs, arguments.dataset_namespace))
    return [
        Submission(json.dumps(event).encode(), f"{arguments.dbt}:{at}")
        for at, event in enumerate(events, 1)
    ]


def _send(
    arguments: Namespace, server: ServerQuestions, files: list[Path | None], told: list[Submission]
) -> int:
    """Send everything to a server; answer with the counts."""
    done = _Reading()
    total = sum(file.stat().st_size for file in files if file is not None)
    with counting("import", quiet=arguments.json) as progress:
        sent = send_events(
            server,
            ((one.raw, one.source) for one in chain(told, _iter_submissions(files, done))),
            lambda sent: progress(done.byte_count, total, f"{sent.seen} events"),
        )
    if arguments.json:
        print_json(sent.to_json())
    else:
        _print_result(sent)
    return 1 if sent.refused else 0


def _print_result(result: ImportResult | Sent) -> None:
    print(f"{result.accepted} accepted, {result.duplicates} duplicates, {result.refused} refused")
    for letter in result.dead_letters[:_PRINTED_MAX]:
        if isinstance(letter, dict):
            place = letter["path"] or "the document"
            print(f"{letter['source']}\n  {letter['code']} at {place}: {letter['message']}")
        else:
            print_letter(letter)
    if result.refused:
        print("  next: lodeline dead-letter list")


def iter_events(names: Iterable[str]) -> Iterator[tuple[bytes, str]]:
    """Read the events of files and folders, each with where it stands."""
    files = [file for name in names for file in _files_of(name)]
    for submission in _iter_submissions(files, _Reading()):
        yield submission.raw, submission.source or "standard input"


def _files_of(name: str) -> list[Path | None]:
    """List the files of one argument; `None` is standard input."""
    if name == "-":
        return [None]
    path = Path(name)
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file() and _is_events(file))
        if not found:
            raise UsageError(f"no .json, .jsonl or .ndjson file below {name}")
        return list(found)
    if not path.is_file():
        raise UsageError(f"no file {name}")
    return [path]


def _is_events(path: Path) -> bool:
    suffixes = path.suffixes
    if suffixes and suffixes[-1] == ".gz":
        suffixes = suffixes[:-1]
    return bool(suffixes) and suffixes[-1] in _SUFFIXES


class _Reading:
    """How many bytes of the files have been read."""

    def __init__(self) -> None:
        self.byte_count = 0


def _iter_submissions(files: list[Path | None], done: _Reading) -> Iterator[Submission]:
    for file in files:
        name = "standard input" if file is None else str(file)
        with _opened(file) as stream:
            try:
                for raw, at in iter_raw_events(_iter_lines(stream)):
                    yield Submission(raw, f"{name}:{at}")
            except (OSError, EOFError, zlib.error) as error:
                raise UsageError(f"cannot read {name}: {error}") from error
        if file is not None:
            done.byte_count += file.stat().st_size


def _iter_lines(stream: io.RawIOBase) -> Iterator[bytes]:
    buffered = io.BufferedReader(stream)
    if buffered.peek(2)[:2] == _GZIP_MAGIC:
        with gzip.GzipFile(fileobj=buffered) as unpacked:
            yield from unpacked
    else:
        yield from buffered


@contextmanager
def _opened(file: Path | None) -> Iterator[io.RawIOBase]:
    try:
        if file is None:
            stream = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115  # a descriptor
        else:
            stream = file.open("rb", buffering=0)
    except OSError as error:
        raise UsageError(f"cannot read {file or 'standard input'}: {error.strerror}") from error
    with stream:
        yield stream
