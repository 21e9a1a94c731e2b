"""The facts of the pages about the record and the service: log, refusals, producers, health."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lodeline.errors import UsageError
from lodeline.ingest.examination import Findings, examine_store
from lodeline.limits import (
    DEAD_LETTER_SHOWN_BYTES_MAX,
    PAGE_CHECKPOINTS_MAX,
    PAGE_DEAD_LETTERS_MAX,
)
from lodeline.model import format_time
from lodeline.server.configuration import SERVER_SETTINGS, ServerConfiguration
from lodeline.server.segments import read_segments
from lodeline.settings import shown_store
from lodeline.store import SqlSegment
from lodeline.store.accounts import list_accounts
from lodeline.store.segment import DeadLetter

Facts = dict[str, Any]
# Lines of a refused event around its fault; the rest of a long one is a click away.
_CONTEXT_LINES: Final = 6


def log_facts(segments: Mapping[str, SqlSegment], size: int | None = None) -> Facts:
    """Give the facts of the logs that a caller may use.

    Args:
        segments: by name.
        size: list checkpoints up to this one; the newest without.
    """
    return {"logs": [_log(name, one, size) for name, one in segments.items()]}


def _log(name: str, segment: SqlSegment, size: int | None) -> Facts:
    checkpoint = segment.checkpoint()
    with segment.reading() as connection:
        rows = connection.execute(
            "SELECT size, log_time, (SELECT count(*) FROM cosignature c WHERE c.size = p.size),"
            " (SELECT count(*) FROM timestamp_answer t WHERE t.size = p.size) FROM checkpoint p"
            " WHERE size <= ? ORDER BY size DESC LIMIT ?",
            (1 << 62 if size is None else size, PAGE_CHECKPOINTS_MAX + 1),
        ).fetchall()
        kinds = connection.execute(
            "SELECT kind, count(*) FROM entry GROUP BY kind ORDER BY kind"
        ).fetchall()
        witnesses = connection.execute(
            "SELECT vkey, max(size), max(time) FROM cosignature GROUP BY vkey ORDER BY vkey"
        ).fetchall()
    return {
        "name": name,
        "segment": segment.segment_id,
        "origin": segment.origin,
        "size": segment.size(),
        "signed_to": checkpoint.size,
        "root_hash": checkpoint.root_hash.hex(),
        "time": format_time(checkpoint.log_time_us),
        "note": segment.witnessed_note(checkpoint.size),
        "kinds": dict(kinds),
        "keys": [
            {"use": use, "vkey": key.vkey}
            for use in ("checkpoint", "receipt")
            for key in segment.verifiers(use)
        ],
        "checkpoints": [
            {"size": at, "time": format_time(time_us), "cosigned": cosigned, "stamped": stamped}
            for at, time_us, cosigned, stamped in rows[:PAGE_CHECKPOINTS_MAX]
        ],
        "earlier": rows[PAGE_CHECKPOINTS_MAX][0] if len(rows) > PAGE_CHECKPOINTS_MAX else None,
        "witnesses": [
            {"vkey": vkey, "size": to, "time": format_time(time_s * 1_000_000)}
            for vkey, to, time_s in witnesses
        ],
    }


def entry_facts(segment: SqlSegment, position: int) -> Facts:
    """Give the receipt of an entry, and the proof that it is in the log.

    Raises:
        UnknownPositionError: no such entry.
    """
    return {
        "position": position,
        "receipt": segment.receipt(position),
        "proof": segment.tlog_proof(position),
    }


def letter_facts(segment: SqlSegment, after: int) -> Facts:
    """Give a page of refused inputs, oldest first, each with its fault in place."""
    letters = list(islice(segment.iter_dead_letters(after), PAGE_DEAD_LETTERS_MAX + 1))
    shown = letters[:PAGE_DEAD_LETTERS_MAX]
    return {
        "total": segment.count_dead_letters(),
        "letters": [_letter(segment, one) for one in shown],
        "next": shown[-1].letter_id if len(letters) > len(shown) else None,
    }


def one_letter_facts(segment: SqlSegment, letter_id: int) -> Facts:
    """Give one refused input, whole, to be edited.

    Raises:
        UnknownDeadLetterError: no such letter is unresolved.
    """
    letter = segment.get_dead_letter(letter_id)
    raw = segment.dead_letter_bytes(letter_id) if letter.kept else None
    text = None
    if raw is not None and len(raw) <= DEAD_LETTER_SHOWN_BYTES_MAX:
        text = raw.decode("utf-8", "replace")
    return {**_letter(segment, letter), "text": _pretty(text) if text is not None else None}


def _letter(segment: SqlSegment, letter: DeadLetter) -> Facts:
    raw = None
    if letter.kept and letter.byte_count <= DEAD_LETTER_SHOWN_BYTES_MAX:
        raw = segment.dead_letter_bytes(letter.letter_id)
    lines = [] if raw is None else fault_in_place(raw, letter.path)
    return {**letter.to_json(), "lines": lines}


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def fault_in_place(raw: bytes, pointer: str) -> list[Facts]:
    """Write an input line by line, the lines of the fault marked, those far from it left out.

    Args:
        raw: as received.
        pointer: JSON pointer of the fault; empty for the whole.
    """
    text = raw.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        lines = text.splitlines()[: 2 * _CONTEXT_LINES]
        return [{"number": n, "text": line, "fault": False} for n, line in enumerate(lines, 1)]
    lines, begin, end = _with_place(body, pointer)
    shown = []
    for number, line in enumerate(lines, 1):
        if begin - _CONTEXT_LINES <= number <= end + _CONTEXT_LINES:
            fault = begin <= number <= end
            shown.append({"number": number, "text": line, "fault": fault})
    return shown[: 8 * _CONTEXT_LINES]


def _with_place(body: Any, pointer: str) -> tuple[list[str], int, int]:
    """Write a document in lines, and find the lines (from 1) that a pointer means.

    A pointer to what is missing means the object that it is missing from.
    """
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    marker = "\ue000"
    known = body
    path: list[str | int] = []
    for part in parts:
        if isinstance(known, dict) and part in known:
            path.append(part)
        elif isinstance(known, list) and part.isdecimal() and int(part) < len(known):
            path.append(int(part))
        else:
            break
        known = known[path[-1]]
    if not path:
        lines = json.dumps(body, indent=2, ensure_ascii=False).splitlines()
        return lines, 1, 1
    marked = json.dumps(_marked(body, path, marker), indent=2, ensure_ascii=False).splitlines()
    begin = next(n for n, line in enumerate(marked, 1) if marker in line)
    indent = " " * (len(marked[begin - 1]) - len(marked[begin - 1].lstrip()))
    value = json.dumps(known, indent=2, ensure_ascii=False).splitlines()
    first = marked[begin - 1].replace(json.dumps(marker, ensure_ascii=False), value[0])
    inner = [first, *(indent + line for line in value[1:])]
    if marked[begin - 1].endswith(","):
        inner[0] = inner[0] if len(inner) == 1 else inner[0].removesuffix(",")
        inner[-1] = inner[-1] if inner[-1].endswith(",") else f"{inner[-1]},"
    return [*marked[: begin - 1], *inner, *marked[begin:]], begin, begin + len(inner) - 1


def _marked(body: Any, path: Sequence[str | int], marker: str) -> Any:
    """Put a marker in place of what a path leads to."""
    if not path:
        return marker
    if isinstance(body, dict):
        return {
            key: _marked(value, path[1:], marker) if key == path[0] else value
            for key, value in body.items()
        }
    return [
        _marked(value, path[1:], marker) if number == path[0] else value
        for number, value in enumerate(body)
    ]


def producer_facts(segment: SqlSegment) -> Facts:
    """Give what came in from whom, and how late."""
    accounts = [account.to_json() for account in list_accounts(segment)]
    sums = {
        name: sum(int(str(one[name])) for one in accounts)
        for name in ("accepted", "duplicates", "refused", "bytes")
    }
    streams = [offset.to_json() for offset in segment.stream_offsets()]
    return {"producers": accounts, "sums": sums, "streams": streams}


def health_facts(
    segments: Mapping[str, SqlSegment],
    configuration: ServerConfiguration,
    *,
    waiting: int,
    look_at_spool: Callable[[str, Findings], None] | None,
) -> Facts:
    """Give what is to be known of the service: settings, stores, spool, what needs attention.

    Args:
        segments: by name, those that the caller may use.
        configuration: of the service; nothing secret of it is told.
        waiting: events that wait for a commit.
        look_at_spool: looks at the spool beside a store; `None` where there is none.
    """
    stores = []
    problems: list[dict[str, str]] = []
    for name, segment in segments.items():
        findings = Findings()
        examine_store(segment, findings, digest=False)
        if look_at_spool is not None and not segment.url.startswith("postgres"):
            look_at_spool(segment.url, findings)
        stores.append({"name": name, **findings.facts})
        problems += findings.problems
    return {
        "ok": not problems,
        "problems": problems,
        "waiting": waiting,
        "stores": stores,
        "settings": shown_settings(configuration),
        "segments": _segments(configuration),
    }


def shown_settings(configuration: ServerConfiguration) -> list[Facts]:
    """List the service's settings: name, value, where it is set.

    Only `SERVER_SETTINGS` are told, which hold no secret: keys are named by their files.
    """
    known = {field.name for field in fields(configuration)}
    found = []
    for setting in SERVER_SETTINGS:
        if setting.attribute not in known:
            continue
        value = getattr(configuration, setting.attribute)
        where = configuration.places.get(setting.name)
        found.append(
            {
                "name": setting.name,
                "value": str(value) if isinstance(value, Path) else value,
                "set_in": where,
                "summary": setting.summary,
            }
        )
    return found


def _segments(configuration: ServerConfiguration) -> list[Facts]:
    try:
        rules = read_segments(configuration.tables.get("segments"))
    except UsageError:
        return []
    return [
        {
            "name": rule.name,
            "store": shown_store(rule.store),
            "namespaces": rule.namespaces,
            "domain": rule.domain,
            "sensitivity": rule.sensitivity,
        }
        for rule in rules
    ]
