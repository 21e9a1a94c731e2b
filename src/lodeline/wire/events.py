"""OpenLineage events, typed: what every other layer sees of a RunEvent, JobEvent, DatasetEvent.

Attributes are snake_case here and camelCase on the wire. Facets stay the producer's bytes until
someone asks for them (`lodeline.wire.facets`), so unknown facets survive verbatim and known ones
cost nothing until read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

# Parts of events are shared between events (`parts`): what cannot be changed cannot be spoilt.
Facets: TypeAlias = Mapping[str, msgspec.Raw]
EventType: TypeAlias = Literal["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]


class Run(msgspec.Struct, frozen=True, gc=False):
    """One execution of a job. `run_id` is lower-cased."""

    run_id: str = msgspec.field(name="runId")
    facets: Facets = {}


class Job(msgspec.Struct, frozen=True, gc=False):
    """A process that consumes and produces datasets."""

    namespace: str
    name: str
    facets: Facets = {}


class Dataset(msgspec.Struct, frozen=True, gc=False):
    """The subject of a DatasetEvent."""

    namespace: str
    name: str
    facets: Facets = {}


class InputDataset(msgspec.Struct, frozen=True, gc=False):
    """A dataset as a run or a job reads it."""

    namespace: str
    name: str
    facets: Facets = {}
    input_facets: Facets = msgspec.field(name="inputFacets", default_factory=dict)


class OutputDataset(msgspec.Struct, frozen=True, gc=False):
    """A dataset as a run or a job writes it."""

    namespace: str
    name: str
    facets: Facets = {}
    output_facets: Facets = msgspec.field(name="outputFacets", default_factory=dict)


class RunEvent(msgspec.Struct, frozen=True, gc=False):
    """What happened to a run, with what it read and wrote so far.

    Attributes:
        event_time_us: microseconds since the epoch, UTC.
        zone_stated: False when the event's time had no zone and was taken as UTC.
        event_type: None where the producer stated none.
        producer: None where the producer stated none.
        schema_url: None where the producer stated none.
    """

    event_time_us: int
    zone_stated: bool
    event_type: EventType | None
    run: Run
    job: Job
    inputs: tuple[InputDataset, ...]
    outputs: tuple[OutputDataset, ...]
    producer: str | None
    schema_url: str | None


class JobEvent(msgspec.Struct, frozen=True, gc=False):
    """Design-time lineage of a job, without a run. Attributes as `RunEvent`'s."""

    event_time_us: int
    zone_stated: bool
    job: Job
    inputs: tuple[InputDataset, ...]
    outputs: tuple[OutputDataset, ...]
    producer: str | None
    schema_url: str | None


class DatasetEvent(msgspec.Struct, frozen=True, gc=False):
    """Design-time metadata of a dataset. Attributes as `RunEvent`'s."""

    event_time_us: int
    zone_stated: bool
    dataset: Dataset
    producer: str | None
    schema_url: str | None


Event: TypeAlias = RunEvent | JobEvent | DatasetEvent
