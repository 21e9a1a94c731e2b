"""What capture sends is what the published schemas say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from lodeline import wire
from lodeline.wire import facets
from lodeline.wire.facets import Scope

# The package under test, from any working directory.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(wire.__file__).parents[2])}
SCRIPT = """
import joblib
import pandas
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

table = pandas.read_csv("table.csv")
table.head().to_csv("head.csv", index=False)
kept, held, target, rest = train_test_split(table[["a"]], table["b"], random_state=1)
model = LogisticRegression().fit(kept, target)
model.score(held, rest)
joblib.dump(model, "model.joblib")
"""


def facets_of(event: Any) -> Iterator[tuple[Scope, str, msgspec.Raw]]:
    holders: list[tuple[Scope, Any]] = []
    if isinstance(event, wire.RunEvent):
        holders += [("run", event.run.facets), ("job", event.job.facets)]
        for used in event.inputs:
            holders += [("dataset", used.facets), ("input", used.input_facets)]
        for made in event.outputs:
            holders += [("dataset", made.facets), ("output", made.output_facets)]
    for scope, members in holders:
        for name, raw in members.items():
            yield scope, name, raw


def test_every_captured_facet_is_known_and_has_no_member_that_its_schema_lacks(
    tmp_path: Path,
) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    rows = "".join(f"{i},{i % 2}\n" for i in range(100))
    (tmp_path / "table.csv").write_text("a,b\n" + rows)

    def lodeline(*words: str) -> bytes:
        command = [sys.executable, "-m", "lodeline", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE
        ).stdout

    store = ("--store", f"sqlite:///{tmp_path}/store.db")
    lodeline("run", "--rows", *store, "--", sys.executable, "train.py")
    events = [wire.decode_event(line) for line in lodeline("export", *store).splitlines()]
    assert events
    seen = set()
    for event in events:
        for scope, name, raw in facets_of(event):
            seen.add(name)
            typed = facets.decode(scope, name, raw)
            assert typed is not None, (name, facets.fault(scope, name, raw))
            body = json.loads(bytes(raw))
            known = {field.encode_name for field in msgspec.structs.fields(type(typed))}
            assert body.keys() <= known, name
            assert body["_schemaURL"] == typed.facet_schema_url
    assert seen >= {
        "lodeline_agent",
        "lodeline_capture",
        "lodeline_code",
        "lodeline_digest",
        "lodeline_environment",
        "lodeline_features",
        "lodeline_model",
        "lodeline_observed",
        "lodeline_parameters",
        "lodeline_sampling",
    }
