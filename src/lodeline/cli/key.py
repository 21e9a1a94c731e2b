"""Keys of the service: who may bring events and ask questions over HTTP.

lodeline key create --name airflow --scope ingest
lodeline key create --name team-a --scope ingest,read --namespace team-a --namespace 's3://a-*'
lodeline key list
lodeline key revoke airflow

`create` prints the key, once: what is kept of it does not lead back to it. `lodeline serve` asks
for keys with LODELINE_AUTHENTICATION=keys; clients send theirs as `Authorization: Bearer KEY`, as
OpenLineage's own do, and Lodeline's with LODELINE_API_KEY. A revoked key counts no more at once.

Scopes: `ingest` brings events, predictions and blobs; `read` asks questions; `log` reads the log's
own files, which hold no names; `operate` sees refused input and figures of the service.
"""

from __future__ import annotations

import re
import sys
import time
from argparse import ArgumentParser, Namespace
from typing import Any, Final

from lodeline.cli.answers import print_json
from lodeline.errors import UsageError
from lodeline.model import format_time, parse_time
from lodeline.settings import store_url

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_EXPIRES: Final = "90d"
_US: Final = 1_000_000


def configure(parser: ArgumentParser) -> None:
    """Add the actions."""
    parser.add_argument("action", choices=["create", "list", "revoke"], help="what to do")
    parser.add_argument("key", nargs="?", metavar="KEY", help="revoke: its identifier, or its name")
    parser.add_argument("--name", metavar="NAME", help="create: whose it is; for people")
    parser.add_argument(
        "--scope",
        action="append",
        metavar="SCOPE,…",
        help="create: what it may do; any of ingest, read, log, operate",
    )
    parser.add_argument(
        "--namespace",
        action="append",
        metavar="NS",
        help="create: only this namespace, or with * at its end those that begin so; repeatable",
    )
    parser.add_argument(
        "--segment",
        action="append",
        metavar="NAME",
        help="create: only this segment of the service; repeatable",
    )
    parser.add_argument(
        "--expires",
        metavar="WHEN",
        help=f"create: after 12h, 30d or 8w, at a time, or never (default: {_EXPIRES})",
    )


def execute(arguments: Namespace) -> int:
    """Create, list or revoke."""
    if arguments.server is not None:
        raise UsageError("keys are made on the store, not through a server; name it: --store")
    if (arguments.action == "revoke") is not (arguments.key is not None):
        raise UsageError("key revoke takes one KEY; create and list take none")
    from lodeline.store import open_segment

    make = arguments.action == "create"
    with open_segment(store_url(arguments.store), create=make) as segment:
        return {"create": _create, "list": _list, "revoke": _revoke}[arguments.action](
            segment, arguments
        )


def _now_us() -> int:
    return time.time_ns() // 1000


def _create(segment: Any, arguments: Namespace) -> int:
    from lodeline.store.api_keys import create_api_key

    now_us = _now_us()
    scopes = [one.strip() for given in arguments.scope or () for one in given.split(",")]
    key, token = create_api_key(
        segment,
        name=arguments.name or "",
        scopes=[one for one in scopes if one],
        namespaces=arguments.namespace or (),
        segments=arguments.segment or (),
        now_us=now_us,
        expires_us=_read_expiry(arguments.expires or _EXPIRES, now_us),
    )
    if arguments.json:
        print_json({**_to_json(key, now_us), "key": token})
        return 0
    print(token)
    until = "never expires" if key.expires_us is None else f"expires {format_time(key.expires_us)}"
    print(f"key {key.key_id} ({key.name}): {', '.join(sorted(key.scopes))}", file=sys.stderr)
    print(f"  {until}; it is shown this once: keep it now", file=sys.stderr)
    print("  next: LODELINE_AUTHENTICATION=keys lodeline serve", file=sys.stderr)
    return 0


def _read_expiry(text: str, now_us: int) -> int | None:
    if text == "never":
        return None
    span = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if span is not None:
        return now_us + int(span[1]) * _UNITS[span[2]] * _US
    day = re.fullmatch(r"\d{4}-\d\d-\d\d", text)
    try:
        expires_us = parse_time(f"{text}T00:00:00Z" if day else text)[0]
    except ValueError as error:
        raise UsageError(f"--expires takes 12h, 30d, 8w, a time or never, not {text!r}") from error
    if expires_us <= now_us:
        raise UsageError(f"--expires {text} is past")
    return expires_us


def _list(segment: Any, arguments: Namespace) -> int:
    from lodeline.store.api_keys import list_api_keys

    now_us = _now_us()
    keys = list_api_keys(segment)
    if arguments.json:
        print_json({"keys": [_to_json(key, now_us) for key in keys]})
        return 0
    for key in keys:
        until = "never" if key.expires_us is None else format_time(key.expires_us)
        used = "never" if key.used_us is None else format_time(key.used_us)
        print(f"{key.key_id}  {key.name}: {', '.join(sorted(key.scopes))}, {key.state(now_us)}")
        print(f"  expires {until}, last used {used}")
        for what, those in (("namespaces", key.namespaces), ("segments", key.segments)):
            if those:
                print(f"  {what} {', '.join(those)}")
    if not keys:
        print("no keys")
        print("  next: lodeline key create --name NAME --scope ingest,read")
    return 0


def _revoke(segment: Any, arguments: Namespace) -> int:
    from lodeline.store.api_keys import revoke_api_key

    now_us = _now_us()
    key = revoke_api_key(segment, arguments.key, now_us=now_us)
    if arguments.json:
        print_json(_to_json(key, now_us))
    else:
        print(f"revoked {key.key_id} ({key.name})")
    return 0


def _to_json(key: Any, now_us: int) -> dict[str, Any]:
    def time_or_null(time_us: int | None) -> str | None:
        return None if time_us is None else format_time(time_us)

    return {
        "id": key.key_id,
        "name": key.name,
        "state": key.state(now_us),
        "scopes": sorted(key.scopes),
        "namespaces": list(key.namespaces),
        "segments": list(key.segments),
        "created": time_or_null(key.created_us),
        "expires": time_or_null(key.expires_us),
        "revoked": time_or_null(key.revoked_us),
        "last_used": time_or_null(key.used_us),
    }
