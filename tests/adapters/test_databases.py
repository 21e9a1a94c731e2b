"""Databases, through each driver that is observed, in its oldest and newest release."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from observing import Observed, python, run_plain
from postgres_servers import VERSIONS, Server, binaries

PROGRAMS = Path(__file__).with_name("programs")


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    """Started when first asked for, by version."""
    started: dict[str, Server] = {}
    yield started
    for one in started.values():
        one.close()


@pytest.fixture
def database(servers: dict[str, Server], interpreter: str) -> str:
    """An empty database: the oldest drivers on the oldest server, the newest on the newest."""
    version = VERSIONS[0 if "oldest" in interpreter else -1]
    if binaries(version) is None:
        pytest.skip(f"PostgreSQL {version} is not installed")
    server = servers.get(version) or servers.setdefault(version, Server(version))
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS shop WITH (FORCE)")
        connection.execute("CREATE DATABASE shop")
    return server.conninfo("shop")


def observe(folder: Path, name: str, interpreter: str, **extra: str) -> Observed:
    (folder / "a.csv").write_text("k,x,s\n1,1.5,u\n2,2.5,v\n")
    seen = python(folder, (PROGRAMS / f"{name}.py").read_text(), interpreter, **extra)
    assert seen.status == 0, seen.stderr
    return seen


def tables(seen: Observed) -> dict[str, set[str]]:
    """What flowed into each output, tables by their names without the database's."""
    found = {}
    for output in seen.last["outputs"]:
        facet = output["outputFacets"]["lodeline_observed"]
        bound = {"?"} if facet.get("bound") else set()
        inputs = {Path(source["name"]).name for source in facet["inputs"]}
        found[Path(output["name"]).name] = inputs | bound
    return found


def columns(seen: Observed, name: str) -> dict[str, set[tuple[str, str]]]:
    facet = seen.output(name)["facets"]["columnLineage"]
    return {
        field: {(Path(one["name"]).name, one["field"]) for one in told["inputFields"]}
        for field, told in facet["fields"].items()
    }


def values_of(seen: Observed) -> set[str]:
    """Everything that stands between quotes in the events."""
    return set(json.dumps(seen.events).replace("'", '"').split('"'))


def statements(seen: Observed) -> str:
    query: str = seen.last["job"]["facets"]["sql"]["query"]
    return query


def test_statements_of_sqlite_name_the_tables_and_columns_of_its_file(
    tmp_path: Path, interpreter: str
) -> None:
    seen = observe(tmp_path, "sql_sqlite", interpreter)
    found = tables(seen)
    assert found["totals"] == {"orders", "big"}
    assert found["big"] == {"orders"}
    assert columns(seen, "totals") == {
        "customer": {("orders", "customer")},
        "total": {("orders", "amount")},
    }
    namespace = f"sqlite://{tmp_path}/shop.db"
    assert seen.output("orders")["namespace"] == namespace
    assert {"secret", "Ann", "100"}.isdisjoint(statements(seen).replace("'", " ").split())
    assert not values_of(seen) & {"Ann", "Bob", "secret"}
    assert not seen.gaps
    (tmp_path / "shop.db").unlink()
    plain = run_plain(tmp_path, interpreter, "script.py")
    assert (plain.status, plain.stderr) == (seen.status, seen.stderr)
    assert plain.stdout == seen.stdout


def test_statements_of_psycopg_name_the_tables_and_columns_of_the_server(
    tmp_path: Path, interpreter: str, database: str
) -> None:
    seen = observe(tmp_path, "sql_psycopg", interpreter, DSN=database)
    found = tables(seen)
    # A bound: all that was read so far, be it from a table that is gone since.
    bound = {"?", "shop.shop.totals", "shop.shop.orders", "shop.shop.big"}
    assert bound <= found.pop("out.csv") <= bound | {"shop.shop.old"}
    assert found == {
        "shop.shop.orders": set(),
        "shop.shop.totals": {"shop.shop.orders", "shop.shop.big"},
        "shop.shop.big": {"shop.shop.orders"},
        "shop.shop.old": {"shop.shop.orders"},
    }
    assert columns(seen, "shop.shop.totals") == {
        "customer": {("shop.shop.orders", "customer")},
        "total": {("shop.shop.orders", "amount")},
    }
    assert seen.output("shop.shop.old")["namespace"] == "postgres://localhost:5432"
    # Rows that went in and out, and values in the text, are nowhere in the record.
    assert not values_of(seen) & {"Ann", "Cyd", "secret"}
    # What the database decides by itself is said: a function of its users, an anonymous block.
    assert {gap["at"] for gap in seen.gaps} == {"psycopg: function twice", "psycopg: do"}


