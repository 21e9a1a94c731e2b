"""Pages of those who run the service: the log, refused input and its repair, producers, health."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from lodeline.server.pages.record_facts import fault_in_place
from services import Service, event, serving

MARKUP = "<img src=x onerror=alert(1)>"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("record") / "s.db") as one:
        one.post(event(inputs="a", outputs="b"), "/api/v1/lineage?wait=folded")
        yield one
        assert one.stop() == 0


@pytest.fixture
def service(served: Service) -> Service:
    """The service, nothing refused left over."""
    for letter in served.send("GET", "/api/v2/dead-letters").json["dead_letters"]:
        served.send("POST", f"/api/v2/dead-letters/{letter['id']}/resolve")
    return served


def refuse(service: Service, **changes: object) -> int:
    """Send an event that is refused; give the number of its letter."""
    assert service.post({**event(inputs="a", outputs="c"), **changes}).status == 400
    found = service.send("GET", "/dead-letters.json").json["letters"]
    return int(found[-1]["id"])


def test_the_log_tells_what_its_checkpoint_says(service: Service) -> None:
    [log] = service.send("GET", "/log.json").json["logs"]
    assert log["size"] == log["signed_to"] == sum(log["kinds"].values())
    note = service.send("GET", f"/log/{log['segment']}/checkpoint").body.decode()
    assert note.startswith(f"{log['origin']}\n{log['size']}\n")
    sizes = [one["size"] for one in log["checkpoints"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == log["size"]
    text = service.send("GET", "/log").body.decode()
    assert log["keys"][0]["vkey"].replace("+", "&#43;") in text or log["keys"][0]["vkey"] in text
    assert "Listed, not verified by this page" in text


def test_an_entry_has_a_receipt_and_a_proof(service: Service) -> None:
    facts = service.send("GET", "/log-entry.json?position=1").json
    assert re.fullmatch(r"[\w-]+\.[\w-]+", facts["receipt"])
    assert "c2sp.org/tlog-proof" in facts["proof"]
    # What the page does not check it does not call verified; it names what checks it.
    text = service.send("GET", "/log-entry?position=1").body.decode()
    assert text.count("It is shown here and not verified") == 2
    for command in ("lodeline log receipt FILE", "lodeline log prove --verify FILE --vkey KEY"):
        assert f"<code>{command}</code>" in text
    assert 's-verified"' not in text
    assert service.send("GET", "/log-entry?position=999999").status in {400, 404}
    assert service.send("GET", "/log-entry?position=x").status == 400


def test_a_fault_is_shown_in_its_place_and_stays_text(service: Service) -> None:
    refuse(service, job={"namespace": "n", "name": MARKUP}, run={"runId": "no"})
    [letter] = service.send("GET", "/dead-letters.json").json["letters"]
    marked = [line["text"] for line in letter["lines"] if line["fault"]]
    assert marked == ['    "runId": "no"']
    reply = service.send("GET", "/dead-letters")
    assert b'class="line fault"' in reply.body
    assert MARKUP.encode() not in reply.body


def test_a_mended_input_is_taken_and_struck_off(service: Service) -> None:
    number = refuse(service, run={"runId": "no"})
    text = service.send("GET", f"/dead-letters/{number}.json").json["letter"]["text"]
    mended = text.replace('"no"', '"00000000-0000-0000-0000-000000000077"')
    body = urlencode({"event": mended}).encode()
    reply = service.send("POST", f"/dead-letters/{number}/retry", body, **FORM)
    assert (reply.status, reply.headers["location"]) == (303, f"/dead-letters?done={number}")
    assert service.send("GET", "/dead-letters.json").json["total"] == 0
    shown = service.send("GET", "/node/run:00000000-0000-0000-0000-000000000077")
    assert shown.status == 200


def test_an_input_that_is_still_wrong_keeps_its_letter(service: Service) -> None:
    number = refuse(service, run={"runId": "no"})
    reply = service.send("POST", f"/dead-letters/{number}/retry", urlencode({"event": "{}"}).encode(), **FORM)  # fmt: skip
    assert reply.status == 303
    left = service.send("GET", "/dead-letters.json").json
    assert left["total"] >= 1
    assert service.send("GET", reply.headers["location"]).status == 200


def test_a_letter_can_be_struck_off(service: Service) -> None:
    number = refuse(service, run={"runId": "no"})
    assert service.send("POST", f"/dead-letters/{number}/resolve", b"", **FORM).status == 303
    assert service.send("GET", f"/dead-letters/{number}").status == 404


def test_a_page_of_another_site_can_mend_nothing(service: Service) -> None:
    number = refuse(service, run={"runId": "no"})
    for act in ("retry", "resolve"):
        path = f"/dead-letters/{number}/{act}"
        reply = service.send("POST", path, b"", **FORM, Sec_Fetch_Site="cross-site")
        assert reply.status == 403
    assert service.send("GET", "/dead-letters.json").json["total"] == 1


@pytest.mark.parametrize(
    ("raw", "pointer", "marked"),
    [
        (b'{"a": {"b": [1, {"c": 2}]}}', "/a/b/1/c", ['        "c": 2']),
        (b'{"a": {"b": [1, 2]}, "d": 3}', "/a", ['  "a": {', '    "b": [', "      1,", "      2", "    ]", "  },"]),
        (b'{"a": {}}', "/a/missing", ['  "a": {}']),
        (b'{"a~b": 1, "c/d": 2}', "/c~1d", ['  "c/d": 2']),
        (b'{"a": 1}', "", ["{"]),
        (b"not json", "/x", []),
    ],
)  # fmt: skip
def test_a_pointer_marks_the_lines_that_it_means(
    raw: bytes, pointer: str, marked: list[str]
) -> None:
    lines = fault_in_place(raw, pointer)
    assert [line["text"] for line in lines if line["fault"]] == marked
    assert lines


def test_producers_are_counted_with_what_was_refused(service: Service) -> None:
    refuse(service, run={"runId": "no"})
    facts = service.send("GET", "/producers.json").json
    assert facts["sums"]["accepted"] >= 1
    assert facts["sums"]["refused"] >= 1
    assert {one["producer"] for one in facts["producers"]} == {"https://example.org/p"}
    assert facts["producers"] == service.send("GET", "/api/v2/producers").json["producers"]


def test_health_tells_what_doctor_tells_and_no_secret(service: Service) -> None:
    facts = service.send("GET", "/health.json").json
    [store] = facts["stores"]
    assert store["log"]["size"] == store["graph"]["folded_to"]
    assert store["spool"]["lost_records"] == 0
    assert all(key["private"] for key in store["keys"])
    assert {"server.port", "server.authentication"} <= {one["name"] for one in facts["settings"]}
    refuse(service, run={"runId": "no"})
    told = service.send("GET", "/health.json").json
    assert [one["message"] for one in told["problems"]] == ["1 inputs were refused"]
    for path in service.store.parent.glob("s.db.keys/*"):
        secret = path.read_text(errors="replace").strip().splitlines()[-1]
        assert secret not in json.dumps(told)


@pytest.mark.parametrize("path", ["/log", "/dead-letters", "/producers", "/health", "/log-entry?position=0"])  # fmt: skip
def test_no_page_of_the_service_has_anything_inline(service: Service, path: str) -> None:
    reply = service.send("GET", path, Accept="text/html")
    assert reply.status == 200
    text = reply.body.decode()
    for sign in (" style=", "<style", " onclick", "javascript:"):
        assert sign not in text, sign
