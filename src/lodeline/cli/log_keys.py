"""`lodeline log rotate-keys` and `lodeline log retire-keys`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.answers import open_segment, print_json
from lodeline.errors import UsageError


def configure_keys(parser: ArgumentParser) -> None:
    """Add the option of retiring keys."""
    parser.add_argument(
        "--keep",
        action="store_true",
        help="retire-keys: set the private keys aside as *.retired, do not remove them",
    )


def rotate_keys(arguments: Namespace) -> int:
    """Certify new keys; both sign until the earlier ones are retired."""
    if arguments.values:
        raise UsageError("log rotate-keys takes no value")
    segment = open_segment(arguments)
    ring = segment.rotate_keys()
    vkey, receipt_vkey = ring.checkpoint.verifier.vkey, ring.receipt.verifier.vkey
    if arguments.json:
        size = segment.checkpoint().size
        print_json({"size": size, "vkey": vkey, "receipt_vkey": receipt_vkey})
        return 0
    print(f"checkpoint key {vkey}")
    print(f"receipt key    {receipt_vkey}")
    print("The earlier checkpoint key signs, too, until it is retired.")
    print("  next: tell verifiers the new keys, then lodeline log retire-keys")
    return 0


def retire_keys(arguments: Namespace) -> int:
    """End the overlap and remove the earlier private keys."""
    if arguments.values:
        raise UsageError("log retire-keys takes no value")
    segment = open_segment(arguments)
    removed = segment.retire_keys(keep=arguments.keep)
    retired = sorted(segment.certified_keys().retired)
    if arguments.json:
        size = segment.checkpoint().size
        files = [str(path) for path in removed]
        print_json({"size": size, "retired": retired, "removed": files})
        return 0
    for path in removed:
        print(f"{'set aside' if arguments.keep else 'removed'} {path}")
    for vkey in retired:
        print(f"retired {vkey}")
    return 0
