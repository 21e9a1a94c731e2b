"""Rows through splits, folds, resampling, transformers and fits, and through PyTorch's loaders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from frameworks import interpreter_of
from lodeline.model import NodeId
from lodeline.query import ask
from lodeline.rows.links import LinkReader
from lodeline.rows.steps import StepIndex, fold_steps
from lodeline.store import open_segment
from observing import Observed, run_observed, run_plain

# The end of the words of a step into a model.
WORDS = re.compile(r"(fit(, sample_weight .*|, fold .*)?|validated, fold .*|early stopping by .*)$")
TABLE = "a,b,y\n" + "".join(f"{i},{i % 7},{int(i % 3 == 0)}\n" for i in range(60))

# Column `a` is the number of the row in the file, so a program can say itself what it used.
SKLEARN = """
import json
import joblib
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, KFold, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import resample

used = {}
table = pd.read_csv("in.csv")
table = table[table["a"] > 1]
X, y = table[["a", "b"]], table["y"]

train, test, train_y, _ = train_test_split(X, y, random_state=1)
scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(train, train_y)
joblib.dump(scaled, "split.joblib")
used["split"] = sorted(int(v) for v in train["a"])

some, some_y = resample(X.to_numpy(), y.to_numpy(), n_samples=20, random_state=2)
model = LogisticRegression().fit(some, some_y, sample_weight=np.ones(20))
weights = np.where(X["a"] % 3 == 0, 0.0, 0.25)
joblib.dump(LogisticRegression().fit(X, y, weights), "weighed.joblib")
weighed = make_pipeline(StandardScaler(), LogisticRegression())
weighed.fit(X, y, logisticregression__sample_weight=np.asarray(X["a"], float))
joblib.dump(weighed, "ranges.joblib")
search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=KFold(3)).fit(X, y)
joblib.dump(search, "search.joblib")
joblib.dump(search.best_estimator_, "best.joblib")
parts = SGDClassifier(random_state=1)
for at in (0, 20, 40):
    parts.partial_fit(X[at : at + 20], y[at : at + 20], classes=[0, 1])
joblib.dump(parts, "parts.joblib")
joblib.dump(model, "resampled.joblib")
used["resampled"] = sorted({int(v) for v in some[:, 0]})

array = StandardScaler().fit_transform(X)
joblib.dump(LogisticRegression().fit(array, y), "scaled.joblib")
used["scaled"] = sorted(int(v) for v in X["a"])

found = cross_validate(LogisticRegression(), X, y, cv=KFold(3), return_estimator=True)
joblib.dump(found["estimator"][1], "fold.joblib")
used["fold"] = sorted(int(v) for v in X["a"].iloc[list(KFold(3).split(X))[1][0]])

for part, _ in KFold(2, shuffle=True, random_state=3).split(X):
    model = LogisticRegression().fit(X.iloc[part], y.iloc[part])
joblib.dump(model, "loop.joblib")
used["loop"] = sorted(int(v) for v in X["a"].iloc[part])

turned = FunctionTransformer(lambda frame: frame.to_numpy()[::-1]).fit_transform(X)
joblib.dump(LogisticRegression().fit(turned, y), "turned.joblib")

table["p"] = model.predict(X)
table.to_csv("predicted.csv", index=False)
json.dump(used, open("used.json", "w"))
print(found["test_score"], model.coef_)
"""

# What each model learned from and stopped by is worked out by the program, not from the record.
STOPPING = """
import json
import warnings
import joblib
import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb
from sklearn.ensemble import (
    BaggingClassifier, GradientBoostingClassifier, HistGradientBoostingClassifier,
)
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

warnings.simplefilter("ignore")
table = pd.read_csv("in.csv")
learn, check, other = table[table["a"] % 4 != 0], table[table["a"] % 8 == 0], table.tail(7)
features = ["a", "b"]
used = {}
heavy = np.where(learn["a"] % 2 == 0, 0.1, 2.0)
numbers = [int(v) for v in learn["a"]]
halves = {"fit, sample_weight 0.1": [n for n in numbers if n % 2 == 0],
          "fit, sample_weight 2": [n for n in numbers if n % 2]}

