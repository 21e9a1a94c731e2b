"""Open values that were encrypted before they left the process; reads JSON, writes JSON."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lodeline.capture.privacy import current, open_values, read_key
from lodeline.errors import UsageError


def configure(parser: ArgumentParser) -> None:
    """Add the options of `open`."""
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default="-",
        help="an answer as --json gave it; - reads stdin",
    )
    parser.add_argument(
        "--key", help="file:PATH or env:NAME; by default that of the table [privacy]"
    )


def execute(arguments: Namespace) -> int:
    """Print the answer with its values open; 1 when some stay sealed."""
    place = arguments.key or current().key
    if not place:
        raise UsageError("open: no key; give --key file:PATH or env:NAME")
    problems: list[str] = []
    opened = open_values(_read(arguments.file), read_key(place), problems)
    print(json.dumps(opened, indent=2, ensure_ascii=False))
    for problem in dict.fromkeys(problems):
        print(f"lodeline: {problems.count(problem)} values stay sealed: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _read(name: str) -> object:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        return json.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"open: {name} is no JSON: {error}") from error
