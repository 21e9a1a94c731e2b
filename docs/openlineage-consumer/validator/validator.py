"""Send the suite's scenarios to a Lodeline service, and hold its graph against what is expected.

    python validator.py --url http://127.0.0.1:5633 --scenarios SUITE/consumer/scenarios \
        --consumer . --report report.json

Needs Python's standard library alone. Exits with 1 when a test fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

Details = list[str]


def send(url: str, event: bytes) -> Details:
    """Send one event, and wait until the graph has it; give why it was refused."""
    request = urllib.request.Request(f"{url}/api/v1/lineage?wait=folded", event, method="POST")
    try:
        urllib.request.urlopen(request, timeout=60).close()
    except urllib.error.HTTPError as error:
        body = json.loads(error.read())
        return [f"{error.code} {body['code']} at {body.get('path') or '/'}"]
    return []


def trace(url: str, question: dict[str, Any]) -> list[list[str]]:
    """Give the derivations behind a node, as pairs from upstream to downstream."""
    query = urllib.parse.urlencode({"id": question["id"], "columns": question["columns"]})
    with urllib.request.urlopen(f"{url}/api/v2/trace?{query}", timeout=60) as response:
        answer = json.load(response)
    kinds = {"derives", "trains", "deploys", "predicts"}
    return sorted([e["source"], e["target"]] for e in answer["edges"] if e["kind"] in kinds)


def differences(expected: list[list[str]], found: list[list[str]]) -> Details:
    """Name each derivation that is missing, and each that nobody expects."""
    missing = [f"missing: {a} -> {b}" for a, b in expected if [a, b] not in found]
    return missing + [f"not expected: {a} -> {b}" for a, b in found if [a, b] not in expected]


def validate(url: str, scenarios: Path, consumer: Path) -> list[dict[str, Any]]:
    """Run every scenario that the consumer has an entry for."""
    reports = []
    for entry in sorted((consumer / "scenarios").iterdir()):
        config = json.loads((entry / "config.json").read_text())
        files = sorted((scenarios / entry.name / "events").glob("*.json"))
        answers = {path.name: send(url, path.read_bytes()) for path in files}
        refused = {name: details for name, details in answers.items() if details}
        tests = []
        for one in config["tests"]:
            expected = json.loads((entry / one["path"]).read_text())
            if one["entity"] == "response":
                details = [] if refused == expected else [f"refused {refused}, not {expected}"]
            else:
                details = [
                    line
                    for question in expected
                    for line in differences(question["derivations"], trace(url, question))
                ]
            tests.append(_test(one, details))
        failed = any(test["status"] == "FAILURE" for test in tests)
        status = "FAILURE" if failed else "SUCCESS"
        reports.append({"name": entry.name, "status": status, "tests": tests})
    return reports


def _test(config: dict[str, Any], details: Details) -> dict[str, Any]:
    return {
        "name": config["name"],
        "status": "FAILURE" if details else "SUCCESS",
        "validation_type": "syntax" if config["entity"] == "response" else "semantics",
        "entity_type": config["entity"],
        "details": details,
        "tags": config["tags"],
    }


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description="Check Lodeline as an OpenLineage consumer.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--scenarios", type=Path, required=True)
    parser.add_argument("--consumer", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    scenarios = validate(options.url.rstrip("/"), options.scenarios, options.consumer)
    report = [{"name": "lodeline", "component_type": "consumer", "scenarios": scenarios}]
    text = json.dumps(report, indent=2) + "\n"
    if options.report:
        options.report.write_text(text)
    else:
        sys.stdout.write(text)
    return int(any(one["status"] == "FAILURE" for one in scenarios))


if __name__ == "__main__":
    sys.exit(main())
