"""Row provenance against oracles: brute force, and rerunning a query on the rows it named."""

from __future__ import annotations

import random
from collections import Counter

import pytest

duckdb = pytest.importorskip("duckdb")

from query_oracle import COLUMNS, Tables, random_query, random_tables  # noqa: E402

from lodeline.sql import Source, rewrite_rows  # noqa: E402
from lodeline.sql.sources import parse_query  # noqa: E402

SEEDS = 300


class TablesCatalog:
    def find_source(self, table):
        name = table.sql("duckdb")
        columns = tuple((column, "BIGINT") for column in COLUMNS)
        return Source(name, ("memory", name), columns, "rowid")


def fill(connection, tables: Tables) -> None:
    for name, rows in tables.items():
        connection.execute(f"CREATE OR REPLACE TABLE {name} (a BIGINT, b BIGINT, c BIGINT)")
        if rows:
            values = ", ".join(f"({a}, {b}, {c})".replace("None", "NULL") for a, b, c in rows)
            connection.execute(f"INSERT INTO {name} VALUES {values}")


def run_rewritten(connection, sql: str):
    """Run a query's rewriting; give (values, provenance) of each output row."""
    rewriting = rewrite_rows(parse_query(sql), TablesCatalog())
    width = len(connection.sql(sql).columns)
    found = []
    for row in connection.execute(rewriting.sql).fetchall():
        provenance = set()
        for identity, value in zip(rewriting.identities, row[width:], strict=True):
            ids = value if identity.lists else [value]
            provenance |= {(identity.source.key, i) for i in ids or () if i is not None}
        found.append((row[:width], frozenset(provenance)))
    return rewriting, found


@pytest.mark.parametrize("seed", range(SEEDS))
def test_row_links_equal_those_of_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    tables = random_tables(rng)
    query = random_query(rng)
    with duckdb.connect() as connection:
        fill(connection, tables)
        plain = connection.execute(query.sql).fetchall()
        rewriting, found = run_rewritten(connection, query.sql)
    expected = query.evaluate(tables)
    assert Counter(plain) == Counter(values for values, _ in expected.rows), query.sql
    assert Counter(found) == Counter(expected.rows), (query.sql, rewriting.sql)
    assert not rewriting.gaps


@pytest.mark.parametrize("seed", range(SEEDS, SEEDS + 100))
def test_a_query_rerun_on_the_backward_rows_of_a_row_gives_that_row_again(seed: int) -> None:
    rng = random.Random(seed)
    tables = random_tables(rng)
    query = random_query(rng)
    with duckdb.connect() as connection:
        fill(connection, tables)
        _, found = run_rewritten(connection, query.sql)
        if not found:
            return
        values, provenance = rng.choice(found)
        fill(
            connection,
            {
                name: [row for i, row in enumerate(rows) if (name, i) in provenance]
                for name, rows in tables.items()
            },
        )
        again = connection.execute(query.sql).fetchall()
    assert values in again, query.sql
