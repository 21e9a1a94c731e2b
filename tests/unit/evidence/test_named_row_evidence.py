"""Packs about a row that its declared key names prove which row claims that key."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa

from lodeline import ingest
from lodeline.errors import MalformedPackError
from lodeline.evidence import build_pack
from lodeline.fold.evidence import named_row, verify_pack
from lodeline.fold.row_claims import recompute_rows
from lodeline.model import NodeId, parse_time
from lodeline.proof import packs
from lodeline.query import ask
from lodeline.rows.claims import RowClaims
from lodeline.rows.committing import commit_blocks
from lodeline.store import SqlSegment, open_segment
from lodeline.store.erasing import erase
from lodeline.store.expiring import expire_blocks
from row_chains import dataset, facet, put, step

RUN = "run:00000000-0000-4000-8000-000000000001"
TABLE = {"namespace": "postgres://db:5432", "name": "shop.public.orders", "version": RUN}
OTHER = {**TABLE, "name": "shop.public.returns"}
ROWS = 1_100
# The last lies in the second section of its block.
PLACES = {"A-1": 1, '["a:b#c%",7]': 2, "17": 3, "ä-1099": 1_099}
KEYS: list[str | None] = [f"k{number}" for number in range(ROWS)]
KEYS[0] = None  # Of a row whose key was null.
for _key, _place in PLACES.items():
    KEYS[_place] = _key
OTHERS = [f"o{number}" for number in range(ROWS)]
OTHERS[5] = "A-1"


def row(key: str) -> str:
    return str(NodeId("row", TABLE["namespace"], TABLE["name"], key, RUN))


def written(segment: SqlSegment, table: dict[str, str], keys: list[str | None]) -> dict[str, Any]:
    """An output that was made of d0, row i of row i + 1, and names its rows by a key."""
    linked = step(segment, 0, [(number + 1) % ROWS for number in range(ROWS)])
    declared = {
        "dataset": table,
        "columns": ["id"],
        "digest": put(segment, {"key": pa.array(keys, pa.string())}),
    }
    version = facet(datasetVersion=RUN)
    return {
        "namespace": table["namespace"],
        "name": table["name"],
        "facets": {"version": version},
        "outputFacets": {
            "lodeline_rows": facet(steps=[{**linked, "output": table}], keys=[declared])
        },
    }


def record(segment: SqlSegment) -> None:
    """A run wrote two tables, each with keys."""
    event = {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-02T00:00:00Z",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.UUID(RUN.removeprefix("run:")))},
        "job": {"namespace": "test", "name": "load"},
        "inputs": [dataset(0)],
        "outputs": [written(segment, TABLE, KEYS), written(segment, OTHER, [*OTHERS])],
    }
    assert ingest.accept(segment, [json.dumps(event).encode()]).accepted == 1
    ingest.fold_pending(segment)


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqlSegment]:
    with open_segment(f"sqlite:///{tmp_path / 's.db'}") as opened:
        record(opened)
        yield opened


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlSegment]:
    with open_segment(f"sqlite:///{tmp_path_factory.mktemp('keys') / 's.db'}") as opened:
        record(opened)
        yield opened


@pytest.fixture(scope="module")
def pack(kept: SqlSegment) -> dict[str, bytes]:
    return build_pack(kept, {"id": row("A-1")})


def test_a_pack_proves_which_row_has_the_key_and_what_is_behind_it(
    kept: SqlSegment,
) -> None:
    for key, number in PLACES.items():
        pack = build_pack(kept, {"id": row(key)})
        assert verify_pack(pack).failures == []
        stated = json.loads(pack["rows.json"])
        assert stated["complete"] is True
        assert [(one["dataset"].rpartition(":")[2], one["key"]) for one in stated["rows"]] == [
            ("shop.public.orders", str(number)),
            ("d0", str((number + 1) % ROWS)),
        ]
        assert [bytes.fromhex(one["proof"]["claim"]) for one in stated["claims"]] == [
            key.encode(),
            ((number + 1) % ROWS).to_bytes(8, "big"),
        ]
        live = ask(kept, "rows", {"id": row(key)})
        assert [one["key"] for one in live["rows"]] == [str((number + 1) % ROWS)]


def test_an_empty_key_proves_nothing() -> None:
    assert named_row({"id": row("A-1")}) is not None
    assert named_row({"id": row("17")}) is not None, "a number is a key there, not a place"
    # A row without a key claims the empty text.
    assert named_row({"id": row("")}) is None


def test_a_key_that_no_row_claims_gives_no_rows(kept: SqlSegment) -> None:
    for key in ("", "nobody", "3"):
        pack = build_pack(kept, {"id": row(key)})
        assert "rows.json" not in pack
        assert verify_pack(pack).failures == []


def signed(
    segment: SqlSegment, pack: dict[str, bytes], change: Callable[[dict[str, bytes]], object]
) -> dict[str, bytes]:
    """Change the files of a pack and have the log's own key sign it again."""
    files = {k: v for k, v in pack.items() if k not in {packs.MANIFEST, packs.SIGNATURE}}
    change(files)
    manifest = json.loads(pack[packs.MANIFEST])
    facts = {one: manifest[one] for one in ("origin", "question", "tree_size")}
    packs.sign_manifest(files, facts, segment.keys.receipt)
    return files


