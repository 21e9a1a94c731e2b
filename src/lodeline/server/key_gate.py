"""The gate of a service with API keys: `Authorization: Bearer lodeline_…`, or no answer.

Browsers bring their key in a cookie (`server/pages/signing_in.py`). They send cookies along with
whatever a page asks for, so with a cookie only this service's own pages may change something.

Every request's key is looked up in the store, so that a revocation counts at once; requests that
come within `API_KEY_CACHE_SECONDS` of each other share a look-up. Why a key does not count is told
to who has its secret, and to nobody else. Tokens stand in no message and no log.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from lodeline.errors import (
    ForbiddenError,
    LodelineError,
    UnauthenticatedError,
)
from lodeline.limits import API_KEY_CACHE_SECONDS, API_KEY_USE_SECONDS, API_KEYS_CACHED_MAX
from lodeline.model import format_time
from lodeline.query.permission import CLOSED, OPEN, NamespaceAuthoriser, NamespacePatterns
from lodeline.server.endpoints import OWN_SITE, SAFE_METHODS, Caller, Permission, Scope
from lodeline.store import Segment
from lodeline.store.api_keys import ApiKey, find_api_key, note_uses, split_token

KEY_COOKIE: Final = "lodeline_key"
NOBODY: Final = Caller(None, frozenset({Permission.PUBLIC}), CLOSED)
_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Known:
    """A key as it was looked up, and who it stands for."""

    key: ApiKey | None
    caller: Caller
    until: float


class KeyGate:
    """Knows callers by their keys.

    Args:
        segment: whose store keeps the keys.
        clock_us: the time, in microseconds since the epoch.
        run: runs a function beside the requests; notes of use are written with it.
    """

    def __init__(
        self,
        segment: Segment,
        *,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        run: Callable[[Callable[[], None]], object] = lambda act: threading.Thread(
            target=act, name="lodeline-key-use", daemon=True
        ).start(),
    ) -> None:
        self._segment = segment
        self._clock_us = clock_us
        self._run = run
        self._known: dict[str, _Known] = {}
        self._noted: dict[str, int] = {}

    def admit(self, scope: Scope, permission: Permission) -> Caller:
        """Let a request in by its key.

        Raises:
            UnauthenticatedError: there is no key, or one that does not count.
            ForbiddenError: the key does not have the permission.
            StoreUnreachableError: keys cannot be looked up now.
        """
        if permission is Permission.PUBLIC:
            return NOBODY
        token = _token_of(scope)
        split = split_token(token)
        if split is None:
            raise UnauthenticatedError("that is no key of Lodeline's", presented=True)
        key_id, digest = split
        known = self._look_up(key_id)
        key = known.key
        # Compared in constant time, and before anything is told about the key.
        if key is None or not hmac.compare_digest(key.digest, digest):
            raise UnauthenticatedError("no such key", presented=True)
        now_us = self._clock_us()
        state = key.state(now_us)
        if state != "active":
            when_us = key.revoked_us if state == "revoked" else key.expires_us
            told = f"the key {key.key_id} {_STATES[state]} {format_time(when_us or 0)}"
            raise UnauthenticatedError(told, presented=True)
        if permission not in known.caller.permissions:
            raise ForbiddenError(
                f"the key {key.key_id} lacks the scope {permission}", scope=str(permission)
            )
        self._note_use(key, now_us)
        return known.caller

    def _look_up(self, key_id: str) -> _Known:
        now = time.monotonic()
        known = self._known.get(key_id)
        if known is not None and now < known.until:
            return known
        with self._segment.reading() as connection:
            key = find_api_key(connection, key_id)
        caller = NOBODY if key is None else caller_of(key)
        if known is not None and known.key == key:
            caller = known.caller  # its authoriser has learnt the namespaces by now
        if len(self._known) >= API_KEYS_CACHED_MAX:
            self._known.clear()
        known = self._known[key_id] = _Known(key, caller, now + API_KEY_CACHE_SECONDS)
        return known

    def _note_use(self, key: ApiKey, now_us: int) -> None:
        key_id = key.key_id
        noted_us = max(self._noted.get(key_id, 0), key.used_us or 0)
        if now_us - noted_us < API_KEY_USE_SECONDS * _US:
            return
        self._noted[key_id] = now_us

        def write() -> None:
            try:
                note_uses(self._segment, {key_id: now_us})
            except LodelineError:
                # When a key was last used is no reason to fail; the next hour tries again.
                return

        self._run(write)


_STATES: Final[Mapping[str, str]] = {"expired": "expired at", "revoked": "was revoked at"}


def caller_of(key: ApiKey) -> Caller:
    """Give who a key stands for."""
    permissions = frozenset(Permission(scope) for scope in key.scopes)
    namespaces = NamespacePatterns(key.namespaces) if key.namespaces else None
    return Caller(
        key.name,
        permissions,
        OPEN if namespaces is None else NamespaceAuthoriser(namespaces),
        key_id=key.key_id,
        namespaces=namespaces,
        segments=frozenset(key.segments) or None,
    )


def _token_of(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if not given:
        return _token_in_cookie(scope)
    if len(given) > 1:
        raise UnauthenticatedError("one Authorization header, not several", presented=True)
    scheme, _, token = given[0].decode("latin-1").strip().partition(" ")
    if scheme.lower() != "bearer":
        raise UnauthenticatedError("the scheme is Bearer: Authorization: Bearer lodeline_…")
    return str(token.strip())


def _token_in_cookie(scope: Scope) -> str:
    cookies = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    pairs = (one.strip().partition("=") for one in cookies.decode("latin-1").split(";"))
    # An empty one is that of a browser that signed out.
    tokens = [value for name, _, value in pairs if name == KEY_COOKIE and value]
    if not tokens:
        raise UnauthenticatedError("a key is needed: Authorization: Bearer lodeline_…")
    if scope["method"] not in SAFE_METHODS:
        sites = {value for name, value in scope["headers"] if name == b"sec-fetch-site"}
        # Without the header there is no browser of today, which has no need of a cookie.
        if not sites or not sites <= OWN_SITE:
            raise ForbiddenError("a page of another site may not bring anything here")
    return tokens[0]
