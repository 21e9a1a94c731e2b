"""The sums of docs/scale.md, done again from the result files."""

from __future__ import annotations

import json
from typing import Any

from frameworks import ROOT

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def result(name: str) -> Any:
    return json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text())


def line(start: str) -> str:
    [found] = [one for one in PAGE.splitlines() if one.startswith(f"| {start}")]
    return found


def test_the_sums_of_rows_are_those_of_the_result_files() -> None:
    array = result("blocks")["shapes"]["array"]
    size = array["bytes_a_link"]
    assert f"x {size} B a link" in line("Links kept")
    assert f"| {size:.1f} GB a day and step |" in line("Links kept")
    assert f"| {size * 10:.0f} GB a day |" in line("The same, ten")
    assert f"| {size * 10 * 365 / 1000:.1f} TB |" in line("A year")
    seconds = array["cpu_seconds_a_million_rows"]
    assert f"{seconds} s a million rows" in line("Committing")
    assert f"| {seconds * 1000 / 60:.0f} minutes a day and step |" in line("Committing")
    kept = result("rows")["overhead_geometric_mean"]["rows_kept"]
    assert f"{kept} of the plain" in line("Statements")
    assert f"| {(kept - 1) * 100:.0f} % more |" in line("Statements")


def test_the_sums_of_events_are_those_of_the_result_files() -> None:
    wanted = 2e6 / 86_400
    assert f"| {wanted:.0f} events a second |" in line("A million runs")
    repeated = result("ingest")["repeated"]
    folded = repeated["folded_events_per_s"]
    assert f"{folded:,.0f} events a second" in line("What one store folds")
    assert f"| {folded / wanted:.0f} times that |" in line("What one store folds")
    size = repeated["bytes_an_event"]["file"]
    assert f"{size:,.0f} B an event" in line("Store, SQLite")
    assert f"| {2e6 * size / 1e9:.1f} GB a day |" in line("Store, SQLite")


def test_the_sums_of_the_graph_are_those_of_the_result_files() -> None:
    closure = result("closure")
    edges, size = closure["workload"]["edges"], closure["array_bytes"]
    assert f"{edges / 1e6:.0f} M edges" in line(f"{edges / 1e6:.0f} M edges")
    assert f"{size / 1e6:.0f} MB" in line("5 M edges")
    assert f"| {size / edges:.1f} B an edge and direction |" in line("5 M edges")
    assert f"| {size / edges:.1f} GB a direction" in line("10⁹ edges")
