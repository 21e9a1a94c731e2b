"""The errors that Lodeline raises: one root, one branch for each decision a caller can take.

A branch fixes the exit status of the command line and the HTTP status family; a leaf fixes a
stable `code`, documented in `docs/reference/errors.md`. Errors pickle, since runs cross processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(eq=False)
class LodelineError(Exception):
    """The root. Never raised itself.

    Attributes:
        code: stable, dotted, documented.
        exit_status: 1 no, 2 wrong usage, 3 could not tell.
    """

    code: ClassVar[str] = "lodeline"
    exit_status: ClassVar[int] = 3

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from attributes, so that errors cross process borders with their facts."""
        return (_rebuild, (type(self), self.__dict__))

    @property
    def next_step(self) -> str | None:
        """A command or an act that may help; printed after the message."""
        return None


def _rebuild(cls: type[LodelineError], attributes: dict[str, object]) -> LodelineError:
    error = cls.__new__(cls)
    error.__dict__.update(attributes)
    return error


@dataclass(eq=False)
class NoError(LodelineError):
    """The answer is no: the thing asked for is not in the record, or a check failed."""

    code: ClassVar[str] = "no"
    exit_status: ClassVar[int] = 1


@dataclass(eq=False)
class UsageError(LodelineError):
    """The question is malformed; asking it again unchanged cannot help."""

    code: ClassVar[str] = "usage"
    exit_status: ClassVar[int] = 2
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(eq=False)
class CouldNotTellError(LodelineError):
    """Neither yes nor no: the store is unreachable, or evidence is missing."""

    code: ClassVar[str] = "could_not_tell"
    exit_status: ClassVar[int] = 3


@dataclass(eq=False)
class InvalidInputError(LodelineError):
    """Foreign bytes that do not say what they claim; refused with the path of the fault."""

    code: ClassVar[str] = "invalid"
    exit_status: ClassVar[int] = 1


@dataclass(eq=False)
class MalformedIdentifierError(UsageError):
    """A node identifier that is not in the canonical form."""

    code: ClassVar[str] = "usage.identifier"


@dataclass(eq=False)
class AmbiguousIdentifierError(UsageError):
    """A raw identifier that several known nodes answer to."""

    code: ClassVar[str] = "usage.ambiguous_identifier"
    candidates: tuple[str, ...]

    def __str__(self) -> str:
        return self.message + "\n  " + "\n  ".join(self.candidates)


@dataclass(eq=False)
class UnknownNodeError(NoError):
    """No node of that name is known at the position asked about."""

    code: ClassVar[str] = "no.unknown_node"
    node_id: str
    nearest: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"unknown: {self.node_id}"
        if self.nearest:
            text += "\n  nearest: " + ", ".join(self.nearest)
        return text


@dataclass(eq=False)
class StoreUnreachableError(CouldNotTellError):
    """The store or the server does not answer."""

    code: ClassVar[str] = "could_not_tell.store_unreachable"
    url: str
    reason: str

    def __str__(self) -> str:
        return f"cannot reach {self.url}: {self.reason}"


class InvalidEventError(InvalidInputError):
    """An event that cannot be accepted.

    Attributes:
        code: one of the `event.*` codes of `docs/reference/errors.md`.
        path: JSON pointer (RFC 6901) of the fault; empty for the whole document.
        message: what is wrong there.
    """

    def __init__(self, code: str, path: str, message: str) -> None:
        super().__init__()
        self.code = code  # type: ignore[misc]  # one class, several documented codes
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} (at {self.path or 'the document'}, {self.code})"
