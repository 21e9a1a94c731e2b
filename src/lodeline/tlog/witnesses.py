"""Asking a witness for its cosignature: the client's side of C2SP tlog-witness.

Source: https://c2sp.org/tlog-witness. Left out: what the log is, and where proofs come from; the
store puts both together.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lodeline.errors import (
    MalformedNoteError,
    NoAnswerError,
    WitnessConflictError,
    WitnessRefusedError,
    WitnessUnavailableError,
)
from lodeline.proof import CosignatureVerifier, NoteSignature, parse_signatures
from lodeline.tlog.posting import Answer, check_url, post

_SIZE_CONTENT: Final = "text/x.tlog.size"
_REASONS: Final = {
    400: "it calls the request malformed",
    403: "it knows none of the keys that signed the checkpoint",
    404: "it does not know this log",
}


@dataclass(frozen=True, slots=True)
class OtherSize:
    """The witness has cosigned another size than the one sent as old.

    Attributes:
        size: the one it has cosigned last; 0 where it has cosigned none.
    """

    size: int


class WitnessClient:
    """One witness.

    Args:
        url: its submission prefix.
        verifier: its key; cosignatures of other keys are ignored.
        timeout_seconds: bound of each wait.
    """

    def __init__(
        self, url: str, verifier: CosignatureVerifier, *, timeout_seconds: float = 10.0
    ) -> None:
        self.url = check_url(url).rstrip("/")
        self.verifier = verifier
        self._timeout_seconds = timeout_seconds

    def add_checkpoint(
        self, note: str, *, old_size: int, path: Sequence[bytes]
    ) -> NoteSignature | OtherSize:
        """Submit a checkpoint once.

        Args:
            note: the checkpoint, signed by the log.
            old_size: what the witness is thought to have cosigned last; 0 for nothing.
            path: consistency proof from there; empty where `old_size` is 0 or the checkpoint's.

        Returns:
            A signature line under the witness's name, not verified yet; or the size from which
            the witness wants the proof.

        Raises:
            WitnessUnavailableError: no answer, one that is no answer, or a failure on its side.
            WitnessRefusedError: it does not know the log or its key.
            WitnessConflictError: it holds another tree than this log's.
        """
        lines = [f"old {old_size}", *(b64encode(value).decode() for value in path), "", note]
        try:
            answer = post(
                f"{self.url}/add-checkpoint",
                "\n".join(lines).encode(),
                content="text/plain; charset=utf-8",
                timeout_seconds=self._timeout_seconds,
            )
        except NoAnswerError as error:
            raise WitnessUnavailableError(self.url, error.reason) from error
        if answer.status == 200:
            return self._read_signature(answer.body)
        if answer.status == 409:
            return self._read_size(answer)
        if answer.status == 422:
            reason = f"the proof from {old_size} does not lead from the tree that it cosigned"
            raise WitnessConflictError(self.url, reason)
        if answer.status in _REASONS:
            raise WitnessRefusedError(self.url, answer.status, _REASONS[answer.status])
        raise WitnessUnavailableError(self.url, f"status {answer.status}")

    def _read_signature(self, body: bytes) -> NoteSignature:
        try:
            signatures = parse_signatures(body.decode())
        except (MalformedNoteError, UnicodeDecodeError) as error:
            raise WitnessUnavailableError(self.url, f"no cosignature: {error}") from error
        for signature in signatures:
            if self.verifier.is_of(signature):
                return signature
        raise WitnessUnavailableError(
            self.url, f"no cosignature by {self.verifier.name}+{self.verifier.identifier.hex()}"
        )

    def _read_size(self, answer: Answer) -> OtherSize:
        text = answer.body.decode("ascii", "replace").removesuffix("\n")
        if answer.content != _SIZE_CONTENT or not text.isdigit() or len(text) > 19:
            raise WitnessUnavailableError(self.url, "status 409 without a size")
        return OtherSize(int(text))
