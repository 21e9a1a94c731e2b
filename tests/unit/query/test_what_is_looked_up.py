"""How much of the store a question reads: what its answer needs, not all that ever ran."""

from __future__ import annotations

import json
import re
from pathlib import Path

from lodeline.ingest import accept
from lodeline.query import ask
from lodeline.store import open_segment

DAYS, LAYERS = 30, 4


def event(day: int, layer: int) -> bytes:
    return json.dumps(
        {
            "eventType": "COMPLETE",
            "eventTime": f"2026-10-{day:02d}T{layer:02d}:00:00Z",
            "producer": "https://example.org/test",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {"runId": f"00000000-0000-0000-0000-{day * 100 + layer:012d}"},
            "job": {"namespace": "etl", "name": f"job_{layer}"},
            "inputs": [{"namespace": "w", "name": f"table_{layer}"}],
            "outputs": [{"namespace": "w", "name": f"table_{layer + 1}"}],
        }
    ).encode()


def test_the_graph_of_a_run_looks_up_its_own_runs_alone(tmp_path: Path) -> None:
    with open_segment(f"sqlite:///{tmp_path}/lodeline.db", create=True) as segment:
        accept(
            segment,
            [event(day, layer) for day in range(1, DAYS + 1) for layer in range(LAYERS)],
        )
        statements: list[str] = []
        with segment.reading() as connection:
            connection.set_trace_callback(statements.append)  # type: ignore[attr-defined]
        root = f"run:00000000-0000-0000-0000-{DAYS * 100 + LAYERS - 1:012d}"
        answer = ask(segment, "trace", {"id": root, "up": True})
        with segment.reading() as connection:
            connection.set_trace_callback(None)  # type: ignore[attr-defined]
    assert sum(node["kind"] == "run" for node in answer["nodes"]) == LAYERS
    assert all(edge["status"] == "current" for edge in answer["edges"])
    assert statements, "the connection is the one that answered"
    looked_up = {
        number
        for statement in statements
        if "FROM run_group g JOIN run_state" in statement
        for ids in re.findall(r"json_each\('(\[.*?\])'\)", statement)
        for number in json.loads(ids)
    }
    assert 0 < len(looked_up) <= LAYERS, "each table was written every day; one write counts"


def test_a_page_of_twenty_results_takes_as_many_statements_as_one_of_two(tmp_path: Path) -> None:
    with open_segment(f"sqlite:///{tmp_path}/lodeline.db", create=True) as segment:
        accept(segment, [event(1, layer) for layer in range(20)])
        accept(segment, [event(2, layer) for layer in range(20)])
        counts = []
        for limit in (2, 20):
            statements: list[str] = []
            with segment.reading() as connection:
                connection.set_trace_callback(statements.append)  # type: ignore[attr-defined]
            answer = ask(segment, "search", {"q": "table", "limit": limit})
            with segment.reading() as connection:
                connection.set_trace_callback(None)  # type: ignore[attr-defined]
            counts.append(len(statements))
            assert [one["version"] for one in answer["results"]] == [
                f"run:00000000-0000-0000-0000-{200 + int(one['name'].partition('_')[2]) - 1:012d}"
                if one["name"] != "table_0"
                else None
                for one in answer["results"]
            ]
    assert len(answer["results"]) == 20
    assert counts[0] == counts[1] > 0
