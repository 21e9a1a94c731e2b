"""Claims from the command line: drafted from the record, signed, logged, found and verified."""

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from black_box import Shell, dataset, event

from lodeline.fold import entry_nodes
from lodeline.proof.dsse import envelope_from_json
from lodeline.store import open_segment
from lodeline.store.statements import iter_statements

A, B, C, D = (letter * 64 for letter in "abcd")
RUN = "00000000-0000-4000-8000-00000000000a"
MODEL = f"model:ml:late#sha256:{A}"
ORDERS = f"dataset:warehouse:orders#sha256:{B}"


def facet(**members: Any) -> dict[str, Any]:
    return {
        "_producer": "https://example.com/tests",
        "_schemaURL": "https://example.com",
        **members,
    }


def digest(value: str) -> dict[str, Any]:
    return {"lodeline_digest": facet(algorithm="sha256", source="bytes", value=value)}


@pytest.fixture
def record(shell: Shell) -> Shell:
    """A training run that read a table, a table without a digest and a base model; a deployment."""
    base = dataset("base", "ml", lodeline_model=facet(digest=f"sha256:{C}"))
    model = dataset("late", "ml", lodeline_model=facet(digest=f"sha256:{A}", framework="sklearn"))
    shell.import_events(
        event("load", outputs=[dataset("orders", **digest(B))]),
        event("pretrain", outputs=[base]),
        event(
            "train",
            [dataset("orders", **digest(B)), dataset("loose", version=facet(datasetVersion="7")), base],
            [model],
            run=RUN,
            time="2026-03-02T10:00:00Z",
        ),
        event(
            "serve",
            outputs=[
                dataset(
                    "api",
                    "ml",
                    lodeline_deployment=facet(
                        digest=f"sha256:{D}",
                        configuration={},
                        model={"namespace": "ml", "name": "late", "version": f"sha256:{A}"},
                    ),
                )
            ],
            time="2026-03-03T10:00:00Z",
        ),
    )  # fmt: skip
    shell.run("sign", "key", "keys/ada.key", "--name", "ada@example.com")
    shell.environment["LODELINE_SIGNING_KEY"] = str(shell.folder / "keys" / "ada.key")
    return shell


