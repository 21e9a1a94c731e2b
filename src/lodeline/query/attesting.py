"""Drafting statements from the record: what is known of a node, as a claim ready to be signed.

Facts come through the one door, `ask`, so a statement says no more than its signer may see, and
names the tree head at which it was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lodeline.attest import (
    TrainingRun,
    TreeReference,
    approval_statement,
    dataset_statement,
    deployment_statement,
    evaluation_statement,
    model_statement,
    training_statement,
)
from lodeline.errors import MissingDigestError, UsageError
from lodeline.model import NodeId, parse_identifier
from lodeline.query.door import ask
from lodeline.store import Segment

Answer = Mapping[str, Any]

# What `attest` draws up by itself; evaluations and approvals are a person's to sign.
CLAIMS: Final = ("dataset", "model", "training", "deployment")
_BY_KIND: Final = {
    "dataset": "dataset",
    "model": "model",
    "run": "training",
    "deployment": "deployment",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A statement that is not signed yet.

    Attributes:
        payload: the statement's bytes.
        subjects: the nodes under which the log shall know it.
    """

    payload: bytes
    subjects: tuple[NodeId, ...]


def draft_statement(segment: Segment, node: str, claim: str | None = None) -> Draft:
    """Draw up what the record says of a node.

    Args:
        segment: to ask.
        node: identifier of a dataset, model, run or deployment; without a version, the newest.
        claim: of `CLAIMS`; by the node's kind without it.

    Raises:
        UsageError: no such claim about such a node.
        UnknownNodeError: the record does not know the node.
        MissingDigestError: the record holds no digest of the bytes.
    """
    known = ask(segment, "show", {"id": node})
    claim = claim or _BY_KIND.get(known["kind"])
    if claim == "training" and known["kind"] in {"model", "dataset", "run"}:
        return _training(segment, known)
    if claim is None or _BY_KIND.get(known["kind"]) != claim:
        raise UsageError(
            f"no {claim or 'statement'} can be made of a {known['kind']}; "
            "attest a dataset, model, run or deployment"
        )
    drafting = {"dataset": _dataset, "model": _model, "deployment": _deployment}[claim]
    return drafting(segment, known)


def _tree(answer: Answer) -> TreeReference:
    tree = answer["trees"][0]
    return TreeReference(tree["origin"], tree["size"], tree["root_hash"])


def _node(known: Answer) -> NodeId:
    node = parse_identifier(known["id"])
    return node if node.version or not known["version"] else node.at(known["version"])


@dataclass(frozen=True, slots=True)
class _Above:
    """One step up from a node: what it was made of, by which run, and what is not known."""

    sources: tuple[NodeId, ...]
    run: str | None
    job: str | None
    gaps: tuple[str, ...]
    tree: TreeReference

    def facts(self) -> dict[str, Any]:
        return {"run": self.run, "job": self.job, "gaps": list(self.gaps) or None}


def _look_up(segment: Segment, node: NodeId) -> _Above:
    answer = ask(segment, "trace", {"id": str(node), "depth": 1})
    incoming = [edge for edge in answer["edges"] if edge["target"] == str(node)]
    made_of = [edge for edge in incoming if edge["kind"] in {"derives", "trains", "deploys"}]
    # The last run to write these very bytes; several may have.
    runs = [edge for edge in incoming if edge["source"].startswith("run:")]
    last = max(runs, key=lambda edge: str(edge["last_seen"]), default=None)
    # That the walk ends after one step is no lack of the record.
    gaps = {gap["reason"] for gap in answer["gaps"] if gap["reason"] != "depth"}
    return _Above(
        tuple(parse_identifier(edge["source"]) for edge in made_of),
        None if last is None else last["source"],
        None if last is None else last["job"],
        tuple(sorted(gaps)),
        _tree(answer),
    )


def _dataset(segment: Segment, known: Answer) -> Draft:
    node = _node(known)
    above = _look_up(segment, node)
    facets = known["facets"]
    fields = (facets.get("schema") or {}).get("fields") or []
    facts = {
        **above.facts(),
        "schema": [
            {name: field[name] for name in ("name", "type") if name in field} for field in fields
        ]
        or None,
        "rows": (facets.get("outputStatistics") or {}).get("rowCount"),
    }
    payload = dataset_statement(node, derived_from=above.sources, facts=facts, record=above.tree)
    return Draft(payload, (node,))


