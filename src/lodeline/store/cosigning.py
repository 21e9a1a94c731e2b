"""Getting a segment's checkpoint cosigned: the proof that a witness wants, asked at most twice."""

from __future__ import annotations

from lodeline.errors import SignatureError, WitnessConflictError, WitnessUnavailableError
from lodeline.proof import NoteSignature
from lodeline.store.endorsements import Cosignature
from lodeline.store.sql_segment import SqlSegment
from lodeline.tlog import Checkpoint
from lodeline.tlog.witnesses import OtherSize, WitnessClient


def request_cosignature(segment: SqlSegment, witness: WitnessClient) -> Cosignature:
    """Have the newest checkpoint cosigned, verify the cosignature and keep it.

    1. The proof starts at the size that the witness is known to have cosigned.
    2. If the witness names another size, the proof starts there; once, since nobody else asks in
       this log's name, and a witness that goes on naming sizes says nothing.
    3. What it answers is verified before it is kept.

    Raises:
        WitnessUnavailableError: it did not answer, or not with its cosignature.
        WitnessRefusedError: it does not know this log.
        WitnessConflictError: it has cosigned a tree that this log does not extend.
    """
    # 1.
    checkpoint = segment.checkpoint()
    old_size = min(segment.endorsements.cosigned_size(witness.verifier), checkpoint.size)
    answer = _submit(segment, witness, checkpoint, old_size)
    # 2.
    if isinstance(answer, OtherSize):
        if answer.size > checkpoint.size:
            # Another process of this log may have had a later checkpoint cosigned meanwhile.
            checkpoint = segment.checkpoint()
        if answer.size > checkpoint.size:
            raise WitnessConflictError(
                witness.url,
                f"it has cosigned this log at {answer.size} entries; here are {checkpoint.size}. "
                "The log was cut back, or restored from an older backup",
            )
        if answer.size == old_size == checkpoint.size:
            raise WitnessConflictError(
                witness.url, f"it has cosigned another tree of {old_size} entries"
            )
        answer = _submit(segment, witness, checkpoint, answer.size)
    if isinstance(answer, OtherSize):
        if answer.size == checkpoint.size:
            raise WitnessConflictError(
                witness.url, f"it has cosigned another tree of {answer.size} entries"
            )
        raise WitnessUnavailableError(witness.url, "it names another size each time")
    # 3.
    try:
        (kept,) = segment.endorsements.add_cosignatures(
            checkpoint.size, [answer], [witness.verifier]
        )
    except SignatureError as error:
        raise WitnessUnavailableError(witness.url, str(error)) from error
    return kept


def _submit(
    segment: SqlSegment, witness: WitnessClient, checkpoint: Checkpoint, old_size: int
) -> NoteSignature | OtherSize:
    path: list[bytes] = []
    if 0 < old_size < checkpoint.size:
        path = segment.consistency_path(old_size, checkpoint.size)
    return witness.add_checkpoint(checkpoint.note, old_size=old_size, path=path)
