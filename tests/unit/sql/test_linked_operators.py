"""Each operator with the links that docs/explanation/rows.md states for it."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import psycopg
import pytest

duckdb = pytest.importorskip("duckdb")

from linked_operators import CASES, DUCKDB_GRAMMAR, POSTGRES_SPELLING, iter_table  # noqa: E402
from lodeline.errors import UnsupportedQueryError  # noqa: E402
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


def check(name: str, rewritten, ask, spelled=MappingProxyType({})) -> None:
    """Hold one case against what an engine gives."""
    written, expected = CASES[name]
    sql = spelled.get(name, written)
    if expected is None:
        with pytest.raises(UnsupportedQueryError) as refused:
            rewritten(sql)
        assert refused.value.operator
        return
    rewriting = rewritten(sql)
    found = links_of(rewriting, ask)
    assert Counter(map(repr, ask(sql))) == Counter(repr(values) for values, _ in found)
    assert bool(rewriting.gaps) == (expected == "gap")
    links = {values: {f"{key}{row}" for key, row in why} for values, why in found}
    if expected == "gap":
        assert all(links.values())
    else:
        assert {tuple(map(plain, values)): why for values, why in links.items()} == expected


def plain(value):
    return int(value) if isinstance(value, Decimal) else value


@pytest.mark.parametrize("name", CASES)
def test_an_operator_links_what_is_stated_on_duckdb(connection, name: str) -> None:
    catalog = LiveCatalog(connection)
    check(
        name,
        lambda sql: rewrite_rows(parse_query(sql), catalog),
        lambda sql: connection.execute(sql).fetchall(),
    )


class KeyedCatalog:
    """The same tables on PostgreSQL, with a primary key."""

    def find_source(self, table):
        columns = {"t": ("a", "b"), "u": ("a", "c")}[table.name]
        kinds = tuple((name, "BIGINT") for name in (*columns, "id"))
        return Source(table.name, ("db", table.name), kinds, "key", keys=("id",))


@pytest.fixture(scope="module")
def postgres(postgres_of):
    server = postgres_of("15")
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA linked; SET search_path = linked")
        connection.execute("CREATE TABLE t (a BIGINT, b BIGINT, id BIGINT PRIMARY KEY)")
        connection.execute("CREATE TABLE u (a BIGINT, c BIGINT, id BIGINT PRIMARY KEY)")
        connection.execute("INSERT INTO t SELECT n, n % 3, n FROM generate_series(0, 5) AS n")
        connection.execute("INSERT INTO u SELECT n * 2, n, n FROM generate_series(0, 2) AS n")
        yield connection
        connection.execute("DROP SCHEMA linked CASCADE")


@pytest.mark.parametrize("name", [name for name in CASES if name not in DUCKDB_GRAMMAR])
def test_an_operator_links_what_is_stated_on_postgresql(postgres, name: str) -> None:
    check(
        name,
        lambda sql: rewrite_rows(
            parse_query(sql, dialect="postgres"), KeyedCatalog(), dialect="postgres"
        ),
        lambda sql: postgres.execute(sql).fetchall(),
        POSTGRES_SPELLING,
    )


@pytest.mark.parametrize("name", sorted(DUCKDB_GRAMMAR))
def test_what_is_not_applicable_to_postgresql_is_no_grammar_of_it(postgres, name: str) -> None:
    with pytest.raises((psycopg.ProgrammingError, UnsupportedQueryError)):
        postgres.execute(CASES[name][0])
        # PostgreSQL takes SEMI and ANTI for aliases.
        tree = parse_query(CASES[name][0], dialect="postgres")
        rewrite_rows(tree, KeyedCatalog(), dialect="postgres")


def test_a_dialect_that_is_not_written_is_refused_by_name(connection) -> None:
    with pytest.raises(UnsupportedQueryError, match="mysql"):
        rewrite_rows(parse_query("SELECT a FROM t"), LiveCatalog(connection), dialect="mysql")


def test_the_table_of_operators_and_engines_is_what_these_tests_hold() -> None:
    page = Path(__file__).parents[3] / "docs" / "explanation" / "rows.md"
    assert "\n".join(iter_table()) in page.read_text(encoding="utf-8")


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
