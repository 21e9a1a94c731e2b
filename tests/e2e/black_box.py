"""Black-box helpers: the command line as a user runs it, on a store of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Shell:
    """Runs `lodeline` commands in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = f"sqlite:///{folder / '.lodeline' / 'lodeline.db'}"
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LODELINE_", "OPENLINEAGE_"))
        }
        self.environment["LODELINE_STORE"] = self.store
        # `python` is the interpreter that runs the tests, in an activated environment or not.
        here = str(Path(sys.executable).parent)
        self.environment["PATH"] = os.pathsep.join([here, self.environment.get("PATH", os.defpath)])

    def run(
        self,
        *words: object,
        stdin: str | bytes | None = None,
        timeout: float = 120,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        data = stdin.encode("utf-8") if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [sys.executable, "-m", "lodeline", *map(str, words)],
            cwd=self.folder,
            env=self.environment | environment,
            input=data,
            stdin=None if data is not None else subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def run_python(self, *words: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def json(self, *words: object, status: int = 0, **options: Any) -> Any:
        done = self.run(*words, "--json", **options)
        assert done.returncode == status, (
            f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return json.loads(done.stdout)

    def import_events(self, *events: dict[str, Any]) -> dict[str, Any]:
        text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
        answer: dict[str, Any] = self.json("import", "-", stdin=text)
        return answer

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


def dataset(name: str, namespace: str = "warehouse", **facets: Any) -> dict[str, Any]:
    return {"namespace": namespace, "name": name, "facets": facets}


_counter = iter(range(1, 10**6))


def event(
    job: str,
    inputs: list[Any] | tuple[Any, ...] = (),
    outputs: list[Any] | tuple[Any, ...] = (),
    *,
    time: str = "2026-03-01T10:00:00Z",
    kind: str = "COMPLETE",
    run: str | None = None,
    namespace: str = "etl",
    run_facets: dict[str, Any] | None = None,
    job_facets: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One RunEvent; datasets may be given by name alone."""
    return {
        "eventType": kind,
        "eventTime": time,
        "producer": "https://example.com/tests",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {
            "runId": run or f"00000000-0000-4000-8000-{next(_counter):012x}",
            "facets": run_facets or {},
        },
        "job": {"namespace": namespace, "name": job, "facets": job_facets or {}},
        "inputs": [dataset(d) if isinstance(d, str) else d for d in inputs],
        "outputs": [dataset(d) if isinstance(d, str) else d for d in outputs],
    }


EventMaker = Callable[..., dict[str, Any]]


def ids(answer: dict[str, Any], *, kind: str | None = None) -> set[str]:
    return {node["id"] for node in answer["nodes"] if kind in {None, node["kind"]}}


def edges(answer: dict[str, Any], *, kind: str = "derives") -> set[tuple[str, str]]:
    return {(e["source"], e["target"]) for e in answer["edges"] if e["kind"] == kind}
