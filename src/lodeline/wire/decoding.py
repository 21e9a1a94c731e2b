"""From foreign bytes to a typed event: the one function that foreign events pass.

Most events say again what others said (`repeated`), or go the short way (`envelope`), which reads
only what is new. The long way, in order:

1. size, UTF-8, JSON syntax, numbers: one generic parse by msgspec;
2. duplicate names, NUL and nesting, cheaply; in doubt an exact parse decides;
3. types, required members and values: typed decoding by msgspec;
4. only after a refusal is certain: where, by the exact scanner or a walk over the values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

import msgspec

from lodeline.errors import InvalidEventError
from lodeline.limits import (
    EVENT_BYTES_MAX,
    EVENT_DEPTH_MAX,
    EXPLAIN_BYTES_MAX,
    NAME_BYTES_MAX,
)
from lodeline.model import parse_time
from lodeline.wire.canonical import canonical_bytes, content_digest, parse_with_tokens
from lodeline.wire.commitment import Fields, commitment_fields
from lodeline.wire.envelope import UUID, read_short
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
from lodeline.wire.parts import is_deeper, is_suspicious
from lodeline.wire.repeated import Repeated, Unknown, read_repeated, remember
from lodeline.wire.scanning import scan
from lodeline.wire.structure import check_structure, check_subject, without_nulls

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


_run_event: Final = msgspec.json.Decoder(_RunEventWire)
_job_event: Final = msgspec.json.Decoder(_JobEventWire)
_dataset_event: Final = msgspec.json.Decoder(_DatasetEventWire)

_Wire = TypeVar("_Wire", _RunEventWire, _JobEventWire, _DatasetEventWire)


class Document(msgspec.Struct, frozen=True):
    """An accepted event in all the forms that acceptance needs, parsed once.

    Attributes:
        raw: the producer's bytes.
        canonical: its RFC 8785 form.
        event: the typed event.
        fields: lists the fields committed to one by one, in pointer order.
    """

    raw: bytes
    canonical: bytes
    event: Event
    fields: Callable[[], Fields]

    @property
    def digest(self) -> bytes:
        """SHA-256 of the canonical form: the event's content identity."""
        return content_digest(self.canonical)


class Accepted(NamedTuple):
    """What acceptance needs of an event, and no more: most are never wanted in their typed form.

    Attributes:
        canonical: its RFC 8785 form.
        fields: committed to one by one, in pointer order.
        producer: as it states it.
        namespace: of its job, or of the dataset of a DatasetEvent.
        event_time_us: when it happened.
    """

    canonical: bytes
    fields: Fields
    producer: str | None
    namespace: str
    event_time_us: int


def decode_event(raw: bytes | str) -> Event:
    """Read one OpenLineage event, or say where it cannot be one.

    Raises:
        InvalidEventError: with a code, a JSON pointer and a message; nothing else, whatever the
            bytes.
    """
    data = _bounded(raw)
    # Where it says again what others said, the canonical form need not be written.
    repeated = read_repeated(data)
    if isinstance(repeated, Repeated):
        return repeated.event()
    return _decode_anew(data, repeated).event


def decode_accepted(raw: bytes) -> Accepted:
    """Read one event for the log.

    Raises:
        InvalidEventError: as `decode_event`.
    """
    data = raw if len(raw) <= EVENT_BYTES_MAX else _bounded(raw)
    repeated = read_repeated(data)
    if isinstance(repeated, Repeated):
        frame = repeated.frame
        return Accepted(*repeated.forms(), frame.producer, frame.job.namespace, repeated.time[0])
    document = _decode_anew(data, repeated)
    event = document.event
    subject = event.dataset if isinstance(event, DatasetEvent) else event.job
    return Accepted(
        document.canonical,
        document.fields(),
        event.producer,
        subject.namespace,
        event.event_time_us,
    )


def decode_document(raw: bytes | str) -> Document:
    """Read one event and keep what acceptance needs besides it.

    Raises:
        InvalidEventError: as `decode_event`.
    """
    data = _bounded(raw)
    repeated = read_repeated(data)
    if isinstance(repeated, Repeated):
        return Document(data, repeated.canonical(), repeated.event(), repeated.fields)
    return _decode_anew(data, repeated)


def _bounded(raw: bytes | str) -> bytes:
    data = _as_bytes(raw)
    if len(data) > EVENT_BYTES_MAX:
        raise InvalidEventError(
            "event.too_large", "", f"{len(data)} bytes, more than {EVENT_BYTES_MAX}"
        )
    return data


def _decode_anew(data: bytes, unknown: Unknown | None) -> Document:
    short = read_short(data)
    if short is not None:
        if unknown is not None:
            remember(unknown, short, len(data))
        return Document(data, short.canonical, short.event, short.fields)
    return _decode_long(data)


def _decode_long(data: bytes) -> Document:
    try:
        value = parse_with_tokens(data)
        canonical = canonical_bytes(value, finished=True) if isinstance(value, dict) else b""
    except (ValueError, RecursionError) as fault:
        _explain(data, fault)
    if is_suspicious(data, value, canonical, EVENT_DEPTH_MAX):
        _check_exactly(data)
    if not isinstance(value, dict):
        raise InvalidEventError("event.type", "", f"an object, not {type(value).__name__}")
    fields = partial(commitment_fields, value, finished=True)
    return Document(data, canonical, _typed(data, value), fields)


def decode_stored(raw: bytes) -> Event:
    """Read an event that `decode_event` accepted before, without looking for faults again.

    Raises:
        InvalidEventError: the bytes are not an accepted event after all.
    """
    try:
        return _run_event_of(_run_event.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError) as fault:
        _explain(raw, fault)
    return _typed(raw, {name: body for name, body in members.items() if bytes(body) != b"null"})


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
    if len(data) <= EXPLAIN_BYTES_MAX:
        scan(text)
    if isinstance(fault, RecursionError):
        raise InvalidEventError(
            "event.depth", "", f"nested deeper than {EVENT_DEPTH_MAX}"
        ) from fault
    raise InvalidEventError("event.json", "", f"not JSON: {fault}") from fault


def _check_exactly(data: bytes) -> None:
    """Decide what the cheap checks could not; a large event's pointer is left out."""
    if len(data) <= EXPLAIN_BYTES_MAX:
        scan(data.decode())
        return
    try:
        value = json.loads(data, object_pairs_hook=_distinct)
        if is_deeper(value, EVENT_DEPTH_MAX):
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
    if UUID.fullmatch(run.run_id) is None:
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
