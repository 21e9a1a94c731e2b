"""API keys: who may bring events and ask questions, kept beside the log in a table of its own.

A token is `lodeline_<id>_<secret>`: the identifier finds the row, the secret is 256 random bits.
The row holds the SHA-256 of the secret and nothing that leads back to it. A slow hash, as for
passwords, would add nothing: there are no likely secrets to try. Keys are no part of the log: they
are the operator's, change without an entry, and are the same for every process over one store.
Times are microseconds since the epoch, UTC.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

from lodeline.errors import UnknownApiKeyError, UsageError
from lodeline.limits import API_KEY_NAME_CHARACTERS_MAX
from lodeline.store.connections import Connection, has_table
from lodeline.store.segment import Segment

# What a key may be allowed to do; `server.endpoints.Permission` has the same words.
SCOPES: Final = ("ingest", "read", "log", "operate")
# Scanners for leaked secrets can know it.
TOKEN_PREFIX: Final = "lodeline"  # noqa: S105  # the word before the secret
_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32

API_KEY_TABLES: Final = """
CREATE TABLE IF NOT EXISTS api_key(
    key_id TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    scopes TEXT NOT NULL,
    namespaces TEXT NOT NULL,
    segments TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER,
    revoked_us INTEGER,
    used_us INTEGER,
    PRIMARY KEY(key_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stub_secret(
    number INTEGER NOT NULL,
    secret BLOB NOT NULL,
    PRIMARY KEY(number)
) WITHOUT ROWID
"""
_COLUMNS: Final = (
    "key_id, name, digest, scopes, namespaces, segments, created_us, expires_us, revoked_us, "
    "used_us"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, without its secret.

    Attributes:
        key_id: stable, random, no secret.
        name: for people; names need not be unique, so that a key can be replaced by a namesake.
        digest: SHA-256 of the secret.
        scopes: of `SCOPES`.
        namespaces: patterns of the namespaces it is confined to; none for all.
        segments: names of the segments it is confined to; none for all.
        created_us: when it was made.
        expires_us: from when on it counts no more; `None` for never.
        revoked_us: when it was revoked.
        used_us: when it was last used, to the hour.
    """

    key_id: str
    name: str
    digest: bytes
    scopes: frozenset[str]
    namespaces: tuple[str, ...]
    segments: tuple[str, ...]
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None
    used_us: int | None = None

    def state(self, now_us: int) -> str:
        """Tell whether it counts: `active`, `expired` or `revoked`."""
        if self.revoked_us is not None:
            return "revoked"
        if self.expires_us is not None and self.expires_us <= now_us:
            return "expired"
        return "active"


def split_token(token: str) -> tuple[str, bytes] | None:
    """Split a token into the key's identifier and the digest of its secret; `None` if it is none.

    Args:
        token: as a client sent it.
    """
    prefix, _, rest = token.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != TOKEN_PREFIX or not key_id or not secret:
        return None
    if len(key_id) != 2 * _ID_BYTES or len(secret) != 2 * _SECRET_BYTES or not token.isascii():
        return None
    return key_id, sha256(secret.encode()).digest()


def create_api_key(
    segment: Segment,
    *,
    name: str,
    scopes: Sequence[str],
    now_us: int,
    expires_us: int | None,
    namespaces: Sequence[str] = (),
    segments: Sequence[str] = (),
) -> tuple[ApiKey, str]:
    """Make a key.

    Returns:
        The key, and its token, which nothing can give again.

    Raises:
        UsageError: no scope, one that is unknown or cannot be confined, or an overlong name.
    """
    _check(name, scopes, namespaces)
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    key = ApiKey(
        key_id,
        name or key_id,
        sha256(secret.encode()).digest(),
        frozenset(scopes),
        tuple(dict.fromkeys(namespaces)),
        tuple(dict.fromkeys(segments)),
        now_us,
        expires_us,
    )
    with segment.writing() as connection:
        for statement in API_KEY_TABLES.split(";\n"):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO stub_secret(number, secret) VALUES (1, ?) ON CONFLICT(number) DO NOTHING",
            (secrets.token_bytes(_SECRET_BYTES),),
        )
        connection.execute(
            f"INSERT INTO api_key({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _to_row(key)
        )
    return key, f"{TOKEN_PREFIX}_{key_id}_{secret}"


def _check(name: str, scopes: Sequence[str], namespaces: Sequence[str]) -> None:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        said = f"no scope {', '.join(unknown)}" if unknown else "a key needs a scope"
        raise UsageError(f"{said}; there are {', '.join(SCOPES)}")
    if namespaces and "operate" in scopes:
        # Refused input and figures are of the whole service, whatever namespace they are about.
        raise UsageError("operate is about the whole service; it goes with no namespace")
    if len(name) > API_KEY_NAME_CHARACTERS_MAX or not name.isprintable():
        raise UsageError(f"a name is one line of {API_KEY_NAME_CHARACTERS_MAX} characters at most")
    if any(not pattern or "*" in pattern[:-1] for pattern in namespaces):
        raise UsageError("a namespace is a whole one, or the beginning of some with * at its end")


def list_api_keys(segment: Segment) -> list[ApiKey]:
    """List all keys, those that count no more among them, oldest first."""
    with segment.reading() as connection:
        if not has_table(connection, "api_key"):
            return []
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM api_key ORDER BY created_us, key_id"
        ).fetchall()
    return [_from_row(row) for row in rows]


