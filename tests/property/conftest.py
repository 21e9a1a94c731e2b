"""Events of real producers, as recorded."""

import json
from pathlib import Path

import pytest

EVENTS = Path(__file__).parents[1] / "fixtures" / "events"


@pytest.fixture(scope="session")
def real_events() -> list[bytes]:
    """The events of Airflow, dbt and Dagster, unwrapped, in the order of their files."""
    found = []
    for path in sorted(EVENTS.glob("**/*.jsonl")):
        for line in path.read_text().splitlines():
            event = json.loads(line)
            if "body" in event and "path" in event:
                event = event["body"]
            found.append(json.dumps(event).encode())
    if not found:
        pytest.skip(f"no recorded events at {EVENTS}")
    return found
