"""The facts of tables of rows: which rows lie behind a node or ahead of it, dataset by dataset.

The question `rows` gives them nearest dataset first; here one dataset's rows are looked at, sorted
and narrowed by what their cells hold. Sorting needs them all, so it is bounded, and says so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from math import isnan
from typing import Any, Final

from lodeline.exports.csv_tables import safe_cell
from lodeline.limits import PAGE_CELL_CHARACTERS_MAX, PAGE_ROWS_MAX, PAGE_ROWS_SORTED_MAX
from lodeline.model import parse_identifier
from lodeline.query.answers import cursor_at, question_digest

Facts = dict[str, Any]
Asker = Callable[[str, Mapping[str, object]], Facts]
Row = Mapping[str, Any]

# What stands where a cell, or a whole row, cannot be shown.
MASKED: Final = "hidden from your key: this names a dataset outside its namespaces"
GONE: Final = "the bytes of this version are no longer at hand"


def row_facts(ask: Asker, identifier: str, asked: Mapping[str, str]) -> Facts:
    """Give the facts of a page of rows.

    Args:
        ask: the caller's questions.
        identifier: of a row, dataset, model or prediction.
        asked: `direction`, `where`, `dataset`, `sort`, `contains`, `page`; all optional.

    Raises:
        LodelineError: as `rows` does.
    """
    question, first, datasets, chosen = _ask_first(ask, identifier, asked)
    facts: Facts = {
        **{key: first[key] for key in ("id", "direction", "complete", "gaps", "steps")},
        **{key: first[key] for key in ("as_of", "trees")},
        "where": asked.get("where"),
        "datasets": datasets,
        "counts": {
            "rows": sum(one["count"] for one in datasets if one["kind"] == "dataset"),
            "tables": sum(one["kind"] == "dataset" for one in datasets),
            "source_rows": sum(one["count"] for one in datasets if one["source"]),
            "source_tables": sum(one["source"] for one in datasets),
        },
        "dataset": chosen,
        "table": None,
        "row": first.get("row"),
    }
    if chosen is not None:
        answer = _read(ask, question, first, datasets, chosen)
        facts["table"] = table_facts(answer["rows"], chosen["count"], asked)
        facts["gaps"] = answer["gaps"]
        facts["complete"] = answer["complete"]
    return facts


def _ask_first(
    ask: Asker, identifier: str, asked: Mapping[str, str]
) -> tuple[dict[str, object], Facts, list[Facts], Facts | None]:
    """Ask for the counts, which tell the tables, and choose one of these."""
    question: dict[str, object] = {"id": identifier}
    question |= {name: asked[name] for name in ("direction", "where") if asked.get(name)}
    first = ask("rows", {**question, "limit": 1})
    datasets = _datasets(first)
    return question, first, datasets, _chosen(datasets, asked.get("dataset"))


def _datasets(answer: Facts) -> list[Facts]:
    """Give the tables reached, in the order of the answer; sources are made of nothing."""
    made = {step["output"] for step in answer["steps"]}
    back = answer["direction"] == "back"
    found = []
    for text, count in answer["counts"].items():
        kind = text.partition(":")[0]
        source = back and kind == "dataset" and text not in made
        found.append({"id": text, "kind": kind, "count": count, "source": source})
    return found


def _chosen(datasets: Sequence[Facts], wanted: str | None) -> Facts | None:
    # Without its version, too: links that people write have none.
    names = [(one["id"], one["id"].partition("#")[0]) for one in datasets]
    named = next((one for one, known in zip(datasets, names, strict=True) if wanted in known), None)
    return named or next((one for one in datasets if one["kind"] == "dataset"), None)


def _read(
    ask: Asker, question: Mapping[str, object], first: Facts, datasets: Sequence[Facts], one: Facts
) -> Facts:
    """Read the rows of one dataset: the answer's pages are in its order, so they start there."""
    ends = list(accumulate(other["count"] for other in datasets))
    offset = ends[datasets.index(one)] - one["count"]
    limit = min(one["count"], PAGE_ROWS_SORTED_MAX)
    given: dict[str, object] = {**question, "limit": max(limit, 1)}
    size = first["as_of"]["tree_size"]
    if offset and size is not None:
        given["cursor"] = cursor_at(offset, size, question_digest("rows", question))
    answer = ask("rows", given)
    node = parse_identifier(one["id"])
    own = [
        row
        for row in answer["rows"]
        if row["dataset"] == str(node.at("")) and (row["version"] or "") == node.version
    ]
    return {**answer, "rows": own[:limit]}


