"""Values of rows out of compressed files: the file's own rows, or a refusal that says why."""

from __future__ import annotations

import gzip
import hashlib
import tempfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("duckdb")

from lodeline.errors import FileChangedError
from lodeline.model import NodeId
from lodeline.rows.values import ValueReader

TEXT = "id,name\n1,one\n2,two\n3,three\n"


def node_of(path: Path) -> NodeId:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return NodeId("dataset", "file", str(path), "", f"sha256:{digest}")


def packed(path: Path, members: dict[str, str]) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(TEXT.encode()))
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("ending", ["gz", "zip"])
def test_rows_of_a_compressed_file_are_those_of_the_file_in_it(tmp_path: Path, ending: str) -> None:
    reader = ValueReader(node_of(packed(tmp_path / f"it's.csv.{ending}", {"t.csv": TEXT})))
    assert reader.count() == 3
    assert reader.read([2, 0]) == {0: {"id": 1, "name": "one"}, 2: {"id": 3, "name": "three"}}
    assert reader.select("id > 1") == [1, 2]
    assert reader.find_key(("name",), ["two"]) == [1]


def test_what_was_unpacked_goes_with_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = packed(tmp_path / "t.csv.zip", {"../t.csv": TEXT})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    reader = ValueReader(node_of(file))
    assert reader.count() == 3
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    assert not (tmp_path.parent / "t.csv").exists()
    del reader
    assert list((tmp_path / "temporary").iterdir()) == []


def test_several_files_in_one_have_no_rows_by_number(tmp_path: Path) -> None:
    file = packed(tmp_path / "t.csv.zip", {"a.csv": TEXT, "b.csv": TEXT})
    with pytest.raises(FileChangedError, match="not one file"):
        ValueReader(node_of(file))


def test_a_broken_archive_is_no_source_of_values(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.zip"
    path.write_bytes(b"PK no archive")
    with pytest.raises(FileChangedError, match="cannot be unpacked"):
        ValueReader(node_of(path))
