"""Check the record against itself: leaves, payloads, tiles, checkpoints and their signatures.

Exit status: 0 everything is as it was written; 1 something is not; 3 evidence is missing (key
files, blobs), or the store could not be read.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.log_timestamps import find_roots
from lodeline.cli.progress import counting
from lodeline.errors import StoreCorruptError
from lodeline.ingest.prediction_blobs import verify_blob
from lodeline.settings import store_url
from lodeline.store.verification import Failure, VerifyReport, verify_segment


def configure(parser: ArgumentParser) -> None:
    """Add no options of its own; the common ones choose the store."""
    del parser


def execute(arguments: Namespace) -> int:
    """Verify the whole store."""
    report = VerifyReport()
    try:
        segment = open_segment(arguments)
    except StoreCorruptError as error:
        report.fail("store.damaged", error.url, "a sound store", error.reason)
    else:
        with counting("verify", quiet=arguments.json) as progress:
            report = verify_segment(
                segment,
                block_root=verify_blob,
                timestamp_roots=find_roots(),
                progress=lambda done, total: progress(done, total, f"{done} entries"),
            )
        segment.close()
    if arguments.json:
        print_json(report.to_json())
    else:
        _print_report(report, store_url(arguments.store))
    if report.ok:
        return 0
    return 3 if report.only_missing else 1


def _print_report(report: VerifyReport, url: str) -> None:
    if report.ok:
        print(
            f"verified: {report.entries} entries, {report.payloads} payloads, "
            f"{report.proofs} roots, {report.signatures} signatures"
            + (f", {report.erased} erased" if report.erased else "")
        )
        print("  trust: self (the log's own keys; keep a checkpoint elsewhere to notice a cut)")
        return
    first = report.failures[0]
    print(f"not verified: {first.at}: {first.code}")
    print(f"  expected {_short(first.expected)}, found {_short(first.found)}")
    if report.failures_total > 1:
        others = ", ".join(dict.fromkeys(one.at for one in report.failures[1:6]))
        print(f"  and {report.failures_total - 1} more: {others}")
    print(f"  next: {_next_step(first, url)}")


def _short(text: str) -> str:
    is_digest = len(text) == 64 and not set(text) - set("0123456789abcdef")
    return text[:12] if is_digest else text[:200]


def _next_step(first: Failure, url: str) -> str:
    if first.code == "blob.missing":
        return "restore the blob from a backup; its name is its digest"
    if first.code.startswith("key."):
        return f"restore the key files; `lodeline doctor --store {url}` names them"
    if first.code == "store.damaged":
        return "restore the database file from a backup, with its -wal file"
    return (
        f"`lodeline verify --json --store {url}` lists all faults; compare the entry with a backup"
    )
