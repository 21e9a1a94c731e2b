"""Closures between columns: the graph index answers what SQL answers, page by page."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from test_the_graph_index import every_level_swept, pages

from histories import BEGIN_US, DAY_US, a_segment, entries_of, facet, raw
from lodeline.errors import UnknownNodeError
from lodeline.fold import fold
from lodeline.ingest import accept
from lodeline.model import format_time
from lodeline.query.graph_index import build_snapshot, folder_of
from lodeline.store import Segment

COLUMNS = ["id", "größe", "a:b", "x%2Fy"]


def drawn_events(dice: random.Random, count: int) -> Iterator[bytes]:
    """Draw runs of a layered pipeline: columns told, told in part, or not; models at its end."""
    for number in range(count):
        layer = dice.randrange(1, 6)
        job, target = f"job_{layer}_{dice.randrange(6)}", f"s3://t/{layer}/{dice.randrange(6)}"
        sources = [f"s3://t/{layer - 1}/{dice.randrange(6)}" for _ in range(2)]
        told = dice.sample(COLUMNS, dice.randrange(len(COLUMNS)))
        lineage = facet(
            fields={
                name: {
                    "inputFields": [
                        {"namespace": "w", "name": dice.choice(sources), "field": column}
                        for column in dice.sample(COLUMNS, 2)
                    ]
                }
                for name in told
            }
        )
        schema = facet(fields=[{"name": name} for name in COLUMNS])
        facets: dict[str, Any] = {"schema": schema} | ({"columnLineage": lineage} if told else {})
        if layer == 5:
            digest = f"sha256:{dice.randrange(3)}"
            facets |= {"lodeline_model": facet(digest=digest, features=COLUMNS[:2])}
        elif dice.random() < 0.1:
            other = {"namespace": "w", "name": f"s3://t/{layer}/6", "type": "TABLE"}
            facets |= {"symlinks": facet(identifiers=[other])}
        yield raw(
            {
                "eventTime": format_time(BEGIN_US + dice.randrange(30) * DAY_US + number),
                "eventType": "COMPLETE",
                "producer": "https://example.org/p",
                "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
                "run": {"runId": f"00000000-0000-0000-0000-{number:012d}"},
                "job": {"namespace": "etl", "name": job},
                "inputs": [
                    {"namespace": "w", "name": name, "facets": {"schema": schema}}
                    for name in sources
                ],
                "outputs": [{"namespace": "w", "name": target, "facets": facets}],
            }
        )


def asked_of(segment: Segment, dice: random.Random, count: int) -> list[dict[str, Any]]:
    """Draw questions with columns about any node that may be asked about without a version."""
    names = fold(entries_of(segment)).names
    roots = sorted(n for n in names if n.kind in {"dataset", "datasetField", "job", "feature"})
    return [
        {
            "id": str(dice.choice(roots)),
            "columns": True,
            "direction": dice.choice(["up", "down", "both"]),
            "depth": dice.choice([None, None, 1, 3]),
            "as_of": dice.choice(
                [None, None, segment.size() - dice.randrange(segment.size() // 3)]
            ),
            **dice.choice(
                [
                    *({}, {"limit": 7}, {"kinds": "datasetField"}, {"edge_kinds": "reads"}),
                    *({"status": "stale"}, {"status": "current"}, {"status": "current"}),
                    {"valid_at": format_time(BEGIN_US + dice.randrange(30) * DAY_US)},
                ]
            ),
        }
        for _ in range(count)
    ]


def answers(segment: Segment, questions: list[dict[str, Any]]) -> list[Any]:
    """Give all pages of each answer; edges of a page have no order between levels."""
    found = []
    for question in questions:
        try:
            whole = pages(segment, {k: v for k, v in question.items() if v is not None})
        except UnknownNodeError as error:  # At an earlier position, perhaps.
            found.append(str(error))
            continue
        for page in whole:
            page["edges"].sort(key=lambda edge: json.dumps(edge, sort_keys=True))
        found.append(whole)
    return found


def compare(events: list[bytes], *, seed: int, count: int) -> tuple[int, int]:
    """Hold answers of the index against those of SQL; give how many it gave, and their edges."""
    with a_segment() as segment:
        known = len(events) * 2 // 3
        accept(segment, events[:known])
        assert build_snapshot(segment) is not None
        accept(segment, events[known:])
        questions = asked_of(segment, random.Random(seed), count)
        folder = folder_of(segment)
        assert folder is not None
        folder.rename(folder.with_suffix(".away"))
        with every_level_swept() as swept:
            by_sql = answers(segment, questions)
            assert not swept
            folder.with_suffix(".away").rename(folder)
            by_index = answers(segment, questions)
        for ours, theirs, question in zip(by_index, by_sql, questions, strict=True):
            assert ours == theirs, question
    edges = sum(len(page["edges"]) for whole in by_sql if isinstance(whole, list) for page in whole)
    return swept.count("columns"), edges


def test_the_index_answers_about_columns_of_a_drawn_pipeline_as_sql_does() -> None:
    swept, edges = compare(list(drawn_events(random.Random(1), 160)), seed=1, count=40)
    assert swept > 30
    assert edges > 1_000


def test_the_index_answers_about_columns_of_real_producers_as_sql_does(
    real_events: list[bytes],
) -> None:
    swept, edges = compare(real_events, seed=3, count=60)
    assert swept > 40
    assert edges > 100
