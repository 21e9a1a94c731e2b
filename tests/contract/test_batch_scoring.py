"""A script that scores a table: its output leads to the table and to the model's version."""

from __future__ import annotations

from pathlib import Path

import pytest

from observing import python

pytest.importorskip("sklearn")

TRAIN = (
    "import joblib, pandas as pd\n"
    "from sklearn.linear_model import LogisticRegression\n"
    "table = pd.read_csv('train.csv')\n"
    "joblib.dump(LogisticRegression().fit(table[['a', 'b']], table.y), 'model.joblib')\n"
)
SCORE = (
    "import joblib, pandas as pd\n"
    "model, table = joblib.load('model.joblib'), pd.read_csv('new.csv')\n"
    "other = pd.read_csv('other.csv')\n"
    "table['score'] = model.predict_proba(table[['a', 'b']])[:, 1]\n"
    "table.to_parquet('scores.parquet')\n"
)


def test_scores_of_a_table_lead_to_the_table_and_the_model(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b,y\n1,2,0\n2,1,1\n3,0,1\n0,4,0\n")
    for name in ("new.csv", "other.csv"):
        (tmp_path / name).write_text("id,a,b\n7,1,2\n8,2,1\n")
    trained = python(tmp_path, TRAIN)
    assert trained.status == 0, trained.stderr
    made = trained.output("model")["facets"]["lodeline_model"]["digest"]
    scored = python(tmp_path, SCORE)
    assert scored.status == 0, scored.stderr
    facet = scored.output("scores.parquet")["outputFacets"]["lodeline_observed"]
    assert {Path(one["name"]).name for one in facet["inputs"]} == {"new.csv", "model"}
    assert "bound" not in facet
    events = [event for event in scored.events if event["job"] == scored.events[-1]["job"]]
    (used,) = [one for one in events[-1]["inputs"] if one["name"] == "model"]
    assert used["facets"]["lodeline_model"]["digest"] == made
