"""A pack proves its answer, and no changed pack proves another."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_the_questions import entries_of, roots_of

from histories import histories
from lodeline.errors import MalformedPackError, UnknownNodeError
from lodeline.evidence import build_pack
from lodeline.fold import fold
from lodeline.fold.evidence import FAILURES_MAX, PackReport, _Verification, recompute, verify_pack
from lodeline.ingest import accept
from lodeline.ingest.predictions import accept_predictions
from lodeline.model import PredictionId
from lodeline.proof import Signer, TreeHead, Verifier, format_tree_head, parse_note, sign_note
from lodeline.proof.cosignatures import Cosigner
from lodeline.proof.leaves import LeafRecord
from lodeline.proof.packs import (
    DisclosedEntry,
    DisclosedField,
    Trust,
    decode_pack,
    encode_pack,
    find_head,
    read_json,
    read_policy,
    sign_manifest,
    verify_entry,
    write_json,
)
from lodeline.query import ask
from lodeline.store import open_segment
from lodeline.store.sqlite import SqliteSegment

FIXTURES = Path(__file__).parents[1] / "fixtures" / "events"


@contextmanager
def a_store(events: Sequence[bytes]) -> Iterator[SqliteSegment]:
    with TemporaryDirectory() as folder, open_segment(f"sqlite:///{folder}/s.db") as segment:
        accept(segment, events)
        yield segment


def encoded(history: Sequence[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(event).encode() for event in history]


@given(histories, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_every_answer_of_a_history_is_proven_by_its_pack(
    history: Sequence[dict[str, Any]], seed: int
) -> None:
    rng = random.Random(seed)
    with a_store(encoded(history)) as segment:
        roots = roots_of(fold(entries_of(segment)))
        for root in rng.sample(roots, min(4, len(roots))):
            direction = rng.choice(["up", "down", "both"])
            asked: dict[str, Any] = {"id": str(root), direction: True}
            asked["columns"] = rng.random() < 0.5
            asked["depth"] = rng.choice([None, 0, 1, 2])
            try:
                files = build_pack(segment, asked)
            except UnknownNodeError:
                continue
            report = verify_pack(decode_pack(encode_pack(files)))
            assert report.ok, (asked, report.failures)
            assert report.trust == "self"
            live = ask(
                segment,
                "trace",
                {**asked, "as_of": json.loads(files["answer.json"])["as_of"]["tree_size"]},
            )
            proven = {
                key_of(edge): edge["entries"] for edge in json.loads(files["answer.json"])["edges"]
            }
            assert {key_of(edge): edge["entries"] for edge in live["edges"]} == proven


def key_of(edge: dict[str, Any]) -> tuple[Any, ...]:
    return edge["source"], edge["target"], edge["kind"], edge["job"]


@pytest.fixture(scope="module")
def real() -> Iterator[tuple[SqliteSegment, dict[str, bytes]]]:
    """A pack over the events that real producers sent."""
    lines = [
        line
        for path in sorted(FIXTURES.rglob("*.jsonl"))
        for line in path.read_bytes().splitlines()
        if line.strip()
    ]
    with a_store(lines) as segment:
        names = sorted(
            str(node) for node in fold(entries_of(segment)).names if node.kind == "dataset"
        )
        packs = {name: build_pack(segment, {"id": name, "both": True}) for name in names[:12]}
        largest = max(
            packs.values(), key=lambda files: len(json.loads(files["answer.json"])["edges"])
        )
        assert len(json.loads(largest["answer.json"])["edges"]) > 4
        yield segment, largest


def signed_again(segment: SqliteSegment, files: dict[str, bytes]) -> dict[str, bytes]:
    """What someone who holds the log's keys would write: the manifest follows the change."""
    manifest = read_json(files["manifest.json"], "manifest")
    facts = {name: value for name, value in manifest.items() if name not in ("files", "format")}
    kept = {name: data for name, data in files.items() if not name.startswith("manifest")}
    sign_manifest(kept, facts, segment.keys.receipt)
    return kept


def changed(files: dict[str, bytes], name: str, change: Any) -> dict[str, bytes]:
    value = json.loads(files[name])
    change(value)
    return {**files, name: write_json(value)}


def codes(files: dict[str, bytes], trust: Trust | None = None) -> set[str]:
    return {failure.code for failure in verify_pack(files, trust).failures}


