"""The commands around the log, run as users run them."""

import gzip
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lodeline.proof import Cosigner, parse_note

EVENT = {
    "eventType": "COMPLETE",
    "eventTime": "2026-01-01T00:00:00Z",
    "producer": "https://example.com",
    "run": {"runId": "00000000-0000-4000-8000-000000000001"},
    "job": {"namespace": "n", "name": "j"},
    "inputs": [{"namespace": "n", "name": "a"}],
    "outputs": [{"namespace": "n", "name": "b"}],
}


def lodeline(folder: Path, *words: str, stdin: bytes = b"") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "lodeline", *words], cwd=folder, input=stdin, capture_output=True
    )
    return done.returncode, done.stdout.decode()


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    lines = [json.dumps(EVENT | {"eventTime": f"2026-01-01T00:00:0{i}Z"}) for i in range(5)]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    status, text = lodeline(tmp_path, "import", "events.jsonl", "--json")
    assert (status, json.loads(text)) == (
        0,
        {"accepted": 5, "duplicates": 0, "refused": 0, "dead_letters": []},
    )
    return tmp_path


def test_import_takes_files_folders_gzip_arrays_and_standard_input(imported: Path) -> None:
    folder = imported / "more"
    folder.mkdir()
    lines = (imported / "events.jsonl").read_bytes()
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    (folder / "b.json").write_text(json.dumps([EVENT, {**EVENT, "producer": "other"}]))
    (folder / "notes.txt").write_text("no events")
    status, text = lodeline(imported, "import", "more", "-", "--json", stdin=lines)
    answer = json.loads(text)
    assert (status, answer["accepted"], answer["duplicates"]) == (0, 1, 11)


def test_import_with_refusals_exits_1_and_lists_them_with_file_and_line(imported: Path) -> None:
    text = json.dumps(EVENT | {"run": {}}) + "\n" + json.dumps(EVENT)
    status, out = lodeline(imported, "import", "-", "--json", stdin=text.encode())
    answer = json.loads(out)
    assert (status, answer["refused"], answer["duplicates"]) == (1, 1, 1)
    (letter,) = answer["dead_letters"]
    assert (letter["source"], letter["code"], letter["path"]) == (
        "standard input:1",
        "event.missing",
        "/run/runId",
    )
    status, out = lodeline(imported, "dead-letter", "list", "--json")
    assert json.loads(out)["dead_letters"] == [letter]
    assert "event.missing at /run/runId" in lodeline(imported, "dead-letter", "list")[1]


def test_a_dead_letter_is_shown_fixed_and_sent_again(imported: Path) -> None:
    raw = json.dumps(EVENT | {"job": {"name": "j"}}).encode()
    lodeline(imported, "import", "-", stdin=raw)
    status, shown = lodeline(imported, "dead-letter", "show", "1")
    assert (status, shown.encode()) == (0, raw)
    assert lodeline(imported, "dead-letter", "retry")[0] == 1
    (imported / "fixed.json").write_text(json.dumps(EVENT | {"producer": "fixed"}))
    status, out = lodeline(imported, "dead-letter", "retry", "1", "--edit", "fixed.json", "--json")
    assert (status, json.loads(out)["accepted"]) == (0, 1)
    assert json.loads(lodeline(imported, "dead-letter", "list", "--json")[1]) == {
        "dead_letters": []
    }
    assert lodeline(imported, "dead-letter", "show", "1")[0] == 1


def test_a_missing_file_is_wrong_usage(imported: Path) -> None:
    assert lodeline(imported, "import", "nothing.jsonl")[0] == 2
    (imported / "broken.jsonl.gz").write_bytes(gzip.compress(b"{}" * 1000)[:20])
    assert lodeline(imported, "import", "broken.jsonl.gz")[0] == 2


