"""The HTTP interface under generated requests: answers as described, and no 5xx but 503."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services import Service, event, serving

# Requests that schemathesis makes of each operation, in each of its phases.
EXAMPLES = 4

CONFIG = """
[generation]
# Text that no HTTP library would send in a header or path is not ours to judge.
allow-x00 = false

[phases.coverage]
# One method that a route does not take tells as much as seven.
unexpected-methods = ["DELETE"]

[checks]
# The schema says what a parameter looks like; what it names may still not be there, or not make
# sense beside another: that is 400, 404 or, for an old version of the view, 503.
positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "413", "503"]

# A batch is answered by 200 when events of it were refused, each in the body.
[[operations]]
include-name = "POST /api/v1/lineage/batch"
checks.negative_data_rejection.expected-statuses = ["200", "400", "413", "503"]
"""

# What chooses operations, and the phases that they pass: of Marquez's many routes, which one table
# makes, generated requests; of our own also each bound of each parameter, and each other method.
PARTS = {
    "native": ("--include-path-regex", "coverage,fuzzing"),
    "marquez": ("--exclude-path-regex", "fuzzing"),
}
NATIVE = r"^/(api/v2/|api/openapi|log/|healthz|readyz|metrics|api/v1/lineage)"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("fuzzed") / "s.db") as one:
        for inputs, outputs in (("a", "b"), ("b", "c d")):
            one.post(event(inputs=inputs, outputs=outputs), "/api/v1/lineage?wait=folded")
        yield one
        assert one.send("GET", "/healthz").status == 200
        assert one.send("GET", "/readyz").json["ready"] is True
        assert one.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("part", PARTS)
def test_generated_requests_are_answered_as_the_description_says(
    service: Service, tmp_path: Path, part: str
) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    chosen, phases = PARTS[part]
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "--config-file",
            str(tmp_path / "schemathesis.toml"),
            "run",
            f"{service.url}/api/openapi.json",
            chosen,
            NATIVE,
            # A stream has no end.
            "--exclude-path",
            "/api/v2/events",
            f"--phases={phases}",
            f"--max-examples={EXAMPLES}",
            "--request-timeout=30",
            "--seed=1",
            "--no-color",
        ],
        cwd=tmp_path,
        env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path / "examples")},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_the_description_that_is_fuzzed_has_every_question(service: Service) -> None:
    document = service.send("GET", "/api/openapi.json").json
    assert len(document["paths"]) > 25, json.dumps(list(document["paths"]))
