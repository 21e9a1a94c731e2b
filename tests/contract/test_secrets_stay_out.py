"""Nothing that looks like a secret reaches spool, journal, store or diagnostics, from anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from observing import environment, read_events, run_observed
from secret_shapes import CORPUS, NAMED, TRACES

# Everything the corpus can be in a program, beside its arguments, its folder and its variables.
SCRIPT = """
import json, os, shutil, sys
import lodeline
from lodeline.capture.recorder import RECORDER

corpus = json.load(sys.stdin)
with lodeline.run("job of " + " and ".join(corpus.values())) as run:
    for name, secret in corpus.items():
        run.param(name, secret)
        run.param("nested " + name, {"list": [secret], "text": f"uses {secret} twice"})
    run.param("db_password", os.environ["NAMED"])
    run.param("config", {"api_key": os.environ["NAMED"], "depth": 6})
    for name, secret in corpus.items():
        run.gap(f"of {name}", f"SELECT '{secret}': refused {secret}")
        RECORDER.trouble(name, ValueError(f"cannot use {secret}, password={os.environ['NAMED']}"))
    # What lies on disk before anything is delivered.
    journals = os.environ["LODELINE_JOURNALS"]
    shutil.copytree(journals, os.path.join(os.path.dirname(__file__), "journals"))
try:
    import duckdb
    for secret in corpus.values():
        quoted = secret.replace("'", "''")
        try:
            duckdb.sql(f"SELECT '{quoted}' FROM (SELECT 1")
        except Exception:
            pass
        duckdb.sql(f"COPY (SELECT '{quoted}' AS s) TO 'out.csv'")
    os.remove("out.csv")
except ImportError:
    pass
raise RuntimeError("all of it: " + " ".join(corpus.values()))
"""


def _git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


def _repository(folder: Path) -> None:
    """A repository whose remote, uncommitted changes and script hold secrets."""
    _git(folder, "init", "-q")
    (folder / "script.py").write_text(SCRIPT)
    (folder / "settings.py").write_text("DEPTH = 6\n")
    _git(folder, "add", "script.py", "settings.py")
    _git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x")
    lines = [f"SECRET_{i} = '''{secret}'''" for i, secret in enumerate(CORPUS.values())]
    lines += [f"# uses {secret} here" for secret in CORPUS.values()]
    lines += [f'DB_PASSWORD = "{NAMED}"', "DEPTH = 7", ""]
    (folder / "settings.py").write_text("\n".join(lines))
    remote = f"https://ann:{CORPUS['github token']}@git.example/team/project.git?token={NAMED}"
    _git(folder, "remote", "add", "origin", remote)


def _arguments() -> list[str]:
    words = ["--password", NAMED, f"--api-key={NAMED}", f"DB_TOKEN={NAMED}", "-u", f"ann:{NAMED}"]
    for secret in CORPUS.values():
        words += [secret, f"--value={secret}", f"text with {secret} inside"]
    return words


def _found(folder: Path) -> list[str]:
    """Which traces of secrets are in which file."""
    every = {trace for traces in TRACES.values() for trace in traces} | {NAMED}
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found += [f"{path.name}: {trace}" for trace in every if trace.encode() in data]
    return found


@pytest.mark.slow
def test_no_secret_reaches_journal_spool_store_or_diagnostics(tmp_path: Path) -> None:
    _repository(tmp_path)
    variables = {f"VALUE_{i}": secret for i, secret in enumerate(CORPUS.values())}
    # Recorded by name; whoever puts a secret there gets it taken out.
    variables |= {"TZ": CORPUS["aws key id"], "NAMED": NAMED, "LANG": CORPUS["jwt"]}
    store = tmp_path / "store" / "lodeline.db"
    done = subprocess.run(
        [sys.executable, "-m", "lodeline.cli.main", "run", "--store", f"sqlite:///{store}",
         "--job", f"nightly {CORPUS['slack token']} {CORPUS['high entropy']}", "--",
         sys.executable, "script.py", *_arguments()],
        input=json.dumps(CORPUS), cwd=tmp_path, capture_output=True, text=True, timeout=240,
        env=environment(LODELINE_DEBUG="1", **variables),
    )  # fmt: skip
    # The program's own traceback is its own.
    assert done.returncode == 1
    assert "RuntimeError: all of it" in done.stderr
    ours = [line for line in done.stderr.splitlines() if line.startswith("lodeline:")]
    assert not any(NAMED in line for line in ours)
    events = read_events(tmp_path)
    assert len(events) >= 4
    text = json.dumps(events)
    assert text.count("[secret]") > 5 * len(CORPUS)
    assert any((tmp_path / "journals").iterdir())
    assert _found(tmp_path / "store") == []
    assert _found(tmp_path / "journals") == []
    capture = next(e["run"]["facets"]["lodeline_capture"] for e in events)
    assert capture["argv"][2:4] == ["--password", "[secret]"]
    code = next(e["run"]["facets"]["lodeline_code"] for e in events)
    assert "+DEPTH = 7" in code["patch"]
    assert code["remote"].startswith("https://git.example/team/project.git")


def test_a_run_whose_command_line_held_a_secret_is_not_replayed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print(1)\n")
    done = run_observed(tmp_path, sys.executable, "script.py", "--token", NAMED)
    run_id = done.events[0]["run"]["runId"]
    store = f"sqlite:///{tmp_path / 'store' / 'lodeline.db'}"
    replayed = subprocess.run(
        [sys.executable, "-m", "lodeline.cli.main", "replay", f"run:{run_id}", "--store", store],
        env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert replayed.returncode == 3
    assert "held a secret" in replayed.stdout + replayed.stderr
    assert done.stdout == "1\n"


def test_the_allow_list_of_variables_grows_by_name(tmp_path: Path) -> None:
    (tmp_path / "lodeline.toml").write_text('[privacy]\nvariables = ["STAGE", "API_KEY"]\n')
    (tmp_path / "script.py").write_text("print(1)\n")
    done = run_observed(
        tmp_path, sys.executable, "script.py", STAGE="test", API_KEY=NAMED, OTHER="x", TZ="UTC"
    )
    variables = done.run_facet("lodeline_environment")["variables"]
    assert variables["STAGE"] == "test"
    assert variables["API_KEY"] == "[secret]"
    assert "OTHER" not in variables
    assert variables.keys() <= {*os.environ, "STAGE", "API_KEY", "TZ"}
