"""PostgreSQL's planner knows of the graph's rows as soon as they are many; SQLite is left alone."""

from __future__ import annotations

import json
from math import log2

import psycopg

from lodeline.ingest import accept
from lodeline.ingest.projection import rebuild
from lodeline.limits import STATISTICS_GROWTH, STATISTICS_ROWS_MIN
from lodeline.query.search_index import catch_up
from lodeline.store.graph_tables import TABLES
from lodeline.store.search_tables import TABLES as SEARCH_TABLES
from stores import Place


def events(start: int, count: int, *, datasets: int) -> list[bytes]:
    """Give events of a run each, with datasets of their own."""
    return [
        json.dumps(
            {
                "eventType": "COMPLETE",
                "eventTime": "2026-11-01T10:00:00Z",
                "producer": "https://example.org/p",
                "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
                "run": {"runId": f"00000000-0000-0000-0000-{number:012d}"},
                "job": {"namespace": "n", "name": f"job_{number % 50}"},
                "inputs": [{"namespace": "n", "name": "source"}],
                "outputs": [{"namespace": "n", "name": f"t{number}_{i}"} for i in range(datasets)],
            }
        ).encode()
        for number in range(start, start + count)
    ]


def looks(place: Place) -> dict[str, tuple[float, int]]:
    """Give, by table, the rows that the planner knows of, and how often it was told to look."""
    assert place.server is not None
    with psycopg.connect(place.server.conninfo()) as raw:
        rows = raw.execute(
            "SELECT c.relname, c.reltuples, pg_stat_get_analyze_count(c.oid) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relkind = 'r'",
            (place.schema,),
        ).fetchall()
    return {name: (known, count) for name, known, count in rows}


def test_the_planner_knows_the_graph_once_it_is_large(place: Place) -> None:
    with place.open() as segment:
        accept(segment, events(0, 40, datasets=2))
        if place.server is None:
            with segment.reading() as connection:
                sql = "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'"
                assert connection.execute(sql).fetchone() == (0,)
            return
        few = looks(place)
        assert all(few[name][1] == 0 for name in TABLES), "few rows: nothing to know"
        accept(segment, events(40, 400, datasets=3))
        known = looks(place)
        assert known["derivation"][0] >= STATISTICS_ROWS_MIN
        assert all(known[name][1] == 1 for name in TABLES)


def test_the_planner_knows_the_index_of_searches_once_it_is_large(place: Place) -> None:
    if place.server is None:
        return
    with place.open() as segment:
        accept(segment, events(0, 10, datasets=2))
        assert catch_up(segment, seconds=60)
        assert looks(place)["search_document"][1] == 0, "few words: nothing to know"
        accept(segment, events(10, 1200, datasets=1))
        assert catch_up(segment, seconds=60)
        known = looks(place)
        assert known["search_document"][0] > 0
        assert all(known[name][1] == 1 for name in (*SEARCH_TABLES, "search_document"))


def test_the_planner_looks_once_for_each_doubling(place: Place) -> None:
    if place.server is None:
        return
    with place.open() as segment:
        for start in range(0, 3000, 300):
            accept(segment, events(start, 300, datasets=2))
        rows, count = looks(place)["derivation"]
        assert 1 <= count <= 1 + log2(3 * 3000 / STATISTICS_ROWS_MIN) / log2(STATISTICS_GROWTH)
        before = count
        # Nothing new but runs, and fewer than there were: no reason to look again.
        accept(segment, events(0, 300, datasets=2))
        assert looks(place)["derivation"][1] == before
        rebuild(segment)
        rows, count = looks(place)["derivation"]
        assert rows * STATISTICS_GROWTH >= 2 * 3000, "new tables are unknown ones"
