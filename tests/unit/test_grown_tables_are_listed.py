"""A table that grew after its bitmaps were sized is written in lists, not cut off."""

from __future__ import annotations

import pytest

duckdb = pytest.importorskip("duckdb")

from lodeline.capture.recorder import Recorder  # noqa: E402
from lodeline.integrations.duckdb.counting import EngineCounts  # noqa: E402
from lodeline.integrations.duckdb.rows import Plan, RowRunner  # noqa: E402
from lodeline.sql import Source, rewrite_rows  # noqa: E402
from lodeline.sql.sources import parse_query  # noqa: E402


class OneTable:
    def find_source(self, table):
        return Source(table.name, ("memory", table.name), (("x", "INTEGER"),), "rowid")


def test_a_row_beyond_a_bitmap_makes_the_query_run_with_lists() -> None:
    sql = "SELECT count(*) AS n FROM t"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x FROM range(8)")
        counts = EngineCounts(lambda text: connection.execute(text).fetchall(), sql)
        mapped = rewrite_rows(parse_query(sql), OneTable(), counts=counts)
        assert mapped.identities[0].bitmap
        connection.execute("INSERT INTO t VALUES (2)")
        plan = Plan(
            mapped, pytest.fail, {}, {}, (("n", "BIGINT"),),
            lambda: rewrite_rows(parse_query(sql), OneTable()),
        )  # fmt: skip
        runner = RowRunner(Recorder(), duckdb.connect, lambda _: None)
        made = runner.materialise(plan, connection.execute)
        assert made is not None
        found = connection.execute(f"SELECT * FROM {made.table}").fetchall()
    assert [(count, sorted(rows)) for count, rows in found] == [(9, list(range(9)))]
