"""Parts of events that come again: jobs, datasets, facets of runs.

A job sends the same facets with each event of each of its runs, and its datasets keep their
schemas. A part that was read and found sound is recognised by its bytes and not read again: its
typed form, its canonical form and its fields are kept. What is not sound, or not plain, is None
here, and the event goes the long way, which says what is wrong.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from lodeline.limits import (
    EVENT_DEPTH_MAX,
    NAME_BYTES_MAX,
    PART_BYTES_MAX,
    PARTS_CACHED_MAX,
)
from lodeline.wire.canonical import canonical_bytes, parse_with_tokens
from lodeline.wire.commitment import Fields, without_facets
from lodeline.wire.events import InputDataset, Job, OutputDataset

# A name this short cannot exceed the bound, whatever its characters.
_NAME_LENGTH_SAFE: Final = NAME_BYTES_MAX // 4

_COLON_OR_NUL: Final = re.compile(rb"\\u00(?:3[aA]|00)")

_job_decoder: Final = msgspec.json.Decoder(Job)
_input_decoder: Final = msgspec.json.Decoder(InputDataset)
_output_decoder: Final = msgspec.json.Decoder(OutputDataset)


class Part(NamedTuple):
    """A sound part.

    Attributes:
        subject: its typed form.
        canonical: its RFC 8785 form.
        core: that form with the values of facets replaced by null.
        fields: pointer below the part, and canonical bytes, of each facet.
        backslashes: in the producer's bytes.
    """

    subject: Any
    canonical: msgspec.Raw
    core: msgspec.Raw
    fields: Fields
    backslashes: int


class FacetPart(NamedTuple):
    """A sound facet of a run.

    Attributes:
        body: its RFC 8785 form.
        canonical: the same, to be copied into the event's.
        backslashes: in the producer's bytes.
    """

    body: bytes
    canonical: msgspec.Raw
    backslashes: int


def find_job(raw: msgspec.Raw) -> Part | None:
    """Read a job."""
    data = bytes(raw)
    return _job(data) if len(data) <= PART_BYTES_MAX else _read_job(data)


def find_input(raw: msgspec.Raw) -> Part | None:
    """Read an input."""
    data = bytes(raw)
    return _input(data) if len(data) <= PART_BYTES_MAX else _read_input(data)


def find_output(raw: msgspec.Raw) -> Part | None:
    """Read an output."""
    data = bytes(raw)
    return _output(data) if len(data) <= PART_BYTES_MAX else _read_output(data)


def find_run_facet(raw: msgspec.Raw) -> FacetPart | None:
    """Read a run's facet."""
    data = bytes(raw)
    return _facet(data) if len(data) <= PART_BYTES_MAX else _read_facet(data)


def forget_parts() -> None:
    """Forget every part, for those who measure."""
    for cached in (_job, _input, _output, _facet):
        cached.cache_clear()


def is_suspicious(data: bytes, value: Any, canonical: bytes, depth_max: int) -> bool:
    r"""Tell whether JSON may have a duplicate name, a NUL or too much depth.

    Parsing drops a duplicate with its colon, so as many colons in the canonical form as in the
    input mean none, unless a colon was written `\u003a`. NUL is only ever written `\u0000`.
    """
    if data.count(b":") != canonical.count(b":"):
        return True
    if b"\\" in data and _COLON_OR_NUL.search(data) is not None:
        return True
    # Every level takes an opening and a closing bracket.
    return (
        len(data) > 2 * depth_max
        and data.count(b"{") + data.count(b"[") > depth_max
        and is_deeper(value, depth_max)
    )


def is_deeper(value: Any, depth_max: int) -> bool:
    """Tell whether a value nests deeper than a bound."""
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


def _read_job(data: bytes) -> Part | None:
    return _read(data, _job_decoder, ("facets",), EVENT_DEPTH_MAX - 1)


def _read_input(data: bytes) -> Part | None:
    return _read(data, _input_decoder, ("facets", "inputFacets"), EVENT_DEPTH_MAX - 2)


def _read_output(data: bytes) -> Part | None:
    return _read(data, _output_decoder, ("facets", "outputFacets"), EVENT_DEPTH_MAX - 2)


def _read_facet(data: bytes) -> FacetPart | None:
    sound = _find_sound(data, EVENT_DEPTH_MAX - 3)
    if sound is None:
        return None
    return FacetPart(sound[1], msgspec.Raw(sound[1]), data.count(b"\\"))


_job: Final = lru_cache(PARTS_CACHED_MAX)(_read_job)
_input: Final = lru_cache(PARTS_CACHED_MAX)(_read_input)
_output: Final = lru_cache(PARTS_CACHED_MAX)(_read_output)
_facet: Final = lru_cache(PARTS_CACHED_MAX)(_read_facet)


def _find_sound(data: bytes, depth_max: int) -> tuple[Any, bytes] | None:
    try:
        value = parse_with_tokens(data)
        canonical = canonical_bytes(value, finished=True)
    except (ValueError, RecursionError):
        return None
    return None if is_suspicious(data, value, canonical, depth_max) else (value, canonical)


def _read(
    data: bytes, decoder: msgspec.json.Decoder[Any], containers: tuple[str, ...], depth_max: int
) -> Part | None:
    sound = _find_sound(data, depth_max)
    if sound is None:
        return None
    value, canonical = sound
    try:
        subject = decoder.decode(data)
    except msgspec.ValidationError:
        return None
    if not subject.name or len(subject.name) + len(subject.namespace) > _NAME_LENGTH_SAFE:
        return None
    fields: Fields = []
    core = without_facets(value, containers, "", fields, finished=True)
    core_bytes = canonical_bytes(core, finished=True)
    return Part(subject, msgspec.Raw(canonical), msgspec.Raw(core_bytes), fields, data.count(b"\\"))
