"""Building statements: one function a kind of claim, from facts to the bytes that are signed.

A subject is a node with the SHA-256 of its bytes; without that digest no statement is made, since
a signature over a name alone would say nothing of any bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lodeline.attest.predicates import (
    APPROVAL,
    DATASET,
    DEPLOYMENT,
    EVALUATION,
    MODEL,
    TRAINING,
    TRAINING_BUILD_TYPE,
    check_predicate,
)
from lodeline.errors import MissingDigestError
from lodeline.model import NodeId
from lodeline.proof.statements import STATEMENT_TYPE, parse_statement
from lodeline.wire import canonical_bytes

_VERSION = re.compile(r"sha256:([0-9a-f]{64})")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TreeReference:
    """The tree head at which a statement's facts were read.

    Attributes:
        origin: the log.
        size: entries then.
        root_hash: 64 hexadecimal digits.
    """

    origin: str
    size: int
    root_hash: str

    def to_json(self) -> dict[str, object]:
        """Give the `record` member; the size as a string, as all 64-bit integers of the log."""
        return {"origin": self.origin, "treeSize": str(self.size), "rootHash": self.root_hash}


def digest_of(node: NodeId) -> str | None:
    """Find the SHA-256 in a node's version, in hexadecimal."""
    found = _VERSION.fullmatch(node.version)
    return None if found is None else found[1]


def resource(node: NodeId, **annotations: str) -> dict[str, Any]:
    """Describe an artifact by name and digest.

    Raises:
        MissingDigestError: its version is not the digest of its bytes.
    """
    digest = digest_of(node)
    if digest is None:
        raise MissingDigestError(str(node))
    described: dict[str, Any] = {"name": str(node), "digest": {"sha256": digest}}
    return described | ({"annotations": annotations} if annotations else {})


def _statement(predicate_type: str, subjects: Sequence[NodeId], predicate: Json) -> bytes:
    # Absent facts stay out: a null would be a claim that there is none.
    said = {name: value for name, value in predicate.items() if value is not None}
    check_predicate(predicate_type, said)
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [resource(subject) for subject in subjects],
        "predicateType": predicate_type,
        "predicate": said,
    }
    payload = canonical_bytes(statement)
    parse_statement(payload)
    return payload


def dataset_statement(
    dataset: NodeId, *, derived_from: Sequence[NodeId], facts: Json, record: TreeReference
) -> bytes:
    """State which bytes a dataset version has, and which it was made of.

    Args:
        dataset: with its version.
        derived_from: what its run read; those without a digest are named without one.
        facts: further members, such as `run`, `job`, `schema`, `rows`.
        record: where the facts were read.

    Raises:
        MissingDigestError: the version is not a digest.
    """
    known, unknown = _split(derived_from)
    predicate = {
        **facts,
        "dataset": str(dataset),
        "derivedFrom": known,
        "derivedFromWithoutDigest": unknown or None,
        "record": record.to_json(),
    }
    return _statement(DATASET, [dataset], predicate)


def model_statement(
    model: NodeId, *, trained_on: Sequence[NodeId], facts: Json, record: TreeReference
) -> bytes:
    """State which bytes a model version has, and what it was trained on.

    Args:
        model: with its version.
        trained_on: what the training run read.
        facts: further members, such as `run`, `job`, `framework`, `format`, `features`.
        record: where the facts were read.

    Raises:
        MissingDigestError: the version is not a digest.
    """
    known, unknown = _split(trained_on)
    predicate = {
        **facts,
        "model": str(model),
        "trainedOn": known,
        "trainedOnWithoutDigest": unknown or None,
        "record": record.to_json(),
    }
    return _statement(MODEL, [model], predicate)


