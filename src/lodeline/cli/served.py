"""What commands do through a server that they otherwise do on a store: import, export, evidence."""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from lodeline.errors import LodelineError, ServerCouldNotTellError, ServerUsageError
from lodeline.limits import COMMIT_BYTES_MAX, COMMIT_EVENTS_MAX, SERVED_ATTEMPTS_MAX
from lodeline.questions import ServerQuestions
from lodeline.settings import find_setting

# An import returns when its events are in answers, embedded or through a server.
_ONE: Final = "/api/v1/lineage?wait=folded"
_BATCH: Final = "/api/v1/lineage/batch?receipt=body&wait=folded"
# What the service says while it has enough in hand. Sending again is safe.
_BUSY: Final = frozenset({"could_not_tell.queue_full", "could_not_tell.busy"})


def find_server(arguments: Namespace) -> ServerQuestions | None:
    """Give the server that a command goes through, if one is named and no store is."""
    server = find_setting("url", argument=arguments.server)
    return None if server is None or arguments.store is not None else ServerQuestions(server)


@dataclass(slots=True)
class Sent:
    """What became of events that a server was sent; the members of `import`'s answer."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    dead_letters: list[dict[str, Any]] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """Events dealt with."""
        return self.accepted + self.duplicates + self.refused

    def to_json(self) -> dict[str, Any]:
        """Give the answer of the contract."""
        names = ("accepted", "duplicates", "refused", "dead_letters")
        return {name: getattr(self, name) for name in names}

    def refuse(self, source: str, code: str, path: str | None, message: str) -> None:
        """Note an event that the server refused; its own list has the bytes."""
        self.refused += 1
        letter = {"id": None, "source": source, "code": code, "path": path or "", "times": 1}
        self.dead_letters.append({**letter, "bytes": None, "message": message})


def send_events(
    server: ServerQuestions,
    events: Iterable[tuple[bytes, str]],
    progress: Callable[[Sent], None],
) -> Sent:
    """Send events in batches, each with where it came from.

    Raises:
        CouldNotTellError: the server takes none now. What it took is durable, and is recognised
            when it is sent again.
    """
    sent = Sent()
    for batch in _batches(events):
        whole = [one for one in batch if _is_json(one[0])]
        if whole:
            _send_batch(server, whole, sent)
        for raw, source in batch:
            if not _is_json(raw):  # by itself: it would take its batch along
                _send_one(server, raw, source, sent)
        progress(sent)
    return sent


def _batches(events: Iterable[tuple[bytes, str]]) -> Iterator[list[tuple[bytes, str]]]:
    batch: list[tuple[bytes, str]] = []
    byte_count = 0
    for one in events:
        if batch and (
            len(batch) >= COMMIT_EVENTS_MAX or byte_count + len(one[0]) > COMMIT_BYTES_MAX
        ):
            yield batch
            batch, byte_count = [], 0
        batch.append(one)
        byte_count += len(one[0])
    if batch:
        yield batch


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True


def _send_batch(server: ServerQuestions, batch: list[tuple[bytes, str]], sent: Sent) -> None:
    body = b"[" + b",".join(raw for raw, _ in batch) + b"]"
    answer = json.loads(_patiently(lambda: server.send("POST", _BATCH, body)) or b"{}")
    failed = answer.get("failed_events", [])
    duplicates = int(answer.get("duplicates", 0))
    sent.duplicates += duplicates
    sent.accepted += len(batch) - len(failed) - duplicates
    for one in failed:
        sent.refuse(batch[one["index"]][1], one["code"], one.get("path"), one["reason"])


def _send_one(server: ServerQuestions, raw: bytes, source: str, sent: Sent) -> None:
    try:
        _patiently(lambda: server.send("POST", _ONE, raw))
    except ServerUsageError as error:
        sent.refuse(source, error.code, None, str(error))
    else:
        sent.accepted += 1


def _patiently(send: Callable[[], bytes]) -> bytes:
    for attempt in range(SERVED_ATTEMPTS_MAX):
        try:
            return send()
        except ServerCouldNotTellError as error:
            if error.code not in _BUSY or attempt == SERVED_ATTEMPTS_MAX - 1:
                raise
            time.sleep(1)
    raise AssertionError


def download(server: ServerQuestions, path: str, output: Path) -> dict[str, str]:
    """Write an answer to a file, whole or not at all; give the answer's headers."""
    part = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            headers = server.copy(path, file)
        part.replace(output)
    except LodelineError:
        part.unlink(missing_ok=True)
        raise
    return headers


def copy_to(server: ServerQuestions, path: str, out: IO[bytes]) -> dict[str, str]:
    """Write an answer to a stream as it comes; give the answer's headers."""
    headers = server.copy(path, out)
    out.flush()
    return headers