def test_verify_says_yes_then_no_with_the_place_then_that_it_cannot_tell(imported: Path) -> None:
    status, out = lodeline(imported, "verify", "--json")
    assert status == 0
    assert json.loads(out)["checked"] == {
        "entries": 7,
        "proofs": 2,
        "signatures": 2,
        "payloads": 7,
        "erased": 0,
    }
    assert "verified: 7 entries" in lodeline(imported, "verify")[1]
    store = imported / ".lodeline" / "lodeline.db"
    data = store.read_bytes()
    assert data.count(b'"eventTime":"2026-01-01T00:00:03Z"') == 1
    store.write_bytes(data.replace(b"T00:00:03Z", b"T00:00:08Z"))
    status, out = lodeline(imported, "verify", "--json")
    (failure,) = json.loads(out)["failures"]
    assert (status, failure["code"], failure["at"]) == (1, "payload", "entry 5")
    text = lodeline(imported, "verify")[1]
    assert text.startswith("not verified: entry 5: payload")
    assert "next: " in text
    store.write_bytes(b"no database" * 1000)
    assert lodeline(imported, "verify")[0] == 1
    status, out = lodeline(imported, "verify", "--store", "sqlite:///nowhere.db", "--json")
    assert (status, json.loads(out)["error"]["code"]) == (3, "could_not_tell.store_unreachable")


def test_a_checkpoint_kept_elsewhere_proves_the_log_was_only_appended_to(imported: Path) -> None:
    (imported / "kept").write_text(lodeline(imported, "log", "checkpoint")[1])
    lodeline(imported, "import", "-", stdin=json.dumps(EVENT | {"producer": "later"}).encode())
    assert lodeline(imported, "log", "consistency", "kept")[0] == 0
    status, out = lodeline(imported, "log", "consistency", "7", "8", "--json")
    assert (status, json.loads(out)["ok"]) == (0, True)
    assert lodeline(imported, "log", "consistency", "9")[0] == 1
    assert lodeline(imported, "log", "prove", "5", "--at", "7")[0] == 0
    assert lodeline(imported, "log", "prove", "7", "--at", "7")[0] == 1
    assert lodeline(imported, "log", "prove", "five")[0] == 2
    answer = json.loads(lodeline(imported, "log", "checkpoint", "--json")[1])
    assert answer["size"] == 8
    assert answer["vkeys"][0].startswith(answer["origin"] + "+")


def test_a_proof_is_written_to_a_file_and_checked_where_there_is_no_store(imported: Path) -> None:
    key = json.loads(lodeline(imported, "log", "checkpoint", "--json")[1])["vkeys"][0]
    leaf = json.loads(lodeline(imported, "log", "prove", "5", "--json")[1])["leaf"]
    away = imported / "away"
    away.mkdir()
    words = ("log", "prove", "5", "--tlog-proof")
    assert lodeline(imported, *words, "-o", "away/5.tlog-proof") == (0, "")
    proof = (away / "5.tlog-proof").read_text()
    assert lodeline(imported, *words) == (0, proof)
    check = ("log", "prove", "--verify", "5.tlog-proof")
    status, out = lodeline(away, *check, "--vkey", key, "--json")
    answer = json.loads(out)
    assert (status, answer["ok"], answer["position"], answer["leaf"]) == (0, True, 5, leaf)
    assert "entry 5 is in the tree of 7" in lodeline(away, *check, "--vkey", key)[1]
    (away / "leaf").write_text(leaf)
    assert lodeline(away, *check, "--vkey", key, "--leaf", "leaf")[0] == 0
    (away / "leaf").write_text(leaf.replace("event", "fold"))
    assert lodeline(away, *check, "--vkey", key, "--leaf", "leaf")[0] == 1
    witness = Cosigner("witness.example", b"w" * 32)
    quorum = f"log {key}\nwitness W {witness.verifier.vkey}\nquorum W\n"
    (away / "policy").write_text(quorum)
    assert lodeline(away, *check, "--policy", "policy")[0] == 1
    text = parse_note(proof.partition("\n\n")[2])[0]
    line = witness.cosign(text, time_s=1_800_000_000).line
    (away / "5.tlog-proof").write_text(proof + line)
    assert lodeline(away, *check, "--policy", "policy")[0] == 0
    (away / "policy").write_text(quorum.partition("\n")[2])
    assert lodeline(away, *check, "--policy", "policy")[0] == 2
    assert lodeline(away, *check, "--policy", "policy", "--vkey", key)[0] == 0
    (away / "5.tlog-proof").write_text(proof.replace("index 5", "index 4"))
    assert lodeline(away, *check, "--vkey", key)[0] == 1
    assert lodeline(away, *check)[0] == 2
    assert lodeline(away, "log", "prove", "--verify", "none", "--vkey", key)[0] == 2
    assert lodeline(imported, "log", "prove", "9", "--tlog-proof")[0] == 1


