"""Run a program with capture on.

What the program reads, writes, trains and predicts is recorded without a change to it; output,
exit status (128 + signal when one ended it) and results stay its own. Failures of lodeline itself
to start it exit with 125; other trouble is told on stderr and changes nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from typing import Final

from lodeline.errors import UsageError
from lodeline.settings import find_setting, is_on, receiver_url, store_url

# Objects more than before at which garbage is looked for: some megabytes.
_GARBAGE_OBJECTS: Final = 100_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options; the program follows `--`."""
    parser.usage = "lodeline run [options] -- CMD…"
    parser.add_argument("--job", metavar="NAME", help="name of the job; default: the script's path")
    parser.add_argument("--namespace", metavar="NS", help="namespace of job and models")
    parser.add_argument("--rows", action="store_true", help="record row provenance too")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="fix seeds, hash order and thread counts, so that a replay can be identical",
    )
    parser.add_argument(
        "--to",
        metavar="URL",
        help="deliver to this server, broker or store (LODELINE_DELIVER)",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD…", help="the program")


def execute(arguments: argparse.Namespace) -> int:
    """Run the program; gives its exit status."""
    # What follows imports a thousand classes and keeps them; at the usual pace the collector would
    # walk them dozens of times. While a program runs, garbage still goes, a little later.
    gc.set_threshold(_GARBAGE_OBJECTS, 10, 10)

    from lodeline.capture.runner import RunOptions, report_trouble, run_observed
    from lodeline.spool import spool_directory

    words = list(arguments.command)
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise UsageError("no program given; write: lodeline run -- python pipeline.py")
    store = store_url(arguments.store)
    options = RunOptions(
        receiver=receiver_url(arguments.to, store=arguments.store, server=arguments.server),
        spool=spool_directory(store),
        job=arguments.job,
        namespace=find_setting("namespace", argument=arguments.namespace) or "default",
        rows=arguments.rows or is_on(find_setting("rows")),
        deterministic=arguments.deterministic,
        enabled=not is_on(find_setting("disabled")),
    )
    result = run_observed(words, options)
    # The process ends here: nothing of it is worth a last look for garbage.
    gc.freeze()
    report_trouble(result)
    if arguments.json:
        answer = {
            "run": result.run_id or None,
            "status": result.status,
            "delivered": result.delivered,
            "waiting": result.waiting,
            "lost": result.lost,
            "trouble": result.trouble,
        }
        # The program's stdout is its own; the summary goes beside it.
        print(json.dumps(answer, ensure_ascii=False), file=sys.stderr)
    return result.status
