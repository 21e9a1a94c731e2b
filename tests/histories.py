"""Generated histories of a small pipeline: many runs of few jobs over few datasets."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from lodeline import wire
from lodeline.fold import Entry
from lodeline.model import format_time
from lodeline.store import Segment, SqliteSegment

HOUR_US = 3600 * 1_000_000
DAY_US = 24 * HOUR_US
BEGIN_US = 1_790_000_000 * 1_000_000
# Far enough that only events marked as dated in the future are.
LOG_TIME_US = BEGIN_US + 100 * DAY_US

NAMES = ["a", "b", "c", "d", "x:1", "y#2"]
FIELDS = ["k", "v"]
RUNS = [str(uuid.UUID(int=number)) for number in (1, 2, 3, 0xABCDEF, 0xFEDCBA)]
JOBS = ["one", "two"]
PARENT_RUN = RUNS[0]


def facet(**body: Any) -> dict[str, Any]:
    return {"_producer": "https://example.org/p", "_schemaURL": "https://example.org/s", **body}


names = st.sampled_from(NAMES)
fields = st.sampled_from(FIELDS)
sources = st.fixed_dictionaries({"namespace": st.just("n"), "name": names, "field": fields})
dataset_sources = st.fixed_dictionaries(
    {"namespace": st.just("n"), "name": names, "type": st.just("DATASET")},
    optional={"field": fields},
)
job_sources = st.fixed_dictionaries({"type": st.just("JOB")})
flows = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(dataset_sources | job_sources, max_size=2),
        "fields": st.dictionaries(
            fields,
            st.builds(lambda inputs: {"inputs": inputs}, st.lists(dataset_sources, max_size=2)),
            max_size=2,
        ),
    },
)
deleted = st.just(facet(_deleted=True))
malformed = st.sampled_from([7, {"fields": 3}, {"inputs": [1]}, {"identifiers": "x"}])

dataset_facets = st.fixed_dictionaries(
    {},
    optional={
        "columnLineage": st.builds(
            lambda found, whole: facet(fields=found, dataset=whole),
            st.dictionaries(
                fields,
                st.builds(lambda inputs: {"inputFields": inputs}, st.lists(sources, max_size=2)),
                max_size=2,
            ),
            st.lists(sources, max_size=1),
        )
        | deleted
        | malformed,
        "lineage": st.builds(lambda flow: facet(**flow), flows) | deleted | malformed,
        "symlinks": st.builds(
            lambda others: facet(
                identifiers=[{"namespace": "n", "name": other, "type": "TABLE"} for other in others]
            ),
            st.lists(names, max_size=2),
        )
        | deleted,
        "version": st.sampled_from(["1", "2"]).map(lambda text: facet(datasetVersion=text)),
        "lifecycleStateChange": st.sampled_from(["DROP", "CREATE", "RENAME"]).map(
            lambda change: facet(
                lifecycleStateChange=change, previousIdentifier={"namespace": "n", "name": "b"}
            )
        ),
        "schema": st.just(facet(fields=[{"name": name} for name in FIELDS])),
        "lodeline_model": st.sampled_from(["sha256:aa", "sha256:bb"]).map(
            lambda digest: facet(digest=digest, features=FIELDS)
        ),
        "lodeline_deployment": st.sampled_from(["sha256:c1", "sha256:c2"]).map(
            lambda digest: facet(
                digest=digest,
                configuration={},
                model={"namespace": "n", "name": "a", "version": "sha256:aa"},
            )
        ),
        "lodeline_features": st.sampled_from(["", "view"]).map(
            lambda view: facet(
                view=view, entityKeys=[], features=[{"name": "k", "digest": "sha256:f"}]
            )
        ),
        "lodeline_digest": st.sampled_from(["dd", None]).map(
            lambda value: facet(algorithm="sha256", value=value, bytes=1)
        ),
        "lodeline_prediction_batch": st.just(facet(block="0123456789", count=1)),
        "documentation": st.sampled_from(["p", "q"]).map(lambda text: facet(description=text)),
    },
)
observed = st.builds(
    lambda found: {"lodeline_observed": facet(inputs=found)},
    st.lists(
        st.fixed_dictionaries(
            {"namespace": st.just("n"), "name": names},
            optional={"fields": st.just({"k": [{"field": "v"}]})},
        ),
        max_size=2,
    ),
)
rarely = st.integers(0, 3).map(lambda number: number == 0)


@st.composite
def datasets(draw: Any, *, output: bool) -> dict[str, Any]:
    dataset: dict[str, Any] = {"namespace": "n", "name": draw(names)}
    if draw(rarely):
        dataset["facets"] = draw(dataset_facets)
    if output and draw(rarely):
        dataset["outputFacets"] = draw(observed)
    return dataset


@st.composite
def times(draw: Any) -> int:
    if draw(st.integers(0, 19)) == 0:
        return LOG_TIME_US + DAY_US + draw(st.integers(0, 2)) * HOUR_US
    return BEGIN_US + draw(st.integers(0, 12)) * DAY_US


job_facets = st.fixed_dictionaries(
    {},
    optional={
        "sourceCodeLocation": st.sampled_from(["v1", "v2"]).map(lambda text: facet(version=text)),
        "lineage": st.builds(
            lambda flow, name: facet(
                entries=[{"type": "DATASET", "namespace": "n", "name": name, **flow}]
            ),
            flows,
            names,
        )
        | deleted,
    },
)
run_facets = st.fixed_dictionaries(
    {},
    optional={
        "parent": st.just(
            facet(run={"runId": PARENT_RUN}, job={"namespace": "n", "name": JOBS[0]})
        ),
        "lodeline_code": st.sampled_from(["v1", "v2"]).map(lambda text: facet(version=text)),
        "lineage": st.builds(
            lambda flow, name: facet(
                lineage=[{"type": "DATASET", "namespace": "n", "name": name, **flow}]
            ),
            flows,
            names,
        )
        | deleted
        | st.none(),
        "lodeline_capture": st.just(
            facet(gaps=[{"at": "", "reason": "capture", "detail": "missed"}])
        ),
    },
)


@st.composite
def events(draw: Any) -> dict[str, Any]:
    kind = draw(st.sampled_from(["run"] * 6 + ["job", "dataset"]))
    event: dict[str, Any] = {
        "eventTime": format_time(draw(times())),
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
    }
    if kind == "dataset":
        return {**event, "dataset": draw(datasets(output=False))}
    event["job"] = {"namespace": "n", "name": draw(st.sampled_from(JOBS))}
    if draw(rarely):
        event["job"]["facets"] = draw(job_facets)
    event["inputs"] = draw(st.lists(datasets(output=False), max_size=2))
    event["outputs"] = draw(st.lists(datasets(output=True), max_size=2))
    if kind == "run":
        event["run"] = {"runId": draw(st.sampled_from(RUNS))}
        if draw(rarely):
            event["run"]["runId"] = event["run"]["runId"].upper()
        if draw(rarely):
            event["run"]["facets"] = draw(run_facets)
        event["eventType"] = draw(
            st.sampled_from(["START", "COMPLETE", "COMPLETE", "FAIL", "RUNNING", "OTHER"])
        )
    return event


histories = st.lists(events(), min_size=1, max_size=14)


def raw(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def entry(event: dict[str, Any] | bytes, position: int, *, log_time_us: int = LOG_TIME_US) -> Entry:
    """Give an event as the log would hold it."""
    text = event if isinstance(event, bytes) else raw(event)
    digest = wire.content_digest(wire.canonical_bytes(text))
    return Entry(position, log_time_us, wire.decode_event(text), digest)


def log_of(history: Sequence[dict[str, Any] | bytes]) -> list[Entry]:
    """Give a history as the log would hold it, in its order."""
    return [entry(event, position) for position, event in enumerate(history)]


def event(
    kind: str | None = "COMPLETE",
    *,
    run: str = "1",
    job: str = "job",
    day: float = 0,
    inputs: Sequence[str | dict[str, Any]] = (),
    outputs: Sequence[str | dict[str, Any]] = (),
    run_facets: dict[str, Any] | None = None,
    job_facets: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a RunEvent, or with `kind` None a JobEvent, by hand."""
    stated: dict[str, Any] = {
        "eventTime": format_time(BEGIN_US + int(day * DAY_US)),
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
        "job": {"namespace": "n", "name": job, "facets": job_facets or {}},
        "inputs": [dataset(one) if isinstance(one, str) else one for one in inputs],
        "outputs": [dataset(one) if isinstance(one, str) else one for one in outputs],
    }
    if kind is not None:
        stated["eventType"] = kind
        stated["run"] = {"runId": run_id(run), "facets": run_facets or {}}
    return stated


def run_id(number: str) -> str:
    return str(uuid.UUID(int=int(number)))


def dataset(name: str, *, output_facets: Any = None, **facets: Any) -> dict[str, Any]:
    stated: dict[str, Any] = {"namespace": "n", "name": name, "facets": facets}
    if output_facets is not None:
        stated["outputFacets"] = output_facets
    return stated


@contextmanager
def a_segment() -> Iterator[Segment]:
    """A real SQLite segment whose clock stands still at the histories' log time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lodeline.db"
        segment = SqliteSegment(
            path,
            url=f"sqlite:///{path}",
            create=True,
            clock_us=lambda: LOG_TIME_US,
        )
        try:
            yield segment
        finally:
            segment.close()


def entries_of(segment: Segment) -> list[Entry]:
    """Give the segment's events as the reference takes them."""
    return [
        Entry(
            stored.position,
            stored.log_time_us,
            wire.decode_event(stored.payload),
            wire.content_digest(stored.payload),
        )
        for stored in segment.iter_entries(kinds=["event"])
        if stored.payload is not None
    ]
