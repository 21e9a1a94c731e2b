"""Predictions as nodes: found by identifier in their blocks, joined to what served them."""

from __future__ import annotations

from typing import Any

from lodeline.errors import MissingPredictionError, UnknownNodeError
from lodeline.ingest.predictions import (
    FoundPrediction,
    PredictionBlock,
    count_expired,
    count_summarised,
    find_prediction,
)
from lodeline.model import NodeId, find_prediction_id
from lodeline.query.answers import Description, Edge, Gap, Graph
from lodeline.query.asking import Inquiry
from lodeline.store import Segment
from lodeline.store.prediction_tables import has_prediction_tables
from lodeline.store.senders import senders_of

Answer = dict[str, Any]


def get_prediction(inquiry: Inquiry, node: NodeId) -> FoundPrediction:
    """Look a prediction up at the question's position.

    Raises:
        UnknownNodeError: nobody reserved an identifier like it.
        MissingPredictionError: it was reserved, and is not here.
    """
    found = find_prediction(inquiry.segment, node.name, size=inquiry.moment.size)
    late = (
        found.record is not None
        and inquiry.moment.valid_us is not None
        and _time_of(found) > inquiry.moment.valid_us
    )
    if found.status == "unknown" or late:
        raise UnknownNodeError(str(node))
    if found.record is None:
        raise MissingPredictionError(str(node), found.status)
    return found


def _time_of(found: FoundPrediction) -> int:
    drawn = find_prediction_id(found.prediction_id)
    assert drawn is not None  # it was found under it
    return drawn.time_us


def add_prediction(graph: Graph, found: FoundPrediction, deployment: NodeId | None) -> None:
    """Put a prediction on top of the closure above the deployment that served it.

    Args:
        graph: that closure, its depths counted from the deployment.
        found: the prediction.
        deployment: canonical, with version; `None` when the block names none.
    """
    root = NodeId("prediction", "", found.prediction_id)
    depths = {node: depth + 1 for node, depth in graph.nodes.items()}
    graph.root, graph.nodes = root, {root: 0, **depths}
    if deployment is None:
        graph.add_gap(Gap(str(root), "capture", "no deployment is recorded for its block"))
        return
    edge = Edge(deployment, root, "predicts", None)
    time_us = _time_of(found)
    run = found.block.run_id if found.block is not None else None
    reserved = [] if found.block is None else [found.block.position]
    edge.said = Description(
        basis="observed",
        asserted_by=[run] if run else [],
        asserted_by_total=1 if run else 0,
        first_seen=time_us,
        last_seen=time_us,
        entries=sorted({*reserved, *([] if found.position is None else [found.position])}),
    )
    graph.edges[edge.key] = edge


def served_by(block: PredictionBlock | None) -> tuple[NodeId | None, NodeId | None]:
    """Give the deployment and the model that a block names."""
    return (None, None) if block is None else (block.deployment, block.model)


def count_predictions(inquiry: Inquiry, deployment: NodeId) -> int:
    """Count the recorded predictions of a deployment version at the question's position."""
    connection = inquiry.connection
    if not has_prediction_tables(connection):
        return 0
    names = inquiry.view.names(inquiry.view.members(deployment)).values()
    total = 0
    for name in names:
        [(count,)] = inquiry.view.select(
            "SELECT coalesce(sum(b.count), 0) FROM prediction_block k JOIN prediction_batch b"
            " USING (block, reserved_us) WHERE k.deployment_namespace = :namespace"
            " AND k.deployment_name = :name AND b.position < :size"
            " AND (:version = '' OR k.deployment_version = :version)"
            " AND (:valid IS NULL OR b.first_us <= :valid)",
            namespace=name.namespace,
            name=name.name,
            version=deployment.version,
        )
        total += int(count)
    return total


def sampling_gaps(segment: Segment, *, size: int) -> dict[NodeId, Gap]:
    """Say of which deployments, with their versions, how many predictions are summaries."""
    counts = count_summarised(segment, size=size)
    return {deployment: _sampled(deployment, *counted) for deployment, counted in counts.items()}


def expiry_gaps(segment: Segment, *, size: int) -> dict[NodeId, Gap]:
    """Say of which deployments, with their versions, retention let predictions go."""
    return {
        deployment: Gap(
            str(deployment), "retention", f"{count} predictions were let go by retention"
        )
        for deployment, count in count_expired(segment, size=size).items()
    }


def sampling_gap(segment: Segment, deployment: NodeId, *, size: int) -> Gap | None:
    """Say how many predictions of a deployment only summaries stand for; `None` for none."""
    counted = [
        both
        for node, both in count_summarised(segment, size=size).items()
        if deployment in {node, node.at("")}  # Without a version: of all.
    ]
    count, windows = (sum(one) for one in zip(*counted, strict=True)) if counted else (0, 0)
    return _sampled(deployment, count, windows) if count else None


def _sampled(deployment: NodeId, count: int, windows: int) -> Gap:
    detail = (
        f"{count} predictions are kept as summaries ({windows}), by a rule of sampling; "
        "not one by one"
    )
    return Gap(str(deployment), "sampled", detail)


def describe_prediction(inquiry: Inquiry, node: NodeId) -> Answer:
    """Describe a prediction for `show`."""
    found = get_prediction(inquiry, node)
    deployment, model = served_by(found.block)
    record = dict(found.record or {})
    return {
        "deployment": None if deployment is None else str(deployment),
        "model": None if model is None else str(model),
        "run": found.block.run_id if found.block is not None else None,
        "record": record,
        "position": found.position,
        "senders": _senders(inquiry, found),
    }


def _senders(inquiry: Inquiry, found: FoundPrediction) -> list[Answer]:
    """List which keys delivered the batch that holds it, beside what its record claims."""
    positions = [] if found.position is None else [found.position]
    return [one.to_json() for one in senders_of(inquiry.connection, positions)]
