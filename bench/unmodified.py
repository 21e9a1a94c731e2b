"""What does capture record of programs that were not written for it?

Question: of programs of ordinary style, run as they are, which files are recorded, what flowed into
which output, which models, and what is told as a gap? `bench/unmodified.toml` names each by
repository, path, commit and digest, with what it does by reading it. The programs are others' and
do not lie here: FOLDER holds a copy of each repository as `OWNER+NAME`; one that is not there, or
is not the same, is skipped and said so. Each runs twice in a copy of its repository: as it is, and
under `lodeline run`.

Floor: the program by itself, whose output, exit status and files must be the same.

    pip install . -r bench/unmodified.txt
    python bench/unmodified.py FOLDER [--interpreter PYTHON] [--only WORD] [--out FILE]
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(__file__).with_suffix(".toml")
# What differs from run to run of the same program: times, and addresses of objects.
_VARYING = re.compile(r"\d+\.\d+ ?s(?:econds)?\b|\d\d:\d\d:\d\d|0x[0-9a-f]{6,}|\d\.\d+ ?ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--interpreter", default=sys.executable)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.folder is None:
        print("skipped: name a folder with the repositories of unmodified.toml", file=sys.stderr)
        return
    found: list[dict[str, Any]] = []
    if arguments.only and arguments.out is not None and arguments.out.exists():
        # The others as they were measured last.
        kept = json.loads(arguments.out.read_text())["programs"]
        found = [one for one in kept if arguments.only not in one["name"]]
    programs = tomllib.loads(PROGRAMS.read_text())["program"]
    for program in programs:
        if arguments.only in program["name"]:
            found.append(measure(program, programs, arguments.folder, arguments.interpreter))
            print(json.dumps(found[-1], indent=1), file=sys.stderr)
    order = [program["name"] for program in programs]
    found = sorted(
        (one for one in found if one["name"] in order), key=lambda o: order.index(o["name"])
    )
    result = {
        "question": "what does capture record of programs that were not written for it?",
        "command": "python bench/unmodified.py FOLDER",
        "programs": found,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


def measure(
    program: dict[str, Any], programs: list[dict[str, Any]], folder: Path, interpreter: str
) -> dict[str, Any]:
    """Run one program as it is and observed, and hold what was captured against what it does."""
    kept = {key: program[key] for key in ("name", "repository", "path", "commit", "sha256")}
    expected = {key: program.get(key, []) for key in ("read", "written", "models", "from", "facts")}
    kept |= {"expected": expected, "beyond": program.get("beyond", "")}
    source = folder / program["repository"].replace("/", "+")
    script = source / program["path"]
    if not script.is_file():
        return {**kept, "skipped": "not there"}
    if hashlib.sha256(script.read_bytes()).hexdigest() != program["sha256"]:
        return {**kept, "skipped": "another version"}
    with tempfile.TemporaryDirectory() as place:
        runs = []
        for name in ("plain", "observed"):
            here = Path(place) / name
            shutil.copytree(source, here, symlinks=True)
            for other in programs:
                if other["name"] == program.get("after"):
                    run(here, other, interpreter, store=None)
            runs.append(run(here, program, interpreter, store=_store(here, name)))
        plain, seen = (Path(place) / name for name in ("plain", "observed"))
        same = {
            "status": runs[0].returncode == runs[1].returncode,
            "output": _stable(runs[0], plain, program) == _stable(runs[1], seen, program),
            "files": files(plain, program) == files(seen, program),
        }
        told = recorded(seen)
        return {**kept, "exit_status": runs[1].returncode, "same": same, **compare(program, told)}


def _store(here: Path, name: str) -> Path | None:
    return here.parent / "store" / "lodeline.db" if name == "observed" else None


def run(
    here: Path, program: dict[str, Any], interpreter: str, *, store: Path | None
) -> subprocess.CompletedProcess[str]:
    """Run a program in its folder; with a store, observed."""
    script = here / program["path"]
    words = [word.format(bin=Path(interpreter).parent) for word in program.get("command", ())]
    words = words or [interpreter, script.name, *program.get("arguments", ())]
    if program.get("apart"):
        # Beside it lie programs with names of modules, such as `csv.py`.
        words.insert(1, "-P")
    if store is not None:
        options = ["--store", f"sqlite:///{store}"]
        words = [sys.executable, "-m", "lodeline", "run", *options, "--", *words]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LODELINE_", "OPENLINEAGE_"))}
    settings = {"PYTHONPATH": str(ROOT / "src"), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    # Sets of words, and threads of polars, have another order in each run of the same program.
    settings |= {"PYTHONHASHSEED": "0", "POLARS_MAX_THREADS": "1"}
    # The programs of a guide are run from the folder of the repository.
    folder = here if "docs/" in program["path"] else script.parent
    words = [str(script) if word == script.name else word for word in words]
    return subprocess.run(
        words,
        cwd=folder,
        env={**kept, **settings, **program.get("environment", {})},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )


def _stable(done: subprocess.CompletedProcess[str], place: Path, program: dict[str, Any]) -> str:
    text = _VARYING.sub("…", done.stdout.replace(str(place), "."))
    # One that draws random numbers without a seed prints other numbers each time.
    return re.sub(r"\d+", "…", text) if program.get("unseeded") else text


def files(place: Path, program: dict[str, Any]) -> dict[str, str]:
    """Digest of each file that a program left, but those that differ from run to run."""
    left = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        varying = any(name.startswith(one) for one in program.get("unequal", ()))
        if path.is_file() and not varying and "__pycache__" not in name:
            # A pickle may hold the path of a temporary folder; partitions have drawn names.
            left[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return left


def recorded(here: Path) -> dict[str, Any]:
    """What the store says: datasets of both sides, flows, models, facts, gaps, completeness."""
    store = f"sqlite:///{_store(here, 'observed')}"
    lodeline = [sys.executable, "-m", "lodeline"]
    kept = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    export = [*lodeline, "export", "--store", store, "--format", "openlineage"]
    done = subprocess.run(export, env=kept, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    inputs = {_named(d, here) for event in events for d in event.get("inputs", ())}
    flows = _flows(events, here)
    root = events[0]["run"]["runId"]
    trace = [*lodeline, "trace", f"run:{root}", "--both", "--json", "--store", store]
    answer = json.loads(
        subprocess.run(trace, env=kept, capture_output=True, text=True, check=True).stdout
    )
    facts = [
        event.get("run", {}).get("facets", {}).get("lodeline_parameters", {}) for event in events
    ]
    own = {
        name
        for fact in facts
        for group in fact.values()
        if isinstance(group, dict)
        for name in group
    }
    return {
        "read": sorted(inputs),
        "written": sorted(flows),
        "flows": flows,
        "facts": sorted(own),
        "gaps": sorted(
            {f"{gap['reason']}: {gap['detail']}".replace(str(here), ".") for gap in answer["gaps"]}
        ),
        "complete": answer["complete"],
    }


def _flows(events: list[dict[str, Any]], here: Path) -> dict[str, Any]:
    """By output what flowed into it, as each run said last; of several runs, all of it."""
    told: dict[tuple[str, str], tuple[set[str], bool]] = {}
    for event in events:
        for dataset in event.get("outputs", ()):
            flow = dataset.get("outputFacets", {}).get("lodeline_observed")
            # A run that makes one thing, such as a dbt model, names its inputs alone.
            sources = event["inputs"] if flow is None else flow["inputs"]
            named = {_named(one, here) for one in sources}
            bound = bool(flow and flow.get("bound"))
            told[_named(dataset, here), event["run"]["runId"]] = named, bound
    flows: dict[str, Any] = {}
    for (name, _), (named, bound) in told.items():
        known = flows.get(name, {"inputs": [], "bound": False})
        inputs = sorted({*known["inputs"], *named})
        flows[name] = {"inputs": inputs, "bound": known["bound"] or bound}
    return flows


def _named(dataset: dict[str, Any], here: Path) -> str:
    namespace, name = dataset["namespace"], str(dataset["name"])
    if "lodeline_model" in dataset.get("facets", {}):
        return f"model {name}"
    if namespace.startswith("duckdb://"):
        return f"duckdb:{name.partition('.')[2]}"
    if "/site-packages/" in name:
        return f"package:{Path(name).name}"
    return os.path.relpath(name, here) if name.startswith(str(here)) else f"{namespace}:{name}"


def compare(program: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Which of what a program does was captured, and what was captured beside it."""
    models = [f"model {name}" for name in program.get("models", ())]
    missed = []
    for side, wanted in (("read", program["read"]), ("written", [*program["written"], *models])):
        # A saved model is told as the model; its file is the model's artifact.
        stems = {name.removeprefix("model ") for name in told[side] if name.startswith("model ")}
        for one in wanted:
            covered = any(_covers(name, one) for name in told[side])
            if not covered and Path(one).stem not in stems:
                missed.append(f"{side}: {one}")
    for output, sources in program.get("from", {}).items():
        flow = told["flows"].get(output, {"inputs": [], "bound": False})
        missed += [f"{output} from {one}" for one in sources if one not in flow["inputs"]]
    held = " ".join((*told["facts"], *told["gaps"]))
    missed += [f"fact: {fact}" for fact in program.get("facts", ()) if fact not in held]
    wanted = {"read": program["read"], "written": [*program["written"], *models]}
    also = {
        side: [n for n in told[side] if not any(_covers(n, one) for one in wanted[side])]
        for side in ("read", "written")
    }
    # What flowed into files that are the tools' own would be most of the result.
    told["flows"] = {n: flow for n, flow in told["flows"].items() if n not in also["written"]}
    return {"missed": missed, "also": also, "captured": told}


def _covers(name: str, wanted: str) -> bool:
    """Whether a dataset is what was wanted, or the folder that holds it."""
    return fnmatch.fnmatch(name, wanted) or fnmatch.fnmatch(wanted, f"{name}/*")


if __name__ == "__main__":
    main()
