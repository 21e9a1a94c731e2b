"""A captured run is run again from its record, and the verdict is the truth about both."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lodeline.replay import confinement

ROOT = Path(__file__).parents[2]


class Project:
    """A directory with programs that run under capture, and its record."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "work").mkdir()
        self.work = directory / "work"

    def lodeline(self, *words: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LODELINE")}
        store = f"sqlite:///{self.directory}/store/lodeline.db"
        return subprocess.run(
            [sys.executable, "-P", "-m", "lodeline", *words],
            cwd=self.work,
            env=kept | {"LODELINE_STORE": store, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def write(self, name: str, text: str) -> Path:
        (self.work / name).write_text(text)
        return self.work / name

    def run(self, *command: str) -> str:
        """Run a program under capture; the id of its run."""
        before = self.runs()
        done = self.lodeline("run", "--", sys.executable, *command)
        assert done.returncode == 0, done.stderr
        return (self.runs() - before).pop()

    def runs(self) -> set[str]:
        if not (self.directory / "store").exists():
            return set()
        exported = self.lodeline("export", "--format", "openlineage").stdout.splitlines()
        events = [json.loads(line) for line in exported if line.strip()]
        return {event["run"]["runId"] for event in events if "run" in event}

    def replay(self, run: str, *options: str) -> tuple[int, dict[str, object]]:
        done = self.lodeline("replay", f"run:{run}", "--json", *options)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


COPY = "open('out.txt', 'w').write(open('in.txt').read().upper())\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def git(project: Project, *words: str) -> None:
    named = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", *named, *words], cwd=project.work, check=True, capture_output=True)


def test_a_run_gives_the_same_bytes_again_though_its_output_was_overwritten(
    project: Project,
) -> None:
    project.write("in.txt", "words")
    project.write("copy.py", COPY)
    run = project.run("copy.py")
    project.write("out.txt", "something else since")
    status, answer = project.replay(run)
    assert (status, answer["verdict"]) == (0, "identical")
    assert answer["run"] == f"run:{run}"
    assert answer["replay_run"] not in (None, f"run:{run}")
    assert [output["verdict"] for output in answer["outputs"]] == ["identical"]  # type: ignore[attr-defined]
    assert (project.work / "out.txt").read_text() == "something else since"


def test_code_comes_from_the_recorded_commit_and_patch(project: Project) -> None:
    project.write("in.txt", "words")
    project.write(".gitignore", "*.txt\n")
    project.write("copy.py", "print('first')\n")
    git(project, "init", "--quiet")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "one")
    project.write("copy.py", COPY)  # uncommitted
    run = project.run("copy.py")
    project.write("copy.py", "raise SystemExit('a later version')\n")
    git(project, "commit", "--quiet", "-am", "two")
    status, answer = project.replay(run)
    assert (status, answer["verdict"]) == (0, "identical"), answer


def test_an_input_that_is_gone_makes_the_verdict_cannot_and_says_which(project: Project) -> None:
    given = project.write("in.txt", "words")
    project.write("copy.py", COPY)
    run = project.run("copy.py")
    given.write_text("other words")
    status, answer = project.replay(run)
    assert (status, answer["verdict"]) == (3, "cannot")
    assert str(given) in str(answer["reason"])


def test_another_version_of_an_input_is_another_output(project: Project) -> None:
    given = project.write("in.txt", "words")
    project.write("copy.py", COPY)
    run = project.run("copy.py")
    given.write_text("other words")
    project.run("copy.py")
    version = "sha256:" + hashlib.sha256(b"other words").hexdigest()
    status, answer = project.replay(run, "--with", f"dataset:file:{given}#{version}")
    assert (status, answer["verdict"]) == (1, "different")


def test_a_program_that_depends_on_chance_is_different(project: Project) -> None:
    project.write("roll.py", "import os\nopen('out.txt', 'w').write(os.urandom(8).hex())\n")
    run = project.run("roll.py")
    status, answer = project.replay(run)
    assert (status, answer["verdict"]) == (1, "different")


def test_near_numbers_are_equal_when_the_tolerance_says_so(project: Project) -> None:
    project.write(
        "measure.py",
        "import json, os\n"
        "noise = int.from_bytes(os.urandom(6), 'big') * 1e-24\n"
        "json.dump({'auc': 0.75 + noise * 1e3}, open('out.json', 'w'))\n",
    )
    run = project.run("measure.py")
    assert project.replay(run)[1]["verdict"] in {"different", "identical"}
    status, answer = project.replay(run, "--tolerance", "1e-3")
    assert status == 0, answer


def test_a_program_that_fails_the_second_time_has_failed(project: Project) -> None:
    """It wants a file that nobody saw it use: the record was not enough."""
    project.write(
        "once.py",
        "import os\n"
        "if not os.path.exists('flag'):\n    raise SystemExit('no flag here')\n"
        "open('out.txt', 'w').write('x')\n",
    )
    project.write("flag", "")
    run = project.run("once.py")
    status, answer = project.replay(run)
    assert (status, answer["verdict"]) == (1, "failed")
    assert "no flag here" in str(answer["reason"])


@pytest.mark.skipif(not confinement.is_available(), reason="this kernel has no Landlock")
def test_an_absolute_output_is_not_overwritten_and_the_verdict_is_cannot(
    project: Project,
) -> None:
    target = project.directory / "elsewhere.txt"
    project.write("write.py", f"open({str(target)!r}, 'a').write('x')\n")
    run = project.run("write.py")
    status, answer = project.replay(run)
    assert (status, answer["verdict"]) == (3, "cannot"), answer
    assert str(target) in str(answer["reason"])
    assert target.read_text() == "x"


def test_an_unknown_run_is_a_no_and_a_word_that_is_no_run_is_wrong_usage(
    project: Project,
) -> None:
    project.write("copy.py", "print('nothing')\n")
    project.run("copy.py")
    assert project.lodeline("replay", "run:01890a5d-ac96-774b-bcce-b302099a8057").returncode == 1
    assert project.lodeline("replay", "yesterday").returncode == 2
    assert project.lodeline("replay", "run:x", "--tolerance", "-1").returncode == 2


def test_the_log_says_of_which_run_a_run_is_the_replay(project: Project) -> None:
    project.write("in.txt", "words")
    project.write("copy.py", COPY)
    run = project.run("copy.py")
    _, answer = project.replay(run)
    shown = project.lodeline("show", str(answer["replay_run"]), "--json").stdout
    assert '"lodeline_replay"' in shown
    assert f'"of": "{run}"' in shown
    assert project.lodeline("verify").returncode == 0


def test_a_model_is_replayed_by_its_name(project: Project) -> None:
    pytest.importorskip("sklearn")
    project.write(
        "fit.py",
        "import joblib, numpy\nfrom sklearn.linear_model import LinearRegression\n"
        "x = numpy.arange(12.0).reshape(6, 2)\n"
        "joblib.dump(LinearRegression().fit(x, x.sum(axis=1)), 'sum.joblib')\n",
    )
    project.run("fit.py")
    done = project.lodeline("replay", "model:default:sum")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("identical: run:")
