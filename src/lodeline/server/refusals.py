"""Our errors as HTTP answers: the same objects as the command line prints, with a status.

No is 404 for a question and 400 for refused input, wrong usage 400, could not tell 503; who does
not say who they are gets 401, who may not gets 403.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import JSONResponse

from lodeline.errors import (
    AmbiguousIdentifierError,
    ForbiddenError,
    InvalidEventError,
    InvalidInputError,
    LodelineError,
    NoError,
    UnauthenticatedError,
    UnknownNodeError,
    UsageError,
)

_STATUSES: Final = {"event.too_large": 413, "event.content_encoding": 415}

# What a client waits before it asks again; a full queue drains in about that time.
RETRY_AFTER_SECONDS = 1


def error_object(error: LodelineError) -> dict[str, Any]:
    """Give the JSON object of an error: `code`, `message`, and what else it knows."""
    body: dict[str, Any] = {"code": error.code, "message": str(error), "next": error.next_step}
    if isinstance(error, InvalidEventError) or (isinstance(error, ForbiddenError) and error.path):
        body["path"] = error.path
    if isinstance(error, AmbiguousIdentifierError):
        body["candidates"] = list(error.candidates)
    if isinstance(error, UnknownNodeError):
        body["nearest"] = list(error.nearest)
    return body


def error_status(error: LodelineError) -> int:
    """Give the HTTP status of an error."""
    if error.code in _STATUSES:
        return _STATUSES[error.code]
    if isinstance(error, UnauthenticatedError):
        return 401
    if isinstance(error, ForbiddenError):
        return 403
    if isinstance(error, NoError):
        return 404
    if isinstance(error, UsageError | InvalidInputError):
        return 400
    return 503


def error_headers(error: LodelineError) -> dict[str, str]:
    """Give the headers that go with an error's status."""
    if isinstance(error, UnauthenticatedError):
        # RFC 6750: no reason is stated to who sent no key.
        fault = ', error="invalid_token"' if error.presented else ""
        return {"WWW-Authenticate": f'Bearer realm="lodeline"{fault}'}
    if isinstance(error, ForbiddenError):
        scope = f', scope="{error.scope}"' if error.scope else ""
        challenge = f'Bearer realm="lodeline", error="insufficient_scope"{scope}'
        return {"WWW-Authenticate": challenge}
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if error_status(error) == 503 else {}


def fault_object(request_id: str) -> dict[str, Any]:
    """Give the JSON object of a fault of the service: nothing of it but where it is told."""
    message = f"a fault of the service; its diagnostics tell of request {request_id}"
    return {"code": "fault", "message": message, "next": None}


def error_response(error: LodelineError) -> JSONResponse:
    """Answer with an error."""
    status, headers = error_status(error), error_headers(error)
    return JSONResponse(error_object(error), status_code=status, headers=headers)
