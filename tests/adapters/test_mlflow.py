"""MLflow: its runs in ours, its models, and their use by another program."""

from __future__ import annotations

from pathlib import Path

import pytest

from frameworks import interpreter_of
from observing import python, run_plain

TABLE = "a,b,y\n" + "".join(f"{i},{i % 7},{int(i % 3 == 0)}\n" for i in range(60))
START = (
    "import warnings; warnings.simplefilter('ignore')\n"
    "import logging; logging.disable(logging.WARNING)\n"
    "import mlflow, pandas as pd\n"
    "mlflow.set_tracking_uri('file:./mlruns')\n"
    "table, other = pd.read_csv('in.csv'), pd.read_csv('other.csv')\n"
)
TRAIN = START + (
    "from sklearn.linear_model import LogisticRegression\n"
    "mlflow.set_experiment('churn')\n"
    "with mlflow.start_run(run_name='first', tags={'team': 'risk'}):\n"
    "    mlflow.log_param('depth', 3)\n"
    "    mlflow.log_metrics({'auc': 0.75, 'loss': 0.2}, step=2)\n"
    "    declared = mlflow.data.from_pandas(table, source='in.csv', name='orders')\n"
    "    mlflow.log_input(declared, context='training')\n"
    "    mlflow.log_artifact('other.csv', artifact_path='held')\n"
    "    model = LogisticRegression(C=0.5).fit(table[['a', 'b']], table['y'])\n"
    "    mlflow.sklearn.log_model(model, name='model', registered_model_name='churn',\n"
    "                             serialization_format='cloudpickle')\n"
    "client = mlflow.MlflowClient()\n"
    "client.set_registered_model_alias('churn', 'champion', '1')\n"
    "with mlflow.start_run(): mlflow.log_param('depth', 4)\n"
    "print(client.get_model_version('churn', '1').version)\n"
)
USE = START + (
    "model = mlflow.pyfunc.load_model('models:/churn@champion')\n"
    "other['p'] = model.predict(other[['a', 'b']])\n"
    "other.to_csv('scored.csv')\n"
    "print(other['p'].sum())\n"
)
# Its store of files is what a library without a server has; newer releases ask for this.
ALLOWED = {"MLFLOW_ALLOW_FILE_STORE": "true"}


@pytest.mark.slow
def test_runs_are_mirrored_and_models_lead_from_their_use_to_their_data(tmp_path: Path) -> None:
    interpreter = interpreter_of("mlflow")
    (tmp_path / "in.csv").write_text(TABLE)
    (tmp_path / "other.csv").write_text(TABLE)
    made = python(tmp_path, TRAIN, interpreter, **ALLOWED)
    assert (made.status, made.stdout) == (0, "1\n"), made.stderr
    # MLflow starts a program of its own to find out what a model imports: no run of the user's.
    assert {event["job"]["name"] for event in made.events} == {"script.py"}
    notes = made.run_facet("lodeline_parameters")
    assert notes["metrics"] == {"mlflow.auc": 0.75, "mlflow.loss": 0.2}
    told = notes["parameters"]
    assert (int(told["mlflow.depth"]), int(told["mlflow.2.depth"])) == (3, 4)
    assert (told["mlflow.run_name"], told["mlflow.tag.team"]) == ("first", "risk")
    assert told["mlflow.input.orders"]["context"] == "training"
    assert told["mlflow.registered.churn"] == "1"
    assert told["mlflow.registered.churn.champion"] == "1"
    assert made.flowed("churn") == {"in.csv"}
    facets = made.output("churn")["facets"]
    assert facets["version"]["datasetVersion"] == "1"
    digest = facets["lodeline_model"]["digest"]
    assert digest.startswith("sha256:")
    (held,) = [d for d in made.last["outputs"] if d["name"].endswith("held/other.csv")]
    assert [Path(one["name"]).name for one in held["outputFacets"]["lodeline_observed"]["inputs"]]
    assert not any("meta.yaml" in d["name"] for e in made.events for d in e["inputs"])

    (tmp_path / "script.py").write_text(USE)
    plain = run_plain(tmp_path, interpreter, "script.py", **ALLOWED)
    used = python(tmp_path, USE, interpreter, **ALLOWED)
    assert (used.status, used.stdout, used.stderr) == (plain.status, plain.stdout, plain.stderr)
    assert used.flowed("scored.csv") == {"churn", "other.csv"}
    # The store holds the events of both programs.
    models = [d for e in used.events for d in e["inputs"] if d["name"] == "churn"]
    assert {one["facets"]["lodeline_model"]["digest"] for one in models} == {digest}