def test_a_failed_or_undone_statement_is_no_write(
    tmp_path: Path, interpreter: str, database: str
) -> None:
    seen = python(
        tmp_path,
        "import os, psycopg\n"
        "with psycopg.connect(os.environ['DSN'], autocommit=True) as c:\n"
        "    for name in 'abcd': c.execute(f'CREATE TABLE {name} (x int)')\n"
        "    c.execute('INSERT INTO a SELECT 1')\n"
        "    try: c.execute('INSERT INTO b SELECT 1/0 FROM a')\n"
        "    except psycopg.Error: pass\n"
        "    c.execute('BEGIN'); c.execute('INSERT INTO c SELECT x FROM a'); c.execute('ROLLBACK')\n"
        "    c.execute('BEGIN'); c.execute('SAVEPOINT s')\n"
        "    c.execute('INSERT INTO c SELECT x FROM a'); c.execute('ROLLBACK TO s')\n"
        "    c.execute('INSERT INTO d SELECT x FROM a'); c.execute('COMMIT')\n",
        interpreter,
        DSN=database,
    )
    assert seen.status == 0, seen.stderr
    assert tables(seen) == {"shop.public.a": set(), "shop.public.d": {"shop.public.a"}}


def test_statements_of_psycopg_with_asyncio_are_read_as_well(
    tmp_path: Path, interpreter: str, database: str
) -> None:
    seen = observe(tmp_path, "sql_psycopg_async", interpreter, DSN=database)
    assert tables(seen) == {"shop.public.a1": set(), "shop.public.a2": {"shop.public.a1"}}
    assert not seen.gaps


def test_statements_of_psycopg2_name_the_tables_of_the_server(
    tmp_path: Path, interpreter: str, database: str
) -> None:
    seen = observe(tmp_path, "sql_psycopg2", interpreter, DSN=database)
    assert tables(seen) == {"shop.public.p2": set(), "shop.public.p4": {"shop.public.p2"}}
    assert columns(seen, "shop.public.p4") == {"more": {("shop.public.p2", "amount")}}
    assert not seen.gaps


def check_engine(seen: Observed, prefix: str) -> None:
    found = tables(seen)
    assert found[f"{prefix}copies"] == {f"{prefix}orders"}
    assert found[f"{prefix}frames"] == {"a.csv"}
    assert found["read.csv"] == {f"{prefix}copies"}
    assert found["table.csv"] == {f"{prefix}frames"}
    # Objects of the program: whatever it has read may be in them.
    assert found[f"{prefix}orders"] == {"a.csv", "?"}
    assert not seen.gaps


def test_engines_objects_and_frames_of_sqlalchemy_go_through_their_driver(
    tmp_path: Path, interpreter: str
) -> None:
    check_engine(observe(tmp_path, "sql_alchemy", interpreter, URL="sqlite:///shop.db"), "")


def test_engines_of_sqlalchemy_on_postgres_are_read_as_well(
    tmp_path: Path, interpreter: str, database: str
) -> None:
    driver = "psycopg2" if "oldest" in interpreter else "psycopg"
    folder = dict(word.split("=") for word in database.split())["host"]
    url = f"postgresql+{driver}://lodeline@/shop?host={folder}"
    check_engine(observe(tmp_path, "sql_alchemy", interpreter, URL=url), "shop.public.")


def test_the_schema_is_asked_once_a_table_and_on_no_cursor_of_the_program(
    tmp_path: Path, interpreter: str
) -> None:
    seen = python(
        tmp_path,
        "import sqlite3\n"
        "c = sqlite3.connect('x.db')\n"
        "c.row_factory = sqlite3.Row\n"
        "c.execute('CREATE TABLE a (x)'); c.execute('CREATE TABLE b (x)'); c.commit()\n"
        "said = []\n"
        "c.set_trace_callback(said.append)\n"
        "rows = c.execute('SELECT 1 UNION SELECT 2')\n"
        "for number in range(200):\n"
        "    c.execute('INSERT INTO a VALUES (?)', (number,))\n"
        "c.execute('INSERT INTO b SELECT x FROM a')\n"
        "print(len(said), c.in_transaction, c.total_changes, [tuple(r) for r in rows])\n"
        "c.commit()\n",
        interpreter,
    )
    assert seen.status == 0, seen.stderr
    (tmp_path / "x.db").unlink()
    plain = run_plain(tmp_path, interpreter, "script.py")
    assert seen.stdout == plain.stdout
    # One million inserts say one thing.
    told: list[Any] = [e for e in seen.events if e["outputs"]]
    assert len(told) <= 3
    assert tables(seen) == {"a": set(), "b": {"a"}}
