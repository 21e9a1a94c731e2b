"""The fields of an event cover it: each facet once, the core without them, in pointer order."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lodeline import wire

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["a/b", "~", "~1", "~0/", "schema", ""]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
FACETS = st.dictionaries(NAMES, JSON, max_size=4)
DATASETS = st.lists(
    st.fixed_dictionaries(
        {"namespace": NAMES, "name": NAMES},
        optional={"facets": FACETS | st.none(), "inputFacets": FACETS, "outputFacets": FACETS},
    ),
    max_size=12,
)
EVENTS = st.fixed_dictionaries(
    {"eventTime": NAMES},
    optional={
        "run": st.fixed_dictionaries({"runId": NAMES}, optional={"facets": FACETS}),
        "job": st.fixed_dictionaries({"name": NAMES}, optional={"facets": FACETS}),
        "dataset": st.fixed_dictionaries({"name": NAMES}, optional={"facets": FACETS}),
        "inputs": DATASETS | st.none(),
        "outputs": DATASETS,
        "more": JSON,
    },
)


def put(event: Any, pointer: str, value: Any) -> None:
    *path, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]
    holder = event
    for part in path:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    holder[last] = value


@given(EVENTS)
def test_core_and_facets_together_are_the_event(event: dict[str, Any]) -> None:
    before = json.dumps(event)
    (core_pointer, core), *facets = wire.commitment_fields(event)
    assert json.dumps(event) == before
    assert core_pointer == ""
    whole = json.loads(core)
    for pointer, body in facets:
        put(whole, pointer, json.loads(body))
    assert wire.canonical_bytes(whole) == wire.canonical_bytes(event)


@given(EVENTS)
def test_fields_come_in_pointer_order_each_once(event: dict[str, Any]) -> None:
    pointers = [pointer.encode() for pointer, _ in wire.commitment_fields(event)]
    assert pointers == sorted(set(pointers))


@given(EVENTS)
def test_no_facet_shows_in_the_core(event: dict[str, Any]) -> None:
    core = json.loads(wire.commitment_fields(event)[0][1])
    for subject in (
        core.get("run"),
        core.get("job"),
        core.get("dataset"),
        *(core.get("inputs") or []),
        *(core.get("outputs") or []),
    ):
        for value in ((subject or {}).get("facets") or {}).values():
            assert value is None


def test_the_fields_of_real_events_are_those_of_their_kept_form(real_events: list[bytes]) -> None:
    for raw in real_events:
        document = wire.decode_document(raw)
        assert document.fields() == wire.commitment_fields(json.loads(document.canonical))
