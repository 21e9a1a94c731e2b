r"""From foreign bytes to a typed event: the one function that foreign events pass.

The order of work, cheapest first:

1. size, UTF-8, JSON syntax, numbers: one generic parse by msgspec;
2. duplicate names: parsing drops a duplicate with its colon, so an unchanged number of colons
   between the input and its canonical form means none, unless a colon was written as `\u003a`;
   in doubt an exact parse decides;
3. NUL (only ever written `\u0000`) and nesting;
4. types, required members and values, typed decoding by msgspec;
5. only after a refusal is certain: where, by the exact scanner or a walk over the values.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from lodeline.errors import InvalidEventError
from lodeline.limits import (
    EVENT_BYTES_MAX,
    EVENT_DEPTH_MAX,
    EXPLAIN_BYTES_MAX,
    NAME_BYTES_MAX,
)
from lodeline.model import parse_time
from lodeline.wire.canonical import canonical_bytes, content_digest, number_token
from lodeline.wire.commitment import commitment_fields
from lodeline.wire.events import (
    Dataset,
    DatasetEvent,
    Event,
    EventType,
    InputDataset,
    Job,
    JobEvent,
    OutputDataset,
    Run,
    RunEvent,
)
from lodeline.wire.scanning import scan
from lodeline.wire.structure import check_structure, check_subject, without_nulls

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# A name this short cannot exceed the bound, whatever its characters.
_NAME_LENGTH_SAFE: Final = NAME_BYTES_MAX // 4


class _RunEventWire(msgspec.Struct, gc=False, rename="camel"):
    event_time: str
    run: Run
    job: Job
    event_type: EventType | None = None
    inputs: tuple[InputDataset, ...] | None = None
    outputs: tuple[OutputDataset, ...] | None = None
    producer: str | None = None
    schema_url: str | None = msgspec.field(name="schemaURL", default=None)


class _JobEventWire(msgspec.Struct, gc=False, rename="camel"):
    event_time: str
    job: Job
    inputs: tuple[InputDataset, ...] | None = None
    outputs: tuple[OutputDataset, ...] | None = None
    producer: str | None = None
    schema_url: str | None = msgspec.field(name="schemaURL", default=None)


class _DatasetEventWire(msgspec.Struct, gc=False, rename="camel"):
    event_time: str
    dataset: Dataset
    producer: str | None = None
    schema_url: str | None = msgspec.field(name="schemaURL", default=None)


_decode_value: Final = msgspec.json.Decoder(float_hook=number_token).decode
_run_event: Final = msgspec.json.Decoder(_RunEventWire)
_job_event: Final = msgspec.json.Decoder(_JobEventWire)
_dataset_event: Final = msgspec.json.Decoder(_DatasetEventWire)

_Wire = TypeVar("_Wire", _RunEventWire, _JobEventWire, _DatasetEventWire)


@dataclass(frozen=True)
class Document:
    """An accepted event in all the forms that acceptance needs, parsed once.

    Attributes:
        raw: the producer's bytes.
        value: the parsed JSON, in which numbers with fraction or exponent are finished canonical
            tokens (`msgspec.Raw`).
        canonical: its RFC 8785 form.
        event: the typed event.
    """

    raw: bytes
    value: dict[str, Any]
    canonical: bytes
    event: Event

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the canonical form: the event's content identity."""
        return content_digest(self.canonical)

    def fields(self) -> list[tuple[str, bytes]]:
        """List the fields committed to one by one, in pointer order."""
        return commitment_fields(self.value, finished=True)


def decode_event(raw: bytes | str) -> Event:
    """Read one OpenLineage event, or say where it cannot be one.

    Raises:
        InvalidEventError: with a code, a JSON pointer and a message; nothing else, whatever the
            bytes.
    """
    return decode_document(raw).event


def decode_document(raw: bytes | str) -> Document:
    """Read one event and keep what acceptance needs besides it.

    Raises:
        InvalidEventError: as `decode_event`.
    """
    data = _as_bytes(raw)
    if len(data) > EVENT_BYTES_MAX:
        raise InvalidEventError(
            "event.too_large", "", f"{len(data)} bytes, more than {EVENT_BYTES_MAX}"
        )
    try:
        value = _decode_value(data)
        canonical = canonical_bytes(value, finished=True) if isinstance(value, dict) else b""
    except (ValueError, RecursionError) as fault:
        _explain(data, fault)
    _check_lexically(data, value, canonical)
    if not isinstance(value, dict):
        raise InvalidEventError("event.type", "", f"an object, not {type(value).__name__}")
    return Document(data, value, canonical, _typed(data, value))


def decode_stored(raw: bytes) -> Event:
    """Read an event that `decode_event` accepted before, without looking for faults again.

    Raises:
        InvalidEventError: the bytes are not an accepted event after all.
    """
    try:
        value = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError) as fault:
        _explain(raw, fault)
    return _typed(raw, value)


def _as_bytes(raw: bytes | str) -> bytes:
    if not isinstance(raw, str):
        return bytes(raw)
    try:
        return raw.encode()
    except UnicodeEncodeError as fault:
        raise InvalidEventError(
            "event.surrogate", "", f"half of a surrogate pair at character {fault.start}"
        ) from fault


