"""Take events from streams into the store, until interrupted.

A source is `kafka://host:port/topic`, `nats://host:port/STREAM` (JetStream), a folder, or a file
that is written to. Messages hold OpenLineage events, plain or as CloudEvents. How far a stream was
taken is written in the transaction that holds its events: killed at any moment, the command goes on
where the log ends. What is refused is kept: `lodeline dead-letter list`. Several of these commands
on one store share the messages of a broker. With `--server` events go to a service instead, and
how far each stream was taken is written to a file after the service has acknowledged. Exit status 1
if anything was refused.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from lodeline.cli.answers import open_segment, print_json
from lodeline.errors import UsageError
from lodeline.settings import store_path, store_url
from lodeline.streams.consuming import Taker
from lodeline.streams.forwarding import OffsetFile
from lodeline.streams.running import make_consumers, make_forwarders, run_consumers


def configure(parser: ArgumentParser) -> None:
    """Add the sources."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="URL of a stream, or a path")
    parser.add_argument(
        "--once", action="store_true", help="take what is there now, then stop, instead of waiting"
    )
    parser.add_argument(
        "--offsets",
        metavar="FILE",
        type=Path,
        help="with --server: where it is written how far each stream was taken (default: a file "
        "beside the embedded store, one a server)",
    )


def execute(arguments: Namespace) -> int:
    """Consume until interrupted; answer with the counts."""
    forwarding = arguments.server is not None and arguments.store is None
    if arguments.offsets is not None and not forwarding:
        raise UsageError("--offsets: a store keeps its own; it goes with --server")
    consumers = _forward(arguments) if forwarding else _consume(arguments)
    if arguments.json:
        print_json({"sources": [_to_json(consumer) for consumer in consumers]})
    else:
        for consumer in consumers:
            counts = consumer.counts.to_json()
            text = ", ".join(f"{count} {name}" for name, count in counts.items())
            print(f"{consumer.source.name}: {text}")
    refused = sum(consumer.counts.refused for consumer in consumers)
    if refused and not arguments.json:
        print("  next: lodeline dead-letter list")
    return 1 if refused else 0


def _consume(arguments: Namespace) -> Sequence[Taker]:
    """Take streams into the store."""
    with open_segment(arguments, create=True) as segment:
        consumers = make_consumers(segment, arguments.sources, _say)
        run_consumers(consumers, once=arguments.once)
    return consumers


def _forward(arguments: Namespace) -> Sequence[Taker]:
    """Send streams to a service."""
    # Only here: who consumes into a store needs no client.
    from lodeline.transport.http import HttpTransport

    url = arguments.server.rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--server {url}: write http://host:port or https://host:port")
    path = arguments.offsets
    if path is None:
        name = f"forwarded-{sha256(url.encode()).hexdigest()[:16]}.db"
        path = store_path(store_url()).with_name(name)
    offsets = OffsetFile(path)
    try:
        forwarders = make_forwarders(HttpTransport(url), offsets, arguments.sources, _say)
        run_consumers(forwarders, once=arguments.once)
    finally:
        offsets.close()
    return forwarders


def _to_json(consumer: Taker) -> dict[str, object]:
    return {"source": consumer.source.name, **consumer.counts.to_json()}


def _say(said: str) -> None:
    print(f"lodeline consume: {said}", file=sys.stderr)
