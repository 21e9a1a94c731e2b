"""Let links of rows go that only events before a time refer to, or predictions made before it.

lodeline retention rows --before 2026-01-01T00:00:00Z
lodeline retention predictions --before 2026-01-01T00:00:00Z --dry-run

The log says what goes before it goes. Events, roots and every proof handed out before stay valid;
questions that need what went have a gap of reason `retention`. Exit status: 0 something goes, 1
nothing is that old.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from contextlib import closing

from lodeline.cli.answers import open_segment, print_json
from lodeline.errors import UsageError
from lodeline.ingest.predictions import fold_blocks
from lodeline.model import parse_time
from lodeline.rows.steps import fold_steps
from lodeline.store.expiring import expire_blocks, find_expirable


def configure(parser: ArgumentParser) -> None:
    """Add what goes, and up to when."""
    parser.add_argument(
        "what",
        choices=["rows", "predictions"],
        help="blocks of row links and of declared keys; batches of predictions",
    )
    parser.add_argument(
        "--before", metavar="T", required=True, help="event time of steps, or of predictions"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go; remove nothing")


def execute(arguments: Namespace) -> int:
    """Say what goes, and let it go."""
    try:
        before_us = parse_time(arguments.before)[0]
    except ValueError as error:
        raise UsageError(f"--before: {error}") from error
    with closing(open_segment(arguments)) as segment:
        fold_steps(segment)
        fold_blocks(segment)
        if arguments.dry_run:
            position, doomed = None, find_expirable(segment, before_us, arguments.what)
        else:
            position, doomed = expire_blocks(segment, before_us, arguments.what)
    if arguments.json:
        print_json({"expired_by": position, "blobs": doomed})
    elif position is None and not arguments.dry_run:
        print("nothing is that old")
    else:
        by = "would expire" if position is None else f"expired, by entry {position}"
        print(f"{len(doomed)} {'blocks' if arguments.what == 'rows' else 'batches'} {by}")
    return 0 if doomed else 1
