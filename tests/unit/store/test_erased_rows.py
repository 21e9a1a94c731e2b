"""Erasing a person takes single predictions and row links out; every other proof stays valid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from lodeline.cli.main import main
from lodeline.errors import EvidenceError, MissingPredictionError
from lodeline.evidence import build_pack
from lodeline.fold.evidence import verify_pack
from lodeline.ingest.predictions import find_prediction
from lodeline.query import ask
from lodeline.rows.committing import commit_blocks
from lodeline.store import SqlSegment, open_segment
from lodeline.store.erasing import erase
from lodeline.store.subject_records import erase_subject, find_subject
from row_chains import behind, random_chain, version
from row_erasures import OTHER, SUBJECT, identifier, record_predictions, texts_of


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqlSegment]:
    with open_segment(f"sqlite:///{tmp_path}/s.db") as opened:
        yield opened


def verified(segment: SqlSegment, capsys: pytest.CaptureFixture[str]) -> bool:
    assert segment.path is not None
    code = main(["verify", "--json", "--store", f"sqlite:///{segment.path}"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["failures"] == []
    return code == 0


def test_a_persons_predictions_go_and_the_others_are_proven_as_before(
    segment: SqlSegment, capsys: pytest.CaptureFixture[str]
) -> None:
    record_predictions(segment)
    before = build_pack(segment, {"id": f"prediction:{identifier(1)}"})
    found = find_subject(segment, SUBJECT)
    assert [sorted(rows) for rows in found.rows.values()] == [[0, 2]]
    assert [sorted(rows) for rows in found.mentions.values()] == [[3]]
    assert erase_subject(segment, found) is not None
    assert [find_prediction(segment, identifier(n)).status for n in range(4)] == [
        "erased",
        "record",
        "erased",
        "record",
    ]
    assert OTHER in texts_of(segment)
    assert verified(segment, capsys)
    assert verify_pack(before).ok
    after = build_pack(segment, {"id": f"prediction:{identifier(1)}"})
    assert verify_pack(after).ok
    one, two = (json.loads(pack["prediction.json"]) for pack in (before, after))
    assert one == two, "the same claim, salt and path"
    with pytest.raises(MissingPredictionError, match="erased"):
        ask(segment, "trace", {"id": f"prediction:{identifier(0)}"})
    with pytest.raises((EvidenceError, MissingPredictionError)):
        build_pack(segment, {"id": f"prediction:{identifier(0)}"})


def test_what_only_mentions_a_person_goes_when_asked(
    segment: SqlSegment, capsys: pytest.CaptureFixture[str]
) -> None:
    record_predictions(segment)
    erase_subject(segment, find_subject(segment, SUBJECT), undeclared=True)
    assert SUBJECT not in texts_of(segment)
    again = find_subject(segment, SUBJECT)
    assert (again.rows, again.mentions) == ({}, {})
    # A second erasure, of another person, in a batch that was written again already.
    erase_subject(segment, find_subject(segment, OTHER))
    assert texts_of(segment) == "[]"
    assert verified(segment, capsys)
    folder = segment.path.with_name("s.db.blobs")
    assert len(list(folder.glob("??/*"))) == 1, "of a batch one blob is left"


def test_erased_links_are_a_gap_and_every_other_row_answers_and_is_proven(
    segment: SqlSegment, capsys: pytest.CaptureFixture[str]
) -> None:
    links = random_chain(segment, 9, rows=3_000)
    commit_blocks(segment)
    row = next(row for row in range(100) if behind(links, row).get("d1") and row != 7)
    source = f"row:test:d1:{min(behind(links, row)['d1'])}#{version(1)}"
    ask(segment, "rows", {"id": source, "forward": True})
    with segment.reading() as connection:
        blocks = connection.execute(
            "SELECT b.block FROM row_block b JOIN row_step s ON s.digest = b.source "
            "WHERE s.output_name = 'd3'"
        ).fetchall()
    [(block,)] = blocks
    erase(segment, rows={block: [7, 1_500]})
    gone = ask(segment, "rows", {"id": f"row:test:d3:7#{version(3)}"})
    assert gone["rows"] == []
    assert [gap["reason"] for gap in gone["gaps"]] == ["erased"]
    other = ask(segment, "rows", {"id": f"row:test:d3:{row}#{version(3)}"})
    found: dict[str, set[int]] = {}
    for one in other["rows"]:
        found.setdefault(one["dataset"].rpartition(":")[2], set()).add(int(one["key"]))
    assert found == behind(links, row)
    ahead = ask(segment, "rows", {"id": source, "forward": True})
    assert "erased" in {gap["reason"] for gap in ahead["gaps"]}
    assert verified(segment, capsys)
    for number, complete in ((row, True), (7, False)):
        pack = build_pack(segment, {"id": f"row:test:d3:{number}#{version(3)}"})
        assert verify_pack(pack).failures == []
        assert json.loads(pack["rows.json"])["complete"] is complete


def test_a_row_taken_out_without_an_erasure_is_found_out(
    segment: SqlSegment, capsys: pytest.CaptureFixture[str]
) -> None:
    from lodeline.store.prediction_blobs import erase_lines

    record_predictions(segment)
    [digest] = segment.blobs.list_digests()
    erase(segment, rows={digest: [0]})
    [current] = segment.blobs.list_digests()
    forged = segment.put_blob(erase_lines(segment.get_blob(current), [1]))
    segment.remove_blob(current)
    with segment.writing() as connection:
        connection.execute("UPDATE blob_successor SET successor = ?", (forged,))
    code = main(["verify", "--json", "--store", f"sqlite:///{segment.path}"])
    assert code == 1
    failures = json.loads(capsys.readouterr().out)["failures"]
    assert [one["code"] for one in failures] == ["salt.missing"]
