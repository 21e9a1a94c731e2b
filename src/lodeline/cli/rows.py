"""List the rows behind a row, a dataset, a model or a prediction (--back, the default), or ahead.

ID is row:namespace:name:key#version, dataset:namespace:name, model:namespace:name or
prediction:<id>. Counts come first; --limit and --cursor page through the rows themselves.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from lodeline.cli.asking import add_moment_options, add_page_options, ask, print_answer

# Rows of each dataset printed as text; `--json` gives the whole page.
_SHOWN = 5


def configure(parser: ArgumentParser) -> None:
    """Add the options of `rows`."""
    parser.add_argument("id", metavar="ID", help="a row, dataset, model or prediction")
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument("--back", action="store_true", help="rows it was made of (default)")
    direction.add_argument("--forward", action="store_true", help="rows, models, predictions")
    parser.add_argument(
        "--where", metavar="EXPR", help="only the dataset's rows for which it holds"
    )
    add_page_options(parser)
    add_moment_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print; an answered question exits 0, whatever it says of completeness."""
    print_answer(arguments, ask(arguments, "rows"), {"tree": render_rows})
    return 0


def render_rows(answer: Mapping[str, Any]) -> str:
    """Write an answer of `rows` or `cohort` as text: counts, steps, first rows, gaps."""
    lines = [str(answer["id"])]
    shown: dict[str, list[Mapping[str, Any]]] = {}
    for row in answer["rows"]:
        version = f"#{row['version']}" if row["version"] else ""
        shown.setdefault(row["dataset"] + version, []).append(row)
    for node, count in answer["counts"].items():
        lines.append(f"  {count:>10,} {'rows' if count != 1 else 'row '}  {_shortened(node)}")
        lines += [
            f"              {row['key']}: {_values(row['values'])}"
            for row in shown.get(node, [])[:_SHOWN]
            if row["key"] is not None
        ]
    lines += [
        f"  step: {step['operator']} ({step['shape']}): {_shortened(step['input'])}"
        f" -> {_shortened(step['output'])}"
        for step in answer["steps"]
    ]
    lines += [f"  gap: {gap['at']}: {gap['detail']} ({gap['reason']})" for gap in answer["gaps"]]
    lines.append("complete" if answer["complete"] else "not complete: see the gaps")
    if answer["next"]:
        lines.append(f"more rows: --cursor {answer['next']}")
    return "\n".join(lines)


def _shortened(node: str) -> str:
    name, mark, version = node.partition("#")
    return f"{name}{mark}{version[:19]}"


def _values(values: Mapping[str, Any] | None) -> str:
    if values is None:
        return "values not at hand"
    text = ", ".join(f"{name}={value}" for name, value in values.items())
    return text if len(text) <= 160 else text[:159] + "…"