def table_facts(rows: Sequence[Row], total: int, asked: Mapping[str, str]) -> Facts:
    """Lay rows out as a table: columns, cells, in the order and the part that is asked for."""
    names, kept, sort = _arranged(rows, asked)
    page = _page(asked.get("page"), len(kept))
    shown = kept[page * PAGE_ROWS_MAX : (page + 1) * PAGE_ROWS_MAX]
    return {
        "columns": names,
        "rows": [
            {
                "id": row["id"],
                "key": row["key"],
                "cells": [_cell(row, name) for name in names],
                "why": None if row["values"] is not None else GONE,
            }
            for row in shown
        ],
        "sort": sort,
        "contains": asked.get("contains") or None,
        "matching": len(kept),
        "looked_at": len(rows),
        "total": total,
        "page": page,
        "pages": max(1, -(-len(kept) // PAGE_ROWS_MAX)),
    }


def _arranged(
    rows: Sequence[Row], asked: Mapping[str, str]
) -> tuple[list[str], list[Row], str | None]:
    """Give the columns, the rows that match in their order, and by what they are sorted."""
    names = list(dict.fromkeys(name for row in rows for name in row["values"] or ()))
    contains = asked.get("contains", "")
    kept = [row for row in rows if not contains or _holds(row, contains)]
    sort = asked.get("sort", "")
    by = sort.removeprefix("-")
    if by not in names and by != "key":
        return names, kept, None
    kept.sort(key=lambda row: _order(row, by), reverse=sort.startswith("-"))
    # Beside numbers words are last either way, and what has no value after them.
    kept.sort(key=lambda row: _order(row, by)[0] if _value(row, by) is not None else 2)
    return names, kept, sort


def _page(text: str | None, count: int) -> int:
    number = int(text) if text and text.isascii() and text.isdecimal() and len(text) < 7 else 0
    return min(number, max(0, -(-count // PAGE_ROWS_MAX) - 1))


def _value(row: Row, name: str) -> Any:
    if name == "key":
        return row["key"]
    return (row["values"] or {}).get(name)


def _order(row: Row, name: str) -> tuple[int, float, str]:
    value = _value(row, name)
    # A column of a CSV that says `NA` somewhere is text, its numbers too.
    with suppress(TypeError, ValueError, OverflowError):
        number = float(value)
        if not isnan(number):
            return (0, number, "")
    return (1, 0.0, str(value))


def _holds(row: Row, contains: str) -> bool:
    wanted = contains.casefold()
    cells = [row["key"], *(row["values"] or {}).values()]
    return any(wanted in str(one).casefold() for one in cells if one is not None)


def _cell(row: Row, name: str) -> Facts:
    value = _value(row, name)
    if isinstance(value, Mapping) and value.get("restricted") is True:
        return {"value": None, "masked": MASKED}
    if isinstance(value, str) and len(value) > PAGE_CELL_CHARACTERS_MAX:
        return {"value": f"{value[:PAGE_CELL_CHARACTERS_MAX]}…", "masked": None}
    return {"value": value, "masked": None}


def rows_csv(ask: Asker, identifier: str, asked: Mapping[str, str]) -> bytes:
    """Write the rows of the chosen dataset that match, as CSV; no cell is taken for a formula."""
    question, first, datasets, chosen = _ask_first(ask, identifier, asked)
    if chosen is None:
        return _line(["row"])
    names, kept, _ = _arranged(_read(ask, question, first, datasets, chosen)["rows"], asked)
    lines = [_line(["row", *names])]
    lines += [_line([row["key"], *(_written(_cell(row, name)) for name in names)]) for row in kept]
    return b"".join(lines)


def _written(one: Facts) -> object:
    return "hidden" if one["masked"] else one["value"]


def _line(values: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow([safe_cell(value) for value in values])
    return text.getvalue().encode("utf-8", "replace")