def test_keys_are_rotated_and_retired_and_a_kept_checkpoint_still_counts(imported: Path) -> None:
    (imported / "kept").write_text(lodeline(imported, "log", "checkpoint")[1])
    first = json.loads(lodeline(imported, "log", "checkpoint", "--json")[1])
    assert lodeline(imported, "log", "retire-keys")[0] == 2
    status, out = lodeline(imported, "log", "rotate-keys", "--json")
    rotated = json.loads(out)
    assert (status, rotated["size"]) == (0, 8)
    overlap = json.loads(lodeline(imported, "log", "checkpoint", "--json")[1])
    assert overlap["vkeys"] == [*first["vkeys"], rotated["vkey"]]
    assert overlap["receipt_vkeys"] == [*first["receipt_vkeys"], rotated["receipt_vkey"]]
    assert overlap["note"].count("\n— ") == 2
    assert lodeline(imported, "log", "rotate-keys")[0] == 2
    status, out = lodeline(imported, "log", "retire-keys", "--json")
    retired = json.loads(out)
    assert (status, len(retired["removed"])) == (0, 2)
    assert retired["retired"] == sorted(first["vkeys"] + first["receipt_vkeys"])
    after = json.loads(lodeline(imported, "log", "checkpoint", "--json")[1])
    assert (after["retired"], after["note"].count("\n— ")) == (retired["retired"], 1)
    assert lodeline(imported, "log", "consistency", "kept")[0] == 0
    assert lodeline(imported, "verify")[0] == lodeline(imported, "doctor")[0] == 0


def test_doctor_finds_nothing_wrong_with_a_fresh_store(imported: Path) -> None:
    status, out = lodeline(imported, "doctor", "--json")
    answer = json.loads(out)
    assert (status, answer["ok"], answer["problems"]) == (0, True, [])
    assert answer["log"]["size"] == answer["log"]["signed_to"] == answer["graph"]["folded_to"] == 7
    assert {key["mode"] for key in answer["keys"]} == {"0600"}
    rebuilt = json.loads(lodeline(imported, "rebuild", "--json")[1])
    assert rebuilt["graph_digest"] == answer["graph_digest"]
    assert "nothing needs attention" in lodeline(imported, "doctor")[1]


def test_doctor_names_what_needs_attention_and_the_next_step(imported: Path) -> None:
    lodeline(imported, "import", "-", stdin=b"{}")
    key = next((imported / ".lodeline" / "lodeline.db.keys").glob("*.receipt.key"))
    key.chmod(0o644)
    status, out = lodeline(imported, "doctor", "--json")
    problems = json.loads(out)["problems"]
    assert (status, len(problems)) == (1, 2)
    assert problems[0]["next"] == "lodeline dead-letter list"
    assert problems[1]["next"] == f"chmod 600 {key}"
    assert "attention: 1 inputs were refused" in lodeline(imported, "doctor")[1]
    assert lodeline(imported, "doctor", "--store", "sqlite:///nowhere.db")[0] == 3


def test_commands_of_a_store_do_not_pretend_to_ask_a_server(imported: Path) -> None:
    for words in (["verify"], ["doctor"], ["rebuild"], ["backup", "b"]):
        assert lodeline(imported, *words, "--server", "http://127.0.0.1:9")[0] == 2


def test_a_server_that_is_asked_for_its_dead_letters_and_is_not_there_could_not_tell(
    imported: Path,
) -> None:
    command = ["dead-letter", "list", "--server", "http://127.0.0.1:9"]
    assert lodeline(imported, *command)[0] == 3


def test_consistency_with_every_checkpoint_ever_signed(imported: Path) -> None:
    for number in range(5, 8):
        event = json.dumps(EVENT | {"eventTime": f"2026-01-01T00:00:0{number}Z"})
        lodeline(imported, "import", "-", stdin=event.encode())
    status, text = lodeline(imported, "log", "consistency", "--all", "--json")
    answer = json.loads(text)
    assert (status, answer["ok"], answer["later"]["size"]) == (0, True, 10)
    assert answer["checkpoints"] >= 5
    with sqlite3.connect(imported / ".lodeline" / "lodeline.db") as connection:
        hashes = connection.execute("SELECT hashes FROM tile_edge WHERE level = 0").fetchone()[0]
        changed = bytes([hashes[0] ^ 1]) + hashes[1:]
        connection.execute("UPDATE tile_edge SET hashes = ? WHERE level = 0", (changed,))
    assert lodeline(imported, "log", "consistency", "--all")[0] == 1
