"""Take events from streams into the store, until interrupted.

A source is `kafka://host:port/topic`, `nats://host:port/STREAM` (JetStream), a folder, or a file
that is written to. Messages hold OpenLineage events, plain or as CloudEvents. How far a stream was
taken is written in the transaction that holds its events: killed at any moment, the command goes on
where the log ends. What is refused is kept: `lodeline dead-letter list`. Several of these commands
on one store share the messages of a broker. Exit status 1 if anything was refused.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from lodeline.cli.answers import open_segment, print_json
from lodeline.streams.consuming import Consumer
from lodeline.streams.running import make_consumers, run_consumers


def configure(parser: ArgumentParser) -> None:
    """Add the sources."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="URL of a stream, or a path")
    parser.add_argument(
        "--once", action="store_true", help="take what is there now, then stop, instead of waiting"
    )


def execute(arguments: Namespace) -> int:
    """Consume until interrupted; answer with the counts."""
    with open_segment(arguments, create=True) as segment:
        consumers = make_consumers(segment, arguments.sources, _say)
        run_consumers(consumers, once=arguments.once)
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


def _to_json(consumer: Consumer) -> dict[str, object]:
    return {"source": consumer.source.name, **consumer.counts.to_json()}


def _say(said: str) -> None:
    print(f"lodeline consume: {said}", file=sys.stderr)
