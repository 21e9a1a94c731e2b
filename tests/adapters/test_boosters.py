"""XGBoost and LightGBM, their own interface and their estimators, in both supported releases."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from observing import environment, python, run_observed, run_plain

TABLE = "a,b,y\n" + "".join(f"{i},{i % 7},{int(i % 3 == 0)}\n" for i in range(60))
XGBOOST = (
    "import pandas as pd, xgboost as xgb\n"
    "table, other = pd.read_csv('in.csv'), pd.read_csv('other.csv')\n"
    "X, y = table[['a', 'b']], table['y']\n"
    "learn, check = xgb.DMatrix(X, label=y), xgb.DMatrix(other[['a', 'b']], other['y'])\n"
    "settings = {'objective': 'binary:logistic', 'max_depth': 2, 'seed': 4}\n"
    "booster = xgb.train(settings, learn, 5, evals=[(check, 'check')])\n"
    "booster.save_model('native.json')\n"
    "print(list(xgb.cv(settings, learn, num_boost_round=2, nfold=3, seed=8)))\n"
    "xgb.XGBClassifier(n_estimators=3).fit(X, y).save_model('estimator.ubj')\n"
    "loaded = xgb.Booster(model_file='native.json')\n"
    "print(loaded.num_boosted_rounds())\n"
    "other['p'] = loaded.predict(check)\n"
    "other.to_csv('scored.csv')\n"
)
LIGHTGBM = (
    "import pandas as pd, lightgbm as lgb\n"
    "table, other = pd.read_csv('in.csv'), pd.read_csv('other.csv')\n"
    "X, y = table[['a', 'b']], table['y']\n"
    "learn = lgb.Dataset(X, label=y)\n"
    "check = lgb.Dataset(other[['a', 'b']], other['y'], reference=learn)\n"
    "settings = {'objective': 'binary', 'num_leaves': 3, 'seed': 4, 'verbose': -1,\n"
    "            'num_threads': 1, 'min_data_in_leaf': 5}\n"
    "booster = lgb.train(settings, learn, 5, valid_sets=[check], valid_names=['check'])\n"
    "booster.save_model('native.txt')\n"
    "print(sorted(lgb.cv(settings, lgb.Dataset(X, y), 2, nfold=3, seed=8)))\n"
    "estimator = lgb.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(X, y)\n"
    "estimator.booster_.save_model('estimator.txt')\n"
    "loaded = lgb.Booster(model_file='native.txt')\n"
    "print(loaded.num_trees())\n"
    "other['p'] = loaded.predict(other[['a', 'b']])\n"
    "other.to_csv('scored.csv')\n"
)
PROGRAMS = {"xgboost": XGBOOST, "lightgbm": LIGHTGBM}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text(TABLE)
    (tmp_path / "other.csv").write_text(TABLE.replace(",1\n", ",0\n", 3))
    return tmp_path


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_booster_knows_its_data_settings_and_scores(
    folder: Path, interpreter: str, name: str
) -> None:
    (folder / "script.py").write_text(PROGRAMS[name])
    plain = run_plain(folder, interpreter, "script.py")
    seen = run_observed(folder, interpreter, "script.py", interpreter=interpreter)
    assert (seen.status, seen.stdout, seen.stderr) == (plain.status, plain.stdout, plain.stderr)
    assert seen.flowed("native") == {"in.csv"}
    assert seen.flowed("estimator") == {"in.csv"}
    assert seen.flowed("scored.csv") == {"native", "other.csv"}
    model = seen.output("native")["facets"]["lodeline_model"]
    assert (model["framework"], model["features"]) == (name, ["a", "b"])
    assert model["digest"].startswith("sha256:")
    assert (model["parameters"]["num_boost_round"], model["parameters"]["seed"]) == (5, 4)
    notes = seen.run_facet("lodeline_parameters")
    assert notes["seeds"][f"{name}.seed"] == 4
    assert notes["seeds"][f"{name}.cv"] == 8
    scores = [metric for metric in notes["metrics"] if metric.startswith(f"{name}.check.")]
    assert scores, notes["metrics"]
    assert not seen.gaps


def test_a_table_that_xgboost_reads_by_itself_is_what_it_learned_from(
    folder: Path, interpreter: str
) -> None:
    lines = [f"{i % 2} 0:{i} 1:{i % 7}\n" for i in range(40)]
    (folder / "rows.svm").write_text("".join(lines))
    seen = python(
        folder,
        "import lightgbm as lgb, xgboost as xgb, pandas as pd\n"
        "pd.read_csv('in.csv')\n"
        "table = xgb.DMatrix('rows.svm?format=libsvm')\n"
        "model = xgb.train({'max_depth': 2}, table, 2)\n"
        "model.save_model('model.json')\n"
        "open('names.txt', 'w').write('0 a q\\n1 b q\\n')\n"
        "model.dump_model('dump.txt', 'names.txt')\n"
        "from sklearn.datasets import load_svmlight_file\n"
        "xgb.DMatrix(*load_svmlight_file('rows.svm')).save_binary('rows.buffer')\n"
        "learn = lgb.Dataset('rows.svm', params={'verbose': -1})\n"
        "lgb.train({'verbose': -1, 'num_threads': 1}, learn, 2).save_model('light.txt')\n",
        interpreter,
    )
    assert seen.status == 0, seen.stderr
    assert seen.flowed("model") == {"rows.svm"}
    assert seen.flowed("dump.txt") == {"rows.svm", "names.txt"}
    assert seen.flowed("rows.buffer") == {"rows.svm"}
    assert seen.flowed("light") == {"rows.svm"}
    store = f"sqlite:///{folder}/store/lodeline.db"
    words = ["trace", "model:default:light", "--up", "--json", "--store", store]
    done = subprocess.run(
        [sys.executable, "-m", "lodeline.cli.main", *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    edges = json.loads(done.stdout)["edges"]
    trained = [edge for edge in edges if edge["kind"] == "trains"]
    assert [(Path(e["source"].partition("#")[0]).name, e["basis"]) for e in trained] == [
        ("rows.svm", "observed")
    ]
