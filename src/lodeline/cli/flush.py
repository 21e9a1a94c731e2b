"""Deliver what observed programs have put into the spool and nobody delivered yet.

Every command that opens the store delivers for a moment first; this one takes the time that it
takes. Exit status 0 when nothing is left, 1 when something was refused, 3 when something could
not be delivered now and stays in the spool.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.answers import print_json
from lodeline.settings import find_setting, store_url
from lodeline.spool import spool_directory
from lodeline.transport import Report, drain_into


def configure(parser: ArgumentParser) -> None:
    """Add the options of `lodeline flush`."""
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="stop after so many seconds; no bound by default"
    )


def execute(arguments: Namespace) -> int:
    """Deliver, and say what was done."""
    store = store_url(arguments.store)
    server = find_setting("url", argument=arguments.server)
    target = server if server is not None and arguments.store is None else store
    report = drain_into(target, arguments.seconds, directory=spool_directory(store))
    if arguments.json:
        print_json(report.to_json())
    else:
        _print(report)
    if not report.complete:
        return 3
    return 1 if report.refused else 0


def _print(report: Report) -> None:
    print(f"delivered {report.delivered} records")
    if report.refused:
        print(f"refused {report.refused}, kept in the spool's refused.ndjson")
    if report.loss.records or report.loss.torn:
        print(f"lost {report.loss.records} records before delivery, {report.loss.torn} torn")
    if not report.complete:
        print(f"left {report.pending_bytes} bytes in the spool: {report.reason}")
