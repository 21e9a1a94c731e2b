"""Tools that test data: what they found is told at the input that the data came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from frameworks import interpreter_of
from observing import Observed, python, run_plain

TABLE = "a,b\n" + "".join(f"{i},{i % 7}\n" for i in range(60))
PANDERA = (
    "import pandas as pd, pandera.pandas as pa\n"
    "table, other = pd.read_csv('in.csv'), pd.read_csv('other.csv')\n"
    "columns = {'a': pa.Column(int, pa.Check.ge(0)),\n"
    "           'b': pa.Column(int, pa.Check.lt(3), unique=True), 'c': pa.Column(str)}\n"
    "try:\n"
    "    pa.DataFrameSchema(columns, name='orders').validate(table, lazy=True)\n"
    "except pa.errors.SchemaErrors as error:\n"
    "    print(len(error.schema_errors))\n"
    "class Good(pa.DataFrameModel):\n"
    "    a: int = pa.Field(ge=0)\n"
    "Good.validate(other)\n"
    "Good.validate(pd.concat([table, other]))\n"
    "pa.DataFrameSchema({'a': pa.Column(int, pa.Check.lt(5))}).validate(other)\n"
)
EXPECTATIONS = (
    "import pandas as pd, great_expectations as gx\n"
    "table = pd.read_csv('in.csv'); pd.read_csv('other.csv')\n"
    "context = gx.get_context(mode='ephemeral')\n"
    "asset = context.data_sources.add_pandas('files').add_dataframe_asset('orders')\n"
    "whole = asset.add_batch_definition_whole_dataframe('all')\n"
    "expect = gx.expectations\n"
    "suite = context.suites.add(gx.ExpectationSuite(name='s', expectations=[\n"
    "    expect.ExpectColumnValuesToNotBeNull(column='a'),\n"
    "    expect.ExpectColumnMaxToBeBetween(column='b', max_value=3)]))\n"
    "checks = gx.ValidationDefinition(name='v', data=whole, suite=suite)\n"
    "checks = context.validation_definitions.add(checks)\n"
    "print(checks.run(batch_parameters={'dataframe': table}).success)\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text(TABLE)
    (tmp_path / "other.csv").write_text(TABLE)
    return tmp_path


def outcomes(seen: Observed, name: str) -> dict[tuple[str, str | None], bool]:
    """What was told of the checks of an input."""
    (facets,) = [d["inputFacets"] for d in seen.last["inputs"] if Path(d["name"]).name == name]
    told: list[dict[str, Any]] = facets.get("dataQualityAssertions", {}).get("assertions", [])
    return {(one["assertion"], one.get("column")): one["success"] for one in told}


def test_demands_of_a_schema_are_told_with_those_that_did_not_hold(folder: Path) -> None:
    interpreter = interpreter_of("quality")
    (folder / "script.py").write_text(PANDERA)
    plain = run_plain(folder, interpreter, "script.py")
    seen = python(folder, PANDERA, interpreter)
    assert (seen.status, seen.stdout, seen.stderr) == (plain.status, plain.stdout, plain.stderr)
    assert outcomes(seen, "in.csv") == {
        ("dtype", "a"): True,
        ("not_nullable", "a"): True,
        ("greater_than_or_equal_to", "a"): True,
        ("dtype", "b"): True,
        ("not_nullable", "b"): True,
        ("less_than", "b"): False,
        ("unique", "b"): False,
        ("column_in_dataframe", "c"): False,
    }
    assert outcomes(seen, "other.csv") == {
        ("dtype", "a"): True,
        ("not_nullable", "a"): True,
        ("greater_than_or_equal_to", "a"): True,
        ("less_than", "a"): False,
    }
    assert seen.run_facet("lodeline_parameters")["metrics"]["pandera.orders.failed"] == 3
    assert [gap["detail"] for gap in seen.gaps] == [
        "checks of a table made of several inputs are told at no input"
    ]


def test_expectations_of_a_batch_are_told_at_the_file_it_was_read_from(folder: Path) -> None:
    interpreter = interpreter_of("quality")
    seen = python(folder, EXPECTATIONS, interpreter, GX_ANALYTICS_ENABLED="false")
    assert (seen.status, seen.stdout) == (0, "False\n"), seen.stderr
    assert outcomes(seen, "in.csv") == {
        ("expect_column_values_to_not_be_null", "a"): True,
        ("expect_column_max_to_be_between", "b"): False,
    }
    assert outcomes(seen, "other.csv") == {}
