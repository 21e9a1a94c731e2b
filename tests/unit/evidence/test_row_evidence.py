"""Evidence packs about a row carry each claim on the way back, and no changed one verifies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from lodeline.evidence import build_pack
from lodeline.fold.evidence import verify_pack
from lodeline.proof import packs
from lodeline.store import SqlSegment, open_segment
from row_chains import behind, random_chain, version

ROW = 7


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SqlSegment, Any]]:
    path = tmp_path_factory.mktemp("rows") / "s.db"
    with open_segment(f"sqlite:///{path}") as segment:
        yield segment, random_chain(segment, 5)


@pytest.fixture(scope="module")
def pack(kept: tuple[SqlSegment, Any]) -> dict[str, bytes]:
    return build_pack(kept[0], {"id": f"row:test:d3:{ROW}#{version(3)}"})


def rows_of(pack: dict[str, bytes]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for row in json.loads(pack["rows.json"])["rows"]:
        found.setdefault(row["dataset"].rpartition(":")[2], set()).add(int(row["key"]))
    return found


def test_a_pack_of_a_row_proves_the_rows_behind_it_offline(
    kept: tuple[SqlSegment, Any], pack: dict[str, bytes]
) -> None:
    report = verify_pack(pack)
    assert report.failures == []
    assert rows_of(pack) == {"d3": {ROW}, **behind(kept[1], ROW)}
    stated = json.loads(pack["rows.json"])
    assert stated["complete"] is True
    assert len(stated["claims"]) > 2
    # The blocks hold two thousand rows each; a pack of one row knows nothing of the others.
    assert sum(map(len, json.dumps(stated["claims"]).split())) < 40_000


def signed(
    segment: SqlSegment, pack: dict[str, bytes], change: Callable[[Any], object]
) -> dict[str, bytes]:
    """Change the claims of a pack and have the log's own key sign it again."""
    stated = json.loads(pack["rows.json"])
    change(stated)
    files = {k: v for k, v in pack.items() if k not in {packs.MANIFEST, packs.SIGNATURE}}
    files["rows.json"] = packs.write_json(stated)
    manifest = json.loads(pack[packs.MANIFEST])
    facts = {name: manifest[name] for name in ("origin", "question", "tree_size")}
    packs.sign_manifest(files, facts, segment.keys.receipt)
    return files


def _other_claim(stated: Any) -> None:
    stated["claims"][0]["proof"]["claim"] = (99).to_bytes(8, "big").hex()


def _other_row(stated: Any) -> None:
    stated["rows"][0]["key"] = "1999"


def _other_salt(stated: Any) -> None:
    stated["claims"][0]["proof"]["salt"] = "00" * 32


def _other_row_of_the_proof(stated: Any) -> None:
    stated["claims"][0]["proof"]["row"] += 1


def _other_count(stated: Any) -> None:
    stated["claims"][0]["proof"]["rows"] += 1


def _left_out(stated: Any) -> None:
    del stated["claims"][0]


def _left_out_in_silence(stated: Any) -> None:
    gone = stated["claims"].pop()
    row = gone["proof"]["row"]
    missing = {"source": "", "form": "array", "row": row, "reason": "erased"}
    stated["missing"].append(missing)


def _row_less(stated: Any) -> None:
    del stated["rows"][0]


def _no_known_reason(stated: Any) -> None:
    missing = {"source": "", "form": "array", "row": 0, "reason": "none"}
    stated["missing"].append(missing)


def _another_block(stated: Any) -> None:
    blocks = {(one["entry"], one["index"]) for one in stated["claims"]}
    other = next(
        b for b in blocks if b != (stated["claims"][0]["entry"], stated["claims"][0]["index"])
    )
    stated["claims"][0]["entry"], stated["claims"][0]["index"] = other


@pytest.mark.parametrize(
    "change",
    [
        _other_claim,
        _other_row,
        _other_salt,
        _other_row_of_the_proof,
        _other_count,
        _left_out,
        _left_out_in_silence,
        _row_less,
        _no_known_reason,
        _another_block,
    ],
)
def test_a_changed_claim_is_refused_even_if_the_log_signed_it(
    kept: tuple[SqlSegment, Any], pack: dict[str, bytes], change: Callable[[Any], object]
) -> None:
    report = verify_pack(signed(kept[0], pack, change))
    assert not report.ok
    assert {one.at.partition(".")[0] for one in report.failures} <= {"rows", "pack"}


def test_a_claim_said_to_be_missing_makes_the_rows_incomplete(
    kept: tuple[SqlSegment, Any], pack: dict[str, bytes]
) -> None:
    def lie(stated: Any) -> None:
        # As if erased, yet complete.
        first = stated["claims"][0]
        entry = next(
            json.loads(line)
            for line in pack["entries.ndjson"].splitlines()
            if json.loads(line)["index"] == first["entry"]
        )
        event = json.loads(entry["fields"][0]["value"])
        block = event["dataset"]["facets"]["lodeline_row_blocks"]["blocks"][first["index"]]
        stated["missing"].append(
            {
                "source": block["source"],
                "form": block["form"],
                "row": first["proof"]["row"],
                "reason": "erased",
            }
        )
        del stated["claims"][0]
        stated["rows"] = [one for one in stated["rows"] if one["dataset"].endswith(":d3")]

    report = verify_pack(signed(kept[0], pack, lie))
    assert [one.at for one in report.failures] == ["rows.complete"]
