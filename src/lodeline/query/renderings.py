"""Graph answers as text that people and drawing programs read: tree, Mermaid, DOT.

Pure functions of an answer's JSON, so that an answer from a server reads as one from the store.
Nothing is added that the answer does not say, and its gaps are never left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

Answer = Mapping[str, Any]

DERIVATION_KINDS: Final = frozenset({"derives", "trains", "deploys", "predicts", "row"})

# Lines of a tree on paper: what nobody reads further than, and `--format json` has whole.
_TREE_LINES_MAX = 2_000
_DIGEST_SHOWN = 12
_VALUE_SHOWN = 160
# Rows of each dataset on paper; `--json` gives the whole page.
_ROWS_SHOWN = 5


def render_tree(answer: Answer) -> str:
    """Draw the closure as indented lines below the root, each node's branches once."""
    lines = [_shown(answer["root"])]
    directions = ("up", "down") if answer["direction"] == "both" else (answer["direction"],)
    for direction in directions:
        if len(directions) > 1:
            lines.append(f"{direction}:")
        branches = list(_iter_branches(answer, direction))
        lines += branches or [f"  nothing recorded {_SIDE[direction]}"]
    return "\n".join([*lines, "", *_row_lines(answer), *render_footing(answer)])


def _row_lines(answer: Answer) -> list[str]:
    """Say how many rows of which version are behind the root, where rows were asked for."""
    counts = answer.get("row_counts")
    if not counts:
        return ["rows: none recorded"] if "rows" in answer else []
    width = max(len(f"{count:,}") for count in counts.values())
    lines = [f"  {count:>{width},}  {_shown(node)}" for node, count in counts.items()]
    return [f"rows, in {len(answer['steps'])} steps (`lodeline rows` lists them):", *lines, ""]


_SIDE: Final = {"up": "upstream", "down": "downstream"}


def render_footing(answer: Answer) -> list[str]:
    """Say how far the answer can be relied on: completeness, gaps, tree head, cursor."""
    lines = []
    if answer["complete"]:
        lines.append(f"complete: {len(answer['nodes'])} nodes, {len(answer['edges'])} edges")
    else:
        lines.append("incomplete:")
        lines += [
            f"  {gap['reason']} at {_shown(gap['at'])}: {gap['detail']}" for gap in answer["gaps"]
        ]
    stale = sum(edge["status"] == "stale" for edge in answer["edges"])
    if stale:
        lines.append(f"stale edges: {stale} (no longer asserted by their job's newer runs)")
    for tree in answer["trees"]:
        lines.append(
            f"as of tree size {tree['size']}, root {tree['root_hash'][:_DIGEST_SHOWN]},"
            f" {tree['origin']}" + _time_of(answer)
        )
    if answer.get("next"):
        lines.append(f"more: --cursor {answer['next']}")
    return lines


def _time_of(answer: Answer) -> str:
    moment = answer["as_of"].get("time")
    return f", {moment}" if moment else ""


def _shown(identifier: str) -> str:
    head, mark, version = identifier.partition("#")
    scheme, colon, digest = version.rpartition(":")
    if mark and len(digest) > 2 * _DIGEST_SHOWN:
        return f"{head}#{scheme}{colon}{digest[:_DIGEST_SHOWN]}…"
    return identifier


def _iter_branches(answer: Answer, direction: str) -> Iterator[str]:
    """Walk depth first without recursion: chains may be longer than Python's stack."""
    near, far = ("target", "source") if direction == "up" else ("source", "target")
    around: dict[str, list[Mapping[str, Any]]] = {}
    for edge in answer["edges"]:
        around.setdefault(edge[near], []).append(edge)
    depths = {node["id"]: node["depth"] for node in answer["nodes"]}
    opened = {answer["root"]}
    stack = [("", _branches_of(answer["root"], around, depths, far))]
    drawn = 0
    while stack:
        indent, branches = stack[-1]
        if not branches:
            stack.pop()
            continue
        edge = branches.pop(0)
        drawn += 1
        if drawn > _TREE_LINES_MAX:
            yield "… (more lines than fit here; --format json has all)"
            return
        child = edge[far]
        elbow, bar = ("├─ ", "│  ") if branches else ("└─ ", "   ")
        below = _branches_of(child, around, depths, far)
        again = child in opened and bool(below)
        yield f"{indent}{elbow}{_shown(child)}  {_words(edge)}" + ("  (above)" if again else "")
        if not again:
            opened.add(child)
            stack.append((indent + bar, below))


