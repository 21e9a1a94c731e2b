"""The two walks of ARCHITECTURE.md happen as they are told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pandas")
ROOT = Path(__file__).parents[2]

CLEAN = """\
import pandas as pd

frame = pd.read_csv("raw.csv")
frame[frame["kilometres"] > 0].to_parquet("clean.parquet", index=False)
"""
TRAIN = """\
import joblib
import pandas as pd
from sklearn.linear_model import LogisticRegression

frame = pd.read_parquet("clean.parquet")
joblib.dump(LogisticRegression().fit(frame[["kilometres"]], frame["late"]), "late.joblib")
"""


class House:
    """A directory, its store, and the commands that are run there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = directory / ".lodeline" / "lodeline.db"
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("LODELINE_", "OPENLINEAGE_"))
        }
        self.environment = kept | {"PYTHONPATH": str(ROOT / "src")}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "lodeline", *words]

    def lodeline(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def ask(self, *words: str) -> dict[str, Any]:
        done = self.lodeline(*words, "--json")
        assert done.returncode == 0, done.stderr + done.stdout
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("house"))
    (house.directory / "raw.csv").write_text("kilometres,late\n12,0\n340,1\n-1,0\n80,0\n610,1\n")
    (house.directory / "clean.py").write_text(CLEAN)
    (house.directory / "train.py").write_text(TRAIN)
    for script in ("clean.py", "train.py"):
        done = house.lodeline("run", "--", sys.executable, script)
        assert done.returncode == 0, done.stderr
    return house


def events_of(house: House) -> list[dict[str, Any]]:
    exported = house.lodeline("export", "--format", "openlineage").stdout
    return [json.loads(line) for line in exported.splitlines() if line.strip()]


def test_from_a_line_of_python_to_the_tree_head(house: House) -> None:
    """1, 2: the program keeps a journal. 3: bytes are hashed. 4 to 6: logged, signed, folded."""
    import hashlib

    outputs = {
        output["name"]: output["facets"]
        for event in events_of(house)
        for output in event.get("outputs") or ()
    }
    written = house.directory / "clean.parquet"
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    assert outputs[str(written)]["lodeline_digest"]["value"] == digest

    verified = house.ask("verify")
    assert (verified["ok"], verified["failures"]) == (True, [])
    assert verified["checked"]["entries"] >= len(events_of(house))
    assert verified["checked"]["signatures"] > 0

    before = house.ask("doctor")
    rebuilt = house.ask("rebuild")
    assert rebuilt["graph_digest"] in json.dumps(before)


def test_a_changed_byte_of_the_log_is_found(house: House, tmp_path: Path) -> None:
    import shutil
    import sqlite3

    copy = tmp_path / "copy"
    shutil.copytree(house.store.parent, copy)
    with sqlite3.connect(copy / house.store.name) as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            )
        ]
        for name in tables:
            connection.execute(f'DROP TRIGGER "{name}"')
        [(table,)] = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%payload%' LIMIT 1"
        ).fetchall()
        connection.execute(
            f"UPDATE {table} SET payload = replace(payload, 'clean.py', 'cleam.py')"
            " WHERE instr(payload, 'clean.py') > 0"
        )
    done = house.lodeline("verify", "--json", "--store", f"sqlite:///{copy}/{house.store.name}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert json.loads(done.stdout)["ok"] is False


def test_from_a_question_to_its_answer(house: House) -> None:
    """The same answer from the command line and over HTTP, pinned to a tree head."""
    pytest.importorskip("uvicorn")
    told = house.ask("trace", "model:default:late")
    names = {Path(node["name"]).name for node in told["nodes"]}
    assert {"late", "clean.parquet", "raw.csv"} <= names
    assert told["complete"] is True
    assert {edge["basis"] for edge in told["edges"]} == {"observed"}
    [tree] = told["trees"]
    assert tree["size"] == told["as_of"]["tree_size"]

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = subprocess.Popen(
        house.command("serve", "--port", str(port)),
        cwd=house.directory,
        env=house.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        served = get_json(f"http://127.0.0.1:{port}/api/v2/trace?id=model:default:late")
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(30)
    for key in ("root", "nodes", "edges", "complete", "gaps", "trees"):
        assert served[key] == told[key], key


def get_json(url: str) -> dict[str, Any]:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except ConnectionError:
            time.sleep(0.1)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError):
                raise
            time.sleep(0.1)
    raise AssertionError("the service did not start")
