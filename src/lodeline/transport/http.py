"""Delivery to a server over HTTP, with the standard library alone.

Events go to `POST /api/v1/lineage/batch` (any OpenLineage receiver's), predictions to
`POST /api/v2/predictions`, blobs to `PUT /api/v2/blobs/<digest>` (Lodeline's own).
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import quote

from lodeline.errors import DeliveryError
from lodeline.limits import (
    HTTP_ANSWER_BYTES_MAX,
    HTTP_REQUEST_SECONDS_MAX,
    HTTP_TIMEOUT_SECONDS,
)
from lodeline.settings import bearer_header

# Below this size compressing costs more than it saves.
_GZIP_BYTES_MIN: Final = 1024
# Of a foreign message, what a person is shown; and of an acknowledgement in plain words, the most.
_SHOWN: Final = 200
_WORDS_MAX: Final = 64
_EVENTS: Final = "/api/v1/lineage/batch"
_RETRY_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
# The receiver knows no such route: a plain OpenLineage receiver takes events alone.
_NO_ROUTE: Final = frozenset({404, 405})
# The request itself is at fault, so that sending its parts alone can tell which.
_AT_FAULT: Final = frozenset({400, 413, 415, 422})
_FORBIDDEN: Final = 403
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    # A redirected POST loses its body; better a clear failure.
    def redirect_request(self, *_: Any) -> None:
        return None


class HttpTransport:
    """Delivers to one server.

    Args:
        url: its base, as `http://127.0.0.1:5633`.
    """

    name = "http"

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def close(self) -> None:
        """Nothing stays open between requests."""

    def deliver(
        self, records: Sequence[tuple[str, bytes]], *, headers: Mapping[str, str] = _NO_HEADERS
    ) -> Sequence[str | None]:
        """Deliver records in order; see `Transport`.

        Args:
            records: kinds and contents.
            headers: sent with each request.

        Raises:
            DeliveryError: the server did not take them now.
        """
        outcomes: list[str | None] = []
        for kind, group in groupby(records, key=lambda record: _route_of(record[0])):
            payloads = [payload for _, payload in group]
            if kind == "blob":
                outcomes += [self._put_blob(payload) for payload in payloads]
            else:
                outcomes += self._post(kind, payloads, headers)
        return outcomes

    def _post(
        self, path: str, payloads: list[bytes], headers: Mapping[str, str]
    ) -> list[str | None]:
        body = b"[" + b",".join(payloads) + b"]"
        status, answer = self._request("POST", path, body, "application/json", headers)
        if status in _NO_ROUTE:
            return [f"{self.url} takes no {path.rpartition('/')[2]}"] * len(payloads)
        if status in _AT_FAULT:
            if len(payloads) == 1:
                return [_message_of(answer)]
            half = len(payloads) // 2
            parts = (payloads[:half], payloads[half:])
            return [one for part in parts for one in self._post(path, part, headers)]
        outcomes: list[str | None] = [None] * len(payloads)
        for failed in _failed_events(answer):
            index, reason = failed.get("index"), str(failed.get("reason"))
            if not isinstance(index, int) or not 0 <= index < len(outcomes):
                raise DeliveryError(self.url, f"unintelligible answer about event {index!r}")
            if failed.get("retriable"):
                raise DeliveryError(self.url, reason)
            outcomes[index] = reason
        return outcomes

    def hand_over(self, body: bytes) -> list[str]:
        """Have the server judge bytes that are no JSON value, and keep them as a dead letter.

        Returns:
            The reasons for which it refuses them; none where it took them.

        Raises:
            DeliveryError: the server did not judge them now.
        """
        # As a batch, whose body is judged whole before anybody looks for whom it is of.
        status, answer = self._request("POST", _EVENTS, body, "application/json")
        if status in _AT_FAULT:
            return [_message_of(answer)]
        failed = _failed_events(answer)
        if any(one.get("retriable") for one in failed):
            raise DeliveryError(self.url, str(failed[0].get("reason")))
        return [str(one.get("reason")) for one in failed]

    def _put_blob(self, payload: bytes) -> str | None:
        blob = json.loads(payload)
        try:
            data = Path(blob["path"]).read_bytes()
        except FileNotFoundError:
            return "the blob is gone"
        path = f"/api/v2/blobs/{blob['digest']}"
        if "namespace" in blob:
            path += f"?namespace={quote(str(blob['namespace']), safe='')}"
        status, answer = self._request("PUT", path, data, "application/octet-stream")
        return _message_of(answer) if status >= 400 else None

    def _request(
        self,
        method: str,
        path: str,
        body: bytes,
        content: str,
        beside: Mapping[str, str] = _NO_HEADERS,
    ) -> tuple[int, bytes]:
        """Send one request; a status that says the request is at fault is returned."""
        headers = {**beside, "Content-Type": content, "Accept": "application/json"}
        headers |= bearer_header()
        if len(body) >= _GZIP_BYTES_MIN:
            body, headers["Content-Encoding"] = gzip.compress(body, 1, mtime=0), "gzip"
        request = urllib.request.Request(  # noqa: S310  # the scheme was chosen by open_transport
            self.url + path, data=body, headers=headers, method=method
        )
        status, told, answer = self._exchange(request)
        if 200 <= status < 300:
            _check_answer(self.url, told, answer)
            return status, answer
        if status in _AT_FAULT or (status in _NO_ROUTE and path != _EVENTS):
            return status, answer
        if status == _FORBIDDEN and _path_of(answer):
            # This record is not for the key to bring; others may be.
            return status, answer
        raise DeliveryError(
            self.url,
            f"{path}: {status} {_message_of(answer)}",
            retriable=status in _RETRY_LATER,
            retry_after=_retry_after(told),
        )

    def _exchange(self, request: urllib.request.Request) -> tuple[int, Message, bytes]:
        """Send a request; gives the status, the headers and the answer, whatever they are."""
        with _Watch() as watch:
            opener = urllib.request.build_opener(_NoRedirect, _Http(watch), _Https(watch))
            try:
                try:
                    response = opener.open(request, timeout=HTTP_TIMEOUT_SECONDS)
                except urllib.error.HTTPError as error:
                    with error:
                        return error.code, error.headers, _body_of(error)
                with response:
                    answer = response.read(HTTP_ANSWER_BYTES_MAX)
                    if len(answer) < HTTP_ANSWER_BYTES_MAX and not watch.has_cut:
                        return response.status, response.headers, answer
                why = f"its answer has {HTTP_ANSWER_BYTES_MAX} bytes or more"
            except HTTPException as error:
                # Its text is what came, whatever it was.
                why = f"no HTTP: {error!r}"[:_SHOWN]
            except (OSError, ValueError) as error:
                why = str(getattr(error, "reason", error))[:_SHOWN]
            if watch.has_cut:
                why = f"no answer came to its end in {HTTP_REQUEST_SECONDS_MAX:g} seconds"
            raise DeliveryError(self.url, why)


class _Watch:
    """Cuts a connection whose exchange takes too long, however it drips.

    The timeout of a socket counts from the last byte that came, so that a byte now and then would
    hold a deliverer forever.
    """

    def __init__(self) -> None:
        self.has_cut = False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(HTTP_REQUEST_SECONDS_MAX, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._socket is not None:
            self._socket.close()

    def begin(self, connected: socket.socket) -> None:
        # Of its own: TLS takes the other one over, and closing that one must not be in the way.
        self._socket = connected.dup()
        self._timer.start()

    def _cut(self) -> None:
        self.has_cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class _Connection(HTTPConnection):
    watch: _Watch

    def connect(self) -> None:
        super().connect()
        self.watch.begin(self.sock)


class _TlsConnection(HTTPSConnection, _Connection):
    """In this order, the watch begins before the handshake."""


class _Http(urllib.request.HTTPHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_watched(_Connection, self._watch), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_watched(_TlsConnection, self._watch), req)


def _watched(kind: type[_Connection], watch: _Watch) -> Any:
    def connect(*args: Any, **kwargs: Any) -> _Connection:
        connection = kind(*args, **kwargs)
        connection.watch = watch
        return connection

    return connect


def _check_answer(url: str, headers: Message, answer: bytes) -> None:
    """Take for an acknowledgement what a receiver of events says, and no web page.

    Nothing at all, JSON, or a few words of plain text are; whatever answers each request with a
    page of its own (a proxy, a portal, another service at that port) has kept nothing.

    Raises:
        DeliveryError: it is none.
    """
    if not answer.strip():
        return
    with contextlib.suppress(ValueError):
        json.loads(answer)
        return
    words = headers.get_content_type() == "text/plain" and len(answer) <= _WORDS_MAX
    if not (words and answer.isascii() and answer.decode().strip().isprintable()):
        kind = headers.get_content_type()
        raise DeliveryError(url, f"answers as no receiver of events does: {kind}")


def _body_of(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(HTTP_ANSWER_BYTES_MAX)
    except (OSError, HTTPException):
        return b""


def _route_of(kind: str) -> str:
    if kind == "blob":
        return "blob"
    return _EVENTS if kind == "event" else "/api/v2/predictions"


def _retry_after(headers: Message) -> float:
    with contextlib.suppress(ValueError):
        return max(0.0, float(headers.get("Retry-After", "0")))
    return 0.0


def _message_of(answer: bytes) -> str:
    try:
        body = json.loads(answer)
        return str(body["message"])
    except (ValueError, KeyError, TypeError):
        return answer[:200].decode("utf-8", "replace") or "refused"


def _path_of(answer: bytes) -> object:
    """Give the path of what an answer finds fault with; without one it is not of one record."""
    try:
        body = json.loads(answer)
    except ValueError:
        return None
    return body.get("path") if isinstance(body, dict) else None


def _failed_events(answer: bytes) -> list[dict[str, Any]]:
    if not answer:
        return []
    try:
        body = json.loads(answer)
    except ValueError:
        return []
    failed = body.get("failed_events") if isinstance(body, dict) else None
    return [item for item in failed or () if isinstance(item, dict)]
