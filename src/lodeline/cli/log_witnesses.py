"""Witnesses of the log: `lodeline log witness [URL --vkey VKEY]`."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from lodeline.cli.answers import print_json
from lodeline.errors import LodelineError, NoError, UsageError
from lodeline.model import format_time
from lodeline.proof import CosignatureVerifier, WitnessPolicy, parse_policy
from lodeline.settings import find_setting

if TYPE_CHECKING:
    from lodeline.store.endorsements import Cosignature
    from lodeline.store.sql_segment import SqlSegment


def read_policy(argument: str | None = None) -> WitnessPolicy | None:
    """Read the policy file that the settings name; `None` where they name none.

    Raises:
        UsageError: it cannot be read.
        MalformedPolicyError: it is no policy.
    """
    path = find_setting("witness_policy", argument=argument)
    if path is None:
        return None
    try:
        return parse_policy(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the witness policy {path}: {error}") from error


def ask_witnesses(segment: SqlSegment, arguments: Namespace) -> int:
    """Ask one witness, or each of the policy's, to cosign the newest checkpoint."""
    if arguments.values:
        return _ask_one(segment, arguments)
    policy = read_policy()
    if policy is None or not policy.urls:
        raise UsageError("log witness takes URL and --vkey, or a witness policy in the settings")
    cosigned: dict[str, Cosignature] = {}
    failures: dict[str, LodelineError] = {}
    for name, url in policy.urls.items():
        try:
            cosigned[name] = _request(segment, url, policy.witnesses[name])
        except LodelineError as error:
            failures[name] = error
    _print(segment, list(cosigned.values()), failures, arguments)
    # Whoever holds another tree outweighs any quorum.
    if any(isinstance(error, NoError) for error in failures.values()):
        return 1
    return 0 if policy.is_met_by(set(cosigned)) else 3


def _ask_one(segment: SqlSegment, arguments: Namespace) -> int:
    if len(arguments.values) != 1 or len(arguments.vkey or ()) != 1:
        raise UsageError("log witness takes one URL and the witness's --vkey")
    verifier = CosignatureVerifier.from_vkey(arguments.vkey[0])
    _print(segment, [_request(segment, arguments.values[0], verifier)], {}, arguments)
    return 0


def _request(segment: SqlSegment, url: str, verifier: CosignatureVerifier) -> Cosignature:
    from lodeline.store.cosigning import request_cosignature
    from lodeline.tlog.witnesses import WitnessClient

    return request_cosignature(segment, WitnessClient(url, verifier))


def _print(
    segment: SqlSegment,
    cosigned: list[Cosignature],
    failures: dict[str, LodelineError],
    arguments: Namespace,
) -> None:
    if arguments.json:
        size = max((one.size for one in cosigned), default=segment.checkpoint().size)
        print_json(
            {
                "cosignatures": [
                    {
                        "witness": one.vkey.partition("+")[0],
                        "vkey": one.vkey,
                        "size": one.size,
                        "time": format_time(one.time_s * 1_000_000),
                    }
                    for one in cosigned
                ],
                "failures": [
                    {"witness": name, "code": error.code, "message": str(error)}
                    for name, error in failures.items()
                ],
                "note": segment.witnessed_note(size),
            }
        )
        return
    for one in cosigned:
        name, time = one.vkey.partition("+")[0], format_time(one.time_s * 1_000_000)
        print(f"{name} has cosigned the tree of {one.size} at {time}")
    for error in failures.values():
        print(f"lodeline: {error}", file=sys.stderr)
        if error.next_step:
            print(f"  next: {error.next_step}", file=sys.stderr)
