"""Messages of brokers: identifiers that travel in their headers, and summaries of what passed.

A topic is a dataset. That a run reads or writes it is told at the first message; counts, ranges of
offsets, digests of the first values and figures of their numbers are gathered and told anew every
`MESSAGES_WINDOW_SECONDS`, when a client closes, and when the program ends: never an event a
message.
"""

from __future__ import annotations

import atexit
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Mapping
from os import urandom
from typing import Any, Final, Literal

from lodeline.capture.datasets import Dataset
from lodeline.capture.message_values import MessageValues
from lodeline.capture.recorder import RECORDER, RunContext
from lodeline.limits import (
    MESSAGES_NAMED_MAX,
    MESSAGES_PARTITIONS_MAX,
    MESSAGES_WINDOW_SECONDS,
    TRACE_HEADER_BYTES_MAX,
)

Side = Literal["read", "write"]
_FACET: Final = "lodeline_messages"
# Partition under which those beyond the bound are counted.
_REST: Final = -1


class _Summary:
    """What passed between one run and one topic."""

    def __init__(self, run: RunContext, side: Side, dataset: Dataset) -> None:
        self.run = run
        self.side = side
        self.dataset = dataset
        self.lock = threading.Lock()
        # Partition -> [count, first, last, bytes].
        self.partitions: dict[int, list[Any]] = {}
        self.count = 0
        self.digests: list[str] = []
        self.runs: dict[str, None] = {}
        self.predictions: dict[str, None] = {}
        self.values = MessageValues(f"{dataset.namespace}:{dataset.name}")
        self.told = 0
        self.told_at = time.monotonic()

    def add(self, partition: int, offset: int | None, value: object) -> None:
        size = len(value) if isinstance(value, bytes) else 0
        with self.lock:
            if partition not in self.partitions:
                if len(self.partitions) >= MESSAGES_PARTITIONS_MAX:
                    partition, offset = _REST, None
                self.partitions.setdefault(partition, [0, offset, offset, 0])
            one = self.partitions[partition]
            one[0] += 1
            if offset is not None:
                one[1], one[2] = min(one[1], offset), max(one[2], offset)
            one[3] += size
            self.count += 1
            self.values.add(value)
            if len(self.digests) < MESSAGES_NAMED_MAX and isinstance(value, bytes):
                self.digests.append(hashlib.sha256(value).hexdigest())

    def name(self, baggage: str) -> None:
        """Keep what a message's headers name."""
        for part in baggage.split(","):
            key, _, value = part.partition(";")[0].partition("=")
            named = {"lodeline.run_id": self.runs, "lodeline.prediction_id": self.predictions}
            into = named.get(key.strip())
            if into is not None and len(into) < MESSAGES_NAMED_MAX:
                into[value.strip()] = None

    def facet(self) -> dict[str, Any]:
        with self.lock:
            facet: dict[str, Any] = {
                "partitions": [
                    {
                        "partition": number,
                        "count": count,
                        "bytes": size,
                        **({} if first is None else {"first": first, "last": last}),
                    }
                    for number, (count, first, last, size) in sorted(self.partitions.items())
                ],
                "digests": list(self.digests),
                "complete": len(self.digests) == self.count,
            }
            facet |= self.values.told()
            if self.runs:
                facet["runs"] = list(self.runs)
            if self.predictions:
                facet["predictions"] = list(self.predictions)
            self.told, self.told_at = self.count, time.monotonic()
        return facet


_SUMMARIES: Final[dict[tuple[str, Side, Dataset], _Summary]] = {}


