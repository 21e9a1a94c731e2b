"""Trace: where a node comes from, and what it affects."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

import msgspec

from lodeline.errors import UnknownNodeError
from lodeline.model import NodeId, iter_readings
from lodeline.query.answers import (
    Closure,
    Describe,
    Description,
    Edge,
    Gap,
    Graph,
    Page,
    write_answer,
)
from lodeline.query.asking import Inquiry
from lodeline.query.closure import JobWalk
from lodeline.query.describing import Describer
from lodeline.query.identifying import find_known
from lodeline.query.narrowing import narrow
from lodeline.query.parameters import ClosureQuestion, GraphQuestion, TraceQuestion
from lodeline.query.predictions import (
    add_prediction,
    count_predictions,
    get_prediction,
    sampling_gap,
    served_by,
)
from lodeline.query.reach import Reach, ReachWalk, StoredSteps
from lodeline.query.registry import find_verb
from lodeline.query.versions import VersionWalk, newest_version
from lodeline.query.visibility import restrict

# Kinds whose questions are always about columns.
COLUMN_KINDS = frozenset({"datasetField", "feature"})
# Kinds whose questions are always about versions and runs.
VERSIONED_KINDS = frozenset({"run", "model", "deployment", "prediction", "row"})

# Kinds that `rows` can be asked about.
_KINDS_WITH_ROWS = frozenset({"row", "dataset", "model", "prediction"})

if TYPE_CHECKING:
    from lodeline.query.graph_index import IndexedGraph

Answer = dict[str, Any]


def trace(inquiry: Inquiry, question: TraceQuestion, page: Page) -> Answer:
    """Answer a trace question."""
    key = _key_of(inquiry, question, page)
    known = None if key is None else inquiry.view.memory.pages.find(key)
    if known is not None:
        return known
    root = find_root(inquiry, question.id)
    direction = question.asked_direction()
    graph, describe = walk(inquiry, root, question, direction=direction)
    answer = write(inquiry, graph, describe, page)
    if key is not None and _is_lasting(inquiry, graph):
        size = sum(memoryview(answer[part]).nbytes for part in ("nodes", "edges"))
        size += sum(len(gap.at) + len(gap.detail) for gap in graph.gaps)
        inquiry.view.memory.pages.keep(key, answer, size)
    if question.rows:

        def ask_rows(given: Answer) -> Answer:
            given["as_of"] = inquiry.moment.size
            rows: Answer = find_verb("rows")(inquiry.segment, given, authoriser=inquiry.authoriser)
            return rows

        add_rows(answer, question, root, ask_rows)
    return answer


def _key_of(inquiry: Inquiry, question: TraceQuestion, page: Page) -> Hashable | None:
    """Give what a page's bytes depend on; None where it is not to be kept.

    Everything in such a page follows from the question and the moment: times in it are of the log.
    """
    moment = inquiry.moment
    if not (page.encoded and inquiry.visibility.sees_all and moment.newest):
        return None
    if question.rows or moment.valid_us is not None:
        return None
    return moment, page, msgspec.json.encode(question)


def _is_lasting(inquiry: Inquiry, graph: Closure) -> bool:
    """Tell whether an answer comes out the same when it is asked again at the moment.

    One that ran out of time might get further; what is told of predictions and of personal values
    comes from beside the graph.
    """
    passing = any(gap.reason not in {"depth", "size", "capture"} for gap in graph.gaps)
    if passing or graph.summarised or inquiry.view.unread:
        return False
    return graph.root.kind not in VERSIONED_KINDS and not graph.nodes_of({"deployment"})


def add_rows(
    answer: Answer, question: TraceQuestion, root: NodeId, ask_rows: Callable[[Answer], Answer]
) -> None:
    """Add to a trace what `ask_rows` tells of the rows behind, or ahead of, its root."""
    found = _rows(question, root, ask_rows)
    answer["gaps"] += [gap for gap in found.pop("gaps") if gap not in answer["gaps"]]
    answer["complete"] = answer["complete"] and bool(found.pop("complete"))
    answer |= found


def find_root(inquiry: Inquiry, text: str) -> NodeId:
    """Find the root that a text means; a model, deployment or row without version at its newest."""
    root = _find_row(inquiry, text) if text.startswith("row:") else inquiry.resolve(text)
    if root.kind in {"model", "deployment", "row"} and not root.version:
        return root.at(newest_version(inquiry.groups, root.dataset) or "")
    return root


def _find_row(inquiry: Inquiry, text: str) -> NodeId:
    """Find the row that a text means: one of a dataset, and version, that is known.

    Whether the dataset has such a key is row provenance's to say.
    """
    for row in iter_readings(text):
        home = find_known(inquiry.view, row.dataset.at(row.version))
        if home is not None and inquiry.visibility.may_see(home):
            return NodeId("row", home.namespace, home.name, row.part, home.version)
    raise UnknownNodeError(text)


def is_about_versions(root: NodeId) -> bool:
    """Tell whether a root asks about versions and runs, or about datasets and jobs."""
    return bool(root.version) or root.kind in VERSIONED_KINDS


def walk(
    inquiry: Inquiry,
    root: NodeId,
    question: GraphQuestion,
    *,
    direction: str,
    versions: bool | None = None,
) -> tuple[Closure, Describe]:
    """Compute a closure, and give what describes its edges.

    Args:
        inquiry: under way.
        root: canonical.
        question: with depth and columns.
        direction: `up`, `down` or `both`.
        versions: between versions or between jobs; `None` for what the root asks for.
    """
    closure, describe = _closure(inquiry, root, question, direction=direction, versions=versions)
    if not inquiry.visibility.sees_all:
        closure = restrict(closure.to_graph(), inquiry.visibility)
    if root.kind != "prediction" and direction != "up" and _asks_for(question, "prediction"):
        note_predictions(inquiry, closure)
    return narrow(inquiry, closure, describe, question), describe


def walk_segment(
    inquiry: Inquiry, node: NodeId, question: GraphQuestion, *, direction: str, versions: bool
) -> Graph:
    """Compute what one segment contributes to a closure over several, from a node on.

    Raises:
        UnknownNodeError: a prediction that this segment does not know.
    """
    if node.kind in {"prediction", "row"}:
        closure, _ = _closure(inquiry, node, question, direction=direction, versions=None)
        return closure.to_graph()
    graph, _ = _walk(
        inquiry, node, question, depth=question.depth, direction=direction, versions=versions
    )
    return graph


def _closure(
    inquiry: Inquiry,
    root: NodeId,
    question: GraphQuestion,
    *,
    direction: str,
    versions: bool | None,
) -> tuple[Closure, Describe]:
    if root.kind == "prediction":
        return _walk_from_prediction(inquiry, root, question, direction=direction)
    if root.kind == "row":
        return _walk_from_row(inquiry, root, question, direction=direction)
    versions = is_about_versions(root) if versions is None else versions
    if question.columns or root.kind in COLUMN_KINDS:
        found = None if versions else _column_reach(inquiry, root, question, direction=direction)
        if found is not None:
            return found, found.describe
        versions = bool(versions)
        return _walk(
            inquiry, root, question, depth=question.depth, direction=direction, versions=versions
        )
    if versions:
        return _walk(
            inquiry, root, question, depth=question.depth, direction=direction, versions=versions
        )
    reach = _reach(inquiry, root, question, direction=direction)
    return reach, reach.describe


def _asks_for(question: GraphQuestion, kind: str) -> bool:
    kinds = question.kinds if isinstance(question, ClosureQuestion) else ()
    return not kinds or kind in kinds


def _reach(inquiry: Inquiry, root: NodeId, question: GraphQuestion, *, direction: str) -> Reach:
    """Walk between whole nodes without versions."""
    walker = ReachWalk(
        Reach(inquiry.groups, root, direction),
        StoredSteps(inquiry.view),
        depth=question.depth,
        budget=inquiry.budget,
        only_current=question.status == "current",
        index=lambda: _find_index(inquiry),
    )
    return walker.run()


def _column_reach(
    inquiry: Inquiry, root: NodeId, question: GraphQuestion, *, direction: str
) -> Reach | None:
    """Walk between columns on the index; None where SQL has to."""
    try:
        from lodeline.query.column_reach import find_column_reach
    except ModuleNotFoundError:
        return None
    return find_column_reach(inquiry, root, question, direction=direction)


def _find_index(inquiry: Inquiry) -> IndexedGraph | None:
    """Give the graph index at the question's moment, where there is one, and numpy."""
    try:
        from lodeline.query.graph_index import index_of
    except ModuleNotFoundError:
        return None
    return index_of(inquiry.segment).at(inquiry.view)


