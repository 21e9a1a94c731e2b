"""What `lodeline export` writes, and that other programs can read it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prov.model import ProvDocument

from lodeline import wire
from lodeline.cli.main import main
from lodeline.spool import Spool, spool_directory
from lodeline.store import AcceptedEvent, open_segment
from lodeline.wire.reading import iter_raw_events

EVENTS = Path(__file__).parents[2] / "fixtures" / "events"
RUN_ID = "01890f1e-7e2a-7b3c-8d4e-5f6a7b8c9d0e"
PARENT_ID = "01890f1e-0000-7b3c-8d4e-5f6a7b8c9d0e"


def training(event_type: str, minute: int, **run_facets: Any) -> bytes:
    digest = {"algorithm": "sha256", "source": "bytes", "value": "ab" * 32}
    model = {"digest": "sha256:" + "cd" * 32, "framework": "scikit-learn"}
    event = {
        "eventType": event_type,
        "eventTime": f"2026-11-22T10:{minute:02d}:00Z",
        "run": {"runId": RUN_ID, "facets": run_facets},
        "job": {"namespace": "ml", "name": "train.py"},
        "inputs": [
            {"namespace": "file", "name": "/d/ä#1:x", "facets": {"lodeline_digest": digest}}
        ],
        "outputs": [{"namespace": "ml", "name": "late30", "facets": {"lodeline_model": model}}],
    }
    return json.dumps(event).encode()


@pytest.fixture
def store(tmp_path: Path) -> Callable[[list[bytes]], str]:
    def fill(raws: list[bytes]) -> str:
        url = f"sqlite:///{tmp_path}/lodeline.db"
        segment = open_segment(url)
        documents = [wire.decode_document(raw) for raw in raws]
        segment.append([AcceptedEvent(one.canonical, one.fields()) for one in documents])
        segment.close()
        return url

    return fill


def real_events() -> list[bytes]:
    found = []
    for path in sorted(EVENTS.glob("*/*.jsonl")):
        with path.open("rb") as lines:
            found += [event.raw for event in iter_raw_events(lines)]
    return found


def export(capfdbinary: pytest.CaptureFixture[bytes], *words: str) -> bytes:
    assert main(["export", *words]) == 0
    return capfdbinary.readouterr().out


def test_openlineage_gives_back_every_event(
    store: Callable[[list[bytes]], str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    raws = real_events()
    lines = export(capfdbinary, "--store", store(raws)).splitlines()
    assert set(lines) == {wire.decode_document(raw).canonical for raw in raws}
    assert [event.raw for event in iter_raw_events(lines)] == lines


def test_since_leaves_out_what_was_there(
    store: Callable[[list[bytes]], str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    url = store(real_events()[:10])
    whole = export(capfdbinary, "--store", url).splitlines()
    segment = open_segment(url)
    size = segment.size()
    segment.close()
    assert export(capfdbinary, "--store", url, "--since", str(size - 3)).splitlines() == whole[-3:]
    assert export(capfdbinary, "--store", url, "--since", str(size)) == b""


def test_other_programs_read_the_provenance_of_real_events(
    store: Callable[[list[bytes]], str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    out = export(capfdbinary, "--store", store(real_events()), "--format", "prov-json")
    document = ProvDocument.deserialize(io.BytesIO(out), format="json")
    assert document.get_provn()
    sections = json.loads(out)
    assert len(sections["activity"]) == len(
        {json.loads(raw)["run"]["runId"] for raw in real_events()}
    )
    for relation in sections["wasDerivedFrom"].values():
        assert relation["prov:generatedEntity"] in sections["entity"]
        assert relation["prov:usedEntity"] in sections["entity"]
        assert relation["prov:activity"] in sections["activity"]
    for relation in sections["used"].values():
        assert relation["prov:entity"] in sections["entity"]


def test_a_training_run_in_the_words_of_prov(
    store: Callable[[list[bytes]], str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    facets: dict[str, Any] = {
        "lodeline_agent": {"agents": [{"type": "user", "id": "u-1", "role": "owner"}]},
        "parent": {"run": {"runId": PARENT_ID}, "job": {"namespace": "ml", "name": "dag"}},
    }
    url = store([training("START", 1, **facets), training("COMPLETE", 5)])
    out = export(capfdbinary, "--store", url, "--format", "prov-json")
    document = ProvDocument.deserialize(io.BytesIO(out), format="json")
    again = ProvDocument.deserialize(io.StringIO(document.serialize(format="json")), format="json")
    assert again == document
    sections = json.loads(out)
    run = f"node:run%3A{RUN_ID}"
    assert sections["activity"][run]["prov:startTime"] == "2026-11-22T10:01:00.000000Z"
    assert sections["activity"][run]["prov:endTime"] == "2026-11-22T10:05:00.000000Z"
    (used,) = sections["used"].values()
    assert sections["entity"][used["prov:entity"]]["lodeline:version"] == "sha256:" + "ab" * 32
    (generated,) = sections["wasGeneratedBy"].values()
    model = sections["entity"][generated["prov:entity"]]
    assert model["prov:type"]["$"] == "lodeline:Model"
    assert model["lodeline:version"] == "sha256:" + "cd" * 32
    (derived,) = sections["wasDerivedFrom"].values()
    assert derived["prov:generatedEntity"] == generated["prov:entity"]
    assert derived["prov:usedEntity"] == used["prov:entity"]
    assert derived["lodeline:kind"] == "trains"
    (associated,) = sections["wasAssociatedWith"].values()
    assert associated["prov:agent"] == "node:agent%3Auser%3Au-1"
    assert associated["prov:role"] == "owner"
    (informed,) = sections["wasInformedBy"].values()
    assert informed["prov:informant"] == f"node:run%3A{PARENT_ID}"
    assert len(sections["specializationOf"]) == 2


def test_what_is_spooled_is_delivered_first(
    store: Callable[[list[bytes]], str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    url = store([training("START", 1)])
    record = b'{"type":"event","event":' + training("COMPLETE", 5) + b"}"
    spool = Spool(spool_directory(url))
    spool.append(record)
    spool.close()
    assert len(export(capfdbinary, "--store", url).splitlines()) == 2


def test_an_empty_store_is_an_empty_document(
    store: Callable[[list[bytes]], str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    out = export(capfdbinary, "--store", store([]), "--format", "prov-json")
    assert not ProvDocument.deserialize(io.BytesIO(out), format="json").records


def test_a_negative_size_is_wrong_usage(
    store: Callable[[list[bytes]], str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["export", "--store", store([]), "--since", "-1"]) == 2


def test_what_was_exported_can_be_imported_and_gives_the_same_graph(
    store: Callable[[list[bytes]], str],
    capfdbinary: pytest.CaptureFixture[bytes],
    tmp_path: Path,
) -> None:
    exported = tmp_path / "events.ndjson"
    url, copy = store(real_events()), f"sqlite:///{tmp_path}/copy.db"
    exported.write_bytes(export(capfdbinary, "--store", url))
    assert main(["import", str(exported), "--store", copy]) == 0
    capfdbinary.readouterr()
    digests = []
    for where in (url, copy):
        assert main(["rebuild", "--store", where, "--json"]) == 0
        digests.append(json.loads(capfdbinary.readouterr().out)["graph_digest"])
    assert digests[0] == digests[1]
