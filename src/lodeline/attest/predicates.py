"""Types of claims, and what each must say to be one.

Statements of Lodeline are checked by the same table when they are written and when they are read.
Members that the table does not name may stand beside; a reader ignores what it doesn't know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lodeline.errors import MalformedStatementError

_OWN: Final = "https://lodeline.dev/attestation/{}/v1"
DATASET: Final = _OWN.format("dataset")
MODEL: Final = _OWN.format("model")
EVALUATION: Final = _OWN.format("evaluation")
DEPLOYMENT: Final = _OWN.format("deployment")
APPROVAL: Final = _OWN.format("approval")
# SLSA provenance: https://slsa.dev/spec/v1.0/provenance.
TRAINING: Final = "https://slsa.dev/provenance/v1"
# How to read the parameters of a training run's provenance.
TRAINING_BUILD_TYPE: Final = "https://lodeline.dev/attestation/training-run/v1"

DECISIONS: Final = ("approved", "rejected")

# Predicate type -> pointer of a required member -> its type. A string must not be empty.
_REQUIRED: Final[dict[str, dict[str, type]]] = {
    DATASET: {"dataset": str, "derivedFrom": list, "record": dict},
    MODEL: {"model": str, "trainedOn": list, "record": dict},
    TRAINING: {
        "buildDefinition/buildType": str,
        "buildDefinition/externalParameters": dict,
        "buildDefinition/resolvedDependencies": list,
        "runDetails/builder/id": str,
        "runDetails/metadata/invocationId": str,
    },
    EVALUATION: {
        "evaluated": str,
        "evaluatedOn": str,
        "evaluator/name": str,
        "metrics": list,
        "record": dict,
    },
    DEPLOYMENT: {"deployment": str, "model": dict, "record": dict},
    APPROVAL: {
        "subject": str,
        "decision": str,
        "decidedOn": str,
        "approver/name": str,
        "record": dict,
    },
}


def check_predicate(predicate_type: str, predicate: Mapping[str, Any]) -> None:
    """Check what a claim of a known type must say; claims of other types pass.

    Raises:
        MalformedStatementError: a required member is missing, empty, or of another type.
    """
    for pointer, expected in _REQUIRED.get(predicate_type, {}).items():
        found: Any = predicate
        for name in pointer.split("/"):
            found = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(found, expected) or found == "":
            raise MalformedStatementError(f"{predicate_type}: {pointer} is missing or empty")
    for dependency in iter_dependencies(predicate_type, predicate):
        if not isinstance(dependency, Mapping) or not isinstance(dependency.get("digest"), Mapping):
            raise MalformedStatementError(f"{predicate_type}: a dependency has no digest")
    if predicate_type == APPROVAL and predicate["decision"] not in DECISIONS:
        raise MalformedStatementError(f"a decision is one of {', '.join(DECISIONS)}")
    if predicate_type == EVALUATION:
        _check_metrics(predicate["metrics"])


def iter_dependencies(predicate_type: str, predicate: Mapping[str, Any]) -> Iterator[Any]:
    """Walk the artifacts that a claim says its subject was made of."""
    if predicate_type == TRAINING:
        yield from predicate["buildDefinition"]["resolvedDependencies"]
    elif predicate_type == DATASET:
        yield from predicate["derivedFrom"]
    elif predicate_type == MODEL:
        yield from predicate["trainedOn"]
    elif predicate_type == DEPLOYMENT:
        yield predicate["model"]


def _check_metrics(metrics: list[Any]) -> None:
    if not metrics:
        raise MalformedStatementError(f"{EVALUATION}: an evaluation has at least one metric")
    for metric in metrics:
        if (
            not isinstance(metric, Mapping)
            or not isinstance(metric.get("name"), str)
            or isinstance(metric.get("value"), bool)
            or not isinstance(metric.get("value"), int | float)
        ):
            raise MalformedStatementError(f"{EVALUATION}: a metric has a name and a number")
