"""Reading a change of a table into the query whose rows it writes."""

from __future__ import annotations

import pytest

from lodeline.errors import UnsupportedQueryError
from lodeline.sql.changes import Clause, read_change
from lodeline.sql.sources import parse_query


def test_an_update_becomes_the_query_of_its_rows_and_their_new_values() -> None:
    change = read_change(
        "UPDATE s.t AS x SET a = (SELECT max(c) FROM u), b = CASE WHEN 1 IS DISTINCT FROM x.a THEN 2 "
        "END FROM u, v WHERE u.a = x.a;"
    )
    assert change.target == "s.t"
    assert change.clauses == (Clause("update", ("a", "b"), ("lodeline new 0", "lodeline new 1")),)
    query = parse_query(change.query or "")
    assert query.named_selects == ["lodeline target", "lodeline new 0", "lodeline new 1"]
    assert (change.query or "").endswith("FROM s.t AS x, u, v WHERE u.a = x.a")


def test_a_merge_becomes_the_pairs_of_its_join_with_what_is_done_to_each() -> None:
    change = read_change(
        "MERGE INTO t USING (SELECT 1 AS d WHERE TRUE) AS s ON t.a = s.d "
        "WHEN MATCHED AND s.d > 1 THEN UPDATE SET b = s.d, c = 1 WHEN MATCHED THEN DELETE "
        "WHEN NOT MATCHED AND CASE WHEN s.d > 2 THEN TRUE END THEN INSERT (a, b) VALUES (s.d, (1 + 2))"
    )
    assert [(clause.act, clause.columns) for clause in change.clauses] == [
        ("update", ("b", "c")), ("delete", ()), ("insert", ("a", "b")),
    ]  # fmt: skip
    assert len(parse_query(change.query or "").selects) == 2 + 4
    assert "RIGHT JOIN" in (change.query or "")


def test_the_query_of_an_insert_is_found_behind_names_and_columns() -> None:
    text = 'INSERT INTO "my t" AS x ("a b", c) WITH q AS (SELECT 1 AS a) SELECT a, a FROM q;'
    change = read_change(text)
    assert (change.target, change.clauses[0].columns) == ('"my t"', ("a b", "c"))
    assert change.query == "WITH q AS (SELECT 1 AS a) SELECT a, a FROM q"
    assert change.span == (text.index("WITH"), text.index(";"))
    assert read_change("INSERT INTO t BY NAME FROM u").by_name
    assert read_change("INSERT INTO t (SELECT 1)").query == "(SELECT 1)"
    assert read_change("INSERT INTO t (a) VALUES (1), (2)").query is None


@pytest.mark.parametrize(
    ("text", "operator"),
    [
        ("INSERT OR REPLACE INTO t SELECT 1", "insert"),
        ("INSERT INTO t SELECT 1 ON CONFLICT DO NOTHING", "insert"),
        ("INSERT INTO t VALUES ((SELECT 1))", "insert"),
        ("INSERT INTO t SELECT 1 RETURNING a", "insert"),
        ("UPDATE t SET (a, b) = (1, 2)", "update"),
        ("UPDATE t SET a = DEFAULT", "update"),
        ("MERGE INTO t USING s ON t.a = s.a WHEN NOT MATCHED BY SOURCE THEN DELETE", "merge"),
        ("MERGE INTO t USING s ON t.a = s.a WHEN NOT MATCHED THEN INSERT BY NAME", "merge"),
        ("MERGE INTO t USING s USING (a) WHEN MATCHED THEN DELETE", "parse"),
        ("WITH q AS (SELECT 1) INSERT INTO t FROM q", "with"),
        ("INSERT INTO t SELECT 'a", "parse"),
        ("UPDATE t", "parse"),
        ("INSERT INTO", "parse"),
        ("MERGE INTO t USING s ON a WHEN NOT MATCHED THEN INSERT VALUES", "parse"),
    ],
)  # fmt: skip
def test_a_change_that_is_not_followed_is_refused_by_name(text: str, operator: str) -> None:
    with pytest.raises(UnsupportedQueryError) as refused:
        read_change(text)
    assert refused.value.operator == operator
