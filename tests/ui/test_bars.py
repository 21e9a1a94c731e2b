"""The bars that every page is held to, in real Chromium: sizes, access, room, addresses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from browsing import sideways, small_targets, tab_stops, violations, watched
from drawn_graphs import layered_events, made_by, make_store
from services import Service, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SIZES = ("desk", "phone")
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


@pytest.mark.parametrize("name", PAGES)
def test_a_first_load_is_small_compressed_and_of_one_host(
    browser: Browser, service: Service, name: str
) -> None:
    with watched(browser) as one:
        one.open(service.url + PAGES[name])
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


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_breaks_no_rule_of_axe_and_has_room(
    browser: Browser, service: Service, name: str, size: str
) -> None:
    with watched(browser, size) as one:
        page = one.open(service.url + PAGES[name])
        for closed in page.locator("details:not([open]) > summary").all():
            if closed.is_visible():
                closed.click()
        for colours in ("light", "dark"):
            page.emulate_media(color_scheme=colours)
            assert violations(page) == [], colours
        assert sideways(page) <= 0
        assert small_targets(page) == []
        assert page.locator("*").count() <= ELEMENTS_MAX
        if size == "phone":
            assert page.evaluate("document.querySelector('main').clientWidth") >= 350


@pytest.mark.parametrize("name", PAGES)
def test_every_stop_of_tab_has_a_name_and_a_ring(
    browser: Browser, service: Service, name: str
) -> None:
    with watched(browser) as one:
        page = one.open(service.url + PAGES[name])
        stops = tab_stops(page)
        assert stops[0]["name"] == "Skip to content"
        assert [stop["html"] for stop in stops if not stop["name"]] == []
        assert [stop["html"] for stop in stops if not stop["ringed"]] == []
        page.locator(".skip").focus()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"


@pytest.mark.parametrize("name", PAGES)
def test_an_address_gives_the_same_text_in_a_fresh_browser(
    browser: Browser, service: Service, name: str
) -> None:
    texts = []
    for _ in range(2):
        with watched(browser) as one:
            page = one.open(service.url + PAGES[name])
            page.evaluate("document.querySelectorAll('.age').forEach(one => one.remove())")
            texts.append(page.locator("body").inner_text())
    assert texts[0] == texts[1]
    assert len(texts[0]) > 60


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
        page = one.open(f"{service.url}/lineage/dataset:made:d0?depth=all")
        # Leaves with the same neighbours are drawn as one stub.
        ready = int(page.locator("#graph").get_attribute("data-ready") or 0)
        assert 4_900 < ready <= 5_000
        assert page.locator("*").count() <= ELEMENTS_MAX
        drawn = int(page.locator("#graph").get_attribute("data-drawn") or 0)
        assert 0 < drawn < 500
        assert one.bytes_sent() <= GRAPH_LOAD_BYTES_MAX
        page.get_by_role("button", name="Whole").click()
        page.wait_for_selector(f"#graph[data-drawn='{ready}']")
        page.goto(f"{service.url}/lineage/dataset:made:d0?depth=all&view=table")
        assert page.locator("*").count() <= ELEMENTS_MAX
