"""Check a change before it is merged, and record the build that checked it.

Given recorded events, or a program to run under capture after `--`: do the changed jobs still emit
valid events, and does any column they no longer write so have readers in the record? The build
(commit, pipeline, image, tests) is recorded as a run. Exit status 0 fine, 1 something breaks, 3
could not tell.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lodeline.cli.answers import connect, print_json
from lodeline.cli.ci_checks import Checked, Finding, check_written, read_events
from lodeline.cli.import_ import iter_events
from lodeline.errors import UsageError
from lodeline.settings import find_setting, receiver_url, store_url

_VERDICTS: Final = {0: "ok", 1: "broken", 3: "unknown"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options; a program to run follows `--`."""
    parser.usage = "lodeline ci [options] [-- CMD…]"
    many: dict[str, Any] = {"action": "append", "default": []}
    help_ = "events that the changed jobs emitted: a file or folder, as `import` takes them"
    parser.add_argument("--events", metavar="FILE", help=help_, **many)
    help_ = "a path here, and what the record calls it"
    parser.add_argument("--map", metavar="HERE=THERE", help=help_, **many)
    parser.add_argument("--junit", metavar="FILE", help="a JUnit XML report of tests", **many)
    help_ = "digest of the container image, or a reference that ends with it"
    parser.add_argument("--image", metavar="DIGEST", help=help_)
    help_ = "the commit; by default what the build says, else git"
    parser.add_argument("--commit", metavar="SHA", help=help_)
    help_ = "a deployment that this build goes to"
    parser.add_argument("--deployment", metavar="ID", help=help_, **many)
    help_ = "name of the job that the build is a run of (ci)"
    parser.add_argument("--job", metavar="NAME", default="ci", help=help_)
    parser.add_argument("--namespace", metavar="NS", help="namespace of that job")
    parser.add_argument("--no-record", action="store_true", help="check only")
    help_ = "append a summary in Markdown; by default GITHUB_STEP_SUMMARY"
    parser.add_argument("--summary", metavar="FILE", help=help_)
    help_ = "write LODELINE_BUILD=…, for the image that is built"
    parser.add_argument("--build-file", metavar="FILE", help=help_)
    help_ = "a program to run under capture"
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD…", help=help_)


def execute(arguments: argparse.Namespace) -> int:
    """Check, record, print."""
    from lodeline.capture.builds import describe_build

    build = describe_build(
        Path.cwd(),
        image=arguments.image,
        commit=arguments.commit,
        reports=[Path(name) for name in arguments.junit],
    )
    checked = _check(arguments)
    tests = build.facet.get("tests")
    if tests and (tests["failed"] or tests["errors"]):
        detail = f"{tests['failed'] + tests['errors']} of {tests['total']} tests failed"
        checked.findings.append(Finding("error", "tests", detail))
    severities = {finding.severity for finding in checked.findings}
    status = 1 if "error" in severities else 3 if "unknown" in severities else 0
    build.facet["verdict"] = _VERDICTS[status]
    if arguments.deployment:
        build.facet["deployments"] = list(arguments.deployment)
    run, recorded = ("", False) if arguments.no_record else _record(arguments, build, status)
    if arguments.build_file:
        text = build.text + (f" run={run}" if run else "")
        Path(arguments.build_file).write_text(f"LODELINE_BUILD={text}\n", encoding="utf-8")
    answer = {
        "ok": {0: True, 1: False, 3: None}[status],
        "build": build.facet,
        "run": f"run:{run}" if run else None,
        "recorded": recorded,
        "events": checked.valid,
        "jobs": sorted(checked.jobs),
        "datasets": sorted(checked.written),
        "findings": [finding.to_json() for finding in checked.findings],
    }
    _tell(arguments, answer)
    return status


def _check(arguments: argparse.Namespace) -> Checked:
    checked = Checked()
    names = _names(arguments.map)
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if arguments.events:
        read_events(iter_events(arguments.events), names, checked)
    if words:
        _run(list(words), arguments, names, checked)
    if (arguments.events or words) and not checked.valid and not checked.findings:
        checked.findings.append(Finding("error", "no_events", "no event was emitted"))
    if checked.written or checked.jobs:
        check_written(connect(arguments), checked)
    return checked


