"""A proof is checked where it is read: real Chromium, the log's real files, and bytes changed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browsing import watched
from lodeline.proof import Cosigner, parse_note
from lodeline.server.pages.addresses import page_url
from lodeline.store import open_segment
from page_histories import history
from services import Service, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

PROOF = page_url("proof", "dataset:n:table")
STEPS = ("digest", "inclusion", "signature", "witness", "timestamp", "consistency")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("proofs") / "s.db") as one:
        for stated in history():
            assert one.post(stated, "/api/v1/lineage?wait=folded").status == 201
        yield one
        assert one.stop() == 0


def verdict(page: Page) -> tuple[str, dict[str, str]]:
    """Wait until the page has made up its mind; its verdict, and the word of each step."""
    page.wait_for_selector("html[data-proof=done]")
    word = page.locator("[data-verdict-word]").inner_text()
    states = {step: page.locator(f"[data-step={step}] [data-state]").inner_text() for step in STEPS}
    return word, states


def checked(browser: Browser, service: Service) -> tuple[str, dict[str, str]]:
    with watched(browser) as one:
        one.open(service.url + PROOF)
        page_verdict = verdict(one.page)
        assert one.errors == []
        return page_verdict


def test_what_holds_is_verified_step_by_step(browser: Browser, service: Service) -> None:
    word, states = checked(browser, service)
    assert word == "verified"
    assert states == {
        **dict.fromkeys(("digest", "inclusion", "signature"), "verified"),
        **dict.fromkeys(("witness", "timestamp", "consistency"), "none"),
    }


def test_the_browser_fetches_the_logs_own_files(browser: Browser, service: Service) -> None:
    with watched(browser) as one:
        one.open(service.url + PROOF)
        verdict(one.page)
        fetched = [url.removeprefix(service.url) for url in one.asked]
        assert any(re.fullmatch(r"/log/\w+/checkpoint", path) for path in fetched)
        assert any(re.fullmatch(r"/log/\w+/tile/entries/000\.p/\d+", path) for path in fetched)
        assert any(re.fullmatch(r"/log/\w+/tile/0/000\.p/\d+", path) for path in fetched)
        computed = one.page.locator("[data-step=inclusion] [data-computed]").text_content()
        facts = service.send("GET", f"{PROOF}.json").json
        assert computed == facts["log"]["root_hash"]


def flip(body: bytes) -> bytes:
    """Change one bit in the middle."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def other_value(body: bytes) -> bytes:
    """Say something else in the payload of the last entry that is disclosed."""
    told = json.loads(body)
    field = next(one for one in told["entries"][-1]["fields"] if "value" in one)
    field["value"] += " "
    return json.dumps(told).encode()


def other_signature(body: bytes) -> bytes:
    head, _, signature = body.decode().rpartition(" ")
    return f"{head} {signature[:40]}{'A' if signature[40] != 'A' else 'B'}{signature[41:]}".encode()


@contextmanager
def between(page: Page, path: str, change: Callable[[bytes], bytes]) -> Iterator[list[str]]:
    """Stand between browser and service, and change what is fetched from a path."""
    changed: list[str] = []

    def answer(route: Route) -> None:
        response = route.fetch()
        body = response.body()
        altered = change(body)
        assert altered != body
        changed.append(route.request.url)
        route.fulfill(status=response.status, headers=response.headers, body=altered)

    page.route(re.compile(path), answer)
    yield changed
    page.unroute(re.compile(path))


@pytest.mark.parametrize(
    ("path", "change", "step"),
    [
        (r"/tile/0/", flip, "inclusion"),
        (r"/checkpoint$", other_signature, "signature"),
        (r"/proof-entries", other_value, "digest"),
    ],
)
def test_a_changed_byte_breaks_the_proof(
    browser: Browser, service: Service, path: str, change: Callable[[bytes], bytes], step: str
) -> None:
    with watched(browser) as one, between(one.page, path, change) as changed:
        one.open(service.url + PROOF)
        word, states = verdict(one.page)
        assert changed
        assert (word, states[step]) == ("broken", "broken")
        details = one.page.locator(f"[data-step={step}]")
        assert details.locator("[data-expected]").text_content() != "—"


