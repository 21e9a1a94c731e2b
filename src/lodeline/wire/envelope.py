"""The short way to read a RunEvent: its envelope, and parts that mostly came before.

The envelope is what remains of an event without its job, datasets and facets. It is sound when
nothing of it was lost on reading: as many colons in the canonical form as in the input mean that
no member stood twice and none is unknown, and no backslash outside the parts means that no colon
and no NUL was written as an escape. Whatever this cannot vouch for is None, and goes the long way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from lodeline.model import parse_time
from lodeline.wire.commitment import Fields
from lodeline.wire.events import EventType, Run, RunEvent
from lodeline.wire.parts import (
    FacetPart,
    Part,
    find_input,
    find_job,
    find_output,
    find_run_facet,
)
from lodeline.wire.scanning import escape_pointer

UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class _Run(msgspec.Struct, gc=False):
    run_id: str = msgspec.field(name="runId")
    facets: dict[str, msgspec.Raw] | UnsetType = UNSET


class _Envelope(msgspec.Struct, gc=False, rename="camel"):
    event_time: str
    run: _Run
    job: msgspec.Raw
    event_type: EventType | UnsetType | None = UNSET
    inputs: tuple[msgspec.Raw, ...] | UnsetType | None = UNSET
    outputs: tuple[msgspec.Raw, ...] | UnsetType | None = UNSET
    producer: str | UnsetType | None = UNSET
    schema_url: str | UnsetType | None = msgspec.field(name="schemaURL", default=UNSET)


_Found = TypeVar("_Found")
_Member = TypeVar("_Member")

_decode: Final = msgspec.json.Decoder(_Envelope).decode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


class ShortReading(NamedTuple):
    """A RunEvent read the short way.

    Attributes:
        event: typed.
        canonical: its RFC 8785 form.
        envelope: with parts in canonical form.
        run_facets: by name.
        job: the job's part.
        inputs: parts, in order.
        outputs: parts, in order.
    """

    event: RunEvent
    canonical: bytes
    envelope: _Envelope
    run_facets: dict[str, FacetPart]
    job: Part
    inputs: list[Part]
    outputs: list[Part]

    def fields(self) -> Fields:
        """List the fields committed to one by one, as `commitment_fields` does."""
        fields: Fields = [
            ("/run/facets/" + escape_pointer(name), facet.body)
            for name, facet in self.run_facets.items()
        ]
        fields += [("/job" + pointer, body) for pointer, body in self.job.fields]
        for member, parts in (("inputs", self.inputs), ("outputs", self.outputs)):
            for i, part in enumerate(parts):
                fields += [(f"/{member}/{i}{pointer}", body) for pointer, body in part.fields]
        fields.sort()
        fields.insert(0, ("", self._core()))
        return fields

    def _core(self) -> bytes:
        whole = self.envelope
        facets = whole.run.facets
        nulls = facets if facets is UNSET else dict.fromkeys(self.run_facets, _NULL)
        core = _Envelope(
            whole.event_time,
            _Run(whole.run.run_id, nulls),
            self.job.core,
            whole.event_type,
            _cores(whole.inputs, self.inputs),
            _cores(whole.outputs, self.outputs),
            whole.producer,
            whole.schema_url,
        )
        return _encode_sorted(core)


_NULL: Final = msgspec.Raw(b"null")
_Parts = tuple[msgspec.Raw, ...] | None | UnsetType


def _cores(whole: _Parts, parts: list[Part]) -> _Parts:
    return tuple(part.core for part in parts) if isinstance(whole, tuple) else whole


def read_short(data: bytes) -> ShortReading | None:
    """Read a RunEvent the short way.

    Args:
        data: the producer's bytes.
    """
    try:
        envelope = _decode(data)
        time_us, zone_stated = parse_time(envelope.event_time)
    except (ValueError, OverflowError, RecursionError):
        return None
    run = envelope.run
    stated = {} if run.facets is UNSET else run.facets
    job = find_job(envelope.job)
    run_facets = _find_all(find_run_facet, stated.values())
    inputs = _find_all(find_input, envelope.inputs or ())
    outputs = _find_all(find_output, envelope.outputs or ())
    if job is None or run_facets is None or inputs is None or outputs is None:
        return None
    if UUID.fullmatch(run.run_id) is None:
        return None
    backslashes = job.backslashes
    backslashes += sum([facet.backslashes for facet in run_facets])
    backslashes += sum([part.backslashes for part in inputs])
    backslashes += sum([part.backslashes for part in outputs])
    if data.count(b"\\") != backslashes:
        return None
    event = RunEvent(
        time_us,
        zone_stated,
        _stated(envelope.event_type),
        Run(run.run_id.lower(), stated),
        job.subject,
        tuple([part.subject for part in inputs]),
        tuple([part.subject for part in outputs]),
        _stated(envelope.producer),
        _stated(envelope.schema_url),
    )
    by_name = dict(zip(stated, run_facets, strict=True))
    canonical = _canonical(envelope, by_name, job, inputs, outputs)
    if data.count(b":") != canonical.count(b":"):
        return None
    # Names beyond ASCII may sort otherwise in UTF-16; the parts' own are sorted already.
    if not canonical.isascii() and not all(map(str.isascii, stated)):
        return None
    return ShortReading(event, canonical, envelope, by_name, job, inputs, outputs)


def _find_all(
    find: Callable[[msgspec.Raw], _Found | None], raws: Iterable[msgspec.Raw]
) -> list[_Found] | None:
    found = []
    for raw in raws:
        one = find(raw)
        if one is None:
            return None
        found.append(one)
    return found


def _stated(member: _Member | UnsetType | None) -> _Member | None:
    return None if member is UNSET else member


def _canonical(
    envelope: _Envelope,
    run_facets: dict[str, FacetPart],
    job: Part,
    inputs: list[Part],
    outputs: list[Part],
) -> bytes:
    if envelope.run.facets is not UNSET:
        envelope.run.facets = {name: facet.canonical for name, facet in run_facets.items()}
    envelope.job = job.canonical
    if inputs:
        envelope.inputs = tuple([part.canonical for part in inputs])
    if outputs:
        envelope.outputs = tuple([part.canonical for part in outputs])
    return _encode_sorted(envelope)