rows = xgb.DMatrix(learn[features], learn["y"], weight=heavy)
stop = xgb.DMatrix(check[features], check["y"])
tail = xgb.DMatrix(other[features], other["y"])
settings = {"max_depth": 2, "eta": 0.9, "seed": 1}
quiet = {"num_boost_round": 8, "verbose_eval": False}
xgb.train(settings, rows, evals=[(tail, "tail")], **quiet).save_model("weighed.ubj")
used["weighed"] = halves
model = xgb.train(settings, rows, evals=[(rows, "own"), (tail, "tail"), (stop, "stop")],
                  early_stopping_rounds=2, **quiet)
model.save_model("stopped.ubj")
used["stopped"] = {**halves, "early stopping by eval_set 3": [int(v) for v in check["a"]]}
named = xgb.callback.EarlyStopping(2, data_name="tail")
part = xgb.DMatrix(learn[features], learn["y"]).slice([4, 1, 2])
xgb.train(settings, part, evals=[(tail, "tail"), (stop, "stop")], callbacks=[named],
          xgb_model=model, **quiet).save_model("again.ubj")
used["again"] = {**used["stopped"], "fit": [numbers[1], numbers[2], numbers[4]],
                 "early stopping by eval_set 1": [int(v) for v in other["a"]]}
estimator = xgb.XGBClassifier(n_estimators=8, early_stopping_rounds=2)
sets = [(check[features], check["y"]), (other[features], other["y"])]
estimator.fit(learn[features], learn["y"], eval_set=sets, verbose=False)
estimator.get_booster().save_model("wrapped.ubj")
used["wrapped"] = {"fit": numbers, "early stopping by eval_set 2": [int(v) for v in other["a"]]}
scaled = StandardScaler().fit_transform(learn[features])
rows = xgb.DMatrix(scaled, learn["y"])
scaled[0, 0] = -1
xgb.train(settings, rows, **quiet).save_model("copied.ubj")
used["copied"] = {"fit": numbers}

settings = {"objective": "binary", "num_leaves": 3, "verbose": -1, "num_threads": 1,
            "min_data_in_leaf": 2, "learning_rate": 0.9}
rows = lgb.Dataset(learn[features], learn["y"], weight=heavy)
stop = lgb.Dataset(check[features], check["y"], reference=rows)
tail = rows.create_valid(other[features], other["y"])
lgb.train(settings, rows, 8, valid_sets=[tail]).save_model("light.txt")
used["light"] = halves
end = lgb.early_stopping(2, verbose=False)
model = lgb.train(settings, rows, 8, valid_sets=[rows, stop, tail], callbacks=[end])
model.save_model("lights.txt")
used["lights"] = {**halves, "early stopping by eval_set 2": [int(v) for v in check["a"]],
                  "early stopping by eval_set 3": [int(v) for v in other["a"]]}
part = lgb.Dataset(learn[features], learn["y"], free_raw_data=False).construct()
part = part.subset(sorted([30, 1, 2, *range(5, 25)]))
lgb.train(settings, part, 3).save_model("subset.txt")
used["subset"] = {"fit": [numbers[n] for n in sorted([30, 1, 2, *range(5, 25)])]}
scaled = StandardScaler().fit_transform(learn[features])
rows = lgb.Dataset(scaled, learn["y"])
scaled[0, 0] = -1
lgb.train(settings, rows, 3).save_model("changed.txt")

X, y = learn[features], learn["y"]
places = np.arange(len(X))
stopping = "early stopping by validation_fraction"
seen, held = train_test_split(places, random_state=3, test_size=0.25, stratify=y)
two = {"fit": sorted(numbers[n] for n in seen), stopping: sorted(numbers[n] for n in held)}
options = {"validation_fraction": 0.25, "random_state": 3}
model = GradientBoostingClassifier(n_iter_no_change=2, **options).fit(X, y)
joblib.dump(model, "gradient.joblib")
used["gradient"] = two
network = MLPClassifier([2], early_stopping=True, max_iter=4, **options)
joblib.dump(make_pipeline(StandardScaler(), network).fit(X, y), "network.joblib")
several = BaggingClassifier(GradientBoostingClassifier(n_iter_no_change=2), n_estimators=2)
joblib.dump(several.fit(X, y), "several.joblib")
joblib.dump(HistGradientBoostingClassifier(max_iter=3).fit(X, y), "without.joblib")
used["without"] = {"fit": numbers}
for name, model in (
    ("hist", HistGradientBoostingClassifier(early_stopping=True, max_iter=5, **options)),
    ("search", GridSearchCV(HistGradientBoostingClassifier(early_stopping=True, **options),
                            {"max_iter": [2, 3]}, cv=2)),
    ("descent", SGDClassifier(early_stopping=True, max_iter=6, **options)),
):
    joblib.dump(model.fit(X, y), f"{name}.joblib")
