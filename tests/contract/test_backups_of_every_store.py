"""A backup of any kind of store restores to any other kind, with the same graph."""

from __future__ import annotations

import json
from pathlib import Path

from lodeline.ingest import accept, fold_pending, graph_state
from lodeline.store.backups import Backup, write_backup
from lodeline.store.restoring import restore
from lodeline.store.verification import verify_segment
from services import event
from stores import Place


def test_a_store_moves_to_another_kind_and_back_by_backups(place: Place, tmp_path: Path) -> None:
    events = [json.dumps(event(inputs="a", outputs=f"b{n}")).encode() for n in range(20)]
    with place.open() as segment:
        accept(segment, [*events, b"{"])
        digest = graph_state(segment).graph_digest
        segment.put_blob(b"rows")
        size = segment.size()
        write_backup(segment, tmp_path / "backup")
    backup = Backup(tmp_path / "backup")
    backup.verify()
    file = f"sqlite:///{tmp_path}/moved.db"
    with restore(file, backup) as moved:
        fold_pending(moved)
        assert verify_segment(moved).failures == []
        assert graph_state(moved).graph_digest == digest
        write_backup(moved, tmp_path / "again")
    again = Backup(tmp_path / "again")
    again.verify()
    elsewhere = Place(place.kind, tmp_path / "elsewhere", place.server)
    elsewhere.folder.mkdir()
    with restore(elsewhere.url, again) as back:
        fold_pending(back)
        assert verify_segment(back).failures == []
        assert graph_state(back).graph_digest == digest
        assert back.size() == size + 2
        # It goes on: events are recognised, refusals get numbers of their own.
        result = accept(back, [events[0], b"[", json.dumps(event(outputs="c")).encode()])
        assert (result.accepted, result.duplicates, result.refused) == (1, 1, 1)
        assert sum(1 for _ in back.iter_dead_letters()) == 2
        assert verify_segment(back).failures == []
    elsewhere.drop()
