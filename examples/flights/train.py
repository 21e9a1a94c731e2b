"""Train a classifier of "arrives 30 minutes late or more" and judge it on later days.

The split is by time: the model learns from January to September and is judged on what came after.
January's first week is left out, for its windows reach back before the data begins.
"""

import json
from datetime import date
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits

TRAIN_FROM = date(2013, 1, 8)
TRAIN_UNTIL = date(2013, 10, 1)  # excluded; the days from here on are held out
TARGET = "late30"
CATEGORICAL = ["carrier", "origin"]
NOT_FEATURES = ["flight_id", "day", TARGET]


def build_model() -> Pipeline:
    """Encode the categories, then boost; the seed makes a second training the same."""
    encode = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), CATEGORICAL),
        remainder="passthrough",
    )
    boost = HistGradientBoostingClassifier(
        categorical_features=list(range(len(CATEGORICAL))),
        learning_rate=0.1,
        max_iter=50,
        early_stopping=False,
        random_state=2013,
    )
    return make_pipeline(encode, boost)


def main() -> None:
    features = pd.read_parquet("data/features.parquet")
    train = features[(features["day"] >= TRAIN_FROM) & (features["day"] < TRAIN_UNTIL)]
    held_out = features[features["day"] >= TRAIN_UNTIL]

    model = build_model()
    # Threads add up floating-point numbers in an order of their own; one thread gives the same
    # model on any number of cores.
    threadpool_limits(limits=1)
    model.fit(train.drop(columns=NOT_FEATURES), train[TARGET])

    late = model.predict_proba(held_out.drop(columns=NOT_FEATURES))[:, 1]
    metrics = {
        "rows_trained": len(train),
        "rows_held_out": len(held_out),
        "roc_auc": round(roc_auc_score(held_out[TARGET], late), 4),
        "brier": round(brier_score_loss(held_out[TARGET], late), 4),
    }
    Path("models").mkdir(exist_ok=True)
    joblib.dump(model, "models/late30.joblib")
    Path("models/late30.metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    for name, value in metrics.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
