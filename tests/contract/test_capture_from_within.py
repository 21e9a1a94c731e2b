"""Capture that a program starts itself, and programs of unusual kinds under `lodeline run`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from observing import environment, python, read_events, run_observed, run_plain

TABLE = "a,b\n1,2\n3,4\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text(TABLE)
    (tmp_path / "other.csv").write_text(TABLE)
    return tmp_path


def run_alone(folder: Path, text: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a script that is not under `lodeline run`, with a store of its own."""
    (folder / "script.py").write_text(text)
    store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=environment(LODELINE_STORE=store, **extra),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_program_that_captures_itself_is_a_run(folder: Path) -> None:
    done = run_alone(
        folder,
        "import lodeline; lodeline.autocapture()\n"
        "import pandas as pd\n"
        "pd.read_csv('in.csv').to_csv('out.csv')\n",
    )
    assert (done.returncode, done.stderr) == (0, "")
    events = read_events(folder)
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    assert events[0]["job"]["name"] == "script.py"
    assert events[0]["run"]["facets"]["lodeline_code"]["sourceDigest"].startswith("sha256:")
    assert [Path(d["name"]).name for d in events[1]["outputs"]] == ["out.csv"]


def test_programs_started_by_a_program_that_captures_itself_are_its_children(
    folder: Path,
) -> None:
    done = run_alone(
        folder,
        "import lodeline; lodeline.autocapture()\n"
        "import subprocess, sys\n"
        "code = \"open('out.txt', 'w').write(open('in.csv').read())\"\n"
        "subprocess.run([sys.executable, '-c', code], check=True)\n",
    )
    assert (done.returncode, done.stderr) == (0, "")
    events = read_events(folder)
    inner = [event for event in events if event["job"]["name"] == "-c"]
    assert [event["eventType"] for event in inner] == ["START", "COMPLETE"]
    parent = inner[0]["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == events[0]["run"]["runId"]


def test_a_job_is_a_run_of_its_own_and_sees_what_its_function_does(folder: Path) -> None:
    done = run_alone(
        folder,
        "import lodeline, pandas as pd\n"
        "@lodeline.job\n"
        "def build(name):\n"
        "    table = pd.read_csv(name); table.to_csv('out.csv'); return len(table)\n"
        "@lodeline.job(name='fails')\n"
        "def fail(): raise ValueError('no')\n"
        "print(build('in.csv'))\n"
        "try: fail()\n"
        "except ValueError: print('raised')\n",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\nraised\n", "")
    found = [(event["job"]["name"], event["eventType"]) for event in read_events(folder)]
    assert found == [
        ("build", "START"),
        ("build", "COMPLETE"),
        ("fails", "START"),
        ("fails", "FAIL"),
    ]


def test_a_run_says_what_it_is_told(folder: Path) -> None:
    seen = python(
        folder,
        "import lodeline\n"
        "with lodeline.run('train', namespace='ml') as run:\n"
        "    run.reads('in.csv'); run.writes('t', namespace='warehouse', inputs=['in.csv'])\n"
        "    run.param('depth', 6); run.metric('auc', 0.91)\n",
    )
    inner = [event for event in seen.events if event["job"]["name"] == "train"]
    assert [event["eventType"] for event in inner] == ["START", "COMPLETE"]
    facets = {**inner[0]["run"]["facets"], **inner[1]["run"]["facets"]}
    assert facets["lodeline_parameters"]["parameters"] == {"depth": 6}
    assert facets["lodeline_parameters"]["metrics"] == {"auc": 0.91}
    assert facets["parent"]["job"]["name"] == "script.py"
    [output] = inner[1]["outputs"]
    assert (output["namespace"], output["name"]) == ("warehouse", "t")
    assert seen.flowed("t") == {"in.csv"}


def test_a_registered_model_is_a_version_with_its_lineage(folder: Path) -> None:
    seen = python(
        folder,
        "import lodeline, pandas as pd\n"
        "from sklearn.linear_model import LinearRegression\n"
        "table = pd.read_csv('in.csv')\n"
        "model = lodeline.register(LinearRegression().fit(table[['a']], table.b), name='line')\n"
        "print(model.version[:7], model.name, len(model.predict(table[['a']])))\n",
    )
    assert (seen.status, seen.stdout) == (0, "sha256: line 2\n"), seen.stderr
    assert seen.flowed("line") == {"in.csv"}
    assert seen.output("line")["facets"]["lodeline_model"]["digest"].startswith("sha256:")


def test_flush_counts_what_is_durable_and_delivered(folder: Path) -> None:
    done = run_alone(
        folder,
        "import lodeline; lodeline.autocapture()\n"
        "open('out.txt', 'w').close()\n"
        "import json; print(json.dumps(lodeline.flush(timeout=30)))\n",
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["durable"] >= 2
    assert counts["delivered"] >= 2
    assert counts["lost"] == 0


def test_capture_that_is_turned_off_does_nothing(folder: Path) -> None:
    done = run_alone(
        folder,
        "import lodeline; lodeline.autocapture()\n"
        "with lodeline.run('r') as run: run.param('a', 1)\nprint('done')\n",
        LODELINE_DISABLED="1",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert not (folder / "store").exists()


def test_importing_lodeline_loads_next_to_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import lodeline"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()[1:]]
    ours = [name for name in loaded if name.startswith("lodeline")]
    assert ours == ["lodeline"]
    bare = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "pass"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert len(loaded) - (len(bare.stderr.splitlines()) - 1) <= 8


def test_capture_loads_nothing_heavy_into_a_program_that_does_nothing(folder: Path) -> None:
    seen = python(
        folder,
        "import sys\n"
        "heavy = {'msgspec', 'pandas', 'numpy', 'sqlite3', 'asyncio', 'importlib.metadata',"
        " 'subprocess', 'json', 'logging', 'cryptography', 'wrapt', 'rich', 'argparse'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n",
    )
    assert seen.stdout == "[]\n"


def test_what_observes_pandas_loads_no_reader_of_sql_until_a_statement_runs(folder: Path) -> None:
    seen = python(
        folder,
        "import pandas, sys\n"
        "heavy = {'sqlglot', 'msgspec', 'lodeline.errors', 'lodeline.sql'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
        "print('lodeline.integrations.pandas' in sys.modules)\n",
    )
    assert seen.stdout == "[]\nTrue\n"


def test_the_runner_loads_nothing_that_a_small_run_has_no_use_for(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lodeline", "run", "--store", "s", "--", "true"],
        env=environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "lodeline.ingest.acceptance" in loaded
    useless = {"importlib.metadata", "tomllib", "ssl", "gzip", "concurrent.futures", "logging"}
    assert not loaded & {*useless, "email.message", "asyncio", "sqlglot", "numpy", "pyarrow"}


def test_a_sitecustomize_that_was_there_before_still_runs(folder: Path) -> None:
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import builtins; builtins.mark = __name__\n")
    (folder / "script.py").write_text("import sitecustomize; print(mark, sitecustomize.__file__)")
    path = f"{site}:{environment()['PYTHONPATH']}"
    plain = run_plain(folder, sys.executable, "script.py", PYTHONPATH=path)
    seen = run_observed(folder, sys.executable, "script.py", PYTHONPATH=path)
    assert (seen.status, seen.stdout, seen.stderr) == (0, plain.stdout, plain.stderr)
    assert seen.stdout.startswith("sitecustomize ")


def test_a_signal_reaches_the_program_and_its_status_comes_back(folder: Path) -> None:
    (folder / "script.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('term', flush=True), sys.exit(5)))\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
    words = [sys.executable, "-m", "lodeline.cli.main", "run", "--store", store, "--"]
    with subprocess.Popen(
        [*words, sys.executable, "script.py"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "term\n"
        assert process.wait(60) == 5
    assert read_events(folder)[-1]["eventType"] == "FAIL"


def test_a_runner_that_was_killed_is_finished_by_the_next(folder: Path) -> None:
    (folder / "script.py").write_text(
        "import os, pandas as pd\n"
        "pd.read_csv('in.csv').to_csv('out.csv')\n"
        "print(os.getpid(), flush=True); import time; time.sleep(60)\n"
    )
    store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
    words = [sys.executable, "-m", "lodeline.cli.main", "run", "--store", store, "--"]
    with subprocess.Popen(
        [*words, sys.executable, "script.py"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        process.wait(60)
        os.kill(child, signal.SIGKILL)
    time.sleep(0.2)
    seen = python(folder, "print('next')")
    ends = {event["job"]["name"]: event["eventType"] for event in seen.events}
    first = [e for e in seen.events if e["outputs"]]
    assert ends["script.py"] == "COMPLETE"
    assert [Path(d["name"]).name for e in first for d in e["outputs"]][:1] == ["out.csv"]
    assert any(event["eventType"] == "ABORT" for event in seen.events)


def test_a_full_disk_costs_the_record_and_not_the_program(folder: Path) -> None:
    (folder / "store").mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder / "store")],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    (folder / "script.py").write_text(
        "for i in range(2000): open(f'file-{i}.txt', 'w').close()\nprint('fine')\n"
    )
    store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
    words = [sys.executable, "-m", "lodeline.cli.main", "run", "--store", store, "--"]
    try:
        done = subprocess.run(
            [*words, sys.executable, "script.py"],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        subprocess.run(["umount", "-l", str(folder / "store")], check=False)
    assert (done.returncode, done.stdout) == (0, "fine\n")
    assert "lodeline: " in done.stderr


def test_a_fault_of_an_integration_is_a_gap_and_nothing_else(folder: Path) -> None:
    package = folder / "broken"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "adapter.py").write_text(
        "class Broken:\n"
        "    name, supports = 'csv', ''\n"
        "    def install(self, recorder): raise RuntimeError('broken on purpose')\n"
    )
    text = (
        "import os\nfrom lodeline.capture.process import ADAPTERS\n"
        "ADAPTERS.add('csv', 'broken.adapter:Broken')\n"
        "import csv; print(list(csv.reader(['a,b'])))\n"
    )
    seen = python(folder, text)
    assert (seen.status, seen.stdout) == (0, "[['a', 'b']]\n"), seen.stderr
    assert any("broken on purpose" in gap["detail"] for gap in seen.gaps)
