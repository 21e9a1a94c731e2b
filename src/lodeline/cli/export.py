"""Write the record to standard output, for other programs.

`openlineage` gives every event of the log in log order, one a line, in canonical form (RFC 8785).
`prov-json` gives one W3C PROV document.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import closing
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
    with closing(open_segment(arguments)) as segment:
        erased = _EXPORTS[arguments.format](segment, arguments.since)
    sys.stdout.buffer.flush()
    if erased:
        print(f"{erased} events left out: their payloads were erased", file=sys.stderr)
    return 0


def _export_openlineage(segment: Any, since: int) -> int:
    erased = 0
    for entry in segment.iter_entries(since, kinds={"event"}):
        if entry.payload is None:
            erased += 1
        else:
            sys.stdout.buffer.write(entry.payload + b"\n")
    return erased


def _export_prov_json(segment: Any, since: int) -> int:
    from lodeline.cli.prov_json import iter_groups, last_positions, write_prov_json

    size = segment.size()
    lasts = last_positions(_iter_entries(segment, since, size))
    write_prov_json(iter_groups(_iter_entries(segment, since, size), lasts), sys.stdout.buffer)
    entries = segment.iter_entries(since, size, kinds={"event"})
    return sum(entry.payload is None for entry in entries)


def _iter_entries(segment: Any, since: int, size: int) -> Iterator[Entry]:
    from lodeline.fold import Entry
    from lodeline.wire import content_digest, decode_stored

    for stored in segment.iter_entries(since, size, kinds={"event"}):
        if stored.payload is not None:
            yield Entry(
                stored.position,
                stored.log_time_us,
                decode_stored(stored.payload),
                content_digest(stored.payload),
            )


_EXPORTS = {"openlineage": _export_openlineage, "prov-json": _export_prov_json}
