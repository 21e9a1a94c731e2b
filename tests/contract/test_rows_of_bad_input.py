"""Awkward input under `lodeline run --rows`: every link is right, or there is a gap instead."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

duckdb = pytest.importorskip("duckdb")
pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

from lodeline.errors import UnknownNodeError, UsageError  # noqa: E402
from lodeline.questions import connect  # noqa: E402

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
CLI = [sys.executable, "-m", "lodeline.cli.main"]

PROGRAM = """
import duckdb, pandas as pd, lodeline

with lodeline.run("prepare") as run:
    connection = duckdb.connect()
    run.key("orders.parquet", "id")
    orders = pd.read_parquet("orders.parquet")
    kept = orders[orders.amount.isna() | (orders.amount > 1)].sort_values("customer")
    kept.to_parquet("kept.parquet")
    connection.execute(
        "COPY (SELECT o.id, o.customer, c.city FROM 'orders.parquet' o "
        "LEFT JOIN 'customers.parquet' c ON o.customer = c.customer) TO 'joined.parquet'"
    )
    connection.execute(
        "COPY (SELECT DISTINCT customer, amount FROM 'orders.parquet') TO 'distinct.parquet'"
    )
"""
# Equal rows, missing keys, NaN beside null; a row's place is all that tells the first two apart.
ORDERS = [
    ("a", "x", 2.0),
    ("a", "x", 2.0),
    ("b", None, math.nan),
    ("c", None, None),
    ("d", "y", math.nan),
    ("e", "z", 0.5),
    ("a", "x", 2.0),
]
CUSTOMERS = [("x", "Paris"), ("y", "Oslo"), (None, "Nowhere"), ("y", "Rome")]


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LODELINE", "OPENLINEAGE"))}
    store = f"sqlite:///{folder / 'lodeline.db'}"
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "LODELINE_STORE": store}


def command(folder: Path, *words: str) -> None:
    done = subprocess.run(
        [*CLI, *words], cwd=folder, env=environment(folder), capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def ask(folder: Path, verb: str, identifier: str, **options: object) -> Any:
    """Ask in this process: a command for each of hundreds of questions would take minutes."""
    return connect(store=f"sqlite:///{folder / 'lodeline.db'}").ask(verb, id=identifier, **options)


def write(folder: Path, orders: list[tuple[Any, ...]], columns: list[str]) -> None:
    quoted = ", ".join(f'"{name}"' for name in columns)
    with duckdb.connect() as connection:
        kinds = {"id": "VARCHAR", "customer": "VARCHAR", "amount": "DOUBLE", "note": "VARCHAR"}
        defined = ", ".join(f'"{name}" {kinds[name]}' for name in columns)
        connection.execute(f"CREATE TABLE t({defined})")
        places = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO t({quoted}) VALUES ({places})", orders)
        connection.execute(f"COPY t TO '{folder / 'orders.parquet'}' (FORMAT parquet)")


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT * FROM '{path}'").fetchall()


def same(one: Any, two: Any) -> bool:
    return repr(one) == repr(two)


def version_of(folder: Path, name: str) -> str:
    answer = ask(folder, "show", f"dataset:file:{folder / name}")
    return str(answer["version"])


def behind(folder: Path, name: str, row: int, source: str) -> tuple[list[int], Any]:
    answer = ask(folder, "rows", f"row:file:{folder / name}:{row}")
    found = [int(one["key"]) for one in answer["rows"] if one["dataset"].endswith(f"/{source}")]
    return found, answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "prepare.py").write_text(PROGRAM)
    write(folder, ORDERS, ["id", "customer", "amount"])
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE c(customer VARCHAR, city VARCHAR)")
        connection.executemany("INSERT INTO c VALUES (?, ?)", CUSTOMERS)
        connection.execute(f"COPY c TO '{folder / 'customers.parquet'}' (FORMAT parquet)")
    command(folder, "run", "--rows", "--", sys.executable, "prepare.py")
    return folder


def test_equal_rows_nulls_and_nan_are_linked_to_their_own_places(folder: Path) -> None:
    written = pd.read_parquet(folder / "kept.parquet")
    linked = []
    for row in range(len(written)):
        found, answer = behind(folder, "kept.parquet", row, "orders.parquet")
        if not found:
            assert not answer["complete"], "no link, and nothing says so"
            continue
        assert len(found) == 1
        mine = written.iloc[row].astype(object).where(written.iloc[row].notna(), None)
        theirs = [None if value != value else value for value in ORDERS[found[0]]]
        assert list(mine) == theirs, row
        linked += found
    assert len(set(linked)) == len(linked), "no place of the input is claimed twice"


def test_null_keys_join_nothing_and_repeated_ones_each_their_own_row(folder: Path) -> None:
    written = rows_of(folder / "joined.parquet")
    for number, (identifier, customer, city) in enumerate(written):
        orders, answer = behind(folder, "joined.parquet", number, "orders.parquet")
        customers = [
            int(one["key"])
            for one in answer["rows"]
            if one["dataset"].endswith("/customers.parquet")
        ]
        assert len(orders) == 1
        assert ORDERS[orders[0]][:2] == (identifier, customer)
        assert [CUSTOMERS[one] for one in customers] == ([(customer, city)] if city else [])


def test_distinct_rows_lead_to_every_row_that_they_are(folder: Path) -> None:
    for number, row in enumerate(rows_of(folder / "distinct.parquet")):
        found, _ = behind(folder, "distinct.parquet", number, "orders.parquet")
        expected = [i for i, (_, *values) in enumerate(ORDERS) if same(tuple(values), row)]
        assert found == expected, row


def test_a_declared_key_that_several_rows_have_is_refused_and_a_unique_one_found(
    folder: Path,
) -> None:
    at = f"row:file:{folder / 'orders.parquet'}"
    ahead = ask(folder, "rows", f"{at}:d", forward=True)
    assert ahead["id"].partition("#")[0] in {f"{at}:d", f"{at}:4"}
    joined = [one for one in ahead["rows"] if one["dataset"].endswith("/joined.parquet")]
    assert len(joined) == 2, "both cities of customer y"
    with pytest.raises(UsageError, match="2 rows have this key"):
        ask(folder, "rows", f"{at}:a", forward=True)
    with pytest.raises(UnknownNodeError):
        ask(folder, "rows", f"{at}:nobody", forward=True)


def test_a_reordered_appended_or_widened_file_is_another_version_and_never_gives_its_values(
    folder: Path,
) -> None:
    before = version_of(folder, "kept.parquet")
    source = version_of(folder, "orders.parquet")
    first = ask(folder, "rows", f"row:file:{folder / 'kept.parquet'}:0#{before}")
    assert [one["values"]["customer"] for one in first["rows"]] == ["x"]
    changed = [(*row, "new") for row in reversed(ORDERS)] + [("f", "x", 3.0, "appended")]
    write(folder, changed, ["id", "customer", "amount", "note"])
    after = ask(folder, "rows", f"row:file:{folder / 'kept.parquet'}:0#{before}")
    assert [one["key"] for one in after["rows"]] == [one["key"] for one in first["rows"]]
    assert [one["values"] for one in after["rows"]] == [None]
    assert [gap["reason"] for gap in after["gaps"]] == ["retention"]
    command(folder, "run", "--rows", "--", sys.executable, "prepare.py")
    again = ask(folder, "rows", f"row:file:{folder / 'kept.parquet'}:0#{before}")
    assert {one["version"] for one in again["rows"]} == {source}, "never a row of the new bytes"
    newest = version_of(folder, "kept.parquet")
    assert newest != before
    written = pd.read_parquet(folder / "kept.parquet")
    for row in range(len(written)):
        answer = ask(folder, "rows", f"row:file:{folder / 'kept.parquet'}:{row}#{newest}")
        for one in answer["rows"]:
            assert one["version"] != source
            assert changed[int(one["key"])][0] == written.iloc[row]["id"]
    # A key is looked up in the bytes of the version alone, and those are gone.
    at = f"row:file:{folder / 'orders.parquet'}"
    with pytest.raises(UsageError, match="looked up in the file"):
        ask(folder, "rows", f"{at}:d#{source}", forward=True)
