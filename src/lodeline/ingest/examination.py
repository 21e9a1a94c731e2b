"""What is to be known of a store's health, and what of it needs attention, each with a next step.

`lodeline doctor` prints it, and the service's page of health shows it. For the record itself ask
`lodeline verify`.
"""

from __future__ import annotations

import stat
import time
from dataclasses import dataclass, field

from lodeline.errors import CouldNotTellError
from lodeline.fold import FOLD_VERSION
from lodeline.ingest.graph_reading import folded_to, graph_state
from lodeline.ingest.projection import fold_pending
from lodeline.limits import FUTURE_TOLERANCE_US
from lodeline.model import format_time
from lodeline.settings import shown_store
from lodeline.store import SqlSegment


@dataclass(slots=True)
class Findings:
    """What was found, and what of it needs attention.

    Attributes:
        facts: by subject, in the order in which they are told.
        problems: `message` and `next` of each.
    """

    facts: dict[str, object] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)

    def needs(self, message: str, next_step: str) -> None:
        """Note something that needs attention, and what to do about it."""
        self.problems.append({"message": message, "next": next_step})


def examine_store(segment: SqlSegment, findings: Findings, *, digest: bool = True) -> None:
    """Look at a store: reachable, signed, folded, keys private, nothing refused.

    Args:
        segment: opened.
        findings: what is found goes here.
        digest: whether to digest the graph, which reads all of it.
    """
    try:
        # As every question does: a digest of a graph that lags behind would say nothing.
        fold_pending(segment)
        checkpoint = segment.checkpoint()
    except CouldNotTellError as error:
        findings.needs(str(error), error.next_step or "restore the key files from a backup")
        checkpoint = segment.last_checkpoint()
    if digest:
        state = graph_state(segment)
        folded, version = state.tree_size, state.fold_version
    else:
        folded, version = folded_to(segment)
    size = segment.size()
    findings.facts |= {
        "store": {
            "url": shown_store(segment.url),
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
        "graph": {"folded_to": folded, "fold_version": version},
    }
    if digest:
        findings.facts["graph_digest"] = state.graph_digest
    if checkpoint.size < size:
        findings.needs(f"{size - checkpoint.size} entries are not signed", "lodeline verify")
    if version != FOLD_VERSION:
        findings.needs(
            f"the graph was folded by version {version} of the rules, "
            f"this program has {FOLD_VERSION}",
            "lodeline rebuild",
        )
    elif folded < size:
        findings.needs(f"{size - folded} entries are not folded", "lodeline rebuild")
    ahead = checkpoint.log_time_us - time.time_ns() // 1000
    if ahead > FUTURE_TOLERANCE_US:
        findings.needs(
            f"log time is {ahead // 1_000_000} s ahead of the clock and stands still until then",
            "set the clock of this machine; log time never goes back",
        )
    _examine_dead_letters(segment, findings)
    _examine_streams(segment, findings)
    _examine_keys(segment, findings)


def _examine_dead_letters(segment: SqlSegment, findings: Findings) -> None:
    count = segment.count_dead_letters()
    findings.facts["dead_letters"] = count
    if count:
        findings.needs(f"{count} inputs were refused", "lodeline dead-letter list")


def _examine_streams(segment: SqlSegment, findings: Findings) -> None:
    offsets = segment.stream_offsets()
    if offsets:
        findings.facts["streams"] = [offset.to_json() for offset in offsets]


def _examine_keys(segment: SqlSegment, findings: Findings) -> None:
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
