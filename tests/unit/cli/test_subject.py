"""`lodeline subject` finds, hands out and erases, and its exit status says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lodeline.cli.main import main

NAME = "alice-77aa@example.com"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lodeline.toml").write_text(
        '[[personal.rules]]\npointer = "/job/facets/ownership/owners/*/name"\n'
    )
    facets = {"ownership": {"owners": [{"name": NAME}]}, "doc": {"text": f"by {NAME}"}}
    event = {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.com",
        "run": {"runId": "00000000-0000-4000-8000-000000000001"},
        "job": {"namespace": "n", "name": "j", "facets": facets},
        "outputs": [{"namespace": "n", "name": "b"}],
    }
    (tmp_path / "events.jsonl").write_text(json.dumps(event))
    url = f"sqlite:///{tmp_path}/s.db"
    assert main(["import", "events.jsonl", "--store", url]) == 0
    return url


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(list(words))
    return status, capsys.readouterr().out


def test_a_subject_is_found_handed_out_and_erased(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = ask(capsys, "subject", "find", NAME, "--json", "--store", store)
    answer = json.loads(text)
    assert (status, answer["known"], answer["complete"]) == (0, True, False)
    place = {"entry": 3, "pointer": "/job/facets/ownership/owners/0/name", "erased_by": None}
    assert answer["fields"] == [place]
    assert answer["undeclared"] == [{"entry": 3, "pointers": ["/job/facets/doc"]}]

    status, text = ask(capsys, "subject", "export", NAME, "--store", store)
    assert status == 0
    assert [one["value"] for one in json.loads(text)["values"]] == [
        {"text": f"by {NAME}"},
        NAME,
    ]

    # What lies in the clear is left, and the answer says so.
    status, text = ask(capsys, "subject", "erase", NAME, "--json", "--store", store)
    answer = json.loads(text)
    assert (status, answer["erased_by"], answer["complete"]) == (0, 4, False)
    words = ["subject", "erase", NAME, "--undeclared", "--json", "--store", store]
    status, text = ask(capsys, *words)
    answer = json.loads(text)
    assert (status, answer["erased_by"], answer["complete"]) == (0, 5, True)
    # Again is no fault.
    status, text = ask(capsys, "subject", "erase", NAME, "--store", store)
    assert (status, text) == (0, "erased before: 1 values\n")

    status, text = ask(capsys, "export", "--store", store)
    facets = json.loads(text)["job"]["facets"]
    assert facets == {"doc": None, "ownership": {"owners": [{"name": None}]}}
    assert ask(capsys, "verify", "--store", store)[0] == 0


def test_nobody_is_known_by_that_name(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = ask(capsys, "subject", "erase", "nobody", "--store", store)
    assert (status, text) == (1, "nothing is known of nobody\n")
