"""RFC 3161 timestamps: an authority's word that a checkpoint existed at a time.

What is stamped is SHA-256 of a checkpoint's note exactly as the log signed it: text, empty line and
the log's own signature lines, without cosignatures. So a timestamp dates the log's signature, too:
whoever takes the key later cannot make signatures of an earlier time.

The formats are those of the extra `timestamp` (Trail of Bits' rfc3161-client); over the network
goes one POST (RFC 3161, section 3.4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lodeline.errors import (
    MissingExtraError,
    NoAnswerError,
    TimestampMismatchError,
    TimestampUnavailableError,
    UsageError,
)
from lodeline.tlog.posting import check_url, post

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_QUERY: Final = "application/timestamp-query"
_REPLY: Final = "application/timestamp-reply"
_SHA256: Final = "2.16.840.1.101.3.4.2.1"
_GRANTED: Final = 0


@dataclass(frozen=True, slots=True)
class Timestamp:
    """What a timestamp says.

    Attributes:
        time_us: when the authority stamped, in microseconds since 1970.
        serial: its number at the authority.
        policy: object identifier of the policy it was issued under.
        trusted: whether it was verified against root certificates.
    """

    time_us: int
    serial: int
    policy: str
    trusted: bool


def load_roots(path: str) -> list[Certificate]:
    """Read root certificates from a PEM file.

    Raises:
        UsageError: it cannot be read, or holds none.
    """
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"no certificates in {path}: {error}") from error


def request_timestamp(
    url: str,
    note: str,
    *,
    roots: Sequence[Certificate] = (),
    timeout_seconds: float = 20.0,
) -> bytes:
    """Have a checkpoint's note stamped.

    1. The request carries SHA-256 of the note and a random nonce, and asks for certificates.
    2. The answer is over this hash and bears this nonce.
    3. Where roots are given, it verifies against them.

    Args:
        url: of the authority.
        note: the checkpoint as the log signed it.
        roots: certificates to trust; without them only 2. is checked.
        timeout_seconds: bound of each wait.

    Returns:
        The authority's answer (TimeStampResp, DER).

    Raises:
        TimestampUnavailableError: no answer, or one that is no timestamp.
        TimestampMismatchError: a timestamp of something else, or one that does not verify.
        MissingExtraError: the extra `timestamp` is not installed.
    """
    library = _library()
    # 1.
    builder = library.TimestampRequestBuilder().data(note.encode())
    request = builder.hash_algorithm(library.HashAlgorithm.SHA256).cert_request(cert_request=True)
    query = request.nonce(nonce=True).build()
    try:
        answer = post(
            check_url(url), query.as_bytes(), content=_QUERY, timeout_seconds=timeout_seconds
        )
    except NoAnswerError as error:
        raise TimestampUnavailableError(url, error.reason) from error
    if answer.status != 200 or answer.content != _REPLY:
        raise TimestampUnavailableError(
            url, f"status {answer.status}, {answer.content or 'no content type'}"
        )
    # 2. and 3.
    try:
        verify_timestamp(answer.body, note, roots=roots, nonce=query.nonce)
    except _MalformedAnswerError as error:
        raise TimestampUnavailableError(url, str(error)) from error
    return answer.body


def verify_timestamp(
    answer: bytes, note: str, *, roots: Sequence[Certificate] = (), nonce: int | None = None
) -> Timestamp:
    """Check an authority's answer over a checkpoint's note.

    1. The answer is a granted timestamp.
    2. It is over SHA-256 of the note.
    3. It bears the nonce, where one is given.
    4. Where roots are given: its signature is by a certificate for timestamping alone, which leads
       to one of them and was valid at the time of the timestamp.

    Raises:
        TimestampMismatchError: one of the four does not hold.
        MissingExtraError: the extra `timestamp` is not installed.
    """
    library = _library()
    # 1.
    with _only_our_errors():
        response = library.decode_timestamp_response(answer)
        if response.status != _GRANTED:
            said = "; ".join(response.status_string or ())
            raise _MalformedAnswerError(f"not granted (status {response.status}) {said}".rstrip())
        info = response.tst_info
        imprint = info.message_imprint
        algorithm, digest = imprint.hash_algorithm.dotted_string, imprint.message
        found = Timestamp(
            int(info.gen_time.timestamp() * 1_000_000),
            info.serial_number,
            info.policy.dotted_string,
            bool(roots),
        )
        found_nonce = info.nonce
    # 2.
    if (algorithm, digest) != (_SHA256, sha256(note.encode()).digest()):
        raise TimestampMismatchError("it is over other bytes than this checkpoint's note")
    # 3.
    if nonce is not None and found_nonce != nonce:
        raise TimestampMismatchError("it bears another nonce than the request")
    # 4.
    if roots:
        _verify_chain(library, response, digest, roots)
    return found


def _verify_chain(library: Any, response: Any, digest: bytes, roots: Sequence[Certificate]) -> None:
    builder = library.VerifierBuilder(roots=list(roots))
    with _only_our_errors():
        try:
            builder.build().verify(response, digest)
        except library.VerificationError as error:
            raise TimestampMismatchError(str(error)) from error


class _MalformedAnswerError(TimestampMismatchError):
    """Bytes that are no granted timestamp; of a kept one that is a mismatch like any other."""


@contextmanager
def _only_our_errors() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, AttributeError, OverflowError, NotImplementedError) as error:
        raise _MalformedAnswerError(f"no timestamp: {error}") from error
    except BaseException as error:
        # What Rust calls a panic reaches Python as a BaseException of this name.
        if type(error).__name__ != "PanicException":
            raise
        raise _MalformedAnswerError("no timestamp: the decoder gave up") from error


def _library() -> Any:
    try:
        import rfc3161_client
    except ModuleNotFoundError as error:
        raise MissingExtraError("timestamp", error.name or "") from error
    return rfc3161_client
