"""Changes of tables against an oracle: the rows that they leave, and what those were made of."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

duckdb = pytest.importorskip("duckdb")

from annotated_sql import World, plain  # noqa: E402
from drawn_changes import Ambiguous, Changing, draw_change  # noqa: E402
from drawn_queries import TABLES, Tables, draw_tables  # noqa: E402
from test_row_provenance import TablesCatalog, fill, with_function  # noqa: E402

from lodeline.capture.recorder import Recorder  # noqa: E402
from lodeline.errors import UnsupportedQueryError  # noqa: E402
from lodeline.integrations.duckdb.changes import (  # noqa: E402
    Applied,
    ChangeRunner,
    Prepared,
    dense_mark,
)
from lodeline.integrations.duckdb.rows import Plan, RowRunner  # noqa: E402
from lodeline.sql import Source, rewrite_rows  # noqa: E402
from lodeline.sql.carried import NUMBER  # noqa: E402
from lodeline.sql.changes import read_change  # noqa: E402
from lodeline.sql.sources import parse_query  # noqa: E402
from row_links import read  # noqa: E402

BATCH = 20


def draw(seed: int) -> tuple[Tables, Changing]:
    rng = random.Random(seed)
    return draw_tables(rng), draw_change(rng)


def prepare(connection, change: Changing, rows: int) -> Prepared:
    read_ = read_change(change.sql())
    kept = Source(change.table, ("memory", change.table), (), "rowid")
    mark = dense_mark(rows)
    if read_.query is None:
        return Prepared(read_, change.sql(), kept=kept, mark=mark)
    bound = connection.sql(read_.query)
    columns = tuple(zip(bound.columns, map(str, bound.types), strict=True))
    tree = parse_query(read_.query)
    plan = Plan(
        rewrite_rows(tree, TablesCatalog()),
        lambda: rewrite_rows(tree, TablesCatalog(), windows=False, questions=False),
        {}, {}, columns,
    )  # fmt: skip
    return Prepared(read_, change.sql(), plan, kept, mark=mark)


def links_after(connection, change: Changing, applied: Applied):
    """Give the rows of the table after a change, with their links."""
    made = applied.made
    assert made is not None
    rewriting = made.rewriting
    ask = lambda sql: connection.execute(sql).fetchall()  # noqa: E731
    shared: dict = {}
    for one, table in zip(rewriting.shared, made.shared, strict=True):
        names = ", ".join(f'"{name}"' for name in one.columns)
        order = f' ORDER BY "{NUMBER}"' if one.table else ""
        rows = ask(f"SELECT {names} FROM {table}{order}")
        shared[one.source.key] = [read(one.identities, one.columns, row, shared) for row in rows]
    names = tuple(dict.fromkeys(one.name for one in rewriting.identities))
    listed = ", ".join(f'm."{name}"' for name in names)
    width = len(TABLES[change.table])
    found = ask(
        f"SELECT t.*, {listed} FROM {change.table} AS t JOIN {made.table} AS m ON m.rowid = t.rowid"
    )
    return [
        (tuple(map(plain, row[:width])), read(rewriting.identities, names, row[width:], shared))
        for row in found
    ]


def plain_result(connection, tables: Tables, change: Changing):
    """Run a change as it is; None where DuckDB refuses it."""
    fill(connection, tables)
    try:
        (count,) = connection.execute(change.sql()).fetchone()
    except duckdb.Error:
        return None
    rows = connection.execute(f"SELECT * FROM {change.table}").fetchall()
    return count, Counter(tuple(map(plain, row)) for row in rows)


def check(connection, runner: ChangeRunner, seed: int) -> str:
    """Compare one drawn change with its oracle; say what it was compared as."""
    tables, change = draw(seed)
    result = plain_result(connection, tables, change)
    if result is None:
        return "no plan"
    try:
        expected = change.rows(World(tables))
    except Ambiguous:
        expected = None
    if expected is not None and result[1] != Counter(row.values for row in expected):
        # A fraction that becomes a whole number, or grouping sets of nothing: see the queries.
        assert any(word in change.sql() for word in ("avg", "ROLLUP", "CUBE", "SETS")), change.sql()
        return "no plan"
    fill(connection, tables)
    try:
        prepared = prepare(connection, change, len(tables[change.table][1]))
    except UnsupportedQueryError as error:
        assert error.operator
        return "gap"
    except duckdb.BinderException as error:
        # What MERGE inserts sees the source alone; the query sees both sides.
        assert "Ambiguous" in str(error), change.sql()
        return "gap"
    applied = runner.apply(prepared, connection.execute)
    if applied is None:
        rows = connection.execute(f"SELECT * FROM {change.table}").fetchall()
        before = Counter(row for row in tables[change.table][1])
        assert Counter(tuple(map(plain, row)) for row in rows) == before, change.sql()
        return "gap"
    said = (seed, change.sql(), prepared.change.query, applied.problem)
    rows = connection.execute(f"SELECT * FROM {change.table}").fetchall()
    now = Counter(tuple(map(plain, row)) for row in rows)
    assert applied.count == result[0], said
    assert expected is None or now == result[1], said
    if applied.made is None:
        runner.drop(applied, connection.execute)
        return "gap"
    assert expected is not None, said
    found = links_after(connection, change, applied)
    gaps = applied.made.rewriting.gaps
    runner.drop(applied, connection.execute)
    if gaps:
        for values, why in found:
            assert any(row.values == values and why <= row.why for row in expected), said
        return "gap"
    assert Counter(found) == Counter((row.values, row.why) for row in expected), said
    return f"exact {prepared.change.word}"


def check_many(seeds: range) -> Counter[str]:
    with with_function(duckdb.connect()) as connection:
        connection.execute("SET threads = 1")
        rows = RowRunner(Recorder(), duckdb.connect, lambda _: None)
        runner = ChangeRunner(rows)
        return Counter(check(connection, runner, seed) for seed in seeds)


@pytest.mark.parametrize("batch", range(10))
def test_the_rows_that_a_change_leaves_are_linked_as_the_interpreter_says(batch: int) -> None:
    said = check_many(range(batch * BATCH, (batch + 1) * BATCH))
    exact = sum(count for word, count in said.items() if word.startswith("exact"))
    assert exact >= BATCH * 0.4, said


@pytest.mark.slow
def test_the_rows_that_a_change_leaves_are_linked_as_the_interpreter_says_at_length() -> None:
    """As many as the environment says; thousands take minutes."""
    seeds = int(os.environ.get("ROW_LINK_SEEDS", "100"))
    said = check_many(range(700_000, 700_000 + seeds))
    exact = sum(count for word, count in said.items() if word.startswith("exact"))
    assert exact >= 0.5 * seeds, said
    if seeds >= 100:
        assert {f"exact {word}" for word in ("insert", "update", "delete", "merge")} <= set(said)
