"""The guide names the versions that the tests run."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_versions_in_the_guide_are_those_that_are_tested() -> None:
    pinned = set()
    for name in ("airflow", "dbt"):
        lines = (ROOT / "tests" / "producers" / f"{name}.txt").read_text().splitlines()
        pinned |= {line for line in lines if not line.startswith("#")}
    told = set(re.findall(r"[a-z-]+==[0-9.]+", (ROOT / "docs/guides/producers.md").read_text()))
    assert told
    assert told <= pinned
