"""Digests cover all bytes, and only the bytes that were there when the program closed the file."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lodeline.errors import OutOfTimeError
from lodeline.transport.digests import (
    DigestMemory,
    FileState,
    Hasher,
    digest_pending,
    manifest_digest,
)
from lodeline.transport.logical import LogicalMemory, logical_digest, table_digest


def pending_of(path: Path) -> dict[str, object]:
    now = path.stat()
    return {
        "path": str(path),
        "inode": now.st_ino,
        "mtimeNs": now.st_mtime_ns,
        "size": now.st_size,
    }


def logical_of(path: Path, names: Iterable[str] = ()) -> str:
    found = logical_digest(str(path), path.stat().st_size, tuple(names))
    assert found is not None
    return found[0]


def columns_of(path: Path, names: Iterable[str] = ()) -> set[str]:
    found = logical_digest(str(path), path.stat().st_size, tuple(names))
    assert found is not None
    return {column["name"] for column in found[1]}


def test_a_digest_covers_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(3_000_001))
    found = digest_pending(pending_of(path), Hasher())
    assert found.value == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.bytes == 3_000_001


def test_a_large_file_that_looks_the_same_is_not_hashed_again(tmp_path: Path) -> None:
    path, memory = tmp_path / "data.bin", tmp_path / "digests.json"
    path.write_bytes(os.urandom(2_000_000))
    first = Hasher(memory=(kept := DigestMemory(memory)))
    found = digest_pending(pending_of(path), first)
    kept.keep()
    again = Hasher(memory=DigestMemory(memory))
    assert digest_pending(pending_of(path), again) == found
    assert (first.hashed, again.hashed) == (1, 0)
    path.write_bytes(os.urandom(2_000_000))
    changed = Hasher(memory=DigestMemory(memory))
    assert digest_pending(pending_of(path), changed).value != found.value
    assert changed.hashed == 1


def test_a_file_beyond_the_bound_has_no_digest_and_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(b"x" * 100)
    found = digest_pending(pending_of(path), Hasher(bytes_max=99))
    assert found.value is None
    assert "larger than the 99 bytes" in found.reason
    assert digest_pending(pending_of(path), Hasher(bytes_max=100)).value is not None


def training_file(path: Path, rows: int = 20_000) -> Path:
    lines = ["label,distance,at"]
    lines += [f"{i % 2},{i * 0.5},2013-01-01 00:{i % 60:02d}:00" for i in range(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_one_flipped_label_after_row_10_000_changes_both_digests(tmp_path: Path) -> None:
    path = training_file(tmp_path / "train.csv")
    before, logical = digest_pending(pending_of(path), Hasher()).value, logical_of(path)
    lines = path.read_text().split("\n")
    lines[15_001] = ("1" if lines[15_001][0] == "0" else "0") + lines[15_001][1:]
    path.write_text("\n".join(lines))
    assert digest_pending(pending_of(path), Hasher()).value != before
    assert logical_of(path) != logical


def test_one_shifted_timestamp_changes_both_digests(tmp_path: Path) -> None:
    path = training_file(tmp_path / "train.csv")
    before, logical = digest_pending(pending_of(path), Hasher()).value, logical_of(path)
    lines = path.read_text().split("\n")
    lines[12_345] = lines[12_345].replace(":00", ":01")
    path.write_text("\n".join(lines))
    assert digest_pending(pending_of(path), Hasher()).value != before
    assert logical_of(path) != logical


@pytest.mark.parametrize("change", ["content", "time", "replaced", "gone"])
def test_a_file_that_changed_after_close_has_no_digest(tmp_path: Path, change: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a\n1\n")
    pending = pending_of(path)
    if change == "content":
        path.write_text("a\n12\n")
    elif change == "time":
        os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    elif change == "replaced":
        other = tmp_path / "other"
        other.write_text("a\n2\n")
        os.utime(other, ns=(0, int(str(pending["mtimeNs"]))))
        other.replace(path)
    else:
        path.unlink()
    found = digest_pending(pending, Hasher())
    assert found.value is None
    assert found.reason


def test_many_files_have_the_digest_of_their_manifest(tmp_path: Path) -> None:
    files = []
    for name in ("b", "a", "c"):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(name.encode() * 10)
        files.append({"key": f"part={name}", **pending_of(path)})
    found = digest_pending({"files": files}, Hasher())
    assert found.manifest is not None
    assert [key for key, _, _ in found.manifest] == ["part=a", "part=b", "part=c"]
    assert found.value == manifest_digest(found.manifest)
    assert found.bytes == 30
    assert digest_pending({"files": files[::-1]}, Hasher()) == found


def test_an_appended_partition_keeps_the_others_digests(tmp_path: Path) -> None:
    (tmp_path / "year=2024").mkdir()
    (tmp_path / "year=2024" / "0.parquet").write_bytes(b"one")
    (tmp_path / "_SUCCESS").write_bytes(b"")
    later = {"path": str(tmp_path), "inode": 0, "mtimeNs": time.time_ns() + 10**12, "size": 0}
    before = digest_pending(later, Hasher())
    (tmp_path / "year=2025").mkdir()
    (tmp_path / "year=2025" / "0.parquet").write_bytes(b"two")
    after = digest_pending(later, Hasher())
    assert before.manifest is not None
    assert after.manifest is not None
    assert after.manifest[0] == before.manifest[0]
    assert len(after.manifest) == 2
    assert before.value != after.value


def test_a_directory_with_a_younger_file_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "0.parquet").write_bytes(b"one")
    pending = {"path": str(tmp_path), "inode": 0, "mtimeNs": 1, "size": 0}
    assert digest_pending(pending, Hasher()).value is None


def test_hashing_ends_with_the_time(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(5_000_000))
    with pytest.raises(OutOfTimeError):
        Hasher(deadline=time.monotonic() - 1).digest(FileState.read(pending_of(path)))


@pytest.mark.parametrize("pending", [{}, {"path": "x"}, {"files": [{"key": "a"}]}, {"files": 7}])
def test_a_malformed_draft_has_no_digest_and_harms_nothing(pending: dict[str, object]) -> None:
    assert digest_pending(pending, Hasher()).value is None


TABLE = pd.DataFrame(
    {
        "number": [3, 1, 2, 2],
        "share": [0.5, -0.0, 1e300, 1e300],
        "name": ["ä", "", "c", "c"],
        "at": pd.to_datetime(
            ["2013-01-01 05:00", "2013-01-02 00:00", "1999-12-31 00:00", "1999-12-31 00:00"]
        ),
        "good": [True, False, True, True],
    }
)


def test_csv_and_parquet_of_one_table_have_one_logical_digest(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "t.csv", index=False, quoting=2)
    TABLE.to_parquet(tmp_path / "t.parquet")
    TABLE.to_feather(tmp_path / "t.feather")
    digests = {
        logical_of(tmp_path / f"t.{kind}", TABLE.columns) for kind in ("csv", "parquet", "feather")
    }
    assert len(digests) == 1


HEADERLESS = "ann,Elm Street 7\nbob,Oak Street 2\n"


@pytest.mark.parametrize(
    "names", [(), ("0", "1"), ("name", "street"), ("ann",), ("name", "Elm Street 7", "x")]
)
def test_no_value_of_a_row_stands_in_the_place_of_a_name(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(HEADERLESS)
    # What the program itself calls a column is in the schema that it tells anyway.
    assert columns_of(path, names) <= {"column_1", "column_2", *names}
    assert not {"Elm Street 7"} & (columns_of(path, names) - set(names))


def test_a_file_without_header_has_all_its_rows_in_the_digest(tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text(HEADERLESS)
    second.write_text("".join(reversed(HEADERLESS.splitlines(keepends=True))))
    assert logical_of(first) == logical_of(second)
    assert columns_of(first) == {"column_1", "column_2"}


@pytest.mark.parametrize(
    ("header", "names", "expected"),
    [
        ("a,b", ("a", "b"), {"a", "b"}),
        (",a,b", ("a", "b"), {"", "a", "b"}),  # an index without a name stands first
        ("a,b,c", ("c",), {"column_1", "column_2", "c"}),  # the others were not read
        ("\ufeffa,b", ("a", "b"), {"a", "b"}),
        ("\n\na,b", ("a", "b"), {"a", "b"}),
        ('"a, b",b', ("a, b", "b"), {"a, b", "b"}),
        ("# note\na,b", ("a", "b"), None),
    ],
)
def test_names_are_those_that_the_program_found_in_the_first_row(
    tmp_path: Path, header: str, names: tuple[str, ...], expected: set[str] | None
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(header + "\n" + ",".join("1" for _ in header.rpartition("\n")[2].split(",")))
    if '"' in header:
        path.write_text(header + "\n1,2\n")
    if expected is None:
        # Rows of different widths are no table.
        assert logical_digest(str(path), 20, names) is None
    else:
        assert columns_of(path, names) == expected


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)), st.permutations(list(TABLE.columns)))
def test_order_of_rows_and_columns_does_not_count(rows: list[int], columns: list[str]) -> None:
    table = pa.Table.from_pandas(TABLE.iloc[rows][columns], preserve_index=False)
    assert table_digest(table) == table_digest(pa.Table.from_pandas(TABLE, preserve_index=False))


def test_how_often_a_row_occurs_counts() -> None:
    once, twice = pa.table({"a": [1, 2]}), pa.table({"a": [1, 2, 2]})
    assert table_digest(once) != table_digest(twice)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1, 2], pa.int8()), pa.array([1, 2], pa.int64())),
        (pa.array([1, 2], pa.uint64()), pa.array([1, 2], pa.int32())),
        (pa.array([0.0], pa.float64()), pa.array([-0.0], pa.float64())),
        (pa.array([0.5], pa.float32()), pa.array([0.5], pa.float64())),
        (pa.array(["a", None, "a"]), pa.array(["a", None, "a"]).dictionary_encode()),
        (pa.array([10**6], pa.timestamp("us")), pa.array([10**9], pa.timestamp("ns", "UTC"))),
        (pa.array([15706], pa.date32()), pa.array([15706 * 86400], pa.timestamp("s"))),
    ],
)
def test_equal_values_of_other_types_are_equal(one: pa.Array, other: pa.Array) -> None:
    assert table_digest(pa.table({"a": one})) == table_digest(pa.table({"a": other}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([None], pa.float64()), pa.array([float("nan")])),
        (pa.array([None], pa.int64()), pa.array([0], pa.int64())),
        (pa.array([None], pa.string()), pa.array([""])),
        (pa.array([1], pa.int64()), pa.array([1.0])),
        (pa.array(["1"]), pa.array([b"1"])),
        (pa.array([1], pa.int64()), pa.array([True])),
    ],
)
def test_different_values_are_different(one: pa.Array, other: pa.Array) -> None:
    assert table_digest(pa.table({"a": one})) != table_digest(pa.table({"a": other}))


def test_every_nan_is_one_nan() -> None:
    bits = pa.array([0x7FF8000000000000, 0x7FF8000000000001], pa.int64()).view(pa.float64())
    assert table_digest(pa.table({"a": bits.slice(0, 1)})) == table_digest(
        pa.table({"a": bits.slice(1, 1)})
    )


def test_a_column_of_lists_has_no_logical_digest() -> None:
    assert table_digest(pa.table({"a": [[1], [2]]})) is None


def test_a_file_that_is_no_table_has_no_logical_digest(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"no parquet")
    assert logical_digest(str(path), 10) is None
    assert logical_digest(str(tmp_path / "t.joblib"), 10) is None


def test_chunked_and_whole_tables_are_equal(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(TABLE, preserve_index=False)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1, 2), table.slice(3)])
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=1)
    pacsv.write_csv(table, tmp_path / "t.csv")
    assert table_digest(chunked) == table_digest(table)
    assert logical_of(tmp_path / "t.parquet") == logical_of(tmp_path / "t.csv", TABLE.columns)


def test_a_logical_digest_is_remembered_by_the_bytes_it_follows_from(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    memory = LogicalMemory(tmp_path / "memory.json")
    assert not memory.knows(str(path), "aa")
    found = memory.find(str(path), 4, "aa")
    assert not memory.knows(str(path), "aa", ("a",))
    memory.keep()
    path.unlink()
    again = LogicalMemory(tmp_path / "memory.json")
    assert again.knows(str(path), "aa")
    assert again.find(str(path), 4, "aa") == found is not None
    assert not again.knows(str(path), "bb")
    (tmp_path / "memory.json").write_text("[torn")
    assert not LogicalMemory(tmp_path / "memory.json").knows(str(path), "aa")


def test_a_logical_digest_is_computed_without_pandas(tmp_path: Path) -> None:
    table = pa.table({"a": [1, None, 3], "b": ["x", None, "y"], "c": [True, None, False]})
    pq.write_table(table, tmp_path / "in.parquet")
    program = (
        "import sys; from pathlib import Path; from lodeline.transport.logical import logical_digest\n"
        "path = Path('in.parquet'); assert logical_digest(path, path.stat().st_size, ())\n"
        "assert 'pyarrow' in sys.modules; assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
