"""Timestamps of the log's checkpoints: `lodeline log timestamp [SIZE] [--tsa URL] [--ca FILE]`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodeline.cli.answers import print_json
from lodeline.errors import TimestampMismatchError, UsageError
from lodeline.model import format_time
from lodeline.settings import find_setting

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from lodeline.store.endorsements import TimestampAnswer
    from lodeline.store.sql_segment import SqlSegment


def configure_timestamps(parser: ArgumentParser) -> None:
    """Add the options of timestamps."""
    parser.add_argument(
        "--tsa", metavar="URL", help="timestamp: the RFC 3161 authority to ask for a new one"
    )
    parser.add_argument(
        "--ca",
        metavar="FILE",
        help="timestamp: PEM file of root certificates to trust (LODELINE_TIMESTAMP_ROOTS)",
    )


def find_roots(argument: str | None = None) -> list[Certificate]:
    """Read the root certificates that the settings name; none where they name none."""
    path = find_setting("timestamp_roots", argument=argument)
    if path is None:
        return []
    from lodeline.tlog.timestamps import load_roots

    return load_roots(path)


def stamp_or_check(segment: SqlSegment, arguments: Namespace) -> int:
    """Ask for a timestamp of the newest checkpoint; without `--tsa` check those that are kept."""
    roots = find_roots(arguments.ca)
    if arguments.tsa is not None:
        answers = [_request(segment, arguments, roots)]
    else:
        sizes = _sizes(segment, arguments)
        answers = [one for size in sizes for one in segment.endorsements.timestamps(size)]
    if arguments.output is not None:
        _export(segment, answers, Path(arguments.output))
    found = [_check(segment, one, roots) for one in answers]
    if arguments.json:
        print_json({"timestamps": found})
    else:
        for one in found:
            print(_line(one))
        if not found:
            print("no timestamps are kept")
    if not found:
        return 3
    return 0 if all(one["ok"] for one in found) else 1


def _request(
    segment: SqlSegment, arguments: Namespace, roots: list[Certificate]
) -> TimestampAnswer:
    from lodeline.tlog.timestamps import request_timestamp

    if arguments.values:
        raise UsageError("log timestamp --tsa stamps the newest checkpoint and takes no SIZE")
    checkpoint = segment.checkpoint()
    answer = request_timestamp(arguments.tsa, checkpoint.note, roots=roots)
    return segment.endorsements.add_timestamp(checkpoint.size, answer, url=arguments.tsa)


def _sizes(segment: SqlSegment, arguments: Namespace) -> list[int]:
    if not arguments.values:
        return segment.endorsements.timestamped_sizes()
    if len(arguments.values) != 1 or not arguments.values[0].isdecimal():
        raise UsageError("log timestamp takes one SIZE at most")
    return [int(arguments.values[0])]


def _check(
    segment: SqlSegment, answer: TimestampAnswer, roots: list[Certificate]
) -> dict[str, Any]:
    from lodeline.tlog.timestamps import verify_timestamp

    told: dict[str, Any] = {
        "size": answer.size,
        "url": answer.url,
        "digest": answer.digest.hex(),
        "ok": True,
        "trust": "roots" if roots else "none",
        "time": None,
        "reason": None,
    }
    try:
        found = verify_timestamp(
            answer.answer, segment.get_checkpoint(answer.size).note, roots=roots
        )
    except TimestampMismatchError as error:
        return told | {"ok": False, "reason": str(error)}
    return told | {"time": format_time(found.time_us)}


def _line(one: dict[str, Any]) -> str:
    if not one["ok"]:
        return f"not verified: timestamp of the tree of {one['size']}: {one['reason']}"
    trust = "verified" if one["trust"] == "roots" else "not verified, no roots named; --ca FILE"
    return f"the tree of {one['size']} existed at {one['time']} ({trust}; {one['url']})"


def _export(segment: SqlSegment, answers: list[TimestampAnswer], folder: Path) -> None:
    """Write what `openssl ts -verify -data SIZE.checkpoint -in SIZE.DIGEST.tsr` reads."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in answers:
            note = segment.get_checkpoint(one.size).note
            (folder / f"{one.size}.checkpoint").write_bytes(note.encode())
            name = f"{one.size}.{one.digest.hex()[:12]}.tsr"
            (folder / name).write_bytes(one.answer)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error}") from error
