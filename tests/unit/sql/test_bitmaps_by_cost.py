"""Rows of groups are collected in bitmaps where counts say that this costs less."""

from __future__ import annotations

import pytest

duckdb = pytest.importorskip("duckdb")

from lodeline.integrations.duckdb.counting import EngineCounts  # noqa: E402
from lodeline.sql import Source, rewrite_rows  # noqa: E402
from lodeline.sql.sources import parse_query  # noqa: E402

COLUMNS = (("few", "BIGINT"), ("many", "BIGINT"), ("day", "DATE"), ("x", "BIGINT"))


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE big AS SELECT i % 5 AS few, i // 2 AS many, "
            "DATE '2020-01-01' + (i % 1000)::INTEGER AS day, i AS x FROM range(400_000) AS t(i)"
        )
        connection.execute("CREATE TABLE small AS SELECT * FROM big LIMIT 200")
        yield connection


class TwoTables:
    def find_source(self, table):
        return Source(table.name, ("memory", table.name), COLUMNS, "rowid")


def mapped(connection, sql: str) -> tuple[set[str], list[str]]:
    """Name the sources that a query collects in bitmaps, and give what was asked beforehand."""
    asked: list[str] = []

    def ask(text: str):
        asked.append(text)
        return connection.execute(text).fetchall()

    rewriting = rewrite_rows(parse_query(sql), TwoTables(), counts=EngineCounts(ask, sql))
    connection.execute(rewriting.sql).fetchall()
    return {one.source.key for one in rewriting.identities if one.bitmap}, asked


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT few, sum(x) FROM big GROUP BY few", {"big"}),
        ("SELECT few AS f, sum(x) FROM big GROUP BY f", {"big"}),
        ("SELECT few, sum(x) FROM big GROUP BY 1 HAVING sum(x) > 0 ORDER BY 2", {"big"}),
        ("SELECT sum(x) FROM big", {"big"}),
        ("SELECT year(day) AS y, sum(x) FROM big GROUP BY y", {"big"}),
        ("SELECT y, sum(x) FROM (SELECT extract(year FROM day) AS y, x FROM big) AS t GROUP BY y",
         {"big"}),
        # As many bitmaps as groups would be more than the lists.
        ("SELECT many, sum(x) FROM big GROUP BY many", set()),
        ("SELECT day, sum(x) FROM big GROUP BY day", set()),
        ("SELECT few, day, sum(x) FROM big GROUP BY few, day", set()),
        # A bitmap of so few rows takes less than an empty list.
        ("SELECT many, sum(x) FROM small GROUP BY many", {"small"}),
        ("SELECT big.many, count(*) FROM big JOIN small ON big.x = small.x GROUP BY big.many",
         {"small"}),
        # Composed on, or compared.
        ("SELECT max(s) FROM (SELECT few, sum(x) AS s FROM big GROUP BY few) AS t", set()),
        ("SELECT DISTINCT few FROM big", set()),
        ("SELECT few, sum(x), sum(sum(x)) OVER () FROM big GROUP BY few", set()),
        ("SELECT few, sum(x) FROM big GROUP BY ROLLUP (few)", set()),
    ],
)  # fmt: skip
def test_bitmaps_are_chosen_by_groups_and_rows(connection, sql: str, expected: set[str]) -> None:
    assert mapped(connection, sql)[0] == expected


def test_few_rows_of_a_large_table_are_listed(connection) -> None:
    # The engine estimates one row of 400,000; five bitmaps of them would be 250 kB.
    sql = "SELECT few, sum(big.x) FROM big WHERE big.many = 7 AND big.x = 15 GROUP BY few"
    chosen, asked = mapped(connection, sql)
    assert chosen == set()
    assert sum("EXPLAIN" in text for text in asked) == 1


def test_nothing_is_estimated_where_groups_are_too_many(connection) -> None:
    _, asked = mapped(connection, "SELECT many, x, few, sum(x) FROM big GROUP BY many, x, few")
    assert not any("EXPLAIN" in text for text in asked)
    assert sum("stats" in text for text in asked) == 1  # The other keys cannot change it.


def test_a_table_with_deleted_rows_is_mapped_to_its_last_row() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT i AS x FROM range(100) AS t(i)")
        connection.execute("DELETE FROM t WHERE x < 90")
        sql = "SELECT sum(x) FROM t"
        counts = EngineCounts(lambda text: connection.execute(text).fetchall(), sql)
        source = Source("t", ("memory", "t"), (("x", "BIGINT"),), "rowid")
        assert counts.rows(source) == 100
