"""Deliver what observed programs have put into the spool and nobody delivered yet.

Every command that opens the store delivers for a moment first; this one takes the time that it
takes. With `--follow` it goes on until it is stopped: the background deliverer of a machine. Exit
status 0 when nothing is left, 1 when something was refused, 3 when something could not be delivered
now and stays in the spool.
"""

from __future__ import annotations

import signal
import sys
import threading
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lodeline.capture.collector import collect_orphans
from lodeline.cli.answers import print_json
from lodeline.errors import UsageError
from lodeline.settings import receiver_url, store_url
from lodeline.spool import Spool, spool_directory
from lodeline.transport import Report, drain_into, follow


def configure(parser: ArgumentParser) -> None:
    """Add the options of `lodeline flush`."""
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="stop after so many seconds; no bound by default"
    )
    parser.add_argument(
        "--to",
        metavar="URL",
        help="deliver to this server, broker or store (LODELINE_DELIVER)",
    )
    parser.add_argument(
        "--follow", action="store_true", help="go on with what comes, until stopped"
    )


def execute(arguments: Namespace) -> int:
    """Deliver, and say what was done."""
    if arguments.follow and arguments.seconds is not None:
        raise UsageError("--follow goes on until it is stopped; it takes no --seconds")
    target = receiver_url(arguments.to, store=arguments.store, server=arguments.server)
    directory = spool_directory(store_url(arguments.store))
    if arguments.follow:
        report = _follow(target, directory)
    else:
        _collect(directory)
        report = drain_into(target, arguments.seconds, directory=directory)
    if arguments.json:
        print_json(report.to_json())
    else:
        _print(report)
    if not report.complete:
        return 3
    return 1 if report.refused else 0


def _collect(directory: Path) -> None:
    """Tell the ends of runs that nobody else can tell: their programs and runners are gone."""
    if directory.is_dir():
        spool = Spool(directory)
        collect_orphans(directory, spool.append)
        spool.close()


def _follow(target: str, directory: Path) -> Report:
    """Deliver until SIGTERM or SIGINT; gives the sum of what was done."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    total, told = Report(), ""

    def wait(seconds: float) -> None:
        stopped.wait(seconds)
        _collect(directory)

    for report in follow(target, directory, should_stop=stopped.is_set, wait=wait):
        total.delivered += report.delivered
        total.refused += report.refused
        total.pending_bytes, total.loss = report.pending_bytes, report.loss
        total.reason = report.reason
        if report.reason != told:
            told = report.reason
            print(f"lodeline flush: {told or 'delivering again'}", file=sys.stderr)
    return total


def _print(report: Report) -> None:
    print(f"delivered {report.delivered} records")
    if report.refused:
        print(f"refused {report.refused}, kept in the spool's refused.ndjson")
    if report.loss.records or report.loss.torn:
        print(f"lost {report.loss.records} records before delivery, {report.loss.torn} torn")
    if not report.complete:
        print(f"left {report.pending_bytes} bytes in the spool: {report.reason}")
