"""Search: nodes whose name, namespace, column, tag, owner or description has every word."""

from __future__ import annotations

import json
import re
from typing import Any

from lodeline.errors import UsageError
from lodeline.model import KINDS, NodeId, format_time
from lodeline.query.answers import Page
from lodeline.query.asking import Inquiry
from lodeline.query.facets import Registers, labels_in, owners_in
from lodeline.query.parameters import SearchQuestion
from lodeline.query.versions import newest_version
from lodeline.query.view import View

Answer = dict[str, Any]

# Nodes whose facets are read for one search: tags, owners and descriptions are not indexed yet.
_FACETS_READ_MAX = 2_000
_FACET_FIELDS = ("tags", "ownership", "documentation")


def search(inquiry: Inquiry, question: SearchQuestion, page: Page) -> Answer:
    """Answer a search: best matches first, `total` over all pages."""
    if question.kind is not None and question.kind not in KINDS:
        raise UsageError(f"no kind {question.kind!r}; there are {', '.join(sorted(KINDS))}")
    words = question.q.lower().split()
    if not words:
        raise UsageError("search for at least one word")
    found: dict[NodeId, set[str]] = {}
    _find_names(inquiry.view, words, question, found)
    _find_facets(inquiry.view, words, question, found)
    visible = [node for node in found if inquiry.authoriser.may_see(node)]
    visible.sort(key=lambda node: (_rank(node, found[node], words), str(node)))
    shown = visible[page.offset : page.offset + page.limit]
    more = page.offset + page.limit < len(visible)
    return {
        "total": len(visible),
        "results": [_result(inquiry, node, found[node]) for node in shown],
        "next": page.next_cursor(inquiry.moment) if more else None,
        "as_of": inquiry.moment.to_json(),
        "trees": inquiry.moment.trees_json(),
    }


def _rank(node: NodeId, matched: set[str], words: list[str]) -> tuple[int, int]:
    """Whole names first, then names, then the rest, then columns of things that match."""
    text = " ".join(words)
    own = (node.part or node.name).lower()
    last = own.replace("/", ".").rpartition(".")[2]
    if text in {own, last}:
        return (0, len(own))
    if node.part and not any(word in own for word in words):
        return (4, len(own))
    if own.startswith(text) or last.startswith(text):
        return (1, len(own))
    return (2 if matched & {"name", "column", "feature"} else 3, len(own))


def _find_names(
    view: View, words: list[str], question: SearchQuestion, found: dict[NodeId, set[str]]
) -> None:
    conditions = []
    values: dict[str, object] = {"kind": question.kind, "namespace": question.namespace}
    for i, word in enumerate(words):
        values[f"word{i}"] = "%" + re.sub(r"([%_\\])", r"\\\1", word) + "%"
        parts = (f"n.{part} LIKE :word{i} ESCAPE '\\'" for part in ("namespace", "name", "part"))
        conditions.append(f"({' OR '.join(parts)})")
    rows = view.select(
        f"SELECT n.node_id FROM node n WHERE {' AND '.join(conditions)}"
        " AND (:kind IS NULL OR n.kind = :kind)"
        " AND (:namespace IS NULL OR n.namespace = :namespace)"
        f" AND {view.known('n')}",
        **values,
    )
    numbers = [row[0] for row in rows]
    canonical = view.canonical_names(numbers)
    for number, node in view.names(numbers).items():
        matched = found.setdefault(canonical[number], set())
        for field, text in (("namespace", node.namespace), ("name", node.name)):
            if any(word in text.lower() for word in words):
                matched.add(field)
        if any(word in node.part.lower() for word in words):
            matched.add("column" if node.kind == "datasetField" else "feature")


def _find_facets(
    view: View, words: list[str], question: SearchQuestion, found: dict[NodeId, set[str]]
) -> None:
    """Look into tags, owners and descriptions of the nodes that have any."""
    rows = view.select(
        "SELECT DISTINCT m.node_id FROM facet_set f JOIN mention m USING (facet_set_id)"
        f" WHERE ({' OR '.join(f'f.facets LIKE :{name}' for name in _FACET_FIELDS)})"
        f" AND {view.point('m')} LIMIT {_FACETS_READ_MAX}",
        **{name: f'%"{name}"%' for name in _FACET_FIELDS},
    )
    registers = Registers(view)
    for node in set(view.canonical_names([row[0] for row in rows]).values()):
        if question.kind not in {None, node.kind}:
            continue
        if question.namespace not in {None, node.namespace}:
            continue
        facets = registers.facets_of(node, _FACET_FIELDS)
        texts = {
            "name": f"{node.namespace} {node.name}",
            "tag": " ".join(labels_in(facets)),
            "owner": " ".join(owner["name"] for owner in owners_in(facets)),
            "description": json.dumps(facets.get("documentation", ""), ensure_ascii=False),
        }
        everything = " ".join(texts.values()).lower()
        if not all(word in everything for word in words):
            continue
        matched = found.setdefault(node, set())
        for field, text in texts.items():
            if any(word in text.lower() for word in words):
                matched.add(field)


def _result(inquiry: Inquiry, node: NodeId, matched: set[str]) -> Answer:
    version = None
    if node.kind in {"dataset", "model", "deployment"}:
        version = newest_version(inquiry.groups, node)
    updated = _updated(inquiry.view, node)
    return {
        **node.at(version or "").to_json(),
        "id": str(node),
        "matched": sorted(matched),
        "updated": None if updated is None else format_time(updated),
    }


def _updated(view: View, node: NodeId) -> int | None:
    """Give the event time of the last mention, or of the job's last event."""
    numbers = view.members(node.dataset if node.kind == "datasetField" else node)
    among = "IN (SELECT value FROM json_each(:ids))"
    sources = (
        ("mention", "node_id", "event_time", view.point("t")),
        ('"write"', "node_id", "time_us", view.rectangle("t")),
        ("run_state", "job_node", "last_us", view.rectangle("t")),
    )
    times = [
        row[0]
        for table, node_column, time, alive in sources
        for row in view.select_among(
            f"SELECT max(t.{time}) FROM {table} t WHERE t.{node_column} {among} AND {alive}",
            numbers,
        )
        if row[0] is not None
    ]
    return max(times, default=None)
