"""`rows` and `cohort` from the command line, HTTP and Python: the same rows in every form."""

from __future__ import annotations

import csv
import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("duckdb")

import lodeline  # noqa: E402
from lodeline.cli.main import main  # noqa: E402
from lodeline.errors import UsageError  # noqa: E402
from lodeline.query import ask  # noqa: E402
from lodeline.store import SqlSegment, open_segment  # noqa: E402
from row_chains import behind, random_chain, record_fit, version  # noqa: E402
from row_erasures import OTHER, START, SUBJECT, identifier, record_predictions  # noqa: E402
from service import serving  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("questions")


@pytest.fixture(scope="module")
def chain(folder: Path) -> Iterator[tuple[SqlSegment, list[list[list[int]]]]]:
    with open_segment(f"sqlite:///{folder / 'lodeline.db'}") as segment:
        links = random_chain(segment, 4)
        record_predictions(segment)
        record_fit(segment)
        yield segment, links


def test_a_prediction_names_what_its_model_was_fitted_on_apart_from_its_features(
    chain: tuple[SqlSegment, list[list[list[int]]]],
) -> None:
    segment, _ = chain
    root = {"id": f"prediction:{identifier(1)}"}
    answer = ask(segment, "rows", root)
    assert answer["trained_on"] == {f"dataset:test:d3#{version(3)}": 3}
    assert answer["rows"] == []
    population = ask(segment, "cohort", root)
    assert [row["key"] for row in population["rows"]] == ["3", "8", "21"]
    reached = ask(segment, "cohort", {"id": f"row:test:d3:8#{version(3)}"})
    kinds = {row["dataset"].partition(":")[0] for row in reached["rows"]}
    assert kinds == {"model", "deployment"}
    assert reached["counts"]["predictions"] == 4
    unused = ask(segment, "cohort", {"id": f"row:test:d3:9#{version(3)}"})
    assert unused["rows"] == []


def row_with_most(links: list[list[list[int]]]) -> int:
    return max(range(300), key=lambda row: sum(map(len, behind(links, row).values())))


def keys_of(rows: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(row["dataset"], row["key"]) for row in rows]


def test_a_table_holds_every_row_of_every_page_in_each_form(
    chain: tuple[SqlSegment, list[list[list[int]]]],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    segment, links = chain
    row = f"row:test:d3:{row_with_most(links)}#{version(3)}"
    expected = keys_of(ask(segment, "rows", {"id": row})["rows"])
    assert len(expected) > 2
    store = f"sqlite:///{folder / 'lodeline.db'}"
    asked = ["rows", row, "--store", store, "--limit", "2"]
    assert main([*asked, "--format", "csv"]) == 0
    told = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert keys_of(told) == expected
    for form, read in (
        ("parquet", pq.read_table),
        ("arrow", lambda path: pa.ipc.open_stream(path).read_all()),
    ):
        path = folder / f"rows.{form}"
        assert main([*asked, "--format", form, "--output", str(path)]) == 0
        assert keys_of(read(path).to_pylist()) == expected
    table = lodeline.rows(row, store=store, format="arrow", limit=2)
    assert keys_of(table.to_pylist()) == expected
    capsys.readouterr()
    assert main([*asked, "--format", "parquet"]) == 2
    assert main([*asked, "--output", "x"]) == 2


def test_http_gives_a_page_as_a_table_by_parameter_or_by_accept(
    chain: tuple[SqlSegment, list[list[list[int]]]], folder: Path
) -> None:
    segment, links = chain
    row = f"row:test:d3:{row_with_most(links)}#{version(3)}"
    expected = keys_of(ask(segment, "rows", {"id": row})["rows"])
    with serving(folder) as service:
        query = urllib.parse.urlencode({"id": row, "limit": 2})
        url = f"{service.url}/api/v2/rows?{query}"
        with urllib.request.urlopen(f"{url}&format=csv") as response:
            assert response.headers["Content-Type"].startswith("text/csv")
            assert response.headers["Lodeline-Next"]
            told = list(csv.DictReader(io.StringIO(response.read().decode())))
        assert keys_of(told) == expected[:2]
        accept = {"Accept": "application/vnd.apache.arrow.stream"}
        with urllib.request.urlopen(urllib.request.Request(url, headers=accept)) as response:
            table = pa.ipc.open_stream(response.read()).read_all()
        assert keys_of(table.to_pylist()) == expected[:2]
        with pytest.raises(urllib.error.HTTPError) as status:
            urllib.request.urlopen(f"{url}&format=xls")
        assert status.value.code == 400
        assert service.get("/api/v2/rows", id=row)["rows"]


def test_counts_come_without_rows_and_without_a_page_to_go_on_from(
    chain: tuple[SqlSegment, list[list[list[int]]]],
) -> None:
    segment, links = chain
    row = f"row:test:d3:{row_with_most(links)}#{version(3)}"
    whole = ask(segment, "rows", {"id": row})
    for asked in ({"counts": True}, {"limit": 0}):
        counted = ask(segment, "rows", {"id": row, **asked})
        assert (counted["rows"], counted["next"]) == ([], None)
        assert counted["counts"] == whole["counts"]


def test_the_cohort_of_a_decision_is_narrowed_by_time_and_features(
    chain: tuple[SqlSegment, list[list[list[int]]]],
) -> None:
    segment, _ = chain
    root = f"prediction:{identifier(1)}"

    def count(**more: object) -> int:
        return int(ask(segment, "cohort", {"id": root, **more})["counts"]["predictions"])

    assert count() == 4
    assert count(where=f"customer = '{SUBJECT}'") == 2
    assert count(where="amount >= 42") == 2
    assert count(since="2023-11-14T22:13:20.001Z") == 3
    assert count(until="2023-11-14T22:13:20.0009Z") == 1
    assert count(since="2024-01-01T00:00:00Z") == 0
    assert START < 1_700_000_000_001_000
    for bad in ({"where": "customer = (SELECT 1)"}, {"since": "soon"}, {"where": "nothing = 1"}):
        with pytest.raises(UsageError):
            count(**bad)


def test_the_cohorts_predictions_are_listed_by_pages_with_what_they_were_made_of(
    chain: tuple[SqlSegment, list[list[list[int]]]],
) -> None:
    segment, _ = chain
    asked = {"id": f"prediction:{identifier(1)}", "predictions": True, "limit": 3}
    first = ask(segment, "cohort", asked)
    second = ask(segment, "cohort", {**asked, "cursor": first["next"]})
    rows = [*first["rows"], *second["rows"]]
    assert [row["id"] for row in rows] == [f"prediction:{identifier(n)}" for n in range(4)]
    assert second["next"] is None
    assert rows[1]["values"]["customer"] == OTHER
    assert rows[1]["values"]["output"] == 1 / 7
    assert first["counts"] == {"predictions": 4}


def test_the_cohort_of_a_row_is_what_it_reached(
    chain: tuple[SqlSegment, list[list[list[int]]]],
) -> None:
    segment, links = chain
    row = row_with_most(links)
    source = next(iter(behind(links, row)["d1"]))
    answer = ask(segment, "cohort", {"id": f"row:test:d1:{source}#{version(1)}"})
    assert answer["direction"] == "forward"
    assert ("dataset:test:d3", str(row)) in keys_of(answer["rows"])
    assert json.loads(json.dumps(answer)) == answer