def note_message(
    side: Side,
    dataset: Dataset,
    *,
    partition: int = 0,
    offset: int | None = None,
    value: object = None,
    baggage: str = "",
) -> None:
    """Note one message that the current run consumed or produced.

    Args:
        side: `read` or `write`.
        dataset: the topic.
        partition: its number.
        offset: of the message, or its sequence.
        value: the message's; counted and digested where it is bytes.
        baggage: the header of that name.
    """
    run = RECORDER.run
    if run is None:
        return
    key = (run.run_id, side, dataset)
    summary = _SUMMARIES.get(key)
    if summary is None:
        begin_messages(side, dataset)
        summary = _SUMMARIES[key]
    summary.add(partition, offset, value)
    if side == "read":
        RECORDER.flow.note_read(dataset)
        if baggage and len(baggage) <= TRACE_HEADER_BYTES_MAX:
            summary.name(baggage)
    if time.monotonic() - summary.told_at > MESSAGES_WINDOW_SECONDS:
        _tell(summary)


def begin_messages(side: Side, dataset: Dataset) -> None:
    """Tell that the current run reads or writes a topic, once."""
    run = RECORDER.run
    if run is None or (run.run_id, side, dataset) in _SUMMARIES:
        return
    _SUMMARIES[run.run_id, side, dataset] = _Summary(run, side, dataset)
    if side == "read":
        RECORDER.read(dataset)
    else:
        # A value is bytes, which carry no trace of where they came from: anything read so far may
        # be in it, which the flow says is a bound.
        RECORDER.write(dataset)


def tell_messages() -> None:
    """Tell what was gathered and not told yet."""
    for summary in list(_SUMMARIES.values()):
        if summary.count != summary.told:
            _tell(summary)


def telling_at_end(where: str) -> Callable[[Any], Any]:
    """Give what wraps a client's coroutine of closing, so that all is told when it is over.

    Args:
        where: named if telling fails.
    """

    def make(original: Any) -> Any:
        async def lodeline(*args: Any, **kwargs: Any) -> Any:
            try:
                return await original(*args, **kwargs)
            finally:
                try:
                    tell_messages()
                except Exception as error:  # capture's outermost door
                    RECORDER.trouble(where, error)

        return lodeline

    return make


def with_headers_at(
    at: int, headers: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put headers in a call's arguments: in their place, or under their name.

    Args:
        at: their place.
        headers: to put there.
        args: of the call.
        kwargs: of the call.
    """
    if len(args) > at:
        return (*args[:at], headers, *args[at + 1 :]), kwargs
    return args, {**kwargs, "headers": headers}


def _tell(summary: _Summary) -> None:
    facets = {_FACET: summary.facet()}
    leave = RECORDER.enter(summary.run)
    try:
        if summary.side == "read":
            RECORDER.read(summary.dataset, input_facets=facets)
        else:
            RECORDER.write(summary.dataset, output_facets=facets)
    finally:
        leave()


def _tell_at_end() -> None:
    try:
        tell_messages()
    except Exception as error:  # capture's outermost door
        RECORDER.trouble("messages", error)


atexit.register(_tell_at_end)


def correlate(headers: Mapping[str, str]) -> dict[str, str]:
    """Give the headers that a message lacks: where it is in a trace, and which run sends it.

    Args:
        headers: of the message, names in lower case.

    Returns:
        Headers to set; `baggage` keeps what it had.
    """
    run = RECORDER.run
    if run is None:
        return {}
    serving = sys.modules.get("lodeline.capture.serving")
    current: Callable[[], dict[str, str]] | None = getattr(serving, "outgoing_headers", None)
    ours = {} if current is None else current()
    found = {}
    if "traceparent" not in headers:
        # A run is a trace of its own, so that its messages can be told by it.
        begun = f"00-{run.run_id.replace('-', '')}-{urandom(8).hex()}-00"
        found["traceparent"] = ours.get("traceparent", begun)
    baggage = headers.get("baggage", "")
    if "lodeline.run_id" not in baggage:
        own = [f"lodeline.run_id={run.run_id}"]
        own += [one for one in ours.get("baggage", "").split(",") if one.startswith("lodeline.p")]
        joined = ",".join([*([baggage] if baggage else []), *own])
        if len(joined) <= TRACE_HEADER_BYTES_MAX:
            found["baggage"] = joined
    return found