def test_the_operator_cannot_leave_out_an_edge_a_node_or_a_gap(real: Any) -> None:
    segment, files = real
    answer = json.loads(files["answer.json"])
    for what in ("edges", "nodes", "gaps"):
        for index in range(len(answer[what])):
            without = changed(files, "answer.json", lambda one: one[what].pop(index))  # noqa: B023
            if what == "gaps":
                without = changed(
                    without, "answer.json", lambda one: one.update(complete=not one["gaps"])
                )
            assert f"answer.{what}" in codes(signed_again(segment, without)), (what, index)


def test_the_operator_cannot_change_what_an_edge_says(real: Any) -> None:
    segment, files = real
    answer = json.loads(files["answer.json"])
    lies = {
        "status": "stale",
        "basis": "lineage",
        "asserted_by": [],
        "asserted_by_total": 99,
        "first_seen": "1999-01-01T00:00:00.000000Z",
        "entries": [],
        "restricted": True,
    }
    for index, edge in enumerate(answer["edges"]):
        for name, lie in lies.items():
            if edge[name] == lie:
                continue
            lying = changed(
                files,
                "answer.json",
                lambda one: one["edges"][index].update({name: lie}),  # noqa: B023
            )
            assert "answer.edges" in codes(signed_again(segment, lying)), (index, name)


def test_the_operator_cannot_leave_out_an_entry(real: Any) -> None:
    segment, files = real
    lines = files["entries.ndjson"].splitlines(keepends=True)
    for index in range(len(lines)):
        fewer = b"".join(lines[:index] + lines[index + 1 :])
        assert codes(signed_again(segment, {**files, "entries.ndjson": fewer})), lines[index][:90]


def test_the_operator_cannot_shorten_what_the_map_says_of_a_node(real: Any) -> None:
    segment, files = real
    nodes = json.loads(files["map.json"])["nodes"]
    for index, node in enumerate(nodes):
        gone = changed(files, "map.json", lambda one: one["nodes"].pop(index))  # noqa: B023
        assert codes(signed_again(segment, gone)) & {"map.unproven", "map.omitted"}, node["node"]
        if node["positions"]:
            less = changed(files, "map.json", lambda one: one["nodes"][index]["positions"].pop())  # noqa: B023
            assert "map.proof" in codes(signed_again(segment, less)), node["node"]
            none = changed(files, "map.json", lambda one: one["nodes"][index].update(positions=[]))  # noqa: B023
            assert codes(signed_again(segment, none)), node["node"]


def test_any_flipped_byte_of_a_pack_is_found(real: Any) -> None:
    _, files = real
    data = encode_pack(files)
    rng = random.Random(7)
    for _ in range(1500):
        offset = rng.randrange(len(data))
        flipped = bytearray(data)
        flipped[offset] ^= 1 << rng.randrange(8)
        try:
            found = decode_pack(bytes(flipped))
        except MalformedPackError:
            continue
        assert not verify_pack(found).ok, offset


def test_any_mutation_of_a_file_is_found_though_the_container_is_sound(real: Any) -> None:
    _, files = real
    rng = random.Random(11)
    names = sorted(name for name in files if not name.startswith("verifier/"))
    for _ in range(1500):
        name = rng.choice(names)
        data = bytearray(files[name])
        act = rng.choice(["flip", "cut", "double", "drop", "swap"])
        if act == "flip":
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif act == "cut":
            del data[rng.randrange(len(data)) :]
        elif act == "double":
            data += data[rng.randrange(len(data)) :]
        else:
            lines = bytes(data).splitlines(keepends=True)
            one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
            if act == "drop":
                del lines[one]
            else:
                lines[one], lines[two] = lines[two], lines[one]
            data = bytearray(b"".join(lines))
        if data != files[name]:
            assert not verify_pack({**files, name: bytes(data)}).ok, (name, act)
    for name in files:
        assert not verify_pack({k: v for k, v in files.items() if k != name}).ok, name
    assert not verify_pack({**files, "more.txt": b"x"}).ok


