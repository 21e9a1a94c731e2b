"""Declarations find personal values, take them out and put them back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodeline.errors import UsageError
from lodeline.limits import PERSONAL_VALUES_MAX
from lodeline.wire import canonical_bytes, parse_with_tokens
from lodeline.wire.personal import (
    UNATTRIBUTED,
    PersonalRules,
    read_rules,
    redact,
    restore,
    rules_of_schema,
)


def rules(*rows: dict[str, str]) -> PersonalRules:
    return PersonalRules(read_rules({"rules": list(rows)}))


def run(**facets: Any) -> dict[str, Any]:
    return {"eventTime": "2026-01-01T00:00:00Z", "run": {"runId": "r", "facets": facets}}


def found(declared: PersonalRules, event: dict[str, Any]) -> list[tuple[str, bytes, str]]:
    canonical = canonical_bytes(event)
    if not declared.may_match(canonical):
        return []
    return [tuple(one) for one in declared.find(parse_with_tokens(canonical))]


def test_a_wildcard_binds_the_subject_beside_each_value() -> None:
    declared = rules({"pointer": "/run/facets/a/*/n", "subject": "/run/facets/a/*/id"})
    event = run(a=[{"n": "x", "id": 7}, {"n": "y", "id": "u"}, {"n": None, "id": "v"}, {"id": "w"}])
    assert found(declared, event) == [
        ("/run/facets/a/0/n", b'"x"', "7"),
        ("/run/facets/a/1/n", b'"y"', "u"),
    ]


def test_a_subject_that_is_not_there_leaves_the_value_unattributed() -> None:
    declared = rules({"pointer": "/run/facets/a/n", "subject": "/run/facets/a/absent"})
    assert found(declared, run(a={"n": "x"})) == [("/run/facets/a/n", b'"x"', UNATTRIBUTED)]


def test_a_value_within_a_personal_value_is_not_sealed_twice() -> None:
    declared = rules({"pointer": "/run/facets/a/b/c"}, {"pointer": "/run/facets/a/b"})
    assert [pointer for pointer, *_ in found(declared, run(a={"b": {"c": "x"}}))] == [
        "/run/facets/a/b"
    ]


def test_names_are_escaped_as_pointers_are() -> None:
    declared = rules({"pointer": "/run/facets/a~1b/c~0d"})
    assert found(declared, run(**{"a/b": {"c~d": "x"}})) == [("/run/facets/a~1b/c~0d", b'"x"', "x")]


def test_members_that_openlineage_does_not_know_can_be_personal() -> None:
    declared = rules({"pointer": "/requester"}, {"pointer": "/job/owner"})
    event = {**run(), "requester": "x", "job": {"namespace": "n", "name": "j", "owner": "y"}}
    assert [pointer for pointer, *_ in found(declared, event)] == ["/job/owner", "/requester"]


@pytest.mark.parametrize(
    "pointer",
    [
        "",
        "run",
        "/run",
        "/*",
        "/run/runId",
        "/run/facets",
        "/run/facets/",
        "/run/*",
        "/eventTime",
        "/job/name",
        "/inputs/*",
        "/inputs/*/name",
        "/inputs/0/namespace",
        "/outputs/*/facets",
        "/producer",
    ],
)
def test_what_the_graph_is_made_of_cannot_be_personal(pointer: str) -> None:
    with pytest.raises(UsageError):
        read_rules({"rules": [{"pointer": pointer}]})


@pytest.mark.parametrize("row", [None, 7, {}, {"pointer": 7}, {"pointer": "/x", "subject": "y"}])
def test_a_malformed_rule_is_refused(row: object) -> None:
    with pytest.raises(UsageError):
        read_rules({"rules": [row]})


def test_a_recursive_schema_ends() -> None:
    node = {"properties": {"next": {"$ref": "#/$defs/Node"}, "who": {"x-personal": True}}}
    schema = {"$id": "s", "$defs": {"Node": node, "Loop": {"allOf": [{"$ref": "#/$defs/Loop"}]}}}
    pointers = {rule.pointer for rule in rules_of_schema(schema)}
    assert {("who",), ("next", "who"), ("next", "next", "who")} <= pointers


def test_an_event_with_too_many_values_has_whole_facets_sealed() -> None:
    declared = rules({"pointer": "/run/facets/a/*"}, {"pointer": "/inputs/*/facets/b/x"})
    count = PERSONAL_VALUES_MAX + 1
    event = {**run(a=list(range(count))), "inputs": [{"facets": {"b": {"x": 1, "y": 2}}}]}
    assert [(pointer, subject) for pointer, _, subject in found(declared, event)] == [
        ("/inputs/0/facets/b", UNATTRIBUTED),
        ("/run/facets/a", UNATTRIBUTED),
    ]
    event["run"]["facets"]["a"].pop()
    event["run"]["facets"]["a"].pop()
    assert len(found(declared, event)) == PERSONAL_VALUES_MAX


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON, st.lists(st.sampled_from(["/*", "/*/*", "/0", "/a", "/*/0"]), max_size=3))
def test_what_is_taken_out_can_be_put_back_byte_for_byte(body: Any, below: list[str]) -> None:
    declared = rules(*({"pointer": "/run/facets/f" + tail} for tail in below))
    event = parse_with_tokens(canonical_bytes(run(f=body)))
    before = canonical_bytes(event, finished=True)
    values = declared.find(event)
    bare = redact(event, [one.pointer for one in values])
    assert canonical_bytes(event, finished=True) == before
    assert PersonalRules(declared.rules).find(bare) == []
    back = restore(bare, {one.pointer: parse_with_tokens(one.value) for one in values})
    assert canonical_bytes(back, finished=True) == before
