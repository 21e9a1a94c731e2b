"""The example's scripts run by themselves, and their features know nothing of their own day."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

duckdb = pytest.importorskip("duckdb")
SCRIPTS = Path(__file__).parents[2] / "examples" / "flights"


def run_script(name: str, directory: Path) -> str:
    """Run one script of the example in a working directory, without any capture."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LODELINE")}
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / name)],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("flights")
    for name in ("ingest.py", "clean.py", "features.py"):
        run_script(name, directory)
    return directory


def ask(directory: Path, question: str) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(question.replace("DATA", str(directory / "data"))).fetchall()


def test_no_script_of_the_example_knows_lodeline() -> None:
    for script in SCRIPTS.glob("*.py"):
        assert "lodeline" not in script.read_text().lower(), script.name


def test_every_arrived_flight_has_one_row_of_features(prepared: Path) -> None:
    [(flights, features, keys)] = ask(
        prepared,
        "SELECT (SELECT count(*) FROM 'DATA/raw/flights.parquet' WHERE arr_delay IS NOT NULL),"
        " count(*), count(DISTINCT flight_id) FROM 'DATA/features.parquet'",
    )
    assert flights == features == keys == 327_346


@pytest.mark.parametrize(
    ("group", "key"), [("carrier", "carrier"), ("route", "route"), ("plane", "tailnum")]
)
def test_a_window_holds_the_seven_days_before_and_nothing_of_its_own_day_or_later(
    prepared: Path, group: str, key: str
) -> None:
    different = ask(
        prepared,
        f"""
        WITH days AS (SELECT * FROM 'DATA/{group}_7d.parquet' USING SAMPLE 200 ROWS (reservoir, 7)),
        expected AS (
            SELECT days.{key}, days.day, count(*) AS flights, avg(clean.late30) AS late_rate
            FROM days JOIN 'DATA/clean.parquet' AS clean ON clean.{key} = days.{key}
                AND clean.day BETWEEN days.day - 7 AND days.day - 1
            GROUP BY ALL
        )
        SELECT * FROM days LEFT JOIN expected USING ({key}, day)
        WHERE flights IS DISTINCT FROM {group}_flights_7d
           OR abs(late_rate - {group}_late_rate_7d) > 1e-12
        """,
    )
    assert different == []


def test_a_change_of_one_day_changes_no_features_of_that_day_or_before(
    prepared: Path, tmp_path: Path
) -> None:
    """The features are computed again from data in which every flight of one day came late."""
    (tmp_path / "data").mkdir()
    ask(
        prepared,
        "COPY (SELECT * REPLACE ("
        " CASE WHEN day = DATE '2013-06-15' THEN 1 ELSE late30 END AS late30,"
        " CASE WHEN day = DATE '2013-06-15' THEN 999 ELSE arr_delay END AS arr_delay)"
        f" FROM 'DATA/clean.parquet' ORDER BY flight_id) TO '{tmp_path}/data/clean.parquet'",
    )
    run_script("features.py", tmp_path)
    changed = ask(
        prepared,
        "SELECT CAST(min(day) AS VARCHAR), CAST(max(day) AS VARCHAR) FROM ("
        " SELECT * EXCLUDE (late30) FROM 'DATA/features.parquet' EXCEPT"
        f" SELECT * EXCLUDE (late30) FROM '{tmp_path}/data/features.parquet')",
    )
    assert changed == [("2013-06-16", "2013-06-22")]


@pytest.mark.slow
def test_training_twice_writes_the_same_model(prepared: Path) -> None:
    digests = []
    for _ in range(2):
        run_script("train.py", prepared)
        digests.append((prepared / "models" / "late30.joblib").read_bytes())
    assert digests[0] == digests[1]
