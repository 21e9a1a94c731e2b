"""Questions of the SDK: the same answers as the command line and HTTP give."""

from __future__ import annotations

from typing import Protocol


class Questions(Protocol):
    """Someone who answers: the embedded store, or a server."""

    def ask(self, verb: str, **parameters: object) -> dict[str, object]:
        """Answer one question in the contract's JSON."""
