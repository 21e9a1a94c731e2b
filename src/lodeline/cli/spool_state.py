"""What waits in the spool beside a store, and what was lost before it could be delivered."""

from __future__ import annotations

from lodeline.ingest.examination import Findings
from lodeline.model import format_time
from lodeline.settings import find_setting
from lodeline.spool import iter_pending, measure_loss, spool_directory, written_at_us
from lodeline.transport import count_postponed, count_refused, is_backlog


def look_at_spool(url: str, findings: Findings) -> None:
    """Look at the spool of a store.

    Args:
        url: of the store.
        findings: what is found goes here.
    """
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
        "logical_digests_postponed": count_postponed(directory),
        "journals": len(list((directory / "journals").glob("*.journal"))),
    }
    # Through a server nobody takes this spool in.
    if is_backlog(find_setting("url") or url, directory, pending):
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
