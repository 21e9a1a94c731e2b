"""`lodeline log export` and `lodeline log fsck`: the log as static files, written and checked."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lodeline.cli.answers import print_json
from lodeline.cli.progress import counting
from lodeline.errors import UnknownSegmentError, UsageError
from lodeline.limits import LOG_FILE_BYTES_MAX
from lodeline.proof import Verifier, verify_note

if TYPE_CHECKING:
    from lodeline.store.sql_segment import SqlSegment
    from lodeline.tlog.faults import Fault, FsckReport


def add_folder_options(parser: ArgumentParser) -> None:
    """Add the options of both; `--vkey` is there for proofs already."""
    group = parser.add_argument_group("options of export and fsck")
    group.add_argument("--segment", metavar="ID", help="export: which, where a store has several")
    group.add_argument("--origin", help="fsck: the origin that the checkpoint must have")
    group.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="fsck: a checkpoint kept earlier, which the log must extend; repeatable",
    )


def export(segment: SqlSegment, arguments: Namespace) -> int:
    """Sequence and sign, then publish what is new."""
    from lodeline.tlog.folders import open_writable_folder
    from lodeline.tlog.publication import publish

    folder = open_writable_folder(_only_value(arguments))
    if arguments.segment not in {None, segment.segment_id}:
        raise UnknownSegmentError(arguments.segment, (segment.segment_id,))
    checkpoint = segment.checkpoint()
    # With what witnesses have said of it by now.
    checkpoint = replace(checkpoint, note=segment.witnessed_note(checkpoint.size))
    verifiers = segment.verifiers()
    _, signed = verify_note(checkpoint.note, verifiers)
    with counting("export", quiet=arguments.json) as progress:
        done = publish(
            segment,
            checkpoint,
            folder,
            verifiers=verifiers,
            progress=lambda now, total: progress(now, total, f"{now} entries"),
        )
    if arguments.json:
        print_json(
            {
                "to": folder.name,
                "segment": segment.segment_id,
                "origin": segment.origin,
                "size": done.size,
                "size_earlier": done.size_earlier,
                "root_hash": checkpoint.root_hash.hex(),
                "written": {"tiles": done.tiles, "bundles": done.bundles},
                "bytes": done.bytes_written,
                "removed": done.removed,
                "vkeys": [verifier.vkey for verifier in signed],
            }
        )
        return 0
    new = done.size - done.size_earlier
    print(f"exported to {folder.name}: {new} new of {done.size} entries")
    print(f"  {done.tiles} tiles and {done.bundles} bundles, {done.bytes_written} bytes")
    for verifier in signed:
        print(f"  next: lodeline log fsck {folder.name} --vkey {verifier.vkey}")
    return 0


def fsck(arguments: Namespace) -> int:
    """Check a folder; needs no store."""
    from lodeline.tlog.folders import open_folder
    from lodeline.tlog.fsck import check_folder

    folder = open_folder(_only_value(arguments))
    verifiers = [Verifier.from_vkey(vkey) for vkey in arguments.vkey or []]
    earlier = [(name, _read_kept(name)) for name in arguments.checkpoint]
    with counting("fsck", quiet=arguments.json) as progress:
        report = check_folder(
            folder,
            verifiers=verifiers,
            origin=arguments.origin,
            earlier=earlier,
            progress=lambda done, total: progress(done, total, f"{done} entries"),
        )
    if arguments.json:
        print_json(report.to_json())
    else:
        _print_report(report, folder.name)
    return 0 if report.ok else 1


def _only_value(arguments: Namespace) -> str:
    if len(arguments.values) != 1:
        raise UsageError(f"log {arguments.action} takes one folder")
    value: str = arguments.values[0]
    return value


def _read_kept(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return file.read(LOG_FILE_BYTES_MAX)
    except OSError as error:
        raise UsageError(f"{name} is no readable checkpoint: {error.strerror}") from error


def _print_report(report: FsckReport, name: str) -> None:
    if report.ok:
        assert report.head is not None
        print(
            f"sound: {report.entries} entries of {report.head.origin}, {report.tiles} tiles, "
            f"{report.bundles} bundles, root {report.head.root_hash.hex()[:12]}"
        )
        if report.checkpoints:
            print(f"  extends {report.checkpoints} checkpoints kept earlier")
    else:
        first = report.faults[0]
        print(f"not sound: {_place(first)}: {first.code}")
        print(f"  expected {first.expected[:200]}, found {first.found[:200] or 'nothing'}")
        if len(report.faults) > 1:
            others = ", ".join(dict.fromkeys(_place(fault) for fault in report.faults[1:6]))
            print(f"  and {len(report.faults) - 1} more: {others}")
    if report.pending:
        print(f"  {report.pending} files beyond the checkpoint: an export under way or broken off")
    if not report.listed:
        print("  files cannot be listed there, so superfluous ones were not looked for")
    if report.trust == "none":
        print("  trust: none (no signature was checked; --vkey names the log's key)")
    if not report.ok:
        print(f"  next: lodeline log fsck {name} --json lists all faults")


def _place(fault: Fault) -> str:
    byte = "" if fault.offset is None else f", byte {fault.offset}"
    part = f" ({fault.part})" if fault.part else ""
    return f"{fault.at}{byte}{part}"
