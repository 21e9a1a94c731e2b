"""Statements say what they must, about bytes and not about names alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from lodeline import attest
from lodeline.errors import MalformedStatementError, MissingDigestError
from lodeline.model import NodeId, parse_identifier
from lodeline.proof.statements import parse_statement

A, B = "a" * 64, "b" * 64
MODEL = parse_identifier(f"model:default:late#sha256:{A}")
ORDERS = parse_identifier(f"dataset:file:/data/orders.csv#sha256:{B}")
BASE = parse_identifier(f"model:default:base#sha256:{B}")
TABLE = parse_identifier("dataset:postgres:orders#42")
TREE = attest.TreeReference("lodeline.local/1", 1 << 60, A)
RUN = attest.TrainingRun(
    run_id="01a2",
    job="job:default:train.py",
    inputs=[ORDERS, BASE, TABLE],
    outputs=[MODEL],
    builder="https://lodeline.dev/producer/0.1.0",
    started="2026-01-01T00:00:00Z",
    ended="2026-01-01T00:01:00Z",
    code=f"sha256:{A}",
    external={"parameters": {"depth": 6}},
    internal={"environment": {"digest": f"sha256:{B}"}},
)


def read(payload: bytes) -> dict[str, Any]:
    parse_statement(payload)
    value: dict[str, Any] = json.loads(payload)
    return value


def test_a_training_run_is_told_as_slsa_provenance() -> None:
    value = read(attest.training_statement(RUN, record=TREE))
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    assert value["predicateType"] == "https://slsa.dev/provenance/v1"
    assert value["subject"] == [{"name": str(MODEL), "digest": {"sha256": A}}]
    definition, details = value["predicate"]["buildDefinition"], value["predicate"]["runDetails"]
    roles = {one["name"]: one["annotations"]["role"] for one in definition["resolvedDependencies"]}
    assert roles == {
        str(ORDERS): "dataset",
        str(BASE): "baseModel",
        "job:default:train.py": "code",
    }
    assert definition["internalParameters"]["unresolvedInputs"] == [str(TABLE)]
    assert definition["internalParameters"]["record"]["treeSize"] == str(1 << 60)
    assert details == {
        "builder": {"id": "https://lodeline.dev/producer/0.1.0"},
        "metadata": {
            "invocationId": "run:01a2",
            "startedOn": "2026-01-01T00:00:00Z",
            "finishedOn": "2026-01-01T00:01:00Z",
        },
    }


def test_what_has_no_digest_gets_no_statement() -> None:
    with pytest.raises(MissingDigestError):
        attest.dataset_statement(TABLE, derived_from=[], facts={}, record=TREE)
    with pytest.raises(MissingDigestError):
        attest.model_statement(MODEL.at(""), trained_on=[], facts={}, record=TREE)


def test_an_input_without_a_digest_is_named_but_not_as_a_dependency() -> None:
    payload = attest.model_statement(MODEL, trained_on=[ORDERS, TABLE], facts={}, record=TREE)
    predicate = read(payload)["predicate"]
    assert predicate["trainedOn"] == [{"name": str(ORDERS), "digest": {"sha256": B}}]
    assert predicate["trainedOnWithoutDigest"] == [str(TABLE)]


def evaluate(metrics: dict[str, float], by: str = "Ada Lovelace") -> bytes:
    return attest.evaluation_statement(
        MODEL, metrics=metrics, evaluator=by, evaluated_on="2026-01-01", record=TREE, dataset=ORDERS
    )


def test_an_evaluation_names_who_found_what_and_when() -> None:
    predicate = read(evaluate({"auc": 0.91}))["predicate"]
    assert predicate["evaluator"] == {"name": "Ada Lovelace"}
    assert predicate["evaluatedOn"] == "2026-01-01"
    assert predicate["metrics"] == [{"name": "auc", "value": 0.91}]
    assert predicate["dataset"]["digest"] == {"sha256": B}
    for metrics, by in (({}, "Ada"), ({"auc": 1.0}, "")):
        with pytest.raises(MalformedStatementError):
            evaluate(metrics, by)


def test_a_deployment_is_attested_by_the_digest_of_its_model() -> None:
    deployment = NodeId("deployment", "default", "api")
    value = read(attest.deployment_statement(deployment, MODEL, facts={}, record=TREE))
    assert value["subject"][0]["digest"] == {"sha256": A}
    assert value["predicate"]["deployment"] == "deployment:default:api"


def test_an_approval_is_a_decision_of_a_named_person() -> None:
    def approve(decision: str) -> bytes:
        return attest.approval_statement(
            MODEL,
            about=MODEL,
            decision=decision,
            approver="Ada",
            decided_on="2026-01-01",
            record=TREE,
        )

    assert read(approve("approved"))["predicateType"] == attest.APPROVAL
    with pytest.raises(MalformedStatementError):
        approve("perhaps")


@pytest.mark.parametrize(
    "change",
    [
        lambda value: [],
        lambda value: value | {"_type": "https://in-toto.io/Statement/v0.1"},
        lambda value: value | {"subject": []},
        lambda value: value | {"subject": [{"name": "a"}]},
        lambda value: value | {"subject": [{"name": "a", "digest": {}}]},
        lambda value: value | {"subject": [{"name": "a", "digest": {"sha256": "zz"}}]},
        lambda value: value | {"subject": [{"name": 1, "digest": {"sha256": "aa"}}]},
        lambda value: value | {"predicateType": ""},
        lambda value: value | {"predicate": 7},
    ],
)
def test_what_is_no_statement_is_said_to_be_none(change: Callable[[dict[str, Any]], Any]) -> None:
    sound = read(evaluate({"auc": 0.5}))
    with pytest.raises(MalformedStatementError):
        parse_statement(json.dumps(change(sound)).encode())
    with pytest.raises(MalformedStatementError):
        parse_statement(b'{"_type":1,"_type":2}')


def test_a_claim_of_a_known_type_is_checked_and_of_another_let_pass() -> None:
    attest.check_predicate("https://example.com/other/v1", {})
    for kind in (attest.DATASET, attest.MODEL, attest.TRAINING, attest.EVALUATION):
        with pytest.raises(MalformedStatementError):
            attest.check_predicate(kind, {})
    predicate = read(attest.training_statement(RUN, record=TREE))["predicate"]
    predicate["buildDefinition"]["resolvedDependencies"].append({"name": "no digest"})
    with pytest.raises(MalformedStatementError):
        attest.check_predicate(attest.TRAINING, predicate)
