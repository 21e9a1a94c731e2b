"""What the events of one group said, merged: run facets, job facets, inputs and outputs.

Read from the log's payloads, for the few groups that a detailed answer is about. The last
statement of each facet counts, in event time, ties by content digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lodeline.query.facets import read_payload
from lodeline.query.view import View
from lodeline.store.stream_tables import iter_correlations

Facets = dict[str, Any]
Name = tuple[str, str]


@dataclass(slots=True)
class Record:
    """One group's events as one; facets by name, datasets by (namespace, name).

    Correlations are what headers named beside the events, each once.
    """

    run: Facets = field(default_factory=dict)
    job: Facets = field(default_factory=dict)
    inputs: dict[Name, Facets] = field(default_factory=dict)
    outputs: dict[Name, Facets] = field(default_factory=dict)
    producers: set[str] = field(default_factory=set)
    correlations: list[dict[str, str]] = field(default_factory=list)


def read_record(view: View, groups: Iterable[int]) -> Record:
    """Read what groups said (the groups of one run, or one group)."""
    found = view.select_among(
        "SELECT e.position, e.event_time, e.digest FROM run_event e"
        f" WHERE e.group_id IN (SELECT value FROM json_each(:ids)) AND {view.point('e')}",
        groups,
    )
    record = Record()
    rows = sorted(found, key=lambda row: (row[1], row[2]))
    for correlated in iter_correlations(view.connection, [row[0] for row in rows]):
        told = correlated.correlation.to_json()
        if told not in record.correlations:
            record.correlations.append(told)
    for position, _, _ in rows:
        event = read_payload(view, position)
        if "producer" in event:
            record.producers.add(str(event["producer"]))
        _take(record.run, (event.get("run") or {}).get("facets"))
        _take(record.job, (event.get("job") or {}).get("facets"))
        for used in event.get("inputs") or ():
            _take_dataset(record.inputs, used, "inputFacets")
        made = [*(event.get("outputs") or ()), *([event["dataset"]] if "dataset" in event else [])]
        for output in made:
            _take_dataset(record.outputs, output, "outputFacets")
    return record


def _take(register: Facets, stated: object) -> None:
    if not isinstance(stated, Mapping):
        return
    for name, body in stated.items():
        if body is None or (isinstance(body, Mapping) and body.get("_deleted") is True):
            register.pop(name, None)
        else:
            register[name] = body


def _take_dataset(register: dict[Name, Facets], dataset: Mapping[str, Any], more: str) -> None:
    facets = register.setdefault((dataset["namespace"], dataset["name"]), {})
    _take(facets, dataset.get("facets"))
    _take(facets, dataset.get(more))
