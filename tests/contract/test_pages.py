"""The pages as HTTP tells them: facts, escapes, compression, policy, signing in."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from lodeline.server.pages.addresses import encode_identifier, page_url
from lodeline.store import open_segment
from lodeline.store.api_keys import create_api_key, revoke_api_key
from services import Reply, Service, event, serving

MARKUP = "<img src=x onerror=alert(1)>"
HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("pages") / "s.db") as one:
        for inputs, outputs in (("a", "b"), ("b", "c.json")):
            one.post(event(inputs=inputs, outputs=outputs), "/api/v1/lineage?wait=folded")
        hostile = event(inputs="b")
        names = [MARKUP, "turned\u202eround", "x" * 4096, "//host/path", "..", "%2e%2e"]
        hostile["outputs"] = [{"namespace": "n", "name": name} for name in names]
        one.post(hostile, "/api/v1/lineage?wait=folded")
        yield one
        assert one.stop() == 0


@pytest.mark.parametrize("path", ["/", "/?q=a", "/lineage/dataset:n:b", "/lineage/dataset:n:no"])
def test_a_page_lets_in_nothing_from_elsewhere_and_nothing_inline(
    service: Service, path: str
) -> None:
    reply = service.send("GET", path, **HTML)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    text = reply.body.decode()
    assert text.startswith("<!doctype html>")
    for sign in (" style=", "<style", " onclick", "javascript:", "http-equiv"):
        assert sign not in text, sign
    asked = re.findall(r'(?:href|src|action)="([^"]*)"', text)
    assert asked
    assert [one for one in asked if not re.match(r"/(?!/)|#", one)] == []


@pytest.mark.parametrize(
    ("page", "facts"),
    [
        ("/", "/index.json"),
        ("/?q=a", "/index.json?q=a"),
        ("/lineage/dataset:n:b?direction=up", "/lineage/dataset:n:b.json?direction=up"),
    ],
)
def test_every_page_has_its_facts_beside_it(service: Service, page: str, facts: str) -> None:
    text = service.send("GET", page).body.decode()
    assert f'href="{facts}"' in text
    reply = service.send("GET", facts)
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["title"].split()[0] in text


def test_a_page_has_what_the_question_answers(service: Service) -> None:
    kinds = "edge_kinds=derives,trains,deploys,predicts"
    asked = service.send("GET", f"/api/v2/trace?id=dataset:n:b&direction=both&depth=4&{kinds}").json
    facts = service.send("GET", "/lineage/dataset:n:b.json").json
    assert asked.items() <= facts.items()


@pytest.mark.parametrize("name", [MARKUP, "turned\u202eround", "x" * 4096, "//host/path", ".."])
def test_no_name_leaves_its_place_in_a_page(service: Service, name: str) -> None:
    identifier = f"dataset:n:{name}"
    path = page_url("lineage", identifier)
    reply = service.send("GET", path)
    assert reply.status == 200, reply.body[:300]
    text = reply.body.decode()
    assert MARKUP not in text
    assert "\u202e" not in re.sub(r"<[^>]*>", "", text)
    assert service.send("GET", f"{path}.json").json["root"] == identifier


def test_an_identifier_that_ends_in_json_has_a_page_of_its_own(service: Service) -> None:
    assert encode_identifier("dataset:n:c.json") == "dataset:n:c%2Ejson"
    reply = service.send("GET", "/lineage/dataset:n:c%2Ejson")
    assert reply.headers["content-type"].startswith("text/html")
    facts = service.send("GET", "/lineage/dataset:n:c%2Ejson.json").json
    assert facts["root"] == "dataset:n:c.json"


def test_an_unknown_identifier_is_named_with_the_nearest(service: Service) -> None:
    reply = service.send("GET", "/lineage/dataset:n:c.jsn", **HTML)
    assert reply.status == 404
    text = reply.body.decode()
    assert "dataset:n:c.jsn" in text
    assert "/node/dataset:n:c%2Ejson" in text
    told = service.send("GET", "/lineage/dataset:n:c.jsn.json")
    assert (told.status, told.json["code"]) == (404, "no.unknown_node")


def test_the_nearest_are_searched_for_where_a_namespace_is_wrong(service: Service) -> None:
    told = service.send("GET", "/lineage/dataset:elsewhere:b.json").json
    assert "dataset:n:b" in told["nearest"]
    assert len(told["nearest"]) <= 3


def test_a_browser_gets_a_page_for_a_path_that_is_not_there(service: Service) -> None:
    reply = service.send("GET", "/nowhere", **HTML)
    assert (reply.status, reply.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert service.send("GET", "/api/v2/nowhere", **HTML).json["code"] == "no.route"


@pytest.mark.parametrize("path", ["/?nothing=1", "/?q=a&q=b", "/lineage/dataset:n:b?depth=x"])
def test_a_senseless_address_is_told_as_a_page(service: Service, path: str) -> None:
    assert service.send("GET", path).json["code"] == "usage"
    reply = service.send("GET", path, **HTML)
    assert reply.status == 400
    assert b"<h1>That address makes no sense</h1>" in reply.body


def test_pages_and_their_files_are_sent_compressed(service: Service) -> None:
    for path in ("/", "/lineage/dataset:n:b", "/static/lodeline.css", "/static/base.js"):
        reply = service.send("GET", path, Accept_Encoding="gzip")
        assert reply.headers["content-encoding"] == "gzip", path
        assert gzip.decompress(reply.body) == service.send("GET", path).body


def test_a_file_is_kept_by_its_digest_and_not_sent_again(service: Service) -> None:
    reply = service.send("GET", "/static/lodeline.css")
    tag = reply.headers["etag"]
    assert service.send("GET", "/static/lodeline.css", If_None_Match=tag).status == 304
    named = service.send("GET", f"/static/lodeline.css?v={tag.strip(chr(34))}")
    assert "immutable" in named.headers["cache-control"]
    assert service.send("GET", "/static/..%2froutes.py").status == 404


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    """A service with keys, and a key that may read."""
    store = tmp_path_factory.mktemp("guarded") / "s.db"
    token = make_key(store, "reader")
    with serving(store, variables={"LODELINE_AUTHENTICATION": "keys"}) as one:
        yield one, token
        assert one.stop() == 0


def make_key(store: Path, name: str) -> str:
    with open_segment(f"sqlite:///{store}", create=True) as segment:
        _, token = create_api_key(
            segment, name=name, scopes=["read"], now_us=_now_us(), expires_us=None
        )
    return token


def _now_us() -> int:
    return time.time_ns() // 1000


def sign_in(service: Service, token: str, back: str = "/", **headers: str) -> Reply:
    body = urlencode({"key": token, "back": back}).encode()
    kind = {"Content_Type": "application/x-www-form-urlencoded"}
    return service.send("POST", "/sign-in", body, **kind, **headers)


def test_a_browser_signs_in_and_comes_back(guarded: tuple[Service, str]) -> None:
    service, token = guarded
    asked = service.send("GET", "/?q=a", **HTML)
    assert asked.status == 401
    assert b'name="back" value="/?q=a"' in asked.body
    reply = sign_in(service, token, "/?q=a", Sec_Fetch_Site="same-origin")
    assert (reply.status, reply.headers["location"]) == (303, "/?q=a")
    cookie = reply.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict"} <= {one.strip() for one in cookie.split(";")}
    own = {"Cookie": cookie.partition(";")[0]}
    page = service.send("GET", "/?q=a", **own)
    assert page.status == 200
    assert token.encode() not in page.body
    assert b"Sign out" in page.body
    out = service.send("POST", "/sign-out", b"", **own)
    assert "lodeline_key=;" in out.headers["set-cookie"].replace('""', "")


def test_a_key_that_no_longer_counts_leads_back_to_the_form(guarded: tuple[Service, str]) -> None:
    service, _ = guarded
    token = make_key(service.store, "leaver")
    with open_segment(f"sqlite:///{service.store}") as segment:
        revoke_api_key(segment, "leaver", now_us=_now_us())
    cookie = {"Cookie": f"lodeline_key={token}"}
    page = service.send("GET", "/lineage/dataset:n:b?depth=2", **HTML, **cookie)
    assert page.status == 401
    assert b"was revoked" in page.body
    assert b'value="/lineage/dataset:n:b?depth=2"' in page.body
    assert json.loads(service.send("GET", "/index.json").body)["next"]


def test_a_wrong_key_is_told_and_sets_no_cookie(guarded: tuple[Service, str]) -> None:
    service, token = guarded
    reply = sign_in(service, token[:-4] + "0000")
    assert reply.status == 401
    assert "set-cookie" not in reply.headers
    assert b"No such key" in reply.body


@pytest.mark.parametrize(
    "back", ["//example.org", "https://example.org", "/\\example.org", "/\n/x"]
)
def test_signing_in_never_leads_to_another_site(guarded: tuple[Service, str], back: str) -> None:
    service, token = guarded
    assert sign_in(service, token, back).headers["location"] == "/"


def test_a_page_of_another_site_can_neither_sign_in_nor_send(guarded: tuple[Service, str]) -> None:
    service, token = guarded
    assert sign_in(service, token, Sec_Fetch_Site="cross-site").status == 403
    body = json.dumps(event(outputs="d")).encode()
    for site in ({"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {}):
        cookie = {"Cookie": f"lodeline_key={token}"}
        assert service.send("POST", "/api/v1/lineage", body, **cookie, **site).status == 403
