"""Rewriting single queries: what is followed, and what is refused by name."""

from __future__ import annotations

import pytest

duckdb = pytest.importorskip("duckdb")

from lodeline.errors import UnsupportedQueryError  # noqa: E402
from lodeline.sql import Source, rewrite_rows  # noqa: E402
from lodeline.sql.sources import parse_query  # noqa: E402


class LiveCatalog:
    """Asks a connection for columns; rows as told by `rows`."""

    def __init__(self, connection, rows: str = "rowid") -> None:
        self.connection = connection
        self.rows = rows

    def find_source(self, table):
        text = table.sql("duckdb")
        if "range(" in text.lower():
            return Source(text, rows="constant")
        relation = self.connection.sql(f"SELECT * FROM {text}")
        columns = tuple(zip(relation.columns, map(str, relation.types), strict=True))
        return Source(text, ("memory", text), columns, self.rows)


@pytest.fixture
def connection():
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT range AS a, range % 3 AS b FROM range(10)")
        connection.execute("CREATE TABLE u AS SELECT range * 2 AS a, range AS c FROM range(5)")
        yield connection


def linked(connection, sql: str, rows: str = "rowid"):
    """Give each output row with its links, and check that the visible result is unchanged."""
    rewriting = rewrite_rows(parse_query(sql), LiveCatalog(connection, rows))
    plain = connection.execute(sql).fetchall()
    width = len(connection.description)
    found = connection.execute(rewriting.sql).fetchall()
    assert [row[:width] for row in found] == plain
    return {row[:width]: row[width:] for row in found}, rewriting


def test_a_filter_links_each_row_to_its_own(connection) -> None:
    links, rewriting = linked(connection, "SELECT a FROM t WHERE a > 7")
    assert links == {(8,): (8,), (9,): (9,)}
    assert rewriting.operators == ("filter",)


def test_a_group_links_to_all_its_rows(connection) -> None:
    links, _ = linked(connection, "SELECT b, sum(a) AS s FROM t GROUP BY b ORDER BY b")
    assert links[(0, 18)] == ([0, 3, 6, 9],)


def test_an_outer_join_without_a_match_links_to_nothing_on_that_side(connection) -> None:
    links, _ = linked(connection, "SELECT t.a, u.c FROM t LEFT JOIN u ON t.a = u.a ORDER BY t.a")
    assert links[(4, 2)] == (4, 2)
    assert links[(5, None)] == (5, None)


def test_identities_stay_out_of_stars(connection) -> None:
    links, _ = linked(
        connection,
        "WITH x AS (SELECT * FROM t) SELECT * FROM x JOIN (SELECT * FROM u) AS y USING (a) ORDER BY ALL",
    )
    assert links[(4, 1, 2)] == (4, 2)


def test_an_added_ordinal_numbers_rows_in_reading_order(connection, tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n5,x\n4,y\n3,x\n")
    links, _ = linked(
        connection, f"SELECT b, count(*) AS n FROM '{path}' GROUP BY b ORDER BY b", rows="ordinal"
    )
    assert links == {("x", 2): ([0, 2],), ("y", 1): ([1],)}


def test_parquet_rows_go_by_their_number_in_the_file(connection, tmp_path) -> None:
    path = tmp_path / "t.parquet"
    connection.execute(f"COPY (SELECT a FROM t ORDER BY a DESC) TO '{path}'")
    links, _ = linked(connection, f"SELECT a FROM '{path}' WHERE a = 9", rows="file_row_number")
    assert links == {(9,): (0,)}


def test_constants_beside_a_table_have_no_rows_of_their_own(connection) -> None:
    links, rewriting = linked(connection, "SELECT t.a FROM t, range(1) AS r WHERE t.a = 1")
    assert links == {(1,): (1,)}
    assert len(rewriting.identities) == 1


@pytest.mark.parametrize(
    ("sql", "operator"),
    [
        ("SELECT a, random() AS r FROM t", "unrepeatable function"),
        ("SELECT t.a FROM t, u USING SAMPLE reservoir(3 ROWS) REPEATABLE (1)", "sample"),
        ("SELECT t.a FROM t JOIN u ON t.a = u.a LIMIT 3", "limit"),
        ("SELECT DISTINCT ON (b) a, b FROM t", "distinct on"),
        ("WITH RECURSIVE r AS (SELECT a AS n FROM t UNION SELECT max(n) + 1 FROM r) SELECT * FROM r", "recursive query"),
        ("SELECT * FROM t JOIN u PIVOT (sum(c) FOR b IN (0, 1))", "pivot"),
        ("SELECT x FROM (SELECT a FROM t) AS x", "row value"),
        ("SELECT COLUMNS('a') FROM (SELECT a FROM t) AS x", "COLUMNS"),
        ("SELECT a FROM t WHERE a = ?", "parameter"),
    ],
)  # fmt: skip
def test_an_operator_that_is_not_followed_is_refused_by_name(connection, sql, operator) -> None:
    with pytest.raises(UnsupportedQueryError) as refused:
        rewrite_rows(parse_query(sql), LiveCatalog(connection))
    assert refused.value.operator == operator


def test_a_column_named_like_the_row_identity_hides_it_and_is_refused(connection) -> None:
    connection.execute('CREATE TABLE sly AS SELECT 7 AS "rowid"')
    with pytest.raises(UnsupportedQueryError, match="hides rowid"):
        rewrite_rows(parse_query('SELECT "rowid" FROM sly'), LiveCatalog(connection))


def test_a_column_list_shorter_than_the_columns_is_refused(connection) -> None:
    with pytest.raises(UnsupportedQueryError, match="column list"):
        rewrite_rows(
            parse_query("SELECT * FROM (SELECT * FROM t) AS x (p)"), LiveCatalog(connection)
        )
