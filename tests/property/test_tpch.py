"""The 22 TPC-H queries: results unchanged by rewriting, columns traced, links that rerun."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

duckdb = pytest.importorskip("duckdb")
duckdb_extension_tpch = pytest.importorskip("duckdb_extension_tpch")

from lodeline.integrations.duckdb.counting import EngineCounts  # noqa: E402
from lodeline.sql import Source, rewrite_rows, trace_columns  # noqa: E402
from lodeline.sql.sources import parse_query  # noqa: E402
from row_links import links_of  # noqa: E402


@pytest.fixture(scope="module")
def tpch():
    (extension,) = Path(duckdb_extension_tpch.__file__).parent.rglob("tpch.duckdb_extension")
    connection = duckdb.connect()
    try:
        connection.execute(f"LOAD '{extension}'")
    except duckdb.Error as error:
        pytest.skip(f"the extension is of another DuckDB: {error}")
    connection.execute("CALL dbgen(sf = 0.01)")
    yield connection
    connection.close()


class TpchCatalog:
    def __init__(self, connection) -> None:
        self.connection = connection

    def find_source(self, table):
        relation = self.connection.sql(f"SELECT * FROM {table.sql('duckdb')}")
        columns = tuple(zip(relation.columns, map(str, relation.types), strict=True))
        return Source(table.name, ("tpch", table.name), columns, "rowid")


def text_of(connection, number: int) -> str:
    return connection.execute(
        "SELECT query FROM tpch_queries() WHERE query_nr = ?", [number]
    ).fetchone()[0]


def rounded(rows):
    """Float sums may differ by reassociation; everything else must be equal."""
    return sorted(
        tuple(round(value, 6) if isinstance(value, float) else value for value in row)
        for row in rows
    )


@pytest.mark.parametrize("number", range(1, 23))
def test_a_tpch_query_gives_the_same_result_when_it_carries_rows(tpch, number: int) -> None:
    sql = text_of(tpch, number)
    rewriting = rewrite_rows(parse_query(sql), TpchCatalog(tpch))
    plain = tpch.execute(sql).fetchall()
    found = links_of(rewriting, lambda text: tpch.execute(text).fetchall())
    assert rounded(values for values, _ in found) == rounded(plain)
    assert not found or any(why for _, why in found) or number == 17  # Which finds nothing here.
    assert not rewriting.gaps


@pytest.mark.parametrize("number", [1, 5, 6, 7, 8, 9, 11, 12, 14, 17, 19, 21])
def test_a_tpch_query_has_the_same_links_in_bitmaps(tpch, number: int) -> None:
    sql = text_of(tpch, number)
    ask = lambda text: tpch.execute(text).fetchall()  # noqa: E731
    counts = EngineCounts(ask, sql.strip().rstrip(";"))
    listed = rewrite_rows(parse_query(sql), TpchCatalog(tpch))
    mapped = rewrite_rows(parse_query(sql), TpchCatalog(tpch), counts=counts)
    assert any(one.bitmap for one in mapped.identities)

    def links(rewriting):
        return sorted(sorted(map(str, why)) for _, why in links_of(rewriting, ask))

    assert links(mapped) == links(listed)


@pytest.mark.parametrize("number", range(1, 23))
def test_every_column_of_a_tpch_query_is_traced(tpch, number: int) -> None:
    sql = text_of(tpch, number)
    names = tpch.sql(sql).columns
    lineage = trace_columns(parse_query(sql), TpchCatalog(tpch), names=names)
    assert not lineage.gaps
    untraced = {field.name for field in lineage.fields if not field.inputs}
    # Counting rows reads no column.
    assert untraced <= {"count_order", "order_count", "custdist", "numwait", "numcust"}


# Q22 compares customers with the average of others: these are among its links, and then in its FROM.
@pytest.mark.parametrize("number", range(1, 22))
def test_a_tpch_query_rerun_on_the_backward_rows_gives_the_row_again(tpch, number: int) -> None:
    sql = text_of(tpch, number)
    rewriting = rewrite_rows(parse_query(sql), TpchCatalog(tpch))
    found = links_of(rewriting, lambda text: tpch.execute(text).fetchall())
    if not found:
        return
    values, why = random.Random(number).choice(found)
    with duckdb.connect() as alone:
        for (table,) in tpch.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            rows = [row for name, row in why if name == table]
            kept = tpch.execute(
                f"SELECT * FROM {table} WHERE rowid IN (SELECT unnest(?::BIGINT[]))", [rows]
            ).to_arrow_table()
            alone.register("kept", kept)
            alone.execute(f"CREATE TABLE {table} AS SELECT * FROM kept")
        again = alone.execute(sql).fetchall()
    assert rounded([values])[0] in rounded(again)
