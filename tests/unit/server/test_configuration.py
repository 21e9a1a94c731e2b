"""Settings of the service: precedence, places of faults, nearest names."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lodeline import settings
from lodeline.cli.main import main
from lodeline.errors import ConfigurationError
from lodeline.server.configuration import (
    DEFAULTS,
    SERVER_SETTINGS,
    ServerConfiguration,
    find_line,
    get_configuration,
    read_configuration,
)
from services import command, environment


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (s.variable for s in SERVER_SETTINGS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("LODELINE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str) -> None:
    (folder / "lodeline.toml").write_text(text)
    # A process reads its file once.
    settings._configuration.cache_clear()


def faults(folder: Path, text: str) -> dict[str, str]:
    write(folder, text)
    _, problems = read_configuration(environment={})
    return {problem.where.removeprefix(f"{folder}/"): problem.message for problem in problems}


def test_an_argument_wins_over_the_environment_and_that_over_the_file(folder: Path) -> None:
    assert read_configuration(environment={}) == (DEFAULTS, [])
    write(folder, '[server]\nport = 1\nhost = "::1"\n')
    assert read_configuration(environment={})[0].port == 1
    variables = {"LODELINE_SERVER_PORT": "2"}
    assert read_configuration(environment=variables)[0].port == 2
    found, problems = read_configuration({"port": 3}, environment=variables)
    assert (found.port, found.host, problems) == (3, "::1", [])


def test_every_setting_has_its_default_in_the_configuration() -> None:
    for setting in SERVER_SETTINGS:
        assert getattr(ServerConfiguration(), setting.attribute) == setting.default


def test_every_fault_is_told_at_once_with_its_line_and_the_nearest_name(folder: Path) -> None:
    found = faults(
        folder,
        'namespce = "x"\n[server]\nprot = 5\nport = 70000\n[server.tls]\ncertificate = "c"\n'
        '[server.log]\nformat = "xml"\nlevel = 3\n[sever]\nport = 1\n',
    )
    assert "namespace" in found["lodeline.toml:1"]
    assert "did you mean 'server.port'" in found["lodeline.toml:3"]
    assert "between 0 and 65535" in found["lodeline.toml:4"]
    assert "server.tls.key" in found["lodeline.toml:5"]
    assert "text, json" in found["lodeline.toml:8"]
    assert "none of debug" in found["lodeline.toml:9"]
    assert "did you mean 'server'" in found["lodeline.toml:10"]
    assert len(found) == 7
    with pytest.raises(ConfigurationError) as caught:
        get_configuration()
    assert len(caught.value.problems) == 7


def test_a_fault_of_the_environment_names_the_variable(folder: Path) -> None:
    found, problems = read_configuration(environment={"LODELINE_SERVER_LIMITS_QUESTIONS": "many"})
    assert [problem.where for problem in problems] == ["LODELINE_SERVER_LIMITS_QUESTIONS"]
    assert found.limits_questions == DEFAULTS.limits_questions


@pytest.mark.parametrize("text", ["a = = 1\n", "[server]\nport = 1\nport = 2\n"])
def test_a_file_that_is_no_toml_is_told_with_its_line(folder: Path, text: str) -> None:
    assert list(faults(folder, text)) == [f"lodeline.toml:{1 if '=' in text[:4] else 3}"]


def test_a_table_where_a_value_is_due_is_a_fault_and_the_other_way_round(folder: Path) -> None:
    found = faults(folder, "server = 3\n")
    assert "no table" in found["lodeline.toml:1"]
    assert "no whole number" in faults(folder, "[server.port]\nx = 1\n")["lodeline.toml:1"]


def test_paths_of_a_file_start_at_its_folder_wherever_one_works(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (folder / "other.toml").write_text('[server.tls]\ncertificate = "c.pem"\nkey = "k.pem"\n')
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("LODELINE_CONFIG", str(folder / "other.toml"))
    found, problems = read_configuration(environment={"LODELINE_SERVER_TLS_KEY": "mine.pem"})
    assert problems == []
    assert found.tls_certificate == folder / "c.pem"
    assert found.tls_key == elsewhere / "mine.pem"


def test_pyproject_holds_settings_too(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.lodeline.server]\nport = 7\nprt = 8\n")
    found, problems = read_configuration(environment={})
    assert found.port == 7
    assert [problem.where for problem in problems] == [f"{folder}/pyproject.toml:3"]


def test_tables_of_other_parts_are_handed_on_as_they_were_read(folder: Path) -> None:
    (folder / "lodeline.toml").write_text('[streams.a]\nx = 1\n[personal]\n"b" = "c"\n')
    found, problems = read_configuration(environment={})
    assert problems == []
    assert found.tables["streams"] == {"a": {"x": 1}}


@pytest.mark.parametrize(
    ("path", "line"),
    [(("a",), 1), (("t", "b"), 4), (("t", "u", "c"), 6), (("t", "v", "w"), 7), (("z",), None)],
)
def test_a_line_is_found_by_the_path_of_its_key(path: tuple[str, ...], line: int | None) -> None:
    text = 'a = 1\n# b = 0\n[t]\nb = 2\n[t.u]\n"c" = 3\n[t.v]\n'
    assert find_line(text, path) == line


def check(folder: Path, *options: str) -> tuple[int, dict[str, list[str]]]:
    done = subprocess.run(
        command("serve", "--check", "--json", *options),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    body = json.loads(done.stdout)
    assert body["ok"] is (done.returncode == 0)
    failed: dict[str, list[str]] = {}
    for finding in body["findings"]:
        if not finding["ok"]:
            failed.setdefault(finding["subject"], []).append(finding["message"])
    return done.returncode, failed


STORE = 'store = "sqlite:///s.db"\n[server]\nport = 0\n'
SEGMENT = STORE + '[[segments]]\nname = "a"\nnamespaces = ["x"]\nstore = '


@pytest.mark.parametrize(
    ("text", "status", "named"),
    [
        ("a = = 1\n", 2, "lodeline.toml:1"),
        ("store = 5\n[server]\nport = 0\n", 2, "store"),
        ('store = "mysql://x"\n[server]\nport = 0\n', 2, "store"),
        ('store = "postgresql://u:secret@127.0.0.1:1/x"\n[server]\nport = 0\n', 3, "store"),
        ('store = "sqlite:///folder"\n[server]\nport = 0\n', 3, "store"),
        ('store = "sqlite:///junk"\n[server]\nport = 0\n', 3, "store"),
        (STORE + 'host = "no.such.invalid"\n', 3, "server.host"),
        (STORE + 'host = "0.0.0.0"\n', 2, "server.authentication"),
        (STORE + 'authentication = "key"\n', 2, "server.authentication"),
        (STORE + '[server.tls]\ncertificate = "junk"\n', 2, "server.tls.key"),
        (STORE + '[server.tls]\ncertificate = "junk"\nkey = "junk"\n', 2, "server.tls.key"),
        (STORE + "[server.limits]\nquestions = 0\n", 2, "server.limits.questions"),
        ("segments = 3\n" + STORE, 2, "segments"),
        (SEGMENT + '"sqlite:///s.db"\n', 2, "segments"),
        (SEGMENT + '"ftp://x"\n', 2, "segments"),
        (SEGMENT + '"sqlite:///junk"\n', 3, "segments"),
        (SEGMENT + '"postgresql://u@127.0.0.1:1/x"\n', 3, "segments"),
        (STORE + "[postgres]\nconnections = 0\n", 2, "postgres.connections"),
        ("postgres = 3\n" + STORE, 2, "postgres"),
        ("streams = 3\n" + STORE, 2, "streams"),
        (STORE + '[streams]\nsources = ["mqtt://h/t"]\n', 2, "streams"),
        ("personal = 3\n" + STORE, 2, "personal"),
        (STORE + "[personal]\nfields = 3\n", 2, "personal"),
        ('witness_policy = "gone"\n' + STORE, 2, "witness_policy"),
    ],
)
def test_a_check_names_the_setting_that_is_at_fault_its_place_and_the_next_step(
    text: str,
    status: int,
    named: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "folder").mkdir()
    (folder / "junk").write_text("neither PEM nor database")
    write(folder, text)
    assert main(["serve", "--check", "--json"]) == status
    failed = [one for one in json.loads(capsys.readouterr().out)["findings"] if not one["ok"]]
    assert len(failed) == 1, failed
    [one] = failed
    assert named in " ".join([*one["settings"], one["where"], one["message"]])
    assert "lodeline.toml" in one["where"]
    assert one["next"]
    assert "secret" not in json.dumps(one)
    assert main(["serve", "--check"]) == status
    said = capsys.readouterr().out
    assert one["message"] in said
    assert f"next: {one['next']}" in said


def test_a_check_shows_the_bounds_of_postgresql_that_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told() -> dict[str, str]:
        assert main(["serve", "--check", "--json"]) == 0
        findings = json.loads(capsys.readouterr().out)["findings"]
        return {one["subject"]: one["message"] for one in findings}

    write(folder, STORE)
    assert "postgres" not in told()
    write(folder, STORE + "[postgres]\nconnections = 2\nstatement_seconds = 7\n")
    monkeypatch.setenv("LODELINE_POSTGRES_CONNECTIONS", "3")
    assert told()["postgres"].startswith("at most 3 connections a process, waited for 10 s; 7 s a")


def test_a_check_tells_faults_of_settings_address_tls_and_store_together(folder: Path) -> None:
    (folder / "s.db").write_text("no database")
    (folder / "lodeline.toml").write_text(
        'store = "sqlite:///s.db"\nwitness_policy = "gone"\n[server]\nhost = "0.0.0.0"\nx = 1\n'
        '[server.tls]\ncertificate = "c.pem"\nkey = "k.pem"\n'
    )
    status, failed = check(folder)
    assert status == 2
    assert set(failed) == {"settings", "address", "tls", "store", "witnesses"}


def test_a_check_of_what_can_be_served_makes_nothing(folder: Path) -> None:
    (folder / "lodeline.toml").write_text('store = "sqlite:///s.db"\n[server]\nport = 0\n')
    assert check(folder) == (0, {})
    assert [path.name for path in folder.iterdir()] == ["lodeline.toml"]


def test_a_store_that_cannot_be_reached_is_no_fault_of_the_settings(folder: Path) -> None:
    (folder / "s.db").write_text("no database")
    status, failed = check(folder, "--store", "s.db", "--port", "0")
    assert (status, set(failed)) == (3, {"store"})


def test_a_service_does_not_start_with_settings_it_does_not_know(folder: Path) -> None:
    (folder / "other.toml").write_text("[server]\nprot = 1\n")
    done = subprocess.run(
        command("serve", "--config", "other.toml"),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "other.toml:2" in done.stderr
    assert "server.port" in done.stderr
