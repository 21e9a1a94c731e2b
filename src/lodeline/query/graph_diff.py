"""Diff of the graph between two times: edges that came, went, or are known otherwise now.

The earlier moment is `since` (a position of the log, as `as_of`) or `valid_since` (event time, as
`valid_at`), the later one the question's own. Compared are derivations: those of a node's
closures, or, without a node, of the whole graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from lodeline.errors import UnknownNodeError
from lodeline.limits import DIFF_EDGES_MAX
from lodeline.model import NodeId
from lodeline.query.answers import (
    DerivationKey,
    Describe,
    Edge,
    EdgeKey,
    Gap,
    Ground,
    Page,
    Text,
    bound_gaps,
)
from lodeline.query.asking import Inquiry
from lodeline.query.bounds import Budget
from lodeline.query.describing import Describer
from lodeline.query.held import Compared, compare
from lodeline.query.moments import find_moment
from lodeline.query.parameters import DiffQuestion, GraphQuestion
from lodeline.query.trace import find_root, walk

Answer = dict[str, Any]
_DERIVATIONS: Final = frozenset({"derives", "trains", "deploys", "predicts"})


class _State:
    """The compared edges of one moment, and what describes them."""

    def __init__(self) -> None:
        self.root: NodeId | None = None
        self.edges: dict[EdgeKey, Edge] = {}
        self.gaps: list[Gap] = []
        self.describe: Describe = lambda edges: None  # noqa: ARG005  # nothing to describe


def diff_graph(inquiry: Inquiry, question: DiffQuestion, page: Page) -> Answer:
    """Answer what changed in the graph since an earlier moment.

    Raises:
        UnknownNodeError: the node is known at neither moment.
    """
    moment = find_moment(
        inquiry.segment,
        inquiry.connection,
        as_of=inquiry.moment.size if question.since is None else question.since,
        valid_at=question.valid_since or question.valid_at,
    )
    earlier = replace(inquiry, moment=moment, budget=Budget())
    if question.a is None:
        before, after = _whole(earlier, inquiry, question)
    else:
        before, after = _closure(earlier, question), _closure(inquiry, question)
        if before.root is None and after.root is None:
            raise UnknownNodeError(question.a)
    gaps = dict.fromkeys([*before.gaps, *after.gaps])
    text = inquiry.visibility.text
    changes = _compare(before, after, gaps, at=str(after.root or ""), text=text)
    shown = changes[page.offset : page.offset + page.limit]
    following = None
    if page.offset + page.limit < len(changes):
        following = page.next_cursor(inquiry.moment)
    return {
        "a": None if before.root is None else str(before.root),
        "b": None if after.root is None else str(after.root),
        "changes": shown,
        "same": not changes,
        "since": moment.to_json(),
        "as_of": inquiry.moment.to_json(),
        "trees": inquiry.moment.trees_json(),
        "complete": not gaps and following is None,
        "gaps": [gap.to_json() for gap in bound_gaps(gaps, at=str(after.root or ""))],
        "next": following,
    }


def _closure(inquiry: Inquiry, question: DiffQuestion) -> _State:
    """Walk from the node, as it was known at the moment; nothing where it was not."""
    found = _State()
    assert question.a is not None
    try:
        found.root = find_root(inquiry, question.a)
    except UnknownNodeError:
        return found
    asked = GraphQuestion(depth=question.depth, columns=question.columns)
    closure, found.describe = walk(
        inquiry, found.root, asked, direction=question.direction or "both"
    )
    graph = closure.to_graph()
    found.edges = {key: edge for key, edge in graph.edges.items() if key[2] in _DERIVATIONS}
    # Only what stopped the walk can hide a change.
    found.gaps = [gap for gap in graph.gaps if gap.reason in {"time", "size"}]
    return found


def _whole(earlier: Inquiry, later: Inquiry, question: DiffQuestion) -> tuple[_State, _State]:
    """Take up the derivations of both moments: all of a small graph, of a larger what moved."""
    compared = compare(earlier, later, columns=question.columns, most=DIFF_EDGES_MAX)
    numbers = [*compared.moved, *compared.stayed]
    before, after = (_take_up(one, numbers) for one in (earlier, later))
    if not compared.whole:
        # A node of several names has one edge in several rows, of which not all are at hand.
        aliased = earlier.view.has_aliases and _drop_aliased(before, after, (earlier, later))
        for reason, detail in _missing(compared, later.budget, aliased=aliased):
            after.gaps.append(Gap("", reason, detail))
    return before, after


def _missing(compared: Compared, budget: Budget, *, aliased: bool) -> Iterator[tuple[str, str]]:
    yield "size", f"more than {DIFF_EDGES_MAX} edges: only those that came or went are compared"
    if compared.ended_by == "time":
        detail = f"stopped after {budget.seconds:g} s: only the derivations before number"
        yield "time", f"{detail} {compared.upto} are compared; ask about a node"
    elif compared.ended_by == "size":
        detail = f"more than {DIFF_EDGES_MAX} came or went: only the first are told"
        yield "size", f"{detail}; ask about a node"
    if aliased:
        yield "size", "edges at nodes with several names are not compared; ask about a node"


def _take_up(inquiry: Inquiry, among: Sequence[int]) -> _State:
    """Take up those of some derivations that hold at the moment."""
    found, view = _State(), inquiry.view
    rows = list(
        view.select_among(
            "SELECT d.derivation_id, d.source, d.target, d.kind, d.job FROM derivation d"
            " WHERE d.derivation_id IN (SELECT value FROM json_each(:ids)) AND EXISTS"
            " (SELECT 1 FROM assertion a WHERE a.derivation_id = d.derivation_id"
            f" AND {view.rectangle('a')})",
            among,
        )
    )
    names = view.canonical_names({n for row in rows for n in (row[1], row[2], row[4]) if n})
    numbers: dict[DerivationKey, set[int]] = {}
    for number, source, target, kind, job in rows:
        key = (names[source], names[target], kind, names.get(job))
        if not any(inquiry.authoriser.may_see(end) for end in key[:2]):
            continue
        numbers.setdefault(key, set()).add(number)
        found.edges[key] = Edge(*key, grounds={Ground(key)})
    describer = Describer(inquiry.groups)
    describer.learn(numbers)
    found.describe = describer.describe
    return found


def _drop_aliased(before: _State, after: _State, moments: Iterable[Inquiry]) -> bool:
    """Drop edges of which an end or the job has other names; tell whether there were any."""
    views = [one.view for one in moments]
    nodes = {n for one in (before, after) for key in one.edges for n in (*key[:2], key[3]) if n}
    aliased = {node for node in nodes if any(view.aliases_of(node) for view in views)}
    for one in (before, after):
        one.edges = {
            key: edge
            for key, edge in one.edges.items()
            if aliased.isdisjoint((*key[:2], key[3] or key[0]))
        }
    return bool(aliased)


def _compare(
    before: _State, after: _State, gaps: dict[Gap, None], *, at: str, text: Text
) -> list[dict[str, Any]]:
    """List the changes, by source, target, kind and job."""
    keys = before.edges.keys() | after.edges.keys()
    if len(keys) > DIFF_EDGES_MAX:
        keys = before.edges.keys() ^ after.edges.keys()
        detail = f"more than {DIFF_EDGES_MAX} edges: only those that came or went are compared"
        gaps[Gap(at, "size", detail)] = None
    told = [_tell(moment, keys, text) for moment in (before, after)]
    changes = []
    for key in sorted(keys, key=lambda key: _place(key, text)):
        old, new = told[0].get(key), told[1].get(key)
        if old != new:
            changes.append({"what": "edge", "at": _place(key, text), "before": old, "after": new})
    return changes


def _tell(moment: _State, keys: Iterable[EdgeKey], text: Text) -> Mapping[EdgeKey, dict[str, Any]]:
    edges = [moment.edges[key] for key in keys if key in moment.edges]
    moment.describe(edges)
    return {
        edge.key: {
            "source": text(edge.source),
            "target": text(edge.target),
            "kind": edge.kind,
            "job": None if edge.job is None else text(edge.job),
            "status": edge.said.status,
            "basis": edge.said.basis,
        }
        for edge in edges
    }


def _place(key: EdgeKey, text: Text) -> str:
    source, target, kind, job = key
    maker = f" by {text(job)}" if job is not None else ""
    return f"{text(source)} -> {text(target)} ({kind}{maker})"
