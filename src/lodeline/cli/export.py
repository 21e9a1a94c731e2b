"""Write the record to standard output, for other programs.

`openlineage` gives every event of the log in log order, one a line, in canonical form (RFC 8785).
`prov-json` gives one W3C PROV document.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lodeline.cli.answers import open_segment
from lodeline.errors import UsageError

if TYPE_CHECKING:
    from lodeline.fold import Entry

FORMATS = ("openlineage", "prov-json")


def configure(parser: ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--format", choices=FORMATS, default="openlineage", help="default: %(default)s"
    )
    parser.add_argument(
        "--since",
        metavar="SIZE",
        type=int,
        default=0,
        help="leave out what the log held when it had SIZE entries",
    )


def execute(arguments: Namespace) -> int:
    """Write; what is left out is told on standard error."""
    if arguments.since < 0:
        raise UsageError(f"--since {arguments.since}: a size is 0 or more")
    left_out = _LeftOut()
    with closing(open_segment(arguments)) as segment:
        _EXPORTS[arguments.format](segment, arguments.since, left_out)
    sys.stdout.buffer.flush()
    if left_out.events:
        print(f"{left_out.events} events left out: their payloads were erased", file=sys.stderr)
    if left_out.values:
        print(f"{left_out.values} values are null: they were erased", file=sys.stderr)
    if left_out.locked:
        print(f"{left_out.locked} values are null: their keys are not here", file=sys.stderr)
    return 0


@dataclass
class _LeftOut:
    """What an export does not hold."""

    events: int = 0
    values: int = 0
    locked: int = 0


def _export_openlineage(segment: Any, since: int, left_out: _LeftOut) -> None:
    size = segment.size()
    for _, opened in segment.iter_opened(since, size, kinds={"event"}):
        sys.stdout.buffer.write(opened.payload + b"\n")
        left_out.values += len(opened.erased)
        left_out.locked += len(opened.missing)
    left_out.events = _count_erased(segment, since, size)


def _export_prov_json(segment: Any, since: int, left_out: _LeftOut) -> None:
    from lodeline.cli.prov_json import iter_groups, last_positions, write_prov_json

    size = segment.size()
    lasts = last_positions(_iter_entries(segment, since, size))
    write_prov_json(iter_groups(_iter_entries(segment, since, size), lasts), sys.stdout.buffer)
    left_out.events = _count_erased(segment, since, size)


def _count_erased(segment: Any, since: int, size: int) -> int:
    with segment.reading() as connection:
        erased = segment.find_erasures(connection).entries
    return sum(since <= position < size for position in erased)


def _iter_entries(segment: Any, since: int, size: int) -> Iterator[Entry]:
    from lodeline.fold import Entry
    from lodeline.wire import content_digest, decode_stored

    for stored, opened in segment.iter_opened(since, size, kinds={"event"}):
        yield Entry(
            stored.position,
            stored.log_time_us,
            decode_stored(opened.payload),
            # Of the form that is folded, in which sealed values are null.
            content_digest(stored.payload),
        )


_EXPORTS = {"openlineage": _export_openlineage, "prov-json": _export_prov_json}