def test_mutated_entries_are_found_though_the_manifest_follows(real: Any) -> None:
    segment, files = real
    rng = random.Random(13)
    lines = files["entries.ndjson"].splitlines(keepends=True)
    for _ in range(400):
        index = rng.randrange(len(lines))
        line = bytearray(lines[index])
        line[rng.randrange(len(line) - 1)] ^= 1 << rng.randrange(8)
        mutated = b"".join([*lines[:index], bytes(line), *lines[index + 1 :]])
        assert codes(signed_again(segment, {**files, "entries.ndjson": mutated})), bytes(line)
    doubled = files["entries.ndjson"] + lines[0]
    assert codes(signed_again(segment, {**files, "entries.ndjson": doubled}))
    turned = b"".join(reversed(lines))
    assert codes(signed_again(segment, {**files, "entries.ndjson": turned}))


def test_a_policy_names_whom_the_reader_trusts(real: Any) -> None:
    segment, files = real
    own = read_policy(files["policy.json"])
    report = verify_pack(files, own)
    assert report.ok
    assert report.trust == "policy"
    stranger = Signer("somebody", bytes(32)).verifier
    assert "proof.signature" in codes(files, Trust(keys=(stranger,)))
    assert codes(files, Trust(origin="another.log", keys=own.keys))
    grown = Trust(keys=own.keys, size_min=segment.checkpoint().size + 1)
    assert codes(files, grown)


def test_a_policy_may_ask_for_witnesses(real: Any) -> None:
    segment, files = real
    own = read_policy(files["policy.json"])
    note = files["checkpoint"].decode()
    text, _ = parse_note(note)
    cosigners = [Cosigner(f"witness{n}.example", bytes([n]) * 32) for n in (1, 2)]
    lines = "".join(one.cosign(text, time_s=1_790_000_000).line for one in cosigners)
    witnessed = signed_again(segment, {**files, "checkpoint": (note + lines).encode()})
    known = tuple(one.verifier.vkey for one in cosigners)
    for threshold in (1, 2):
        assert verify_pack(witnessed, replace(own, witnesses=known, threshold=threshold)).ok
        assert "witness" in codes(files, replace(own, witnesses=known, threshold=threshold))
    stranger = Cosigner("witness3.example", bytes(32)).verifier.vkey
    asking = replace(own, witnesses=(known[0], stranger), threshold=2)
    assert "witness" in codes(witnessed, asking)


def test_a_head_of_other_keys_is_found_even_over_the_same_tree(real: Any) -> None:
    segment, files = real
    own = read_policy(files["policy.json"])
    forger = Signer(segment.origin, b"f" * 32)
    size = json.loads(files["manifest.json"])["tree_size"]
    note = sign_note(
        format_tree_head(TreeHead(segment.origin, size, segment.root_at(size))), [forger]
    )
    forged = {**files, "checkpoint": note.encode()}
    assert "proof.signature" in codes(signed_again(segment, forged), own)
    assert isinstance(own.keys[0], Verifier)


def test_what_is_held_back_stands_as_a_gap_and_the_rest_still_proves(real: Any) -> None:
    segment, files = real
    root = json.loads(files["answer.json"])["root"]
    hidden = build_pack(
        segment, {"id": root}, hold_back=lambda pointer: pointer.startswith("/run/facets/")
    )
    assert verify_pack(hidden).ok
    answer = json.loads(hidden["answer.json"])
    assert not answer["complete"]
    assert {gap["reason"] for gap in answer["gaps"]} >= {"permission"}
    assert b'"value":' in hidden["entries.ndjson"]


