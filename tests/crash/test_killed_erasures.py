"""Killed at any step, an erasure is either not logged at all or complete at the next opening."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from lodeline.ingest import accept
from lodeline.store import open_segment
from lodeline.store.subject_records import erase_subject, find_subject
from lodeline.store.verification import verify_segment

SUBJECT = "alice-4f1b@example.com"
RULES = '[[rules]]\npointer = "/run/facets/approver/mail"\n'
# A key file is written over and removed, the database is written: each of these is a step.
STEPS = {"open", "os.remove", "sql"}


def event(number: int) -> bytes:
    facets = {"approver": {"mail": SUBJECT}, "comment": {"text": f"asked {SUBJECT} twice"}}
    body = {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.com",
        "run": {"runId": f"00000000-0000-4000-8000-{number:012x}", "facets": facets},
        "job": {"namespace": "n", "name": "j"},
        "outputs": [{"namespace": "n", "name": "b"}],
    }
    return json.dumps(body).encode()


def _kill_at_step(path: Path, step: int) -> bool:
    """In a child, erase and die before the n-th step; True if it died."""
    child = os.fork()
    if child == 0:
        try:
            segment = open_segment(f"sqlite:///{path}")
            record = find_subject(segment, SUBJECT)
            left = [step]

            def take(name: str, _arguments: object = ()) -> None:
                if name in STEPS:
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            with segment.database.locked() as connection:
                connection.set_trace_callback(lambda _: take("sql"))
            sys.addaudithook(take)
            erase_subject(segment, record, undeclared=True)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    (folder / "s.db.personal.toml").write_text(RULES)
    with open_segment(f"sqlite:///{folder / 's.db'}") as segment:
        accept(segment, [event(1), event(2)])
    return folder


def test_a_kill_before_any_step_of_an_erasure_leaves_all_or_nothing(
    base: Path, tmp_path: Path
) -> None:
    outcomes = []
    died = True
    step = 0
    while died:
        assert step < 300, "the erasure never ends"
        path = tmp_path / str(step) / "s.db"
        shutil.copytree(base, path.parent)
        died = _kill_at_step(path, step)
        with open_segment(f"sqlite:///{path}") as segment:
            assert verify_segment(segment).failures == [], f"killed before step {step}"
            logged = bool(list(segment.iter_entries(kinds={"erasure"})))
            keys = segment.personal.files.list_ids()
        held = b"".join(file.read_bytes() for file in path.parent.glob("s.db*") if file.is_file())
        left = (bool(keys), SUBJECT.encode() in held.replace(RULES.encode(), b""))
        assert left == ((False, False) if logged else (True, True)), f"killed before step {step}"
        outcomes.append(logged)
        step += 1
    assert {True, False} <= set(outcomes)
    assert outcomes == sorted(outcomes)
