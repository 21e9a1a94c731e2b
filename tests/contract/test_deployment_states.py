"""Operators kill, constrain and roll back deployments, and serving processes follow."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import services
from applications import JSON_APPLICATION, served
from lodeline.capture.serving import serving
from lodeline.cli.main import main
from proxies import proxying
from upstreams import Asked, model_server

OLD, NEW = (f"model:ml:m#sha256:{digit * 64}" for digit in "01")


def ask_lodeline(store: Path, *words: str, status: int = 0, server: str = "") -> Any:
    """Run a command with `--json`, in this process, and give its answer."""
    said = io.StringIO()
    place = ("--server", server) if server else ("--store", f"sqlite:///{store}")
    with contextlib.redirect_stdout(said):
        found = main([*words, "--json", *place])
    assert found == status, said.getvalue()
    return json.loads(said.getvalue())


def post(url: str, **headers: str) -> tuple[int, dict[str, str], Any]:
    given = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, b'{"x": 1}', given, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, dict(response.headers), json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.load(error)


def until(look: Callable[[], object]) -> None:
    """Wait until something is so; half a minute is far beyond any bound of ours."""
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def until_recorded(store: Path, drawn: str) -> None:
    """Wait for a record, which is written after its answer."""
    words = ["show", f"prediction:{drawn}", "--json", "--store", f"sqlite:///{store}"]
    with contextlib.redirect_stdout(io.StringIO()):
        until(lambda: main(words) == 0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A store, and a server whose deployment is recorded in it."""
    store = tmp_path / "lodeline.db"
    app = serving(
        JSON_APPLICATION,
        deployment="api",
        namespace="prod",
        model=NEW,
        spool=tmp_path / "lodeline.db.spool",
        versions={OLD: old_model},
    )
    with served(app) as url:
        assert post(url)[0] == 200
        yield store, url


async def old_model(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"by": "old"}'})


def test_a_killed_deployment_answers_503_and_says_why(place: tuple[Path, str]) -> None:
    store, url = place
    node = "deployment:prod:api"
    ask_lodeline(store, "deployment", "kill", node, "--reason", "wrong prices")
    until(lambda: post(url)[0] == 503)
    _, headers, body = post(url)
    assert (body["code"], body["deployment"]) == ("deployment.killed", node)
    assert body["reason"] == "wrong prices"
    assert headers["lodeline-deployment-state"] == "killed"
    # A health check goes on, so that nobody starts the process again and again.
    with urllib.request.urlopen(url, timeout=10) as response:
        assert response.status == 200
    ask_lodeline(store, "deployment", "resume", node, "--reason", "mended")
    until(lambda: post(url)[0] == 200)


def test_the_record_keeps_who_decided_what_and_when(place: tuple[Path, str]) -> None:
    store, _ = place
    node = "deployment:prod:api"
    killed = ask_lodeline(store, "deployment", "kill", node, "--reason", "first")
    resumed = ask_lodeline(store, "deployment", "resume", node, "--reason", "second")
    shown = ask_lodeline(store, "deployment", "show", node)
    assert (shown["state"], shown["reason"]) == ("active", "second")
    assert shown["actor"] == killed["actor"] != {}
    past = ask_lodeline(store, "show", node, "--valid-at", killed["since"])
    assert past["facets"]["lodeline_deploymentState"]["reason"] == "first"
    assert killed["since"] < resumed["since"]
    # The decision is about the deployment, and is no version of it.
    assert past["versions_total"] == 1


def test_a_process_that_starts_after_the_kill_is_killed(place: tuple[Path, str]) -> None:
    store, _ = place
    ask_lodeline(store, "deployment", "kill", "deployment:prod:api", "--reason", "r")
    spool = store.with_name("lodeline.db.spool")
    app = serving(JSON_APPLICATION, deployment="api", namespace="prod", spool=spool)
    with served(app) as url:
        assert post(url)[0] == 503


def test_a_constrained_deployment_answers_whom_it_may(place: tuple[Path, str]) -> None:
    store, url = place
    words = ["deployment", "constrain", "deployment:prod:api", "--reason", "trial"]
    ask_lodeline(store, *words, "--header", "X-Tenant", "--allow", "acme", "--allow", "umbrella")
    until(lambda: post(url)[0] == 503)
    assert post(url, **{"X-Tenant": "acme"})[0] == 200
    assert post(url, **{"X-Tenant": "other"})[2]["code"] == "deployment.constrained"


def test_a_fraction_of_the_requests_is_answered_by_chance(place: tuple[Path, str]) -> None:
    store, url = place
    words = ["deployment", "constrain", "deployment:prod:api", "--reason", "trial"]
    ask_lodeline(store, *words, "--fraction", "0.5")
    until(lambda: post(url)[0] == 503)
    found = [post(url)[0] for _ in range(100)]
    # Two in a hundred million that fifty-fifty gives fewer than 23 or more than 77.
    assert 22 < found.count(200) < 78


def test_the_fallback_is_answered_and_recorded_as_such(place: tuple[Path, str]) -> None:
    store, url = place
    words = ["deployment", "constrain", "deployment:prod:api", "--reason", "r", "--fraction", "0"]
    ask_lodeline(store, *words, "--fallback", '{"y": null}')
    until(lambda: post(url)[2] == {"y": None})
    status, headers, _ = post(url)
    assert (status, headers["lodeline-deployment-state"]) == (200, "constrained")
    until_recorded(store, headers["lodeline-prediction-id"])
    shown = ask_lodeline(store, "show", f"prediction:{headers['lodeline-prediction-id']}")
    assert shown["record"]["fallback"] is True
    assert shown["record"]["output"] == {"y": None}


