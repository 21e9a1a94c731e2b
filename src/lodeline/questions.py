"""Questions from Python: the same verbs, options and answers as the command line.

`connect` gives the one to ask: the embedded store, or a server over HTTP. The functions
(`lodeline.trace` and its kin) ask whatever the settings name, as the commands do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

from lodeline.errors import (
    AmbiguousIdentifierError,
    LodelineError,
    ServerCouldNotTellError,
    ServerNoError,
    ServerUsageError,
    StoreFullError,
    StoreUnreachableError,
    UnknownNodeError,
    UsageError,
)
from lodeline.limits import ANSWER_BYTES_MAX, ANSWER_SECONDS_MAX, SEARCH_INDEX_SECONDS
from lodeline.settings import bearer_header, find_setting, shown_store, store_url

if TYPE_CHECKING:
    from lodeline.store import Segment

Answer = dict[str, Any]

# The server bounds its own work; beyond twice that and a margin, it is not coming back.
_TIMEOUT_SECONDS = 2 * ANSWER_SECONDS_MAX + 10
_COPIED_BYTES = 1 << 20


class Questions(Protocol):
    """One to ask."""

    def ask(self, verb: str, **parameters: object) -> Answer:
        """Answer a verb (trace, path, impact, show, search, diff, rows, cohort, stats).

        Args:
            verb: the command's name.
            parameters: the command's options, in snake_case.

        Raises:
            UnknownNodeError: the record does not know the node.
            UsageError: the question is malformed.
            CouldNotTellError: the store or server does not answer.
        """
        ...


class StoreQuestions:
    """Asks an embedded store, after taking in what waits in its spool."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, verb: str, **parameters: object) -> Answer:
        """Answer a verb; see `Questions`."""
        # Loaded here: programs that only capture never ask.
        from lodeline.ingest.projection import fold_pending
        from lodeline.query import ask
        from lodeline.store import open_segment
        from lodeline.transport.draining import drain_into

        # First of all: what is spooled may be all there is, and then delivery makes the store.
        report = drain_into(self.url)
        segment = open_segment(self.url, create=False)
        try:
            fold_pending(segment)
            if verb == "search":
                _index(segment)
            answer = ask(segment, verb, parameters)
        finally:
            segment.close()
        if "gaps" in answer and not report.complete:
            gap = {
                "at": shown_store(self.url),
                "reason": "pending",
                "detail": "records wait in the spool",
            }
            answer["gaps"].append(gap)
            answer["complete"] = False
        return answer


def _index(segment: Segment) -> None:
    """Bring the index of searches up, for a bounded time; the search scans the rest."""
    from lodeline.query.search_index import catch_up

    # A store that can't be written can still be searched.
    with suppress(StoreUnreachableError, StoreFullError):
        catch_up(segment, seconds=SEARCH_INDEX_SECONDS)


class ServerQuestions:
    """Asks a server over HTTP."""

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise UsageError(f"a server's URL starts with http:// or https://, not {url!r}")
        self.url = url.rstrip("/")

    def ask(self, verb: str, **parameters: object) -> Answer:
        """Answer a verb; see `Questions`."""
        query = urlencode({k: _text(v) for k, v in parameters.items() if v is not None})
        return self._read(self.send("GET", f"/api/v2/{verb}?{query}"))

    def post(self, path: str, body: bytes) -> Answer:
        """Have the server do something, and give its answer. Errors as `ask`'s."""
        return self._read(self.send("POST", path, body))

    def send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Send one request and give the bytes of its answer. Errors as `ask`'s."""
        with self._open(method, path, body) as response:
            answer: bytes = response.read(ANSWER_BYTES_MAX + 1)
        return answer

    def copy(self, path: str, out: IO[bytes]) -> dict[str, str]:
        """Copy an answer of any size, as it comes.

        Returns:
            The answer's headers, their names in lower case. Errors as `ask`'s.
        """
        with self._open("GET", path) as response:
            while part := response.read(_COPIED_BYTES):
                out.write(part)
            return {name.lower(): value for name, value in response.headers.items()}

    @contextmanager
    def _open(self, method: str, path: str, body: bytes | None = None) -> Iterator[HTTPResponse]:
        request = Request(  # noqa: S310  # the scheme is checked above
            self.url + path, data=body, headers={"Accept": "application/json"}, method=method
        )
        for name, value in bearer_header().items():
            # Where the server sends us elsewhere, the key is not sent along.
            request.add_unredirected_header(name, value)
        try:
            with urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
                yield response
        except HTTPError as error:
            with error:
                raise _error_from(error.code, error.read(1 << 20), url=self.url) from error
        except (URLError, HTTPException, OSError) as error:
            reason = str(getattr(error, "reason", error))
            raise StoreUnreachableError(self.url, reason) from error

    def _read(self, body: bytes) -> Answer:
        if len(body) > ANSWER_BYTES_MAX:
            raise StoreUnreachableError(self.url, "the answer is too large; ask with --limit")
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise StoreUnreachableError(self.url, "the answer is not JSON") from error
        if not isinstance(answer, dict):
            raise StoreUnreachableError(self.url, "the answer is not a JSON object")
        return answer


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _error_from(status: int, body: bytes, *, url: str) -> LodelineError:
    """Read a server's error object back into the error that it was."""
    try:
        said = json.loads(body)
        code, message = str(said["code"]), str(said["message"])
    except (ValueError, KeyError, TypeError):
        return StoreUnreachableError(url, f"HTTP status {status}, not an answer of Lodeline's")
    if code == UnknownNodeError.code:
        node_id = message.partition("\n")[0].removeprefix("unknown: ")
        return UnknownNodeError(node_id, tuple(said.get("nearest", ())))
    if code == AmbiguousIdentifierError.code:
        return AmbiguousIdentifierError(message.partition("\n")[0], tuple(said["candidates"]))
    if status == 404:
        return ServerNoError(code, message)
    if status in {401, 403}:
        return ServerCouldNotTellError(code, message)
    return (ServerUsageError if status < 500 else ServerCouldNotTellError)(code, message)


