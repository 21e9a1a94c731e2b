"""What rules of privacy withhold, hash, encrypt or hide never leaves the process in the clear."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from test_serving import application, post, served

from lodeline.capture import serving
from lodeline.capture.privacy import (
    WITHHELD,
    Privacy,
    Rule,
    open_values,
    parse_privacy,
    read_key,
)
from lodeline.cli.main import main
from lodeline.errors import UsageError
from lodeline.spool import open_drain
from observing import python, run_observed

KEY = "0123456789abcdef0123456789abcdef"
CONFIGURATION = """
[privacy]
key = "env:EDGE_KEY"
parameters = ["customer_*"]

[[privacy.columns]]
dataset = "*orders*"
hide = ["ssn"]

[[privacy.columns]]
dataset = "prod:*"
deny = ["address"]
hash = ["email"]
encrypt = ["salary", "output"]
hide = ["ssn"]
"""
BODY = {
    "email": "ann@example.com", "salary": 51234, "ssn": "078-05-1120", "age": 41,
    "address": {"street": "Elm Street 7"},
}  # fmt: skip


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lodeline.toml"
    path.write_text(CONFIGURATION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGE_KEY", KEY)
    return path


def _records(spool: Path) -> list[dict[str, Any]]:
    with open_drain(spool) as drain:
        assert drain is not None
        records = [r for name in list(drain.iter_segments()) for r in drain.iter_records(name)]
    bodies = [json.loads(record.body) for record in records]
    return [row for body in bodies if body["type"] == "predictions" for row in body["rows"]]


def _predict(spool: Path) -> dict[str, Any]:
    app = serving.serving(application(), deployment="api", namespace="prod", spool=spool)
    with served(app) as url:
        assert post(f"{url}/echo", BODY)[0] == 200
    app.log.close()
    (row,) = _records(spool)
    return row


def test_predictions_leave_the_process_as_the_rules_say(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving._Hooks, "estimators_observed", False)
    monkeypatch.setitem(sys.modules, "lodeline.capture.process", None)
    row = _predict(tmp_path / "spool")
    features = row["features"]
    assert features["age"] == 41
    assert features["address"] == WITHHELD
    assert features["email"].startswith("hmac-sha256:")
    assert "ssn" not in features
    # The answer repeats the request below a member of its own.
    assert row["output"]["got"]["email"] == features["email"]
    details = " ".join(gap["detail"] for gap in row["gaps"])
    assert "values of address are withheld" in details
    assert "the names of some columns are withheld" in details
    everything = b"".join(p.read_bytes() for p in tmp_path.rglob("*.segment"))
    for secret in (b"ann@example.com", b"51234", b"078-05-1120", b"Elm Street", b"ssn"):
        assert secret not in everything
    # Whoever has the key reads what was encrypted, and nobody else.
    (tmp_path / "answer.json").write_text(json.dumps(row))
    assert main(["open", str(tmp_path / "answer.json")]) == 0
    assert json.loads(capsys.readouterr().out)["features"]["salary"] == 51234
    monkeypatch.setenv("OTHER_KEY", "f" * 32)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(row)))
    assert main(["open", "--key", "env:OTHER_KEY"]) == 1
    assert "51234" not in capsys.readouterr().out


def test_no_value_of_a_table_without_header_leaves(tmp_path: Path) -> None:
    rows = "Ann Elm,Elmstreet 7,4111\nBob Oak,Oakstreet 2,5222\n"
    for name in ("plain", "frame", "named", "lazy", "arrow"):
        (tmp_path / f"{name}.csv").write_text(rows)
    done = python(
        tmp_path,
        "import csv, pandas, polars, pyarrow.csv as arrow\n"
        "rows = list(csv.reader(open('plain.csv')))\n"
        "csv.writer(open('plain_out.csv', 'w')).writerows(rows)\n"
        "frame = pandas.read_csv('frame.csv', header=None)\n"
        "frame.to_csv('frame_out.csv', index=False, header=False)\n"
        "named = pandas.read_csv('named.csv', names=['who', 'where', 'card'])\n"
        "named.to_csv('named_out.csv', index=False, header=False)\n"
        "lazy = polars.scan_csv('lazy.csv', has_header=False).collect()\n"
        "lazy.write_csv('lazy_out.csv', include_header=False)\n"
        "options = arrow.ReadOptions(autogenerate_column_names=True)\n"
        "table = arrow.read_csv('arrow.csv', read_options=options)\n"
        "arrow.write_csv(table, 'arrow_out.csv', arrow.WriteOptions(include_header=False))\n",
        LODELINE_LOGICAL_DIGESTS="now",
    )
    assert done.status == 0, done.stderr
    told = json.dumps(done.events)
    assert "column_3" in told
    for value in ("Ann Elm", "Elmstreet", "4111", "Bob Oak", "Oakstreet", "5222"):
        assert value not in told
    schema = done.output("named_out.csv")["facets"]["lodeline_digest"]["logicalSchema"]
    assert {column["name"] for column in schema} == {"column_1", "column_2", "column_3"}


def test_a_column_whose_name_is_hidden_is_in_no_event(rules: Path, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("id,ssn,amount\n1,078,3\n2,079,4\n")
    done = python(
        tmp_path,
        "import pandas, lodeline\n"
        "frame = pandas.read_csv('orders.csv')\n"
        "frame.to_csv('orders_out.csv', index=False)\n"
        "frame.drop(columns='ssn').to_csv('plain.csv', index=False)\n"
        "with lodeline.run('inner') as run:\n"
        "    run.param('customer_name', 'Ann'); run.param('depth', 6)\n",
        EDGE_KEY=KEY,
    )
    assert done.status == 0, done.stderr
    fields = [f["name"] for f in done.output("orders_out.csv")["facets"]["schema"]["fields"]]
    assert fields == ["id", "amount"]
    assert "ssn" not in json.dumps(done.events)
    assert any("names of some columns are withheld" in gap["detail"] for gap in done.gaps)
    facets = [e["run"]["facets"].get("lodeline_parameters") for e in done.events]
    told = [facet["parameters"] for facet in facets if facet]
    assert told[-1] == {"customer_name": WITHHELD, "depth": 6}
    assert not any(b"ssn" in p.read_bytes() for p in (tmp_path / "store").rglob("*.journal"))


@pytest.mark.parametrize(
    "text",
    [
        "[privacy]\nkolumns = []\n",
        '[privacy]\ncolumns = "ssn"\n',
        '[[privacy.columns]]\nhash = ["a"]\n',
        '[[privacy.columns]]\ndeny = "ssn"\n',
        '[privacy]\nkey = "plain text"\n',
        "privacy = 3\n",
    ],
)
def test_rules_that_cannot_be_read_turn_capture_off_and_not_the_program(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "lodeline.toml").write_text(text)
    (tmp_path / "script.py").write_text("open('x.txt', 'w').write('1'); print('done')\n")
    done = run_observed(tmp_path, sys.executable, "script.py")
    assert (done.status, done.stdout) == (0, "done\n")
    assert "capture is off, nothing of this run is recorded: privacy" in done.stderr
    assert done.events == []


def test_what_gives_least_away_counts_and_a_list_of_what_is_allowed_denies_the_rest() -> None:
    rules = Privacy((Rule(allow=("id", "a*")), Rule("db:*", hash=("a1",), hide=("a2",))))
    actions = {name: rules.action("db:t", name) for name in ("id", "a1", "a2", "b")}
    assert actions == {"id": "keep", "a1": "hash", "a2": "hide", "b": "deny"}
    assert rules.action("other:t", "a1") == "keep"
    notes: list[str] = []
    assert rules.conceal("db:t", [1.5, 2], notes) == WITHHELD
    assert notes == ["values without names of columns are withheld"]
    assert rules.conceal("db:t", [{"id": 1, "a2": 2}, {"b": 3}], notes) == [
        {"id": 1},
        {"b": WITHHELD},
    ]
    assert rules.conceal("db:t", 0.5, notes, column="output") == WITHHELD


def test_rules_survive_being_handed_down() -> None:
    rules = parse_privacy(
        {
            "key": "env:K",
            "variables": ["A"],
            "columns": [{"allow": []}, {"dataset": "x", "hash": ["h"]}],
        }
    )
    assert parse_privacy(json.loads(rules.to_text())) == rules
    assert Privacy().to_text() == ""


def test_a_sealed_value_that_was_changed_stays_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K", KEY)
    rules = Privacy((Rule(encrypt=("a",)),), key="env:K")
    sealed = rules.conceal("x:y", {"a": {"b": [1, None, "é"]}}, [])
    problems: list[str] = []
    assert open_values(sealed, read_key("env:K"), problems) == {"a": {"b": [1, None, "é"]}}
    changed = {"a": sealed["a"][:-6] + "AAAA" + sealed["a"][-2:]}
    assert open_values(changed, read_key("env:K"), problems) == changed
    assert problems == ["changed since sealed"]
    with pytest.raises(UsageError):
        read_key("env:NOT_SET")


def test_figures_of_columns_with_rules_are_left_out_of_facets() -> None:
    rules = Privacy((Rule(deny=("salary",), hide=("ssn",)),))
    facets = {
        "schema": {"fields": [{"name": "id"}, {"name": "ssn"}, {"name": "salary"}]},
        "dataQualityMetrics": {"columnMetrics": {"id": {"min": 1}, "salary": {"max": 9}}},
        "columnLineage": {
            "fields": {"ssn": {"inputFields": []}, "id": {"inputFields": [
                {"namespace": "n", "name": "t", "field": "ssn"}, {"namespace": "n", "name": "t", "field": "id"}]}}
        },
    }  # fmt: skip
    assert rules.conceal_facets("n:t", facets) == {
        "schema": {"fields": [{"name": "id"}, {"name": "salary"}]},
        "dataQualityMetrics": {"columnMetrics": {"id": {"min": 1}}},
        "columnLineage": {
            "fields": {"id": {"inputFields": [{"namespace": "n", "name": "t", "field": "id"}]}}
        },
    }