def statement(answer: dict[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(b64decode(answer["envelope"]["payload"]))
    return value


def test_a_training_run_is_attested_with_its_data_and_base_model(record: Shell) -> None:
    for words in ((f"run:{RUN}",), ("model:ml:late", "--type", "training")):
        answer = record.json("attest", *words)
        value = statement(answer)
        assert value["predicateType"] == "https://slsa.dev/provenance/v1"
        assert [one["name"] for one in value["subject"]] == [MODEL]
        definition = value["predicate"]["buildDefinition"]
        roles = {
            one["name"]: one["annotations"]["role"] for one in definition["resolvedDependencies"]
        }
        assert roles == {ORDERS: "dataset", f"model:ml:base#sha256:{C}": "baseModel"}
        assert definition["internalParameters"]["unresolvedInputs"] == ["dataset:warehouse:loose#7"]
        assert value["predicate"]["runDetails"]["metadata"]["invocationId"] == f"run:{RUN}"


def test_each_kind_of_node_is_attested_by_the_claim_of_its_kind(record: Shell) -> None:
    model = statement(record.json("attest", "model:ml:late"))
    assert model["predicateType"] == "https://lodeline.dev/attestation/model/v1"
    assert {one["name"] for one in model["predicate"]["trainedOn"]} >= {ORDERS}
    assert model["predicate"]["run"] == f"run:{RUN}"
    table = statement(record.json("attest", "dataset:warehouse:orders"))
    assert table["subject"] == [{"name": ORDERS, "digest": {"sha256": B}}]
    api = statement(record.json("attest", "deployment:ml:api"))
    assert api["subject"] == [{"name": MODEL, "digest": {"sha256": A}}]
    assert api["predicate"]["deployment"] == f"deployment:ml:api#sha256:{D}"


def test_a_person_signs_an_evaluation_and_an_approval(record: Shell) -> None:
    answer = record.json(
        "sign", "evaluation", "model:ml:late", "--by", "Ada Lovelace", "--date", "2026-03-04",
        "--metric", "auc=0.91", "--metric", "brier=0.1", "--dataset", ORDERS,
    )  # fmt: skip
    predicate = statement(answer)["predicate"]
    assert predicate["evaluator"] == {"name": "Ada Lovelace"}
    assert predicate["evaluatedOn"] == "2026-03-04"
    assert predicate["metrics"] == [
        {"name": "auc", "value": 0.91},
        {"name": "brier", "value": 0.1},
    ]
    assert predicate["dataset"]["digest"] == {"sha256": B}
    approval = record.json(
        "sign", "approval", "deployment:ml:api", "--by", "Ada", "--note", "pilot"
    )
    value = statement(approval)
    assert value["subject"] == [{"name": MODEL, "digest": {"sha256": A}}]
    assert value["predicate"]["decision"] == "approved"
    assert value["predicate"]["subject"] == f"deployment:ml:api#sha256:{D}"


REFUSED: list[tuple[tuple[str, ...], int]] = [
    (("sign", "evaluation", "model:ml:late", "--metric", "auc=1"), 2),
    (("sign", "evaluation", "model:ml:late", "--by", "Ada"), 2),
    (("sign", "evaluation", "model:ml:late", "--by", "Ada", "--metric", "auc=nan"), 2),
    (("sign", "evaluation", "model:ml:late", "--by", "A", "--metric", "a=1", "--date", "x"), 2),
    (("sign", "approval", f"run:{RUN}", "--by", "Ada"), 2),
    (("attest", "model:ml:late", "--type", "approval"), 2),
    (("attest", "model:ml:late", "--type", "dataset"), 2),
    (("attest", "model:ml:late", "--key", "keys/none"), 3),
    (("attest", "model:ml:nobody"), 1),
    (("attest", "dataset:warehouse:loose"), 3),
]


def test_what_cannot_be_claimed_is_refused_and_logs_nothing(record: Shell) -> None:
    before = record.json("log", "checkpoint")["size"]
    for words, status in REFUSED:
        done = record.run(*words)
        assert done.returncode == status, (words, done.stderr)
    assert record.json("log", "checkpoint")["size"] == before


def test_logged_statements_are_found_by_what_they_are_about(record: Shell) -> None:
    first = record.json("attest", "model:ml:late")
    record.json("attest", "dataset:warehouse:orders")
    record.json("sign", "approval", "deployment:ml:api", "--by", "Ada")
    unlogged = record.json("attest", "model:ml:late", "--no-log")
    assert unlogged["position"] is None
    segment = open_segment(record.store, create=False)
    try:
        found = {
            name: [one.position for one in iter_statements(segment, [name])]
            for name in (MODEL, "model:ml:late", ORDERS, "deployment:ml:api", "model:ml:base")
        }
        size = segment.size()
        assert found[MODEL] == found["model:ml:late"] == [first["position"], size - 1]
        assert (found[ORDERS], found["model:ml:base"]) == ([size - 2], [])
        assert found["deployment:ml:api"] == [size - 1]
        assert len(list(iter_statements(segment))) == 3
        one = next(iter_statements(segment, [MODEL]))
        assert one.envelope == envelope_from_json(first["envelope"])
        (entry,) = segment.iter_entries(one.position, one.position + 1)
        assert entry.payload is not None
        # What the Merkle map files the entry under.
        assert entry_nodes(entry.kind, entry.payload) == {"model:ml:late"}
    finally:
        segment.close()
    assert record.json("verify")["ok"] is True
    assert record.json("rebuild")["graph_digest"] == record.json("doctor")["graph_digest"]


def test_a_statement_verifies_with_its_key_and_with_no_other(record: Shell) -> None:
    record.run("attest", "model:ml:late", "--output", "model.json")
    key = record.folder / "keys" / "ada.key.pub"
    done = record.json("attest", "model:ml:late", "--verify", "model.json", "--key", key)
    assert (done["ok"], done["subjects"][0]["digest"]) == (True, {"sha256": A})
    vkey = key.read_text().strip()
    assert record.run("attest", "--verify", "model.json", "--key", vkey).returncode == 0
    assert (
        record.run("attest", "model:ml:x", "--verify", "model.json", "--key", vkey).returncode == 1
    )
    record.run("sign", "key", "ben.key", "--name", "ben")
    assert record.run("attest", "--verify", "model.json", "--key", "ben.key.pub").returncode == 1
    envelope = json.loads((record.folder / "model.json").read_text())
    envelope["payload"] = "e30="
    record.write("forged.json", json.dumps(envelope))
    assert record.run("attest", "--verify", "forged.json", "--key", vkey).returncode == 1
    record.write("noise.json", "{")
    assert record.run("attest", "--verify", "noise.json", "--key", vkey).returncode == 1


def test_a_model_folder_is_signed_as_a_bundle_and_a_change_of_it_is_named(shell: Shell) -> None:
    shell.write("late/weights.bin", "w")
    shell.write("late/card/README.md", "card")
    shell.run("sign", "key", "models.key", "--name", "models", "--algorithm", "ecdsa-p256")
    shell.run("sign", "key", "ada.key", "--name", "ada")
    assert shell.run("sign", "model", "late", "--key", "ada.key").returncode == 2
    signed = shell.json("sign", "model", "late", "--key", "models.key")
    assert signed["files"] == 2
    verify = ("attest", "late", "--verify", "late/model.sig", "--key", "models.key.pub")
    assert shell.json(*verify)["compared"] is True
    shell.write("late/weights.bin", "W")
    done = shell.run(*verify)
    assert (done.returncode, "changed: weights.bin" in done.stderr) == (1, True)
    assert Path(shell.folder / "late" / "model.sig").exists()


def test_a_bundle_is_logged_only_under_a_model_whose_bytes_it_holds(shell: Shell) -> None:
    weights = shell.write("late/weights.bin", "w").read_bytes()
    known = facet(digest=f"sha256:{sha256(weights).hexdigest()}")
    shell.import_events(event("train", outputs=[dataset("late", "ml", lodeline_model=known)]))
    shell.run("sign", "key", "models.key", "--name", "models", "--algorithm", "ecdsa-p256")
    sign = ("sign", "model", "late", "--key", "models.key", "--about", "model:ml:late")
    position = shell.json(*sign)["position"]
    segment = open_segment(shell.store, create=False)
    try:
        (found,) = iter_statements(segment, ["model:ml:late"])
    finally:
        segment.close()
    assert found.position == position
    assert found.statement.predicate_type == "https://model_signing/signature/v1.0"
    shell.write("late/weights.bin", "other")
    assert shell.run(*sign).returncode == 1
    assert shell.json("verify")["ok"] is True


def test_a_statement_entry_that_holds_no_statement_fails_verification(shell: Shell) -> None:
    segment = open_segment(shell.store)
    segment.append_record("statement", {"envelope": {}, "subjects": []})
    segment.close()
    answer = shell.json("verify", status=1)
    assert [one["code"] for one in answer["failures"]] == ["statement"]
