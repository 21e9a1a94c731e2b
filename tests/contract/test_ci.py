"""`lodeline ci` and `schema`: what a change breaks, for whom, and what the build was."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from lodeline.capture import builds
from lodeline.capture.deployments import describe_deployment
from lodeline.cli.main import main
from lodeline.errors import UsageError
from observing import environment
from secret_shapes import CORPUS

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "ci.md"
ORDERS = {"id": "int", "amount": "int", "note": "text"}
REPORT = """<testsuites><testsuite name="a">
<testcase name="1" time="0.5"/><testcase name="2"><failure/></testcase>
<testcase name="3"><skipped/></testcase></testsuite></testsuites>"""


def event(job: str, inputs: list[str], output: str, fields: dict[str, str], **facets: Any) -> Any:
    stamp = {"_producer": "https://t", "_schemaURL": "https://t/x.json"}
    schema = {"fields": [{"name": name, "type": kind} for name, kind in fields.items()]}
    found = {"schema": schema, **facets} if fields else facets
    return {
        "eventType": "COMPLETE", "eventTime": "2026-11-22T10:00:00Z", "producer": "https://t",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.uuid4())}, "job": {"namespace": "etl", "name": job},
        "inputs": [{"namespace": "db", "name": name} for name in inputs],
        "outputs": [{"namespace": "db", "name": output,
                     "facets": {name: {**stamp, **body} for name, body in found.items()}}],
    }  # fmt: skip


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Orders, from which totals are made by column, and copies that nobody looked into."""
    lineage = {"fields": {"total": {"inputFields": [
        {"namespace": "db", "name": "orders", "field": "amount"}]}}}  # fmt: skip
    owners = {"owners": [{"name": "team:risk", "type": "OWNER"}]}
    lines = [
        event("load", [], "orders", ORDERS),
        event(
            "sum", ["orders"], "totals", {"total": "int"}, columnLineage=lineage, ownership=owners
        ),
        event("load", [], "loose", ORDERS),
        event("copy", ["loose"], "copies", {}, ownership={"owners": [{"name": "team:bi"}]}),
    ]
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "CI", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    url = f"sqlite:///{tmp_path}/lodeline.db"
    assert _import(tmp_path, url, lines) == 0
    return url


def _import(folder: Path, url: str, events: list[Any]) -> int:
    path = folder / "events.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in events))
    return main(["import", str(path), "--store", url])


def _ci(store: str, capsys: pytest.CaptureFixture[str], events: list[Any], *more: str) -> Any:
    Path("changed.jsonl").write_text("\n".join(json.dumps(one) for one in events))
    capsys.readouterr()
    status = main(["ci", "--events", "changed.jsonl", "--store", store, "--json", *more])
    return status, json.loads(capsys.readouterr().out)


def _changed(**fields: str | None) -> list[Any]:
    kept = {name: kind for name, kind in {**ORDERS, **fields}.items() if kind is not None}
    return [event("load", [], "orders", kept), event("load", [], "loose", ORDERS)]


@pytest.mark.parametrize(
    ("fields", "status", "what"),
    [
        ({"new": "text"}, 0, "added"),
        ({"note": None}, 0, "removed"),
        ({"id": "text"}, 0, "retyped"),
        ({"amount": "text"}, 1, "retyped"),
        ({"amount": "bigint"}, 1, "widened"),
        ({"amount": None}, 1, "removed"),
        ({"amount": "integer"}, 0, None),
    ],
)
def test_a_changed_column_breaks_where_lineage_says_that_it_is_read(
    store: str, capsys: pytest.CaptureFixture[str], fields: Any, status: int, what: str | None
) -> None:
    found, answer = _ci(store, capsys, _changed(**fields), "--no-record")
    assert (found, answer["ok"]) == (status, status == 0)
    changes = [one for one in answer["findings"] if one["column"]]
    assert [one["what"] for one in changes] == ([what] if what else [])
    if status:
        assert changes[0]["affected"] == ["datasetField:db:totals:total", "job:etl:sum"]
        assert changes[0]["owners"] == ["team:risk"]


