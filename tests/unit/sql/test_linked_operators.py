"""Each operator with the links that docs/explanation/rows.md states for it."""

from __future__ import annotations

import pytest

duckdb = pytest.importorskip("duckdb")

from lodeline.sql import Source, rewrite_rows  # noqa: E402
from lodeline.sql.sources import parse_query  # noqa: E402
from row_links import links_of  # noqa: E402


class LiveCatalog:
    def __init__(self, connection) -> None:
        self.connection = connection

    def find_source(self, table):
        relation = self.connection.sql(f"SELECT * FROM {table.sql('duckdb')}")
        columns = tuple(zip(relation.columns, map(str, relation.types), strict=True))
        return Source(table.name, ("memory", table.name), columns, "rowid")


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT range AS a, range % 3 AS b FROM range(6)")
        connection.execute("CREATE TABLE u AS SELECT range * 2 AS a, range AS c FROM range(3)")
        yield connection


def linked(connection, sql: str):
    """Give each row with its links, as words like `t1`; and the gaps."""
    rewriting = rewrite_rows(parse_query(sql), LiveCatalog(connection))
    found = links_of(rewriting, lambda text: connection.execute(text).fetchall())
    assert sorted(v for v, _ in found) == sorted(connection.execute(sql).fetchall())
    links = {values: {f"{key}{row}" for key, row in why} for values, why in found}
    return links, [gap.operator for gap in rewriting.gaps]


