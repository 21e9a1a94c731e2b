"""Proofs as files: `lodeline log prove POSITION --tlog-proof`, and `... prove --verify FILE`."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from lodeline.cli.answers import print_json
from lodeline.cli.log_witnesses import read_policy
from lodeline.errors import UsageError
from lodeline.proof import Verifier, hash_leaf, verify_by_policy, verify_tlog_proof

if TYPE_CHECKING:
    from lodeline.store.sql_segment import SqlSegment

# Twice what a tlog-proof or a leaf can have; a longer file is neither.
_FILE_BYTES_MAX = 2_400_000


def configure_proofs(parser: ArgumentParser) -> None:
    """Add the options of proofs as files."""
    parser.add_argument(
        "--tlog-proof", action="store_true", help="prove: write a C2SP tlog-proof file"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="prove: write the tlog-proof there, not to stdout; timestamp: folder for files",
    )
    parser.add_argument(
        "--verify", metavar="FILE", help="prove: check a tlog-proof file, without any store"
    )
    parser.add_argument(
        "--vkey",
        action="append",
        metavar="VKEY",
        help="prove, receipt, fsck, witness: a verifier key to trust; may be repeated",
    )
    parser.add_argument(
        "--policy",
        metavar="FILE",
        help="prove: a C2SP tlog-policy whose witnesses must have cosigned, and whose log counts",
    )
    parser.add_argument(
        "--leaf", metavar="FILE", help="prove: the entry that must be proven, not the enclosed one"
    )


def write_proof(segment: SqlSegment, position: int, arguments: Namespace) -> int:
    """Write one entry's tlog-proof to a file or to standard output."""
    proof = segment.tlog_proof(position)
    if arguments.output is not None:
        try:
            Path(arguments.output).write_text(proof, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{arguments.output}: {error.strerror}") from error
    if arguments.json:
        print_json({"position": position, "tlog_proof": proof})
    elif arguments.output is None:
        sys.stdout.write(proof)
    return 0


def check_proof(arguments: Namespace) -> int:
    """Check a tlog-proof file against the keys given; asks no store."""
    policy = None if arguments.policy is None else read_policy(arguments.policy)
    named = policy is not None and policy.logs and not arguments.vkey
    verifiers = list(policy.logs) if policy is not None and named else read_vkeys(arguments.vkey)
    origins = {verifier.name for verifier in verifiers}
    if len(origins) > 1:
        raise UsageError(f"the keys are of several logs: {', '.join(sorted(origins))}")
    leaf = None if arguments.leaf is None else read_file(arguments.leaf)
    proof, head = verify_tlog_proof(
        read_file(arguments.verify),
        verifiers,
        origin=verifiers[0].name,
        leaf_hash=None if leaf is None else hash_leaf(leaf),
        verify_witnesses=None
        if policy is None
        else lambda note: verify_by_policy(note, policy, logs=verifiers),
    )
    entry = leaf if leaf is not None else proof.extra or b""
    if arguments.json:
        print_json(
            {
                "ok": True,
                "origin": head.origin,
                "position": proof.index,
                "size": head.size,
                "root_hash": head.root_hash.hex(),
                "leaf_hash": hash_leaf(entry).hex(),
                "leaf": entry.decode("utf-8", "replace"),
            }
        )
    else:
        print(
            f"entry {proof.index} is in the tree of {head.size}: root {head.root_hash.hex()[:12]}"
        )
        print(f"  log  {head.origin}")
        print(f"  leaf {hash_leaf(entry).hex()}")
    return 0


def read_vkeys(texts: list[str] | None) -> list[Verifier]:
    """Read the verifier keys that the options name.

    Raises:
        UsageError: none is named.
        MalformedNoteError: one is not a verifier key.
    """
    if not texts:
        raise UsageError("name the log's key: --vkey (`lodeline log checkpoint --json` shows it)")
    return [Verifier.from_vkey(text) for text in texts]


def read_file(name: str) -> bytes:
    """Read a small foreign file; what is longer than any proof is cut off, and refused as such.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with Path(name).open("rb") as stream:
            return stream.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise UsageError(f"{name}: {os.strerror(error.errno or 0)}") from error