def _model(segment: Segment, known: Answer) -> Draft:
    node = _node(known)
    above = _look_up(segment, node)
    facet = known["facets"].get("lodeline_model") or {}
    facts = {
        **above.facts(),
        **{name: facet.get(name) for name in ("framework", "format", "class", "features")},
    }
    payload = model_statement(node, trained_on=above.sources, facts=facts, record=above.tree)
    return Draft(payload, (node,))


def _training(segment: Segment, known: Answer) -> Draft:
    if known["kind"] != "run":
        above = _look_up(segment, _node(known))
        if above.run is None:
            raise UsageError(f"{known['id']}: no run is recorded that made it")
        known = ask(segment, "show", {"id": above.run})
    facets = known["facets"]
    parameters = facets.get("lodeline_parameters") or {}
    environment = facets.get("lodeline_environment") or {}
    external = {
        "command": (facets.get("lodeline_capture") or {}).get("argv"),
        "parameters": parameters.get("parameters"),
    }
    internal = {
        "environment": {
            name: environment[name]
            for name in ("digest", "platform", "interpreter", "container")
            if environment.get(name)
        }
        or None,
        "seeds": parameters.get("seeds") or None,
        "gaps": sorted({gap["reason"] for gap in known["gaps"]}) or None,
    }
    outputs = [parse_identifier(one) for one in known["outputs"]]
    run = TrainingRun(
        run_id=known["name"],
        job=known["job"] or "",
        inputs=[parse_identifier(one) for one in known["inputs"]],
        outputs=outputs,
        builder=next(iter(known["producers"]), ""),
        started=known["started"],
        ended=known["ended"],
        code=known["code"],
        external={name: value for name, value in external.items() if value is not None},
        internal={name: value for name, value in internal.items() if value is not None},
    )
    payload = training_statement(run, record=_tree(known))
    return Draft(payload, (parse_identifier(known["id"]), *outputs))


def _deployment(segment: Segment, known: Answer) -> Draft:
    node = _node(known)
    above = _look_up(segment, node)
    model = _model_of(node, above)
    payload = deployment_statement(node, model, facts=above.facts(), record=above.tree)
    return Draft(payload, (node, model))


def _model_of(deployment: NodeId, above: _Above) -> NodeId:
    models = {source for source in above.sources if source.kind == "model"}
    if len(models) != 1:
        raise MissingDigestError(f"{deployment} (it is recorded with {len(models)} models)")
    return next(iter(models))


def find_artifact(segment: Segment, node: str) -> tuple[NodeId, NodeId, TreeReference]:
    """Find what a person's claim is about: the node asked about, its artifact, and the tree.

    Raises:
        UsageError: neither a dataset nor a model nor a deployment.
        UnknownNodeError: the record does not know the node.
    """
    known = ask(segment, "show", {"id": node})
    about = _node(known)
    if about.kind == "deployment":
        above = _look_up(segment, about)
        return about, _model_of(about, above), above.tree
    if about.kind not in {"dataset", "model"}:
        raise UsageError(f"a person signs for a dataset, model or deployment, not a {about.kind}")
    return about, about, _tree(known)


def draft_evaluation(
    segment: Segment,
    node: str,
    *,
    metrics: Mapping[str, float],
    evaluator: str,
    evaluated_on: str,
    dataset: str | None = None,
    note: str | None = None,
) -> Draft:
    """Draw up a named person's evaluation of a model, or of what a deployment serves.

    Raises:
        UnknownNodeError: the record does not know the model or the dataset.
        MissingDigestError: the record holds no digest of their bytes.
        MalformedStatementError: no metric, name or date.
    """
    about, model, tree = find_artifact(segment, node)
    on = None if dataset is None else _node(ask(segment, "show", {"id": dataset}))
    payload = evaluation_statement(
        model,
        metrics=metrics,
        evaluator=evaluator,
        evaluated_on=evaluated_on,
        record=tree,
        dataset=on,
        note=note,
    )
    return Draft(payload, (about,) if about == model else (about, model))


def draft_approval(
    segment: Segment,
    node: str,
    *,
    decision: str,
    approver: str,
    decided_on: str,
    note: str | None = None,
) -> Draft:
    """Draw up a named person's decision about a dataset, a model or a deployment.

    Raises:
        UnknownNodeError: the record does not know it.
        MissingDigestError: the record holds no digest of its bytes.
        MalformedStatementError: no name, date or decision.
    """
    about, subject, tree = find_artifact(segment, node)
    payload = approval_statement(
        subject,
        about=about,
        decision=decision,
        approver=approver,
        decided_on=decided_on,
        record=tree,
        note=note,
    )
    return Draft(payload, (about,) if about == subject else (about, subject))
