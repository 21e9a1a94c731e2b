"""A store of an earlier format version is brought forward when it is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from lodeline.store import open_segment
from lodeline.store.tables import FORMAT_VERSION


def test_a_store_of_version_1_opens_verified_and_with_the_same_log(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    with open_segment(url, create=True) as segment:
        head = segment.checkpoint()
    fresh = _objects(tmp_path / "s.db")
    connection = sqlite3.connect(tmp_path / "s.db")
    added = _added(connection)
    for kind, name in added:
        connection.execute(f"DROP {kind} IF EXISTS {name}")
    connection.execute("UPDATE meta SET value = '1' WHERE name = 'format_version'")
    connection.commit()
    connection.close()

    with open_segment(url, create=False) as segment:
        assert segment.checkpoint() == head
    assert _objects(tmp_path / "s.db") == fresh
    with sqlite3.connect(tmp_path / "s.db") as connection:
        query = "SELECT value FROM meta WHERE name = 'format_version'"
        assert connection.execute(query).fetchone() == (str(FORMAT_VERSION),)


def _objects(path: Path) -> set[tuple[str, str]]:
    with sqlite3.connect(path) as connection:
        return set(connection.execute("SELECT type, name FROM sqlite_master"))


def _added(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    from lodeline.store.tables import ADDED_IN_2

    other = sqlite3.connect(":memory:")
    other.executescript("\n".join(part for part in ADDED_IN_2 if isinstance(part, str)))
    return list(
        other.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    )
