"""Pages of nodes, rows, comparisons, proofs and the service, held to the bars in real Chromium."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from browsing import (
    DESK,
    PHONE,
    sideways,
    small_targets,
    tab_stops,
    violations_in_both_colours,
    watched,
)
from lodeline.server.pages.addresses import page_url
from page_histories import FAILED, MARKUP, RUNS, history
from services import Service, event, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BYTES_MAX = 120_000
PAGES = {
    "dataset": page_url("node", "dataset:n:table"),
    "column": page_url("node", "datasetField:n:table:k"),
    "job": page_url("node", "job:n:train"),
    "run": page_url("node", f"run:{RUNS[2]}"),
    "failed": page_url("node", f"run:{FAILED}"),
    "planned": page_url("node", "job:n:planned"),
    "markup": page_url("node", f"dataset:n:{MARKUP}"),
    "long": page_url("node", f"dataset:n:{'x' * 4096}"),
    "unknown": page_url("node", "dataset:n:tabel"),
    "diff": page_url("diff", a="dataset:n:table#v1", b="dataset:n:table#v2"),
    "moments": page_url("diff", since=1),
    "form": "/diff",
    "path": page_url("path", a="dataset:n:raw", b="dataset:n:later"),
    "proof": page_url("proof", "dataset:n:table"),
    "log": "/log",
    "entry": "/log-entry?position=1",
    "letters": "/dead-letters",
    "letter": "/dead-letters/1",
    "producers": "/producers",
    "health": "/health",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("looks") / "s.db") as one:
        for stated in history():
            assert one.post(stated, "/api/v1/lineage?wait=folded").status == 201
        assert one.post({**event(inputs="a"), "run": {"runId": MARKUP}}).status == 400
        yield one
        assert one.stop() == 0


WITH_STOPS = ("dataset", "run", "diff", "proof", "letter")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_small_readable_and_within_its_window(
    browser: Browser, service: Service, name: str
) -> None:
    with watched(browser) as one:
        page = one.open(service.url + PAGES[name])
        assert 1_000 < one.bytes_sent() <= BYTES_MAX
        host = urlsplit(service.url).netloc
        assert {urlsplit(url).netloc for url in one.asked} == {host}
        if name in WITH_STOPS:
            stops = tab_stops(page, 40)
            assert len(stops) > 5
            assert [stop["html"] for stop in stops if not (stop["name"] and stop["ringed"])] == []
        page.evaluate("document.querySelectorAll('main details').forEach(one => one.open = true)")
        # Nothing on these pages asks for the size of the window but their style.
        for size in (DESK, PHONE):
            page.set_viewport_size(size)
            assert violations_in_both_colours(page) == [], size
            assert sideways(page) <= 0, size
            assert small_targets(page) == [], size
            assert page.evaluate("document.querySelector('main').clientWidth") >= 350
        assert [one for one in one.errors if "404" not in one] == []


@pytest.mark.parametrize("size", ["desk", "phone"])
def test_why_a_run_failed_stands_above_the_fold(
    browser: Browser, service: Service, size: str
) -> None:
    with watched(browser, size) as one:
        page = one.open(service.url + PAGES["failed"])
        cause = page.locator(".problem strong").bounding_box()
        window = page.viewport_size
        assert cause is not None
        assert window is not None
        assert cause["y"] + cause["height"] <= window["height"]


def test_a_page_says_the_same_in_a_fresh_browser(browser: Browser, service: Service) -> None:
    texts = []
    for _ in range(2):
        with watched(browser, java_script_enabled=False) as one:
            page = one.open(service.url + PAGES["run"])
            texts.append(page.locator("main").inner_text())
    assert texts[0] == texts[1]
    assert "Across runs" in texts[0]


def test_a_refused_input_is_mended_by_keyboard_alone(browser: Browser, service: Service) -> None:
    stated = {**event(inputs="a", outputs="mended"), "run": {"runId": "wrong"}}
    assert service.post(stated).status == 400
    number = service.send("GET", "/api/v2/dead-letters").json["dead_letters"][-1]["id"]
    with watched(browser) as one:
        page = one.open(f"{service.url}/dead-letters/{number}")
        page.locator("#event").focus()
        text = page.locator("#event").input_value().replace('"wrong"', f'"{uuid.uuid4()}"')
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(text)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/dead-letters?done=*")
        assert "is settled" in page.locator("main").inner_text()
    assert service.send("GET", "/node/dataset:n:mended.json").json["state"] == "current"
