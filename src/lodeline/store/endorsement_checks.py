"""Verification of what others said of checkpoints: that it still holds, and of this log.

1. Each kept cosignature belongs to a checkpoint, and is its witness's over that checkpoint's text,
   at the time that stands beside it.
2. Each kept answer of a timestamping authority has the digest in its key, and is over the note of
   its checkpoint; where roots are given, it verifies against them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from lodeline.errors import MissingExtraError, ProofError, TimestampMismatchError
from lodeline.proof import CosignatureVerifier, parse_note, parse_signatures
from lodeline.store.connections import Connection

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# Code, place, what was expected, what was found.
Fault = tuple[str, str, str, str]


def iter_cosignature_faults(
    connection: Connection, *, count: Callable[[], None]
) -> Iterator[Fault]:
    """Check every cosignature; `count` is called for each that verifies."""
    # 1.
    for size, vkey, time_s, line, note in connection.execute(
        "SELECT size, vkey, time, line, note FROM cosignature LEFT JOIN checkpoint USING(size)"
    ):
        at = f"cosignature {size} {str(vkey).partition('+')[0]}"
        if note is None:
            yield ("cosignature", at, f"a checkpoint of {size}", "none")
            continue
        try:
            witness = CosignatureVerifier.from_vkey(vkey)
            (signature,) = parse_signatures(line)
            found = witness.verify(parse_note(note)[0], signature.signature)
            if not witness.is_of(signature) or found != time_s:
                yield ("cosignature", at, f"{vkey} at {time_s}", f"{signature.name} at {found}")
                continue
        except (ProofError, ValueError, TypeError, AttributeError) as error:
            yield ("cosignature", at, "a cosignature of this checkpoint", str(error))
            continue
        count()


def iter_timestamp_faults(
    connection: Connection, roots: Sequence[Certificate], *, count: Callable[[], None]
) -> Iterator[Fault]:
    """Check every timestamp; `count` is called for each that verified against the roots.

    Raises:
        MissingExtraError: there are timestamps and roots, and the extra is not installed.
    """
    # 2.
    for size, digest, answer, note in connection.execute(
        "SELECT size, digest, answer, note FROM timestamp_answer LEFT JOIN checkpoint USING(size)"
    ):
        at = f"timestamp {size} {digest.hex()[:12] if isinstance(digest, bytes) else digest}"
        if not isinstance(note, str) or not isinstance(answer, bytes):
            yield ("timestamp", at, f"a checkpoint of {size} and an answer over it", "none")
            continue
        if sha256(answer).digest() != digest:
            yield ("timestamp", at, str(digest), sha256(answer).hexdigest())
            continue
        try:
            _verify(answer, note, roots)
        except TimestampMismatchError as error:
            yield ("timestamp", at, "a timestamp of this checkpoint", str(error))
            continue
        if roots:
            count()


def _verify(answer: bytes, note: str, roots: Sequence[Certificate]) -> None:
    from lodeline.tlog.timestamps import verify_timestamp

    try:
        verify_timestamp(answer, note, roots=roots)
    except MissingExtraError:
        # Without roots there is nothing to trust, and the digest has been compared.
        if roots:
            raise
