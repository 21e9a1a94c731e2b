"""Runs the benchmarks and writes docs/benchmarks.md from their results.

Each benchmark is a script beside this one that takes `--out FILE` and writes one JSON object there:
`question`, `command`, `workload`, `machine`, and its findings.

    python bench/run.py [--only NAME] [--report]
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parent
ROOT = BENCH.parent
RESULTS = BENCH / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
NOTE = "<!-- Made by `make bench` from the files in `bench/results/`. -->"
FIRST = ("question", "command", "benchmark")


def scripts() -> list[Path]:
    """The benchmarks, by name."""
    return sorted(path for path in BENCH.glob("*.py") if path.name != Path(__file__).name)


def run(only: str | None) -> int:
    """Run them one after the other; the number that failed."""
    failed = 0
    RESULTS.mkdir(exist_ok=True)
    for script in scripts():
        if only is not None and script.stem != only:
            continue
        print(f"== {script.name}", flush=True)
        out = RESULTS / f"{script.stem}.json"
        done = subprocess.run(
            [sys.executable, str(script), "--out", str(out)], cwd=ROOT, check=False
        )
        failed += done.returncode != 0
    return failed


def report() -> str:
    """The page of all results."""
    lines = ["# Benchmarks", "", NOTE, ""]
    lines += [
        "Figures of one machine tell little by themselves: read the ratios, and run them on yours",
        "with `make bench`. Each section names its question, its workload and its floor.",
        "",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        lines += [f"## {result.get('question') or question_of(path.stem)}", ""]
        command = (
            result.get("command") or f"python bench/{path.stem}.py --out {path.relative_to(ROOT)}"
        )
        lines += [f"`{command}` → [`{path.name}`](../{path.relative_to(ROOT)})", ""]
        lines += section({key: value for key, value in result.items() if key not in FIRST})
    return "\n".join(lines).rstrip() + "\n"


def question_of(name: str) -> str:
    """The first line of a benchmark's docstring, which is its question."""
    script = BENCH / f"{name}.py"
    told = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or name
    return told.splitlines()[0].rstrip(".")


def section(result: Mapping[str, Any]) -> list[str]:
    """Single values as a table, then a table for each group of values."""
    single = {key: value for key, value in result.items() if not isinstance(value, dict | list)}
    lines = table(["", ""], [[words(k), cell(v)] for k, v in single.items()]) if single else []
    for key, value in result.items():
        if isinstance(value, dict | list) and value:
            lines += [f"**{words(key)}**", "", *group(value)]
    return lines


def group(value: Mapping[str, Any] | list[Any]) -> list[str]:
    """A mapping of mappings, or a list of them, is one table; else name and value."""
    rows = dict(enumerate(value)) if isinstance(value, list) else value
    nested = [row for row in rows.values() if isinstance(row, dict)]
    if len(nested) == len(rows):
        columns = list(dict.fromkeys(name for row in nested for name in row))
        first = [] if isinstance(value, list) else [""]
        body = [
            [
                *([] if isinstance(value, list) else [words(name)]),
                *(cell(row.get(c)) for c in columns),
            ]
            for name, row in rows.items()
        ]
        return table([*first, *map(words, columns)], body)
    return table(["", ""], [[words(name), cell(item)] for name, item in rows.items()])


def table(heads: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table and an empty line."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *body, ""]


def words(key: object) -> str:
    """A key as words."""
    return str(key).replace("_", " ").replace("|", "\\|")


def cell(value: object) -> str:
    """A value for a table, without noise digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, dict):
        return "; ".join(flat(value))
    if isinstance(value, list):
        return ", ".join(cell(item) for item in value)
    return str(value).replace("|", "\\|").replace("\n", " ")


def flat(value: Mapping[str, Any]) -> Iterator[str]:
    """A nested mapping in one cell."""
    for name, item in value.items():
        yield f"{words(name)} {cell(item)}"


def main() -> int:
    """Run, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", help="run one benchmark")
    parser.add_argument("--report", action="store_true", help="only write the page")
    arguments = parser.parse_args()
    failed = 0 if arguments.report else run(arguments.only)
    PAGE.write_text(report(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
