"""What people come for, done in real Chromium over the demo's store: by mouse, phone, keyboard."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browsing import DESK, PHONE, sideways, violations, watched
from demo_store import lodeline
from lodeline.server.pages.addresses import page_url
from services import Service, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("duckdb")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SIZES = ("desk", "phone")
MODEL = "model:default:late30"


@dataclass
class Demo:
    """The demo's store, served.

    Attributes:
        service: over a copy of it.
        prediction: that it traced.
        run: that trained the model.
        data: folder of its data.
    """

    service: Service
    prediction: str
    run: str
    data: str

    def facts(self, page: str, node: str, **state: object) -> Any:
        path = page_url(page, node)
        address = page_url(page, node, **state).replace(path, f"{path}.json", 1)
        return self.service.send("GET", address).json

    def url(self, page: str, node: str | None = None, /, **state: object) -> str:
        return self.service.url + page_url(page, node, **state)


@pytest.fixture(scope="module")
def served(
    demo: tuple[dict[str, Any], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Demo]:
    outcome, _ = demo
    folder = tmp_path_factory.mktemp("served") / "store"
    shutil.copytree(Path(outcome["dir"]) / ".lodeline", folder)
    with serving(folder / "lodeline.db") as one:
        data = f"{outcome['dir']}/data"
        yield Demo(one, outcome["prediction"], outcome["training_run"], data)
        assert one.stop() == 0


# From the start of the service: the bar of the demo. A wait that ends there, not a measurement.
SECONDS_TO_LINEAGE = 30


def test_the_demos_lineage_is_on_screen_soon_after_the_service_starts(
    browser: Browser, demo: tuple[dict[str, Any], str], tmp_path: Path
) -> None:
    """The first command made the demo, the second serves it."""
    shutil.copytree(Path(demo[0]["dir"]) / ".lodeline", tmp_path / "store")
    ends = time.monotonic() + SECONDS_TO_LINEAGE
    with serving(tmp_path / "store" / "lodeline.db") as one, watched(browser) as seen:
        seen.page.goto(one.url)
        seen.page.keyboard.type("late30")
        seen.page.get_by_role("option", name="late30").first.wait_for()
        seen.page.keyboard.press("ArrowDown")
        seen.page.keyboard.press("Shift+Enter")
        left_ms = max(1.0, (ends - time.monotonic()) * 1000)
        seen.page.wait_for_selector("#graph[data-ready]", timeout=left_ms)
        assert int(seen.page.locator("#graph").get_attribute("data-drawn") or 0) > 3
        assert one.stop() == 0


def text_of(page: Page) -> str:
    return page.locator("main").inner_text()


@pytest.mark.parametrize("size", SIZES)
def test_a_model_is_found(browser: Browser, served: Demo, size: str) -> None:
    with watched(browser, size) as one:
        page = one.open(served.service.url)
        page.locator("#find").fill("late30")
        page.keyboard.press("Enter")
        page.wait_for_url("**/?q=late30*")
        page.locator(f"a.node[href='{page_url('node', MODEL)}']").first.click()
        page.wait_for_url(f"**{page_url('node', MODEL)}")
        assert page.locator("h1").inner_text() == "late30 #1"
        assert "roc_auc_score" in text_of(page)
        assert sideways(page) <= 0
        assert one.errors == []


@pytest.mark.parametrize("size", SIZES)
def test_a_prediction_leads_to_its_rows(browser: Browser, served: Demo, size: str) -> None:
    with watched(browser, size) as one:
        page = one.open(served.url("node", served.prediction))
        steps = page.locator(".thread .step").all_inner_texts()
        assert steps == [
            "Answer", "Deployment", "Model version", "Training run", "Data versions", "Rows",
        ]  # fmt: skip
        page.locator(".thread summary", has_text="Training run").click()
        assert "identical" in page.locator(".thread").inner_text()
        assert re.search(r"698 source rows of 4 tables", text_of(page))
        page.locator("nav.tables a", has_text="flights.csv").click()
        page.wait_for_url("**dataset=**")
        page.locator("table.rows th a", has_text="dep_delay").last.click()
        page.wait_for_url("**sort=dep_delay**")
        page.locator("table.rows th a", has_text="dep_delay ↑").click()
        page.wait_for_url("**sort=-dep_delay**")
        sorted_by = page.locator("table.rows thead th[aria-sort=descending]")
        column = int(sorted_by.evaluate("one => one.cellIndex"))
        delays = page.locator(f"table.rows tbody tr > :nth-child({column + 1})").all_inner_texts()
        numbers = [float(one) for one in delays if one not in {"—", "NA"}]
        assert numbers == sorted(numbers, reverse=True)
        assert len(numbers) > 10
        page.locator("input[name=contains]").fill("N915WN")
        page.keyboard.press("Enter")
        page.wait_for_url("**contains=N915WN**")
        assert "contain “N915WN”" in text_of(page)
        page.locator("table.rows tbody th a").first.click()
        assert page.locator("h1").inner_text().startswith("Row ")
        assert "tailnum" in text_of(page)
        assert sideways(page) <= 0
        assert violations(page) == []
        # The tables that are reached do not push the rows off a phone's first view.
        page = one.open(served.url("rows", served.prediction))
        assert page.locator(".fold > summary").is_visible() == (size == "phone")
        rows = page.locator("table.rows").bounding_box()
        assert rows is not None
        assert rows["y"] < PHONE["height"]


@pytest.mark.parametrize("size", SIZES)
def test_the_graph_of_an_earlier_moment_is_seen(browser: Browser, served: Demo, size: str) -> None:
    with watched(browser, size) as one:
        dataset = f"dataset:file:{served.data}/clean.parquet"
        now = served.facts("lineage", dataset)
        then = served.facts("lineage", dataset, as_of=8)
        assert len(then["nodes"]) < len(now["nodes"])
        page = one.open(served.url("lineage", dataset, as_of=8))
        assert page.locator("h1").inner_text() != ""
        page = one.open(served.url("diff", a=dataset, since=8))
        assert "came" in text_of(page)
        assert sideways(page) <= 0


@pytest.mark.parametrize("size", SIZES)
def test_the_way_from_one_node_to_another_is_shown(
    browser: Browser, served: Demo, size: str
) -> None:
    with watched(browser, size) as one:
        page = one.open(served.url("path"))
        page.get_by_label("From").fill(f"dataset:file:{served.data}/raw/weather.parquet")
        page.get_by_label("To", exact=True).fill(MODEL)
        page.get_by_role("button", name="Find paths").click()
        page.wait_for_url("**/path?a=**")
        first = page.locator(".path").first.locator(".thread > li > .node").all_inner_texts()
        assert [one.split()[-1] for one in first] == [
            "weather.parquet", "clean.parquet", "features.parquet", "late30",
        ]  # fmt: skip
        assert sideways(page) <= 0


@pytest.mark.parametrize("size", SIZES)
def test_two_runs_are_compared(browser: Browser, served: Demo, size: str) -> None:
    replay = served.facts("node", served.run)["replays"][0]["run"]
    with watched(browser, size) as one:
        page = one.open(served.url("diff"))
        page.get_by_label("Before").fill(served.run)
        page.get_by_label("After").fill(f"run:{replay}")
        page.get_by_role("button", name="Compare", exact=True).click()
        page.wait_for_url("**/diff?a=**")
        answer = served.service.send(
            "GET", page_url("api/v2/diff", a=served.run, b=f"run:{replay}")
        )
        count = len(answer.json["changes"])
        assert page.locator("h1").inner_text().startswith(f"{count} differences")
        assert page.locator("section#output").is_visible()
        assert sideways(page) <= 0
        assert violations(page) == []


@pytest.mark.parametrize("size", SIZES)
def test_evidence_is_checked_downloaded_and_verified_elsewhere(
    browser: Browser, served: Demo, tmp_path: Path, size: str
) -> None:
    with watched(browser, size, accept_downloads=True) as one:
        page = one.open(served.url("node", served.prediction))
        page.get_by_role("link", name="Check the proof").click()
        page.wait_for_selector("html[data-proof=done]")
        assert page.locator("[data-verdict-word]").inner_text() == "verified"
        with page.expect_download() as loading:
            page.get_by_role("link", name="Download the pack").click()
        pack = tmp_path / "pack.zip"
        loading.value.save_as(pack)
    done = lodeline("verify", str(pack), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("verified")


def tab_to(page: Page, name: str, most: int = 120) -> None:
    """Press Tab until what is focused has a name that begins so."""
    for _ in range(most):
        page.keyboard.press("Tab")
        told = page.evaluate(
            "() => (document.activeElement.labels?.[0]?.textContent"
            " || document.activeElement.textContent || '').trim()"
        )
        if told.startswith(name):
            return
    raise AssertionError(f"{name!r} is not reached in {most} stops")


def test_all_of_it_is_done_by_keyboard_alone(browser: Browser, served: Demo) -> None:
    with watched(browser) as one:
        page = one.open(served.service.url)
        # Find a model.
        page.keyboard.type("late30")  # The field has the focus.
        page.keyboard.press("Enter")
        page.wait_for_url("**/?q=late30*")
        tab_to(page, "model late30")
        page.keyboard.press("Enter")
        page.wait_for_url("**/node/model**")
        # From one of its predictions to the rows.
        tab_to(page, "prediction ")
        page.keyboard.press("Enter")
        page.wait_for_url("**/node/prediction**")
        tab_to(page, "weather.csv")
        page.keyboard.press("Enter")
        page.wait_for_url("**dataset=**")
        assert "wind_speed" in text_of(page)
        # Its proof.
        tab_to(page, "Proof")
        page.keyboard.press("Enter")
        page.wait_for_selector("html[data-proof=done]")
        assert page.locator("[data-verdict-word]").inner_text() == "verified"
        # A path, and a comparison.
        page = one.open(served.url("path"))
        tab_to(page, "From")
        page.keyboard.type(f"dataset:file:{served.data}/raw/planes.parquet")
        page.keyboard.press("Tab")
        page.keyboard.type(MODEL)
        page.keyboard.press("Enter")
        page.wait_for_url("**/path?a=**")
        assert "planes.parquet" in page.locator(".path").first.inner_text()
        page = one.open(served.url("node", "job:default:train.py"))
        tab_to(page, "run 01")
        page.keyboard.press("Enter")
        page.wait_for_url("**/node/run**")
        assert "Replay it" in text_of(page)


def test_a_fact_shown_on_two_pages_is_the_same(served: Demo) -> None:
    prediction = served.facts("node", served.prediction)
    rows = served.facts("rows", served.prediction)
    model = served.facts("node", prediction["model"])
    run = served.facts("node", served.run)
    job = served.facts("node", run["job"])
    deployment = served.facts("node", prediction["deployment"])
    proof = served.facts("proof", served.prediction)
    lineage = served.facts("lineage", served.prediction, direction="up", depth="all")
    [log] = served.service.send("GET", "/log.json").json["logs"]
    health = served.service.send("GET", "/health.json").json["stores"][0]
    # What the prediction page counts is what the rows page counts.
    assert prediction["rows"]["counts"] == rows["counts"]
    # The model: number, training run, metrics.
    assert prediction["model_number"] == model["number"] == 1
    assert prediction["training"]["id"] == served.run == f"run:{model['training']}"
    assert prediction["training"]["metrics"] == model["metrics"] == run["metrics"]
    assert job["runs"][0]["metrics"] == run["metrics"]
    # The run: state and times, on its own page, its job's, its model's, the prediction's.
    for listed in (job["runs"][0], model["runs"][0]):
        assert (listed["state"], listed["started"]) == (run["run_state"], run["started"])
    assert prediction["training"]["started"] == run["started"]
    assert prediction["training"]["replays"] == run["replays"] == model["replays"]
    # The prediction in the lists of its deployment and its model.
    for page in (deployment, model):
        listed = [
            one for one in page["predictions"]["predictions"] if one["id"] == prediction["id"]
        ]
        assert [one["time"] for one in listed] == [prediction["time"]]
        assert listed[0]["output"] == prediction["record"]["output"]
    # Completeness and size of the trace, and the log that all of it rests on.
    assert proof["complete"] == lineage["complete"] == prediction["complete"]
    trace = served.service.send("GET", page_url("api/v2/trace", id=served.prediction)).json
    assert proof["counts"] == {"nodes": len(trace["nodes"]), "edges": len(trace["edges"])}
    assert proof["log"]["size"] == log["size"] == health["log"]["size"]
    assert proof["log"]["root_hash"] == log["root_hash"] == health["log"]["root_hash"]


def test_every_page_of_the_demo_opens_without_fault(browser: Browser, served: Demo) -> None:
    found = served.service.send("GET", "/api/v2/search?q=late&limit=200").json["results"]
    kinds = {one["kind"]: one["id"] for one in reversed(found)}
    pages = [served.url("node", one) for one in kinds.values()]
    pages += [served.url("rows", served.prediction), served.url("rows", MODEL)]
    row = served.facts("node", served.prediction)["inputs"][0]["row"]
    pages += [served.url("node", row), served.url("rows", row, direction="forward")]
    pages += [served.url(name) for name in ("log", "dead-letters", "producers", "health")]
    assert len(pages) > 9
    with watched(browser) as one:
        for url in pages:
            for size in (DESK, PHONE):
                one.page.set_viewport_size(size)
                page = one.open(url) if size is DESK else one.page
                assert sideways(page) <= 0, url
            assert one.errors == [], url
            assert "fault of the service" not in text_of(page)


def test_rows_are_taken_along_as_csv(served: Demo) -> None:
    dataset = f"dataset:file:{served.data}/raw/airports.parquet"
    path = page_url("rows", served.prediction)
    address = page_url("rows", served.prediction, dataset=dataset, sort="-alt")
    reply = served.service.send("GET", address.replace(path, f"{path}.csv", 1))
    assert reply.headers["content-type"].startswith("text/csv")
    lines = reply.body.decode().splitlines()
    assert lines[0].startswith("row,faa,name,")
    table = served.facts("rows", served.prediction, dataset=dataset, sort="-alt")["table"]
    assert len(lines) - 1 == table["total"] == table["matching"]
    assert [line.split(",")[0] for line in lines[1:]] == [row["key"] for row in table["rows"]]