def _branches_of(
    node: str, around: Mapping[str, list[Mapping[str, Any]]], depths: Mapping[str, int], far: str
) -> list[Mapping[str, Any]]:
    """Derivations first; a job or run only where no derivation already names it."""
    edges = around.get(node, [])
    derivations = [edge for edge in edges if edge["kind"] in DERIVATION_KINDS]
    named = {edge["job"] for edge in derivations}
    named.update(f"run:{run}" for edge in derivations for run in edge["asserted_by"])
    others = [
        edge
        for edge in edges
        if edge["kind"] not in DERIVATION_KINDS and edge[far] not in named and edge[far] in depths
    ]
    return sorted(derivations, key=lambda edge: (edge[far], edge["kind"])) + others


def _words(edge: Mapping[str, Any]) -> str:
    words = [str(edge["kind"])]
    if edge["job"]:
        words.append(f"by {edge['job']}")
    if edge["basis"]:
        words.append(f"({edge['basis']})")
    if edge["status"] == "stale":
        words.append("STALE")
    if edge["restricted"]:
        words.append("restricted")
    return " ".join(words)


def render_mermaid(answer: Answer) -> str:
    """Draw the answer as a Mermaid flowchart, data flowing from left to right."""
    lines = ["flowchart LR"]
    lines += [f"  %% {line}" for line in render_footing(answer)]
    short = {node["id"]: f"n{i}" for i, node in enumerate(answer["nodes"])}
    for node in answer["nodes"]:
        text = _shown(node["id"]).replace('"', "#quot;")
        left, right = _MERMAID_SHAPES.get(node["kind"], ("[", "]"))
        lines.append(f'  {short[node["id"]]}{left}"{text}"{right}')
    for edge in answer["edges"]:
        if edge["source"] in short and edge["target"] in short:
            arrow = "-.->" if edge["status"] == "stale" else "-->"
            source, target = short[edge["source"]], short[edge["target"]]
            lines.append(f"  {source} {arrow}|{edge['kind']}| {target}")
    return "\n".join(lines)


_MERMAID_SHAPES: Final = {
    "job": ("([", "])"),
    "run": ("([", "])"),
    "model": ("{{", "}}"),
    "deployment": ("{{", "}}"),
    "prediction": ("((", "))"),
}