def test_a_pack_without_its_rows_is_valid_as_before(
    kept: SqlSegment, pack: dict[str, bytes]
) -> None:
    files = signed(kept, pack, lambda files: files.pop("rows.json"))
    assert verify_pack(files).failures == []


def _proven(segment: SqlSegment, table: dict[str, str], key: str) -> Any:
    """Prove which row of a table has a key."""
    claims = RowClaims(segment)
    assert claims.find_key([_keys_of(segment, table)[0]], key) is not None
    [claim] = claims.proven.values()
    return claim


def _keys_of(segment: SqlSegment, table: dict[str, str]) -> tuple[str, str]:
    """Give what names the keys of a table: the program's blob, and the block in its place."""
    with segment.reading() as connection:
        [(source, block)] = connection.execute(
            "SELECT b.source, b.block FROM row_block b JOIN row_key k ON k.digest = b.source "
            "WHERE k.name = ?",
            (table["name"],),
        ).fetchall()
    return source, block


def _other_text(_segment: SqlSegment, stated: Any) -> None:
    stated["claims"][0]["proof"]["claim"] = b"A-2".hex()


def _another_rows_claim(segment: SqlSegment, stated: Any) -> None:
    # Whole: what the pack of the other row states, links and rows behind it, too.
    stated.update(json.loads(build_pack(segment, {"id": row("k4")})["rows.json"]))


def _another_rows_number(_segment: SqlSegment, stated: Any) -> None:
    stated["claims"][0]["proof"]["row"] += 1


def _the_same_key_of_another_table(segment: SqlSegment, stated: Any) -> None:
    # Row 5 of the other table has the key: as if row 5 of this one had it, with all behind that.
    stated.update(json.loads(build_pack(segment, {"id": row("k5")})["rows.json"]))
    stated["claims"][0] = _proven(segment, OTHER, "A-1")


def _a_claim_of_links(_segment: SqlSegment, stated: Any) -> None:
    stated["claims"][0] = stated["claims"][1]


def _another_block(_segment: SqlSegment, stated: Any) -> None:
    stated["claims"][0]["index"] = stated["claims"][1]["index"]


def _two_claims(segment: SqlSegment, stated: Any) -> None:
    stated["claims"].append(_proven(segment, TABLE, "k4"))


def _left_out(_segment: SqlSegment, stated: Any) -> None:
    del stated["claims"][0]


