"""What callers put into the catalogue, as OpenLineage events: the log is the truth for it, too.

A dataset that is put becomes a DatasetEvent, a job a JobEvent, a run and its transitions RunEvents,
with OpenLineage's facets; what it has no words for stands in `lodeline_catalogue`. A rebuild
arrives at the same catalogue.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

from lodeline.ingest import Submission
from lodeline.model import format_time
from lodeline.query.catalogue import NAMESPACES, REMOVED, SOURCES, TAGS, removal_of
from lodeline.server.writing import Writer
from lodeline.store.senders import Sender
from lodeline.wire.facets import Facet, LodelineCatalogueDatasetFacet

Json = dict[str, Any]

# Who says what a caller of this API put.
PRODUCER: Final = "https://lodeline.dev/marquez-api"
_SOURCE: Final = "/api/v1"
_SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
# Who brings what is recorded within a request.
SENDER: Final[ContextVar[Sender | None]] = ContextVar("sender", default=None)
_SPACES: Final = {"namespace": NAMESPACES, "source": SOURCES, "tag": TAGS}


class Recorder:
    """Appends events through the service's writer and waits until answers include them.

    Args:
        writer: of the service.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        # Held from reading what is there until what follows from it is recorded.
        self.lock = asyncio.Lock()
        self._last_us = 0

    def now_us(self) -> int:
        """Give a time later than all given before: of two statements the later one counts."""
        self._last_us = max(time.time_ns() // 1000, self._last_us + 1)
        return self._last_us

    async def record(self, events: Sequence[Json]) -> None:
        """Record events.

        Raises:
            LodelineError: the first one that was refused.
        """
        # Escaped, so that half of a surrogate pair reaches the decoder, which refuses it.
        sender = SENDER.get()
        inputs = [Submission(json.dumps(event).encode(), _SOURCE, sender) for event in events]
        written = await self._writer.write(inputs, folded=True)
        for outcome in written.outcomes:
            if outcome.error is not None:
                raise outcome.error


def facet(kind: type[Facet], /, **members: Any) -> dict[str, Json]:
    """Write a facet under its name; members without value are left out."""
    body = {name: value for name, value in members.items() if value is not None}
    return {kind.facet_name: {"_producer": PRODUCER, "_schemaURL": kind.facet_schema_url, **body}}


def dataset_event(namespace: str, name: str, facets: Mapping[str, Json], time_us: int) -> Json:
    """Write a DatasetEvent."""
    dataset = {"namespace": namespace, "name": name, "facets": facets}
    return {**_envelope("DatasetEvent", time_us), "dataset": dataset}


def job_event(
    namespace: str,
    name: str,
    facets: Mapping[str, Json],
    time_us: int,
    *,
    inputs: Sequence[Json] = (),
    outputs: Sequence[Json] = (),
) -> Json:
    """Write a JobEvent."""
    job = {"namespace": namespace, "name": name, "facets": facets}
    ends = {"inputs": list(inputs), "outputs": list(outputs)}
    return {**_envelope("JobEvent", time_us), "job": job, **ends}


def run_event(
    event_type: str,
    run_id: str,
    job: tuple[str, str],
    time_us: int,
    *,
    run_facets: Mapping[str, Json] | None = None,
    job_facets: Mapping[str, Json] | None = None,
    inputs: Sequence[Json] = (),
    outputs: Sequence[Json] = (),
) -> Json:
    """Write a RunEvent."""
    return {
        **_envelope("RunEvent", time_us),
        "eventType": event_type,
        "run": {"runId": run_id, "facets": run_facets or {}},
        "job": {"namespace": job[0], "name": job[1], "facets": job_facets or {}},
        "inputs": list(inputs),
        "outputs": list(outputs),
    }


def declaration(entry: str, name: str, time_us: int, **members: Any) -> Json:
    """Write the event that declares a namespace, a source or a tag."""
    facets = facet(LodelineCatalogueDatasetFacet, entry=entry, name=name, **members)
    return dataset_event(_SPACES[entry], name, facets, time_us)


def removal(kind: str, namespace: str, name: str, time_us: int) -> Json:
    """Write the event that takes a dataset, a job or a namespace off the lists."""
    members = {"namespace": namespace, "kind": kind, "name": name or namespace}
    facets = facet(LodelineCatalogueDatasetFacet, entry="removal", **members)
    return dataset_event(REMOVED, removal_of(kind, namespace, name), facets, time_us)


def _envelope(shape: str, time_us: int) -> Json:
    return {
        "eventTime": format_time(time_us),
        "producer": PRODUCER,
        "schemaURL": f"{_SCHEMA}{shape}",
    }
