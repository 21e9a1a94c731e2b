"""The demo from end to end: real data, captured as it is, then asked about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from going import Verify, pack_proofs

from demo_store import ROOT, lodeline

duckdb = pytest.importorskip("duckdb")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def ask(outcome: dict[str, Any], *words: str) -> dict[str, Any]:
    done = lodeline(*words, "--json", "--store", outcome["store"], cwd=Path(outcome["dir"]))
    assert done.returncode == 0, done.stderr + done.stdout
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_record_verifies_and_training_again_gives_the_same_model(
    demo: tuple[dict[str, Any], str],
) -> None:
    outcome, said = demo
    assert (outcome["traced"], outcome["verified"], outcome["reproduced"]) == (True, True, True)
    assert "identical  model:default:late30#sha256:" in said


def test_one_prediction_leads_to_the_raw_files_through_every_step(
    demo: tuple[dict[str, Any], str],
) -> None:
    outcome, _ = demo
    answer = ask(outcome, "trace", outcome["prediction"])
    names = {(node["kind"], Path(node["name"]).name) for node in answer["nodes"]}
    for expected in (
        ("model", "late30"),
        ("dataset", "features.parquet"),
        ("dataset", "clean.parquet"),
        ("dataset", "plane_7d.parquet"),
        ("dataset", "flights.parquet"),
        ("dataset", "weather.parquet"),
        ("dataset", "planes.parquet"),
        ("dataset", "flights.csv.zip"),
    ):
        assert expected in names
    assert {node["kind"] for node in answer["nodes"]} >= {"deployment", "run", "prediction"}


def test_the_source_rows_of_a_prediction_are_the_right_ones(
    demo: tuple[dict[str, Any], str],
) -> None:
    """Held against a query over the raw files that knows the pipeline."""
    outcome, _ = demo
    answer = ask(outcome, "trace", outcome["prediction"], "--rows")
    reached: dict[str, set[str]] = {}
    for row in answer["rows"]:
        reached.setdefault(Path(row["dataset"]).name, set()).add(str(row["key"]))
    for table in ("flights", "weather", "planes"):
        assert reached.get(f"{table}.parquet"), f"no rows of {table}"
    own = own_rows(outcome, answer)
    assert own["flights"] <= reached["flights.parquet"]
    assert own["weather"] <= reached["weather.parquet"]
    assert own["planes"] <= reached["planes.parquet"]


def own_rows(outcome: dict[str, Any], answer: dict[str, Any]) -> dict[str, set[str]]:
    """The flight that was asked about, its weather and its plane, as row numbers of the files."""
    data = Path(outcome["dir"]) / "data"
    likeliest = f"""
        SELECT flight_id FROM '{data}/predictions.csv' ORDER BY probability DESC, flight_id LIMIT 1
    """
    query = f"""
        WITH f AS (SELECT *, file_row_number AS n FROM
                read_parquet('{data}/raw/flights.parquet', file_row_number = true)),
             w AS (SELECT *, file_row_number AS n FROM
                read_parquet('{data}/raw/weather.parquet', file_row_number = true)),
             p AS (SELECT *, file_row_number AS n FROM
                read_parquet('{data}/raw/planes.parquet', file_row_number = true))
        SELECT f.n, w.n, p.n FROM f
        LEFT JOIN w ON w.origin = f.origin AND w.time_hour = f.time_hour
        LEFT JOIN p ON p.tailnum = f.tailnum
        WHERE strftime(make_date(f.year, f.month, f.day), '%Y-%m-%d') || '-' || f.carrier
            || f.flight || '-' || f.origin = ({likeliest})
    """
    [(flight, weather, plane)] = duckdb.sql(query).fetchall()
    found = {"flights": flight, "weather": weather, "planes": plane}
    return {name: set() if key is None else {str(key)} for name, key in found.items()}


def test_no_script_of_the_demo_was_changed(demo: tuple[dict[str, Any], str]) -> None:
    outcome, _ = demo
    for script in (ROOT / "examples" / "flights").glob("*.py"):
        assert (Path(outcome["dir"]) / script.name).read_bytes() == script.read_bytes()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = lodeline("demo", "--dir", str(tmp_path), "--no-serve", cwd=tmp_path)
    assert done.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_evidence_of_the_prediction_verifies_where_there_is_no_store(
    demo: tuple[dict[str, Any], str], go_verify: Verify, tmp_path: Path
) -> None:
    outcome, _ = demo
    pack = tmp_path / "prediction.zip"
    written = ask(outcome, "evidence", outcome["prediction"], "--output", str(pack))
    answer = ask(outcome, "trace", outcome["prediction"])
    assert (written["nodes"], written["edges"]) == (len(answer["nodes"]), len(answer["edges"]))
    # (a) The command, without a store.
    done = lodeline("verify", str(pack), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["checked"]["entries"] == written["entries"]
    # (b) The folders that travel in the pack, without an installation.
    with ZipFile(pack) as archive:
        archive.extractall(tmp_path / "given")
    verifier = tmp_path / "given" / "verifier" / "verify.py"
    done = subprocess.run(
        [sys.executable, str(verifier), str(pack)],
        cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("verified: ")
    # (c) Go, as far as it reaches: signature and inclusion.
    file, vkey, count = pack_proofs(pack, tmp_path / "proofs")
    assert go_verify("proofs", file, vkey).stdout == f"{count} proofs\n"
