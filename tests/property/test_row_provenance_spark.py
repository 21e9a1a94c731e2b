"""Spark SQL that carries row identities: each operator, and random queries, in one session each."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

duckdb = pytest.importorskip("duckdb")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from annotated_sql import World, plain  # noqa: E402
from drawn_queries import NOT_SPARK, TABLES, Drawing, Tables, draw_tables  # noqa: E402
from test_row_provenance import TablesCatalog, fill  # noqa: E402

from frameworks import interpreter_of  # noqa: E402
from linked_operators import CASES, spark_cell, spark_text  # noqa: E402
from lodeline.errors import UnsupportedQueryError  # noqa: E402
from lodeline.sql import Rewriting, Source, rewrite_rows  # noqa: E402
from lodeline.sql.sources import parse_query  # noqa: E402
from row_links import links_of  # noqa: E402

PROGRAM = Path(__file__).parents[1] / "adapters" / "programs" / "spark_queries.py"
SEEDS = range(700_000, 700_000 + int(os.environ.get("SPARK_ROW_SEEDS", "6")))
Ask = Callable[[str], Any]


@dataclass
class Batch:
    """Queries over the same tables: collected first, and answered by Spark all at once.

    Attributes:
        queries: each with the alternatives that carry its rows, the fullest first.
    """

    tables: dict[str, Any]
    queries: list[tuple[str, list[list[str]]]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        answer = self.answers.get(sql, {"said": "was not asked"})
        if isinstance(answer, dict):
            raise Refused(answer["said"])
        return [tuple(row) for row in answer]


class Refused(Exception):
    """Spark has no plan for a query."""


@dataclass
class Rewritten:
    """A query, and its rewritings: the full one first, then the one without sub-queries' rows."""

    sql: str
    tried: list[Rewriting]
    refusal: str | None = None

    def find_plain(self, batch: Batch) -> list[Any] | None:
        """Give what the query itself gave, which was run where no rewriting could be."""
        try:
            return batch.ask(self.sql)
        except Refused:
            return None

    def find(self, batch: Batch) -> tuple[Rewriting, list[Any]] | None:
        """Give the first rewriting that Spark ran, and its links."""
        for rewriting in self.tried:
            try:
                return rewriting, links_of(rewriting, batch.ask, quote="`")
            except Refused:
                continue
        return None


def prepare(sql: str, catalog: Any, batch: Batch) -> Rewritten:
    made = Rewritten(sql, [])
    alternatives: list[list[str]] = []
    try:
        for questions in (True, False):
            tree = parse_query(sql, dialect="spark")
            rewriting = rewrite_rows(tree, catalog, dialect="spark", questions=questions)
            texts: list[str] = []
            links_of(rewriting, lambda text: texts.append(text) or [], quote="`")  # noqa: B023
            if texts not in alternatives:
                made.tried.append(rewriting)
                alternatives.append(texts)
    except UnsupportedQueryError as error:
        made.refusal = error.operator
    batch.queries.append((sql, alternatives))
    return made


class Files:
    """A table of Parquet, and one of Delta: rows are named by their place in the file."""

    def find_source(self, table: Any) -> Source:
        if table.name == "t":
            kinds = (("a", "BIGINT"), ("b", "BIGINT"))
            return Source("t", ("file", "t"), kinds, "file_row_number")
        # A view has no hidden columns: it gives them as others.
        kinds = (("a", "BIGINT"), ("c", "BIGINT"), ("file", "STRING"), ("place", "BIGINT"))
        return Source("u", ("file", "u"), kinds, "key", keys=("file", "place"))


class Keyed:
    """Drawn tables: rows are named by a declared key."""

    def find_source(self, table: Any) -> Source:
        names = (*TABLES[table.name], "number")
        columns = tuple((one, "DOUBLE" if one == "x" else "BIGINT") for one in names)
        return Source(table.name, ("db", table.name), columns, "key", keys=("number",))


