"""The facts of a comparison, and of the paths between two nodes: `diff` and `path`, readable."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from lodeline.limits import PAGE_CODE_LINES_MAX

Facts = dict[str, Any]
Asker = Callable[[str, Mapping[str, object]], Facts]

_CODE: Final = frozenset({"sourceCode", "sql"})
_TIMES: Final = ("as_of", "valid_at", "since", "valid_since")


def comparison_facts(ask: Asker, asked: Mapping[str, str]) -> Facts:
    """Give the facts of a comparison; without two things to compare, those of an empty form.

    Args:
        ask: the caller's questions.
        asked: `a` and `b`, or `since` or `valid_since` with at most one node; and what `diff` takes
            beside.
    """
    form = {name: asked.get(name) for name in ("a", "b", *_TIMES)}
    about_times = bool(asked.get("since") or asked.get("valid_since"))
    if not about_times and not (asked.get("a") and asked.get("b")):
        return {"form": form, "answer": None}
    answer = ask("diff", dict(asked))
    return {
        "form": form,
        "answer": {
            **{key: answer.get(key) for key in ("a", "b", "same", "as_of", "trees", "since")},
            "complete": answer.get("complete", True),
            "gaps": answer.get("gaps", []),
            "next": answer.get("next"),
            "total": len(answer["changes"]),
            "groups": change_groups(answer["changes"]),
        },
    }


def change_groups(changes: Iterable[Facts]) -> list[Facts]:
    """Group the changes of a `diff` by what changed, in the order of the answer, texts by line."""
    found: dict[str, list[Facts]] = {}
    for one in changes:
        found.setdefault(one["what"], []).append(_change(one))
    return [{"what": what, "changes": listed} for what, listed in found.items()]


def _change(one: Facts) -> Facts:
    told: Facts = {"restricted": False, "lines": None, "difference": None, **one}
    if one["what"] == "code" and one["at"] in _CODE:
        told["lines"] = line_changes(one["before"], one["after"])
    numbers = (one["before"], one["after"])
    if all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        told["difference"] = one["after"] - one["before"]
    return told


def line_changes(before: object, after: object) -> list[Facts]:
    """Compare two texts line by line: what stayed around a change, what went, what came."""
    old, new = ((str(one) if one is not None else "").splitlines() for one in (before, after))
    found: list[Facts] = []
    for line in difflib.unified_diff(old, new, n=3, lineterm=""):
        if line.startswith(("---", "+++")) and len(found) < 2:
            continue
        found.append({"sign": line[:1], "text": line[1:]} if line[:2] != "@@" else _place(line))
        if len(found) >= PAGE_CODE_LINES_MAX:
            found.append({"sign": "@", "text": "the rest is left out"})
            break
    return found


def _place(line: str) -> Facts:
    return {"sign": "@", "text": line}


def patch_lines(patch: str) -> list[Facts]:
    """Read a unified diff as lines with their signs."""
    lines = []
    for line in patch.splitlines()[:PAGE_CODE_LINES_MAX]:
        head = line.startswith(("diff ", "index ", "--- ", "+++ ", "@@"))
        sign = "@" if head else line[:1] if line[:1] in "+-" else " "
        lines.append({"sign": sign, "text": line if head or sign == " " else line[1:]})
    return lines


def path_facts(ask: Asker, asked: Mapping[str, str]) -> Facts:
    """Give the facts of the paths between two nodes; without both, those of an empty form."""
    form = {name: asked.get(name) for name in ("a", "b", "as_of", "valid_at")}
    if not (asked.get("a") and asked.get("b")):
        return {"form": form, "answer": None}
    answer = ask("path", dict(asked))
    nodes = {node["id"]: node for node in answer["nodes"]}
    edges: dict[tuple[str, str], list[Facts]] = {}
    for edge in answer["edges"]:
        edges.setdefault((edge["source"], edge["target"]), []).append(edge)
    return {
        "form": form,
        "answer": {
            **{key: answer[key] for key in ("as_of", "trees", "complete", "gaps", "next")},
            "paths": [_thread(path, nodes, edges) for path in answer["paths"]],
            "nodes": len(nodes),
        },
    }


def _thread(
    path: Sequence[str],
    nodes: Mapping[str, Facts],
    edges: Mapping[tuple[str, str], list[Facts]],
) -> list[Facts]:
    """Give a path as steps: a node, and how it goes on to the next, whichever way data flows."""
    steps = []
    for place, name in enumerate(path):
        step: Facts = {"node": nodes.get(name, {"id": name}), "edge": None, "against": False}
        if place + 1 < len(path):
            onward = edges.get((name, path[place + 1]))
            back = edges.get((path[place + 1], name))
            chosen = onward or back
            if chosen:
                kept = ("kind", "status", "basis", "job", "entries", "asserted_by_total")
                step["edge"] = {key: chosen[0].get(key) for key in kept}
                step["against"] = onward is None
        steps.append(step)
    return steps
