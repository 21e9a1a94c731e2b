"""Refused inputs: list them, look at one, fix it and send it again.

lodeline dead-letter list
lodeline dead-letter show 3 > fixed.json
lodeline dead-letter retry 3 --edit fixed.json
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lodeline.cli.answers import open_segment, print_json
from lodeline.errors import UnknownDeadLetterError, UsageError
from lodeline.ingest import retry_dead_letters
from lodeline.store import DeadLetter, Segment


def configure(parser: ArgumentParser) -> None:
    """Add the actions."""
    parser.add_argument("action", choices=["list", "show", "retry"], help="what to do")
    parser.add_argument("ids", nargs="*", type=int, metavar="ID", help="retry: all without one")
    parser.add_argument(
        "--edit", metavar="FILE", help="retry: send this file in the letter's place"
    )


def execute(arguments: Namespace) -> int:
    """List, show or retry."""
    segment = open_segment(arguments)
    if arguments.action == "list":
        return _list(segment, as_json=arguments.json)
    if arguments.action == "show":
        return _show(segment, arguments)
    return _retry(segment, arguments)


def _list(segment: Segment, *, as_json: bool) -> int:
    letters = list(segment.iter_dead_letters())
    if as_json:
        print_json({"dead_letters": [letter.to_json() for letter in letters]})
        return 0
    for letter in letters:
        print_letter(letter)
    print(f"{len(letters)} refused" if letters else "nothing was refused")
    if letters:
        print(f"  next: lodeline dead-letter show {letters[0].letter_id} > fixed.json")
    return 0


def print_letter(letter: DeadLetter) -> None:
    """Print one refusal in two lines."""
    times = f", {letter.times} times" if letter.times > 1 else ""
    print(f"{letter.letter_id}: {letter.source or 'no source'} ({letter.byte_count} bytes{times})")
    print(f"  {letter.code} at {letter.path or 'the document'}: {letter.message}")


def _show(segment: Segment, arguments: Namespace) -> int:
    if len(arguments.ids) != 1:
        raise UsageError("dead-letter show takes one ID")
    letter_id = arguments.ids[0]
    if arguments.json:
        for letter in segment.iter_dead_letters():
            if letter.letter_id == letter_id:
                print_json(letter.to_json())
                return 0
        raise UnknownDeadLetterError(letter_id)
    raw = segment.dead_letter_bytes(letter_id)
    if raw is None:
        print("its bytes were too many to keep", file=sys.stderr)
        return 3
    sys.stdout.buffer.write(raw)
    sys.stdout.buffer.flush()
    return 0


def _retry(segment: Segment, arguments: Namespace) -> int:
    edited: bytes | None = None
    if arguments.edit is not None:
        if len(arguments.ids) != 1:
            raise UsageError("--edit takes one ID")
        try:
            edited = Path(arguments.edit).read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {arguments.edit}: {error.strerror}") from error
    result = retry_dead_letters(segment, arguments.ids or None, edited=edited)
    if arguments.json:
        print_json(result.to_json())
    else:
        for letter in result.dead_letters:
            print_letter(letter)
        print(
            f"{result.accepted} accepted, {result.duplicates} duplicates, "
            f"{result.refused} refused again"
        )
    return 1 if result.refused else 0