def run_spark(interpreter: str, folder: Path, batches: list[Batch]) -> str:
    tasks = [{"tables": one.tables, "queries": one.queries} for one in batches]
    (folder / "tasks.json").write_text(json.dumps(tasks))
    done = subprocess.run(
        [interpreter, str(PROGRAM), "tasks.json", "answers.json"],
        cwd=folder,
        env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": interpreter},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads((folder / "answers.json").read_text())
    for batch, answers in zip(batches, told["answers"], strict=True):
        batch.answers = answers
    return str(told["version"])


def write_cells(folder: Path) -> dict[str, dict[str, Any]]:
    """Write the tables of the operators; the program makes a Delta table of `u`."""
    tables = {
        "t": {"a": range(6), "b": [n % 3 for n in range(6)]},
        "u": {"a": [0, 2, 4], "c": range(3)},
    }
    for name, columns in tables.items():
        (folder / name).mkdir()
        pq.write_table(pa.table(columns), folder / name / "part.parquet", row_group_size=2)
    return {"t": {"folder": str(folder / "t")}, "u": {"delta": str(folder / "u")}}


@dataclass
class Session:
    """What one Spark session answered."""

    version: str
    cells: Batch
    operators: dict[str, Rewritten]
    drawn: list[tuple[int, Any, Tables, Rewritten, Batch]]


# The oldest release is asked where seeds are: a session of it costs as much as this one.
RELEASES = ["spark", "spark-oldest"] if "SPARK_ROW_SEEDS" in os.environ else ["spark"]


@pytest.fixture(scope="module", params=RELEASES)
def session(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Session]:
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    interpreter = interpreter_of(request.param)
    folder = tmp_path_factory.mktemp("spark")
    cells = Batch(write_cells(folder))
    operators = {name: prepare(spark_text(name), Files(), cells) for name in CASES}
    drawn = []
    for seed in SEEDS if request.param == "spark" else ():
        rng = random.Random(seed)
        tables = draw_tables(rng)
        query = Drawing(rng, without=NOT_SPARK).query()
        batch = Batch({name: values_of(*tables[name]) for name in tables})
        sql = query.sql().replace("DOUBLE PRECISION", "DOUBLE")
        drawn.append((seed, query, tables, prepare(sql, Keyed(), batch), batch))
    version = run_spark(interpreter, folder, [cells, *(one[-1] for one in drawn)])
    yield Session(version, cells, operators, drawn)


def values_of(columns: tuple[str, ...], rows: list[Any]) -> dict[str, Any]:
    kinds = [(c, "DOUBLE" if c == "x" else "BIGINT") for c in (*columns, "number")]
    return {
        "columns": kinds,
        "rows": [[written(v) for v in (*row, number)] for number, row in enumerate(rows)],
    }


def written(value: Any) -> str:
    if value is None:
        return "NULL"
    return "DOUBLE('NaN')" if value != value else str(value)  # NaN is not itself.


@pytest.mark.slow
def test_an_operator_links_what_is_stated_on_spark(session: Session) -> None:
    said = {name: cell_of(name, session) for name in CASES}
    assert said == {name: spark_cell(name, session.version) for name in CASES}


def cell_of(name: str, session: Session) -> str:
    """Say what Spark gave: exact, a gap, or not applicable."""
    made, expected = session.operators[name], CASES[name][1]
    found = made.find(session.cells)
    if found is None:
        return "gap" if made.find_plain(session.cells) is not None else "not applicable"
    rewriting, linked = found
    links = {values: {f"{key}{row[1]}" for key, row in why} for values, why in linked}
    assert len(links) == len(linked), name
    if rewriting.gaps:
        assert all(links.values()), name
        return "gap"
    assert links == expected, name
    return "exact"


@pytest.mark.slow
def test_row_links_on_spark_equal_those_of_the_interpreter_and_of_duckdb(session: Session) -> None:
    said = Counter(check(*one) for one in session.drawn)
    if session.drawn:
        assert said["exact"] + said["exact, as duckdb"] >= len(SEEDS) // 3, said
        assert said["exact, as duckdb"], said


def check(seed: int, query: Any, tables: Tables, made: Rewritten, batch: Batch) -> str:
    expected = query.rows(World(tables))
    told = (seed, made.sql, made.tried[0].sql if made.tried else made.refusal)
    values = Counter(row.values for row in expected)
    answer = made.find(batch)
    if answer is None:
        plainly = made.find_plain(batch)
        if plainly is None:
            return "no plan"
        assert Counter(tuple(map(plain, row)) for row in plainly) == values, told
        return "gap"
    rewriting, rows = answer
    found = [(tuple(map(plain, values)), why) for values, why in rows]
    assert Counter(one for one, _ in found) == values, told
    if rewriting.gaps:
        for one, why in found:
            assert any(row.values == one and why <= row.why for row in expected), told
        return "gap"
    assert Counter(found) == Counter((row.values, row.why) for row in expected), told
    embedded = links_on_duckdb(made.sql, tables)
    if embedded is None:
        return "exact"
    assert Counter(found) == Counter(embedded), told
    return "exact, as duckdb"


def links_on_duckdb(sql: str, tables: Tables) -> list[Any] | None:
    """Give the same query's links on the embedded engine; `None` where it has a gap."""
    with duckdb.connect() as connection:
        fill(connection, tables)
        try:
            rewriting = rewrite_rows(parse_query(sql), TablesCatalog())
            rows = links_of(rewriting, lambda text: connection.execute(text).fetchall())
        except (UnsupportedQueryError, duckdb.Error):
            return None
    if rewriting.gaps:
        return None
    return [(tuple(map(plain, values)), why) for values, why in rows]
