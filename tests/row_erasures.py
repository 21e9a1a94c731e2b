"""Stores with predictions about people and links of rows, for tests of their erasure."""

from __future__ import annotations

import json
from typing import Any

from lodeline.ingest.predictions import accept_predictions
from lodeline.model import PredictionId
from lodeline.store import SqlSegment

SUBJECT = "alice-4f1b@example.com"
OTHER = "bob-77aa@example.com"
BLOCK = 0x12345678AB
START = 1_700_000_000_000_000


def identifier(counter: int) -> str:
    return str(PredictionId((START + counter * 1000) * 4096 // 1000, BLOCK, counter))


def record_predictions(segment: SqlSegment) -> None:
    """Record four: two about the subject, one about another, one that mentions the subject."""
    about = [SUBJECT, OTHER, SUBJECT, f"in copy to {SUBJECT}, twice"]
    rows: list[dict[str, Any]] = [
        {
            "id": identifier(counter),
            "status": 200,
            "features": {"customer": who, "amount": 40 + counter},
            "output": counter / 7,
        }
        for counter, who in enumerate(about)
    ]
    block = f"{BLOCK:010x}"
    deployment = {"namespace": "prod", "name": "churn-api", "digest": "sha256:" + "d" * 64}
    model = {"namespace": "ml", "name": "churn", "version": "sha256:" + "e" * 64}
    reservation = {
        "type": "reservation",
        "block": block,
        "time": START,
        "writer": "w",
        "deployment": deployment,
        "model": model,
    }
    records = [reservation, {"type": "predictions", "block": block, "rows": rows}]
    assert accept_predictions(segment, records) == [None, None]


def texts_of(segment: SqlSegment) -> str:
    """Everything that the predictions of a store still say, in one text."""
    from lodeline.ingest.predictions import iter_predictions

    return json.dumps([record for _, record in iter_predictions(segment)])
