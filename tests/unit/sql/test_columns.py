"""Column lineage of single queries."""

from __future__ import annotations

import pytest

from lodeline.errors import UnsupportedQueryError
from lodeline.sql import Source, parse_statements, trace_columns
from lodeline.sql.sources import (
    parse_query,
)

TABLES = {
    "orders": ("id", "customer", "Amount", "day"),
    "customers": ("id", "name", "city"),
    '"data/orders.parquet"': ("id", "amount"),
    "READ_CSV('data/x.csv')": ("k", "v"),
}


class FixedCatalog:
    def __init__(self, views: dict[str, str] | None = None) -> None:
        self.views = views or {}

    def find_source(self, table):
        key = table.sql("duckdb")
        if key in self.views:
            return Source(key, view=self.views[key])
        if key not in TABLES:
            return None
        return Source(key, ("test", key), tuple((c, "BIGINT") for c in TABLES[key]), "rowid")


def lineage(sql: str, catalog: FixedCatalog | None = None):
    return trace_columns(parse_query(sql), catalog or FixedCatalog())


def inputs(found, name: str) -> set[tuple[str, str, str]]:
    (output,) = [field for field in found.fields if field.name == name]
    return {(item.source.key, item.field, item.subtype) for item in output.inputs}


def test_a_copied_column_is_identity_and_keeps_the_case_of_the_source() -> None:
    found = lineage("SELECT amount AS x FROM orders")
    assert inputs(found, "x") == {("orders", "Amount", "IDENTITY")}


def test_an_expression_is_a_transformation_and_a_sum_of_it_an_aggregation() -> None:
    found = lineage(
        "SELECT total * 2 AS t FROM (SELECT sum(amount + id) AS total FROM orders) AS x"
    )
    assert inputs(found, "t") == {
        ("orders", "Amount", "AGGREGATION"),
        ("orders", "id", "AGGREGATION"),
    }


def test_filters_joins_groups_and_order_shape_the_whole_output() -> None:
    found = lineage(
        "SELECT c.city, count(*) AS n FROM orders AS o JOIN customers AS c ON o.customer = c.id "
        "WHERE o.day > 3 GROUP BY c.city ORDER BY c.name"
    )
    shaped = {(item.source.key, item.field, item.subtype) for item in found.indirect}
    assert shaped == {
        ("orders", "customer", "JOIN"),
        ("customers", "id", "JOIN"),
        ("orders", "day", "FILTER"),
        ("customers", "city", "GROUP_BY"),
        ("customers", "name", "SORT"),
    }


def test_a_condition_inside_case_is_indirect_and_its_results_direct() -> None:
    found = lineage("SELECT CASE WHEN day > 1 THEN amount ELSE 0 END AS x FROM orders")
    assert inputs(found, "x") == {
        ("orders", "day", "CONDITIONAL"),
        ("orders", "Amount", "TRANSFORMATION"),
    }


def test_a_window_depends_on_its_partition_and_order_indirectly() -> None:
    found = lineage("SELECT sum(amount) OVER (PARTITION BY customer ORDER BY day) AS x FROM orders")
    assert inputs(found, "x") == {
        ("orders", "Amount", "AGGREGATION"),
        ("orders", "customer", "WINDOW"),
        ("orders", "day", "WINDOW"),
    }


def test_stars_expand_through_common_table_expressions_and_unions() -> None:
    found = lineage(
        "WITH x AS (SELECT * EXCLUDE (day) FROM orders UNION ALL SELECT id, id, id FROM customers) "
        "SELECT * FROM x"
    )
    assert [field.name for field in found.fields] == ["id", "customer", "amount"]
    assert inputs(found, "customer") == {
        ("orders", "customer", "IDENTITY"),
        ("customers", "id", "IDENTITY"),
    }


def test_a_correlated_subquery_gives_its_columns_and_its_conditions() -> None:
    found = lineage(
        "SELECT (SELECT max(o.amount) FROM orders AS o WHERE o.customer = c.id) AS top FROM customers AS c"
    )
    assert ("orders", "Amount", "AGGREGATION") in inputs(found, "top")
    assert ("orders", "customer", "FILTER") in inputs(found, "top")
    assert ("customers", "id", "FILTER") in inputs(found, "top")


def test_files_and_table_functions_are_sources_like_tables() -> None:
    found = lineage(
        "SELECT a.amount, b.v FROM 'data/orders.parquet' AS a JOIN read_csv('data/x.csv') AS b ON a.id = b.k"
    )
    assert inputs(found, "amount") == {('"data/orders.parquet"', "amount", "IDENTITY")}
    assert inputs(found, "v") == {("READ_CSV('data/x.csv')", "v", "IDENTITY")}


def test_a_view_is_seen_through() -> None:
    catalog = FixedCatalog({"v": "SELECT id, amount * 2 AS twice FROM orders"})
    found = lineage("SELECT twice FROM v", catalog)
    assert inputs(found, "twice") == {("orders", "Amount", "TRANSFORMATION")}


def test_an_in_memory_table_is_composed_through_to_what_it_was_made_from() -> None:
    inner = lineage("SELECT id AS k, amount + 1 AS more FROM orders")

    class Catalog:
        def find_source(self, table):
            return Source("m", None, (("k", "BIGINT"), ("more", "BIGINT")), "rowid", lineage=inner)

    found = trace_columns(parse_query("SELECT sum(more) AS s FROM m"), Catalog())
    assert inputs(found, "s") == {("orders", "Amount", "AGGREGATION")}


def test_an_unknown_table_is_a_gap_and_not_an_absence_of_lineage() -> None:
    found = lineage("SELECT x FROM nowhere")
    assert next(gap.operator for gap in found.gaps) == "table"


def test_a_star_over_an_unknown_table_claims_nothing() -> None:
    with pytest.raises(UnsupportedQueryError):
        lineage("SELECT * FROM nowhere")


def test_a_query_of_three_hundred_columns_over_shared_expressions_is_walked_once() -> None:
    columns = ", ".join(f"amount + {i} AS c{i}" for i in range(300))
    sums = ", ".join(f"sum(c{i}) AS s{i}" for i in range(300))
    found = lineage(f"WITH x AS (SELECT {columns} FROM orders) SELECT {sums} FROM x")
    assert len(found.fields) == 300
    assert all(len(field.inputs) == 1 for field in found.fields)


@pytest.mark.parametrize(
    ("text", "kind", "path", "table"),
    [
        ("COPY (SELECT 1) TO 'y.parquet' (FORMAT parquet)", "copy_to", "y.parquet", None),
        ("COPY orders TO 'y.csv'", "copy_to", "y.csv", None),
        ("COPY orders FROM 'y.csv'", "copy_from", "y.csv", "orders"),
        ("CREATE OR REPLACE TABLE s.t AS SELECT 1", "create_table", None, "t"),
        ("CREATE VIEW v AS SELECT 1", "create_view", None, "v"),
        ("INSERT INTO t (a) SELECT 1", "insert", None, "t"),
        ("UPDATE t SET a = 1", "change", None, "t"),
        ("DROP TABLE t", "change", None, "t"),
        ("(SELECT 1)", "select", None, None),
        ("SET threads = 1", "other", None, None),
    ],
)
def test_a_statement_is_reduced_to_its_query_and_target(text, kind, path, table) -> None:
    (statement,) = parse_statements(text)
    assert statement.kind == kind
    assert statement.path == path
    assert (statement.table.name if statement.table is not None else None) == table
