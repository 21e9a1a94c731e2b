"""What `lodeline run` loads and computes beside a program: counted, for time is the machine's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from lodeline.spool import spool_directory
from lodeline.store import open_segment
from lodeline.transport import count_postponed
from observing import SOURCES

RUN = """
import json, sys
from lodeline.cli.main import main
status = main(["run", "--store", sys.argv[1], "--", sys.executable, "program.py"])
print(json.dumps(sorted(sys.modules)))
sys.exit(status)
"""
PROGRAM = "open('out.csv', 'w').write('a,b\\\\n1,x\\\\n')\n"


def modules_of_a_run(folder: Path, **variables: str) -> set[str]:
    """Run the program under `lodeline run`; the modules of the parent at its end."""
    (folder / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-c", RUN, store_of(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCES), **variables},
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(json.loads(done.stdout.splitlines()[-1]))


def store_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'lodeline.db'}"


# What no small run needs: readers of tables, SQL, networks, threads of pools, answers of the graph.
HEAVY = {
    "asyncio",
    "concurrent.futures",
    "duckdb",
    "http.client",
    "logging",
    "lodeline.fold.answer",
    "lodeline.ingest.graph_reading",
    "lodeline.ingest.predictions",
    "lodeline.query",
    "lodeline.rows",
    "numpy",
    "pandas",
    "pyarrow",
    "shutil",
    "sqlglot",
    "ssl",
    "tempfile",
}


def test_a_run_loads_only_what_delivering_an_event_takes(tmp_path: Path) -> None:
    modules = modules_of_a_run(tmp_path)
    assert sorted(modules & HEAVY) == []
    assert count_postponed(spool_directory(store_of(tmp_path))) == 1
    segment = open_segment(store_of(tmp_path))
    told = [json.loads(e.payload or b"") for e in segment.iter_entries(kinds={"event"})]
    segment.close()
    (output,) = told[-1]["outputs"]
    assert output["facets"]["lodeline_digest"]["value"]


def test_a_run_computes_logical_digests_at_once_where_it_is_told_to(tmp_path: Path) -> None:
    modules = modules_of_a_run(tmp_path, LODELINE_LOGICAL_DIGESTS="now")
    assert {"numpy", "pyarrow"} <= modules
    assert count_postponed(spool_directory(store_of(tmp_path))) == 0
