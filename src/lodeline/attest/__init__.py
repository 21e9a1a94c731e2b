"""Signed claims in public formats: in-toto statements, and OpenSSF model-signing bundles.

Pure: facts, names and times arrive as arguments, bytes leave. `proof` reads and verifies them.
"""

from lodeline.attest.predicates import (
    APPROVAL,
    DATASET,
    DEPLOYMENT,
    EVALUATION,
    MODEL,
    TRAINING,
    check_predicate,
    iter_dependencies,
)
from lodeline.attest.statements import (
    TrainingRun,
    TreeReference,
    approval_statement,
    dataset_statement,
    deployment_statement,
    evaluation_statement,
    model_statement,
    training_statement,
)

__all__ = [
    "APPROVAL",
    "DATASET",
    "DEPLOYMENT",
    "EVALUATION",
    "MODEL",
    "TRAINING",
    "TrainingRun",
    "TreeReference",
    "approval_statement",
    "check_predicate",
    "dataset_statement",
    "deployment_statement",
    "evaluation_statement",
    "iter_dependencies",
    "model_statement",
    "training_statement",
]
