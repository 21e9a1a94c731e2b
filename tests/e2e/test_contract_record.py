"""Import, dead letters, verify, rebuild and export, from outside."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from black_box import Shell, dataset, event

EVENTS = Path(__file__).parent.parent / "fixtures" / "events"


def real_event_files() -> list[Path]:
    return sorted(EVENTS.glob("*/*.jsonl"))


def real_events() -> list[dict[str, Any]]:
    lines = [
        json.loads(line) for path in real_event_files() for line in path.read_text().splitlines()
    ]
    return [line.get("body", line) for line in lines]


def test_every_real_event_is_accepted_once(shell: Shell) -> None:
    first = shell.json("import", *real_event_files())
    assert (first["accepted"], first["duplicates"], first["refused"]) == (452, 0, 0)
    again = shell.json("import", *real_event_files())
    assert (again["accepted"], again["duplicates"], again["refused"]) == (0, 452, 0)
    verified = shell.json("verify")
    assert verified["ok"] is True
    assert verified["trust"] == "self"
    assert verified["checked"]["entries"] >= 452
    rebuilt = shell.json("rebuild")
    assert shell.json("doctor")["graph_digest"] == rebuilt["graph_digest"]
    assert set(rebuilt) == {"tree_size", "fold_version", "graph_digest"}


def test_order_and_repetition_do_not_change_the_graph(shell: Shell, tmp_path: Path) -> None:
    events = real_events()
    shell.import_events(*events)
    digest = shell.json("doctor")["graph_digest"]
    shuffled = events * 2
    random.Random(7).shuffle(shuffled)
    other = Shell(tmp_path / "other")
    other.folder.mkdir()
    other.import_events(*shuffled)
    assert other.json("doctor")["graph_digest"] == digest


GOOD = event("j", ["a"], ["b"])


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b'{"eventTime": ', None),
        (b"[1, 2", None),
        (b"42", ""),
        (json.dumps(GOOD | {"run": {}}).encode(), "/run/runId"),
        (json.dumps(GOOD | {"run": {"runId": "not-a-uuid"}}).encode(), "/run/runId"),
        (json.dumps(GOOD | {"job": {"namespace": "n"}}).encode(), "/job/name"),
        (json.dumps(GOOD | {"eventTime": "yesterday"}).encode(), "/eventTime"),
        (json.dumps(GOOD | {"inputs": [{"namespace": "n", "name": 3}]}).encode(), "/inputs/0/name"),
        (json.dumps(GOOD | {"inputs": [dataset("a\u0000b")]}).encode(), "/inputs/0/name"),
        (json.dumps(GOOD | {"inputs": [dataset("a\ud800b")]}).encode(), None),
        (
            json.dumps(GOOD).encode().replace(b'"producer"', b'"eventType": "FAIL", "producer"'),
            None,
        ),
        (json.dumps(GOOD | {"x": "\xff"}, ensure_ascii=False).encode("latin-1"), None),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, None),
        (json.dumps(GOOD | {"padding": "x" * 25_000_000}).encode(), None),
    ],
    ids=[
        "cut off",
        "cut array",
        "number",
        "no runId",
        "bad runId",
        "no job name",
        "bad time",
        "number as name",
        "NUL",
        "lone surrogate",
        "duplicate key",
        "invalid UTF-8",
        "deep",
        "25 MB",
    ],
)
def test_a_bad_event_is_refused_with_its_path_and_harms_nothing_else(
    shell: Shell, raw: bytes, path: str | None
) -> None:
    good = json.dumps(event("good", ["a"], ["b"])).encode()
    done = shell.run(
        "import",
        "-",
        "--json",
        stdin=good
        + b"\n"
        + raw
        + b"\n"
        + json.dumps(event("good2", ["b"], ["c"])).encode()
        + b"\n",
    )
    answer = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    assert (answer["accepted"], answer["refused"]) == (2, 1)
    (letter,) = answer["dead_letters"]
    assert letter["code"].startswith("event.")
    if path is not None:
        assert letter["path"] == path
    listed = shell.json("dead-letter", "list")
    assert len(listed["dead_letters"]) == 1
    assert shell.json("verify")["ok"] is True


def test_a_dead_letter_can_be_mended_and_resubmitted(shell: Shell) -> None:
    broken = json.dumps(GOOD | {"eventTime": "yesterday"})
    assert shell.run("import", "-", stdin=broken).returncode == 1
    assert shell.run("dead-letter", "retry").returncode == 1
    (letter,) = shell.json("dead-letter", "list")["dead_letters"]
    assert letter["path"] == "/eventTime"


def test_a_flipped_byte_in_the_record_is_found(shell: Shell) -> None:
    import sqlite3

    shell.import_events(*[event("j", ["a"], [f"b{i}"]) for i in range(20)])
    path = shell.folder / ".lodeline" / "lodeline.db"
    store = sqlite3.connect(path)
    triggers = [
        row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    ]
    tables = {
        row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    entries = next(name for name in ("entry", "entries", "log_entry") if name in tables)
    with pytest.raises(sqlite3.DatabaseError):
        store.execute(f"DELETE FROM {entries}")
    with pytest.raises(sqlite3.DatabaseError):
        store.execute(f"UPDATE {entries} SET leaf = x'00'")
    for trigger in triggers:
        store.execute(f"DROP TRIGGER {trigger}")
    ((key, leaf),) = store.execute(
        f"SELECT rowid, leaf FROM {entries} ORDER BY rowid LIMIT 1 OFFSET 5"
    ).fetchall()
    flipped = (
        bytes([leaf[0] ^ 1]) + bytes(leaf[1:])
        if isinstance(leaf, bytes)
        else leaf.replace("event", "evenu")
    )
    store.execute(f"UPDATE {entries} SET leaf = ? WHERE rowid = ?", (flipped, key))
    store.commit()
    store.close()
    answer = shell.json("verify", status=1)
    assert answer["ok"] is False
    assert answer["failures"]
    assert {"code", "at", "expected", "found"} <= set(answer["failures"][0])


def test_exports_can_be_imported_elsewhere_with_the_same_graph(
    shell: Shell, tmp_path: Path
) -> None:
    shell.json("import", *real_event_files())
    exported = shell.run("export", "--format", "openlineage")
    assert exported.returncode == 0
    other = Shell(tmp_path / "other")
    other.folder.mkdir()
    answer = other.json("import", "-", stdin=exported.stdout)
    assert answer["accepted"] == 452
    assert other.json("doctor")["graph_digest"] == shell.json("doctor")["graph_digest"]
    prov = shell.run("export", "--format", "prov-json")
    document = json.loads(prov.stdout)
    assert {"entity", "activity", "used", "wasGeneratedBy"} <= set(document)


def test_real_pipelines_give_the_edges_that_reading_them_gives(shell: Shell) -> None:
    shell.json("import", *real_event_files())
    stats = shell.json("stats")
    assert stats
    found = shell.json("search", "customers")
    assert found["total"] >= 1
