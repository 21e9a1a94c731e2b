"""Signed statements in the log: entries of kind `statement`, found again by what they are about.

The payload is `{"envelope", "subjects"}`: the DSSE envelope, and the node identifiers that it is
about, so that whoever walks the log need not understand the claim.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from lodeline.errors import MalformedEnvelopeError, ProofError
from lodeline.model import NodeId
from lodeline.proof.dsse import Envelope, envelope_from_json, envelope_to_json
from lodeline.proof.statements import Statement, statement_of
from lodeline.store.segment import Appended, Segment


@dataclass(frozen=True, slots=True)
class LoggedStatement:
    """A statement that the log holds.

    Attributes:
        position: of its entry.
        log_time_us: when the log took it.
        subjects: node identifiers that it is about.
        envelope: as signed; nobody has verified it yet.
        statement: what it says.
    """

    position: int
    log_time_us: int
    subjects: tuple[str, ...]
    envelope: Envelope
    statement: Statement


def append_statement(segment: Segment, envelope: Envelope, subjects: Sequence[NodeId]) -> Appended:
    """Append a signed statement.

    Args:
        segment: whose log takes it.
        envelope: with an in-toto statement.
        subjects: canonical identifiers, with versions where the statement is about one.

    Raises:
        MalformedStatementError: the envelope holds no statement.
    """
    statement_of(envelope)
    names = list(dict.fromkeys(map(str, subjects)))
    return segment.append_record(
        "statement", {"envelope": envelope_to_json(envelope), "subjects": names}
    )


def iter_statements(
    segment: Segment, node_ids: Collection[str] | None = None, *, stop: int | None = None
) -> Iterator[LoggedStatement]:
    """Walk the logged statements about some nodes, in the order of the log.

    Erased payloads and payloads that are no statement are passed over: `lodeline verify` names
    them.

    Args:
        segment: to read.
        node_ids: canonical identifiers; one without a version stands for all of its versions.
            All statements without it.
        stop: only entries below this position.
    """
    for entry in segment.iter_entries(0, stop, kinds={"statement"}):
        if entry.payload is None:
            continue
        try:
            subjects, envelope, statement = read_statement(entry.payload)
        except ProofError:
            continue
        if node_ids is None or any(_is_among(subject, node_ids) for subject in subjects):
            yield LoggedStatement(entry.position, entry.log_time_us, subjects, envelope, statement)


def _is_among(subject: str, node_ids: Collection[str]) -> bool:
    # `#` stands for itself only before a version: names have it percent-encoded.
    return subject in node_ids or subject.partition("#")[0] in node_ids


def read_statement(payload: bytes) -> tuple[tuple[str, ...], Envelope, Statement]:
    """Read the payload of an entry of kind `statement`: subjects, envelope, statement.

    Raises:
        MalformedEnvelopeError: not such a payload.
        MalformedStatementError: the envelope holds no statement.
    """
    try:
        record = json.loads(payload)
        subjects = record["subjects"]
        listed = record["envelope"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedEnvelopeError("a statement's record has envelope and subjects") from error
    if not isinstance(subjects, list) or not all(isinstance(one, str) for one in subjects):
        raise MalformedEnvelopeError("a statement's subjects are node identifiers")
    envelope = envelope_from_json(listed)
    return tuple(subjects), envelope, statement_of(envelope)
