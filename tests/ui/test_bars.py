"""The bars that every page is held to, in real Chromium: sizes, access, room, addresses."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from browsing import (
    Watched,
    sideways,
    small_targets,
    tab_stops,
    violations_in_both_colours,
    watched,
)
from drawn_graphs import layered_events, made_by, make_store
from lodeline.server.pages.presenting import KIND_WORDS
from services import Service, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FIRST_LOAD_BYTES_MAX = 120_000
GRAPH_LOAD_BYTES_MAX = 200_000
ELEMENTS_MAX = 3_000
EDGE = "/edge?source=dataset:made:raw&target=dataset:made:clean"
LINEAGE = "/lineage/dataset:made:clean"
PAGES = {
    "home": "/",
    "search": "/?q=clean",
    "lineage": LINEAGE,
    "table": f"{LINEAGE}?view=table",
    "columns": f"{LINEAGE}?columns=1",
    "opened": f"{LINEAGE}?open=%5B%22dataset:made:clean%22%5D",
    "acts": f"{LINEAGE}?acts=1",
    "chosen": f"{LINEAGE}?edge_source=dataset:made:raw&edge_target=dataset:made:clean",
    "edge": EDGE,
    "unknown": "/lineage/dataset:made:claen",
    "nowhere": "/nowhere",
    "sign-in": "/sign-in",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    fields = {"inputFields": [{"namespace": "made", "name": "raw", "field": "x"}]}
    lineage = {
        "_producer": "https://example.org/p",
        "_schemaURL": "https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json",
        "fields": {"y": fields},
    }
    events = [
        made_by("clean", ["raw"], ["clean"], columnLineage=lineage),
        made_by("report", ["clean"], ["report"]),
        made_by("broken", ["clean"], ["spoilt"], kind="FAIL"),
    ]
    store = make_store(tmp_path_factory.mktemp("bars") / "s.db", events)
    with serving(store) as one:
        yield one
        assert one.stop() == 0


def unfold(page: Page) -> None:
    """Open every menu and drawer."""
    for closed in page.locator("details:not([open]) > summary").all():
        if closed.is_visible():
            closed.click()


def text_of(page: Page) -> str:
    """What a page says, whatever its size; ages left out: they grow."""
    return str(
        page.evaluate(
            """() => {
              const body = document.body.cloneNode(true);
              body.querySelectorAll('.age, script').forEach(one => one.remove());
              return body.textContent.replace(/\\s+/g, ' ');
            }"""
        )
    )


def keeps_to_its_host(one: Watched, service: Service, name: str) -> None:
    most = GRAPH_LOAD_BYTES_MAX if "lineage" in PAGES[name] else FIRST_LOAD_BYTES_MAX
    assert 1_000 < one.bytes_sent() <= most
    host = urlsplit(service.url).netloc
    outside = [url for url in one.asked if urlsplit(url).netloc != host]
    assert [url for url in outside if not url.startswith("data:")] == []
    for answer, size in one.sizes():
        if size > 1_000:
            assert answer.headers.get("content-encoding") == "gzip", answer.url
    expected = {"unknown", "nowhere"} & {name}
    assert [told for told in one.errors if not (expected and "404" in told)] == []


def keeps_its_room(page: Page) -> None:
    """Breaks no rule of access in either colours, menus open, and has the room that it needs."""
    unfold(page)
    assert violations_in_both_colours(page) == []
    assert sideways(page) <= 0
    assert small_targets(page) == []
    assert page.locator("*").count() <= ELEMENTS_MAX


def keeps_its_stops(page: Page) -> None:
    stops = tab_stops(page)
    assert stops[0]["name"] == "Skip to content"
    assert [stop["html"] for stop in stops if not stop["name"]] == []
    assert [stop["html"] for stop in stops if not stop["ringed"]] == []
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_keeps_the_bars_and_says_the_same_in_a_fresh_browser_on_a_phone(
    browser: Browser, service: Service, name: str
) -> None:
    with watched(browser) as one:
        page = one.open(service.url + PAGES[name])
        keeps_to_its_host(one, service, name)
        text = text_of(page)
        assert len(text) > 60
        keeps_its_stops(page)
        keeps_its_room(page)
    with watched(browser, "phone") as one:
        page = one.open(service.url + PAGES[name])
        assert text_of(page) == text
        keeps_its_room(page)
        assert page.evaluate("document.querySelector('main').clientWidth") >= 350


def test_every_page_has_its_facts_beside_it(service: Service) -> None:
    for name, path in PAGES.items():
        if name in {"nowhere", "sign-in"}:
            continue  # No page, and one that only leads on: the service has no keys.
        text = service.send("GET", path, Accept="text/html").body.decode()
        [beside] = re.findall(r'<link rel="alternate" type="application/json" href="([^"]+)"', text)
        told = service.send("GET", html.unescape(beside)).json
        assert "title" in told or "code" in told, name


def test_a_name_leads_to_its_lineage_in_four_keys(browser: Browser, service: Service) -> None:
    with watched(browser) as one:
        page = one.open(service.url + EDGE)
        page.keyboard.press("/")
        # Nobody waits for the list: keys count for the words that were typed before them.
        page.keyboard.type("report")
        for key in ("ArrowDown", "Shift+Enter"):
            page.keyboard.press(key)
        page.wait_for_url("**/lineage/dataset:made:report")
        one.settle()
        assert "report" in page.locator("h1").inner_text()


def test_a_first_visit_has_six_nouns_and_nothing_in_the_way(
    browser: Browser, service: Service, tmp_path: Path
) -> None:
    words = {*KIND_WORDS.values(), "incident", "proof"}
    with serving(tmp_path / "empty" / "s.db") as empty, watched(browser) as one:
        for place in (empty.url, service.url):
            page = one.open(place)
            assert page.locator("dialog, [role=dialog], [role=alertdialog], .banner").count() == 0
            assert page.evaluate("document.activeElement.id") == "find"
            # What nodes are called is theirs, not the page's.
            page.evaluate("document.querySelectorAll('a.node').forEach(one => one.remove())")
            text = page.locator("body").inner_text().lower()
            told = {word for word in words if re.search(rf"\b{word}s?\b", text)}
            assert told <= {"dataset", "run", "model", "prediction", "incident", "proof"}
        page = one.open(empty.url)
        commands = page.locator("main .command code").all_inner_texts()
        assert commands == ["lodeline run -- python your_script.py", "lodeline demo"]


def test_nothing_but_the_style_sheet_stands_before_the_first_paint(
    browser: Browser, service: Service
) -> None:
    with watched(browser) as one:
        page = one.open(service.url + LINEAGE)
        blocking = page.evaluate(
            "performance.getEntriesByType('resource')"
            ".filter(one => one.renderBlockingStatus === 'blocking').map(one => one.name)"
        )
        assert [urlsplit(url).path for url in blocking] == ["/static/lodeline.css"]
        # A small graph starts no worker, and what its nodes are like is no part of the page.
        assert not any("/static/layout.js" in url for url in one.asked)
        assert any("/cards.json?" in url for url in one.asked)
        sent = json.loads(str(page.locator("script[data-graph]").text_content()))
        assert sent["cards"] == {}


# The size of each label as it is seen: its font, under the canvas's own scale.
LABELS = """
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  const size = parseFloat(/([\\d.]+)px/.exec(this.font)[1]) * this.getTransform().d;
  window.smallest = Math.min(window.smallest ?? Infinity, size / window.devicePixelRatio);
  write.call(this, text, ...place);
};
"""


# A step of a large graph lets what waits have its turn before the next begins.
PAUSES = """
const pause = scheduler.yield;
scheduler.yield = function () {
  window.pauses = (window.pauses ?? 0) + 1;
  return pause.call(this);
};
"""


def test_pages_are_readable_without_scripts(browser: Browser, service: Service) -> None:
    with watched(browser, java_script_enabled=False) as one:
        page = one.page
        page.goto(service.url + LINEAGE)
        assert page.get_by_role("table").is_visible()
        assert not page.locator("#graph").is_visible()
        page.get_by_label("Direction").select_option("up")
        page.get_by_role("button", name="Show").click()
        assert "direction=up" in page.url
        assert "1 up" in page.locator("h1").inner_text()


def test_a_graph_of_5000_nodes_stays_below_3000_elements(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = make_store(tmp_path_factory.mktemp("large") / "s.db", layered_events(5_000))
    with serving(store) as service, watched(browser) as one:
        one.page.add_init_script(LABELS + PAUSES)
        page = one.open(f"{service.url}/lineage/dataset:made:d0?depth=all")
        # The layout is found in a thread of its own.
        assert any("/static/layout.js" in url for url in one.asked)
        assert page.locator("script[src*='layout']").count() == 0
        # Leaves with the same neighbours are drawn as one stub.
        ready = int(page.locator("#graph").get_attribute("data-ready") or 0)
        assert 4_900 < ready <= 5_000
        assert page.evaluate("window.pauses") >= 6
        assert page.locator("*").count() <= ELEMENTS_MAX
        drawn = int(page.locator("#graph").get_attribute("data-drawn") or 0)
        assert 0 < drawn < 500
        assert one.bytes_sent() <= GRAPH_LOAD_BYTES_MAX
        page.get_by_role("button", name="Whole").click()
        page.wait_for_selector(f"#graph[data-drawn='{ready}']")
        for _ in range(12):
            page.get_by_role("button", name="Zoom in").click()
        assert 10.9 < page.evaluate("window.smallest") < 14
        page.goto(f"{service.url}/lineage/dataset:made:d0?depth=all&view=table")
        assert page.locator("*").count() <= ELEMENTS_MAX
