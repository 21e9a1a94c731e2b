"""The links that blobs hold are those that the result's identity columns hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

duckdb = pytest.importorskip("duckdb")

from test_row_provenance import TablesCatalog, draw, fill, with_function  # noqa: E402

from lodeline.errors import UnsupportedQueryError  # noqa: E402
from lodeline.integrations.duckdb.counting import EngineCounts  # noqa: E402
from lodeline.integrations.duckdb.links import keep_links  # noqa: E402
from lodeline.sql import Rewriting, rewrite_rows  # noqa: E402
from lodeline.sql.sources import parse_query  # noqa: E402
from lodeline.store.link_blocks import Links, read_links, shaped  # noqa: E402
from row_links import Link, read  # noqa: E402

REFUSED = (duckdb.BinderException, duckdb.NotImplementedException, duckdb.InternalException)


def pairs_of(links: Links) -> list[tuple[int, int]]:
    outputs, inputs = links.pairs(0, links.rows)
    return list(zip(outputs.tolist(), inputs.tolist(), strict=True))


def kept_of(connection, folder: Path, table: str, identities) -> Counter[tuple[int, Link]]:
    """Write the links of a table, and read them back as whoever commits to them does."""
    grouped: dict[str, list] = {}
    for one in identities:
        grouped.setdefault(one.source.key, []).append(one)
    drafts = (folder / f"{table}{number}.parquet" for number in range(len(grouped)))
    found: Counter[tuple[int, Link]] = Counter()
    kept = keep_links(table, grouped, connection.execute, draft=lambda: next(drafts), keep=str)
    for key, facts in kept:
        assert facts is not None
        if "blob" in facts:
            links = shaped(read_links(Path(facts["blob"]).read_bytes(), facts["shape"]))
            pairs = pairs_of(links)
            # What repeats or is missing is gone, and counted no more.
            assert links.count == len(pairs) <= facts["count"]
            assert links.rows == facts["rows"]
        else:
            start = facts["start"] or 0
            pairs = [(row, row + start) for row in range(facts["count"])]
        found.update((output, (key, number)) for output, number in pairs)
    return found


def carried_of(connection, table: str, identities) -> Counter[tuple[int, Link]]:
    """Read the same from the table's columns, in plain Python."""
    names = [one.name for one in identities]
    columns = ", ".join(f'"{name}"' for name in names)
    rows = connection.execute(f"SELECT {columns} FROM {table} ORDER BY rowid").fetchall()
    return Counter(
        (number, link)
        for number, values in enumerate(rows)
        for link in read(identities, names, values, {})
    )


def compare(connection, folder: Path, rewriting: Rewriting) -> bool:
    """Run a rewriting and compare; say whether DuckDB took it."""
    tables = [one.table or f"shared{number}" for number, one in enumerate(rewriting.shared)]
    try:
        for table, one in zip(tables, rewriting.shared, strict=True):
            connection.execute(f'CREATE OR REPLACE TEMP TABLE "{table}" AS {one.sql}')
        connection.execute(f"CREATE OR REPLACE TEMP TABLE made AS {rewriting.sql}")
    except REFUSED:
        return False
    every = [("made", rewriting.identities)]
    every += [(t, one.identities) for t, one in zip(tables, rewriting.shared, strict=True)]
    for table, identities in every:
        if identities:
            kept = kept_of(connection, folder, table, identities)
            assert kept == carried_of(connection, table, identities), rewriting.sql
    return True


def test_what_is_written_of_drawn_queries_is_what_their_rows_carry(tmp_path: Path) -> None:
    compared = 0
    with with_function(duckdb.connect()) as connection:
        connection.execute("SET threads = 1")
        for seed in range(50):
            tables, query = draw(seed)
            fill(connection, tables)
            counts = EngineCounts(lambda text: connection.execute(text).fetchall(), query.sql())
            tree = parse_query(query.sql())
            try:
                rewriting = rewrite_rows(tree, TablesCatalog(), counts=counts if seed % 2 else None)
            except UnsupportedQueryError:
                continue
            if rewriting.identities:
                compared += compare(connection, tmp_path, rewriting)
    assert compared > 25