def find_api_key(connection: Connection, key_id: str) -> ApiKey | None:
    """Look a key up by its identifier."""
    if not has_table(connection, "api_key"):
        return None
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM api_key WHERE key_id = ?", (key_id,)
    ).fetchone()
    return None if row is None else _from_row(row)


def revoke_api_key(segment: Segment, named: str, *, now_us: int) -> ApiKey:
    """Revoke a key, at once and for good; revoking it again changes nothing.

    Args:
        segment: that keeps it.
        named: its identifier, or a name that one key alone has among those not revoked.
        now_us: the time.

    Raises:
        UnknownApiKeyError: no such key.
        UsageError: several keys have that name.
    """
    keys = list_api_keys(segment)
    found = [key for key in keys if key.key_id == named]
    found = found or [key for key in keys if key.name == named and key.revoked_us is None]
    if not found:
        raise UnknownApiKeyError(named)
    if len(found) > 1:
        ids = ", ".join(key.key_id for key in found)
        raise UsageError(f"{len(found)} keys are named {named!r}; say which: {ids}")
    [key] = found
    if key.revoked_us is not None:
        return key
    with segment.writing() as connection:
        connection.execute(
            "UPDATE api_key SET revoked_us = ? WHERE key_id = ? AND revoked_us IS NULL",
            (now_us, key.key_id),
        )
    return replace(key, revoked_us=now_us)


def note_uses(segment: Segment, uses: Mapping[str, int]) -> None:
    """Write when keys were last used."""
    with segment.writing(durable=False) as connection:
        for key_id, used_us in uses.items():
            connection.execute("UPDATE api_key SET used_us = ? WHERE key_id = ?", (used_us, key_id))


def stub_secret(connection: Connection) -> bytes | None:
    """Give the secret under which hidden nodes get their stubs; `None` before the first key."""
    if not has_table(connection, "stub_secret"):
        return None
    row = connection.execute("SELECT secret FROM stub_secret WHERE number = 1").fetchone()
    return None if row is None else bytes(row[0])


def _to_row(key: ApiKey) -> tuple[Any, ...]:
    return (
        key.key_id,
        key.name,
        key.digest,
        json.dumps(sorted(key.scopes)),
        json.dumps(key.namespaces),
        json.dumps(key.segments),
        key.created_us,
        key.expires_us,
        key.revoked_us,
        key.used_us,
    )


def _from_row(row: Any) -> ApiKey:
    key_id, name, digest, scopes, namespaces, segments, *times = row
    return ApiKey(
        key_id,
        name,
        bytes(digest),
        frozenset(json.loads(scopes)),
        tuple(json.loads(namespaces)),
        tuple(json.loads(segments)),
        *times,
    )
