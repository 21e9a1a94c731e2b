"""The entry for OpenLineage's compatibility suite passes against a real service, and can fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service import serving

ENTRY = Path(__file__).parents[2] / "docs" / "openlineage-consumer"

pytestmark = pytest.mark.vectors


def validate(entry: Path, scenarios: Path, folder: Path) -> tuple[int, dict[str, Any]]:
    with serving(folder) as service:
        command = [sys.executable, ENTRY / "validator" / "validator.py", "--url", service.url]
        done = subprocess.run(
            [*command, "--scenarios", scenarios, "--consumer", entry],
            capture_output=True,
            text=True,
        )
    [report] = json.loads(done.stdout)
    return done.returncode, {one["name"]: one for one in report["scenarios"]}


def test_every_scenario_of_the_suite_has_an_entry_and_passes(
    vectors: Callable[[str], Path], tmp_path: Path
) -> None:
    scenarios = vectors("openlineage-compat")
    status, reports = validate(ENTRY, scenarios, tmp_path)
    assert status == 0, [one["tests"] for one in reports.values() if one["status"] != "SUCCESS"]
    assert set(reports) == {one.name for one in scenarios.iterdir() if one.is_dir()}
    tests = [test for one in reports.values() for test in one["tests"]]
    assert sum(test["entity_type"] == "derivation" for test in tests) == 5


def test_a_derivation_that_is_missing_or_not_expected_fails(
    vectors: Callable[[str], Path], tmp_path: Path
) -> None:
    entry = tmp_path / "entry"
    shutil.copytree(ENTRY / "scenarios" / "CLL", entry / "scenarios" / "CLL")
    expected = entry / "scenarios" / "CLL" / "validation" / "derivations.json"
    questions = json.loads(expected.read_text())
    questions[0]["derivations"][0][0] += "_other"
    expected.write_text(json.dumps(questions))
    status, reports = validate(entry, vectors("openlineage-compat"), tmp_path)
    assert status == 1
    [failed] = [test for test in reports["CLL"]["tests"] if test["status"] == "FAILURE"]
    assert [line.partition(":")[0] for line in failed["details"]] == ["missing", "not expected"]
