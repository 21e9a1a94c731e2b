"""Refused inputs: list them, look at one, fix it and send it again, or strike it off.

lodeline dead-letter list
lodeline dead-letter show 3 > fixed.json
lodeline dead-letter retry 3 --edit fixed.json
lodeline dead-letter resolve 3
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lodeline.cli.answers import open_segment, print_json
from lodeline.errors import MissingBytesError, UsageError
from lodeline.questions import ServerQuestions
from lodeline.settings import find_setting

if TYPE_CHECKING:
    from lodeline.store import DeadLetter, Segment

Answer = Mapping[str, Any]


def configure(parser: ArgumentParser) -> None:
    """Add the actions."""
    parser.add_argument("action", choices=["list", "show", "retry", "resolve"], help="what to do")
    parser.add_argument("ids", nargs="*", type=int, metavar="ID", help="retry: all without one")
    parser.add_argument(
        "--edit", metavar="FILE", help="retry: send this file in the letter's place"
    )


def execute(arguments: Namespace) -> int:
    """List, show, retry or resolve."""
    letters = _open(arguments)
    if arguments.action == "list":
        return _list(letters, as_json=arguments.json)
    if arguments.action == "show":
        return _show(letters, arguments)
    if arguments.action == "resolve":
        return _resolve(letters, arguments)
    return _retry(letters, arguments)


class _Letters(Protocol):
    """Where the letters are."""

    def find_all(self) -> list[Answer]: ...
    def show(self, letter_id: int) -> Answer: ...
    def read(self, letter_id: int) -> bytes: ...
    def retry(self, letter_ids: list[int], edited: bytes | None) -> Answer: ...
    def resolve(self, letter_id: int) -> None: ...


def _open(arguments: Namespace) -> _Letters:
    server = find_setting("url", argument=arguments.server)
    if server is not None and arguments.store is None:
        return _ServedLetters(ServerQuestions(server))
    return _StoredLetters(open_segment(arguments))


class _StoredLetters:
    def __init__(self, segment: Segment) -> None:
        self._segment = segment

    def find_all(self) -> list[Answer]:
        return [letter.to_json() for letter in self._segment.iter_dead_letters()]

    def show(self, letter_id: int) -> Answer:
        return self._segment.get_dead_letter(letter_id).to_json()

    def read(self, letter_id: int) -> bytes:
        raw = self._segment.dead_letter_bytes(letter_id)
        if raw is None:
            raise MissingBytesError(letter_id)
        return raw

    def retry(self, letter_ids: list[int], edited: bytes | None) -> Answer:
        from lodeline.ingest import retry_dead_letters

        return retry_dead_letters(self._segment, letter_ids or None, edited=edited).to_json()

    def resolve(self, letter_id: int) -> None:
        self._segment.get_dead_letter(letter_id)
        self._segment.resolve_dead_letter(letter_id)


class _ServedLetters:
    def __init__(self, server: ServerQuestions) -> None:
        self._server = server

    def find_all(self) -> list[Answer]:
        found: list[Answer] = []
        cursor: str | None = "0"
        while cursor is not None:
            page = self._server.ask("dead-letters", cursor=cursor, limit=1_000)
            found += page["dead_letters"]
            cursor = page["next"]
        return found

    def show(self, letter_id: int) -> Answer:
        return self._server.ask(f"dead-letters/{letter_id}")

    def read(self, letter_id: int) -> bytes:
        return self._server.send("GET", f"/api/v2/dead-letters/{letter_id}/bytes")

    def retry(self, letter_ids: list[int], edited: bytes | None) -> Answer:
        names = [f"{letter_id}/retry" for letter_id in letter_ids] or ["retry"]
        sums: dict[str, Any] = {"accepted": 0, "duplicates": 0, "refused": 0, "dead_letters": []}
        for name in names:
            answer = self._server.post(f"/api/v2/dead-letters/{name}", edited or b"")
            sums = {key: sums[key] + answer[key] for key in sums}
        return sums

    def resolve(self, letter_id: int) -> None:
        self._server.post(f"/api/v2/dead-letters/{letter_id}/resolve", b"")


def _list(letters: _Letters, *, as_json: bool) -> int:
    found = letters.find_all()
    if as_json:
        print_json({"dead_letters": found})
        return 0
    for letter in found:
        _print(letter)
    print(f"{len(found)} refused" if found else "nothing was refused")
    if found:
        print(f"  next: lodeline dead-letter show {found[0]['id']} > fixed.json")
    return 0


def print_letter(letter: DeadLetter) -> None:
    """Print one refusal in two lines."""
    _print(letter.to_json())


def _print(letter: Answer) -> None:
    times = f", {letter['times']} times" if letter["times"] > 1 else ""
    source = letter["source"] or "no source"
    print(f"{letter['id']}: {source} ({letter['bytes']} bytes{times})")
    print(f"  {letter['code']} at {letter['path'] or 'the document'}: {letter['message']}")


def _show(letters: _Letters, arguments: Namespace) -> int:
    if len(arguments.ids) != 1:
        raise UsageError("dead-letter show takes one ID")
    if arguments.json:
        print_json(letters.show(arguments.ids[0]))
        return 0
    sys.stdout.buffer.write(letters.read(arguments.ids[0]))
    sys.stdout.buffer.flush()
    return 0


def _resolve(letters: _Letters, arguments: Namespace) -> int:
    if not arguments.ids:
        raise UsageError("dead-letter resolve takes IDs")
    for letter_id in arguments.ids:
        letters.resolve(letter_id)
    if arguments.json:
        print_json({"resolved": arguments.ids})
    else:
        print(f"{len(arguments.ids)} struck off the list; the bytes are gone")
    return 0


def _retry(letters: _Letters, arguments: Namespace) -> int:
    edited: bytes | None = None
    if arguments.edit is not None:
        if len(arguments.ids) != 1:
            raise UsageError("--edit takes one ID")
        try:
            edited = Path(arguments.edit).read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {arguments.edit}: {error.strerror}") from error
    answer = letters.retry(arguments.ids, edited)
    if arguments.json:
        print_json(answer)
    else:
        for letter in answer["dead_letters"]:
            _print(letter)
        print(
            f"{answer['accepted']} accepted, {answer['duplicates']} duplicates, "
            f"{answer['refused']} refused again"
        )
    return 1 if answer["refused"] else 0