# t: a = 0…5 in rows 0…5, b = a % 3. u: a = 0, 2, 4 and c = 0, 1, 2 in rows 0, 1, 2.
CASES = {
    "exists": (
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a < t.a AND u.c > 0)",
        {(3,): {"t3", "u1"}, (4,): {"t4", "u1"}, (5,): {"t5", "u1", "u2"}},
    ),
    "not exists": (
        "SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.a >= t.a)",
        {(5,): {"t5"}},
    ),
    "in": ("SELECT a FROM t WHERE a IN (SELECT c FROM u) AND a > 0", {(1,): {"t1", "u1"}, (2,): {"t2", "u2"}}),
    "not in": ("SELECT a FROM t WHERE a NOT IN (SELECT c FROM u) AND a < 4", {(3,): {"t3"}}),
    "any": ("SELECT a FROM t WHERE a > ANY (SELECT a FROM u WHERE c > 0) AND a < 4", {(3,): {"t3", "u1"}}),
    "all": ("SELECT a FROM t WHERE a > ALL (SELECT a FROM u)", {(5,): {"t5"}}),
    "semi join": (
        "SELECT t.a FROM t SEMI JOIN u ON t.a = u.c WHERE t.a > 1",
        {(2,): {"t2", "u2"}},
    ),
    "semi join using": ("SELECT b FROM t SEMI JOIN u USING (a) WHERE a > 3", {(1,): {"t4", "u2"}}),
    "anti join": ("SELECT t.a FROM t ANTI JOIN u ON t.a >= u.c + 1", {(0,): {"t0"}}),
    "scalar": (
        "SELECT a, (SELECT c FROM u WHERE u.a = t.a) AS c FROM t WHERE a < 3",
        {(0, 0): {"t0", "u0"}, (1, None): {"t1"}, (2, 1): {"t2", "u1"}},
    ),
    "scalar aggregate": (
        "SELECT a FROM t WHERE a > (SELECT max(a) FROM u)",
        {(5,): {"t5", "u0", "u1", "u2"}},
    ),
    "case": (
        "SELECT CASE WHEN a < 1 THEN (SELECT min(c) FROM u) ELSE a END AS v FROM t WHERE a < 2",
        {(0,): {"t0", "u0", "u1", "u2"}, (1,): {"t1"}},
    ),
    "having": (
        "SELECT b FROM t GROUP BY b HAVING sum(a) > (SELECT sum(a) FROM u WHERE c < 2)",
        {(0,): {"t0", "t3", "u0", "u1"}, (1,): {"t1", "t4", "u0", "u1"}, (2,): {"t2", "t5", "u0", "u1"}},
    ),
    "window": (
        "SELECT a, sum(a) OVER (PARTITION BY b ORDER BY a) AS s FROM t WHERE b = 1",
        {(1, 1): {"t1"}, (4, 5): {"t1", "t4"}},
    ),
    "rank": (
        "SELECT a, rank() OVER (ORDER BY b) AS r FROM t WHERE a IN (1, 2, 4)",
        {(1, 1): {"t1", "t4"}, (4, 1): {"t1", "t4"}, (2, 3): {"t1", "t2", "t4"}},
    ),
    "lag": (
        "SELECT a, lag(a) OVER (ORDER BY a) AS l FROM t WHERE a < 3",
        {(0, None): {"t0"}, (1, 0): {"t0", "t1"}, (2, 1): {"t1", "t2"}},
    ),
    "ignore nulls": (
        ("SELECT a, last_value(CASE WHEN b = 1 THEN a END IGNORE NULLS) OVER (ORDER BY a) AS l "
        "FROM t WHERE a IN (1, 2, 3)"),
        {(1, 1): {"t1"}, (2, 1): {"t1", "t2"}, (3, 1): {"t1", "t3"}},
    ),
    "qualify": (
        "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY b ORDER BY a DESC) = 1",
        {(3,): {"t3"}, (4,): {"t4"}, (5,): {"t5"}},
    ),
    "named window": (
        "SELECT a, count(*) OVER w AS n FROM t WHERE b = 2 WINDOW w AS (PARTITION BY b)",
        {(2, 2): {"t2", "t5"}, (5, 2): {"t2", "t5"}},
    ),
    "intersect": ("SELECT b FROM t INTERSECT SELECT c FROM u WHERE c > 1", {(2,): {"t2", "t5", "u2"}}),
    "intersect all": (
        "SELECT b FROM t WHERE b > 1 INTERSECT ALL SELECT c FROM u", {(2,): {"t2", "t5", "u2"}}
    ),
    "except": ("SELECT b FROM t EXCEPT SELECT c FROM u WHERE c < 2", {(2,): {"t2", "t5"}}),
    "except all": (
        "SELECT b FROM t WHERE b > 1 EXCEPT ALL SELECT c FROM u", {(2,): {"t2", "t5"}}
    ),
    "distinct on": (
        "SELECT DISTINCT ON (b) b, a FROM t ORDER BY b, a DESC",
        {(0, 3): {"t3"}, (1, 4): {"t4"}, (2, 5): {"t5"}},
    ),
    "lateral": (
        ("SELECT t.a, s.c FROM t, LATERAL (SELECT c FROM u WHERE u.a <= t.a ORDER BY c DESC LIMIT 1) AS s "
        "WHERE t.a IN (1, 3)"),
        {(1, 0): {"t1", "u0"}, (3, 1): {"t3", "u1"}},
    ),
    "recursive": (
        ("WITH RECURSIVE r(n, d) AS (SELECT a, 0 FROM t WHERE a = 4 UNION ALL "
        "SELECT u.c, d + 1 FROM r JOIN u ON u.a = r.n AND d < 2) SELECT n, d FROM r"),
        {(4, 0): {"t4"}, (2, 1): {"t4", "u2"}, (1, 2): {"t4", "u2", "u1"}},
    ),
    "one row joined": (
        "SELECT t.a, m.s FROM t, (SELECT sum(c) AS s FROM u) AS m WHERE t.a = 5",
        {(5, 3): {"t5", "u0", "u1", "u2"}},
    ),
    "in a group": (
        "SELECT a FROM t WHERE b IN (SELECT c FROM u GROUP BY c HAVING count(*) > 0) AND a = 4",
        {(4,): {"t4", "u1"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_operator_links_what_is_stated(connection, name: str) -> None:
    sql, expected = CASES[name]
    links, gaps = linked(connection, sql)
    assert links == expected
    assert not gaps


def test_a_sub_query_that_may_choose_again_is_a_gap_and_the_row_itself_stays(connection) -> None:
    links, gaps = linked(connection, "SELECT a FROM t WHERE a IN (SELECT c FROM u LIMIT 3)")
    assert links == {(0,): {"t0"}, (1,): {"t1"}, (2,): {"t2"}}
    assert gaps == ["sub-query"]


def test_frames_can_be_left_out_and_are_then_a_gap(connection) -> None:
    sql = "SELECT a, sum(a) OVER (ORDER BY a) AS s FROM t"
    rewriting = rewrite_rows(parse_query(sql), LiveCatalog(connection), windows=False)
    found = links_of(rewriting, lambda text: connection.execute(text).fetchall())
    assert {why for _, why in found} == {frozenset({("t", row)}) for row in range(6)}
    assert [gap.operator for gap in rewriting.gaps] == ["window"]


def test_the_links_of_frames_are_counted_before_they_are_made(connection) -> None:
    sql = "SELECT a, sum(a) OVER (ORDER BY a) AS s, lag(a) OVER (PARTITION BY b) AS l FROM t"
    rewriting = rewrite_rows(parse_query(sql), LiveCatalog(connection))
    (count,) = rewriting.frames
    assert connection.execute(count).fetchall() == [(21 + 12,)]


def test_what_a_common_table_expression_chose_is_chosen_once(connection) -> None:
    """Its rows stand in for each other; a filter that reads it again must see the same ones."""
    sql = (
        "WITH some AS (SELECT a % 1 AS k, a FROM t ORDER BY k LIMIT 3) "
        "SELECT a FROM some WHERE a IN (SELECT a FROM some)"
    )
    rewriting = rewrite_rows(parse_query(sql), LiveCatalog(connection))
    found = links_of(rewriting, lambda text: connection.execute(text).fetchall())
    assert len(found) == 3
    assert all(("t", values[0]) in why for values, why in found)