def test_a_renamed_column_is_told_with_its_new_name(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer = _ci(store, capsys, _changed(amount=None, value="int"), "--no-record")
    assert status == 1
    assert "perhaps renamed to value" in answer["findings"][0]["detail"]


def test_readers_without_column_lineage_make_it_could_not_tell(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [event("load", [], "orders", ORDERS), event("load", [], "loose", {"id": "int"})]
    status, answer = _ci(store, capsys, events, "--no-record")
    assert (status, answer["ok"]) == (3, None)
    assert {one["severity"] for one in answer["findings"]} == {"unknown"}
    assert answer["findings"][0]["owners"] == ["team:bi"]
    status, answer = _ci(store, capsys, [event("load", [], "orders", {})], "--no-record")
    assert status == 3
    assert "the events do not tell its columns" in json.dumps(answer)


def test_an_invalid_event_or_none_at_all_fails(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer = _ci(store, capsys, [{"eventType": "DONE"}], "--no-record")
    assert (status, answer["findings"][0]["what"]) == (1, "invalid_event")
    assert answer["findings"][0]["detail"].startswith("changed.jsonl:")
    Path("changed.jsonl").write_text("")
    assert main(["ci", "--events", "changed.jsonl", "--store", store, "--no-record"]) == 1
    assert "no event was emitted" in capsys.readouterr().out


def test_an_output_that_is_no_longer_written_breaks_its_readers(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = event("load both", [], "orders", ORDERS)
    both["outputs"].append(event("x", [], "loose", ORDERS)["outputs"][0])
    assert _import(tmp_path, store, [both]) == 0
    status, answer = _ci(store, capsys, [event("load both", [], "orders", ORDERS)], "--no-record")
    assert status == 1
    assert [one["what"] for one in answer["findings"]] == ["not_written"]
    assert answer["findings"][0]["owners"] == ["team:bi"]


def test_a_program_is_run_under_capture_and_its_events_are_checked(
    store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (
        "import pandas as p\np.DataFrame({'a': [1]}).to_csv('out.csv', index=False)\nprint('hi')\n"
    )
    (tmp_path / "job.py").write_text(text)
    words = ["ci", "--store", store, "--json", "--no-record", "--map", f"{tmp_path}=/srv"]
    assert main([*words, "--", sys.executable, "job.py"]) == 0
    out = capfd.readouterr().out.splitlines()
    answer = json.loads(out[-1])
    assert "hi" in out
    assert answer["jobs"] == ["job:default:job.py"]
    assert answer["datasets"] == ["dataset:file:/srv/out.csv"]
    assert main([*words, "--", sys.executable, "-c", "raise SystemExit(4)"]) == 1
    assert "ended with status 4" in capfd.readouterr().out


def test_a_contract_forbids_what_its_mode_forbids(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    orders = "dataset:db:orders"
    assert main(["schema", "check", orders, "--store", store]) == 3
    assert main(["schema", "register", orders, "--mode", "forward", "--store", store]) == 0
    capsys.readouterr()
    assert main(["schema", "list", "--store", store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "contracts": [{"id": orders, "mode": "forward", "columns": 3}]
    }
    assert main(["schema", "check", orders, "--store", store]) == 0
    assert main(["schema", "check", orders, "--fields", "id:int,amount:int,note:text,x:int", "--store", store]) == 0  # fmt: skip
    assert main(["schema", "check", orders, "--fields", "id:int,amount:int", "--store", store]) == 1
    assert main(["schema", "show", orders, "--store", store]) == 0
    # Nobody reads `note`; its contract alone forbids that it goes.
    status, answer = _ci(store, capsys, _changed(note=None), "--no-record")
    assert status == 1
    assert [one["what"] for one in answer["findings"]] == ["contract", "removed"]
    assert main(["schema", "show", "dataset:db:nothing", "--store", store]) == 1
    assert main(["schema", "register", "model:a:b", "--store", store]) == 2


def test_the_build_is_recorded_as_a_run_with_its_tests_and_image(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("junit.xml").write_text(REPORT.replace("<failure/>", ""))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_SHA", "c" * 40)
    monkeypatch.setenv("GITHUB_RUN_ID", "77")
    image = f"registry.example/app@sha256:{'d' * 64}"
    more = ["--junit", "junit.xml", "--image", image, "--deployment", "deployment:prod:api",
            "--build-file", "build.env", "--summary", "summary.md"]  # fmt: skip
    status, answer = _ci(store, capsys, _changed(), *more)
    assert (status, answer["recorded"]) == (0, True)
    assert main(["show", answer["run"], "--store", store, "--json"]) == 0
    facet = json.loads(capsys.readouterr().out)["facets"]["lodeline_build"]
    assert facet["commit"] == "c" * 40
    assert facet["image"] == "sha256:" + "d" * 64
    assert facet["tests"] == {"total": 3, "failed": 0, "errors": 0, "skipped": 1, "seconds": 0.5}
    assert facet["instrumentation"].startswith("lodeline ")
    assert (facet["verdict"], facet["deployments"]) == ("ok", ["deployment:prod:api"])
    assert "### Lineage: ok" in Path("summary.md").read_text()
    # What is deployed from this build says so, and is another version than without it.
    name, _, text = Path("build.env").read_text().strip().partition("=")
    plain = describe_deployment(print, "api").configuration
    monkeypatch.setenv(name, text)
    built = describe_deployment(print, "api").configuration
    assert built["build"]["commit"] == "c" * 40
    assert f"run:{built['build']['run']}" == answer["run"]
    assert built != plain


def test_failed_tests_fail_the_check_and_annotations_name_the_owner(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("junit.xml").write_text(REPORT)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    changed = _changed(amount=None)
    changed[0]["run"]["facets"] = {"lodeline_code": {
        "_producer": "https://t", "_schemaURL": "https://t/x.json", "path": "jobs/load.py"}}  # fmt: skip
    Path("changed.jsonl").write_text("\n".join(json.dumps(one) for one in changed))
    capsys.readouterr()
    words = [
        "ci",
        "--events",
        "changed.jsonl",
        "--store",
        store,
        "--no-record",
        "--junit",
        "junit.xml",
    ]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "1 of 3 tests failed" in out
    (line,) = [one for one in out.splitlines() if one.startswith("::error file=")]
    assert line.startswith("::error file=jobs/load.py,title=lodeline%3A removed::dataset:db:orders")
    assert line.endswith("(owners: team:risk)")


def test_every_system_of_builds_is_read_and_no_secret_with_it(tmp_path: Path) -> None:
    gitlab = {"GITLAB_CI": "true", "CI_COMMIT_SHA": "a" * 40, "CI_PIPELINE_ID": "5",
              "CI_PIPELINE_URL": f"https://u:{CORPUS['gitlab token']}@g/p/5", "CI_MERGE_REQUEST_IID": "9"}  # fmt: skip
    facet = builds.describe_build(tmp_path, gitlab).facet
    assert (facet["system"], facet["commit"], facet["change"]) == ("gitlab", "a" * 40, "9")
    assert facet["url"] == "https://g/p/5"
    jenkins = {"JENKINS_URL": "x", "GIT_COMMIT": "b" * 40, "BUILD_ID": "8"}
    assert builds.describe_build(tmp_path, jenkins).facet["build"] == "8"
    github = {"GITHUB_ACTIONS": "true", "GITHUB_REF": "refs/pull/12/merge", "GITHUB_RUN_ID": "3",
              "GITHUB_SERVER_URL": "https://github.example", "GITHUB_REPOSITORY": "a/b"}  # fmt: skip
    facet = builds.describe_build(tmp_path, github).facet
    assert (facet["change"], facet["url"]) == ("12", "https://github.example/a/b/actions/runs/3")
    assert builds.describe_build(tmp_path, {"CI": "1"}).facet["system"] == "generic"
    for text in ("<a/>", "<testsuite", '<!DOCTYPE x [<!ENTITY a "b">]><testsuite/>'):
        (tmp_path / "r.xml").write_text(text)
        with pytest.raises(UsageError):
            builds.read_report(tmp_path / "r.xml")
    with pytest.raises(UsageError):
        builds.describe_build(tmp_path, {}, image="app:latest")


def _snippets(kind: str) -> list[Any]:
    return [yaml.safe_load(text) for text in re.findall(rf"```yaml {kind}\n(.*?)```", GUIDE.read_text(), re.DOTALL)]  # fmt: skip


def test_the_snippets_are_yaml_and_their_commands_run(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (github,), (gitlab,) = _snippets("github"), _snippets("gitlab")
    (job,) = github["jobs"].values()
    scripts = [step["run"] for step in job["steps"] if "run" in step]
    scripts += gitlab["lineage"]["script"]
    commands = [line for script in scripts for line in script.splitlines() if "lodeline" in line]
    run = [line for line in commands if not line.startswith("pip ")]
    assert len(run) >= 4
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "nightly.py").write_text("open('out.txt', 'w').write('1')\n")
    (tmp_path / "junit.xml").write_text(REPORT.replace("<failure/>", ""))
    folder = Path(sys.executable).parent
    env = environment(PATH=f"{folder}{os.pathsep}{os.environ['PATH']}", LODELINE_STORE=store)
    for line in run:
        words = [sys.executable, "-m", "lodeline.cli.main", *shlex.split(line)[1:]]
        done = subprocess.run(
            words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