def _walk(
    inquiry: Inquiry,
    root: NodeId,
    question: GraphQuestion,
    *,
    depth: int | None,
    direction: str,
    versions: bool,
) -> tuple[Graph, Describe]:
    """Walk between versions, or between columns."""
    # With columns, a whole node is asked about at both levels; a column at its own alone.
    levels = sorted({question.columns, question.columns and root.kind in COLUMN_KINDS})
    shape: type[VersionWalk | JobWalk] = VersionWalk if versions else JobWalk
    graph, describer = Graph(root, direction), Describer(inquiry.groups)
    only_current = question.status == "current"
    for columns in levels:
        walker = shape(
            inquiry.groups,
            root,
            direction=direction,
            columns=columns,
            depth=depth,
            budget=inquiry.budget,
            describer=describer,
            only_current=only_current,
        )
        graph.include(walker.run())
        describer.learn(walker.rows, walker.said)
    return graph, describer.describe


def _walk_from_prediction(
    inquiry: Inquiry, root: NodeId, question: GraphQuestion, *, direction: str
) -> tuple[Graph, Describe]:
    """Walk from a prediction: up through the deployment that served it; down there is nothing."""
    found = get_prediction(inquiry, root)
    deployment, _ = served_by(found.block)
    if deployment is not None:
        deployment = find_known(inquiry.view, deployment) or deployment
    if direction == "down" or question.depth == 0 or deployment is None:
        graph = Graph(root, direction, {root: 0})
        if direction != "down" and deployment is not None:
            graph.add_gap(Gap(str(root), "depth", "derivations beyond depth 0"))
        elif direction != "down":
            graph.add_gap(Gap(str(root), "capture", "no deployment is recorded for its block"))
        return graph, Describer(inquiry.groups).describe
    depth = None if question.depth is None else question.depth - 1
    graph, describe = _walk(
        inquiry, deployment, question, depth=depth, direction="up", versions=True
    )
    add_prediction(graph, found, deployment)
    graph.direction = direction
    return graph, describe


