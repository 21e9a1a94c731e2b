"""Expectations that ProvSQL and mlinspect publish, as cases of ours: facts carried over, no text.

ProvSQL: `formula`, `except` and `group_by_provenance` of its test/expected, over its table of seven
persons. It tells how rows combine; a link tells which, so of a formula its tokens count. Of
`a ⊖ b` the tokens of `a`: that there is no `b` comes from no row.
mlinspect: `test_row_lineage_merge` of its test/inspections/test_lineage.py.
"""

from __future__ import annotations

import math
import random

import pytest

duckdb = pytest.importorskip("duckdb")

from lodeline.sql import Source, rewrite_rows  # noqa: E402
from lodeline.sql.sources import parse_query  # noqa: E402
from row_links import links_of  # noqa: E402

PERSONS = ("John", "Paul", "Dave", "Ellen", "Magdalen", "Nancy", "Susan")
CITIES = ("New York", "New York", "Paris", "Berlin", "Paris", "Paris", "Berlin")
TWO = "SELECT p1.city FROM personnel p1, personnel p2 WHERE p1.city = p2.city AND p1.id < p2.id"


class Persons:
    def find_source(self, table):
        columns = {"personnel": ("id", "name", "city"), "a": ("A", "B"), "b": ("B", "C")}
        kinds = tuple((name, "VARCHAR") for name in columns[table.name])
        return Source(table.name, ("memory", table.name), kinds, "rowid")


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE personnel (id BIGINT, name VARCHAR, city VARCHAR)")
        for number, (name, city) in enumerate(zip(PERSONS, CITIES, strict=True)):
            connection.execute("INSERT INTO personnel VALUES (?, ?, ?)", [number + 1, name, city])
        connection.execute("CREATE TABLE a AS FROM (VALUES (0,1),(2,2),(4,4),(8,5),(5,7)) v(A, B)")
        connection.execute(
            "CREATE TABLE b AS FROM (VALUES (1,1),(2,5),(3,4),(4,11),(5,NULL)) v(B, C)"
        )
        yield connection


def linked(connection, sql: str, **options):
    rewriting = rewrite_rows(parse_query(sql), Persons(), **options)
    found = links_of(rewriting, lambda text: connection.execute(text).fetchall())
    assert not rewriting.gaps
    return found


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT DISTINCT city FROM personnel",
        "SELECT city FROM personnel GROUP BY city",
        f"SELECT DISTINCT city FROM ({TWO}) AS t",
        f"SELECT DISTINCT city FROM personnel EXCEPT ({TWO} AND p1.id > 100 GROUP BY p1.city)",
    ],
)
def test_a_city_is_linked_to_the_persons_of_provsqls_formula(connection, sql: str) -> None:
    found = {values[0]: {PERSONS[row] for _, row in why} for values, why in linked(connection, sql)}
    assert found == {
        "New York": {"John", "Paul"},
        "Paris": {"Dave", "Magdalen", "Nancy"},
        "Berlin": {"Ellen", "Susan"},
    }


def test_a_difference_that_provsql_keeps_with_a_monus_leaves_no_row(connection) -> None:
    sql = f"SELECT DISTINCT city FROM personnel EXCEPT ({TWO} GROUP BY p1.city)"
    assert linked(connection, sql) == []  # Provenance `x ⊖ y` of rows that plain SQL does not give.


def test_a_merge_is_linked_to_the_rows_that_mlinspect_says(connection) -> None:
    sql = "SELECT a.A, a.B, b.C FROM a JOIN b ON a.B = b.B ORDER BY a.A"
    found = dict(linked(connection, sql))
    assert found[0, 1, 1] == {("a", 0), ("b", 0)}
    assert found[2, 2, 5] == {("a", 1), ("b", 1)}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("max(id)", {"New York": {2}, "Paris": {6}, "Berlin": {7}}),
        ("min(id), max(id)", {"New York": {1, 2}, "Paris": {3, 6}, "Berlin": {4, 7}}),
        ("arg_min(name, id)", {"New York": {1}, "Paris": {3}, "Berlin": {4}}),
        ("max(length(s.city))", {"New York": {1, 2}, "Paris": {3, 5, 6}, "Berlin": {4, 7}}),
        ("first(id), min(id)", {"New York": {1}, "Paris": {3}, "Berlin": {4}}),
        ("max(id), count(*)", {"New York": {1, 2}, "Paris": {3, 5, 6}, "Berlin": {4, 7}}),
    ],
)
def test_where_provenance_is_of_the_rows_that_a_value_was_taken_from(
    connection, item: str, expected: dict[str, set[int]]
) -> None:
    sql = f"SELECT city, {item} FROM personnel AS s GROUP BY city ORDER BY city"
    found = linked(connection, sql, where=True)
    assert {v[0]: {row + 1 for _, row in why} for v, why in found} == expected


def test_where_provenance_is_that_of_a_count_by_hand_on_random_tables(connection) -> None:
    rng = random.Random(6)
    for _ in range(30):
        rows = [(rng.randrange(3), rng.choice([None, 0, 1, 2, math.nan])) for _ in range(9)]
        connection.execute("CREATE OR REPLACE TABLE a (A BIGINT, B DOUBLE)")
        connection.executemany("INSERT INTO a VALUES (?, ?)", rows)
        connection.execute("UPDATE a SET B = 'nan' WHERE B IS NULL AND A = 2")
        rows = connection.execute("SELECT A, B FROM a ORDER BY rowid").fetchall()
        for word, choose in (("max", max), ("min", min)):
            sql = f"SELECT A, {word}(B) AS m FROM a GROUP BY A"
            for (group, _), why in linked(connection, sql, where=True):
                values = {
                    n: ranked(v) for n, (k, v) in enumerate(rows) if k == group and v is not None
                }
                best = choose(values.values(), default=None)
                assert {n for _, n in why} == {n for n, v in values.items() if v == best}


def ranked(value: float) -> tuple[bool, float]:
    return (True, 0.0) if math.isnan(value) else (False, value)


def test_having_asks_for_the_groups_first_and_gathers_the_rows_of_those_alone(connection) -> None:
    sql = "SELECT city, count(*) AS n FROM personnel GROUP BY city HAVING count(*) > 2"
    rewriting = rewrite_rows(parse_query(sql), Persons())
    assert rewriting.sql.count("FROM personnel") == 2
    assert linked(connection, sql) == [(("Paris", 3), {("personnel", n) for n in (2, 4, 5)})]
    plainly = rewrite_rows(parse_query(sql.partition(" HAVING")[0]), Persons())
    assert plainly.sql.count("FROM personnel") == 1