def _left_out_with_its_rows(_segment: SqlSegment, stated: Any) -> None:
    stated.update(claims=[], rows=[], complete=True)


@pytest.mark.parametrize(
    "change",
    [
        _other_text,
        _another_rows_claim,
        _another_rows_number,
        _the_same_key_of_another_table,
        _a_claim_of_links,
        _another_block,
        _two_claims,
        _left_out,
        _left_out_with_its_rows,
    ],
)
def test_another_claim_of_a_key_is_refused_even_if_the_log_signed_it(
    kept: SqlSegment, pack: dict[str, bytes], change: Callable[[SqlSegment, Any], None]
) -> None:
    def tamper(files: dict[str, bytes]) -> None:
        stated = json.loads(files["rows.json"])
        change(kept, stated)
        files["rows.json"] = packs.write_json(stated)

    report = verify_pack(signed(kept, pack, tamper))
    assert [one.at for one in report.failures] in (["pack"], ["rows.json"])


def test_a_claim_of_a_key_counts_only_where_a_key_was_asked_about(pack: dict[str, bytes]) -> None:
    _, head = packs.find_head(pack)
    checked = [packs.verify_entry(line, head) for line in packs.iter_lines(pack, "entries.ndjson")]
    claims = json.loads(pack["rows.json"])["claims"]
    stated = {"claims": claims, "missing": []}
    with pytest.raises(MalformedPackError, match="none was asked about"):
        recompute_rows({one.index: one for one in checked}, [], stated, {})


@pytest.mark.parametrize("of", [TABLE, OTHER])
def test_a_key_said_to_be_missing_is_a_gap_of_a_declared_block_alone(
    kept: SqlSegment, pack: dict[str, bytes], of: dict[str, str]
) -> None:
    source = _keys_of(kept, of)[0]
    missing = {"source": source, "form": "keys", "row": None, "reason": "erased"}

    def lie(files: dict[str, bytes]) -> None:
        stated = {"claims": [], "missing": [missing], "rows": [], "complete": True}
        files["rows.json"] = packs.write_json(stated)

    # As if erased, yet complete: refused; of a block that names other rows: no reason at all.
    failures = [one.at for one in verify_pack(signed(kept, pack, lie)).failures]
    assert failures == (["rows.complete"] if of is TABLE else ["pack"])


def test_an_erased_or_expired_key_is_stated_to_be_missing(segment: SqlSegment) -> None:
    commit_blocks(segment)
    source, block = _keys_of(segment, TABLE)
    lost = {"source": source, "form": "keys", "row": None}
    before = build_pack(segment, {"id": row("A-1")})
    erase(segment, rows={block: [PLACES["A-1"]]})
    gone = build_pack(segment, {"id": row("A-1")})
    assert json.loads(gone["rows.json"]) == {
        "claims": [],
        "missing": [{**lost, "reason": "erased"}],
        "rows": [],
        "complete": False,
    }
    beside = build_pack(segment, {"id": row("17")})
    assert json.loads(beside["rows.json"])["complete"] is True
    assert expire_blocks(segment, parse_time("2026-02-01T00:00:00Z")[0])[1]
    expired = build_pack(segment, {"id": row("17")})
    assert json.loads(expired["rows.json"])["missing"] == [{**lost, "reason": "retention"}]
    for pack in (before, gone, beside, expired):
        assert verify_pack(pack).failures == []


def test_keys_still_to_come_are_stated_to_be_missing(segment: SqlSegment) -> None:
    with segment.reading() as connection:
        assert not connection.execute("SELECT 1 FROM entry WHERE kind = 'block'").fetchall()
    for digest in segment.blobs.list_digests():
        segment.remove_blob(digest)
    pack = build_pack(segment, {"id": row("17")})
    assert verify_pack(pack).failures == []
    [missing] = json.loads(pack["rows.json"])["missing"]
    assert (missing["form"], missing["row"], missing["reason"]) == ("keys", None, "pending")
