"""The collector rests while any question is under way, and only then."""

from __future__ import annotations

import gc
import json
import subprocess
import sys

from lodeline.query.collecting import collector_at_rest


def test_the_collector_works_again_after_the_last_question() -> None:
    assert gc.isenabled()
    with collector_at_rest():
        assert not gc.isenabled()
        with collector_at_rest():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_switched_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_at_rest():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_process_that_serves_does_not_walk_what_it_was_made_of() -> None:
    program = (
        "import gc, json; from lodeline.ingest.collecting import collect_seldom\n"
        "objects = len(gc.get_objects()); collect_seldom(); ran = []\n"
        "gc.callbacks.append(lambda phase, _: ran.append(phase))\n"
        "kept = [[] for _ in range(10_000)]\n"
        "print(json.dumps([objects, gc.get_freeze_count(), len(ran), gc.isenabled()]))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    objects, frozen, collections, enabled = json.loads(said.stdout)
    assert frozen > objects / 2
    assert collections == 0
    assert enabled