def test_a_rollback_sends_requests_to_the_version_named(place: tuple[Path, str]) -> None:
    store, url = place
    node = "deployment:prod:api"
    record_models(store)
    ask_lodeline(store, "deployment", "rollback", node, OLD, "--reason", "new one drifts")
    until(lambda: post(url)[2].get("by") == "old")
    drawn = post(url)[1]["lodeline-prediction-id"]
    until_recorded(store, drawn)
    traced = ask_lodeline(store, "trace", f"prediction:{drawn}")
    assert OLD in {found["id"] for found in traced["nodes"]}
    assert NEW not in {found["id"] for found in traced["nodes"]}


def record_models(store: Path) -> None:
    """Have the record know both versions."""
    facet = {"_producer": "https://example.org/p", "_schemaURL": "https://example.org/s"}
    lines = []
    for number, model in enumerate((OLD, NEW)):
        digest = model.partition("#")[2]
        event = {
            "eventTime": f"2026-11-01T1{number}:00:00Z",
            "producer": "https://example.org/p",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/DatasetEvent",
            "dataset": {
                "namespace": "ml",
                "name": "m",
                "facets": {"lodeline_model": {**facet, "digest": digest}},
            },
        }
        lines.append(json.dumps(event))
    models = store.parent / "models.ndjson"
    models.write_text("\n".join(lines))
    ask_lodeline(store, "import", str(models))


def test_a_rollback_by_number_names_the_digest(place: tuple[Path, str]) -> None:
    store, _ = place
    record_models(store)
    versions = ask_lodeline(store, "show", "model:ml:m")["versions"]
    (number,) = [one["number"] for one in versions if OLD.endswith(one["version"])]
    assert number is not None
    words = ["deployment", "rollback", "deployment:prod:api", f"model:ml:m#{number}"]
    words += ["--reason", "r"]
    assert ask_lodeline(store, *words)["model"] == OLD


def test_a_version_that_runs_nowhere_is_refused(place: tuple[Path, str]) -> None:
    store, _ = place
    record_models(store)
    spool = store.with_name("lodeline.db.spool")
    app = serving(JSON_APPLICATION, deployment="api", namespace="prod", model=NEW, spool=spool)
    words = ["deployment", "rollback", "deployment:prod:api", OLD, "--reason", "r"]
    ask_lodeline(store, *words)
    with served(app) as url:
        status, _, body = post(url)
    assert (status, body["code"], body["model"]) == (503, "deployment.rolled_back", OLD)


def test_decisions_need_a_reason_and_a_known_deployment(place: tuple[Path, str]) -> None:
    store, _ = place
    ask_lodeline(store, "deployment", "kill", "deployment:prod:api", status=2)
    kill = ["deployment", "kill", "deployment:prod:apj", "--reason", "r"]
    ask_lodeline(store, *kill, status=1)
    assert ask_lodeline(store, *kill, "--unrecorded")["state"] == "killed"


def test_a_state_that_is_no_state_leaves_the_last_one(place: tuple[Path, str]) -> None:
    store, url = place
    ask_lodeline(store, "deployment", "kill", "deployment:prod:api", "--reason", "r")
    until(lambda: post(url)[0] == 503)
    file = store.with_name("lodeline.db.deployments") / "prod:api.json"
    file.write_text("half a fi")
    time.sleep(1.5)
    assert post(url)[0] == 503
    file.unlink()
    time.sleep(1)
    assert post(url)[0] == 503


async def answer(asked: Asked) -> None:
    await asked.read_body()
    asked.answer(b'{"y": 1}', "Content-Type: application/json")


def test_a_proxy_learns_from_the_server_and_outlives_it(tmp_path: Path) -> None:
    node = "deployment:prod:api"
    with model_server(answer) as upstream, services.serving(tmp_path / "s" / "l.db") as service:
        place = tmp_path / "p" / "l.db"
        with proxying(upstream.url, place, "--deployment", "api", server=service.url) as proxy:
            assert proxy.predict().status == 200
            kill = ["deployment", "kill", node, "--reason", "r", "--unrecorded"]
            ask_lodeline(place, *kill, server=service.url)
            until(lambda: proxy.predict().status == 503)
            assert proxy.predict().json["deployment"] == node
            asked = len(upstream.asked)
            proxy.predict()
            assert len(upstream.asked) == asked
            service.stop()
            assert proxy.predict().status == 503
        # The record is out of reach when the next one starts: the last decision stands.
        with proxying(upstream.url, place, "--deployment", "api", server=service.url) as proxy:
            assert proxy.predict().status == 503


def test_failing_closed_refuses_while_the_record_is_out_of_reach(tmp_path: Path) -> None:
    options = ("--deployment", "api", "--fail-closed")
    with (
        model_server(answer) as upstream,
        proxying(upstream.url, tmp_path / "l.db", *options, server="http://127.0.0.1:9") as proxy,
    ):
        assert proxy.predict().json["code"] == "deployment.state_unknown"
        assert proxy.send("GET", "/health").status == 200


def test_requests_under_way_when_the_kill_arrives_are_finished(place: tuple[Path, str]) -> None:
    store, url = place
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.extend(post(url)[0] for _ in range(100)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    ask_lodeline(store, "deployment", "kill", "deployment:prod:api", "--reason", "r")
    for thread in threads:
        thread.join()
    # Each was answered, by the model or by the refusal.
    assert len(found) == 400
    assert set(found) <= {200, 503}
