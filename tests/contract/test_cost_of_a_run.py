"""What `lodeline run` loads and computes beside a program: counted, for time is the machine's.

And what it leaves to whoever opens the store next, who must find all of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lodeline.cli.main import main
from lodeline.limits import DELIVERY_WAITING_BYTES_MAX, DELIVERY_WAITING_SECONDS_MAX
from lodeline.questions import connect
from lodeline.spool import Spool, iter_pending, open_drain, spool_directory
from lodeline.store import open_segment
from lodeline.transport import count_postponed, drain_into
from lodeline.transport.waiting import may_wait
from observing import SOURCES

RUN = """
import json, sys
from lodeline.cli.main import main
status = main(["run", "--store", sys.argv[1], "--", sys.executable, "program.py"])
print(json.dumps(sorted(sys.modules)))
sys.exit(status)
"""
# A program's data differs from run to run, as its time does.
PROGRAM = "import time; print(f'a,b\\\\n1,{time.time_ns()}', file=open('out.csv', 'w'))\n"


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
    assert list(iter_pending(spool_directory(store_of(tmp_path)))) == []
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


LATER = {"LODELINE_DELIVERY": "later"}
# What only readers of events need, and what takes long to load: a run that leaves its delivery to
# others loads none of it.
NOT_FOR_WAITING = {
    "cryptography",
    "dataclasses",
    "inspect",
    "lodeline.fold",
    "lodeline.ingest",
    "lodeline.store",
    "lodeline.transport.deliverer",
    "msgspec",
    "sqlite3",
}


def test_a_short_run_leaves_delivery_to_whoever_asks_next_where_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, output = store_of(tmp_path), f"dataset:file:{tmp_path / 'out.csv'}"
    modules_of_a_run(tmp_path)
    versions = connect(store=store).ask("show", id=output)["versions_total"]
    assert versions == 1
    for _ in range(2):
        assert sorted(modules_of_a_run(tmp_path, **LATER) & NOT_FOR_WAITING) == []
    assert len(list(iter_pending(spool_directory(store)))) == 2
    # The first of both files is overwritten; its digest was computed in time.
    main(["doctor", "--store", store])
    assert "wait in the spool" not in capsys.readouterr().out
    answer = connect(store=store).ask("show", id=output)
    assert answer["versions_total"] == 3
    assert list(iter_pending(spool_directory(store))) == []
    assert answer["facets"]["lodeline_digest"]["logical"]


def spool_one(directory: Path, size: int) -> Spool:
    spool = Spool(directory)
    spool.append(b"x" * size)
    return spool


@pytest.mark.parametrize(
    ("changed", "waits"),
    [
        ({}, True),
        ({"cpu_seconds": 60.0}, False),
        ({"receiver": "http://127.0.0.1:1"}, False),
        # Another writer's segment is younger than the run: the program's own.
        ({"writer": "another"}, False),
    ],
)
def test_what_may_wait_is_a_short_run_into_a_store_that_stands(
    tmp_path: Path,
    changed: dict[str, object],
    waits: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LODELINE_DELIVERY", "later")
    store, spool = store_of(tmp_path), spool_directory(store_of(tmp_path))
    began = time.time_ns() // 1000
    with open_segment(store, create=True):
        writer = spool_one(spool, 10)
        given = {"receiver": store, "writer": writer.writer, "cpu_seconds": 1.0} | changed
        assert may_wait(directory=spool, started_us=began, **given) is waits  # type: ignore[arg-type]


def test_what_waits_has_bounds_of_bytes_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, spool = store_of(tmp_path), spool_directory(store_of(tmp_path))

    def waits() -> bool:
        now = time.time_ns() // 1000
        return may_wait(store, spool, writer="own", started_us=now, cpu_seconds=0.1)

    assert not waits(), "nobody asked for it"
    monkeypatch.setenv("LODELINE_DELIVERY", "later")
    assert not waits(), "no store is there yet"
    open_segment(store, create=True).close()
    assert waits()
    spool_one(spool, 10).close()
    assert waits()
    (path,) = spool.glob("*.segment")
    hours_ago = time.time_ns() // 1000 - int((DELIVERY_WAITING_SECONDS_MAX + 1) * 1_000_000)
    path = path.rename(spool / f"{hours_ago:016x}{path.name[16:]}")
    assert not waits()
    path.unlink()
    spool_one(spool, DELIVERY_WAITING_BYTES_MAX).close()
    assert not waits()


def test_who_asks_while_another_delivers_gets_the_run_too(tmp_path: Path) -> None:
    modules_of_a_run(tmp_path)
    modules_of_a_run(tmp_path, **LATER)
    store, spool = store_of(tmp_path), spool_directory(store_of(tmp_path))
    with open_drain(spool) as first:
        assert first is not None
        found: list[bool] = []
        second = threading.Thread(target=lambda: found.append(drain_into(store).complete))
        second.start()
    second.join()
    assert found == [True]


def test_doctor_tells_what_waits_by_choice_from_what_could_not_be_delivered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, spool = store_of(tmp_path), spool_directory(store_of(tmp_path))
    open_segment(store, create=True).close()
    event = {"eventType": "START"}
    writer = Spool(spool)
    writer.append(json.dumps({"type": "event", "event": event}).encode())
    writer.close()
    main(["doctor", "--store", store])
    assert "wait in the spool" not in capsys.readouterr().out
    assert drain_into("http://127.0.0.1:9", 0.1, directory=spool).reason
    main(["doctor", "--store", store])
    assert "wait in the spool" in capsys.readouterr().out
