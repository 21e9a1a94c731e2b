"""aiokafka: topics that a program consumes and produces, and its run in the messages' headers.

Messages get `traceparent` and `baggage` where they lack them, unless the broker is too old for
headers. Nothing else of a message, of its order, or of what `send` gives is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lodeline.capture.datasets import Dataset
from lodeline.capture.messages import (
    begin_messages,
    correlate,
    note_message,
    telling_at_end,
    with_headers_at,
)
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import RECORDER, Recorder

# Since which version of the broker messages have headers.
_HEADERS_SINCE = (0, 11)


class AiokafkaIntegration:
    """aiokafka 0.10 and later."""

    name = "aiokafka"
    supports = "aiokafka>=0.10,<1"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Wrap sending, receiving and stopping."""
        del recorder
        from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

        patches = Patches("aiokafka")
        for owner, name, make in (
            (AIOKafkaProducer, "send", _sending),
            (AIOKafkaProducer, "stop", telling_at_end("aiokafka.stop")),
            (AIOKafkaConsumer, "getone", _receiving),
            (AIOKafkaConsumer, "getmany", _receiving),
            (AIOKafkaConsumer, "stop", telling_at_end("aiokafka.stop")),
        ):
            original = vars(owner).get(name)
            if original is not None:
                patches.wrap(owner, name, original, make)
        return patches.undo


def _sending(original: Any) -> Any:
    async def lodeline(*args: Any, **kwargs: Any) -> Any:
        given = (args, kwargs)
        try:
            args, kwargs = _with_headers(args, kwargs)
        except Exception as error:  # capture's outermost door
            RECORDER.trouble("aiokafka.send", error)
            args, kwargs = given
        future = await original(*args, **kwargs)
        try:
            _note_sent(future, args, kwargs)
        except Exception as error:  # as above
            RECORDER.trouble("aiokafka.send", error)
        return future

    return lodeline


def _receiving(original: Any) -> Any:
    async def lodeline(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await original(self, *args, **kwargs)
        try:
            _note_received(self, result)
        except Exception as error:  # capture's outermost door
            RECORDER.trouble("aiokafka.getone", error)
        return result

    return lodeline


_HEADERS_AT = 6  # of `send`, after the producer, topic, value, key, partition and timestamp


def _with_headers(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    client = args[0].client
    # Later releases no longer speak to brokers without headers, and no longer tell.
    if tuple(getattr(client, "api_version", _HEADERS_SINCE)) < _HEADERS_SINCE:
        return args, kwargs
    given = args[_HEADERS_AT] if len(args) > _HEADERS_AT else kwargs.get("headers")
    headers = list(given or ())
    added = correlate(_texts(headers))
    if not added:
        return args, kwargs
    kept = [one for one in headers if one[0].lower() not in added]
    headers = [*kept, *((name, value.encode()) for name, value in added.items())]
    return with_headers_at(_HEADERS_AT, headers, args, kwargs)


def _texts(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    return {
        name.lower(): value.decode("utf-8", "replace")
        for name, value in headers
        if isinstance(value, bytes)
    }


def _note_sent(future: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    topic = args[1] if len(args) > 1 else kwargs["topic"]
    value = args[2] if len(args) > 2 else kwargs.get("value")
    dataset = _dataset(args[0].client, topic)
    begin_messages("write", dataset)

    def note(sent: Any) -> None:
        try:
            if sent.cancelled() or sent.exception() is not None:
                return
            told = sent.result()
            offset = told.offset if told.offset >= 0 else None
            note_message("write", dataset, partition=told.partition, offset=offset, value=value)
        except Exception as error:  # capture's outermost door
            RECORDER.trouble("aiokafka.send", error)

    future.add_done_callback(note)


def _note_received(consumer: Any, result: Any) -> None:
    if isinstance(result, dict):
        records = [record for batch in result.values() for record in batch]
    else:
        records = [] if result is None else [result]
    for record in records:
        note_message(
            "read",
            _dataset(consumer._client, record.topic),
            partition=record.partition,
            offset=record.offset,
            value=record.value,
            baggage=_texts(record.headers or ()).get("baggage", ""),
        )


def _dataset(client: Any, topic: str) -> Dataset:
    """Name a topic as OpenLineage does: by the first of the servers that the program names."""
    servers = client._bootstrap_servers
    first = servers.split(",")[0] if isinstance(servers, str) else next(iter(servers))
    address = str(first).strip().rpartition("://")[2]
    if ":" not in address:
        address += ":9092"
    return Dataset(f"kafka://{address}", topic)
