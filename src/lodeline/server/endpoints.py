"""Endpoints: what a route is made of, who may use it, and the one place where that is asked.

Every group of routes gives a list of `Endpoint`; each names the permission that it needs, so that
none can be forgotten. `route_all` puts the gate in front of all of them and is the only maker of
routes. Handlers get the caller, and pass its authoriser to whatever reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lodeline.errors import ForbiddenError, LodelineError, UsageError
from lodeline.query.permission import OPEN, Authoriser
from lodeline.server.noting import note
from lodeline.server.refusals import error_response
from lodeline.store.senders import Sender

Scope = MutableMapping[str, Any]


class Permission(StrEnum):
    """What a caller must be allowed to do; the words are the scopes of keys."""

    PUBLIC = "public"  # Nobody has to say who they are: health, style sheets.
    INGEST = "ingest"  # Bring events, predictions and blobs.
    READ = "read"  # Ask questions; what each caller sees is the authoriser's matter.
    LOG = "log"  # Read the log's own files: digests and commitments, no names.
    OPERATE = "operate"  # See refused input and figures of the service, and mend them.


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: as authenticated; `None` where nobody had to say who they are.
        permissions: what they may do.
        authoriser: what they may see.
        key_id: of the key that they came with.
        namespaces: of the jobs and datasets whose events they may bring; `None` for all.
        segments: that they may use; `None` for all.
    """

    name: str | None
    permissions: frozenset[Permission]
    authoriser: Authoriser = OPEN
    key_id: str | None = None
    namespaces: Container[str] | None = None
    segments: frozenset[str] | None = None

    @property
    def sender(self) -> Sender | None:
        """Who brings what they bring; `None` where nobody had to say who they are."""
        return None if self.key_id is None else Sender(self.key_id, self.name or self.key_id)


ANYONE: Final = Caller(None, frozenset(Permission))


class Gate(Protocol):
    """Knows callers by their requests."""

    def admit(self, scope: Scope, permission: Permission) -> Caller:
        """Let a request in, or refuse it.

        Args:
            scope: of the request, with its headers.
            permission: that the endpoint needs.

        Raises:
            LodelineError: it does not say who asks, or that caller may not.
        """


class OpenGate:
    """Lets everyone do everything: the gate of a service that only loopback reaches.

    A browser on the same machine reaches it, too, and with it the pages of others: what those send
    is refused. Browsers tell it by `Sec-Fetch-Site`, which no page can set.
    """

    def admit(self, scope: Scope, permission: Permission) -> Caller:  # noqa: ARG002  # the protocol's
        """Let a request in.

        Raises:
            ForbiddenError: a page of another site would change something.
        """
        if scope["method"] not in SAFE_METHODS:
            sites = {value for name, value in scope["headers"] if name == b"sec-fetch-site"}
            if not sites <= OWN_SITE:
                raise ForbiddenError("a page of another site may not bring anything here")
        return ANYONE


SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITE: Final = frozenset({b"same-origin", b"none"})


Handler = Callable[[Request, Caller], Awaitable[Response]]
Refuse = Callable[[Request, LodelineError], Response]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    Attributes:
        method: HTTP's; GET serves HEAD, too.
        path: in Starlette's form, such as `/api/v2/blobs/{digest}`. Parameters match the path as
            sent, so that `%2F` does not end one, and arrive decoded.
        permission: that a caller needs.
        serve: answers; a `LodelineError` that it raises becomes the answer.
        summary: one line for the API's description.
        operation: what else OpenAPI says of it.
        refuse: answers with an error; without it, its JSON object is the answer.
        described: whether it belongs to the API's description; pages for people do not.
    """

    method: str
    path: str
    permission: Permission
    serve: Handler
    summary: str
    operation: Mapping[str, Any] = field(default_factory=dict)
    refuse: Refuse | None = None
    described: bool = True


def route_all(endpoints: Iterable[Endpoint], gate: Gate) -> list[Route]:
    """Make the routes of endpoints, each behind the gate; the first that matches serves."""
    return [
        Route(one.path, _guarded(one, gate), methods=[one.method], name=f"{one.method} {one.path}")
        for one in endpoints
    ]


def as_sent(scope: Scope) -> Scope:
    """Give a request's scope with its path as it was sent, still percent-encoded."""
    raw: bytes | None = scope.get("raw_path")
    return scope if raw is None else {**scope, "path": raw.partition(b"?")[0].decode("latin-1")}


def _guarded(endpoint: Endpoint, gate: Gate) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        note(request.scope, route=endpoint.path)
        try:
            caller = gate.admit(request.scope, endpoint.permission)
            note(request.scope, caller=caller.name)
            _decode_parameters(request)
            return await endpoint.serve(request, caller)
        except LodelineError as error:
            note(request.scope, code=error.code)
            if endpoint.refuse is not None:
                return endpoint.refuse(request, error)
            return error_response(error)

    return serve


def _decode_parameters(request: Request) -> None:
    parameters = request.scope["path_params"]
    for name, value in parameters.items():
        try:
            parameters[name] = unquote(value, errors="strict")
        except UnicodeDecodeError as error:
            raise UsageError(f"{name} in the path is not percent-encoded UTF-8") from error
