"""What capture notes of ordinary programs, and that it leaves them as they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from observing import python, run_observed, run_plain

TABLE = "a,b,y\n" + "".join(f"{i},{i % 7},{int(i % 3 == 0)}\n" for i in range(60))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text(TABLE)
    (tmp_path / "other.csv").write_text(TABLE)
    return tmp_path


def test_a_frame_written_names_the_file_it_was_read_from_and_no_other(folder: Path) -> None:
    seen = python(
        folder,
        "import pandas as pd\n"
        "first, second = pd.read_csv('in.csv'), pd.read_csv('other.csv')\n"
        "first[first.a > 3].assign(c=lambda t: t.a + 1).to_csv('one.csv')\n"
        "first.merge(second, on='a').groupby('b_x').sum().to_parquet('two.parquet')\n",
    )
    assert seen.status == 0, seen.stderr
    assert seen.flowed("one.csv") == {"in.csv"}
    assert seen.flowed("two.parquet") == {"in.csv", "other.csv"}
    fields = seen.output("one.csv")["facets"]["schema"]["fields"]
    assert [field["name"] for field in fields] == ["a", "b", "y", "c"]


def test_data_of_unknown_origin_may_hold_what_was_read_before_it_was_written(folder: Path) -> None:
    seen = python(
        folder,
        "text = open('in.csv').read()\n"
        "with open('out.txt', 'w') as out: out.write(text[:10])\n"
        "import time; time.sleep(0.05)\n"
        "open('other.csv').read()\n",
    )
    assert seen.flowed("out.txt") == {"in.csv", "?"}


def test_a_file_written_and_read_again_is_no_input_and_not_its_own_source(folder: Path) -> None:
    seen = python(
        folder,
        "import pandas as pd\n"
        "pd.read_csv('in.csv').to_csv('between.csv', index=False)\n"
        "pd.read_csv('between.csv').to_csv('final.csv', index=False)\n",
    )
    assert "between.csv" not in seen.names("inputs")
    assert seen.flowed("between.csv") == {"in.csv"}
    assert seen.flowed("final.csv") == {"between.csv"}


def test_a_scratch_file_that_is_renamed_counts_under_its_final_name(folder: Path) -> None:
    seen = python(
        folder,
        "import os, pandas as pd\n"
        "pd.read_csv('in.csv').to_csv('out.csv.tmp', index=False)\n"
        "os.replace('out.csv.tmp', 'out.csv')\n",
    )
    assert seen.flowed("out.csv") == {"in.csv"}
    assert "out.csv.tmp" not in seen.names("outputs")


def test_what_flowed_through_a_deleted_file_flows_on(folder: Path) -> None:
    seen = python(
        folder,
        "import os, pandas as pd\n"
        "pd.read_csv('in.csv').to_csv('scratch.csv', index=False)\n"
        "pd.read_csv('scratch.csv').to_csv('out.csv', index=False)\n"
        "os.remove('scratch.csv')\n",
    )
    assert seen.flowed("out.csv") == {"in.csv"}
    assert "scratch.csv" not in seen.names("outputs") | seen.names("inputs")


def test_a_model_knows_its_data_features_and_parameters(folder: Path) -> None:
    seen = python(
        folder,
        "import joblib, pandas as pd\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.metrics import accuracy_score\n"
        "from sklearn.model_selection import train_test_split\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "table, _ = pd.read_csv('in.csv'), pd.read_csv('other.csv')\n"
        "X, y = table[['a', 'b']], table['y']\n"
        "A, B, a, b = train_test_split(X, y, random_state=7)\n"
        "model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(A, a)\n"
        "accuracy_score(b, model.predict(B))\n"
        "joblib.dump({'model': model, 'columns': list(X)}, 'm.joblib')\n",
    )
    assert seen.status == 0, seen.stderr
    assert seen.flowed("m") == {"in.csv"}
    model = seen.output("m")["facets"]["lodeline_model"]
    assert model["features"] == ["a", "b"]
    assert model["class"] == "sklearn.pipeline.Pipeline"
    assert model["parameters"]["logisticregression__C"] == 0.5
    notes = seen.run_facet("lodeline_parameters")
    assert notes["seeds"]["train_test_split.random_state"] == 7
    assert 0 <= notes["metrics"]["accuracy_score"] <= 1


def test_an_inherited_fit_is_seen(folder: Path) -> None:
    seen = python(
        folder,
        "import pickle, pandas as pd\n"
        "from sklearn.base import BaseEstimator\n"
        "class Mixin:\n"
        "    def fit(self, X, y=None):\n"
        "        self.mean_ = float(X['a'].mean()); return self\n"
        "class Mean(Mixin, BaseEstimator):\n"
        "    def predict(self, X): return [self.mean_] * len(X)\n"
        "class Special(Mean): pass\n"
        "table = pd.read_csv('in.csv'); pd.read_csv('other.csv')\n"
        "with open('mean.pkl', 'wb') as file: pickle.dump(Special().fit(table), file)\n",
    )
    assert seen.status == 0, seen.stderr
    assert seen.flowed("mean") == {"in.csv"}


def test_predictions_come_from_the_loaded_model_and_their_data(folder: Path) -> None:
    made = python(
        folder,
        "import joblib, pandas as pd\n"
        "from sklearn.tree import DecisionTreeClassifier\n"
        "table = pd.read_csv('in.csv')\n"
        "joblib.dump(DecisionTreeClassifier().fit(table[['a']], table.y), 'tree.joblib')\n",
    )
    assert made.status == 0, made.stderr
    seen = python(
        folder,
        "import joblib, pandas as pd\n"
        "model, table = joblib.load('tree.joblib'), pd.read_csv('other.csv')\n"
        "pd.read_csv('in.csv')\n"
        "table['p'] = model.predict(table[['a']])\n"
        "table.to_csv('scored.csv')\n",
    )
    assert seen.flowed("scored.csv") == {"tree", "other.csv"}


PROGRAMS = {
    "output": "print('out'); import sys; print('err', file=sys.stderr)",
    "exit code": "import sys; print('bye'); sys.exit(7)",
    "exit text": "import sys; sys.exit('no')",
    "os._exit": "import os; open('x.txt', 'w').close(); os._exit(9)",
    "exception": "import pandas as pd\npd.read_csv('in.csv').merge(3)",
    "missing file": "import pandas as pd\npd.read_csv('none.csv')",
    "chained": "try:\n  1/0\nexcept Exception as e:\n  raise KeyError('k') from e",
    "deep recursion": (
        "import sys, pandas as pd\nt = pd.read_csv('in.csv')\n"
        "def deep(n):\n  try: return deep(n + 1)\n  except RecursionError: return t.a.sum()\n"
        "print(deep(0))"
    ),
    "killed": "import os, signal; print('now', flush=True); os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "warning": (
        "import warnings, pandas as pd, numpy as np\n"
        "t = pd.read_csv('in.csv')\nwarnings.warn('mine')\nprint(np.log(t.a - 1).max())"
    ),
    "fork": (
        "import os, pandas as pd\npid = os.fork()\n"
        "if pid == 0:\n  pd.read_csv('in.csv').to_csv('child.csv'); os._exit(3)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    ),
    "threads": (
        "import threading, pandas as pd\nout = []\n"
        "ts = [threading.Thread(target=lambda: out.append(len(pd.read_csv('in.csv'))))"
        " for _ in range(4)]\n[t.start() for t in ts]; [t.join() for t in ts]; print(out)"
    ),
    "environment": "import sys; print(sys.path, sys.argv, sys.flags)",
    "convergence": (
        "import pandas as pd\nfrom sklearn.linear_model import LogisticRegression\n"
        "t = pd.read_csv('in.csv')\n"
        "print(LogisticRegression(max_iter=1).fit(t[['a', 'b']], t.y).score(t[['a', 'b']], t.y))"
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_output_and_exit_status_stay_the_programs_own(folder: Path, name: str) -> None:
    (folder / "script.py").write_text(PROGRAMS[name])
    plain = run_plain(folder, sys.executable, "script.py")
    seen = run_observed(folder, sys.executable, "script.py")
    expected = plain.status if plain.status >= 0 else 128 - plain.status
    assert (seen.status, seen.stdout, seen.stderr) == (expected, plain.stdout, plain.stderr)
    ends = {0: "COMPLETE", 143: "ABORT"}
    assert seen.last["eventType"] == ends.get(expected, "FAIL")


def test_a_killed_program_fails_with_what_it_did_and_a_gap(folder: Path) -> None:
    seen = python(
        folder,
        "import os, signal, pandas as pd\n"
        "pd.read_csv('in.csv').to_csv('out.csv')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    assert seen.status == 137
    assert seen.flowed("out.csv") == {"in.csv"}
    assert any("SIGKILL" in gap["detail"] for gap in seen.gaps)


def test_work_of_worker_processes_belongs_to_the_run_that_started_them(folder: Path) -> None:
    seen = python(
        folder,
        "import multiprocessing, sys, pandas as pd\n"
        "def work(name):\n"
        "    t = pd.read_csv(name); t.to_csv(name + '.out'); return t\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context(sys.argv[1] if sys.argv[1:] else 'fork')\n"
        "    with context.Pool(2) as pool:\n"
        "        parts = pool.map(work, ['in.csv', 'other.csv'])\n"
        "    pd.concat(parts).to_csv('all.csv')\n",
    )
    assert seen.status == 0, seen.stderr
    assert len({event["run"]["runId"] for event in seen.events}) == 1
    assert seen.flowed("in.csv.out") == {"in.csv"}
    assert seen.names("inputs") >= {"in.csv", "other.csv"}
    spawned = run_observed(folder, sys.executable, "script.py", "spawn")
    assert spawned.status == 0, spawned.stderr
    assert spawned.flowed("other.csv.out") == {"other.csv"}


def test_a_python_subprocess_is_a_run_of_its_own_with_a_parent(folder: Path) -> None:
    (folder / "inner.py").write_text(
        "import pandas as pd\npd.read_csv('in.csv').to_csv('inner.csv')\n"
    )
    seen = python(
        folder,
        "import subprocess, sys\nsubprocess.run([sys.executable, 'inner.py'], check=True)\n",
    )
    inner = [event for event in seen.events if event["job"]["name"] == "inner.py"]
    assert [event["eventType"] for event in inner] == ["START", "COMPLETE"]
    parent = inner[0]["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == seen.events[0]["run"]["runId"]
    assert parent["job"]["name"] == "script.py"
    assert seen.flowed("inner.csv") == {"in.csv"}


def test_without_a_place_to_write_the_program_runs_and_the_loss_is_told(folder: Path) -> None:
    (folder / "store").write_text("a file where a folder should be")
    (folder / "script.py").write_text("print('fine')")
    seen = run_observed(folder, sys.executable, "script.py")
    assert (seen.status, seen.stdout) == (0, "fine\n")
    assert "capture is off" in seen.stderr


def test_a_program_that_cannot_be_started_gives_125(folder: Path) -> None:
    seen = run_observed(folder, "no-such-program")
    assert seen.status == 125
    assert "cannot start no-such-program" in seen.stderr


def test_a_program_that_is_not_python_leaves_a_gap(folder: Path) -> None:
    seen = run_observed(folder, "cat", "in.csv")
    assert (seen.status, seen.stdout) == (0, TABLE)
    assert any("did not start" in gap["detail"] for gap in seen.gaps)
