"""Verify an evidence pack: `python verify.py PACK [--policy FILE] [--json]`.

Needs Python 3.11 or newer with `cryptography` and `msgspec`, and the folder `lodeline` beside it;
no store, network or account. Take this folder from a release that you trust rather than from the
pack that you doubt. PACK is a zip, or the folder it was unpacked to.

Exit status: 0 verified, 1 not verified, 2 wrong usage, 3 could not be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lodeline.errors import LodelineError, MalformedPackError
from lodeline.fold.evidence import PackReport, verify_pack
from lodeline.proof.packs import MEMBERS_MAX, PACK_BYTES_MAX, Trust, decode_pack, read_policy


def read_files(path: Path) -> dict[str, bytes]:
    """Read a pack, zipped or unpacked.

    Raises:
        MalformedPackError: not a pack as it was written.
        OSError: cannot be read.
    """
    if not path.is_dir():
        if path.stat().st_size > PACK_BYTES_MAX:
            raise MalformedPackError(f"over {PACK_BYTES_MAX} bytes")
        return decode_pack(path.read_bytes())
    files: dict[str, bytes] = {}
    total = 0
    for found in sorted(path.rglob("*")):
        # What Python leaves behind when the verifier has run in the folder is not the pack's.
        if found.is_dir() or "__pycache__" in found.parts:
            continue
        if not found.is_file():
            # Reading a pipe or a device would never end.
            raise MalformedPackError(f"{found.relative_to(path)}: not a plain file")
        total += found.stat().st_size
        if len(files) >= MEMBERS_MAX or total > PACK_BYTES_MAX:
            raise MalformedPackError(f"over {MEMBERS_MAX} files or {PACK_BYTES_MAX} bytes")
        files[found.relative_to(path).as_posix()] = found.read_bytes()
    return files


def verify(path: Path, policy: Path | None = None) -> PackReport:
    """Verify a pack; one that is not as it was written is a verdict, too.

    Raises:
        OSError: pack or policy cannot be read.
        ProofError: the policy is none.
    """
    trust = Trust() if policy is None else read_policy(policy.read_bytes())
    try:
        files = read_files(path)
    except MalformedPackError as error:
        report = PackReport(trust.name)
        report.fail(error.code, "pack", "a pack as it was written", str(error))
        return report
    return verify_pack(files, trust)


def render(report: PackReport) -> str:
    """Write the verdict for people."""
    if report.ok:
        lines = [
            f"verified: {report.entries} entries, {report.payloads} payloads, "
            f"{report.proofs} proofs, {report.signatures} signatures"
            + (f", {report.erased} not disclosed whole" if report.erased else "")
        ]
        if report.trust == "self":
            lines.append("  trust: self (the log's own keys; --policy FILE names keys you trust)")
        else:
            lines.append("  trust: policy")
        return "\n".join(lines)
    first = report.failures[0]
    lines = [
        f"not verified: {first.at}: {first.code}",
        f"  expected {first.expected[:200]}, found {first.found[:200]}",
    ]
    if len(report.failures) > 1:
        lines.append(f"  and {len(report.failures) - 1} more; --json lists them")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Verify the pack that the arguments name."""
    parser = argparse.ArgumentParser(description="Verify an evidence pack of Lodeline, offline.")
    parser.add_argument("pack", type=Path, help="zip, or the folder it was unpacked to")
    parser.add_argument("--policy", type=Path, help="whom you trust: keys, witnesses, origin")
    parser.add_argument("--json", action="store_true", help="the verdict as JSON")
    arguments = parser.parse_args(argv)
    try:
        report = verify(arguments.pack, arguments.policy)
    except (OSError, LodelineError) as error:
        sys.stderr.write(f"could not check: {error}\n")
        return 3
    text = json.dumps(report.to_json(), ensure_ascii=False) if arguments.json else render(report)
    sys.stdout.write(text + "\n")
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
