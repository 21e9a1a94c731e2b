"""Keys and senders are kept alike by every store, and shared by every process over one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lodeline.errors import UnauthenticatedError, UnknownApiKeyError
from lodeline.ingest import Submission, accept, prepare_event
from lodeline.ingest.predictions import accept_predictions
from lodeline.model import PredictionId
from lodeline.query import ask
from lodeline.query.permission import NamespaceAuthoriser, NamespacePatterns
from lodeline.server.endpoints import Permission
from lodeline.server.key_gate import KeyGate
from lodeline.store.api_keys import create_api_key, list_api_keys, revoke_api_key
from lodeline.store.senders import Sender, beside_entries
from lodeline.store.stream_tables import drop_correlation
from lodeline.wire.correlation import Correlation
from stores import Place

NOW_US = 1_790_000_000 * 1_000_000
RUN = "00000000-0000-4000-8000-000000000001"


def event(name: str, source: str = "") -> bytes:
    body = {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": RUN},
        "job": {"namespace": "n", "name": "j"},
        "inputs": [{"namespace": "hidden", "name": source}] if source else [],
        "outputs": [{"namespace": "n", "name": name}],
    }
    return json.dumps(body).encode()


def test_a_key_of_one_process_counts_in_another_until_it_is_revoked(place: Place) -> None:
    with place.open() as maker, place.open() as server:
        key, token = create_api_key(
            maker, name="a", scopes=["read"], now_us=NOW_US, expires_us=None, namespaces=["n"]
        )
        gate = KeyGate(server, clock_us=lambda: NOW_US, run=lambda act: act())
        scope = {"headers": [(b"authorization", f"Bearer {token}".encode())]}
        caller = gate.admit(scope, Permission.READ)
        assert (caller.name, caller.key_id) == ("a", key.key_id)
        [listed] = list_api_keys(maker)
        assert listed.used_us == NOW_US
        assert listed.digest == key.digest
        revoke_api_key(maker, "a", now_us=NOW_US + 1)
        other = KeyGate(server, clock_us=lambda: NOW_US, run=lambda act: act())
        with pytest.raises(UnauthenticatedError, match="revoked"):
            other.admit(scope, Permission.READ)
        with pytest.raises(UnknownApiKeyError):
            revoke_api_key(maker, "a", now_us=NOW_US)


def test_senders_stand_beside_their_entries(place: Place) -> None:
    with place.open() as segment:
        first, second = Sender("k1", "one"), Sender("k2", "two")
        segment.append([prepare_event(event("a"))], beside=beside_entries([first]))
        again = [prepare_event(event("a")), prepare_event(event("b"))]
        segment.append(again, beside=beside_entries([second, None]))
        accept(segment, [])
        shown = ask(segment, "show", {"id": f"run:{RUN}"})
        assert [one["name"] for one in shown["senders"]] == ["one", "two"]


def test_what_headers_named_stands_beside_its_entry_and_goes_with_it(place: Place) -> None:
    with place.open() as segment:
        first, second = Correlation("a" * 32, "b" * 16), Correlation(model_version="v1")
        accept(segment, [Submission(event("a")), Submission(event("a"), correlation=first)])
        accept(segment, [Submission(event("a"), correlation=second)])
        shown = ask(segment, "show", {"id": f"run:{RUN}"})
        assert shown["correlations"] == [first.to_json()]
        position = max(entry.position for entry in segment.iter_entries(kinds={"event"}))
        with segment.writing() as connection:
            drop_correlation(connection, position)
        assert ask(segment, "show", {"id": f"run:{RUN}"})["correlations"] == []


def test_senders_stand_beside_their_predictions(place: Place) -> None:
    block = 0x12345678AB
    identifier = str(PredictionId(1_700_000_000_000 * 4096, block, 0))
    shared = {"block": f"{block:010x}"}
    deployment = {"namespace": "n", "name": "d"}
    records: list[dict[str, Any]] = [
        {"type": "reservation", "time": 1_700_000_000_000_000, "deployment": deployment},
        {"type": "predictions", "rows": [{"id": identifier, "output": 1}]},
    ]
    records = [shared | record for record in records]
    with place.open() as segment:
        for sender in (Sender("k1", "one"), Sender("k2", "two"), Sender("k1", "one"), None):
            assert accept_predictions(segment, records, sender=sender) == [None, None]
        # Another claim under its identifier is not what is kept.
        records[1]["rows"][0]["output"] = 2
        assert accept_predictions(segment, records, sender=Sender("k3", "three")) == [None, None]
        accept(segment, [])
        shown = ask(segment, "show", {"id": f"prediction:{identifier}"})
        assert shown["record"]["output"] == 1
        assert [one["name"] for one in shown["senders"]] == ["one", "two"]


def test_a_confined_reader_meets_the_same_stub_in_every_process(place: Place) -> None:
    reader = NamespaceAuthoriser(NamespacePatterns(["n"]))
    with place.open() as segment:
        create_api_key(segment, name="", scopes=["read"], now_us=NOW_US, expires_us=None)
        accept(segment, [event("a", "secret")])
        found = []
        for _ in range(2):
            with place.open() as other:
                answer = ask(other, "trace", {"id": "dataset:n:a"}, authoriser=reader)
            assert "secret" not in json.dumps(answer)
            found.append([one["id"] for one in answer["nodes"] if one.get("restricted")])
        assert found[0] == found[1]
        assert len(found[0]) == 1
        assert ask(segment, "stats", {}, authoriser=reader)["nodes"]["dataset"] == 1
