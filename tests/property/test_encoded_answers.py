"""An answer that is put together as JSON has the bytes that its objects encode to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from test_the_questions import roots_of

from histories import a_segment, entries_of, histories, raw
from lodeline.fold import fold
from lodeline.ingest import accept
from lodeline.query import ask
from lodeline.query.permission import NamespaceAuthoriser, NamespacePatterns


@given(histories, st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_encoded_parts_are_the_bytes_of_the_objects(
    history: Sequence[dict[str, Any]], seed: int
) -> None:
    dice = random.Random(seed)
    with a_segment() as segment:
        accept(segment, [raw(event) for event in history])
        entries = entries_of(segment)
        if not entries:
            return
        roots = list(roots_of(fold(entries)))
        for root in dice.sample(roots, min(6, len(roots))):
            question: dict[str, Any] = {
                "id": str(root),
                dice.choice(["up", "down", "both"]): True,
                "limit": dice.choice([2, 1000]),
                "columns": dice.random() < 0.4,
            }
            encoded = ask(segment, "trace", question, encoded=True)
            assert isinstance(encoded["edges"], msgspec.Raw)
            plain = ask(segment, "trace", question)
            assert msgspec.json.encode(encoded) == msgspec.json.encode(plain)


def test_an_answer_for_who_does_not_see_everything_is_not_encoded_by_parts() -> None:
    event = {
        "eventType": "COMPLETE",
        "eventTime": "2026-11-01T00:00:00Z",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
        "run": {"runId": "00000000-0000-0000-0000-000000000001"},
        "job": {"namespace": "etl", "name": "load"},
        "inputs": [{"namespace": "secret", "name": "a"}],
        "outputs": [{"namespace": "open", "name": "b"}],
    }
    with a_segment() as segment:
        accept(segment, [raw(event)])
        reader = NamespaceAuthoriser(NamespacePatterns(["open", "etl"]))
        question = {"id": "dataset:open:b", "up": True}
        answer = ask(segment, "trace", question, authoriser=reader, encoded=True)
    assert isinstance(answer["edges"], list)
    assert b"secret" not in msgspec.json.encode(answer)