def test_a_store_whose_entry_was_changed_is_not_verified(browser: Browser, tmp_path: Path) -> None:
    """The leaf says what it said; the payload says something else."""
    import sqlite3

    with serving(tmp_path / "s.db") as one:
        for stated in history():
            one.post(stated, "/api/v1/lineage?wait=folded")
        assert checked(browser, one)[0] == "verified"
        asked = one.send("GET", f"{PROOF}.json").json["entries"]
        assert one.stop() == 0
    raw = sqlite3.connect(tmp_path / "s.db")
    for (trigger,) in raw.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'entry'"
    ).fetchall():
        raw.execute(f'DROP TRIGGER "{trigger}"')
    [(leaf,)] = raw.execute("SELECT leaf FROM entry WHERE position = ?", (asked[-1],)).fetchall()
    commitment = re.search(rb'"commitment":"([0-9a-f])', leaf)
    assert commitment is not None
    other = b"0" if commitment[1] != b"0" else b"1"
    changed = leaf.replace(commitment[0], commitment[0][:-1] + other, 1)
    raw.execute("UPDATE entry SET leaf = ? WHERE position = ?", (changed, asked[-1]))
    raw.commit()
    raw.close()
    with serving(tmp_path / "s.db") as one:
        word, states = checked_with_errors(browser, one)
        assert word == "broken"
        assert states["inclusion"] == "broken"
        one.stop()


def checked_with_errors(browser: Browser, service: Service) -> tuple[str, dict[str, str]]:
    with watched(browser) as one:
        one.open(service.url + PROOF)
        return verdict(one.page)


def test_the_log_is_held_against_the_last_visit(browser: Browser, service: Service) -> None:
    with watched(browser) as one:
        one.open(service.url + PROOF)
        assert verdict(one.page)[1]["consistency"] == "none"
        before = service.send("GET", "/log.json").json["logs"][0]["size"]
        stated = history()[0]
        stated["run"]["runId"] = "00000000-0000-0000-0000-00000000abcd"
        service.post(stated, "/api/v1/lineage?wait=folded")
        one.open(service.url + PROOF)
        word, states = verdict(one.page)
        assert (word, states["consistency"]) == ("verified", "verified")
        assert "has grown by" in one.page.locator("[data-step=consistency]").inner_text()
        # As if the log had been cut, or rewritten, since.
        for changes in ({"size": before + 1000}, {"size": before - 1, "root": "00" * 32}):
            one.page.evaluate(
                """changes => {
                  const place = Object.keys(localStorage).find(
                    key => key.startsWith('lodeline.checkpoint.'));
                  localStorage[place] = JSON.stringify(
                    {...JSON.parse(localStorage[place]), ...changes});
                }""",
                changes,
            )
            one.open(service.url + PROOF)
            word, states = verdict(one.page)
            assert (word, states["consistency"]) == ("broken", "broken")


def test_the_cosignature_of_a_witness_is_checked(browser: Browser, service: Service) -> None:
    cosigner = Cosigner("witness.example", bytes(32))
    with open_segment(f"sqlite:///{service.store}", create=False) as segment:
        checkpoint = segment.checkpoint()
        text, _ = parse_note(checkpoint.note)
        line = cosigner.cosign(text, time_s=1_795_000_000)
        segment.endorsements.add_cosignatures(checkpoint.size, [line], [cosigner.verifier])
    word, states = checked(browser, service)
    assert (word, states["witness"]) == ("verified", "verified")


def test_a_timestamp_is_named_and_not_verified_and_the_command_that_does_it_stands_there(
    browser: Browser, service: Service
) -> None:
    with open_segment(f"sqlite:///{service.store}", create=False) as segment:
        size = segment.checkpoint().size
        segment.endorsements.add_timestamp(size, b"0\x00", url="https://tsa.example")
    with watched(browser) as one:
        one.open(service.url + PROOF)
        word, states = verdict(one.page)
        assert (word, states["timestamp"]) == ("verified", "could not check")
        step = one.page.locator("[data-step=timestamp]")
        assert "not verified" in step.locator("[data-note]").inner_text()
        step.locator("summary").click()
        assert f"lodeline log timestamp {size} --ca FILE" in step.inner_text()


def test_without_scripts_nothing_is_claimed(browser: Browser, service: Service) -> None:
    with watched(browser, java_script_enabled=False) as one:
        one.page.goto(service.url + PROOF)
        text = one.page.locator("main").inner_text()
        assert "could not check" in text
        assert "verified\n" not in text
        assert "lodeline evidence dataset:n:table -o pack.zip" in text


def test_without_cryptography_nothing_is_claimed(browser: Browser, service: Service) -> None:
    with watched(browser) as one:
        # As on plain HTTP off loopback.
        one.page.add_init_script("Object.defineProperty(globalThis, 'crypto', {value: {}})")
        one.open(service.url + PROOF)
        word, states = verdict(one.page)
        assert (word, set(states.values())) == ("could not check", {"could not check"})
        assert "plain HTTP" in one.page.locator("[data-verdict-why]").inner_text()


def test_a_proof_prints_on_one_sheet_of_a4(browser: Browser, service: Service) -> None:
    with watched(browser) as one:
        one.open(service.url + PROOF)
        verdict(one.page)
        pdf = one.page.pdf(format="A4")
        assert len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) == 1
