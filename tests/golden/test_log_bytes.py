"""The log's bytes are final: a log made with known secrets is the one kept here.

`log-v1.json` is never edited. A change that makes this test fail breaks every log ever written.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from itertools import count
from pathlib import Path

from lodeline.ingest import accept
from lodeline.proof import (
    Receipt,
    Signer,
    TreeHead,
    commit_fields,
    decode_leaf,
    format_tree_head,
    hash_leaf,
    record_id,
    sign_note,
    sign_receipt,
    verify_checkpoint,
    verify_receipt,
)
from lodeline.store import SqliteSegment
from lodeline.tlog import GrowingTree
from lodeline.wire import commitment_fields

GOLDEN = Path(__file__).with_name("log-v1.json")

TIME_US = 1_767_225_600_000_000
EVENTS = [
    {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.com",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {
            "runId": "00000000-0000-4000-8000-000000000001",
            "facets": {"a/b~c": {"_producer": "p", "_schemaURL": "s", "é": [1.0, 1e21, None]}},
        },
        "job": {"namespace": "n", "name": "j", "facets": {}},
        "inputs": [{"namespace": "n", "name": "in", "inputFacets": {"x": {"y": "😀"}}}],
        "outputs": [{"namespace": "n", "name": "out", "facets": {"x": {}, "w": {"v": True}}}],
    },
    {
        "eventTime": "2026-01-01T00:00:01Z",
        "job": {"namespace": "n", "name": "j", "facets": {"documentation": {"description": "d"}}},
    },
    {
        "eventTime": "2026-01-01T00:00:02Z",
        "dataset": {"namespace": "n", "name": "d", "facets": {"big": {"n": 12345678901234567890}}},
    },
]


def known_secrets() -> Callable[[int], bytes]:
    numbers = count()

    def draw(size: int) -> bytes:
        stream = b""
        while len(stream) < size:
            stream += sha256(b"golden %d" % next(numbers)).digest()
        return stream[:size]

    return draw


def make_log(folder: Path) -> SqliteSegment:
    path = folder / "lodeline.db"
    segment = SqliteSegment(
        path,
        url=f"sqlite:///{path}",
        create=True,
        clock_us=lambda: TIME_US,
        randomness=known_secrets(),
    )
    for event in EVENTS:
        accept(segment, [json.dumps(event).encode()], fold=False)
    record = {"node": "model:n:m", "number": 7, "version": "sha256:00"}
    segment.append_record("alias", record, roots=["0" * 64])
    return segment


def describe(segment: SqliteSegment) -> dict[str, object]:
    """What `log-v1.json` was written from."""
    return {
        "origin": segment.origin,
        "segment": segment.segment_id,
        "vkeys": [verifier.vkey for verifier in segment.verifiers()],
        "receipt_vkeys": [verifier.vkey for verifier in segment.verifiers("receipt")],
        "leaves": [entry.leaf.decode() for entry in segment.iter_entries()],
        "payloads": [(entry.payload or b"").decode() for entry in segment.iter_entries()],
        "receipts": [segment.receipt(position) for position in range(segment.size())],
        "checkpoints": [checkpoint.note for checkpoint in segment.iter_checkpoints()],
    }


def test_a_log_made_with_known_secrets_has_the_leaves_it_always_had(tmp_path: Path) -> None:
    kept = json.loads(GOLDEN.read_text())
    made = describe(make_log(tmp_path))
    for name in ("origin", "segment", "vkeys", "receipt_vkeys"):
        assert made[name] == kept[name]
    # The second entry names the version of the fold, which may rise; the rest may not change.
    for name in ("leaves", "payloads", "receipts"):
        values, old = made[name], kept[name]
        assert isinstance(values, list)
        assert [values[0], *values[2:]] == [old[0], *old[2:]]


def test_the_kept_payloads_and_known_secrets_give_the_kept_leaves_and_signatures() -> None:
    kept = json.loads(GOLDEN.read_text())
    draw = known_secrets()
    origin, segment = f"lodeline.local/{draw(8).hex()}", draw(16).hex()
    checkpoint, receipt, key = Signer(origin, draw(32)), Signer(f"{origin}/receipt", draw(32)), draw(32)  # fmt: skip
    tree = GrowingTree()
    # The first two entries share a commit, and so one draw.
    both = draw(64)
    secrets = [both[:32], both[32:], *(draw(32) for _ in kept["leaves"][2:])]
    for position, (leaf, payload) in enumerate(zip(kept["leaves"], kept["payloads"], strict=True)):
        raw, record = payload.encode(), decode_leaf(leaf.encode())
        event = record.kind == "event"
        fields = commitment_fields(json.loads(payload)) if event else [("", raw)]
        assert record.commitment == commit_fields(secrets[position], fields)
        assert record.identifier == record_id(key, raw)
        assert (record.segment, record.log_time_us) == (segment, TIME_US)
        tree.extend([hash_leaf(leaf.encode())])
        promise = Receipt(origin, (hash_leaf(leaf.encode()),), TIME_US, TIME_US + 1_000_000)
        assert kept["receipts"][position] == sign_receipt(promise, receipt)
        if position:
            head = TreeHead(origin, tree.size, tree.root())
            assert kept["checkpoints"][position - 1] == sign_note(
                format_tree_head(head), [checkpoint]
            )


def test_the_kept_log_verifies_by_its_own_keys(tmp_path: Path) -> None:
    kept = json.loads(GOLDEN.read_text())
    segment = SqliteSegment(tmp_path / "a.db", url="sqlite:///a.db", create=True, randomness=known_secrets())  # fmt: skip
    for note in kept["checkpoints"]:
        assert verify_checkpoint(note, segment.verifiers(), origin=kept["origin"]).size >= 2
    for receipt in kept["receipts"]:
        assert verify_receipt(receipt, segment.verifiers("receipt")).origin == kept["origin"]
