"""Programs that run other people's code, each started under `lodeline run` as its users do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokers import answers, free_port, until
from frameworks import interpreter_of
from observing import Observed, environment, read_events, run_observed, run_plain

SERVER = """
async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        told = (await receive())["type"]
        await send({"type": told + ".complete"})
        if told.endswith("shutdown"):
            return
    body = open("in.csv", "rb").read()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
def wsgi(environ, start):
    start("200 OK", [])
    return [open("in.csv", "rb").read()]
"""
TASKS = """
import os
from celery import Celery
for name in ("queue", "done", "control"):
    os.makedirs(name, exist_ok=True)
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue",
    "processed_folder": "done", "control_folder": "control",
}
@app.task
def work(name):
    with open(name) as source, open("worked.csv", "w") as target:
        target.write(source.read())
"""
CELLS = ["name = 'out.csv'", "open(name, 'w').write(open('in.csv').read())"]


@pytest.fixture
def python() -> str:
    return interpreter_of("runners")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")
    return tmp_path


def program(python: str, name: str) -> str:
    return str(Path(python).with_name(name))


def path_of(python: str) -> str:
    """Kernels and tools are found on PATH, as in an environment that was activated."""
    return f"{Path(python).parent}:{os.environ['PATH']}"


def notebook(folder: Path, *cells: str) -> None:
    def cell(number: int, source: str) -> dict[str, object]:
        tags = {"tags": ["parameters"]} if number == 0 else {}
        shown = {"execution_count": None, "outputs": []}
        return {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": tags,
            "source": source,
            **shown,
        }

    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    told = {
        "cells": [cell(number, source) for number, source in enumerate(cells)],
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (folder / "report.ipynb").write_text(json.dumps(told))


@contextmanager
def running(folder: Path, python: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A program under `lodeline run` that goes on until it is told to stop."""
    store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
    process = subprocess.Popen(
        [python, "-m", "lodeline", "run", "--store", store, "--", *words],
        cwd=folder,
        env=environment(PATH=path_of(python)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()


def observed(folder: Path, process: subprocess.Popen[str]) -> Observed:
    return Observed(process.returncode, "", "", read_events(folder))


def runs(seen: Observed) -> dict[str, str]:
    """Job of each run, by how it ended."""
    return {event["job"]["name"]: event["eventType"] for event in seen.events}


@pytest.mark.parametrize("words", [["pytest"], ["python", "-m", "pytest"]])
def test_tests_are_a_run_and_its_exit_status_is_theirs(
    folder: Path, python: str, words: list[str]
) -> None:
    (folder / "test_it.py").write_text(
        "def test_good(): open('out.csv', 'w').write(open('in.csv').read())\n"
        "def test_bad(): assert 1 == 2\n"
    )
    command = [program(python, words[0]), *words[1:], "-q", "-p", "no:cacheprovider", "test_it.py"]
    plain = run_plain(folder, *command)
    seen = run_observed(folder, *command, interpreter=python)
    assert (seen.status, plain.status) == (1, 1), seen.stderr
    assert cut_times(seen.stdout) == cut_times(plain.stdout)
    assert runs(seen) == {"pytest": "FAIL"}
    assert seen.names("inputs") == {"in.csv"}
    assert seen.names("outputs") == {"out.csv"}


def cut_times(text: str) -> list[str]:
    return [line.rpartition(" in ")[0] if " in " in line else line for line in text.splitlines()]


@pytest.mark.parametrize(
    "words",
    [
        [
            "jupyter",
            "nbconvert",
            "--to",
            "notebook",
            "--execute",
            "report.ipynb",
            "--output",
            "done",
        ],
        ["papermill", "report.ipynb", "done.ipynb", "--no-progress-bar"],
    ],
    ids=["nbconvert", "papermill"],
)
def test_an_executed_notebook_is_one_run_of_that_notebook_with_what_its_kernel_did(
    folder: Path, python: str, words: list[str]
) -> None:
    notebook(folder, *CELLS)
    command = [program(python, words[0]), *words[1:]]
    seen = run_observed(folder, *command, interpreter=python, PATH=path_of(python))
    assert seen.status == 0, seen.stderr
    assert runs(seen) == {"report.ipynb": "COMPLETE"}
    assert seen.names("inputs") == {"report.ipynb", "in.csv"}
    assert seen.names("outputs") == {"out.csv", "done.ipynb"}
    assert "in.csv" in seen.flowed("out.csv")
    assert seen.run_facet("lodeline_code")["sourceDigest"].startswith("sha256:")


def test_a_notebook_whose_cell_raises_fails_as_it_would_by_itself(
    folder: Path, python: str
) -> None:
    notebook(folder, "1", "open('in.csv').read()", "1 / 0")
    command = [program(python, "papermill"), "report.ipynb", "done.ipynb", "--no-progress-bar"]
    seen = run_observed(folder, *command, interpreter=python, PATH=path_of(python))
    assert seen.status == 1
    assert "ZeroDivisionError" in seen.stderr
    assert runs(seen) == {"report.ipynb": "FAIL"}
    assert "in.csv" in seen.names("inputs")


def test_a_notebook_that_loads_the_extension_is_a_run(folder: Path, python: str) -> None:
    notebook(folder, "%load_ext lodeline", *CELLS, "%unload_ext lodeline")
    store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
    words = ["jupyter", "nbconvert", "--to", "notebook", "--execute", "report.ipynb"]
    done = subprocess.run(
        [program(python, words[0]), *words[1:], "--output", "done"],
        cwd=folder,
        env=environment(
            LODELINE_STORE=store, PATH=path_of(python), JPY_SESSION_NAME=f"{folder}/report.ipynb"
        ),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    seen = Observed(0, "", "", read_events(folder))
    assert runs(seen) == {"report.ipynb": "COMPLETE"}
    assert "in.csv" in seen.flowed("out.csv")
    # Told after the cell, not only when the kernel ended.
    assert [event["eventType"] for event in seen.events][:2] == ["START", "RUNNING"]


@pytest.mark.parametrize(
    ("words", "job"),
    [
        (["uvicorn", "--port", "{port}", "served:app"], "uvicorn served:app"),
        (["uvicorn", "--workers", "2", "--port", "{port}", "served:app"], "uvicorn served:app"),
        (["gunicorn", "-w", "2", "-b", "127.0.0.1:{port}", "served:wsgi"], "gunicorn served:wsgi"),
    ],
    ids=["uvicorn", "uvicorn workers", "gunicorn"],
)
def test_a_server_and_its_workers_are_one_run_named_after_the_application(
    folder: Path, python: str, words: list[str], job: str
) -> None:
    (folder / "served.py").write_text(SERVER)
    port = free_port()
    command = [program(python, words[0]), *(word.format(port=port) for word in words[1:])]
    with running(folder, python, *command) as process:
        until(lambda: answers(port))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            assert answer.read() == b"a,b\n1,2\n"
    seen = observed(folder, process)
    assert list(runs(seen)) == [job]
    assert seen.names("inputs") == {"in.csv"}
    assert seen.run_facet("lodeline_code")["sourceDigest"].startswith("sha256:")


def test_tasks_of_a_celery_worker_belong_to_its_run(folder: Path, python: str) -> None:
    (folder / "tasks.py").write_text(TASKS)
    command = [program(python, "celery"), "-A", "tasks", "worker", "-c", "2", "--loglevel", "error"]
    with running(folder, python, *command) as process:
        send = "import tasks; tasks.work.delay('in.csv')"
        subprocess.run([python, "-c", send], cwd=folder, env=environment(), check=True)
        until(lambda: (folder / "worked.csv").exists())
        time.sleep(0.2)
    assert process.returncode == 0
    seen = observed(folder, process)
    assert runs(seen) == {"celery tasks": "COMPLETE"}
    assert "in.csv" in seen.flowed("worked.csv")


POOLS: dict[str, str] = {
    "fork": "from multiprocessing import get_context as c\n"
    "    with c('fork').Pool(2) as p: p.map(work, range(4))",
    "spawn": "from multiprocessing import get_context as c\n"
    "    with c('spawn').Pool(2) as p: p.map(work, range(4))",
    "forkserver": "from multiprocessing import get_context as c\n"
    "    with c('forkserver').Pool(2) as p: p.map(work, range(4))",
    "processes": "from concurrent.futures import ProcessPoolExecutor as P\n"
    "    with P(2) as p: list(p.map(work, range(4)))",
    "threads": "from concurrent.futures import ThreadPoolExecutor as P\n"
    "    with P(2) as p: list(p.map(work, range(4)))",
    "loky": "import joblib\n    joblib.Parallel(2)(joblib.delayed(work)(n) for n in range(4))",
    "subprocess": "import subprocess, sys\n"
    "    subprocess.run([sys.executable, 'work.py', '0', '1', '2', '3'], check=True)",
}
WORK = """
def work(number):
    with open(f"{number}.csv") as source, open(f"{number}.out", "w") as target:
        target.write(source.read())
"""


@pytest.mark.parametrize("name", POOLS)
def test_workers_of_every_kind_are_stitched_to_the_run_that_started_them(
    folder: Path, python: str, name: str
) -> None:
    for number in range(4):
        (folder / f"{number}.csv").write_text(str(number))
    (folder / "work.py").write_text(
        f"{WORK}\nif __name__ == '__main__':\n"
        "    import sys; [work(number) for number in sys.argv[1:]]\n"
    )
    (folder / "script.py").write_text(
        f"from work import work\nif __name__ == '__main__':\n    {POOLS[name]}\n    print('done')\n"
    )
    plain = run_plain(folder, python, "script.py")
    seen = run_observed(folder, python, "script.py", interpreter=python)
    assert (seen.status, seen.stdout, seen.stderr) == (0, plain.stdout, plain.stderr)
    assert seen.names("inputs") == {f"{number}.csv" for number in range(4)}
    assert seen.names("outputs") == {f"{number}.out" for number in range(4)}
    if name != "subprocess":
        assert runs(seen) == {"script.py": "COMPLETE"}
        return
    assert runs(seen) == {"script.py": "COMPLETE", "work.py": "COMPLETE"}
    [start] = [e for e in seen.events if (e["job"]["name"], e["eventType"]) == ("work.py", "START")]
    assert start["run"]["facets"]["parent"]["run"]["runId"] == seen.events[0]["run"]["runId"]


def alone(folder: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run in an environment that `lodeline autocapture` made, without a runner."""
    store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
    told = subprocess.run(
        [sys.executable, "-m", "lodeline", "autocapture", "--json", "--store", store],
        env=environment(),
        capture_output=True,
        check=True,
    )
    return subprocess.run(
        list(words),
        cwd=folder,
        env=environment(**json.loads(told.stdout), **extra),
        capture_output=True,
        text=True,
        timeout=120,
    )


COPY = "open('out.csv', 'w').write(open('in.csv').read())\n"


def test_a_program_in_a_capturing_environment_is_a_run_by_itself(folder: Path, python: str) -> None:
    (folder / "script.py").write_text(COPY + "print('done')\n")
    done = alone(folder, python, "script.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    seen = Observed(0, "", "", read_events(folder))
    assert [event["eventType"] for event in seen.events] == ["START", "COMPLETE"]
    assert runs(seen) == {"script.py": "COMPLETE"}
    assert "in.csv" in seen.flowed("out.csv")
    assert seen.run_facet("lodeline_code")["sourceDigest"].startswith("sha256:")


def test_a_program_that_touches_nothing_leaves_nothing(folder: Path, python: str) -> None:
    done = alone(folder, python, "-c", "print('done')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert not (folder / "store").exists()


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_what_a_program_without_runner_left_behind_is_told_by_the_next_flush(
    folder: Path, python: str, end: str
) -> None:
    (folder / "script.py").write_text(f"import os\n{COPY}{end}\n")
    assert alone(folder, python, "script.py").returncode in {3, -9}
    store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
    words = [sys.executable, "-m", "lodeline", "flush", "--store", store]
    subprocess.run(words, env=environment(), check=True, capture_output=True)
    seen = Observed(0, "", "", read_events(folder))
    assert runs(seen) == {"script.py": "ABORT"}
    assert "in.csv" in seen.flowed("out.csv")


def test_lodeline_itself_and_installers_are_not_captured(folder: Path, python: str) -> None:
    check: Callable[..., subprocess.CompletedProcess[str]] = alone
    assert check(folder, python, "-m", "pip", "list").returncode == 0
    assert check(folder, python, "-m", "lodeline", "autocapture").returncode == 0
    assert not (folder / "store").exists()
