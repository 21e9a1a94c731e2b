"""The same queries and the same interpreter as for DuckDB, on PostgreSQL: rows by primary key."""

from __future__ import annotations

import random
from collections import Counter

import psycopg
import pytest
from annotated_sql import World, plain
from drawn_queries import DUCKDB_ONLY, TABLES, Drawing, Tables, draw_tables

from lodeline.errors import UnsupportedQueryError
from lodeline.sql import Source, rewrite_rows
from lodeline.sql.sources import parse_query
from row_links import links_of


class KeyedTables:
    def find_source(self, table):
        names = (*TABLES[table.name], "number")
        columns = tuple((one, "DOUBLE" if one == "x" else "BIGINT") for one in names)
        return Source(table.name, ("db", table.name), columns, "key", keys=("number",))


def fill(connection, tables: Tables) -> None:
    for name, (columns, rows) in tables.items():
        kinds = ", ".join(f"{c} {'DOUBLE PRECISION' if c == 'x' else 'BIGINT'}" for c in columns)
        connection.execute(f"DROP TABLE IF EXISTS {name}")
        connection.execute(f"CREATE TABLE {name} ({kinds}, number BIGINT PRIMARY KEY)")
        places = ", ".join(["%s"] * (len(columns) + 1))
        for number, row in enumerate(rows):
            connection.execute(f"INSERT INTO {name} VALUES ({places})", [*row, number])


def run(connection, sql: str):
    """Run a query; None where PostgreSQL has no plan for it."""
    try:
        return [tuple(map(plain, row)) for row in connection.execute(sql).fetchall()]
    except (psycopg.errors.FeatureNotSupported, psycopg.ProgrammingError):
        return None


def check(connection, seed: int) -> str:
    rng = random.Random(seed)
    tables = draw_tables(rng)
    query = Drawing(rng, without=DUCKDB_ONLY).query()
    sql = query.sql()
    fill(connection, tables)
    result = run(connection, sql)
    if result is None:
        return "no plan"
    expected = query.rows(World(tables))
    assert Counter(result) == Counter(row.values for row in expected), sql
    tree = parse_query(sql, dialect="postgres")
    try:
        rewriting = rewrite_rows(tree, KeyedTables(), dialect="postgres")
    except UnsupportedQueryError as error:
        assert error.operator
        return "gap"
    try:
        rows = links_of(rewriting, lambda text: connection.execute(text).fetchall())
    except psycopg.ProgrammingError:
        return "gap"  # PostgreSQL refuses it, as DuckDB does some.
    found = [(tuple(map(plain, values)), why) for values, why in rows]
    said = (seed, sql, rewriting.sql)
    assert Counter(values for values, _ in found) == Counter(result), said
    if rewriting.gaps:
        for values, why in found:
            assert any(row.values == values and why <= row.why for row in expected), said
        return "gap"
    assert Counter(found) == Counter((row.values, row.why) for row in expected), said
    return "exact"


@pytest.mark.parametrize("version", ["15", "18"])
def test_row_links_on_postgresql_equal_those_of_the_interpreter(postgres_of, version: str) -> None:
    server = postgres_of(version)
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        said = Counter(check(connection, seed) for seed in range(500_000, 500_060))
    assert said["exact"] >= 40, said