json.dump(used, open("used.json", "w"))
print(model.coef_)
"""

TORCH = """
import json
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

torch.manual_seed(3)
net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
table = pd.read_csv("in.csv")
table = table[table["a"] > 4]
X = torch.tensor(table[["a", "b"]].values, dtype=torch.float32)
y = torch.tensor(table["y"].values).float().unsqueeze(1)
fixed = torch.Generator().manual_seed(5)
learn, check = random_split(TensorDataset(X, y), [40, 15], generator=fixed)


class Items(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, number):
        return X[-number - 1], y[-number - 1]


def train(loader, epochs, stop=None):
    seen = []
    for _ in range(epochs):
        fed = []
        for number, (a, b) in enumerate(loader):
            if number == stop:
                break
            optimizer.zero_grad()
            nn.functional.mse_loss(net(a), b).backward()
            optimizer.step()
            fed += [int(v) for v in a[:, 0]]
        seen.append(fed)
    return seen


if __name__ == "__main__":
    used = train(DataLoader(learn, batch_size=16, shuffle=True), 2)
    for a, _ in DataLoader(check):
        net(a)
    torch.save(net.state_dict(), "net.pt")
    used += train(DataLoader(learn, batch_size=4, shuffle=True, num_workers=2), 1, stop=3)
    torch.save(net, "more.pt")
    train(DataLoader(Items(), batch_size=16), 1)
    torch.save(net.state_dict(), "custom.pt")
    json.dump(used, open("used.json", "w"))
    print(net(X)[:2])
