"""Every store gives the same pages of the Marquez API."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from histories import LOG_TIME_US
from lodeline.ingest import accept
from lodeline.query.consulting import consult
from lodeline.server.marquez import datasets, events, jobs, lineage, search, spaces, stats
from lodeline.server.marquez.calls import Answering, Call
from lodeline.server.marquez.recording import declaration, removal
from lodeline.store import Segment
from marquez_pipelines import call, pipeline
from stores import STORES, Place

STORES_BESIDE = [kind for kind in STORES if kind != "sqlite"]

DATASET = {"namespace": "n", "dataset": "out00"}
JOB = {"namespace": "n", "job": "job00"}
RUN = str(uuid.UUID(int=1))
CALLS: list[tuple[Answering, Call]] = [
    (spaces.list_namespaces, call()),
    (spaces.get_namespace, call({"namespace": "n"})),
    (spaces.list_sources, call()),
    (spaces.get_source, call({"source": "x"})),
    (spaces.list_tags, call()),
    (datasets.list_datasets, call({"namespace": "n"}, limit=5, offset=3)),
    (datasets.get_dataset, call(DATASET)),
    (datasets.list_dataset_versions, call(DATASET)),
    (jobs.list_jobs, call({"namespace": "n"})),
    (jobs.list_jobs, call({}, lastRunStates="COMPLETED", asOf=14)),
    (jobs.get_job, call(JOB)),
    (jobs.list_job_versions, call(JOB)),
    (jobs.list_job_runs, call(JOB)),
    (jobs.get_run, call({"id": RUN})),
    (events.list_lineage_events, call(before="2026-11-02T00:00:00Z", sortDirection="asc")),
    (events.list_lineage_events, call({"namespace": "n"})),
    (search.search, call(q="o%0", namespace="n")),
    (search.search, call(q="job", sort="updated_at")),
    (search.search_jobs, call(q="job")),
    (stats.jobs, call(period="WEEK", timezone="Asia/Kathmandu")),
    (stats.lineage_events, call(period="DAY")),
    (stats.sources, call(period="WEEK")),
    (lineage.get_lineage, call(nodeId="dataset:n:out00")),
    (lineage.get_lineage, call(nodeId=f"run:{RUN}")),
    (lineage.get_column_lineage, call(nodeId="job:n:job00")),
    (lineage.get_upstream_runs, call(runId=RUN)),
]


def fill(segment: Segment) -> None:
    stated = [event for number in range(8) for event in pipeline(number)]
    later = LOG_TIME_US - 1_000_000
    stated += [
        declaration("namespace", "shop", later, owner="me"),
        declaration("source", "x", later + 1, type="A", connectionUrl="u"),
        removal("dataset", "n", "in01", later + 2),
        removal("job", "n", "job02", later + 3),
        removal("namespace", "alias", "", later + 4),
    ]
    accept(segment, [json.dumps(event).encode() for event in stated])


def pages(segment: Segment) -> list[Any]:
    found = []
    for answer, asked in CALLS:
        with consult(segment, as_of=asked.as_of) as inquiry:
            found.append(_of_any_store(answer(inquiry, asked)))
    return found


def _of_any_store(page: Any) -> Any:
    """Leave out which log was asked."""
    if isinstance(page, dict):
        return {name: _of_any_store(one) for name, one in page.items() if name != "trees"}
    return [_of_any_store(one) for one in page] if isinstance(page, list) else page


@pytest.mark.parametrize("place", STORES_BESIDE, indirect=True)
def test_a_page_is_the_same_from_every_store(place: Place, tmp_path: Path) -> None:
    with place.open(clock_us=lambda: LOG_TIME_US) as segment:
        fill(segment)
        found = pages(segment)
    with Place("sqlite", tmp_path / "reference").open(clock_us=lambda: LOG_TIME_US) as segment:
        fill(segment)
        expected = pages(segment)
    for (answer, _), one, other in zip(CALLS, found, expected, strict=True):
        assert one == other, answer.__name__
