"""Feast: definitions, materialisation and both kinds of reads, with its file and SQLite stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from frameworks import interpreter_of
from observing import python, run_plain

CONFIGURATION = """project: shop
registry: registry.db
provider: local
online_store: {type: sqlite, path: online.db}
entity_key_serialization_version: 3
"""
PROGRAM = (
    "import warnings; warnings.simplefilter('ignore')\n"
    "from datetime import datetime, timedelta, timezone\n"
    "import pandas as pd\n"
    "from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType\n"
    "from feast.types import Float32, Int64\n"
    "noon = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)\n"
    "customer = Entity(name='customer', join_keys=['customer_id'], value_type=ValueType.INT64)\n"
    "source = FileSource(name='visits', path='visits.parquet', timestamp_field='at')\n"
    "view = FeatureView(name='customer_stats', entities=[customer], ttl=timedelta(days=9),\n"
    "    schema=[Field(name='visits', dtype=Int64), Field(name='spent', dtype=Float32)],\n"
    "    source=source, online=True)\n"
    "store = FeatureStore(repo_path='.')\n"
    "store.apply([customer, source, view])\n"
    "store.materialize(noon - timedelta(days=1), noon + timedelta(days=1))\n"
    "wanted = ['customer_stats:visits', 'customer_stats:spent']\n"
    "rows = pd.read_csv('labels.csv'); pd.read_csv('other.csv')\n"
    "rows['event_timestamp'] = noon + timedelta(hours=1)\n"
    "training = store.get_historical_features(entity_df=rows, features=wanted).to_df()\n"
    "training.drop(columns='event_timestamp').to_csv('training.csv', index=False)\n"
    "found = store.get_online_features(wanted, [{'customer_id': 1}, {'customer_id': 2}])\n"
    "found.to_df().to_csv('online.csv', index=False)\n"
    "print(sorted(training.columns), found.to_dict()['visits'])\n"
)


@pytest.mark.slow
def test_features_lead_from_what_read_them_to_the_source_of_their_view(tmp_path: Path) -> None:
    interpreter = interpreter_of("feast")
    (tmp_path / "feature_store.yaml").write_text(CONFIGURATION)
    (tmp_path / "labels.csv").write_text("customer_id,late\n1,0\n2,1\n")
    (tmp_path / "other.csv").write_text("a\n1\n")
    (tmp_path / "script.py").write_text(
        "import pandas as pd\n"
        "times = pd.to_datetime(['2026-01-01T12:00:00Z'] * 2)\n"
        "table = {'customer_id': [1, 2], 'visits': [3, 4], 'spent': [1.5, 2.5], 'at': times}\n"
        "pd.DataFrame(table).to_parquet('visits.parquet')\n"
    )
    assert run_plain(tmp_path, interpreter, "script.py").status == 0
    seen = python(tmp_path, PROGRAM, interpreter, FEAST_USAGE="False")
    assert seen.status == 0, seen.stderr
    columns = ["customer_id", "event_timestamp", "late", "spent", "visits"]
    assert seen.stdout.splitlines()[-1] == f"{columns} [3, 4]"
    assert seen.flowed("customer_stats") == {"visits.parquet"}
    view = seen.output("customer_stats")
    assert view["namespace"] == "feast://shop"
    told = view["facets"]["lodeline_features"]
    assert told["entityKeys"] == ["customer_id"]
    assert {one["name"]: one["type"] for one in told["features"]} == {
        "visits": "Int64",
        "spent": "Float32",
    }
    assert all(one["digest"].startswith("sha256:") for one in told["features"])
    assert seen.flowed("training.csv") == {"labels.csv", "customer_stats", "visits.parquet"}
    assert seen.flowed("online.csv") == {"customer_stats"}
    assert not any(d["name"].endswith(".db") for e in seen.events for d in e["inputs"])
