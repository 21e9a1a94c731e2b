"""What does the redactable form cost per event, without personal values and with some?

Workload: seeded OpenLineage run events of about 2 kB and 5 facets, in batches of 500, of 50
subjects; 0, 1, 3 or 10 of their values are declared personal. `look` asks an event whether it may
have some: one with none under a rule for another member, or with no rule at all (`look, none`).
`take out` finds the values, and makes the payload without them and its fields; `seal` encrypts
them; `commit` hashes all fields with their salts. `append` is a whole durable append of a prepared
event, signed. Contenders take turns within each round. CPU time of the process, but for `append`,
which is wall time with its fsyncs.

Floor: AES-256-GCM of the same bytes under one key, and SHA-256 of the payload.

    python bench/redaction.py --out bench/results/redaction.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lodeline.ingest import prepare_event
from lodeline.proof import commit_fields
from lodeline.store import AcceptedEvent, SqliteSegment, open_segment
from lodeline.store.personal import PersonalPart, SealingPlan, take_out, with_sealed
from lodeline.wire.personal import PersonalRules, read_rules

COUNTS = (0, 1, 3, 10)
BATCH = 500
SUBJECTS = 50
RECORD = bytes(32)
NOTHING = PersonalRules()


def make_events(count: int, seed: int) -> list[AcceptedEvent]:
    """Draw events, each with ten values that may be declared personal."""
    chance = random.Random(seed)
    return [
        prepare_event(json.dumps(make_event(number, chance)).encode()) for number in range(count)
    ]


def make_event(number: int, chance: random.Random) -> dict[str, Any]:
    """Write one event."""
    people = {
        f"name_{place}": f"Person {chance.randrange(10**9)}, Example Street {place}"
        for place in range(10)
    }
    fields = [{"name": f"column_{i}", "type": "bigint"} for i in range(8)]
    return {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.com/producer",
        "run": {
            "runId": f"00000000-0000-4000-8000-{number:012x}",
            "facets": {
                "approval": {"id": f"subject {chance.randrange(SUBJECTS)}", **people},
                "nominalTime": {"nominalStartTime": "2026-01-01T00:00:00Z"},
            },
        },
        "job": {
            "namespace": "bench",
            "name": f"job_{number % 50}",
            "facets": {"sql": {"query": "select * from a join b using (id) " * 10}},
        },
        "inputs": [{"namespace": "bench", "name": "a", "facets": {"schema": {"fields": fields}}}],
        "outputs": [{"namespace": "bench", "name": "b", "facets": {"schema": {"fields": fields}}}],
    }


def rules_for(count: int) -> PersonalRules:
    """Declare the first so many of the ten values."""
    rows = [
        {"pointer": f"/run/facets/approval/name_{place}", "subject": "/run/facets/approval/id"}
        for place in range(count)
    ]
    return PersonalRules(read_rules({"rules": rows}))


def cpu_us(work: Callable[[], object], count: int) -> float:
    """CPU microseconds for each of `count` events."""
    start = time.process_time_ns()
    work()
    return (time.process_time_ns() - start) / 1000 / count


def take_all(events: list[AcceptedEvent], rules: PersonalRules) -> list[PersonalPart]:
    """Take the personal values out of every event."""
    parts = (take_out(one.canonical, one.fields, rules) for one in events)
    return [part for part in parts if part is not None]


def make_plan() -> SealingPlan:
    """A plan whose keys are known, as for subjects that were seen before."""
    plan = SealingPlan(os.urandom)
    for number in range(SUBJECTS):
        plan.keys[f"subject {number}"] = (f"{number:032x}", os.urandom(32))
    return plan


def measure_steps(events: list[AcceptedEvent], rounds: int) -> dict[str, dict[str, float]]:
    """Median CPU time of each step, by count of personal values."""
    plan = make_plan()
    found: dict[str, dict[str, list[float]]] = {str(count): {} for count in COUNTS}
    others = PersonalRules(read_rules({"rules": [{"pointer": "/run/facets/absent/name"}]}))

    def note(count: int, step: str, work: Callable[[], object]) -> None:
        found[str(count)].setdefault(step, []).append(cpu_us(work, len(events)))

    for _ in range(rounds):
        for count in COUNTS:
            if count == 0:
                secret = os.urandom(32)
                note(0, "look, none us", lambda: [NOTHING.may_match(e.canonical) for e in events])
                note(0, "look us", lambda: [others.may_match(one.canonical) for one in events])
                note(0, "commit us", lambda s=secret: [commit_fields(s, e.fields) for e in events])
                continue
            rules = rules_for(count)
            parts: list[PersonalPart] = []
            note(count, "look us", lambda r=rules: [r.may_match(one.canonical) for one in events])
            note(
                count,
                "take out us",
                lambda r=rules, p=parts: p.extend(
                    part
                    for one in events
                    if (part := take_out(one.canonical, one.fields, r)) is not None
                ),
            )
            sealed: list[Any] = []
            note(
                count,
                "seal us",
                lambda p=parts, s=sealed: s.extend(plan.seal(part, RECORD) for part in p),
            )
            note(
                count,
                "commit us",
                lambda p=parts, s=sealed: [
                    commit_fields(RECORD, with_sealed(part.fields, one))
                    for part, one in zip(p, s, strict=True)
                ],
            )
    return {
        count: {step: round(statistics.median(values), 2) for step, values in steps.items()}
        for count, steps in found.items()
    }


def measure_appends(events: list[AcceptedEvent], rounds: int) -> dict[str, float]:
    """Median wall time of an append, by count of personal values; stores take turns."""
    found: dict[str, list[float]] = {str(count): [] for count in COUNTS}
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[int, SqliteSegment] = {}
        for count in COUNTS:
            stores[count] = open_segment(f"sqlite:///{folder}/{count}.db")
            stores[count].personal_rules = rules_for(count)
            stores[count].append(events[:BATCH])  # Subjects get their keys here.
        for turn in range(1, rounds + 1):
            batch = events[turn * BATCH : (turn + 1) * BATCH]
            for count, store in stores.items():
                start = time.perf_counter()
                store.append(batch)
                found[str(count)].append((time.perf_counter() - start) * 1e6 / len(batch))
        for store in stores.values():
            store.close()
    return {count: round(statistics.median(values), 1) for count, values in found.items()}


def measure_floor(events: list[AcceptedEvent], rounds: int) -> dict[str, float]:
    """The bare primitives on bytes of the same size."""
    cipher, nonce, value = AESGCM(os.urandom(32)), os.urandom(12), b"x" * 60
    seal, digest = [], []
    for _ in range(rounds):
        seal.append(
            cpu_us(lambda: [cipher.encrypt(nonce, value, RECORD) for _ in events], len(events))
        )
        digest.append(
            cpu_us(lambda: [hashlib.sha256(one.canonical).digest() for one in events], len(events))
        )
    return {
        "AES-256-GCM of one value us": round(statistics.median(seal), 2),
        "SHA-256 of the payload us": round(statistics.median(digest), 2),
    }


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    events = make_events(BATCH * (arguments.rounds + 1), seed=3)
    load = os.getloadavg()[0]
    result = {
        "question": "what does the redactable form cost per event?",
        "command": f"python bench/redaction.py --rounds {arguments.rounds}",
        "workload": {
            "events": len(events),
            "bytes of an event": round(statistics.mean(len(one.canonical) for one in events)),
            "facets": 5,
            "subjects": SUBJECTS,
        },
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "load_average_before": load,
        "steps by personal values": measure_steps(events[:BATCH], arguments.rounds),
        "append us by personal values": measure_appends(events, arguments.rounds),
        "floor": measure_floor(events[:BATCH], arguments.rounds),
    }
    text = json.dumps(result, indent=2) + "\n"
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        arguments.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
