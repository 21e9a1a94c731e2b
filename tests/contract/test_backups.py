"""A backup taken while the store is in use restores to the same graph, and to nothing when damaged."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from lodeline.cli.main import main
from lodeline.errors import DamagedBackupError, UsageError
from lodeline.fold.evidence import verify_pack
from lodeline.ingest import fold_pending, graph_state
from lodeline.proof import hash_leaf, verify_checkpoint, verify_consistency, verify_receipt
from lodeline.proof.packs import decode_pack
from lodeline.store import SqlSegment, backups, open_segment
from lodeline.store.backups import Backup, write_backup
from lodeline.store.graph_tables import drop_graph_tables
from lodeline.store.prediction_tables import drop_prediction_tables
from lodeline.store.restoring import restore
from lodeline.store.row_tables import drop_row_tables
from lodeline.store.verification import verify_segment
from services import event, serving

NAME = "alice-77aa@example.com"


def fill(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with events, one of them with a personal value, a refusal, and an API key."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    (folder / "lodeline.toml").write_text(
        '[[personal.rules]]\npointer = "/job/facets/ownership/owners/*/name"\n'
    )
    owned = event(inputs="a", outputs="b")
    owned["job"]["facets"] = {"ownership": {"owners": [{"name": NAME}]}}
    events = [owned, *(event(inputs="b", outputs=f"c{n}") for n in range(300)), {"no": "event"}]
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, events)))
    url = f"sqlite:///{folder}/s.db"
    assert main(["import", "events.jsonl", "--store", url]) == 1
    assert main(["key", "create", "--name", "k", "--scope", "read", "--store", url]) == 0
    return url


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    capsys.readouterr()
    status = main([*words, "--json"])
    return status, json.loads(capsys.readouterr().out)


def backed_up(url: str, folder: Path, *, subject_keys: bool = False) -> Backup:
    with open_segment(url, create=False) as segment:
        segment.put_blob(b"rows")
        write_backup(segment, folder, subject_keys=subject_keys)
    backup = Backup(folder)
    backup.verify()
    return backup


def test_what_is_restored_is_a_log_of_its_own_with_the_same_entries_and_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = fill(tmp_path / "one", monkeypatch)
    backup = backed_up(url, tmp_path / "backup", subject_keys=True)
    two = f"sqlite:///{tmp_path}/two/s.db"
    status, said = answer(capsys, "restore", str(tmp_path / "backup"), "--store", two)
    assert (status, said["verified"]) == (0, True)
    with open_segment(url) as first, open_segment(two) as second:
        assert said["restored"]["graph_digest"] == graph_state(first).graph_digest
        size = backup.manifest.size
        assert second.size() == size + 1
        assert second.origin != first.origin
        entries = list(zip(first.iter_entries(), second.iter_entries(), strict=False))
        assert len(entries) == size
        assert all(one == other for one, other in entries)
        [*_, last] = second.iter_entries(kinds={"key"})
        cited = json.loads(last.payload or b"")["restored_from"]
        assert cited["origin"] == first.origin
        assert cited["size"] == str(size)
        check_proofs(first, second, cited["checkpoint"])
        report = verify_segment(second)
        assert report.failures == []
        assert second.get_blob(second.blobs.list_digests()[0]) == b"rows"
        assert [one.code for one in second.iter_dead_letters()] == [
            one.code for one in first.iter_dead_letters()
        ]
    assert answer(capsys, "subject", "find", NAME, "--store", two)[1]["fields"][0]["pointer"]
    status, rebuilt = answer(capsys, "rebuild", "--store", two)
    assert rebuilt["graph_digest"] == said["restored"]["graph_digest"]
    assert main(["key", "list", "--store", two]) == 0
    assert "k" in capsys.readouterr().out


def check_proofs(first: SqlSegment, second: SqlSegment, cited: str) -> None:
    """What was proven of the earlier log is proven of the restored one."""
    old = verify_checkpoint(cited, first.verifiers(), origin=first.origin)
    new = verify_checkpoint(second.checkpoint().note, second.verifiers(), origin=second.origin)
    path = second.consistency_path(old.size, new.size)
    verify_consistency(
        path,
        size_earlier=old.size,
        size_later=new.size,
        root_earlier=old.root_hash,
        root_later=new.root_hash,
    )
    receipt = verify_receipt(first.receipt(3), second.verifiers("receipt"))
    [entry] = second.iter_entries(3, 4)
    assert receipt.leaf_hashes == (hash_leaf(entry.leaf),)


def test_a_restored_store_goes_on_and_its_evidence_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = fill(tmp_path / "one", monkeypatch)
    restore_to(tmp_path, backed_up(url, tmp_path / "backup", subject_keys=True))
    two = f"sqlite:///{tmp_path}/two.db"
    lines = [json.loads(line) for line in Path("events.jsonl").read_text().splitlines()]
    (tmp_path / "more.jsonl").write_text(
        "\n".join(map(json.dumps, [lines[1], event(inputs="c1", outputs="d")]))
    )
    assert main(["import", str(tmp_path / "more.jsonl"), "--store", two]) == 0
    with open_segment(two) as segment:
        # The first was known, by its identifier under the key that the backup carried.
        assert sum(1 for _ in segment.iter_entries(kinds={"event"})) == 302
        assert verify_segment(segment).failures == []
        segment.rotate_keys()
        segment.retire_keys()
        assert verify_segment(segment).failures == []
    pack = tmp_path / "pack.zip"
    assert main(["evidence", "dataset:n:d", "-o", str(pack), "--store", two]) == 0
    assert verify_pack(decode_pack(pack.read_bytes())).ok
    # And once more, from a log that was itself restored.
    again = restore_to(tmp_path, backed_up(two, tmp_path / "backup2", subject_keys=True), "three")
    with open_segment(again) as segment:
        assert verify_segment(segment).failures == []


def restore_to(folder: Path, backup: Backup, name: str = "two", **options: Any) -> str:
    url = f"sqlite:///{folder}/{name}.db"
    with restore(url, backup, **options) as segment:
        fold_pending(segment)
    return url


def test_a_backup_of_a_store_that_is_served_and_written_to_is_whole(tmp_path: Path) -> None:
    with serving(tmp_path / "s.db") as service:
        done = threading.Event()

        def work() -> None:
            while not done.is_set():
                assert service.post(event(inputs="a", outputs="b")).status == 201

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            sizes = []
            for number in range(3):
                folder = tmp_path / f"backup{number}"
                assert main(["backup", str(folder), "--store", str(service.store)]) == 0
                backup = Backup(folder)
                backup.verify()
                sizes.append(backup.manifest.size)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert sizes == sorted(sizes)
        assert service.stop() == 0
    with open_segment(restore_to(tmp_path, backup)) as segment:
        assert verify_segment(segment).failures == []
        assert segment.size() == sizes[-1] + 1


def test_without_keys_of_subjects_what_is_personal_stays_sealed_and_with_them_it_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = fill(tmp_path / "one", monkeypatch)
    backup = backed_up(url, tmp_path / "backup")
    assert not (tmp_path / "backup" / "subjects").exists()
    everything = b"".join(p.read_bytes() for p in (tmp_path / "backup").rglob("*") if p.is_file())
    assert NAME.encode() not in everything
    with open_segment(restore_to(tmp_path, backup)) as segment:
        report = verify_segment(segment)
        assert {failure.code for failure in report.failures} == {"key.missing"}
        assert all(NAME.encode() not in one.payload for _, one in segment.iter_opened())
    [kept] = (tmp_path / "one").glob("s.db.keys/*.subjects")
    with open_segment(restore_to(tmp_path, backup, "three", subject_keys=kept)) as segment:
        assert verify_segment(segment).failures == []
        assert any(NAME.encode() in one.payload for _, one in segment.iter_opened())


def test_what_was_erased_after_the_backup_is_erased_again_when_its_record_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = fill(tmp_path / "one", monkeypatch)
    backed_up(url, tmp_path / "backup", subject_keys=True)
    assert main(["subject", "erase", NAME, "--store", url]) == 0
    two = f"sqlite:///{tmp_path}/two.db"
    words = ("restore", str(tmp_path / "backup"), "--store", two, "--erasures-of", url)
    status, said = answer(capsys, *words)
    assert (status, said["restored"]["erasures"]) == (0, 1)
    with open_segment(two) as segment:
        assert verify_segment(segment).failures == []
        assert all(NAME.encode() not in one.payload for _, one in segment.iter_opened())
    for path in tmp_path.glob("two.db*"):
        data = (
            [path.read_bytes()] if path.is_file() else [p.read_bytes() for p in path.rglob("*.key")]
        )
        assert all(NAME.encode() not in one for one in data)
    other = fill(tmp_path / "other", monkeypatch)
    words = ("restore", str(tmp_path / "backup"), "--store", f"{two}3", "--erasures-of", other)
    assert answer(capsys, *words)[0] == 2
    assert not (tmp_path / "two.db3").exists()


def test_a_store_that_is_there_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = fill(tmp_path / "one", monkeypatch)
    backup = backed_up(url, tmp_path / "backup")
    with open_segment(url) as segment:
        before = segment.checkpoint()
    with pytest.raises(UsageError, match="is there already"):
        restore(url, backup)
    with open_segment(url) as segment:
        assert segment.checkpoint() == before
        with pytest.raises(UsageError, match="exists"):
            write_backup(segment, tmp_path / "backup")


def test_any_changed_or_missing_byte_of_a_backup_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = fill(tmp_path / "one", monkeypatch)
    folder = tmp_path / "backup"
    backed_up(url, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 15
    for path in files:
        if path.name in {"manifest.json", "segment.key"}:
            continue
        data = path.read_bytes()
        for changed in (data[:-1], data[: len(data) // 2] + b"\x00" + data[len(data) // 2 :], None):
            if changed is None:
                path.unlink()
            else:
                path.write_bytes(changed)
            if data or changed:
                with pytest.raises(DamagedBackupError):
                    Backup(folder).verify()
            path.write_bytes(data)
    Backup(folder).verify()
    assert main(["restore", str(folder), "--check"]) == 0
    (folder / "manifest.json").write_bytes(b"{}")
    assert main(["restore", str(folder), "--check"]) == 3
    assert main(["restore", str(tmp_path), "--check"]) == 3


def test_a_damaged_log_is_not_backed_up_as_if_it_were_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    url = fill(tmp_path / "one", monkeypatch)
    connection = sqlite3.connect(tmp_path / "one" / "s.db")
    connection.execute("DROP TRIGGER entry_refuses_update")
    connection.execute(
        "UPDATE entry SET leaf = replace(leaf, '\"v\":1', '\"v\":2') WHERE position = 5"
    )
    connection.commit()
    connection.close()
    assert main(["backup", str(tmp_path / "backup"), "--store", url]) == 3
    assert not (tmp_path / "backup").exists()


def test_a_backup_leaves_no_table_out_but_what_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is added must be backed up, or named here as a view."""
    url = fill(tmp_path / "one", monkeypatch)
    with open_segment(url) as segment:
        fold_pending(segment)
        before = tables_of(segment)
        drop_graph_tables_of(segment)
        views = before - tables_of(segment)
        made = {"meta", "event_id", "tile", "tile_edge"}
    kept = set(backups.TABLES)
    assert before - views - made - {name for name in before if name.startswith("sqlite_")} <= kept


def tables_of(segment: SqlSegment) -> set[str]:
    with segment.reading() as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in rows}


def drop_graph_tables_of(segment: SqlSegment) -> None:
    with segment.writing() as connection:
        drop_graph_tables(connection)
        drop_prediction_tables(connection)
        drop_row_tables(connection)
