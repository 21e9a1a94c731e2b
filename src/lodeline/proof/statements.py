"""in-toto statements: what a signed envelope says of which artifacts.

Reading only; `attest` outside this folder writes them. Source: in-toto attestation framework,
https://github.com/in-toto/attestation/tree/main/spec/v1, statement and resource descriptor.

Left out: what a predicate means. That is its type's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .dsse import Envelope
from .errors import MalformedStatementError
from .strict_json import parse_strictly

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
# A statement about more artifacts than a run writes files is a mistake.
SUBJECTS_MAX: Final = 10_000

_HEX = re.compile(r"(?:[0-9a-f]{2}){1,128}")


@dataclass(frozen=True, slots=True)
class Subject:
    """An artifact that a statement is about.

    Attributes:
        name: how the signer calls it; a node identifier in statements of Lodeline.
        digest: hexadecimal digest by algorithm; it alone identifies the artifact.
    """

    name: str
    digest: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Statement:
    """What a payload of type `PAYLOAD_TYPE` says.

    Attributes:
        subjects: at least one.
        predicate_type: URI of the claim's form.
        predicate: the claim.
    """

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]


def statement_of(envelope: Envelope) -> Statement:
    """Read the statement of an envelope; verifying its signatures comes first.

    Raises:
        MalformedStatementError: the payload is no statement.
    """
    if envelope.payload_type != PAYLOAD_TYPE:
        raise MalformedStatementError(f"payload of type {envelope.payload_type[:200]!r}")
    return parse_statement(envelope.payload)


def parse_statement(payload: bytes) -> Statement:
    """Read a statement.

    Raises:
        MalformedStatementError: not one, or a subject without a digest.
    """
    try:
        value = parse_strictly(payload)
    except ValueError as error:
        raise MalformedStatementError(f"statement is not JSON: {error}") from error
    if not isinstance(value, dict) or value.get("_type") != STATEMENT_TYPE:
        raise MalformedStatementError(f"not a statement of type {STATEMENT_TYPE}")
    predicate_type, predicate = value.get("predicateType"), value.get("predicate", {})
    if not isinstance(predicate_type, str) or not predicate_type:
        raise MalformedStatementError("predicateType is missing")
    if not isinstance(predicate, dict):
        raise MalformedStatementError("predicate is not a JSON object")
    listed = value.get("subject")
    if not isinstance(listed, list) or not 1 <= len(listed) <= SUBJECTS_MAX:
        raise MalformedStatementError(f"a statement has 1 to {SUBJECTS_MAX} subjects")
    return Statement(tuple(map(_read_subject, listed)), predicate_type, predicate)


def _read_subject(value: object) -> Subject:
    if not isinstance(value, dict):
        raise MalformedStatementError("a subject is not a JSON object")
    name, digest = value.get("name", ""), value.get("digest")
    if not isinstance(name, str):
        raise MalformedStatementError("a subject's name is not a string")
    if not isinstance(digest, dict) or not digest:
        raise MalformedStatementError(f"subject {name[:200]!r} has no digest")
    for algorithm, hexadecimal in digest.items():
        if not isinstance(hexadecimal, str) or not _HEX.fullmatch(hexadecimal):
            raise MalformedStatementError(f"digest {algorithm[:64]!r} is not hexadecimal")
    return Subject(name, digest)
