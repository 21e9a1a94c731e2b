"""What does capture cost the program that it observes?

Question: CPU and wall time of a whole training process with capture on, against the same process
without it, on the demo's own training script (`examples/flights/train.py`); beside it each
program with all of `lodeline run` (parent included, which leaves delivery to whoever asks; and for
a program that does nothing, with that delivery at its end), what such a delivery takes later, and
small pandas operations one by one.

Floor: the plain process. Arms take turns, in alternating order; medians of the paired differences,
since the machine's own noise is larger than what is measured. Threads of numerical libraries are
fixed to one in all arms. Byte code is cached in all, as on any machine that ran a program twice.

Five real programs: the demo's training; a pandas ETL; a polars ETL; a dbt project on DuckDB; an
epoch of PyTorch. Beside them peers where they apply: MLflow's autolog in the training, and the
OpenLineage client telling one run. What needs other packages is run by the interpreter of an
environment that is given, and skipped, by name, where none is:

    python bench/capture_overhead.py [--pairs 15] [--data DIR] [--out bench/results/…json]
        [--dbt .venv-dbt/bin/python] [--torch .venv-torch/bin/python]
        [--mlflow .venv-mlflow/bin/python] [--openlineage .venv/bin/python]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
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

# No program takes longer on a busy machine; one that does is told by name instead of hanging.
PROGRAM_SECONDS_MAX = 300

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
    from lodeline.capture import adapters, privacy, process

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
        # No rules, as the parent hands down: without it the program looks for settings.
        privacy.RULES: "",
    }


def measure(command: list[str], environment: dict[str, str], folder: Path) -> tuple[float, float]:
    """CPU and wall seconds of one process and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command,
        env=environment,
        cwd=folder,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=PROGRAM_SECONDS_MAX,
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall


Measured = tuple[float, float]
Arm = Callable[[], Measured]


def compare(pairs: int, plain: Arm, others: dict[str, Arm]) -> dict[str, object]:
    """Measure arms in turns, so that each is paired with the plain one; one result for each."""
    arms = [plain, *others.values()]
    for arm in arms:
        arm()  # all warm: byte code, page cache, a store that stands
    rounds: list[list[Measured]] = []
    for number in range(pairs):
        order = list(range(len(arms)))
        measured = {at: arms[at]() for at in (reversed(order) if number % 2 else order)}
        rounds.append([measured[at] for at in order])
        seen = ", ".join(f"{cpu:.2f}" for cpu, _ in rounds[-1])
        told = f"{number + 1} of {pairs}: {seen} s CPU of plain, {', '.join(others)}"
        print(told, file=sys.stderr, flush=True)
    return {
        name: summarise([(one[0], one[at]) for one in rounds])
        for at, name in enumerate(others, start=1)
    }


