"""The graph of a lineage page, walked and pressed in real Chromium, whatever the names are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browsing import sideways, violations, watched
from drawn_graphs import made_by, make_store
from lodeline.limits import PAGE_COLUMNS_MAX
from lodeline.server.pages.addresses import page_url
from services import Service, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MARKUP = '"><img src=x onerror="document.title=1"><script>document.title=1</script>'
SIBLINGS = 3_000
COLUMNS = 10_000
CHAIN = 12
NAMES = {
    "markup": MARKUP,
    "long": "n" * 4096,
    "turned": "a\u202egnp.exe",
    "loop": "loop",
    "ring": "ring1",
    "many": "many",
    "wide": "wide",
}


def wide_event() -> dict[str, object]:
    """An event about a table of 10,000 columns, each of which comes from one of another."""
    fields = {
        f"c{number}": {"inputFields": [{"namespace": "made", "name": "narrow", "field": "x"}]}
        for number in range(COLUMNS)
    }
    lineage = {
        "_producer": "https://example.org/p",
        "_schemaURL": "https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json",
        "fields": fields,
    }
    return made_by("widen", ["narrow"], ["wide"], columnLineage=lineage)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    events = [
        made_by("one", ["source"], [NAMES["markup"], NAMES["long"], NAMES["turned"]]),
        made_by(MARKUP, [NAMES["markup"]], ["after"]),
        made_by("again", ["loop", "source"], ["loop"]),
        made_by("r1", ["ring1"], ["ring2"]),
        made_by("r2", ["ring2"], ["ring3"]),
        made_by("r3", ["ring3"], ["ring1"]),
        made_by("fan", ["many"], [f"child{number}" for number in range(SIBLINGS)]),
        made_by("near", ["source"], ["focus"]),
        made_by("far", ["focus"], ["left", "right"]),
        wide_event(),
        *(made_by(f"chain{n}", [f"c{n}", f"side{n}"], [f"c{n + 1}"]) for n in range(CHAIN)),
    ]
    store = make_store(tmp_path_factory.mktemp("graphs") / "s.db", events)
    with serving(store) as one:
        yield one
        assert one.stop() == 0


FOLDED = ".fold > summary"


def address(name: str, **state: object) -> str:
    return page_url("lineage", f"dataset:made:{name}", **state)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_no_graph_breaks_a_page_or_gets_out_of_its_place(
    browser: Browser, service: Service, name: str
) -> None:
    with watched(browser, "phone") as one:
        page = one.open(service.url + address(name, columns=name == "wide"))
        assert one.errors == []
        assert page.title().endswith("Lodeline")
        assert page.locator("main img, main script:not([type='application/json'])").count() == 0
        assert "\u202e" not in page.locator("body").inner_text()
        assert sideways(page) <= 0
        assert page.locator("*").count() <= 3_000


@pytest.mark.parametrize("size", ["desk", "phone"])
def test_a_first_view_cuts_no_card_and_tells_of_those_beyond(
    browser: Browser, service: Service, size: str
) -> None:
    with watched(browser, size) as one:
        for focus in (0, CHAIN // 2, CHAIN):
            page = one.open(service.url + address(f"c{focus}", depth="all"))
            graph = page.locator("#graph")
            # The focus and at least one column beside it, whole, at a zoom that can be read.
            assert int(graph.get_attribute("data-drawn") or 0) >= 2
            assert graph.get_attribute("data-cut") == "0"
            assert float(graph.get_attribute("data-zoom") or 0) >= 0.6
            # The graph itself is in the first view, its lower edge too.
            place = page.locator("[data-canvas]").bounding_box()
            assert place is not None
            assert page.viewport_size is not None
            assert place["y"] + place["height"] <= page.viewport_size["height"]
        page = one.open(service.url + address("focus"))
        if size == "desk":
            assert graph.get_attribute("data-drawn") == graph.get_attribute("data-ready") == "4"


def test_a_phone_folds_what_there_is_to_choose_into_a_line_that_tells_the_choice(
    browser: Browser, service: Service
) -> None:
    state = address("focus", direction="up", depth=2, acts=1)
    for scripts in (True, False):
        with watched(browser, "phone", java_script_enabled=scripts) as one:
            page = one.page
            page.goto(service.url + state)
            choice, folded = page.get_by_label("Direction"), page.locator(FOLDED)
            assert folded.inner_text() == "Up, depth 2, jobs and runs, as of now"
            assert not choice.is_visible()
            folded.press("Enter")
            assert choice.is_visible()
            choice.select_option("down")
            if not scripts:
                page.get_by_role("button", name="Show").click()
            page.wait_for_url("**direction=down**")
            assert folded.inner_text() == "Down, depth 2, jobs and runs, as of now"
    with watched(browser, java_script_enabled=False) as one:
        one.page.goto(service.url + state)
        assert not one.page.locator(FOLDED).is_visible()
        assert one.page.get_by_label("Direction").is_visible()


def test_a_node_opens_to_its_columns_by_key_and_button_and_the_address_says_so(
    browser: Browser, service: Service
) -> None:
    def edges(page: Page) -> int:
        return int(page.locator("#graph").get_attribute("data-column-edges") or 0)

    with watched(browser) as one:
        page = one.open(service.url + address("wide"))
        page.locator("[data-canvas]").focus()
        page.keyboard.press("c")
        page.wait_for_selector("#graph[data-opened='1']")
        assert "wide is open: 10,000 columns" in said(page)
        assert edges(page) == 0
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("c")
        page.wait_for_selector("#graph[data-opened='2']")
        drawn = edges(page)
        assert drawn == PAGE_COLUMNS_MAX
        state = page.url
        assert "open=" in state
        page.keyboard.press("Home")
        page.get_by_role("button", name="Columns", pressed=True).press("Enter")
        page.wait_for_selector("#graph[data-opened='1']")
        assert edges(page) == 0
        assert one.errors == []
    with watched(browser, "phone") as one:
        page = one.open(state)
        assert (page.locator("#graph").get_attribute("data-opened"), edges(page)) == ("2", drawn)


def test_a_path_is_asked_for_by_a_name_that_is_found_as_one_types(
    browser: Browser, service: Service
) -> None:
    with watched(browser) as one:
        page = one.open(service.url + address("source"))
        field = page.get_by_role("combobox", name="Path to")
        field.focus()
        page.keyboard.type("right")
        found = page.get_by_role("listbox", name="Found").get_by_role("option")
        found.first.wait_for()
        assert field.get_attribute("aria-expanded") == "true"
        assert 1 <= found.count() <= 8
        page.keyboard.press("ArrowDown")
        chosen = page.locator("[role=option][aria-selected=true]")
        assert field.get_attribute("aria-activedescendant") == chosen.get_attribute("id")
        assert violations(page) == []
        page.keyboard.press("Enter")
        assert field.input_value() == "dataset:made:right"
        page.keyboard.press("Enter")
        page.wait_for_url("**/path?a=**")
        assert page.locator(".path").first.locator(".thread > li").count() == 3


def said(page: Page) -> str:
    return page.locator("[data-said]").inner_text()


def test_arrow_keys_walk_along_edges_and_tell_of_them(browser: Browser, service: Service) -> None:
    with watched(browser) as one:
        page = one.open(service.url + address("focus"))
        page.locator("[data-canvas]").focus()
        page.keyboard.press("ArrowLeft")
        assert "dataset source" in said(page)
        page.wait_for_selector("[data-panel] [data-edge]")
        assert "near" in page.locator("[data-panel]").inner_text()
        assert "edge_target=dataset" in page.url
        page.keyboard.press("ArrowLeft")
        assert "Nothing upstream" in said(page)
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        first = said(page)
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        assert {"left", "right"} & set(first.replace(",", "").split())
        page.keyboard.press("Escape")
        assert page.locator("[data-panel]").inner_text() == ""
        assert "edge_target" not in page.url


def test_the_edge_beside_the_graph_reads_as_on_its_own_page(
    browser: Browser, service: Service
) -> None:
    with watched(browser) as one:
        page = one.open(service.url + address("focus"))
        page.locator("[data-canvas]").focus()
        page.keyboard.press("ArrowLeft")
        panel = page.wait_for_selector("[data-panel] [data-edge]").inner_text()
        page.reload()
        one.settle()
        assert page.locator("[data-panel] [data-edge]").inner_text() == panel
        edge = page_url("edge", None, source="dataset:made:source", target="dataset:made:focus")
        page.goto(service.url + edge)
        assert page.locator("[data-edge]").inner_text() == panel


def test_t_changes_between_the_graph_and_its_table(browser: Browser, service: Service) -> None:
    with watched(browser) as one:
        page = one.open(service.url + address("focus"))
        assert not page.locator("#twin").is_visible()
        page.keyboard.press("t")
        assert page.locator("#twin table").is_visible()
        assert not page.locator("#graph").is_visible()
        assert "view=table" in page.url
        rows = page.locator("#twin tbody tr").count()
        facts = service.send("GET", f"{address('focus')}.json").json
        assert rows == len(facts["edges"]) == len(facts["graph"]["edges"])
        page.keyboard.press("t")
        assert page.locator("#graph").is_visible()


def test_3000_siblings_wait_behind_a_stub_and_come_without_moving_the_others(
    browser: Browser, service: Service
) -> None:
    with watched(browser) as one:
        page = one.open(service.url + address("many"))
        assert page.locator("#graph").get_attribute("data-ready") == "10"
        page.locator("[data-canvas]").focus()
        page.keyboard.press("ArrowRight")
        for _ in range(12):
            if "+2,992" in said(page):
                break
            page.keyboard.press("ArrowDown")
        assert "+2,992 datasets" in said(page)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Whole").click()
        page.wait_for_selector("#graph[data-drawn='34']")


@pytest.mark.parametrize("form", ["SVG", "PNG", "Mermaid"])
def test_what_is_shown_can_be_taken_along(
    browser: Browser, service: Service, form: str, tmp_path: Path
) -> None:
    with watched(browser, accept_downloads=True) as one:
        page = one.open(service.url + address(MARKUP))
        page.locator(".menu summary").click()
        with page.expect_download() as waiting:
            page.locator(".menu").get_by_text(form, exact=True).click()
        file = tmp_path / "taken"
        waiting.value.save_as(file)
        content = file.read_bytes()
        start = {"SVG": b"<svg ", "PNG": b"\x89PNG", "Mermaid": b"graph"}[form]
        assert content.startswith(start) or form == "Mermaid"
        assert len(content) > 100
        if form == "SVG":
            assert b"<img" not in content
            assert b"&#60;img" in content


def test_a_service_that_goes_away_leaves_the_page_as_it_is(
    browser: Browser, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "s.db", [made_by("near", ["source"], ["focus"])])
    with serving(store) as gone, watched(browser) as one:
        page = one.open(gone.url + address("focus"))
        title = page.locator("h1").inner_text()
        assert gone.stop() == 0
        page.locator("[data-canvas]").focus()
        page.keyboard.press("ArrowLeft")
        page.locator("[data-panel]").get_by_text("does not answer").wait_for()
        assert page.locator("h1").inner_text() == title
        assert page.locator("#graph canvas").is_visible()


def test_new_events_are_told_and_nothing_moves_until_they_are_asked_for(
    browser: Browser, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "s.db", [made_by("near", ["source"], ["focus"])])
    with serving(store) as live, watched(browser) as one:
        with one.page.expect_response("**/api/v2/events*"):
            page = one.open(live.url + address("focus"))
        before = page.locator("main").inner_text()
        body = json.dumps(made_by("far", ["focus"], ["further"])).encode()
        assert live.send("POST", "/api/v1/lineage?wait=folded", body).status == 201
        button = page.get_by_role("button", name="1 new event — show")
        button.wait_for()
        assert page.locator("main").inner_text() == before
        button.click()
        page.locator("h1", has_text="1 down").wait_for()
