"""Stats: how much a segment holds at a moment."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lodeline.model import NodeId
from lodeline.query.answers import Page
from lodeline.query.asking import Inquiry
from lodeline.query.parameters import StatsQuestion

Answer = dict[str, Any]


def stats(inquiry: Inquiry, question: StatsQuestion, page: Page) -> Answer:  # noqa: ARG001
    """Count entries, nodes by kind, derivations, runs and versions."""
    view = inquiry.view
    entries = view.select("SELECT kind, count(*) FROM entry WHERE position < :size GROUP BY kind")
    moment = {"as_of": inquiry.moment.to_json(), "trees": inquiry.moment.trees_json()}
    if not inquiry.visibility.sees_all:
        return {"entries": dict(entries), **_visible(inquiry), **moment}
    nodes = dict(
        view.select(
            "SELECT n.kind, count(*) FROM node n "
            f" WHERE {view.known('n')} GROUP BY n.kind ORDER BY n.kind"
        )
    )
    derivations = dict(
        view.select(
            "SELECT CASE WHEN d.columns = 1 THEN 'columns' ELSE 'datasets' END, count(*)"
            " FROM derivation d WHERE EXISTS (SELECT 1 FROM assertion a"
            f" WHERE a.derivation_id = d.derivation_id AND {view.rectangle('a')})"
            " GROUP BY d.columns"
        )
    )
    states = dict(
        view.select(
            "SELECT s.state, count(*) FROM run_state s JOIN run_group g USING (group_id)"
            f" WHERE g.run_id IS NOT NULL AND {view.rectangle('s')} GROUP BY s.state"
        )
    )
    [(versions,)] = view.select(
        f'SELECT count(*) FROM (SELECT DISTINCT w.node_id, w.version FROM "write" w'
        f" WHERE {view.rectangle('w')}) AS seen"
    )
    return {
        "entries": dict(entries),
        "nodes": nodes,
        "derivations": {"datasets": 0, "columns": 0} | derivations,
        "runs": states,
        "versions": versions,
        **moment,
    }


def _visible(inquiry: Inquiry) -> Answer:
    """Count what the reader may see, one by one."""
    view, may_see = inquiry.view, inquiry.visibility.may_see
    sql = (
        f"SELECT n.node_id, n.kind, n.namespace, n.name, n.part FROM node n WHERE {view.known('n')}"
    )
    names = {row[0]: NodeId(*row[1:]) for row in view.select(sql)}
    seen = {number for number, node in names.items() if may_see(node)}
    seen_or_none = seen | {None}
    derivations = view.select(
        "SELECT d.columns, d.source, d.target FROM derivation d WHERE EXISTS (SELECT 1"
        f" FROM assertion a WHERE a.derivation_id = d.derivation_id AND {view.rectangle('a')})"
    )
    runs = view.select(
        "SELECT s.state, g.job_node FROM run_state s JOIN run_group g USING (group_id)"
        f" WHERE g.run_id IS NOT NULL AND {view.rectangle('s')}"
    )
    versions = view.select(
        f'SELECT DISTINCT w.node_id, w.version FROM "write" w WHERE {view.rectangle("w")}'
    )
    counts = Counter(
        "columns" if columns else "datasets"
        for columns, source, target in derivations
        if source in seen_or_none and target in seen_or_none
    )
    return {
        "nodes": dict(sorted(Counter(names[number].kind for number in seen).items())),
        "derivations": {"datasets": 0, "columns": 0} | counts,
        "runs": dict(Counter(state for state, job in runs if job in seen)),
        "versions": sum(node in seen for node, _ in versions),
    }