def iter_pages(
    ask_page: Callable[[str | None], Answer], cursor: str | None = None
) -> Iterator[Answer]:
    """Walk all pages of an answer, from a cursor on.

    Args:
        ask_page: asks for the page of a cursor.
        cursor: to begin at; `None` for the first page.
    """
    while True:
        answer = ask_page(cursor)
        yield answer
        cursor = answer["next"]
        if cursor is None:
            return


def connect(*, store: str | None = None, server: str | None = None) -> Questions:
    """Give the one to ask.

    Args:
        store: URL or path of an embedded store.
        server: URL of a server; wins over the settings, not over `store`.
    """
    if store is None:
        server = find_setting("url", argument=server)
        if server is not None:
            return ServerQuestions(server)
    return StoreQuestions(store_url(store))


def trace(node: str, /, **options: object) -> Answer:
    """Trace a node: `lodeline trace`.

    Args:
        node: `kind:namespace:name[#version]`.
        options: the command's options in snake_case, and `store` or `server`.
    """
    return _ask("trace", {"id": node}, options)


def path(a: str, b: str, /, **options: object) -> Answer:
    """Say how two nodes are connected: `lodeline path`."""
    return _ask("path", {"a": a, "b": b}, options)


def impact(node: str, /, **options: object) -> Answer:
    """Say what a change of a node would reach: `lodeline impact`."""
    return _ask("impact", {"id": node}, options)


def diff(a: str | None = None, b: str | None = None, /, **options: object) -> Answer:
    """Say what differs between two versions, runs or times: `lodeline diff`."""
    return _ask("diff", {"a": a, "b": b}, options)


def show(node: str, /, **options: object) -> Answer:
    """Describe one node: `lodeline show`."""
    return _ask("show", {"id": node}, options)


def search(words: str, /, **options: object) -> Answer:
    """Find nodes: `lodeline search`."""
    return _ask("search", {"q": words}, options)


def rows(node: str, /, **options: object) -> Any:
    """Find the rows behind a row or prediction, or ahead of it: `lodeline rows`.

    With `format="arrow"` every page as one `pyarrow.Table`; with `csv` or `parquet` as bytes.
    """
    return _ask_rows("rows", node, options)


def cohort(node: str, /, **options: object) -> Any:
    """Find the population of a decision, or everything a row reached: `lodeline cohort`.

    With `format` as `rows` has it.
    """
    return _ask_rows("cohort", node, options)


def _ask_rows(verb: str, node: str, options: dict[str, object]) -> Any:
    form = options.pop("format", None)
    if form in {None, "json"}:
        return _ask(verb, {"id": node}, options)
    from lodeline.rows.tables import arrow_table, write_table

    first = options.pop("cursor", None)

    def ask_page(cursor: str | None) -> Answer:
        return _ask(verb, {"id": node}, {**options, "cursor": cursor})

    start = None if first is None else str(first)
    found = [row for page in iter_pages(ask_page, start) for row in page["rows"]]
    return arrow_table(found) if form == "arrow" else write_table(found, str(form))


def _ask(verb: str, subject: dict[str, object], options: dict[str, object]) -> Answer:
    from lodeline.query.notebooks import Answer as Shown

    store, server = options.pop("store", None), options.pop("server", None)
    asked = connect(
        store=None if store is None else str(store),
        server=None if server is None else str(server),
    )
    return Shown(asked.ask(verb, **subject, **options))