def _walk_from_row(
    inquiry: Inquiry, root: NodeId, question: GraphQuestion, *, direction: str
) -> tuple[Graph, Describe]:
    """Walk from a row: it stands in a version of its dataset, and that is where the walk goes on.

    Which rows of the other datasets are meant, `rows` says.
    """
    home = root.dataset.at(root.version)
    graph, describe = _walk(
        inquiry, home, question, depth=question.depth, direction=direction, versions=True
    )
    graph.root = root
    graph.add_node(root, 0)
    edge = Edge(home, root, "row", None, said=Description(basis="observed"))
    graph.edges[edge.key] = edge
    return graph, describe


def note_predictions(inquiry: Inquiry, graph: Closure) -> None:
    """Say how many predictions stand below the deployments of an answer; they are not listed."""
    for node in filter(inquiry.visibility.may_see, graph.nodes_of({"deployment"})):
        sampled = sampling_gap(inquiry.segment, node, size=inquiry.moment.size)
        if sampled is not None:
            graph.add_gap(sampled)
        count = count_predictions(inquiry, node)
        if count:
            detail = f"{count} predictions, not listed; ask rows or cohort"
            graph.add_gap(Gap(str(node), "summarised", detail))
            graph.summarised["prediction"] = graph.summarised.get("prediction", 0) + count


def write(inquiry: Inquiry, graph: Closure, describe: Describe, page: Page) -> Answer:
    """Write a page of a closure."""
    return write_answer(
        graph,
        moment=inquiry.moment,
        page=page,
        reader=inquiry.visibility,
        describe=describe,
    )


def _rows(question: TraceQuestion, root: NodeId, ask_rows: Callable[[Answer], Answer]) -> Answer:
    """Ask row provenance for the rows and steps behind (or ahead of) the root."""
    direction = "forward" if question.asked_direction() == "down" else "back"
    parameters = {
        "id": str(root),
        direction: True,
        "where": question.where,
        "valid_at": question.valid_at,
    }
    given = {name: value for name, value in parameters.items() if value is not None}
    if root.kind not in _KINDS_WITH_ROWS:
        return _no_rows(root, f"a {root.kind} has no rows")
    try:
        found = ask_rows(given)
    except UnknownNodeError as error:
        return _no_rows(root, str(error))
    gaps = list(found["gaps"])
    if found["next"]:
        total = sum(found["counts"].values())
        detail = f"{len(found['rows'])} of {total} rows are shown; page through lodeline rows"
        gaps.append(Gap(str(root), "size", detail).to_json())
    return {
        "rows": found["rows"],
        "steps": found["steps"],
        "row_counts": found["counts"],
        "gaps": gaps,
        "complete": found["complete"] and not found["next"],
    }


def _no_rows(root: NodeId, detail: str) -> Answer:
    gap = Gap(str(root), "capture", f"no row provenance: {detail}").to_json()
    return {"rows": [], "steps": [], "row_counts": {}, "gaps": [gap], "complete": False}
