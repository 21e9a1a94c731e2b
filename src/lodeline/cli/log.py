"""The log itself: its signed checkpoint, and proofs about entries and earlier sizes.

lodeline log checkpoint                 the signed tree head, as a C2SP note
lodeline log prove POSITION [--at SIZE] that an entry is in the tree
lodeline log prove POSITION --tlog-proof [-o FILE]
                                        the same as a C2SP tlog-proof, which carries its entry
lodeline log prove --verify FILE --vkey VKEY [--leaf FILE] [--policy FILE]
                                        that such a file holds; asks no store
lodeline log consistency OLD [NEW]      that the tree of NEW extends the tree of OLD; OLD is a
                                        size, or a file with a checkpoint kept earlier
lodeline log receipt RECEIPT [--dir FOLDER | --proof FILE]
                                        whether the log kept what a receipt promised: 0 kept,
                                        1 dropped, 3 could not tell; RECEIPT may be a file
lodeline log export DIR                 the log as static files, as C2SP tlog-tiles lays them out;
                                        DIR is a directory or s3://bucket/prefix
lodeline log fsck DIR                   check such files, and say where the first bad byte lies;
                                        DIR may also be an http(s) URL; needs no store
lodeline log witness URL --vkey VKEY    have a witness cosign the newest checkpoint; without URL,
                                        each witness of the policy in the settings
lodeline log rotate-keys                new keys; the earlier checkpoint key signs beside them
lodeline log retire-keys [--keep]       the earlier keys no longer count; they are removed
lodeline log timestamp --tsa URL        have an RFC 3161 authority stamp the newest checkpoint
lodeline log timestamp [SIZE]           check the timestamps that are kept; with -o FOLDER write
                                        them as files for `openssl ts`
lodeline log consistency --all          that the log extends every checkpoint it ever signed
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.log_files import add_folder_options, export, fsck
from lodeline.cli.log_keys import configure_keys, retire_keys, rotate_keys
from lodeline.cli.log_proofs import check_proof, configure_proofs, write_proof
from lodeline.cli.log_receipts import answer_receipt, configure_receipts
from lodeline.cli.log_timestamps import configure_timestamps, stamp_or_check
from lodeline.cli.log_witnesses import ask_witnesses
from lodeline.errors import InconsistentTreesError, UnknownPositionError, UsageError
from lodeline.model import format_time
from lodeline.proof import hash_leaf, verify_checkpoint, verify_consistency, verify_inclusion

# Those that open a store, or none, by themselves.
_ACTIONS: Final[dict[str, Callable[[Namespace], int]]] = {
    "receipt": answer_receipt,
    "fsck": fsck,
    "rotate-keys": rotate_keys,
    "retire-keys": retire_keys,
}


def configure(parser: ArgumentParser) -> None:
    """Add the actions."""
    parser.add_argument(
        "action",
        choices=["checkpoint", "prove", "consistency", "export", "witness", "timestamp", *_ACTIONS],
        help="what to tell",
    )
    parser.add_argument("values", nargs="*", metavar="VALUE", help="as shown above")
    parser.add_argument("--at", type=int, metavar="SIZE", help="prove: in the tree of this size")
    configure_proofs(parser)
    configure_receipts(parser)
    configure_timestamps(parser)
    parser.add_argument(
        "--all", action="store_true", help="consistency: with every checkpoint ever signed"
    )
    add_folder_options(parser)
    configure_keys(parser)


def execute(arguments: Namespace) -> int:
    """Answer one question about the log."""
    if arguments.verify is not None:
        if arguments.action != "prove" or arguments.values:
            raise UsageError("--verify belongs to `log prove`, without a position")
        return check_proof(arguments)
    if arguments.action in _ACTIONS:
        return _ACTIONS[arguments.action](arguments)
    segment = open_segment(arguments)
    if arguments.action == "export":
        return export(segment, arguments)
    if arguments.action == "checkpoint":
        return _checkpoint(segment, arguments)
    if arguments.action == "prove":
        return _prove(segment, arguments)
    if arguments.action == "witness":
        return ask_witnesses(segment, arguments)
    if arguments.action == "timestamp":
        return stamp_or_check(segment, arguments)
    if arguments.all:
        return _consistency_with_all(segment, arguments)
    return _consistency(segment, arguments)


def _checkpoint(segment: Any, arguments: Namespace) -> int:
    if arguments.values:
        raise UsageError("log checkpoint takes no value")
    checkpoint = segment.checkpoint()
    note = segment.witnessed_note(checkpoint.size)
    if not arguments.json:
        print(note, end="")
        return 0
    print_json(
        {
            "origin": segment.origin,
            "segment": segment.segment_id,
            "size": checkpoint.size,
            "root_hash": checkpoint.root_hash.hex(),
            "time": format_time(checkpoint.log_time_us),
            "note": note,
            "vkeys": [verifier.vkey for verifier in segment.verifiers()],
            "receipt_vkeys": [verifier.vkey for verifier in segment.verifiers("receipt")],
            "retired": sorted(segment.certified_keys().retired),
        }
    )
    return 0


def _integer(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise UsageError(f"{what} is a number, not {text[:64]!r}")
    return int(text)


def _prove(segment: Any, arguments: Namespace) -> int:
    if len(arguments.values) != 1:
        raise UsageError("log prove takes one position")
    position = _integer(arguments.values[0], "a position")
    if arguments.tlog_proof:
        if arguments.at is not None:
            raise UsageError("a tlog-proof is of the newest checkpoint; leave out --at")
        return write_proof(segment, position, arguments)
    size = segment.checkpoint().size if arguments.at is None else arguments.at
    path = segment.inclusion_path(position, size)
    (entry,) = segment.iter_entries(position, position + 1)
    leaf_hash, root = hash_leaf(entry.leaf), segment.root_at(size)
    verify_inclusion(leaf_hash, path, leaf_index=position, tree_size=size, root=root)
    if arguments.json:
        print_json(
            {
                "position": position,
                "size": size,
                "kind": entry.kind,
                "time": format_time(entry.log_time_us),
                "leaf": entry.leaf.decode("ascii"),
                "leaf_hash": leaf_hash.hex(),
                "root_hash": root.hex(),
                "path": [value.hex() for value in path],
            }
        )
    else:
        print(f"entry {position} is in the tree of {size}: root {root.hex()[:12]}")
        print(f"  leaf {leaf_hash.hex()}")
        for value in path:
            print(f"  path {value.hex()}")
    return 0


def _consistency(segment: Any, arguments: Namespace) -> int:
    if not 1 <= len(arguments.values) <= 2:
        raise UsageError("log consistency takes OLD and perhaps NEW")
    earlier, expected = _earlier_tree(segment, arguments.values[0])
    later = segment.checkpoint().size
    if len(arguments.values) == 2:
        later = _integer(arguments.values[1], "a size")
    if earlier > segment.size():
        # A kept checkpoint that covers more than the log now holds: the log was cut back.
        raise UnknownPositionError(earlier, segment.size())
    path = segment.consistency_path(earlier, later)
    roots = (segment.root_at(earlier), segment.root_at(later))
    if expected is not None and expected != roots[0]:
        raise InconsistentTreesError(earlier, later, expected, roots[0])
    verify_consistency(
        path, size_earlier=earlier, size_later=later, root_earlier=roots[0], root_later=roots[1]
    )
    if arguments.json:
        print_json(
            {
                "ok": True,
                "earlier": {"size": earlier, "root_hash": roots[0].hex()},
                "later": {"size": later, "root_hash": roots[1].hex()},
                "path": [value.hex() for value in path],
            }
        )
    else:
        print(f"consistent: the tree of {later} extends the tree of {earlier}")
        for value in path:
            print(f"  path {b64encode(value).decode()}")
    return 0


def _consistency_with_all(segment: Any, arguments: Namespace) -> int:
    if arguments.values:
        raise UsageError("log consistency --all takes no size")
    newest = segment.checkpoint()
    verifiers = segment.verifiers()
    count = 0
    for checkpoint in segment.iter_checkpoints():
        if checkpoint.size > newest.size:
            break
        count += 1
        head = verify_checkpoint(checkpoint.note, verifiers, origin=segment.origin)
        # One proof to the newest each: with the same later root, all extend one another.
        verify_consistency(
            segment.consistency_path(head.size, newest.size),
            size_earlier=head.size,
            size_later=newest.size,
            root_earlier=head.root_hash,
            root_later=newest.root_hash,
        )
    if arguments.json:
        later = {"size": newest.size, "root_hash": newest.root_hash.hex()}
        print_json({"ok": True, "checkpoints": count, "later": later})
    else:
        print(f"consistent: the tree of {newest.size} extends all {count} checkpoints")
    return 0


def _earlier_tree(segment: Any, text: str) -> tuple[int, bytes | None]:
    if text.isascii() and text.isdigit():
        return _integer(text, "a size"), None
    try:
        note = Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{text} is neither a size nor a readable checkpoint") from error
    head = verify_checkpoint(note, segment.verifiers(), origin=segment.origin)
    return head.size, head.root_hash
