"""Exports that other programs read: CSV, a Parquet archive, CycloneDX and Croissant."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from lodeline.cli.main import main
from lodeline.errors import UsageError
from lodeline.exports.csv_tables import safe_cell, write_csv_folder, write_csv_zip
from lodeline.exports.exporting import begin_export
from lodeline.exports.parquet_archive import MANIFEST, archive
from lodeline.ingest import accept
from lodeline.model import NodeId
from lodeline.store import SqliteSegment, open_segment
from lodeline.store.erasing import erase
from postgres_servers import Server
from stores import Place

CROISSANT = Path(__file__).parents[3] / ".venv-croissant" / "bin" / "python"
FACET = {"_producer": "https://example.org", "_schemaURL": "https://example.org/f.json"}
RUN = "00000000-0000-4000-8000-{:012d}"
DATA = "ab" * 32
MODEL = "cd" * 32


def facet(**members: Any) -> dict[str, Any]:
    return FACET | members


def event(number: int, inputs: list[Any], outputs: list[Any], **more: Any) -> bytes:
    body = {
        "eventType": "COMPLETE",
        "eventTime": f"2026-01-{number:02d}T10:00:00Z",
        "producer": "https://example.org",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
        "run": {"runId": RUN.format(number), "facets": more.pop("run_facets", {})},
        "job": {"namespace": "ml", "name": more.pop("job", f"job_{number}")},
        "inputs": inputs,
        "outputs": outputs,
    }
    return json.dumps(body | more).encode()


def dataset(name: str, namespace: str = "file", **facets: Any) -> dict[str, Any]:
    return {"namespace": namespace, "name": name, "facets": facets}


def digested(name: str, digest: str = DATA, **facets: Any) -> dict[str, Any]:
    known = facet(algorithm="sha256", source="bytes", value=digest, bytes=42)
    return dataset(name, lodeline_digest=known, **facets)


CLEAN = digested(
    "/data/clean.csv",
    schema=facet(
        fields=[
            {"name": "age", "type": "BIGINT", "description": "In years"},
            {"name": "paid", "type": "DECIMAL(9,2)"},
            {"name": "since", "type": "TIMESTAMP"},
            {"name": "ok", "type": "bool"},
            {"name": "note"},
        ]
    ),
    documentation=facet(description="Customers, cleaned"),
    ownership=facet(owners=[{"name": "team:crm"}]),
    tags=facet(tags=[{"key": "pii", "value": "true"}]),
)
TRAINED = {
    "lodeline_environment": facet(
        interpreter={"implementation": "cpython", "version": "3.11.7"},
        packages={"scikit_learn": "1.7.0", "numpy": "2.3.0"},
    ),
    "lodeline_parameters": facet(
        parameters={"depth": 6}, metrics={"auc": 0.91}, seeds={"numpy": 7}
    ),
    "lodeline_code": facet(commit="f00d", path="train.py"),
}
MODEL_FACET = facet(
    digest=f"sha256:{MODEL}",
    framework="sklearn",
    format="joblib",
    parameters={"C": 1.0},
    features=["age", "paid"],
)
THREE = [
    event(1, [digested("/data/raw.csv", "01" * 32)], [CLEAN]),
    event(
        2,
        [digested("/data/clean.csv")],
        [dataset("churn", "ml", lodeline_model=MODEL_FACET)],
        run_facets=TRAINED,
    ),
    event(3, [dataset("=cmd|' /C calc'!A0", "+1")], []),
]


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqliteSegment]:
    opened = open_segment(f"sqlite:///{tmp_path}/lodeline.db")
    accept(opened, THREE)
    yield opened
    opened.close()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# CSV


def test_csv_has_every_node_and_edge(segment: SqliteSegment, tmp_path: Path) -> None:
    write_csv_folder(begin_export(segment), tmp_path / "out")
    nodes = {row["id"]: row for row in rows_of(tmp_path / "out" / "nodes.csv")}
    edges = rows_of(tmp_path / "out" / "edges.csv")
    assert nodes["dataset:file:/data/clean.csv"]["first_seen"] == "2026-01-01T10:00:00.000000Z"
    assert nodes["datasetField:file:/data/clean.csv:age"]["part"] == "age"
    found = {(row["source"], row["target"], row["kind"], row["job"]) for row in edges}
    raw, clean = "dataset:file:/data/raw.csv", "dataset:file:/data/clean.csv"
    assert (raw, clean, "derives", "job:ml:job_1") in found
    assert (clean, "model:ml:churn", "trains", "job:ml:job_2") in found
    assert {row["target"] for row in edges if row["kind"] == "reads"} == {"job:ml:job_3"}
    ends = {row[end] for row in edges for end in ("source", "target")}
    assert ends <= nodes.keys()


def test_no_cell_is_taken_for_a_formula_and_every_value_comes_back(
    segment: SqliteSegment, tmp_path: Path
) -> None:
    write_csv_folder(begin_export(segment), tmp_path / "out")
    for name in ("nodes.csv", "edges.csv"):
        for row in rows_of(tmp_path / "out" / name):
            assert not any(
                cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values()
            )
    names = [row["name"] for row in rows_of(tmp_path / "out" / "nodes.csv")]
    assert "'=cmd|' /C calc'!A0" in names
    for value in ("=1", "+1", "-1", "@a", "'a", "''", "a", "", "\t=1"):
        cell = str(safe_cell(value))
        assert cell.removeprefix("'") == value if cell != value else not value.startswith("'")


def test_csv_as_one_archive_is_the_same_bytes_again(segment: SqliteSegment) -> None:
    first, second = io.BytesIO(), io.BytesIO()
    write_csv_zip(begin_export(segment), first)
    write_csv_zip(begin_export(segment), second)
    assert first.getvalue() == second.getvalue()
    assert zipfile.ZipFile(first).namelist() == ["nodes.csv", "edges.csv"]


def test_csv_since_a_size_has_what_came_then(segment: SqliteSegment, tmp_path: Path) -> None:
    size = segment.size()
    clean = digested("/data/clean.csv")
    accept(
        segment,
        [
            event(4, [clean], [dataset("/data/more.csv")]),
            event(5, [digested("/data/raw.csv")], [clean], job="job_1"),
        ],
    )
    write_csv_folder(begin_export(segment, since=size), tmp_path / "out")
    nodes = {row["id"] for row in rows_of(tmp_path / "out" / "nodes.csv")}
    assert nodes == {"dataset:file:/data/more.csv", "job:ml:job_4"}
    edges = {(row["source"], row["job"]) for row in rows_of(tmp_path / "out" / "edges.csv")}
    assert edges == {
        ("dataset:file:/data/clean.csv", "job:ml:job_4"),
        # Asserted again.
        ("dataset:file:/data/raw.csv", "job:ml:job_1"),
    }


def test_what_a_reader_may_not_see_is_not_exported(segment: SqliteSegment, tmp_path: Path) -> None:
    class Confined:
        sees_all = False

        def may_see(self, node: NodeId) -> bool:
            return node.namespace == "ml"

    export = begin_export(segment, authoriser=Confined())
    write_csv_folder(export, tmp_path / "out")
    assert {row["namespace"] for row in rows_of(tmp_path / "out" / "nodes.csv")} == {"ml"}
    assert rows_of(tmp_path / "out" / "edges.csv") == []
    assert export.left_out.hidden > 0


# Parquet


def count(folder: Path, table: str, where: str = "true") -> int:
    sql = f"SELECT count(*) FROM read_parquet('{folder}/{table}/**/*.parquet', hive_partitioning = true) WHERE {where}"
    row = duckdb.sql(sql).fetchone()
    assert row is not None
    return int(row[0])


def test_an_archive_is_read_by_day(segment: SqliteSegment, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    archive(segment, folder)
    assert sorted(path.name for path in (folder / "events").iterdir()) == [
        *("date=2026-01-01", "date=2026-01-02", "date=2026-01-03"),
    ]
    assert count(folder, "events") == 3
    assert count(folder, "events", "date = '2026-01-02' AND job_name = 'job_2'") == 1
    assert count(folder, "edges", "kind = 'trains' AND source NOT LIKE 'datasetField:%'") == 1
    assert count(folder, "nodes", "kind = 'datasetField'") == 5
    sql = f"SELECT event->>'$.run.runId', event_time FROM read_parquet('{folder}/events/**/*.parquet') ORDER BY position"
    assert duckdb.sql(sql).fetchall()[0][0] == RUN.format(1)


def test_an_archive_grows_by_new_files_alone(segment: SqliteSegment, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    first = archive(segment, folder)
    before = {path: path.read_bytes() for path in first.files}
    assert archive(segment, folder).files == []
    accept(segment, [event(1, [], [dataset("/data/late.csv")], job="late"), event(7, [], [CLEAN])])
    second = archive(segment, folder)
    assert (second.since, second.size) == (first.size, segment.size())
    assert all(path.read_bytes() == held for path, held in before.items())
    assert count(folder, "events") == 5
    # An event of an earlier day is one more file of that day.
    assert count(folder, "events", "date = '2026-01-01'") == 2
    assert json.loads((folder / MANIFEST).read_text())["size"] == second.size
    whole = tmp_path / "whole"
    archive(segment, whole)
    for table in ("events", "nodes", "edges"):
        assert count(whole, table) == count(folder, table)


def test_a_store_in_postgresql_gives_the_same_rows(
    segment: SqliteSegment, tmp_path: Path, postgres_of: Callable[[str], Server]
) -> None:
    place = Place("postgres15", tmp_path / "keys", postgres_of("15"))
    place.folder.mkdir()
    other = place.open()
    accept(other, THREE)
    for name, one in (("a", segment), ("b", other)):
        write_csv_folder(begin_export(one), tmp_path / name)
        archive(one, tmp_path / f"archive_{name}")
    for name in ("nodes.csv", "edges.csv"):
        first, second = (sorted(map(str, rows_of(tmp_path / one / name))) for one in "ab")
        assert first == second
    for table in ("events", "nodes", "edges"):
        assert count(tmp_path / "archive_a", table) == count(tmp_path / "archive_b", table)
    other.close()
    place.drop()


def test_what_a_crash_left_of_an_export_is_written_once(
    segment: SqliteSegment, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    archive(segment, folder)
    manifest = (folder / MANIFEST).read_text()
    accept(segment, [event(9, [], [CLEAN])])
    archive(segment, folder)
    # As if it had ended before its last step.
    (folder / MANIFEST).write_text(manifest)
    accept(segment, [event(10, [], [CLEAN])])
    archive(segment, folder)
    assert count(folder, "events") == 5


def test_an_archive_of_another_log_or_with_a_hole_is_refused(
    segment: SqliteSegment, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    archive(segment, folder)
    other = open_segment(f"sqlite:///{tmp_path}/other.db")
    accept(other, THREE)
    with pytest.raises(UsageError, match="is an archive of"):
        archive(other, folder)
    other.close()
    with pytest.raises(UsageError, match="ends at"):
        archive(segment, folder, since=2)
    with pytest.raises(UsageError, match="has Parquet files"):
        archive(segment, folder / "events")


def test_erased_values_are_null_in_every_export(segment: SqliteSegment, tmp_path: Path) -> None:
    entry = next(one.position for one in segment.iter_entries(kinds={"event"}))
    erase(segment, fields={entry: ["/outputs/0/facets/documentation"]})
    url = f"sqlite:///{tmp_path}/lodeline.db"
    for words in (
        ["parquet", "-o", str(tmp_path / "a")],
        ["openlineage", "-o", str(tmp_path / "o.jsonl")],
    ):
        assert main(["export", "--store", url, "--format", *words]) == 0
    sql = f"SELECT event FROM read_parquet('{tmp_path}/a/events/**/*.parquet') ORDER BY position"
    texts = [row[0] for row in duckdb.sql(sql).fetchall()]
    texts += (tmp_path / "o.jsonl").read_text().splitlines()
    assert len(texts) == 6
    for text in texts:
        assert "Customers, cleaned" not in text
    facets = json.loads(texts[0])["outputs"][0]["facets"]
    assert facets["documentation"] is None


# CycloneDX


@pytest.fixture
def bom(segment: SqliteSegment, tmp_path: Path) -> dict[str, Any]:
    out = tmp_path / "bom.json"
    url = f"sqlite:///{tmp_path}/lodeline.db"
    words = ["export", "model:ml:churn", "--store", url, "--format", "cyclonedx", "-o", str(out)]
    assert main(words) == 0
    text = out.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found: dict[str, Any] = json.loads(text)
    return found


def test_an_ml_bom_names_the_model_its_data_and_its_packages(bom: dict[str, Any]) -> None:
    model = bom["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert model["version"] == f"sha256:{MODEL}"
    assert model["hashes"] == [{"alg": "SHA-256", "content": MODEL}]
    card = model["modelCard"]
    clean = f"dataset:file:/data/clean.csv#sha256:{DATA}"
    assert card["modelParameters"]["datasets"] == [{"ref": clean}]
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [{"type": "auc", "value": "0.91"}]
    properties = {one["name"]: one["value"] for one in card["properties"]}
    assert properties["lodeline:parameter:depth"] == "6"
    assert properties["lodeline:seed:numpy"] == "7"
    assert properties["lodeline:run"] == f"run:{RUN.format(2)}"
    components = {one["bom-ref"]: one for one in bom["components"]}
    assert components[clean]["hashes"] == [{"alg": "SHA-256", "content": DATA}]
    assert components["pkg:pypi/scikit-learn@1.7.0"]["name"] == "scikit_learn"
    depends = {one["ref"]: one["dependsOn"] for one in bom["dependencies"]}
    assert depends[clean] == [f"dataset:file:/data/raw.csv#sha256:{'01' * 32}"]
    assert clean in depends[model["bom-ref"]]
    assert "pkg:pypi/numpy@2.3.0" in depends[model["bom-ref"]]


def test_the_same_record_gives_the_same_ml_bom(
    segment: SqliteSegment, bom: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "again.json"
    url = f"sqlite:///{tmp_path}/lodeline.db"
    main(["export", "model:ml:churn", "--store", url, "--format", "cyclonedx", "-o", str(out)])
    assert json.loads(out.read_text()) == bom


# Croissant


@pytest.fixture
def croissant(segment: SqliteSegment, tmp_path: Path) -> Path:
    out = tmp_path / "croissant.json"
    url = f"sqlite:///{tmp_path}/lodeline.db"
    words = ["export", "dataset:file:/data/clean.csv", "--store", url, "--format", "croissant"]
    assert main([*words, "-o", str(out)]) == 0
    return out


def test_croissant_tells_files_fields_and_sources(croissant: Path) -> None:
    body = json.loads(croissant.read_text())
    (file,) = body["distribution"]
    assert (file["sha256"], file["encodingFormat"]) == (DATA, "text/csv")
    assert file["contentUrl"] == "file:///data/clean.csv"
    types = {field["name"]: field["dataType"] for field in body["recordSet"][0]["field"]}
    assert types == {
        "age": "sc:Integer",
        "paid": "sc:Float",
        "since": "sc:DateTime",
        "ok": "sc:Boolean",
        "note": "sc:Text",
    }
    assert body["isBasedOn"] == [f"dataset:file:/data/raw.csv#sha256:{'01' * 32}"]
    assert body["keywords"] == ["pii"]
    assert body["creator"][0]["name"] == "team:crm"


def test_mlcroissant_accepts_the_description(croissant: Path) -> None:
    if not CROISSANT.exists():
        if os.environ.get("CI"):
            pytest.fail("mlcroissant is not installed: make producers")
        pytest.skip("mlcroissant is not installed: make producers")
    program = (
        "import sys, mlcroissant; print(mlcroissant.Dataset(jsonld=sys.argv[1]).metadata.name)"
    )
    done = subprocess.run(
        [str(CROISSANT), "-c", program, str(croissant)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "clean.csv"


# Usage


@pytest.mark.parametrize(
    "words",
    [
        ["--format", "cyclonedx"],
        ["--format", "croissant", "model:ml:churn"],
        ["--format", "cyclonedx", "dataset:file:/data/clean.csv"],
        ["--format", "cyclonedx", "model:ml:churn", "--since", "3"],
        ["--format", "openlineage", "model:ml:churn"],
        ["--format", "parquet"],
        ["--since", "-1"],
        ["--since", "999"],
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(
    segment: SqliteSegment, tmp_path: Path, words: list[str]
) -> None:
    assert main(["export", "--store", f"sqlite:///{tmp_path}/lodeline.db", *words]) == 2


def test_an_unknown_model_is_a_no(segment: SqliteSegment, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lodeline.db"
    assert main(["export", "model:ml:none", "--format", "cyclonedx", "--store", url]) == 1


def test_the_size_that_an_export_went_to_is_told(
    segment: SqliteSegment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/lodeline.db"
    words = ["export", "--format", "csv", "-o", str(tmp_path / "out"), "--store", url, "--json"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["size"] == segment.size()
    assert f"--since {segment.size()}" in err or not err
