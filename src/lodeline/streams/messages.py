"""From a message of a stream to events and refusals, as the accept path knows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import NamedTuple

from lodeline.errors import InvalidEventError
from lodeline.store import AcceptedEvent, Refusal
from lodeline.wire import Event, decode_document
from lodeline.wire.cloud_events import iter_contents, plain_headers
from lodeline.wire.correlation import Correlation, read_correlation
from lodeline.wire.reading import iter_raw_events


class Message(NamedTuple):
    """One message of a broker, or one line of a file.

    Attributes:
        body: an event, several, or a CloudEvent around them.
        headers: as they came; of a name that came twice, the last.
        at: where it stood, such as `kafka:lineage/0@17`; the source of what is refused of it.
    """

    body: bytes
    headers: Mapping[str, str]
    at: str


class Taken(NamedTuple):
    """An event that passed, with what its headers named.

    Attributes:
        event: ready to be appended.
        stated: as it was decoded.
        byte_count: as it came.
        correlation: `None` where the headers named nothing.
    """

    event: AcceptedEvent
    stated: Event
    byte_count: int
    correlation: Correlation | None


def iter_taken(message: Message) -> Iterator[Taken | Refusal]:
    """Take the events out of a message and validate each; a refused one harms no other."""
    empty = True
    for content in iter_contents(message.body, plain_headers(message.headers)):
        if content.fault is not None:
            empty = False
            yield Refusal(content.raw, content.fault, message.at)
            continue
        correlation = read_correlation(content.headers)
        for found in iter_raw_events(BytesIO(content.raw)):
            empty = False
            at = message.at if found.at == "1" else f"{message.at}:{found.at}"
            yield _taken(found.raw, correlation, at)
    if empty:
        # A message without a body says nothing; that it came is kept all the same.
        yield _taken(b"", None, message.at)


def _taken(raw: bytes, correlation: Correlation | None, at: str) -> Taken | Refusal:
    try:
        document = decode_document(raw)
    except InvalidEventError as error:
        return Refusal(raw, error, at)
    event = AcceptedEvent(document.canonical, document.fields())
    return Taken(event, document.event, len(raw), correlation)
