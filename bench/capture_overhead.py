"""What does capture cost the program that it observes?

Question: CPU and wall time of a whole training process with capture on, against the same process
without it, on the demo's own training script (`examples/flights/train.py`); beside it the same
script with all of `lodeline run` (parent and delivery included), a program that does nothing, and
small pandas operations one by one.

Floor: the plain process. Pairs alternate their order; medians of the paired differences, since
the machine's own noise is larger than what is measured. Threads of numerical libraries are fixed
to one in both arms. Byte code is cached in both, as it is on any machine that ran a program twice.

    python bench/capture_overhead.py [--pairs 15] [--data DIR] [--out bench/results/…json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLIGHTS = ROOT / "examples" / "flights"
SOURCES = ROOT / "src"

# What `train.py` imports, without its work: the fixed part of the cost.
IMPORTS = "import joblib, pandas, sklearn.compose, sklearn.ensemble, sklearn.metrics"

OPERATIONS = """
import sys, timeit, json
import pandas as pd
table = pd.read_csv("small.csv")
operations = {
    "column": lambda: table["a"],
    "add": lambda: table["a"] + 1,
    "filter": lambda: table[table["a"] > 1],
    "assign": lambda: table.assign(c=1),
    "head": lambda: table.head(2),
    "copy": lambda: table.copy(),
    "group": lambda: table.groupby("a").sum(),
    "merge": lambda: table.merge(table, on="a"),
}
found = {}
for name, operation in operations.items():
    timer = timeit.Timer(operation)
    number = max(1, int(0.02 / timer.timeit(20) * 20))
    found[name] = min(timer.repeat(9, number)) / number * 1e6
print(json.dumps(found))
"""


def plain_environment(cache: Path) -> dict[str, str]:
    """The environment of both arms."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LODELINE_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**kept, **threads, "PYTHONPATH": str(SOURCES), "PYTHONPYCACHEPREFIX": str(cache)}


def captured_environment(plain: dict[str, str], folder: Path) -> dict[str, str]:
    """What `lodeline run` hands down, so that the program is measured without its parent."""
    sys.path.insert(0, str(SOURCES))
    from lodeline.capture import adapters, process

    entries = adapters.read_entry_points().items()
    bootstrap = Path(process.__file__).parent / "bootstrap"
    return {
        **plain,
        "PYTHONPATH": f"{bootstrap}:{plain['PYTHONPATH']}",
        "LODELINE_AUTOCAPTURE": "1",
        adapters.VARIABLE: ",".join(f"{trigger}={target}" for trigger, target in entries),
        process.JOURNALS: str(folder / "journals"),
        process.RUN: process.new_run_id(),
        process.RUNNER: str(os.getpid()),
        process.JOB: "bench",
    }


def measure(command: list[str], environment: dict[str, str], folder: Path) -> tuple[float, float]:
    """CPU and wall seconds of one process and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall


def compare(
    pairs: int, plain: Callable[[], tuple[float, float]], other: Callable[[], tuple[float, float]]
) -> dict[str, object]:
    """Alternate both arms; medians of the plain arm and of the paired differences."""
    measured = []
    plain(), other()  # both warm: byte code, page cache
    for number in range(pairs):
        if number % 2:
            second, first = other(), plain()
        else:
            first, second = plain(), other()
        measured.append((first, second))
    plain_cpu = statistics.median(first[0] for first, _ in measured)
    plain_wall = statistics.median(first[1] for first, _ in measured)
    cpu = sorted(second[0] - first[0] for first, second in measured)
    wall = sorted(second[1] - first[1] for first, second in measured)
    return {
        "pairs": pairs,
        "plain_cpu_s": round(plain_cpu, 3),
        "plain_wall_s": round(plain_wall, 3),
        "extra_cpu_ms": round(statistics.median(cpu) * 1000, 1),
        "extra_cpu_percent": round(statistics.median(cpu) / plain_cpu * 100, 2),
        "extra_cpu_ms_quartiles": [
            round(cpu[len(cpu) // 4] * 1000, 1),
            round(cpu[len(cpu) * 3 // 4] * 1000, 1),
        ],
        "extra_wall_ms": round(statistics.median(wall) * 1000, 1),
    }


def small_operations(
    plain: dict[str, str], captured: dict[str, str], folder: Path
) -> dict[str, dict[str, float]]:
    """Microseconds of each small operation in both arms; the best of three processes each."""
    (folder / "small.csv").write_text("a,b\n1,1.5\n2,2.5\n3,3.5\n")
    best: list[dict[str, float]] = [{}, {}]
    for _ in range(3):
        for arm, environment in enumerate((plain, captured)):
            done = subprocess.run(
                [sys.executable, "-c", OPERATIONS],
                env=environment,
                cwd=folder,
                check=True,
                capture_output=True,
            )
            for name, value in json.loads(done.stdout).items():
                best[arm][name] = min(value, best[arm].get(name, value))
    return {
        name: {
            "plain_us": round(best[0][name], 2),
            "captured_us": round(best[1][name], 2),
            "ratio": round(best[1][name] / best[0][name], 3),
        }
        for name in best[0]
    }


def prepare_data(folder: Path, given: Path | None) -> None:
    """The demo's features, made by its own scripts unless given."""
    if given is not None:
        (folder / "data").symlink_to(given.resolve())
        return
    for script in ("ingest.py", "clean.py", "features.py"):
        subprocess.run([sys.executable, str(FLIGHTS / script)], cwd=folder, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--data", type=Path, help="an existing data folder of the demo")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_data(folder, arguments.data)
        plain = plain_environment(folder / "cache")
        captured = captured_environment(plain, folder)
        train = [sys.executable, str(FLIGHTS / "train.py")]
        store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
        runner = [sys.executable, "-m", "lodeline.cli.main", "run", "--store", store, "--"]

        def arm(
            command: list[str], environment: dict[str, str]
        ) -> Callable[[], tuple[float, float]]:
            return lambda: measure(command, environment, folder)

        nothing, imports = [sys.executable, "-c", "pass"], [sys.executable, "-c", IMPORTS]
        pairs = arguments.pairs
        result = {
            "question": "what does capture cost the observed program?",
            "command": " ".join(["python", "bench/capture_overhead.py", f"--pairs {pairs}"]),
            "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
            "load_average": os.getloadavg(),
            "nothing": compare(pairs, arm(nothing, plain), arm(nothing, captured)),
            "imports": compare(pairs, arm(imports, plain), arm(imports, captured)),
            "train": compare(pairs, arm(train, plain), arm(train, captured)),
            "train_with_parent_and_delivery": compare(
                max(3, pairs // 3), arm(train, plain), arm(runner + train, plain)
            ),
            "operations": small_operations(plain, captured, folder),
        }
        shutil.rmtree(folder / "cache", ignore_errors=True)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
