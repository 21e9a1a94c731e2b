"""Rows of PostgreSQL under `lodeline run --rows`, through each driver, checked by direct queries."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

pytest.importorskip("duckdb")
pq = pytest.importorskip("pyarrow.parquet")

from frameworks import interpreter_of  # noqa: E402
from lodeline.capture.postgres_rows import ended_between  # noqa: E402
from lodeline.cli.main import main  # noqa: E402
from observing import run_observed, run_plain  # noqa: E402
from postgres_servers import Server  # noqa: E402

PROGRAM = Path(__file__).with_name("programs") / "sql_rows.py"
SERVER = "postgres://localhost:5432"


@dataclass
class Shop:
    """A database after an observed run, and the run's record."""

    folder: Path
    driver: str
    connection: Any
    gaps: list[dict[str, str]]
    capture: Any

    def ask(self, name: str, way: str, status: int = 0) -> dict[str, Any]:
        store = f"sqlite:///{self.folder}/store/lodeline.db"
        given = main(["rows", name, way, "--store", store, "--json"])
        told = self.capture.readouterr().out
        assert given == status, told
        answer: dict[str, Any] = json.loads(told)
        return answer

    def rows(self, name: str, way: str = "--back", *, complete: bool = True) -> set[str]:
        """What lies behind or ahead of a row, as `table or file:key`."""
        answer = self.ask(name, way)
        # Values are read from files alone.
        gaps = {gap["detail"] for gap in answer["gaps"] if gap["reason"] != "retention"}
        assert complete == (not gaps), gaps
        found = set()
        for one in answer["rows"]:
            name = Path(one["dataset"]).name.removesuffix(".parquet")
            found.add(f"{name.rpartition('.')[2].removeprefix(self.driver + '-')}:{one['key']}")
        return found

    def table(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / f"{self.driver}-{name}.parquet"
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows

    def behind_file(self, name: str, row: int, **expected: bool) -> set[str]:
        return self.rows(f"row:file:{self.folder}/{self.driver}-{name}.parquet:{row}", **expected)

    def direct(self, sql: str) -> set[str]:
        return {row[0] for row in self.connection.execute(sql).fetchall()}


DRIVERS = {"psycopg2": "15", "psycopg": "18"}


@pytest.fixture
def shops(
    tmp_path: Path, postgres_of: Callable[[str], Server], capsys: Any
) -> Iterator[dict[str, Shop]]:
    """One program over both drivers, each with a server of its own."""
    interpreter = interpreter_of("newest")
    servers = {driver: postgres_of(version) for driver, version in DRIVERS.items()}
    shutil.copy(PROGRAM, tmp_path / "script.py")
    words = [
        [driver, server.conninfo(driver),
         f"postgresql+{driver}://{server.user}@/{driver}?host={server.folder}"]
        for driver, server in servers.items()
    ]  # fmt: skip
    told = {"DATABASES": json.dumps(words)}
    renew(servers)
    plain = run_plain(tmp_path, interpreter, "script.py", **told)
    files = {path.name: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    renew(servers)
    seen = run_observed(
        tmp_path, interpreter, "script.py", interpreter=interpreter, options=("--rows",), **told
    )
    assert plain.status == 0, plain.stderr
    assert (seen.status, seen.stdout, seen.stderr) == (0, plain.stdout, plain.stderr)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.parquet")} == files
    found = {}
    for driver, server in servers.items():
        gaps = [gap for gap in seen.gaps if gap["detail"].startswith(f"{driver}: ")]
        connection = psycopg.connect(server.conninfo(driver), autocommit=True)
        found[driver] = Shop(tmp_path, driver, connection, gaps, capsys)
    yield found
    for one in found.values():
        one.connection.close()


def renew(servers: dict[str, Server]) -> None:
    for name, server in servers.items():
        with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name}")


def test_rows_of_postgresql_are_followed_from_and_to_its_keys(shops: dict[str, Shop]) -> None:
    for shop in shops.values():
        check_files(shop)
        check_tables(shop)
        # What is not followed is said, and nothing is claimed of it.
        told = {gap["at"].removeprefix("rows: ") for gap in shop.gaps}
        assert {"source", "order", "unrepeatable function", "create table"} <= told
        for name in ("unkeyed", "tied", "moment"):
            with pytest.raises(AssertionError):
                shop.behind_file(name, 0)


def check_files(shop: Shop) -> None:
    for row, one in enumerate(shop.table("filtered")):
        assert shop.behind_file("filtered", row) == {f"orders:{one['id']}"}
    for row, one in enumerate(shop.table("joined")):
        customer = shop.direct(f"SELECT customer FROM orders WHERE id = {one['id']}").pop()
        line = f"lines:[{one['id']},{int(one['place'])}]"
        expected = {f"orders:{one['id']}", f"customers:{customer}", line}
        assert shop.behind_file("joined", row) == expected
    for row, one in enumerate(shop.table("grouped")):
        of = "FROM customers AS k JOIN orders AS o ON o.customer = k.id WHERE amount > 25 "
        of += f"AND country = '{one['country']}'"
        customers = shop.direct(f"SELECT 'customers:' || k.id {of}")
        assert shop.behind_file("grouped", row) == customers | shop.direct(
            f"SELECT 'orders:' || o.id {of}"
        )
    assert shop.behind_file("alone", 0) == {"customers:5"}
    assert shop.behind_file("engine", 0) == {"customers:5"}


def check_tables(shop: Shop) -> None:
    """A table into a table; one of its rows was updated later, which is said."""
    place = f"row:{SERVER}:{shop.driver}.public"
    for customer in shop.direct("SELECT customer FROM totals"):
        of = f"FROM orders WHERE customer = {customer} AND amount > 2"
        assert shop.rows(f"{place}.totals:{customer}", complete=False) == (
            shop.direct(f"SELECT 'orders:' || id {of}") | {f"customers:{customer}"}
        )
    ahead = shop.rows(f"{place}.orders:119", "--forward")
    assert ahead == {"totals:1", "filtered:0", "grouped:0"}


def test_what_another_connection_commits_meanwhile_makes_a_gap_and_no_wrong_link(
    tmp_path: Path, postgres_of: Callable[[str], Server], capsys: Any
) -> None:
    server = postgres_of("18")
    interpreter = interpreter_of("newest")
    shutil.copy(PROGRAM.with_name("sql_races.py"), tmp_path / "script.py")
    told = {"DSN": server.conninfo("races")}
    renew({"races": server})
    plain = run_plain(tmp_path, interpreter, "script.py", **told)
    renew({"races": server})
    seen = run_observed(
        tmp_path, interpreter, "script.py", interpreter=interpreter, options=("--rows",), **told
    )
    assert (seen.status, seen.stdout) == (0, plain.stdout), seen.stderr
    with psycopg.connect(server.conninfo("races"), autocommit=True) as connection:
        shop = Shop(tmp_path, "races", connection, seen.gaps, capsys)
        place = f"row:{SERVER}:races.public"
        for customer, mask in connection.execute("SELECT customer, mask FROM asked").fetchall():
            own = {f"orders:{n}" for n in range(1, 10) if mask >> n & 1}
            key = f"[0,{customer}]"
            # The program wrote the orders, too, by values that come from no row.
            assert shop.rows(f"{place}.asked:{key}", complete=False) == own
        for customer, turn, mask in connection.execute("TABLE seen").fetchall():
            key = f"[{turn},{customer}]"
            own = {f"orders:{n}" for n in range(1, 10) if mask >> n & 1}
            if turn == 0:
                # Other rows came into the table later, which are not linked.
                assert shop.rows(f"{place}.seen:{key}", complete=False) == own
            else:
                with pytest.raises(AssertionError):
                    shop.rows(f"{place}.seen:{key}", complete=False)
    said = {gap["at"].removeprefix("rows: "): gap["detail"] for gap in seen.gaps}
    assert {"snapshot", "insert", "create table", "update", "delete", "merge"} <= said.keys(), said


@pytest.mark.parametrize("version", ["15", "18"])
def test_snapshots_tell_which_transactions_ended_between_them(
    postgres_of: Callable[[str], Server], version: str
) -> None:
    ask = "SELECT txid_current_snapshot()::text"
    conninfo = postgres_of(version).conninfo("postgres")
    with (
        psycopg.connect(conninfo) as one,
        psycopg.connect(conninfo) as two,
        psycopg.connect(conninfo, autocommit=True) as asking,
    ):

        def told() -> str:
            return str(asking.execute(ask).fetchone()[0])  # type: ignore[index]

        start = told()
        first = one.execute("SELECT txid_current()").fetchone()[0]  # type: ignore[index]
        assert ended_between(start, told()) == set()
        two.execute("SELECT 1")
        two.commit()
        assert ended_between(start, told()) == set()
        second = two.execute("SELECT txid_current()").fetchone()[0]  # type: ignore[index]
        two.rollback()
        assert ended_between(start, middle := told()) == {second}
        one.commit()
        assert ended_between(middle, told()) == {first}
        assert ended_between(start, told()) == {first, second}