def test_an_answer_as_of_an_earlier_size_is_proven_consistent_with_the_head(real: Any) -> None:
    segment, files = real
    root = json.loads(files["answer.json"])["root"]
    size = json.loads(files["manifest.json"])["tree_size"]
    for as_of in (size - 1, size // 2):
        try:
            pack = build_pack(segment, {"id": root, "as_of": as_of})
        except UnknownNodeError:
            continue
        assert verify_pack(pack).ok
        assert json.loads(pack["answer.json"])["trees"][0]["size"] == as_of
        broken = changed(pack, "consistency.json", lambda path: path.reverse() or path.pop())
        assert codes(signed_again(segment, broken))


def said(
    segment: SqliteSegment, files: dict[str, bytes], change: Any = lambda _: None, **facts: Any
) -> dict[str, bytes]:
    """A pack whose manifest asks another question, signed with the log's key."""
    manifest = read_json(files["manifest.json"], "manifest")
    change(manifest["question"])
    facts = {name: manifest[name] for name in ("origin", "question", "tree_size")} | facts
    kept = {name: data for name, data in files.items() if not name.startswith("manifest")}
    sign_manifest(kept, facts, segment.keys.receipt)
    return kept


def test_an_answer_is_of_the_moment_that_it_states(real: Any) -> None:
    segment, files = real
    root = json.loads(files["answer.json"])["root"]
    size = json.loads(files["manifest.json"])["tree_size"]
    full = build_pack(segment, {"id": root, "as_of": size})
    for as_of in range(size - 1, 1, -1):
        try:
            old = build_pack(segment, {"id": root, "as_of": as_of})
        except UnknownNodeError:
            break
        lying = changed(
            {**full, "consistency.json": old.get("consistency.json", b"[]\n")},
            "answer.json",
            lambda one: one.update(
                {**json.loads(old["answer.json"]), "as_of": one["as_of"], "trees": one["trees"]}  # noqa: B023
            ),
        )
        found = codes(said(segment, lying, lambda question: question.update(as_of=as_of)))  # noqa: B023
        assert "answer.as_of" in found, as_of
    dated = changed(
        full, "answer.json", lambda one: one["as_of"].update(time="1999-01-01T00:00:00.000000Z")
    )
    assert "answer.as_of" in codes(signed_again(segment, dated))
    later = build_pack(segment, {"id": root, "valid_at": "2999-01-01"})
    silent = changed(later, "answer.json", lambda one: one["as_of"].pop("valid_at"))
    assert "answer.as_of" in codes(signed_again(segment, silent))


def test_an_answer_says_nothing_that_is_not_proven(real: Any) -> None:
    segment, files = real
    more = changed(files, "answer.json", lambda one: one.update(summarised={"dataset": 9}))
    assert "answer.members" in codes(signed_again(segment, more))
    for name, lie in (("restricted", 0), ("asserted_by_total", 1.0)):
        lying = changed(files, "answer.json", lambda one: one["edges"][0].update({name: lie}))  # noqa: B023
        assert "answer.edges" in codes(signed_again(segment, lying)), name
    stray = {**files, "attestations/1.json": b"{}\n"}
    assert "statement" in codes(signed_again(segment, stray))
    for facts in ({"origin": "another.log"}, {"tree_size": 1}):
        assert codes(said(segment, files, **facts)) == {"proof.malformed_pack"}


ODD = [True, False, -1, 0, 1.5, 1e308, 10**400, "1", "\ud800", None, [], {}, [[]], [True], {"a": 1}]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else list(enumerate(value))[:2]
        for name, one in items:
            yield from places(one, (*at, name))


def odd(raw: bytes, at: tuple[Any, ...], value: Any) -> bytes:
    """Put a value where another was; 1e999 reads as infinity, half a surrogate as text."""
    whole = json.loads(raw)
    holder = whole
    for step in at[:-1]:
        holder = holder[step]
    if not at:
        whole = value
    else:
        holder[at[-1]] = value
    text = json.dumps(whole, separators=(",", ":"), sort_keys=True)
    return text.replace("1e+308", "1e999").encode() + b"\n"


def test_a_value_of_another_type_is_a_verdict_and_never_an_error(real: Any) -> None:
    segment, files = real
    pack = build_pack(segment, {"id": json.loads(files["answer.json"])["root"], "depth": 1})
    rng = random.Random(17)
    question = json.loads(pack["manifest.json"])["question"]
    for name in question:
        for value in ODD:
            if "\ud800" not in str(value) and write_json(question[name]) != write_json(value):
                asked = said(segment, pack, lambda one: one.update({name: value}))  # noqa: B023
                # An answer without columns, or of another depth, may be the same answer.
                if not (name in ("columns", "depth") and type(value) in (bool, int, type(None))):
                    assert codes(asked), (name, value)
                verify_pack(asked)
    for name in ("answer.json", "map.json"):
        every = list(places(json.loads(pack[name])))
        for at in rng.sample(every, min(60, len(every))):
            for value in rng.sample(ODD, 4):
                written = odd(pack[name], at, value)
                report = verify_pack(signed_again(segment, {**pack, name: written}))
                assert json.dumps(report.to_json(), ensure_ascii=False).encode()
                if name == "answer.json" and written != pack[name] and at[:1] != ("trees",):
                    assert not report.ok, (at, value)
    for name in ("answer.json", "map.json", "entries.ndjson"):
        deep = {**pack, name: b"[" * 100_000 + b"]" * 100_000 + b"\n"}
        assert codes(signed_again(segment, deep))
        assert codes({other: data for other, data in pack.items() if other != name})


def test_a_tree_of_endless_size_is_refused_in_time() -> None:
    head = TreeHead("endless.log", 2**62, b"\0" * 32)
    entry = DisclosedEntry(0, LeafRecord("0" * 32, 1, "map", bytes(32), bytes(32)), ())
    payload = write_json({"keys": "0", "root": "00" * 32, "size": "0", "version": "1"})
    entry = replace(entry, fields=(DisclosedField("", payload),))
    report = PackReport()
    check = _Verification({"map.json": write_json({"entry": 0, "nodes": []})}, Trust(), report)
    check.entries[0] = entry
    check._verify_map(head)
    assert len(report.failures) == FAILURES_MAX


BLOCK = 0x1234567890
START = 1_700_000_000_000_000


def reserved(block: int, name: str) -> dict[str, Any]:
    deployment = {"namespace": "prod", "name": name, "digest": "sha256:" + "d" * 64}
    common = {"type": "reservation", "block": f"{block:010x}", "time": START, "writer": "w"}
    return {**common, "deployment": deployment, "model": None, "run": "r"}


def delivered(block: int) -> tuple[dict[str, Any], str]:
    drawn = str(PredictionId((START + 1000) * 4096 // 1000, block, 1))
    row = {"id": drawn, "time": 0, "status": 200, "output": 1}
    return {"type": "predictions", "block": f"{block:010x}", "rows": [row]}, drawn


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[SqliteSegment, dict[str, bytes]]]:
    """A pack of a prediction whose deployment a run made."""
    made = {
        "eventType": "COMPLETE",
        "eventTime": "2023-01-01T00:00:00Z",
        "producer": "https://example.com",
        "run": {"runId": "00000000-0000-4000-8000-000000000001"},
        "job": {"namespace": "n", "name": "deploy"},
        "inputs": [{"namespace": "n", "name": "m"}],
        "outputs": [
            {
                "namespace": "prod",
                "name": "api",
                "facets": {
                    "lodeline_deployment": {
                        "_producer": "https://e.com",
                        "_schemaURL": "https://e.com",
                        "digest": "sha256:" + "d" * 64,
                        "configuration": {},
                    }
                },
            }
        ],
    }
    with a_store(encoded([made])) as segment:
        rows, drawn = delivered(BLOCK)
        other, _ = delivered(BLOCK + 1)
        taken = [reserved(BLOCK, "api"), rows, reserved(BLOCK + 1, "other"), other]
        assert accept_predictions(segment, taken) == [None] * 4
        yield segment, build_pack(segment, {"id": f"prediction:{drawn}", "up": True})


def test_the_operator_cannot_hide_who_served_a_prediction(served: Any) -> None:
    segment, files = served
    answer = json.loads(files["answer.json"])
    assert len(answer["edges"]) > 1
    assert any(edge["kind"] == "predicts" and edge["asserted_by"] for edge in answer["edges"])
    # No reservation, and an answer that follows without it.
    without = changed(files, "prediction.json", lambda one: one.update(reservation=None))
    assert codes(signed_again(segment, without))
    # Every entry of the deployment is left out: then its absence would have to be proven.
    stated = json.loads(files["prediction.json"])
    kept = []
    for line in files["entries.ndjson"].splitlines(keepends=True):
        kind = json.loads(line)
        if '"event"' not in kind["leaf"]:
            kept.append(line)
    bare = {**files, "entries.ndjson": b"".join(kept)}
    checked = {one.index: one for one in map_entries(bare)}
    question = json.loads(files["manifest.json"])["question"]
    hollow, visited = recompute(checked, bare, question)
    assert len(hollow["edges"]) == 1
    lying = changed(
        changed(
            bare,
            "answer.json",
            lambda one: one.update(
                nodes=hollow["nodes"],
                edges=hollow["edges"],
                gaps=hollow["gaps"],
                complete=not hollow["gaps"],
            ),
        ),
        "map.json",
        lambda one: one["nodes"].clear(),
    )
    assert "deployment:prod:api" in visited
    assert "map.unproven" in codes(signed_again(segment, lying))
    assert stated["reservation"] is not None


def map_entries(files: dict[str, bytes]) -> Iterator[DisclosedEntry]:
    _, head = find_head(files)
    for line in files["entries.ndjson"].splitlines():
        yield verify_entry(line, head)