def _names(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        here, equals, there = pair.partition("=")
        if not (here and equals and there):
            raise UsageError(f"--map {pair}: write HERE=THERE")
        found[str(Path(here).absolute())] = there
    return found


def _run(
    words: list[str], arguments: argparse.Namespace, names: dict[str, str], checked: Checked
) -> None:
    """Run a program under capture, with a store of its own, and read what it emitted."""
    from lodeline.capture.runner import RunOptions, run_observed
    from lodeline.spool import spool_directory
    from lodeline.store import open_segment

    with tempfile.TemporaryDirectory(prefix="lodeline-ci-") as folder:
        url = f"sqlite:///{folder}/lodeline.db"
        namespace = find_setting("namespace", argument=arguments.namespace) or "default"
        result = run_observed(words, RunOptions(url, spool_directory(url), namespace=namespace))
        if result.status:
            detail = f"{words[0]} ended with status {result.status}"
            checked.findings.append(Finding("error", "failed", detail))
        for line in result.trouble:
            checked.findings.append(Finding("unknown", "capture", line))
        if not Path(f"{folder}/lodeline.db").exists():
            return
        segment = open_segment(url, create=False)
        try:
            entries = segment.iter_entries(kinds=("event",))
            raws = [(entry.payload, f"event {n}") for n, entry in enumerate(entries, 1)]
            read_events([(raw, at) for raw, at in raws if raw is not None], names, checked)
        finally:
            segment.close()


def _record(arguments: argparse.Namespace, build: Any, status: int) -> tuple[str, bool]:
    """Record the build as a run; its UUID, and whether it was delivered."""
    import json

    from lodeline.capture.actor import describe_agents
    from lodeline.capture.drafts import SCHEMA_URL, stamp
    from lodeline.capture.process import new_run_id
    from lodeline.model import format_time
    from lodeline.spool import Spool, spool_directory
    from lodeline.transport import drain_into
    from lodeline.wire.facets.addresses import PRODUCER

    directory = spool_directory(store_url(arguments.store))
    facets = {"lodeline_build": build.facet}
    if build.code:
        facets["lodeline_code"] = build.code
    facets["lodeline_agent"] = {"agents": describe_agents(directory / "actors", os.environ)}
    job_facets: dict[str, Any] = {}
    if build.location is not None:
        job_facets["sourceCodeLocation"] = build.location
    run = new_run_id()
    event: dict[str, Any] = {
        "eventType": "FAIL" if status == 1 else "COMPLETE",
        "eventTime": format_time(time.time_ns() // 1000),
        "producer": PRODUCER,
        "schemaURL": SCHEMA_URL,
        "run": {"runId": run, "facets": {n: stamp("run", n, f) for n, f in facets.items()}},
        "job": {
            "namespace": find_setting("namespace", argument=arguments.namespace) or "default",
            "name": arguments.job,
            "facets": {n: stamp("job", n, f) for n, f in job_facets.items()},
        },
        "inputs": [],
        "outputs": [],
    }
    spool = Spool(directory)
    spool.append(json.dumps({"type": "event", "event": event}).encode())
    spool.close()
    target = receiver_url(store=arguments.store, server=arguments.server)
    return run, drain_into(target, None, directory=directory).complete


def _tell(arguments: argparse.Namespace, answer: dict[str, Any]) -> None:
    if arguments.json:
        print_json(answer)
    else:
        for line in _lines(answer):
            print(line)
        if os.environ.get("GITHUB_ACTIONS") == "true":
            for finding in answer["findings"]:
                print(annotation(finding))
    summary = arguments.summary or os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(render_summary(answer))


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    verdict = {True: "ok", False: "broken", None: "could not tell"}[answer["ok"]]
    commit = answer["build"].get("commit", "no commit")
    yield f"{verdict}: {answer['events']} events, {len(answer['datasets'])} datasets, {commit}"
    for finding in answer["findings"]:
        yield f"  {finding['severity']}: {finding['detail']}"
        if finding["affected"]:
            yield f"    affects {', '.join(finding['affected'])}"
        if finding["owners"]:
            yield f"    owners: {', '.join(finding['owners'])}"
    if answer["run"]:
        yield f"  recorded as {answer['run']}" + (
            "" if answer["recorded"] else ", not delivered yet"
        )


def annotation(finding: dict[str, Any]) -> str:
    """Write a finding as a workflow command of GitHub Actions."""
    kind = {"error": "error", "unknown": "warning", "note": "notice"}[finding["severity"]]
    properties = {"file": finding["file"], "title": f"lodeline: {finding['what']}"}
    listed = ",".join(f"{n}={_escaped(v, ':,')}" for n, v in properties.items() if v)
    owners = f" (owners: {', '.join(finding['owners'])})" if finding["owners"] else ""
    return f"::{kind} {listed}::{_escaped(finding['detail'] + owners)}"


def _escaped(text: str, further: str = "") -> str:
    for letter in "%\r\n" + further:
        text = text.replace(letter, f"%{ord(letter):02X}")
    return text


def render_summary(answer: dict[str, Any]) -> str:
    """Write the answer in Markdown."""
    verdict = {True: "ok", False: "broken", None: "could not tell"}[answer["ok"]]
    lines = [f"### Lineage: {verdict}", ""]
    build = answer["build"]
    facts = [
        f"{name} `{build[name]}`"
        for name in ("commit", "image", "instrumentation")
        if name in build
    ]
    lines += [
        f"{answer['events']} events, {len(answer['datasets'])} datasets; {', '.join(facts)}",
        "",
    ]
    if answer["findings"]:
        lines += ["| | What | Affected | Owners |", "|---|---|---|---|"]
    for finding in answer["findings"]:
        cells = [
            finding["severity"],
            finding["detail"],
            "<br>".join(f"`{one}`" for one in finding["affected"][:20]),
            ", ".join(finding["owners"]),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n\n"
