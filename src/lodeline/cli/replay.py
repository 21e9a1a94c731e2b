"""Run a recorded run again, from the record alone, and compare what comes out.

The code is checked out at the recorded commit with the recorded patch, the inputs are put in place
at their recorded digests, and the command runs in that copy under capture. Outputs are compared by
digest, then by content. Exit status: 0 identical or equal, 1 different or failed, 3 cannot.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from lodeline.cli.answers import connect, print_json
from lodeline.errors import CannotReplayError, UsageError
from lodeline.model import parse_identifier
from lodeline.settings import find_setting, store_url

# On a screen; another interpreter differs in a hundred packages.
_DIFFERENCES_SHOWN = 12
_STATUS = {"identical": 0, "equal": 0, "different": 1, "failed": 1, "cannot": 3}


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="the run to repeat, run:<uuid>; another node means the run that wrote it",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="T",
        help="numbers that differ by at most T, absolutely or relatively, count as equal",
    )
    parser.add_argument(
        "--with",
        dest="swaps",
        action="append",
        default=[],
        metavar="NODE#VERSION",
        help="use this version of an input, or of the job's code, instead (repeatable)",
    )
    parser.add_argument("--keep", action="store_true", help="leave the working copy for a look")


def execute(arguments: Namespace) -> int:
    """Replay and print the verdict."""
    from lodeline.replay.recipe import parse_run
    from lodeline.replay.rerun import Replay
    from lodeline.transport.draining import drain_into

    if arguments.server and not arguments.store:
        raise UsageError("replay runs on the machine that holds the store; use --store")
    if not arguments.tolerance >= 0:
        raise UsageError(f"--tolerance must be at least 0, not {arguments.tolerance}")
    url = find_setting("store", argument=arguments.store)
    # Tables are compared by their logical digests, too: no bound, so that all are there.
    drain_into(store_url(url), None)
    answer = Replay(
        store=store_url(url),
        run_id=parse_run(_run_of(arguments)),
        tolerance=arguments.tolerance,
        swaps=tuple(parse_identifier(text) for text in arguments.swaps),
        keep=arguments.keep,
        tell=lambda line: print(f"  {line}", file=sys.stderr),
    ).verdict()
    if arguments.json:
        print_json(answer)
    else:
        _print(answer)
    return _STATUS[answer["verdict"]]


def _run_of(arguments: Namespace) -> str:
    """The run named, or the one that wrote the version named (the newest, without a version)."""
    text: str = arguments.run
    kind, _, rest = text.partition(":")
    if kind == "run" or not rest:
        return text
    answer = connect(arguments).ask("show", id=text)
    wanted = answer["version"]
    versions = answer.get("versions")
    for version in versions if isinstance(versions, list) else ():
        if version.get("version") == wanted and version.get("run"):
            return str(version["run"])
    raise CannotReplayError(reason=f"the record does not say which run wrote {text}")


def _print(answer: dict[str, object]) -> None:
    print(f"{answer['verdict']}: {answer['run']}")
    if answer["reason"]:
        print(f"  {answer['reason']}")
    outputs = answer["outputs"]
    assert isinstance(outputs, list)
    for output in outputs:
        print(f"  {output['verdict']:<10} {output['id']}")
        if output["verdict"] != "identical":
            print(f"             recorded {output['recorded']}, replayed {output['replayed']}")
        if output.get("detail"):
            print(f"             {output['detail']}")
    differences = answer["differences"]
    assert isinstance(differences, list)
    for change in differences[:_DIFFERENCES_SHOWN]:
        print(
            f"  {change['what']} {change['at']}: {change['before']} recorded, {change['after']} now"
        )
    if len(differences) > _DIFFERENCES_SHOWN:
        print(
            f"  and {len(differences) - _DIFFERENCES_SHOWN} more differences; --json has them all"
        )
    if answer["replay_run"]:
        print(f"  next: lodeline diff {answer['run']} {answer['replay_run']}")
