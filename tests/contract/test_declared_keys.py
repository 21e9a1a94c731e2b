"""Rows named by declared keys: where no digest binds numbers, and beside numbers in files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("duckdb")

from lodeline.capture.row_steps import key_text  # noqa: E402
from lodeline.cli.main import main  # noqa: E402
from lodeline.errors import UnknownNodeError, UsageError  # noqa: E402
from lodeline.fold.row_claims import iter_keys  # noqa: E402
from lodeline.model import NodeId  # noqa: E402
from lodeline.query import ask  # noqa: E402
from lodeline.rows.committing import commit_blocks  # noqa: E402
from lodeline.store import SqlSegment, open_segment  # noqa: E402
from lodeline.store.subject_records import erase_subject, find_subject  # noqa: E402
from row_chains import name, put, record, step, version  # noqa: E402

TABLE = {
    "namespace": "postgres://db:5432",
    "name": "shop.public.orders",
    "version": "run:00000000-0000-4000-8000-000000000001",
}
KEYS = ["A-1", "A-2", '["alice@example.com",7]', "17"]


def row(key: str) -> str:
    return str(NodeId("row", TABLE["namespace"], TABLE["name"], key, TABLE["version"]))


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqlSegment]:
    """A table of a database whose rows went into a file: 0 -> 3, 1 -> 1, 2 -> 2 and 0."""
    with open_segment(f"sqlite:///{tmp_path / 's.db'}") as opened:
        linked = step(opened, 0, [[3], [1], [0, 2]])
        keys = {
            "dataset": TABLE,
            "columns": ["id"],
            "digest": put(opened, {"key": pa.array(KEYS, pa.string())}),
        }
        record(opened, 1, [{**linked, "input": TABLE}], keys=[keys])
        yield opened


@pytest.mark.parametrize("committed", [False, True])
def test_rows_of_a_database_are_asked_for_and_named_by_their_key(
    segment: SqlSegment, committed: bool
) -> None:
    if committed:
        assert commit_blocks(segment) == 2
    back = ask(segment, "rows", {"id": f"row:test:d1:2#{version(1)}"})
    assert {one["key"] for one in back["rows"]} == {KEYS[0], KEYS[2]}
    assert {one["id"] for one in back["rows"]} == {row(KEYS[0]), row(KEYS[2])}
    for number, key in enumerate(KEYS):
        ahead = ask(segment, "rows", {"id": row(key), "forward": True})
        expected = {0: ["2"], 1: ["1"], 2: ["2"], 3: ["0"]}[number]
        assert [one["key"] for one in ahead["rows"]] == expected
    # A number is a key there, not a place: no row has the key 3.
    with pytest.raises(UnknownNodeError):
        ask(segment, "rows", {"id": row("3"), "forward": True})


def test_an_erased_persons_key_names_no_row_any_more(
    segment: SqlSegment, capsys: pytest.CaptureFixture[str]
) -> None:
    commit_blocks(segment)
    found = find_subject(segment, "alice@example.com")
    assert list(found.rows.values()) == [[2]]
    erase_subject(segment, found)
    with pytest.raises(UnknownNodeError):
        ask(segment, "rows", {"id": row(KEYS[2]), "forward": True})
    back = ask(segment, "rows", {"id": f"row:test:d1:2#{version(1)}"})
    assert "alice" not in json.dumps(back)
    assert "erased" in {gap["reason"] for gap in back["gaps"]}
    assert ask(segment, "rows", {"id": row("A-2"), "forward": True})["counts"]
    assert not find_subject(segment, "alice@example.com").rows
    assert main(["verify", "--store", f"sqlite:///{segment.path}"]) == 0
    capsys.readouterr()


def test_without_a_declared_key_only_numbers_name_rows(tmp_path: Path) -> None:
    with open_segment(f"sqlite:///{tmp_path / 's.db'}") as segment:
        record(segment, 1, [step(segment, 0, [0, 1])])
        with pytest.raises(UsageError, match="no key is declared"):
            ask(segment, "rows", {"id": f"row:test:d1:A-1#{version(1)}"})


def test_a_null_or_nan_in_a_key_names_nothing() -> None:
    assert key_text(["a"]) == "a"
    assert key_text([5]) == "5"
    assert key_text(["a", 5]) == '["a",5]'
    assert key_text(["a", None]) is None
    assert key_text([float("nan")]) is None


@pytest.mark.parametrize(
    "keys", ["x", [1], [{}], [{"dataset": {}, "columns": ["a"]}], [{"dataset": TABLE}]]
)
def test_malformed_keys_say_nothing(keys: Any) -> None:
    output = {**name(1), "outputFacets": {"lodeline_rows": {"steps": [], "keys": keys}}}
    assert list(iter_keys({"outputs": [output]})) == []
