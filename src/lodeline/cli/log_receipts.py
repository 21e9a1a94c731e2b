"""`lodeline log receipt`: whether the log kept what a receipt promised."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.log_proofs import read_file, read_vkeys
from lodeline.errors import ProofError, UsageError
from lodeline.model import format_time, parse_time
from lodeline.proof import (
    TILE_WIDTH,
    bundle_path,
    iter_bundle,
    parse_note,
    parse_tree_head,
)
from lodeline.proof.promises import DROPPED, KEPT, Verdict, judge_by_entries, judge_by_proof

# Longer than any file name; a receipt of one event has about 340 characters.
_NAME_CHARACTERS_MAX = 255
_STATUS = {KEPT: 0, DROPPED: 1}


def configure_receipts(parser: ArgumentParser) -> None:
    """Add the options of receipts."""
    parser.add_argument(
        "--dir", metavar="FOLDER", help="receipt: search an exported log, not the store"
    )
    parser.add_argument(
        "--proof", metavar="FILE", help="receipt: hold it against a tlog-proof, not the store"
    )
    parser.add_argument(
        "--seen",
        metavar="TIME",
        help="receipt: when you fetched --dir from the log as its newest state",
    )


def answer_receipt(arguments: Namespace) -> int:
    """Say what became of a receipt; a receipt or a log that proves nothing is exit status 3."""
    if len(arguments.values) != 1:
        raise UsageError("log receipt takes one receipt, or a file that holds one")
    if arguments.dir is not None and arguments.proof is not None:
        raise UsageError("--dir or --proof, not both")
    if arguments.seen is not None and arguments.dir is None:
        raise UsageError("--seen belongs to --dir")
    text = _read_receipt(arguments.values[0])
    try:
        verdict = _judge(text, arguments)
    except ProofError as error:
        _print_unknown(arguments, str(error))
        return 3
    _print_verdict(arguments, verdict)
    return _STATUS.get(verdict.fate, 3)


def _read_receipt(value: str) -> str:
    if len(value) <= _NAME_CHARACTERS_MAX and Path(value).is_file():
        return read_file(value).decode("ascii", "replace").strip()
    return value


def _judge(text: str, arguments: Namespace) -> Verdict:
    if arguments.dir is None and arguments.proof is None:
        return _judge_by_store(text, arguments)
    keys = read_vkeys(arguments.vkey)
    if arguments.proof is not None:
        return judge_by_proof(text, keys, read_file(arguments.proof), keys)
    folder = Path(arguments.dir)
    checkpoint = _read_text(folder / "checkpoint")
    # Only for the number of bundles; the checkpoint is verified below, before they are read.
    size = parse_tree_head(parse_note(checkpoint)[0]).size
    seen_us = None if arguments.seen is None else _parse_seen(arguments.seen)
    return judge_by_entries(
        text, keys, checkpoint, keys, _iter_folder(folder, size), seen_us=seen_us
    )


def _judge_by_store(text: str, arguments: Namespace) -> Verdict:
    segment = open_segment(arguments)
    checkpoint = segment.checkpoint()
    given = [] if arguments.vkey is None else read_vkeys(arguments.vkey)
    # The newest checkpoint is asked for here and now, so the clock dates it for the one who asks.
    return judge_by_entries(
        text,
        given or segment.verifiers("receipt"),
        checkpoint.note,
        given or segment.verifiers(),
        (entry.leaf for entry in segment.iter_entries(0, checkpoint.size)),
        seen_us=time.time_ns() // 1000,
    )


def _iter_folder(folder: Path, size: int) -> Iterator[bytes]:
    """Walk the entries of a folder in the layout of tlog-tiles."""
    for number in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        path = folder / bundle_path(number)
        if width < TILE_WIDTH and not path.is_file():
            path = folder / bundle_path(number, width=width)
        for index, entry in enumerate(iter_bundle(_read_bytes(path))):
            if index < width:
                yield entry


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _read_text(path: Path) -> str:
    return _read_bytes(path).decode("utf-8", "replace")


def _parse_seen(text: str) -> int:
    try:
        return parse_time(text)[0]
    except ValueError as error:
        raise UsageError(f"--seen: {error}") from error


def _print_unknown(arguments: Namespace, reason: str) -> None:
    if arguments.json:
        print_json({"verdict": "unknown", "reason": reason})
    else:
        print(f"could not tell: {reason}")


def _print_verdict(arguments: Namespace, verdict: Verdict) -> None:
    receipt, head = verdict.receipt, verdict.head
    deadline = format_time(receipt.deadline_us)
    if arguments.json:
        answer: dict[str, Any] = {
            "verdict": verdict.fate if verdict.fate in _STATUS else "unknown",
            "reason": _reason(verdict),
            "receipt": {
                "origin": receipt.origin,
                "leaf_hashes": [value.hex() for value in receipt.leaf_hashes],
                "log_time": format_time(receipt.log_time_us),
                "deadline": deadline,
            },
            "checkpoint": {"size": head.size, "root_hash": head.root_hash.hex()},
            "by_log_alone": verdict.by_log_alone,
            "positions": list(verdict.positions),
            "missing": [value.hex() for value in verdict.missing],
        }
        print_json(answer)
        return
    print(f"{verdict.fate}: {_reason(verdict)}")
    for value in verdict.missing:
        print(f"  missing leaf {value.hex()}, promised by {deadline}")


def _reason(verdict: Verdict) -> str:
    size = verdict.head.size
    if verdict.fate == KEPT:
        places = ", ".join(map(str, verdict.positions))
        return f"entry {places} of the signed tree of {size}"
    if verdict.fate == DROPPED and verdict.by_log_alone:
        time_of = format_time(verdict.log_time_us)
        return f"the signed tree of {size} goes to {time_of} and does not hold it"
    if verdict.fate == DROPPED:
        time_of = format_time(verdict.seen_us or 0)
        return f"the signed tree of {size}, the newest at {time_of}, does not hold it"
    time_of = format_time(verdict.log_time_us)
    return f"the signed tree of {size} goes to {time_of} only, and the promise is due later"
