"""What CPU does it take to decode and validate one OpenLineage event?

Workload: the 452 recorded events of Airflow, dbt and Dagster (`tests/fixtures/events`), in the
order of their files; one measurement is one pass over all of them. Contenders take turns within
each round, so that a disturbance meets all.

Three questions, each beside what answers the same:

- *Decode and validate*, as pydantic does: types, required members, enumeration, UUID and time.
  `decode_and_validate` does that and no more (events that were accepted are read so again), and
  the design's target is held against it. Floor: msgspec reading the bare structure. Peer:
  `pydantic`, models of the same core shape, facets as open models with `_producer` and
  `_schemaURL`.
- *Refuse as well* duplicate names, NUL, lone surrogates and depth: `decode_event`, beside
  `pydantic_same_refusals`, where the standard library's parser finds duplicate names. The canonical
  form is what tells ours from them, so that it is written here, too.
- *Accept*: `accept` gives what the log keeps and commits to, which no peer does: besides all that,
  the canonical form (RFC 8785) and every field committed to in it.

`new` forgets everything before each event, `pass` before each pass, `again` never: real streams lie
between the last two.

    python bench/decode.py --out bench/results/decode.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from lodeline import wire
from lodeline.limits import EVENT_DEPTH_MAX
from lodeline.model import parse_time
from lodeline.wire import envelope, parse_with_tokens, parts
from lodeline.wire.parts import forget_parts
from lodeline.wire.reading import iter_raw_events
from lodeline.wire.repeated import Repeated, forget_contents, read_repeated

ROOT = Path(__file__).parents[1]
EVENTS = ROOT / "tests" / "fixtures" / "events"
EventType = Literal["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]


class PydanticFacet(BaseModel):
    """BaseFacet of the specification: two members and whatever else."""

    model_config = ConfigDict(extra="allow")
    producer: str = Field(alias="_producer")
    schema_url: str = Field(alias="_schemaURL")


class PydanticDataset(BaseModel):
    """InputDataset and OutputDataset in one."""

    namespace: str
    name: str
    facets: dict[str, PydanticFacet] | None = None
    inputFacets: dict[str, PydanticFacet] | None = None  # noqa: N815  # as on the wire
    outputFacets: dict[str, PydanticFacet] | None = None  # noqa: N815  # as on the wire


class PydanticRun(BaseModel):
    """Run of the specification."""

    runId: UUID  # noqa: N815  # as on the wire
    facets: dict[str, PydanticFacet] | None = None


class PydanticJob(BaseModel):
    """Job of the specification."""

    namespace: str
    name: str
    facets: dict[str, PydanticFacet] | None = None


class PydanticRunEvent(BaseModel):
    """RunEvent of the specification."""

    eventTime: datetime  # noqa: N815  # as on the wire
    run: PydanticRun
    job: PydanticJob
    eventType: EventType | None = None  # noqa: N815  # as on the wire
    inputs: list[PydanticDataset] | None = None
    outputs: list[PydanticDataset] | None = None
    producer: str | None = None
    schemaURL: str | None = None  # noqa: N815  # as on the wire


class FloorRun(msgspec.Struct):
    """A run, unchecked."""

    runId: str  # noqa: N815  # as on the wire
    facets: dict[str, msgspec.Raw] = {}


class FloorPart(msgspec.Struct):
    """A job or dataset, unchecked."""

    namespace: str
    name: str
    facets: dict[str, msgspec.Raw] = {}
    inputFacets: dict[str, msgspec.Raw] = {}  # noqa: N815  # as on the wire
    outputFacets: dict[str, msgspec.Raw] = {}  # noqa: N815  # as on the wire


class FloorEvent(msgspec.Struct):
    """A RunEvent, unchecked."""

    eventTime: str  # noqa: N815  # as on the wire
    run: FloorRun
    job: FloorPart
    eventType: str | None = None  # noqa: N815  # as on the wire
    inputs: list[FloorPart] = []
    outputs: list[FloorPart] = []


def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate name")
    return members


def pydantic_same_refusals(raw: bytes) -> PydanticRunEvent:
    value = json.loads(raw, object_pairs_hook=refuse_duplicates)
    if b"\\u0000" in raw or b"\\ud" in raw:
        raise ValueError("to be looked at")
    return PydanticRunEvent.model_validate(value)


def forget() -> None:
    """Forget all that earlier events taught."""
    forget_parts()
    forget_contents()


def decode_new(raw: bytes) -> wire.Event:
    forget()
    return wire.decode_event(raw)


def accept_new(raw: bytes) -> wire.Accepted:
    forget()
    return wire.decode_accepted(raw)


# Name -> (what is called, whether parts are forgotten before each pass).
CONTENDERS: dict[str, tuple[Callable[[bytes], object], bool]] = {
    "floor_msgspec": (msgspec.json.Decoder(FloorEvent).decode, False),
    "decode_and_validate": (wire.decode_stored, False),
    "pydantic": (PydanticRunEvent.model_validate_json, False),
    "pydantic_same_refusals": (pydantic_same_refusals, False),
    "decode_event_new": (decode_new, False),
    "decode_event_pass": (wire.decode_event, True),
    "decode_event_again": (wire.decode_event, False),
    "accept_new": (accept_new, False),
    "accept_pass": (wire.decode_accepted, True),
    "accept_again": (wire.decode_accepted, False),
}


def one_pass(call: Callable[[Any], object], events: Sequence[Any]) -> float:
    """CPU microseconds an event."""
    start = time.process_time_ns()
    for raw in events:
        call(raw)
    return (time.process_time_ns() - start) / 1_000 / len(events)


def measure(events: list[bytes], rounds: int) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for call, _ in CONTENDERS.values():
        one_pass(call, events)
    for _ in range(rounds):
        for name, (call, fresh) in CONTENDERS.items():
            if fresh:
                forget()
            elif name.endswith("_again"):
                # What comes a second time is remembered as a whole from then on.
                one_pass(call, events)
                one_pass(call, events)
            times[name].append(one_pass(call, events))
    return {
        name: {
            "median_us": round(statistics.median(found), 2),
            "p99_us": round(sorted(found)[min(rounds - 1, int(rounds * 0.99))], 2),
        }
        for name, found in times.items()
    }


def measure_stages(events: list[bytes], rounds: int) -> dict[str, float]:
    """Where the CPU goes: median microseconds an event of each stage, measured alone."""
    documents = [wire.decode_document(raw) for raw in events]
    envelopes = [envelope._decode(raw) for raw in events]  # noqa: SLF001  # stages have no names outside
    short = [reading for raw in events if (reading := envelope.read_short(raw)) is not None]
    known = [one for one in map(read_repeated, events) if isinstance(one, Repeated)]
    values = [parse_with_tokens(raw) for raw in events]
    stages: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
        "repeated: recognise the content": (read_repeated, events),
        "repeated: give the event": (lambda one: one.event(), known),
        "repeated: write the canonical form": (lambda one: one.canonical(), known),
        "repeated: list the fields": (lambda one: one.fields(), known),
        "short: parse the envelope": (envelope._decode, events),  # noqa: SLF001  # as above
        "short: read the time": (lambda one: parse_time(one.event_time), envelopes),
        "short: recognise the job": (lambda one: parts.find_job(one.job), envelopes),
        "short: recognise facets of the run": (
            lambda one: [parts.find_run_facet(raw) for raw in one.run.facets.values()],
            envelopes,
        ),
        "short: write the canonical form": (
            lambda one: envelope._canonical(*one[2:]),  # noqa: SLF001  # as above
            short,
        ),
        "short: count colons and backslashes": (
            lambda one: (one.raw.count(b":"), one.canonical.count(b":"), one.raw.count(b"\\")),
            documents,
        ),
        "short: list the fields": (lambda one: one.fields(), short),
        "long: parse everything": (parse_with_tokens, events),
        "long: write the canonical form": (
            lambda value: wire.canonical_bytes(value, finished=True),
            values,
        ),
        "long: look for duplicates, NUL, depth": (
            lambda one: parts.is_suspicious(one.raw, one.value, one.canonical, EVENT_DEPTH_MAX),
            [
                Seen(one.raw, value, one.canonical)
                for one, value in zip(documents, values, strict=True)
            ],
        ),
        "long: read the types": (wire.decode_stored, events),
        "long: list the fields": (
            lambda value: wire.commitment_fields(value, finished=True),
            values,
        ),
    }
    return {
        name: round(statistics.median(one_pass(call, items) for _ in range(rounds)), 2)
        for name, (call, items) in stages.items()
    }


class Seen(NamedTuple):
    """What the search for faults in the text looks at."""

    raw: bytes
    value: Any
    canonical: bytes


def remembered_bytes(events: list[bytes]) -> int:
    """Memory that what two passes taught holds."""
    forget()
    tracemalloc.start()
    for raw in (*events, *events):
        wire.decode_event(raw)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    events = []
    for path in sorted(EVENTS.glob("*/*.jsonl")):
        with path.open("rb") as lines:
            events += [event.raw for event in iter_raw_events(lines)]
    load_before = os.getloadavg()[0]
    measured = measure(events, options.rounds)
    cpu = {name: found["median_us"] for name, found in measured.items()}
    report = {
        "question": __doc__.splitlines()[0],
        "command": "python bench/decode.py " + " ".join(sys.argv[1:]),
        "workload": {
            "events": len(events),
            "bytes_mean": round(statistics.mean(map(len, events))),
            "passes": options.rounds,
        },
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "load_average_before": load_before,
            "load_average_after": os.getloadavg()[0],
        },
        "cpu_per_event": measured,
        "stages_us": measure_stages(events, options.rounds),
        "ratios": {
            "decode_and_validate_to_pydantic": round(
                cpu["decode_and_validate"] / cpu["pydantic"], 2
            ),
            "decode_and_validate_to_floor": round(
                cpu["decode_and_validate"] / cpu["floor_msgspec"], 2
            ),
            **{
                f"decode_event_{how}_to_{peer}": round(cpu[f"decode_event_{how}"] / cpu[peer], 2)
                for peer in ("pydantic", "pydantic_same_refusals")
                for how in ("new", "pass", "again")
            },
        },
        "beyond_decoding_us": {
            how: {
                "duplicate names, NUL, surrogates, depth, by the canonical form": round(
                    cpu[f"decode_event_{how}"] - cpu["decode_and_validate"], 2
                ),
                "what the log commits to": round(
                    cpu[f"accept_{how}"] - cpu[f"decode_event_{how}"], 2
                ),
            }
            for how in ("new", "pass", "again")
        },
        "target": {"decode_and_validate_to_pydantic": 0.4},
        "remembered_bytes_after_two_passes": remembered_bytes(events),
    }
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.parent.mkdir(exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
