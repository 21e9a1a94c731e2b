"""Entry point of the `lodeline` command: finds the command, loads it alone, maps errors to status.

Exit status: 0 yes, 1 no, 2 wrong usage, 3 could not tell. Answers go to stdout, diagnostics to
stderr; with `--json` an error is an object on stdout, too, so that programs read one stream.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NoReturn

from lodeline.errors import LodelineError, MalformedOptionsError, UsageError

# Name -> (module below lodeline.cli, summary), in the order of `lodeline --help`.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("demo", "run a real pipeline on real data, captured, then ask about it"),
    "run": ("run", "run a Python program with capture on"),
    "autocapture": ("autocapture", "print the variables by which programs capture themselves"),
    "serve": ("serve", "serve the store over HTTP"),
    "proxy": ("proxy", "record the predictions of a model server in any language, in front of it"),
    "deployment": ("deployment", "kill, constrain, roll back or resume a deployment"),
    "key": ("key", "make, list and revoke the keys that a service asks its callers for"),
    "trace": ("trace", "where it came from, and what it affects"),
    "path": ("path", "how two nodes are connected"),
    "impact": ("impact", "what breaks, and who owns it"),
    "diff": ("diff", "what differs between two versions or runs"),
    "search": ("search", "find nodes by name, column, tag, owner or description"),
    "show": ("show", "one node in detail"),
    "rows": ("rows", "the rows behind a row or prediction, or ahead of it"),
    "cohort": ("cohort", "the population of a decision, or everything a row reached"),
    "replay": ("replay", "run a recorded run again and compare the bytes"),
    "ci": ("ci", "check a change before it is merged, and record the build"),
    "schema": ("schema", "contracts of datasets: register, check, list, show"),
    "sign": ("sign", "sign as a person: an evaluation, an approval, a model folder; make a key"),
    "attest": ("attest", "sign what the record says of a node, or verify a signed statement"),
    "verify": ("verify", "check the record, one answer, or an evidence pack"),
    "evidence": ("evidence", "a pack that proves an answer, for someone without store or network"),
    "log": ("log", "checkpoints and proofs of the log"),
    "consume": ("consume", "take in events from Kafka, NATS or a folder, as they come"),
    "mcp": ("mcp", "answer agents over the Model Context Protocol"),
    "import": ("import_", "take in OpenLineage events from files"),
    "export": ("export", "write the record as OpenLineage or PROV-JSON"),
    "open": ("open_", "open values that were encrypted before they left the process"),
    "rebuild": ("rebuild", "make the graph anew from the log"),
    "backup": ("backup", "write a backup of the store, while it is in use"),
    "restore": ("restore", "make a store from a backup"),
    "dead-letter": ("dead_letter", "list refused events, fix and resubmit them"),
    "subject": ("subject", "find, hand out or erase what is kept of one person"),
    "erase": ("erase", "erase what is kept of single rows, and single predictions"),
    "retention": ("retention", "let links of rows, or predictions, go that are older than a time"),
    "flush": ("flush", "deliver what is still in the spool"),
    "stats": ("stats", "count what the store holds"),
    "doctor": ("doctor", "check this installation and its store"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except BrokenPipeError:
        # The reader left (`lodeline trace … | head`). Nothing is wrong; Python's own flush at
        # exit must not complain either.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    name = words[0] if words else ""
    if name in {"", "-h", "--help", "help"}:
        print(_overview())
        return 0 if name else 2
    if name in {"-V", "--version"}:
        from lodeline import __version__

        print(f"lodeline {__version__}")
        return 0
    as_json = "--json" in words[: words.index("--") if "--" in words else len(words)]
    try:
        if name not in COMMANDS:
            raise UsageError(f"no command {name!r}; `lodeline --help` lists them")
        module = import_module(f"lodeline.cli.{COMMANDS[name][0]}")
        parser = command_parser(name)
        status: int = module.execute(parser.parse_args(words[1:]))
    except LodelineError as error:
        _report(error, as_json=as_json)
        return error.exit_status
    return status


class _Parser(argparse.ArgumentParser):
    """One whose faults are errors like all others, so that `--json` tells them in JSON, too."""

    def error(self, message: str) -> NoReturn:
        """Refuse the words of a command.

        Raises:
            MalformedOptionsError: always.
        """
        raise MalformedOptionsError(f"{self.prog}: {message}", self.prog)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """One that finds the terminal's width by itself.

    `argparse` makes a formatter for each option, and its own width loads every compressor that
    Python knows (through `shutil`): more than all else that parsing takes.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """What `shutil.get_terminal_size().columns` says."""
    stated = os.environ.get("COLUMNS", "")
    if stated.isdecimal() and int(stated):
        return int(stated)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one command, common options included.

    Args:
        name: a key of `COMMANDS`.
    """
    module = import_module(f"lodeline.cli.{COMMANDS[name][0]}")
    parser = _Parser(
        prog=f"lodeline {name}",
        description=module.__doc__,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    module.configure(parser)
    common = parser.add_argument_group("common options")
    common.add_argument("--json", action="store_true", help="answer in JSON with stable keys")
    common.add_argument("--store", metavar="URL", help="store to use (LODELINE_STORE)")
    common.add_argument("--server", metavar="URL", help="server to ask instead (LODELINE_URL)")
    return parser


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: lodeline COMMAND [options]",
            "",
            "Trace any prediction, model or column to its sources, and prove the record.",
            "",
            *lines,
            "",
            "`lodeline COMMAND --help` tells more. First steps: `lodeline demo`.",
        ]
    )


def _report(error: LodelineError, *, as_json: bool) -> None:
    if as_json:
        body = {"code": error.code, "message": str(error), "next": error.next_step}
        print(json.dumps({"error": body}, ensure_ascii=False))
        return
    print(f"lodeline: {error}", file=sys.stderr)
    if error.next_step:
        print(f"  next: {error.next_step}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