def render_dot(answer: Answer) -> str:
    """Draw the answer in Graphviz's DOT language, data flowing from left to right."""
    lines = ["digraph lineage {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f"  // {line}" for line in render_footing(answer)]
    for node in answer["nodes"]:
        shape = ", shape=ellipse" if node["kind"] in {"job", "run"} else ""
        lines.append(f"  {_quoted(node['id'])} [label={_quoted(_shown(node['id']))}{shape}];")
    for edge in answer["edges"]:
        style = ", style=dashed" if edge["status"] == "stale" else ""
        lines.append(
            f"  {_quoted(edge['source'])} -> {_quoted(edge['target'])}"
            f" [label={_quoted(edge['kind'])}{style}];"
        )
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def render_impact(answer: Answer) -> str:
    """Say what a change of the root reaches, counted by kind, and who owns it."""
    lines = [render_tree(answer), ""]
    counts = answer["counts"]
    said = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    lines.append(f"reaches: {said or 'nothing'}")
    if not answer["owners"]:
        lines.append("owners: none recorded")
    for owner in answer["owners"]:
        kind = f" ({owner['type']})" if owner.get("type") else ""
        lines.append(f"owner {owner['name']}{kind}: {', '.join(owner['nodes'])}")
    return "\n".join(lines)


def render_paths(answer: Answer) -> str:
    """Spell out the paths, one a line, then the footing."""
    lines = [" → ".join(_shown(node) for node in path) for path in answer["paths"]]
    if not lines:
        lines = ["not connected"]
    return "\n".join([*lines, "", *render_footing(answer)])


def render_show(answer: Answer) -> str:
    """Describe one node, a line a fact, facets by name."""
    lines = [_shown(answer["id"])]
    lines += [
        f"{name}: {', '.join(map(str, answer[name]))}"
        for name in ("aliases", "labels")
        if answer[name]
    ]
    lines += [f"owner: {owner['name']}" for owner in answer["owners"]]
    for version in answer["versions"]:
        number = f" (#{version['number']})" if version.get("number") else ""
        run = f" by run:{version['run']}" if version.get("run") else ""
        written = f" at {version['written']}" if version.get("written") else ""
        lines.append(f"version {_shown('#' + version['version'])[1:]}{number}{written}{run}")
    known = {*("id", "kind", "namespace", "name", "version", "aliases", "labels", "owners")}
    for name, value in answer.items():
        if name not in known | {"versions", "facets", "as_of", "trees"} and value not in (None, []):
            lines.append(f"{name}: {value if isinstance(value, str) else _compact(value)}")
    for name in sorted(answer["facets"]):
        lines.append(f"facet {name}: {_compact(answer['facets'][name])}")
    return "\n".join(lines)


def _compact(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_SHOWN else text[: _VALUE_SHOWN - 1] + "…"


def render_search(answer: Answer) -> str:
    """List what was found, one a line."""
    lines = [
        f"{_shown(result['id'])}  matched {', '.join(result['matched'])}"
        + (f", updated {result['updated']}" if result["updated"] else "")
        for result in answer["results"]
    ]
    for asked, tried in answer.get("corrected", {}).items():
        lines.append(f"nothing has {asked}; tried {', '.join(tried)}")
    more = "" if answer.get("total_exact", True) else "more than "
    lines.append(f"{more}{answer['total']} found")
    lines += [f"{gap['reason']}: {gap['detail']}" for gap in answer.get("gaps", ())]
    if answer["next"]:
        lines.append(f"more: --cursor {answer['next']}")
    return "\n".join(lines)


def render_diff(answer: Answer) -> str:
    """List the changes, before and after."""
    if answer["same"]:
        compared = " and ".join(_shown(one) for one in (answer["a"], answer["b"]) if one)
        return f"{compared or 'the graph'}: same, as far as recorded"
    lines = [
        f"{change['what']} {change['at']}: {_compact(_brief(change['before']))}"
        f" → {_compact(_brief(change['after']))}"
        for change in answer["changes"]
    ]
    if answer.get("next"):
        lines.append(f"more: --cursor {answer['next']}")
    return "\n".join(lines)


def _brief(value: object) -> object:
    """Leave out of an edge what its place says."""
    if isinstance(value, dict) and value.keys() >= {"status", "basis"}:
        return f"{value['status']}, {value['basis']}"
    return value


def render_stats(answer: Answer) -> str:
    """List the counts, one a line."""
    lines = []
    for name, value in answer.items():
        if isinstance(value, dict):
            lines += [f"{name}.{key}: {number}" for key, number in value.items()]
        elif not isinstance(value, list):
            lines.append(f"{name}: {value}")
    return "\n".join(lines)


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
            f"              {row['key']}: {_row_values(row['values'])}"
            for row in shown.get(node, [])[:_ROWS_SHOWN]
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


def _row_values(values: Mapping[str, Any] | None) -> str:
    if values is None:
        return "values not at hand"
    text = ", ".join(f"{name}={value}" for name, value in values.items())
    return text if len(text) <= _VALUE_SHOWN else text[: _VALUE_SHOWN - 1] + "…"
