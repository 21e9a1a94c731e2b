"""The 99 TPC-DS queries carry their rows: results unchanged, nothing left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

duckdb = pytest.importorskip("duckdb")
duckdb_extension_tpcds = pytest.importorskip("duckdb_extension_tpcds")

from lodeline.sql import Source, rewrite_rows  # noqa: E402
from lodeline.sql.sources import parse_query  # noqa: E402


@pytest.fixture(scope="module")
def tpcds():
    (extension,) = Path(duckdb_extension_tpcds.__file__).parent.rglob("tpcds.duckdb_extension")
    connection = duckdb.connect()
    try:
        connection.execute(f"LOAD '{extension}'")
    except duckdb.Error as error:
        pytest.skip(f"the extension is of another DuckDB: {error}")
    connection.execute("CALL dsdgen(sf = 0.01)")
    connection.execute("SET memory_limit = '2GB'")
    yield connection
    connection.close()


class TpcdsCatalog:
    def __init__(self, connection) -> None:
        self.connection = connection
        self.known: dict[str, Source] = {}

    def find_source(self, table):
        name = table.name
        if name not in self.known:
            relation = self.connection.sql(f"SELECT * FROM {name}")
            columns = tuple(zip(relation.columns, map(str, relation.types), strict=True))
            self.known[name] = Source(name, ("tpcds", name), columns, "rowid")
        return self.known[name]


def rounded(rows) -> Counter:
    """Float sums may differ by reassociation; everything else must be equal."""
    return Counter(
        tuple(round(value, 6) if isinstance(value, float) else value for value in row)
        for row in rows
    )


@pytest.mark.parametrize("numbers", [range(n, min(n + 11, 100)) for n in range(1, 100, 11)])
def test_a_tpcds_query_gives_the_same_result_when_it_carries_rows(tpcds, numbers: range) -> None:
    catalog = TpcdsCatalog(tpcds)
    for number in numbers:
        (sql,) = tpcds.execute(
            "SELECT query FROM tpcds_queries() WHERE query_nr = ?", [number]
        ).fetchone()
        rewriting = rewrite_rows(parse_query(sql), catalog)
        plain = tpcds.execute(sql).fetchall()
        for one in rewriting.shared:
            table = one.table or "shared"
            tpcds.execute(f'CREATE OR REPLACE TEMPORARY TABLE "{table}" AS {one.sql}')
        # In a table, as capture has it: Python would take minutes to read the longest lists.
        tpcds.execute(f"CREATE OR REPLACE TEMPORARY TABLE made AS {rewriting.sql}")
        hidden = ", ".join(f'"{name}"' for name in rewriting.columns)
        found = tpcds.execute(f"SELECT * EXCLUDE ({hidden}) FROM made").fetchall()
        assert rounded(found) == rounded(plain), number
        assert not rewriting.gaps, number
