"""`import`, `export` and `evidence` with `--server`: as on the store, through a service with keys."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lodeline.cli.main import main
from services import Service, command, environment, event, serving


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    store = tmp_path_factory.mktemp("served") / "s.db"
    made: dict[str, Any] = {"store": store}
    for name, more in (("all", []), ("one", ["--namespace", "other"])):
        words = command("key", "create", "--name", name, "--scope", "ingest,read", *more)
        done = subprocess.run(
            [*words, "--store", str(store)],
            env=environment(), cwd=store.parent, capture_output=True, text=True, check=True,
        )  # fmt: skip
        made[name] = done.stdout.strip()
    return made


@pytest.fixture(scope="module")
def service(keys: dict[str, Any]) -> Iterator[Service]:
    with serving(keys["store"], variables={"LODELINE_AUTHENTICATION": "keys"}) as one:
        yield one


@pytest.fixture
def ask(
    service: Service,
    keys: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
    tmp_path: Path,
) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(*words: str, key: str = "all") -> tuple[int, bytes]:
        monkeypatch.setenv("LODELINE_API_KEY", keys[key])
        status = main([*words, "--server", service.url])
        return status, capsysbinary.readouterr().out

    return run


def test_events_of_files_are_sent_and_what_is_refused_is_kept_there(
    ask: Any, tmp_path: Path
) -> None:
    good = [json.dumps(event(inputs="a", outputs=name)) for name in ("b", "c")]
    lines = [good[0], "{no json", good[1], json.dumps({"eventType": "COMPLETE"}), good[0]]
    (tmp_path / "events.ndjson").write_text("\n".join(lines))
    status, out = ask("import", "events.ndjson", "--json")
    answer = json.loads(out)
    assert (status, answer["accepted"], answer["duplicates"], answer["refused"]) == (1, 2, 1, 2)
    places = {one["source"].rpartition(":")[2]: one["code"] for one in answer["dead_letters"]}
    assert places.keys() == {"2", "4"}
    assert all(code.startswith("event.") for code in places.values())
    status, out = ask("import", "events.ndjson")
    assert status == 1
    assert b"0 accepted, 3 duplicates, 2 refused" in out
    # What the key may not bring is refused, too, and the rest is as it was.
    (tmp_path / "one.json").write_text(good[0])
    status, out = ask("import", "one.json", "--json", key="one")
    assert (status, json.loads(out)["dead_letters"][0]["code"]) == (1, "could_not_tell.forbidden")


def test_the_record_is_exported_as_far_as_the_key_may_see_it(
    ask: Any, tmp_path: Path, service: Service
) -> None:
    (tmp_path / "e.json").write_text(json.dumps(event(inputs="x", outputs="y")))
    assert ask("import", "e.json")[0] == 0
    status, out = ask("export")
    assert status == 0
    assert any(json.loads(line)["outputs"][0]["name"] == "y" for line in out.splitlines())
    status, out = ask("export", "--format", "csv", "--output", "tables", "--json")
    assert (status, json.loads(out)["files"]) == (0, ["tables/nodes.csv", "tables/edges.csv"])
    assert "dataset:n:y" in (tmp_path / "tables" / "nodes.csv").read_text()
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        "edges.csv",
        "nodes.csv",
    ]
    status, out = ask("export", "--output", "all.ndjson", "--json", key="one")
    assert (status, json.loads(out)["error"]["code"]) == (3, "could_not_tell.forbidden")
    assert not list(tmp_path.glob("*.ndjson*"))
    assert ask("export", "--format", "parquet", "--output", "archive")[0] == 2


def test_a_pack_comes_from_the_server_and_verifies(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text(json.dumps(event(inputs="p", outputs="q")))
    assert ask("import", "e.json")[0] == 0
    status, out = ask("evidence", "dataset:n:q", "--output", "q.zip", "--json")
    assert (status, json.loads(out)["nodes"]) == (0, 3)
    assert main(["verify", "q.zip"]) == 0
    assert ask("evidence", "dataset:n:nothing", "--output", "n.zip")[0] == 1
    assert ask("evidence", "dataset:n:q", "--output", "o.zip", key="one")[0] == 3
    assert [path.name for path in tmp_path.glob("*.zip*")] == ["q.zip"]
