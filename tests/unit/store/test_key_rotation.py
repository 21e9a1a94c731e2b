"""Keys are rotated with an overlap; what earlier keys signed stays verifiable."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lodeline.errors import SignatureError, UsageError
from lodeline.proof import (
    Verifier,
    format_tree_head,
    parse_note,
    parse_tree_head,
    sign_note,
    verify_checkpoint,
    verify_receipt,
)
from lodeline.store import AcceptedEvent, SqliteSegment, open_segment
from lodeline.store.verification import verify_segment


def event(number: int) -> AcceptedEvent:
    canonical = b'{"number":%d}' % number
    return AcceptedEvent(canonical, [("", canonical)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lodeline.db"


@pytest.fixture
def segment(path: Path) -> Iterator[SqliteSegment]:
    opened = open_segment(f"sqlite:///{path}")
    yield opened
    opened.close()


def signers_of(segment: SqliteSegment) -> list[Verifier]:
    """The known keys that signed the newest checkpoint, oldest first."""
    names = {signature.identifier for signature in parse_note(segment.checkpoint().note)[1]}
    return [key for key in segment.verifiers() if key.identifier in names]


def test_both_keys_sign_during_the_overlap_and_the_new_one_alone_after_it(
    segment: SqliteSegment,
) -> None:
    (first,) = segment.verifiers()
    segment.rotate_keys()
    _, second = segment.verifiers()
    assert signers_of(segment) == [first, second]
    segment.append([event(1)])
    assert signers_of(segment) == [first, second]
    segment.retire_keys()
    assert signers_of(segment) == [second]
    segment.append([event(2)])
    assert signers_of(segment) == [second]
    report = verify_segment(segment)
    assert report.failures == []
    assert segment.verifiers() == [first, second]


def test_whoever_knows_the_first_key_alone_can_follow_the_log_to_the_second(
    segment: SqliteSegment,
) -> None:
    (first,) = segment.verifiers()
    segment.rotate_keys()
    overlap = segment.checkpoint()
    head = verify_checkpoint(overlap.note, [first], origin=segment.origin)
    (position,) = (e.position for e in segment.iter_entries(2, kinds={"key"}))
    assert position < head.size
    segment.retire_keys()
    with pytest.raises(SignatureError):
        verify_checkpoint(segment.checkpoint().note, [first], origin=segment.origin)


def test_receipts_of_before_a_rotation_still_verify(segment: SqliteSegment) -> None:
    (appended,) = segment.append([event(1)])
    earlier = appended.receipt
    segment.rotate_keys()
    segment.retire_keys()
    receipt = verify_receipt(earlier, segment.verifiers("receipt"))
    later = segment.receipt(appended.position)
    assert later != earlier
    assert verify_receipt(later, segment.verifiers("receipt")) == receipt
    newest = segment.verifiers("receipt")[-1]
    assert verify_receipt(later, [newest]) == receipt


def test_retired_private_keys_are_removed_or_set_aside(segment: SqliteSegment, path: Path) -> None:
    folder = path.with_name("lodeline.db.keys")
    before = set(folder.iterdir())
    segment.rotate_keys()
    assert len(set(folder.iterdir()) - before) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    removed = segment.retire_keys()
    assert {file.name.split(".")[1] for file in removed} == {"checkpoint", "receipt"}
    assert set(removed) < before
    assert len(list(folder.iterdir())) == 3
    segment.rotate_keys()
    kept = segment.retire_keys(keep=True)
    assert [file.with_name(file.name + ".retired").is_file() for file in kept] == [True, True]
    assert set(segment.key_files()) < set(folder.iterdir())
    assert verify_segment(segment).failures == []


def test_a_second_rotation_waits_until_the_earlier_keys_are_retired(
    segment: SqliteSegment,
) -> None:
    with pytest.raises(UsageError, match="no earlier keys"):
        segment.retire_keys()
    segment.rotate_keys()
    size = segment.size()
    with pytest.raises(UsageError, match="retire them first"):
        segment.rotate_keys()
    assert segment.size() == size
    segment.retire_keys()
    with pytest.raises(UsageError, match="no earlier keys"):
        segment.retire_keys()
    assert segment.size() == size + 1


def test_a_rotation_by_one_process_is_taken_up_by_another_that_has_the_store_open(
    segment: SqliteSegment, path: Path
) -> None:
    segment.append([event(1)])
    other = open_segment(f"sqlite:///{path}")
    other.rotate_keys()
    segment.append([event(2)])
    assert len(signers_of(segment)) == 2
    other.retire_keys()
    (appended,) = segment.append([event(3)])
    assert signers_of(segment) == segment.verifiers()[1:]
    assert verify_receipt(appended.receipt, segment.verifiers("receipt")[1:])
    assert verify_segment(other).failures == []
    other.close()


def test_a_checkpoint_by_a_retired_key_does_not_count(segment: SqliteSegment) -> None:
    stolen = segment.keys.checkpoint
    segment.rotate_keys()
    segment.retire_keys()
    segment.append([event(1)])
    checkpoint = segment.checkpoint()
    head = parse_tree_head(parse_note(checkpoint.note)[0])
    with segment.writing() as connection:
        connection.execute("DROP TRIGGER checkpoint_refuses_update")
        connection.execute(
            "UPDATE checkpoint SET note = ? WHERE size = ?",
            (sign_note(format_tree_head(head), [stolen]), checkpoint.size),
        )
    assert [failure.code for failure in verify_segment(segment).failures] == ["signature"]