def summarise(measured: list[tuple[Measured, Measured]]) -> dict[str, object]:
    """Medians of the plain arm and of the paired differences."""
    plain_cpu = statistics.median(first[0] for first, _ in measured)
    plain_wall = statistics.median(first[1] for first, _ in measured)
    cpu = sorted(second[0] - first[0] for first, second in measured)
    wall = sorted(second[1] - first[1] for first, second in measured)
    return {
        "pairs": len(measured),
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


def runner_of(folder: Path, name: str) -> list[str]:
    """`lodeline run` into a store of its own, with the interpreter that runs this."""
    store = f"sqlite:///{folder / f'store of {name}' / 'lodeline.db'}"
    return [sys.executable, "-m", "lodeline.cli.main", "run", "--store", store, "--"]


def both_ways(
    name: str, command: list[str], plain: dict[str, str], captured: dict[str, str], folder: Path
) -> dict[str, Arm]:
    """A program observed alone, and by all of `lodeline run`."""
    runner = runner_of(folder, name)
    return {
        name: lambda: measure(command, captured, folder),
        f"{name}_with_runner": lambda: measure(runner + command, plain, folder),
    }


def delivery_later(folder: Path, plain: dict[str, str], runs: int = 10) -> dict[str, object]:
    """What the first question after some runs pays for delivering them, beside one after none."""
    runner = runner_of(folder, "later")
    flush = [*runner[:3], "flush", "--store", runner[5]]
    nothing = [sys.executable, "-c", "pass"]
    measure(runner + nothing, plain, folder)
    measure(flush, plain, folder)
    for _ in range(runs):
        measure(runner + nothing, plain, folder)
    first, second = measure(flush, plain, folder)[0], measure(flush, plain, folder)[0]
    return {
        "runs": runs,
        "flush_cpu_s": round(first, 3),
        "flush_of_nothing_cpu_s": round(second, 3),
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


PANDAS_ETL = """
import pandas as pd
flights = pd.read_csv("flights.csv")
carriers = pd.read_csv("carriers.csv")
flights = flights[flights.delay.notna()].merge(carriers, on="carrier")
flights["late"] = flights.delay > 15
flights["hour"] = flights.minute // 60
for key in ("carrier", "hour", "name"):
    flights.groupby(key).agg(late=("late", "mean"), n=("late", "size")).to_csv(f"by_{key}.csv")
flights.sort_values("delay").to_parquet("flights.parquet")
"""
POLARS_ETL = """
import polars as pl
flights = pl.scan_csv("flights.csv").join(pl.scan_csv("carriers.csv"), on="carrier")
flights = flights.with_columns(late=pl.col("delay") > 15, hour=pl.col("minute") // 60)
for key in ("carrier", "hour", "name"):
    flights.group_by(key).agg(pl.col("late").mean(), pl.len()).collect().write_csv(f"p_{key}.csv")
flights.collect().sort("delay").write_parquet("p_flights.parquet")
"""
TORCH_EPOCH = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0); torch.set_num_threads(1)
rows = [line.split(",") for line in open("flights.csv").read().splitlines()[1:20001]]
x = torch.tensor([[float(r[1]), float(r[2])] for r in rows]) / 1000
y = (x[:, 1:] > 0.015).float()
model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters())
for a, b in DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True):
    optimizer.zero_grad()
    nn.functional.binary_cross_entropy_with_logits(model(a), b).backward()
    optimizer.step()
torch.save(model.state_dict(), "model.pt")
"""
FIT = """
{before}
import pandas as pd
from sklearn.linear_model import LogisticRegression
flights = pd.read_csv("flights.csv").dropna()
LogisticRegression(max_iter=200).fit(flights[["minute", "delay"]], flights.delay > 15)
"""
MLFLOW = 'import mlflow; mlflow.set_tracking_uri("sqlite:///mlflow.db"); mlflow.autolog()'
OPENLINEAGE = """
from datetime import datetime, timezone
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.uuid import generate_new_uuid
client = OpenLineageClient(config={"transport": {
    "type": "file", "log_file_path": "openlineage.json", "append": True}})
run, job = Run(str(generate_new_uuid())), Job("bench", "etl")
for state in (RunState.START, RunState.COMPLETE):
    client.emit(RunEvent(eventType=state, eventTime=datetime.now(timezone.utc).isoformat(),
        run=run, job=job, producer="https://example.org",
        inputs=[InputDataset("file", "flights.csv")], outputs=[OutputDataset("file", "out")]))
