"""Bytes first, then content: what counts as the same, and what does not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from lodeline.model import NodeId
from lodeline.replay.comparison import Outcome, compare_files, compare_output, is_near, overall
from lodeline.replay.mirror import Mirror
from lodeline.replay.recipe import Artifact


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirror")


def output(path: Path, *, kind: str = "dataset", logical: str | None = None) -> Artifact:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Artifact(
        NodeId(kind, "file", str(path), version=f"sha256:{digest}"), str(path), digest, logical
    )


def replayed(mirror: Mirror, path: Path) -> Path:
    target = mirror.of(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def verdict(mirror: Mirror, recorded: Artifact, **options: object) -> Outcome:
    defaults = {"logical": None, "inputs": (), "cwd": mirror.root, "tolerance": 0.0}
    return compare_output(mirror, recorded, **(defaults | options))  # type: ignore[arg-type]


def test_the_same_bytes_are_identical_though_the_recorded_file_is_gone(
    mirror: Mirror, tmp_path: Path
) -> None:
    file = tmp_path / "out.txt"
    file.write_text("x")
    recorded = output(file)
    replayed(mirror, file).write_text("x")
    file.unlink()
    assert verdict(mirror, recorded).verdict == "identical"


def test_other_bytes_are_different_and_a_missing_output_too(mirror: Mirror, tmp_path: Path) -> None:
    file = tmp_path / "out.txt"
    file.write_text("x")
    assert verdict(mirror, output(file)).replayed is None
    replayed(mirror, file).write_text("y")
    assert verdict(mirror, output(file)).verdict == "different"


def test_the_same_rows_in_other_bytes_are_equal(mirror: Mirror, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text("a,b\n1,2\n")
    replayed(mirror, file).write_text("b,a\n2,1\n")
    assert verdict(mirror, output(file, logical="aa"), logical="aa").verdict == "equal"
    assert verdict(mirror, output(file, logical="aa"), logical="bb").verdict == "different"
    assert verdict(mirror, output(file), logical=None).verdict == "different"


def test_near_numbers_are_equal_only_within_the_stated_tolerance(
    mirror: Mirror, tmp_path: Path
) -> None:
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps({"auc": 0.75, "rows": [1, 2]}))
    replayed(mirror, file).write_text(json.dumps({"auc": 0.7500001, "rows": [1, 2]}))
    assert verdict(mirror, output(file)).verdict == "different"
    assert verdict(mirror, output(file), tolerance=1e-6).verdict == "equal"
    assert verdict(mirror, output(file), tolerance=1e-9).verdict == "different"


@pytest.mark.parametrize(
    ("a", "b"), [(True, 1), ("1", 1), ([1], [1, 1]), ({"a": 1}, {"b": 1}), (None, 0)]
)
def test_values_of_different_kinds_are_never_near(a: object, b: object) -> None:
    assert not is_near(a, b, 10.0)


def test_tables_are_compared_row_by_row_within_the_tolerance(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    paths = [tmp_path / f"{name}.parquet" for name in "abc"]
    for path, nudge in zip(paths, (0.0, 1e-9, 1.0), strict=True):
        duckdb.sql(
            f"COPY (SELECT i, CASE WHEN i % 3 = 0 THEN NULL ELSE i / 7.0 + {nudge} END AS x"
            f" FROM range(100) t(i)) TO '{path}' (FORMAT parquet)"
        )
    assert compare_files(paths[0], paths[1], tolerance=1e-6)[0]
    assert not compare_files(paths[0], paths[2], tolerance=1e-6)[0]
    assert not compare_files(paths[0], paths[1], tolerance=0)[0]


def test_a_null_is_not_near_a_number(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    for name, value in (("a", "NULL::DOUBLE"), ("b", "0.0::DOUBLE")):
        duckdb.sql(f"COPY (SELECT {value} AS x) TO '{tmp_path}/{name}.parquet' (FORMAT parquet)")
    assert not compare_files(tmp_path / "a.parquet", tmp_path / "b.parquet", tolerance=1.0)[0]


def test_models_in_other_bytes_are_equal_when_they_predict_the_same(
    mirror: Mirror, tmp_path: Path
) -> None:
    joblib = pytest.importorskip("joblib")
    pandas = pytest.importorskip("pandas")
    linear = pytest.importorskip("sklearn.linear_model")
    rows = pandas.DataFrame({"a": range(600), "b": [i % 7 for i in range(600)]})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    model = linear.LogisticRegression().fit(rows, rows["b"] > 3)
    joblib.dump(model, tmp_path / "m.joblib")
    joblib.dump(model, replayed(mirror, tmp_path / "m.joblib"), compress=3)
    recorded = output(tmp_path / "m.joblib", kind="model")
    same = verdict(mirror, recorded, inputs=[tmp_path / "rows.csv"])
    assert (same.verdict, "256 recorded rows" in (same.detail or "")) == ("equal", True)
    assert verdict(mirror, recorded, inputs=[]).verdict == "different"
    other = linear.LogisticRegression().fit(rows, rows["b"] > 2)
    joblib.dump(other, replayed(mirror, tmp_path / "m.joblib"))
    assert verdict(mirror, recorded, inputs=[tmp_path / "rows.csv"]).verdict == "different"


def test_the_least_favourable_output_decides_the_whole() -> None:
    def outcome(word: str) -> Outcome:
        return Outcome("n", None, None, word)

    assert overall([outcome("identical"), outcome("equal")]) == "equal"
    assert overall([outcome("different"), outcome("equal")]) == "different"
    assert overall([outcome("identical")]) == "identical"
