"""Stats: how much a segment holds at a moment."""

from __future__ import annotations

from typing import Any

from lodeline.query.answers import Page
from lodeline.query.asking import Inquiry
from lodeline.query.parameters import StatsQuestion

Answer = dict[str, Any]


def stats(inquiry: Inquiry, question: StatsQuestion, page: Page) -> Answer:  # noqa: ARG001
    """Count entries, nodes by kind, derivations, runs and versions."""
    view = inquiry.view
    nodes = dict(
        view.select(
            "SELECT n.kind, count(*) FROM node n "
            f" WHERE {view.known('n')} GROUP BY n.kind ORDER BY n.kind"
        )
    )
    derivations = dict(
        view.select(
            "SELECT CASE WHEN d.columns THEN 'columns' ELSE 'datasets' END, count(*)"
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
        f" WHERE {view.rectangle('w')})"
    )
    entries = view.select("SELECT kind, count(*) FROM entry WHERE position < :size GROUP BY kind")
    return {
        "entries": dict(entries),
        "nodes": nodes,
        "derivations": {"datasets": 0, "columns": 0} | derivations,
        "runs": states,
        "versions": versions,
        "as_of": inquiry.moment.to_json(),
        "trees": inquiry.moment.trees_json(),
    }