"""


def prepare_tables(folder: Path) -> None:
    """Tables of the ETL programs and of the dbt project, from one seed."""
    chance = random.Random(20261127)
    with (folder / "flights.csv").open("w") as file:
        file.write("carrier,minute,delay\n")
        for _ in range(200_000):
            delay = round(chance.gauss(8, 30), 1)
            file.write(f"{chance.choice('ABCDE')},{chance.randrange(1440)},{delay}\n")
    names = "\n".join(f"{letter},Carrier {letter}" for letter in "ABCDE")
    (folder / "carriers.csv").write_text(f"carrier,name\n{names}\n")
    project = folder / "project"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text(
        "name: bench\nversion: '1.0.0'\nprofile: bench\nmodel-paths: [models]\n"
    )
    (project / "profiles.yml").write_text(
        "bench:\n  target: dev\n  outputs:\n    dev: {type: duckdb, path: bench.duckdb}\n"
    )
    (project / "models" / "flights.sql").write_text(
        f"{{{{ config(materialized='table') }}}} select * from '{folder}/flights.csv'"
    )
    (project / "models" / "late.sql").write_text(
        "{{ config(materialized='table') }} select carrier, avg((delay > 15)::int) late "
        "from {{ ref('flights') }} group by 1"
    )


def real_programs(
    given: argparse.Namespace, folder: Path, plain: dict[str, str], captured: dict[str, str]
) -> dict[str, object]:
    """The five programs but the demo's training, each against itself under capture."""
    dbt = ["-c", "from dbt.cli.main import cli; cli()", "run", "--quiet", "--no-use-colors"]
    dbt += ["--project-dir", "project", "--profiles-dir", "project"]
    programs: dict[str, tuple[Path | None, list[str]]] = {
        "pandas_etl": (Path(sys.executable), ["-c", PANDAS_ETL]),
        "polars_etl": (Path(sys.executable), ["-c", POLARS_ETL]),
        "dbt_duckdb": (given.dbt, dbt),
        "torch_epoch": (given.torch, ["-c", TORCH_EPOCH]),
    }
    found: dict[str, object] = {}
    for name, (interpreter, words) in programs.items():
        if interpreter is None or not interpreter.exists():
            found[name] = "skipped: no environment given that has it"
            continue
        command = [str(interpreter), *words]
        found |= compare(
            given.pairs,
            lambda command=command: measure(command, plain, folder),  # type: ignore[misc]
            both_ways(name, command, plain, captured, folder),
        )
    return found


def peers(
    given: argparse.Namespace, folder: Path, plain: dict[str, str], captured: dict[str, str]
) -> dict[str, object]:
    """What others add to the same fit: MLflow's autolog, the OpenLineage client; and ourselves."""
    arms = {
        "mlflow_autolog": (given.mlflow, MLFLOW),
        "openlineage": (given.openlineage, OPENLINEAGE),
    }
    found: dict[str, object] = {}
    for name, (interpreter, before) in arms.items():
        if interpreter is None or not interpreter.exists():
            found[name] = "skipped: no environment given that has it"
            continue
        bare = [str(interpreter), "-c", FIT.format(before="")]
        theirs = [str(interpreter), "-c", FIT.format(before=before)]
        found |= compare(
            given.pairs,
            lambda bare=bare: measure(bare, plain, folder),  # type: ignore[misc]
            {
                name: lambda theirs=theirs: measure(theirs, plain, folder),  # type: ignore[misc]
                f"lodeline_in_the_environment_of_{name}": (
                    lambda bare=bare: measure(bare, captured, folder)  # type: ignore[misc]
                ),
            },
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--data", type=Path, help="an existing data folder of the demo")
    for name in ("dbt", "torch", "mlflow", "openlineage"):
        parser.add_argument(f"--{name}", type=Path, help="Python of an environment that has it")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    for name in ("dbt", "torch", "mlflow", "openlineage"):
        given = getattr(arguments, name)
        # Not resolved: the link in an environment is what makes it that environment.
        setattr(arguments, name, None if given is None else Path(os.path.abspath(given)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_data(folder, arguments.data)
        prepare_tables(folder)
        plain = plain_environment(folder / "cache")
        captured = captured_environment(plain, folder)
        train = [sys.executable, str(FLIGHTS / "train.py")]

        def arm(command: list[str], environment: dict[str, str]) -> Arm:
            return lambda: measure(command, environment, folder)

        nothing, imports = [sys.executable, "-c", "pass"], [sys.executable, "-c", IMPORTS]
        later = {**plain, "LODELINE_DELIVERY": "later"}
        pairs = arguments.pairs
        result = {
            "question": "what does capture cost the observed program?",
            "command": " ".join(["python", "bench/capture_overhead.py", f"--pairs {pairs}"]),
            "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
            "load_average": os.getloadavg(),
            **compare(
                pairs,
                arm(nothing, plain),
                {
                    **both_ways("nothing", nothing, plain, captured, folder),
                    "nothing_with_runner_that_delivers_later": arm(
                        runner_of(folder, "later") + nothing, later
                    ),
                },
            ),
            **compare(pairs, arm(imports, plain), {"imports": arm(imports, captured)}),
            **compare(pairs, arm(train, plain), both_ways("train", train, plain, captured, folder)),
            **real_programs(arguments, folder, plain, captured),
            "delivery_later": delivery_later(folder, plain),
            "peers": peers(arguments, folder, plain, captured),
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
