"""Rows of PostgreSQL under `lodeline run --rows`, through each driver, checked by direct queries."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

pytest.importorskip("duckdb")
pq = pytest.importorskip("pyarrow.parquet")

from lodeline.cli.main import main  # noqa: E402
from observing import run_observed, run_plain  # noqa: E402
from postgres_servers import Server  # noqa: E402

PROGRAM = Path(__file__).with_name("programs") / "sql_rows.py"
SERVER = "postgres://localhost:5432"


@dataclass
class Shop:
    """A database after an observed run, and the run's record."""

    folder: Path
    connection: Any
    gaps: list[dict[str, str]]
    capture: Any

    def ask(self, name: str, way: str, status: int = 0) -> dict[str, Any]:
        store = f"sqlite:///{self.folder}/store/lodeline.db"
        assert main(["rows", name, way, "--store", store, "--json"]) == status
        answer: dict[str, Any] = json.loads(self.capture.readouterr().out)
        return answer

    def rows(self, name: str, way: str = "--back", *, complete: bool = True) -> set[str]:
        """What lies behind or ahead of a row, as `table or file:key`."""
        answer = self.ask(name, way)
        # Values are read from files alone.
        gaps = {gap["detail"] for gap in answer["gaps"] if gap["reason"] != "retention"}
        assert complete == (not gaps), gaps
        return {f"{Path(one['dataset']).name.split('.')[-1 if 'shop.' in one['dataset'] else 0]}:"
                f"{one['key']}" for one in answer["rows"]}  # fmt: skip

    def behind_file(self, name: str, row: int, **expected: bool) -> set[str]:
        return self.rows(f"row:file:{self.folder}/{name}.parquet:{row}", **expected)

    def direct(self, sql: str) -> set[str]:
        return {row[0] for row in self.connection.execute(sql).fetchall()}


@pytest.fixture
def shop(
    tmp_path: Path, interpreter: str, postgres_of: Callable[[str], Server], capsys: Any
) -> Any:
    """The oldest releases on the oldest server through psycopg2, the newest through psycopg."""
    oldest = "oldest" in interpreter
    server = postgres_of("15" if oldest else "18")
    driver = "psycopg2" if oldest else "psycopg"
    shutil.copy(PROGRAM, tmp_path / "script.py")
    host = str(server.conninfo("shop")).split("host=")[1].split()[0].strip("'")
    url = f"postgresql+{driver}://{server.user}@/shop?host={host}"
    words = {"DSN": server.conninfo("shop"), "DRIVER": driver, "URL": url}
    renew(server)
    plain = run_plain(tmp_path, interpreter, "script.py", **words)
    files = {path.name: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    renew(server)
    seen = run_observed(
        tmp_path, interpreter, "script.py", interpreter=interpreter, options=("--rows",), **words
    )
    assert plain.status == 0, plain.stderr
    assert (seen.status, seen.stdout, seen.stderr) == (0, plain.stdout, plain.stderr)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.parquet")} == files
    with psycopg.connect(server.conninfo("shop"), autocommit=True) as connection:
        yield Shop(tmp_path, connection, seen.gaps, capsys)


def renew(server: Server) -> None:
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS shop WITH (FORCE)")
        connection.execute("CREATE DATABASE shop")


def test_rows_of_postgresql_are_followed_from_and_to_its_keys(shop: Shop) -> None:
    for row, id_ in enumerate(pq.read_table(shop.folder / "filtered.parquet")["id"].to_pylist()):
        assert shop.behind_file("filtered", row) == {f"orders:{id_}"}
    for row, one in enumerate(pq.read_table(shop.folder / "joined.parquet").to_pylist()):
        place = None if one["place"] != one["place"] else int(one["place"])
        customer = shop.direct(f"SELECT customer FROM orders WHERE id = {one['id']}").pop()
        line = {f"lines:[{one['id']},{place}]"}
        expected = {f"orders:{one['id']}", f"customers:{customer}", *line}
        assert shop.behind_file("joined", row) == expected
    for row, one in enumerate(pq.read_table(shop.folder / "grouped.parquet").to_pylist()):
        of = "FROM customers AS k JOIN orders AS o ON o.customer = k.id WHERE amount > 25 "
        of += f"AND country = '{one['country']}'"
        assert shop.behind_file("grouped", row) == shop.direct(
            f"SELECT 'customers:' || k.id {of}"
        ) | shop.direct(f"SELECT 'orders:' || o.id {of}")
    assert shop.behind_file("alone", 0) == {"customers:5"}
    assert shop.behind_file("engine", 0) == {"customers:5"}
    # A table into a table; one of its rows was updated later, which is said.
    for (customer,) in shop.connection.execute("SELECT customer FROM totals").fetchall():
        of = f"FROM orders WHERE customer = {customer} AND amount > 2"
        assert shop.rows(f"row:{SERVER}:shop.public.totals:{customer}", complete=False) == (
            shop.direct(f"SELECT 'orders:' || id {of}") | {f"customers:{customer}"}
        )
    ahead = shop.rows(f"row:{SERVER}:shop.public.orders:119", "--forward")
    assert ahead == {"totals:1"} | {"filtered:0", "grouped:0"}
    # What is not followed is said, and nothing is claimed of it.
    told = {gap["at"].removeprefix("rows: ") for gap in shop.gaps}
    assert {"source", "order", "unrepeatable function", "create table"} <= told
    for name in ("unkeyed", "tied", "moment"):
        with pytest.raises(AssertionError):
            shop.behind_file(name, 0)
