"""scikit-learn: folds, searches, metrics and parts of pipelines, in both supported releases."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from observing import Observed, python, run_observed, run_plain

ROWS = 60
TABLE = "a,b,y\n" + "".join(f"{i},{i % 7},{int(i % 3 == 0)}\n" for i in range(ROWS))
START = (
    "import joblib, pandas as pd, numpy as np\n"
    "from sklearn.linear_model import LogisticRegression\n"
    "from sklearn.metrics import accuracy_score, confusion_matrix\n"
    "from sklearn.model_selection import GridSearchCV, KFold, RepeatedKFold, StratifiedKFold\n"
    "from sklearn.model_selection import cross_val_predict, cross_validate, train_test_split\n"
    "from sklearn.pipeline import make_pipeline\n"
    "from sklearn.preprocessing import StandardScaler\n"
    "table, _ = pd.read_csv('in.csv'), pd.read_csv('other.csv')\n"
    "X, y = table[['a', 'b']], table['y']\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text(TABLE)
    (tmp_path / "other.csv").write_text(TABLE)
    return tmp_path


def sampling(seen: Observed, name: str = "in.csv") -> dict[str, object]:
    """How rows were drawn from an input, as last told."""
    found = [d for e in seen.events for d in e["inputs"] if Path(d["name"]).name == name]
    return {
        key: value
        for key, value in found[-1]["inputFacets"]["lodeline_sampling"].items()
        if key[:1] != "_"
    }


def digest(train: list[int], test: list[int]) -> str:
    """The digest of a division, computed apart from the program that made it."""
    numbers = b"".join(number.to_bytes(8, "little") for number in [*train, *test])
    return "sha256:" + hashlib.sha256(numbers).hexdigest()


def test_the_folds_of_a_loop_are_told_with_the_digests_of_their_rows(
    folder: Path, interpreter: str
) -> None:
    seen = python(
        folder,
        START + "for train, test in KFold(3).split(X):\n"
        "    model = LogisticRegression().fit(X.iloc[train], y.iloc[train])\n"
        "    accuracy_score(y.iloc[test], model.predict(X.iloc[test]))\n",
        interpreter,
    )
    assert seen.status == 0, seen.stderr
    rows = list(range(ROWS))
    told = sampling(seen)
    assert told["method"] == "KFold"
    assert told["criteria"] == "n_splits=3, shuffle=False"
    assert told["folds"] == [
        {
            "train": 40,
            "test": 20,
            "digest": digest(rows[:at] + rows[at + 20 :], rows[at : at + 20]),
        }
        for at in (0, 20, 40)
    ]
    metrics = seen.run_facet("lodeline_parameters")["metrics"]
    assert {"accuracy_score.1", "accuracy_score.2", "accuracy_score.3"} <= metrics.keys()
    assert metrics["accuracy_score"] == metrics["accuracy_score.3"]
    others = [d for e in seen.events for d in e["inputs"] if d["name"].endswith("other.csv")]
    assert not any("lodeline_sampling" in d["inputFacets"] for d in others)


def test_a_search_tells_its_choice_its_folds_and_its_scores(folder: Path, interpreter: str) -> None:
    seen = python(
        folder,
        START + "A, B, a, b = train_test_split(X, y, test_size=0.25, random_state=7)\n"
        "pipe = make_pipeline(StandardScaler(), LogisticRegression())\n"
        "folds = StratifiedKFold(3, shuffle=True, random_state=5)\n"
        "search = GridSearchCV(pipe, {'logisticregression__C': [0.1, 1.0]}, cv=folds)\n"
        "search.fit(A, a)\n"
        "confusion_matrix(b, search.predict(B))\n"
        "joblib.dump(search.best_estimator_, 'best.joblib')\n"
        "joblib.dump(search.best_estimator_.steps[0][1], 'scaler.joblib')\n",
        interpreter,
    )
    assert seen.status == 0, seen.stderr
    notes = seen.run_facet("lodeline_parameters")
    chosen = notes["parameters"]["GridSearchCV.best_params"]
    assert chosen["logisticregression__C"] in {0.1, 1.0}
    assert notes["parameters"]["GridSearchCV.candidates"] == 2
    assert "LogisticRegression.C" not in notes["parameters"]
    scores = notes["metrics"]["GridSearchCV.best_folds"]
    assert set(scores) == {f"split{number}_test_score" for number in range(3)}
    assert notes["seeds"]["train_test_split.random_state"] == 7
    assert notes["seeds"]["StratifiedKFold.random_state"] == 5
    assert sum(map(sum, notes["metrics"]["confusion_matrix"])) == 15
    told = sampling(seen)
    assert (told["method"], told["count"], told["seed"]) == ("train_test_split", 45, 7)
    assert [fold["train"] for fold in told["folds"]] == [45]  # type: ignore[attr-defined]
    (further,) = told["further"]  # type: ignore[misc]
    assert further["method"] == "StratifiedKFold"
    assert [fold["test"] for fold in further["folds"]] == [15, 15, 15]
    assert seen.flowed("best") == {"in.csv"}
    assert seen.flowed("scaler") == {"in.csv"}
    assert seen.output("scaler")["facets"]["lodeline_model"]["features"] == ["a", "b"]


def test_candidates_fitted_in_workers_leave_no_parameters_of_their_own(
    folder: Path, interpreter: str
) -> None:
    seen = python(
        folder,
        START + "search = GridSearchCV(LogisticRegression(), {'C': [0.1, 1.0]}, cv=3, n_jobs=2)\n"
        "search.fit(X, y)\njoblib.dump(search, 'search.joblib')\n",
        interpreter,
    )
    assert seen.status == 0, seen.stderr
    notes = seen.run_facet("lodeline_parameters")
    assert "GridSearchCV.best_params" in notes["parameters"]
    assert "LogisticRegression.C" not in notes["parameters"]
    assert seen.flowed("search") == {"in.csv"}


def test_scores_and_models_of_a_cross_validation_are_told(folder: Path, interpreter: str) -> None:
    seen = python(
        folder,
        START + "found = cross_validate(LogisticRegression(), X, y, cv=4, return_estimator=True)\n"
        "joblib.dump(found['estimator'][0], 'first.joblib')\n"
        "table['p'] = cross_val_predict(LogisticRegression(), X, y, cv=4)\n"
        "table.to_csv('out.csv')\n",
        interpreter,
    )
    assert seen.status == 0, seen.stderr
    metrics = seen.run_facet("lodeline_parameters")["metrics"]
    assert len(metrics["LogisticRegression.cross_validate.test_score"]) == 4
    assert seen.flowed("first") == {"in.csv"}
    assert seen.flowed("out.csv") == {"in.csv"}
    assert len(sampling(seen)["folds"]) == 4  # type: ignore[arg-type]


def test_resampled_rows_and_bundled_and_made_data_name_where_they_come_from(
    folder: Path, interpreter: str
) -> None:
    seen = python(
        folder,
        START + "from sklearn.datasets import load_iris, make_blobs\n"
        "from sklearn.utils import resample\n"
        "resample(table, n_samples=30, random_state=3).to_csv('drawn.csv')\n"
        "A, a = load_iris(return_X_y=True)\n"
        "joblib.dump(LogisticRegression(max_iter=500).fit(A, a), 'iris.joblib')\n"
        "A, a = make_blobs(30, random_state=2)\n"
        "joblib.dump(LogisticRegression().fit(A, a), 'blobs.joblib')\n",
        interpreter,
    )
    assert seen.status == 0, seen.stderr
    told = sampling(seen)
    assert (told["method"], told["count"], told["seed"]) == ("resample", 30, 3)
    assert seen.flowed("drawn.csv") == {"in.csv"}
    assert seen.flowed("iris") == {"iris.csv"}
    assert seen.flowed("blobs") == set()
    assert seen.run_facet("lodeline_parameters")["seeds"]["make_blobs.random_state"] == 2


PROGRAMS = {
    "draws": "print([(list(a), list(b)) for a, b in RepeatedKFold(n_splits=3, n_repeats=2,"
    " random_state=1).split(X)])\n"
    "print(next(StratifiedKFold(2).split(X, y))); print(type(KFold(2).split(X)))\n"
    "print(len(list(StratifiedKFold(25).split(X, y))))\n"
    "import pickle; print(len(pickle.dumps(KFold(3))), pickle.loads(pickle.dumps("
    "GridSearchCV(LogisticRegression(max_iter=1), {'C': [1]}).fit(X, y))).best_params_)\n",
    "fails": "list(KFold(61).split(X))",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_draws_rows_behaves_as_without(
    folder: Path, interpreter: str, name: str
) -> None:
    (folder / "script.py").write_text(START + PROGRAMS[name])
    plain = run_plain(folder, interpreter, "script.py")
    seen = run_observed(folder, interpreter, "script.py", interpreter=interpreter)
    assert (seen.status, seen.stdout, seen.stderr) == (plain.status, plain.stdout, plain.stderr)
