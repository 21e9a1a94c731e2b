"""One call of the Marquez API: its parameters, and its refusals in Marquez's shape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.datastructures import QueryParams
from starlette.responses import JSONResponse, Response

from lodeline.errors import LodelineError, RunTakenError, UsageError
from lodeline.limits import CATALOGUE_PAGE_MAX
from lodeline.model import parse_time
from lodeline.query.asking import Inquiry
from lodeline.server.refusals import RETRY_AFTER_SECONDS, error_object, error_status

Json = Any


@dataclass(frozen=True, slots=True)
class Call:
    """Parameters of a call, read leniently.

    Attributes:
        path: parameters in the path, decoded.
        query: parameters behind it.
        body: the JSON object that was sent; empty if none was.
    """

    path: Mapping[str, str]
    query: QueryParams
    body: Mapping[str, Any]

    @property
    def as_of(self) -> str | None:
        """The position of the log asked about."""
        text: str | None = self.query.get("asOf")
        return text

    def number(self, name: str, default: int, *, most: int = CATALOGUE_PAGE_MAX) -> int:
        """Read a number of the query, from 0 to `most`.

        Raises:
            UsageError: none, or out of bounds.
        """
        text = self.query.get(name)
        if text is None or text == "":
            return default
        try:
            number = int(text)
        except ValueError as error:
            raise UsageError(f"{name}: a number, not {text[:64]!r}") from error
        if not 0 <= number <= most:
            raise UsageError(f"{name}: from 0 to {most}, not {number}")
        return number

    def flag(self, name: str) -> bool:
        """Read a flag of the query."""
        return self.query.get(name, "").lower() in {"true", "1", "yes"}

    def time_us(self, name: str) -> int | None:
        """Read a time of the query.

        Raises:
            UsageError: not a time.
        """
        text = self.query.get(name)
        return None if not text else read_time(text, name)

    def required(self, name: str) -> str:
        """Read a text of the query that must be there.

        Raises:
            UsageError: it is missing.
        """
        text: str = self.query.get(name, "")
        if not text:
            raise UsageError(f"query param {name} must not be empty")
        return text

    def text(self, name: str, *, required: bool = False) -> str | None:
        """Read a text of the body.

        Raises:
            UsageError: it is missing, or no text.
        """
        value = self.body.get(name)
        if value is None and not required:
            return None
        if not isinstance(value, str) or (required and not value):
            raise UsageError(f"{name}: a text must be given")
        return value

    def objects(self, name: str) -> list[Mapping[str, Any]]:
        """Read a list of objects of the body; none if it is missing.

        Raises:
            UsageError: no list, or something else in it.
        """
        value = self.body.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise UsageError(f"{name}: a list of objects")
        return value

    def texts(self, name: str) -> list[str]:
        """Read a list of texts of the body; none if it is missing.

        Raises:
            UsageError: no list, or something else in it.
        """
        return read_texts(self.body.get(name), name)


Answering = Callable[[Inquiry, Call], Json]


class Read(NamedTuple):
    """A route that reads.

    Attributes:
        path: below `/api/v1`.
        answer: from one snapshot.
        summary: for the API's description.
        query: names of parameters, besides `asOf`, in `describing.QUERY`.
    """

    path: str
    answer: Answering
    summary: str
    query: tuple[str, ...] = ()


def read_time(text: str, name: str) -> int:
    """Read a time.

    Raises:
        UsageError: it is none.
    """
    try:
        # A plus that stands for itself in a URL arrives as a space.
        return parse_time(text.strip().replace(" 00:00", "+00:00"))[0]
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error


def read_texts(value: object, name: str) -> list[str]:
    """Read a list of texts; none if it is missing.

    Raises:
        UsageError: no list, or something else in it.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise UsageError(f"{name}: a list of texts")
    return list(value)


def refusal(error: LodelineError) -> Response:
    """Answer with an error as Marquez does: a number as `code`; ours stands in `error`."""
    status = 409 if isinstance(error, RunTakenError) else error_status(error)
    ours = error_object(error)
    body = {"code": status, "message": ours.pop("message"), "error": ours.pop("code"), **ours}
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    return JSONResponse(body, status_code=status, headers=headers)


Handling = Callable[..., Awaitable[Response]]