def _split(nodes: Sequence[NodeId]) -> tuple[list[dict[str, Any]], list[str]]:
    known = [resource(node) for node in nodes if digest_of(node) is not None]
    return known, [str(node) for node in nodes if digest_of(node) is None]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What the record says of a run.

    Attributes:
        run_id: its identifier.
        job: node identifier of its job.
        inputs: what it read, with versions.
        outputs: what it wrote, with versions.
        builder: URI of the program that reported the run.
        started: RFC 3339 time.
        ended: RFC 3339 time, if it ended.
        code: version of the code, if known.
        external: parameters under the caller's control.
        internal: environment, seeds and the like.
    """

    run_id: str
    job: str
    inputs: Sequence[NodeId]
    outputs: Sequence[NodeId]
    builder: str
    started: str
    ended: str | None
    code: str | None
    external: Json
    internal: Json


def training_statement(run: TrainingRun, *, record: TreeReference) -> bytes:
    """State, as SLSA provenance, which run made which artifacts of which others.

    Resolved dependencies are the datasets and base models that the run read, with their role as an
    annotation, and the code. Inputs whose digest the record does not hold cannot be resolved; they
    stand by name under `internalParameters.unresolvedInputs`.

    Raises:
        MissingDigestError: no output has a digest.
    """
    subjects = [node for node in run.outputs if digest_of(node) is not None]
    if not subjects:
        raise MissingDigestError(f"run:{run.run_id}")
    dependencies = [
        resource(node, role="baseModel" if node.kind == "model" else node.kind)
        for node in run.inputs
        if digest_of(node) is not None
    ]
    code = _VERSION.fullmatch(run.code or "")
    if code is not None:
        digest = {"sha256": code[1]}
        dependencies.append({"name": run.job, "digest": digest, "annotations": {"role": "code"}})
    elif run.code and re.fullmatch(r"(?:[0-9a-f]{40}|[0-9a-f]{64})", run.code):
        digest = {"gitCommit": run.code}
        dependencies.append({"name": run.job, "digest": digest, "annotations": {"role": "code"}})
    unresolved = [str(node) for node in run.inputs if digest_of(node) is None]
    internal = {**run.internal, "record": record.to_json()}
    if unresolved:
        internal["unresolvedInputs"] = unresolved
    metadata = {"invocationId": f"run:{run.run_id}", "startedOn": run.started}
    if run.ended is not None:
        metadata["finishedOn"] = run.ended
    predicate = {
        "buildDefinition": {
            "buildType": TRAINING_BUILD_TYPE,
            "externalParameters": {"job": run.job, **run.external},
            "internalParameters": internal,
            "resolvedDependencies": dependencies,
        },
        "runDetails": {"builder": {"id": run.builder}, "metadata": metadata},
    }
    return _statement(TRAINING, subjects, predicate)


def evaluation_statement(
    model: NodeId,
    *,
    metrics: Mapping[str, float],
    evaluator: str,
    evaluated_on: str,
    record: TreeReference,
    dataset: NodeId | None = None,
    note: str | None = None,
) -> bytes:
    """State how well a named person found a model to do, and when.

    Args:
        model: with its version.
        metrics: at least one.
        evaluator: the person's name.
        evaluated_on: RFC 3339 date or time.
        record: where the model's version was read.
        dataset: what it was evaluated on.
        note: whatever else the person wants to say.

    Raises:
        MissingDigestError: the model's version, or the dataset's, is not a digest.
        MalformedStatementError: no metric, name or date.
    """
    listed = [{"name": name, "value": value} for name, value in sorted(metrics.items())]
    predicate = {
        "evaluated": str(model),
        "evaluatedOn": evaluated_on,
        "evaluator": {"name": evaluator},
        "metrics": listed,
        "dataset": None if dataset is None else resource(dataset),
        "note": note,
        "record": record.to_json(),
    }
    return _statement(EVALUATION, [model], predicate)


def deployment_statement(
    deployment: NodeId, model: NodeId, *, facts: Json, record: TreeReference
) -> bytes:
    """State which model a deployment serves; the subject is the model, which alone has bytes.

    Raises:
        MissingDigestError: the model's version is not a digest.
    """
    predicate = {
        **facts,
        "deployment": str(deployment),
        "model": resource(model),
        "record": record.to_json(),
    }
    return _statement(DEPLOYMENT, [model], predicate)


def approval_statement(
    subject: NodeId,
    *,
    about: NodeId,
    decision: str,
    approver: str,
    decided_on: str,
    record: TreeReference,
    note: str | None = None,
) -> bytes:
    """State what a named person decided about an artifact, and when.

    Args:
        subject: dataset or model with its version.
        about: what was asked about: the subject itself, or the deployment that serves it.
        decision: `approved` or `rejected`.
        approver: the person's name.
        decided_on: RFC 3339 date or time.
        record: where the version was read.
        note: conditions, purpose, reasons.

    Raises:
        MissingDigestError: the subject's version is not a digest.
        MalformedStatementError: no name, date or decision.
    """
    predicate = {
        "subject": str(about),
        "decision": decision,
        "decidedOn": decided_on,
        "approver": {"name": approver},
        "note": note,
        "record": record.to_json(),
    }
    return _statement(APPROVAL, [subject], predicate)