def _explain(data: bytes, fault: Exception) -> NoReturn:
    """Refuse bytes that a compiled parser refused, with the place of the fault."""
    try:
        text = data.decode()
    except UnicodeDecodeError as broken:
        raise InvalidEventError(
            "event.encoding", "", f"not UTF-8: byte {broken.start} ({broken.reason})"
        ) from broken
    if isinstance(fault, RecursionError):
        raise InvalidEventError(
            "event.depth", "", f"nested deeper than {EVENT_DEPTH_MAX}"
        ) from fault
    if len(data) <= EXPLAIN_BYTES_MAX:
        scan(text)
    raise InvalidEventError("event.json", "", f"not JSON: {fault}") from fault


def _check_lexically(data: bytes, value: Any, canonical: bytes) -> None:
    escaped = b"\\u" in data
    suspicious = (
        data.count(b":") != canonical.count(b":")
        or (escaped and (b"\\u003a" in data or b"\\u003A" in data or b"\\u0000" in data))
        or (
            data.count(b"{") + data.count(b"[") > EVENT_DEPTH_MAX
            and _is_deeper(value, EVENT_DEPTH_MAX)
        )
    )
    if suspicious:
        _check_exactly(data)


def _check_exactly(data: bytes) -> None:
    """Decide what the cheap checks could not; a large event's pointer is left out."""
    if len(data) <= EXPLAIN_BYTES_MAX:
        scan(data.decode())
        return
    try:
        value = json.loads(data, object_pairs_hook=_distinct)
        if _is_deeper(value, EVENT_DEPTH_MAX):
            raise InvalidEventError("event.depth", "", f"nested deeper than {EVENT_DEPTH_MAX}")
    except RecursionError as fault:
        raise InvalidEventError(
            "event.depth", "", f"nested deeper than {EVENT_DEPTH_MAX}"
        ) from fault
    if b"\\u0000" in data and b"\\u0000" in re.sub(rb"\\\\", b"", data):
        raise InvalidEventError("event.nul", "", "a NUL character in a string")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidEventError(
                    "event.duplicate_key", "", f"the name {name[:64]!r} appears twice"
                )
            seen.add(name)
    return members


def _is_deeper(value: Any, depth_max: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(depth_max):
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return bool(level)


def _typed(data: bytes, value: dict[str, Any]) -> Event:
    if value.get("run") is not None:
        return _run_event_of(_read(_run_event, data, value, RunEvent))
    if _claims_a_run(value):
        raise InvalidEventError("event.missing", "/run", "a RunEvent has a run")
    if value.get("job") is not None:
        job_event = _read(_job_event, data, value, JobEvent)
        inputs, outputs = job_event.inputs or (), job_event.outputs or ()
        _check_names(job_event.job, "/job", inputs, outputs)
        return JobEvent(
            *_time(job_event.event_time),
            job_event.job,
            inputs,
            outputs,
            job_event.producer,
            job_event.schema_url,
        )
    if value.get("dataset") is not None:
        dataset_event = _read(_dataset_event, data, value, DatasetEvent)
        _check_names(dataset_event.dataset, "/dataset", (), ())
        return DatasetEvent(
            *_time(dataset_event.event_time),
            dataset_event.dataset,
            dataset_event.producer,
            dataset_event.schema_url,
        )
    raise InvalidEventError("event.missing", "/run", "an event has a run, a job or a dataset")


def _claims_a_run(value: dict[str, Any]) -> bool:
    """Tell a RunEvent that lost its run from a JobEvent, which has no event type."""
    return value.get("eventType") is not None


def _read(
    decoder: msgspec.json.Decoder[_Wire], data: bytes, value: dict[str, Any], kind: type[Event]
) -> _Wire:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as fault:
        if any(isinstance(member, msgspec.Raw) for member in value.values()):
            value = msgspec.json.decode(data)
        check_structure(value, kind)
        # Nothing was missing or of a wrong type but nulls that stand for absence.
        try:
            return decoder.decode(without_nulls(data))
        except ValueError:
            raise InvalidEventError("event.type", "", str(fault)) from fault


def _run_event_of(wire: _RunEventWire) -> RunEvent:
    inputs, outputs = wire.inputs or (), wire.outputs or ()
    _check_names(wire.job, "/job", inputs, outputs)
    run = wire.run
    if _UUID.fullmatch(run.run_id) is None:
        raise InvalidEventError("event.run_id", "/run/runId", f"not a UUID: {run.run_id[:64]!r}")
    if not run.run_id.islower():
        run = Run(run.run_id.lower(), run.facets)
    return RunEvent(
        *_time(wire.event_time),
        wire.event_type,
        run,
        wire.job,
        inputs,
        outputs,
        wire.producer,
        wire.schema_url,
    )


def _time(text: str) -> tuple[int, bool]:
    try:
        return parse_time(text)
    except (ValueError, OverflowError) as fault:
        raise InvalidEventError("event.time", "/eventTime", str(fault)) from fault


def _check_names(
    subject: Job | Dataset,
    pointer: str,
    inputs: tuple[InputDataset, ...],
    outputs: tuple[OutputDataset, ...],
) -> None:
    check_subject(subject.namespace, subject.name, pointer)
    for i, read in enumerate(inputs):
        if not read.name or len(read.name) + len(read.namespace) > _NAME_LENGTH_SAFE:
            check_subject(read.namespace, read.name, f"/inputs/{i}")
    for i, written in enumerate(outputs):
        if not written.name or len(written.name) + len(written.namespace) > _NAME_LENGTH_SAFE:
            check_subject(written.namespace, written.name, f"/outputs/{i}")