"""


def observe(folder: Path, program: str, interpreter: str) -> Observed:
    """Run a program with rows, and compare with a plain run of it."""
    (folder / "in.csv").write_text(TABLE)
    (folder / "script.py").write_text(program)
    seen = run_observed(
        folder, interpreter, "script.py", options=("--rows",), interpreter=interpreter
    )
    used = (folder / "used.json").read_bytes()
    plain = run_plain(folder, interpreter, "script.py")
    assert (plain.status, plain.stdout, plain.stderr) == (seen.status, seen.stdout, seen.stderr)
    assert (folder / "used.json").read_bytes() == used
    return seen


def steps_of(seen: Observed, name: str) -> list[dict[str, Any]]:
    """The row steps that were told of an output; none where there is no facet."""
    facet = seen.output(name)["outputFacets"].get("lodeline_rows")
    return [] if facet is None else facet["steps"]


def rows_into(folder: Path, steps: list[dict[str, Any]]) -> dict[str, list[int]]:
    """The input rows of each step, in the order of its output's, by the step's words."""
    import numpy as np

    segment = open_segment(f"sqlite:///{folder / 'store' / 'lodeline.db'}", create=False)
    found: dict[str, list[int]] = {}
    try:
        fold_steps(segment)
        with segment.reading() as connection:
            index, links = StepIndex(connection, segment.size(), None), LinkReader(segment)
            for step in steps:
                end = step["output"]
                node = NodeId("dataset", end["namespace"], end["name"], "", end["version"])
                for stored in index.into(node):
                    parts = [links.back(stored, np.array([row])) for row in range(stored.rows)]
                    found[stored.operator] = [int(row) for part in parts for row in part]
    finally:
        segment.close()
    return found


@pytest.mark.slow
def test_fits_are_sets_of_the_rows_that_splits_folds_and_samples_gave_them(
    tmp_path: Path, interpreter: str
) -> None:
    seen = observe(tmp_path, SKLEARN, interpreter)
    words = {}
    for name, rows in json.loads((tmp_path / "used.json").read_text()).items():
        # The first is what was learned from; those that a model was validated on follow.
        step = steps_of(seen, name)[0]
        assert step["shape"] == "set"
        assert step["count"] == len(rows), name
        assert step["input"]["name"].endswith("in.csv")
        words[name] = step["operator"]
    assert words["fold"].endswith("fit, fold 2 of 3")
    assert words["resampled"].endswith("resample, fit, sample_weight 1")
    assert len(steps_of(seen, "split")) == 1
    check_weights_and_folds(tmp_path, seen)
    assert "StandardScaler" in words["scaled"]
    # A function over whole tables may have done anything with their rows.
    assert not steps_of(seen, "turned")
    (written,) = steps_of(seen, "predicted.csv")
    assert (written["shape"], written["rows"]) == ("range", 58)
    assert not written.get("gaps")


@pytest.mark.slow
def test_rows_by_which_a_fit_stopped_stand_apart_from_those_it_learned_from(
    tmp_path: Path, interpreter: str
) -> None:
    seen = observe(tmp_path, STOPPING, interpreter)
    told = json.loads((tmp_path / "used.json").read_text())
    for name, sets in told.items():
        assert fits_of(tmp_path, seen, name) == sets, name
    # Where the estimator draws by seeds of its own, each row is in one part, and both are told.
    numbers = told["without"]["fit"]
    for name in ("hist", "search", "descent"):
        found = fits_of(tmp_path, seen, name)
        held = found["early stopping by validation_fraction"]
        assert sorted(found["fit"] + held) == numbers, name
        assert len(held) == 12, name
    # In a pipeline the scaler learned from all of them.
    found = fits_of(tmp_path, seen, "network")
    assert found["fit"] == numbers
    assert len(found["early stopping by validation_fraction"]) == 12
    (step,) = steps_of(seen, "several")
    assert "which rows only decided when" in step["gaps"][0]["detail"]
    # What was given was written to before the library took it.
    assert not steps_of(seen, "changed")
    assert "rows: fit" in {gap["at"] for gap in seen.gaps}


def fits_of(folder: Path, seen: Observed, name: str) -> dict[str, list[int]]:
    """The rows of each set that a model was fitted by, as `rows MODEL --back` tells of each row."""
    model = seen.output(name)
    version = model["facets"]["lodeline_model"]["digest"]
    node = str(NodeId("model", model["namespace"], model["name"], "", version))
    found: dict[str, list[int]] = {}
    with open_segment(f"sqlite:///{folder / 'store' / 'lodeline.db'}") as segment:
        answer = ask(segment, "rows", {"id": node, "back": True, "limit": 500})
        for row in answer["rows"]:
            for words in row["fits"]:
                found.setdefault(WORDS.search(words)[0], []).append(int(row["key"]))
        learned = sum(cohort for cohort in ask(segment, "cohort", {"id": node})["counts"].values())
    assert learned == len({row for words in found for row in found[words] if "fit" in words})
    return found


def check_weights_and_folds(folder: Path, seen: Observed) -> None:
    rows = list(range(2, 60))
    heavy = [row for row in rows if row % 3]
    light = [row for row in rows if not row % 3]
    assert fits_of(folder, seen, "weighed") == {
        "fit, sample_weight 0": light,
        "fit, sample_weight 0.25": heavy,
    }
    ranges = fits_of(folder, seen, "ranges")
    assert [words.rpartition(" ")[2] for words in ranges] == [str(row) for row in rows]
    folds = {
        f"validated, fold {n} of 3": rows[a:b]
        for n, (a, b) in enumerate([(0, 20), (20, 39), (39, 58)], start=1)
    }
    assert (
        fits_of(folder, seen, "search") == fits_of(folder, seen, "best") == {"fit": rows, **folds}
    )
    assert fits_of(folder, seen, "fold") == {
        "fit, fold 2 of 3": rows[:20] + rows[39:],
        "validated, fold 2 of 3": rows[20:39],
    }
    parts = fits_of(folder, seen, "parts")
    assert sorted(row for some in parts.values() for row in some) == rows


@pytest.mark.slow
def test_epochs_are_the_rows_that_a_loader_fed_before_a_step_in_their_order(
    tmp_path: Path,
) -> None:
    seen = observe(tmp_path, TORCH, interpreter_of("torch"))
    first, second, third = json.loads((tmp_path / "used.json").read_text())
    steps = [step for step in steps_of(seen, "net") if step["input"]["namespace"] == "file"]
    found = rows_into(tmp_path, steps)
    assert found == {
        "filter, columns, tensor, DataLoader epoch 1": first,
        "filter, columns, tensor, DataLoader epoch 2": second,
    }
    # Workers had prepared more batches than were taken.
    steps = [step for step in steps_of(seen, "more") if step["input"]["namespace"] == "file"]
    found = rows_into(tmp_path, steps)
    assert found["filter, columns, tensor, DataLoader.3 epoch 1"] == third
    # The loader that only checked is the second, whether or not another got its address.
    told = "what Items makes of a number is its own business"
    fits = [step for step in steps_of(seen, "custom") if step["shape"] == "set"]
    assert len(fits) == 3
    assert all(gap["detail"] == told for step in fits for gap in step["gaps"])
