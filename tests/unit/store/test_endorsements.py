"""What others say of checkpoints is checked, kept, and carried by the note."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from lodeline.errors import SignatureError, UnknownCheckpointError
from lodeline.proof import Cosigner, parse_note, verify_witnessed
from lodeline.store import AcceptedEvent, SqliteSegment, open_segment

WREN = Cosigner("witness.example/wren", b"w" * 32)
OWL = Cosigner("witness.example/owl", b"o" * 32)


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqliteSegment]:
    with open_segment(f"sqlite:///{tmp_path}/s.db") as opened:
        yield opened


def cosign(segment: SqliteSegment, cosigner: Cosigner, *, size: int = 2, time_s: int = 9) -> None:
    text, _ = parse_note(segment.get_checkpoint(size).note)
    segment.endorsements.add_cosignatures(
        size, [cosigner.cosign(text, time_s=time_s)], [cosigner.verifier]
    )


def test_the_note_carries_the_newest_cosignature_of_each_witness(segment: SqliteSegment) -> None:
    assert segment.witnessed_note(2) == segment.checkpoint().note
    for cosigner, time_s in ((WREN, 5), (WREN, 9), (WREN, 7), (OWL, 6), (OWL, 6)):
        cosign(segment, cosigner, time_s=time_s)
    found = verify_witnessed(
        segment.witnessed_note(2),
        segment.verifiers(),
        [WREN.verifier, OWL.verifier],
        origin=segment.origin,
        threshold=2,
    )
    assert dict(found.cosigned) == {WREN.verifier: 9, OWL.verifier: 6}
    assert segment.endorsements.cosigned_size(WREN.verifier) == 2


def test_a_cosignature_is_of_one_size_alone(segment: SqliteSegment) -> None:
    cosign(segment, WREN)
    segment.append([AcceptedEvent(b"{}", [("", b"{}")])])
    assert segment.witnessed_note(3) == segment.checkpoint().note
    assert len(parse_note(segment.witnessed_note(2))[1]) == 2
    assert segment.endorsements.cosigned_size(OWL.verifier) == 0


def test_a_cosignature_that_does_not_verify_is_not_kept(segment: SqliteSegment) -> None:
    segment.append([AcceptedEvent(b"{}", [("", b"{}")])])
    text, _ = parse_note(segment.get_checkpoint(2).note)
    signature = WREN.cosign(text, time_s=9)
    with pytest.raises(SignatureError):
        segment.endorsements.add_cosignatures(3, [signature], [WREN.verifier])
    assert segment.endorsements.add_cosignatures(3, [signature], [OWL.verifier]) == []
    assert segment.endorsements.cosignatures(3) == []


def test_a_size_without_a_checkpoint_has_no_note(segment: SqliteSegment) -> None:
    for ask in (
        lambda: segment.witnessed_note(1),
        lambda: segment.timestamps(1),
        lambda: segment.get_checkpoint(1),
        lambda: segment.endorsements.add_timestamp(1, b"x", url=""),
        lambda: segment.endorsements.add_cosignatures(1, [], []),
    ):
        with pytest.raises(UnknownCheckpointError):
            ask()


def test_an_answer_of_an_authority_is_kept_once(segment: SqliteSegment) -> None:
    assert segment.timestamps(2) == []
    for answer in (b"one", b"two", b"one"):
        segment.endorsements.add_timestamp(2, answer, url="http://tsa.example")
    assert sorted(segment.timestamps(2)) == [b"one", b"two"]
    assert segment.endorsements.timestamps(2)[0].digest in {
        sha256(b"one").digest(),
        sha256(b"two").digest(),
    }
    assert segment.endorsements.timestamped_sizes() == [2]


@pytest.mark.parametrize("table", ["cosignature", "timestamp_answer"])
@pytest.mark.parametrize(
    "act",
    ["DELETE FROM {}", "UPDATE {} SET size = 3", "INSERT OR REPLACE INTO {} SELECT * FROM {}"],
)
def test_what_was_kept_cannot_be_changed_by_mistake(
    segment: SqliteSegment, table: str, act: str
) -> None:
    cosign(segment, WREN)
    segment.endorsements.add_timestamp(2, b"one", url="")
    with pytest.raises(sqlite3.IntegrityError), sqlite3.connect(segment.path) as connection:
        connection.execute(act.replace("{}", table))
