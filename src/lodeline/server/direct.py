"""The short way of a single event: from the connection to the writer and back, without coroutines.

Nearly all requests of a busy service are one small event to `POST /api/v1/lineage`, whole when its
last byte arrives. A task, an application's chain of calls and a future would cost each of them
twice what reading and answering it does. `guarding` hands over such requests; what wishes for more
(a query, an encoding, a large or chunked body, a span) goes the ordinary way, through `taking`.
Both ways pass the same gate and the same writer, are observed alike, and answer the same.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, Final

from lodeline.errors import LodelineError
from lodeline.ingest import Submission
from lodeline.server.confinement import find_forbidden
from lodeline.server.endpoints import Gate, Permission
from lodeline.server.noting import ObservedRequest
from lodeline.server.observing import Observing
from lodeline.server.refusals import (
    error_headers,
    error_object,
    error_status,
    fault_object,
)
from lodeline.server.taking import correlation_of
from lodeline.server.writing import Writer, Written

Scope = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]
# Called in the event loop with status, headers without the length, and body.
Answer = Callable[[int, Headers, bytes], None]

ONE: Final = "/api/v1/lineage"
SOURCE: Final = f"POST {ONE}"
_JSON: Final = (b"content-type", b"application/json")

_logger: Final = logging.getLogger("lodeline.requests")


class Direct:
    """Takes single events straight from connections.

    Args:
        writer: takes the events.
        gate: asked before anything is read.
        observing: observes each request.
    """

    def __init__(self, writer: Writer, gate: Gate, observing: Observing) -> None:
        self._writer = writer
        self._gate = gate
        self._observing = observing
        # Receipts of duplicates are read from the disk; tasks are kept from the collector.
        self._reading: set[asyncio.Task[None]] = set()

    def take(self, scope: Scope, body: bytes, answer: Answer) -> None:
        """Take one event; `answer` is called once, when it is durable or refused."""
        request = _Request(self._observing, scope, answer)
        try:
            caller = self._gate.admit(scope, Permission.INGEST)
            request.observed.caller = caller.name
            named = correlation_of(scope["headers"])
            submission = Submission(body, SOURCE, caller.sender, named)
            forbidden = None
            if caller.namespaces is not None or caller.segments is not None:
                segment = self._writer.segment_of(body)
                forbidden = find_forbidden(caller, body, segment=segment)
            if forbidden is None:
                self._writer.submit(submission, partial(self._tell, request))
            else:
                request.refuse(forbidden)
        except LodelineError as error:
            request.refuse(error)
        except Exception:
            request.fail()

    def _tell(self, request: _Request, written: Written, error: LodelineError | None) -> None:
        if error is not None:
            request.refuse(error)
            return
        try:
            [outcome] = written.outcomes
            if outcome.error is not None:
                request.refuse(outcome.error)
                return
            appended = outcome.appended
            assert appended is not None
            if appended.duplicate:
                task = asyncio.get_running_loop().create_task(
                    _tell_duplicate(request, lambda: appended.receipt)
                )
                self._reading.add(task)
                task.add_done_callback(self._reading.discard)
            else:
                request.accept(appended.receipt)
        except Exception:
            request.fail()


async def _tell_duplicate(request: _Request, read: Callable[[], str]) -> None:
    try:
        request.accept(await asyncio.to_thread(read))
    except LodelineError as error:
        request.refuse(error)
    except Exception:
        request.fail()


class _Request:
    """One request on its short way."""

    __slots__ = ("_answer", "_observing", "_scope", "_started", "observed")

    def __init__(self, observing: Observing, scope: Scope, answer: Answer) -> None:
        self._observing = observing
        self._scope = scope
        self._answer = answer
        self.observed: ObservedRequest
        self.observed, self._started = observing.begin(scope, ONE)

    def accept(self, receipt: str) -> None:
        """Answer that the event is durable."""
        self._end(201, [(b"lodeline-receipt", receipt.encode("latin-1"))], b"")

    def refuse(self, error: LodelineError) -> None:
        """Answer why the event is not taken."""
        self.observed.code = error.code
        headers = [
            (name.lower().encode(), one.encode()) for name, one in error_headers(error).items()
        ]
        self._tell_error(error_status(error), headers, error_object(error))

    def fail(self) -> None:
        """Answer that the service has a fault; called where it is caught."""
        self._observing.identify(self._scope, self.observed)
        request_id = self.observed.request_id
        _logger.exception("a request failed", extra={"request_id": request_id})
        self._tell_error(500, [], fault_object(request_id))

    def _tell_error(self, status: int, headers: Headers, body: object) -> None:
        identified = self._observing.identify(self._scope, self.observed)
        # Escaped, since a pointer into foreign JSON may hold half of a surrogate pair.
        self._end(status, [_JSON, *headers, identified], json.dumps(body).encode())

    def _end(self, status: int, headers: Headers, body: bytes) -> None:
        self._answer(status, headers, body)
        self._observing.end(self._scope, self.observed, self._started, status)
