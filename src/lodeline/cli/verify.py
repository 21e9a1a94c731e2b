"""Check the record: the whole store against itself, one answer, or an evidence pack.

Without SUBJECT: leaves, payloads, tiles, checkpoints and their signatures. With an ID: that its
trace follows from the log, and that no entry about any node in it was left out. With the path of a
pack (a zip, or a folder it was unpacked to): the same, of the pack alone, without a store.

Exit status: 0 everything is as it was written; 1 something is not; 3 evidence is missing (key
files, blobs), or the store could not be read.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.log_timestamps import find_roots
from lodeline.cli.progress import counting
from lodeline.errors import (
    MalformedPackError,
    StoreCorruptError,
    UnreadableFileError,
    UsageError,
)
from lodeline.model.identifiers import KINDS
from lodeline.settings import shown_store, store_url
from lodeline.store.verification import Failure, VerifyReport, verify_segment


def configure(parser: ArgumentParser) -> None:
    """Add the subject, and whom the reader trusts."""
    parser.add_argument(
        "subject", nargs="?", metavar="ID|PACK", help="an answer, or a pack; without, the store"
    )
    parser.add_argument(
        "--policy", metavar="FILE", help="JSON: keys, witnesses and origin that you trust"
    )


def execute(arguments: Namespace) -> int:
    """Verify the store, an answer or a pack."""
    if arguments.subject is not None:
        return _verify_subject(arguments)
    if arguments.policy is not None:
        raise UsageError("--policy goes with an ID or a pack; the store is checked against itself")
    report = VerifyReport()
    try:
        segment = open_segment(arguments)
    except StoreCorruptError as error:
        report.fail("store.damaged", error.url, "a sound store", error.reason)
    else:
        with counting("verify", quiet=arguments.json) as progress:
            report = verify_segment(
                segment,
                block_root=_block_root,
                timestamp_roots=find_roots(),
                progress=lambda done, total: progress(done, total, f"{done} entries"),
            )
        segment.close()
    if arguments.json:
        print_json(report.to_json())
    else:
        _print_report(report, shown_store(store_url(arguments.store)))
    if report.ok:
        return 0
    return 3 if report.only_missing else 1


def _verify_subject(arguments: Namespace) -> int:
    # Only here: the store is verified without what reads packs.
    from lodeline.evidence.offline import render, verify
    from lodeline.fold.evidence import verify_pack
    from lodeline.proof.packs import Trust, read_policy

    policy = None if arguments.policy is None else Path(arguments.policy)
    path = Path(arguments.subject)
    try:
        if _is_identifier(arguments.subject) and not path.exists():
            trust = Trust() if policy is None else read_policy(policy.read_bytes())
            report = verify_pack(_pack_of(arguments), trust)
        else:
            report = verify(path, policy)
    except MalformedPackError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UnreadableFileError(str(error.filename or path), error.strerror or "") from error
    if arguments.json:
        print_json(report.to_json())
    else:
        print(render(report))
    return 0 if report.ok else 1


def _block_root(data: bytes) -> str:
    """Recompute the root of a batch of predictions, or of a block of row links."""
    if data.startswith(b"PAR1"):
        from lodeline.store.link_blocks import block_root

        return block_root(data)
    from lodeline.store.prediction_blobs import verify_blob

    return verify_blob(data)


def _is_identifier(text: str) -> bool:
    return text.partition(":")[0] in KINDS


def _pack_of(arguments: Namespace) -> dict[str, bytes]:
    from lodeline.evidence import build_pack

    segment = open_segment(arguments)
    try:
        return build_pack(segment, {"id": arguments.subject})
    finally:
        segment.close()


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
