"""What `[postgres]` says bounds every connection that a process makes to such a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lodeline import settings
from lodeline.errors import StoreUnreachableError, UsageError
from lodeline.store import open_segment
from postgres_servers import Server
from stores import Place


def test_bounds_of_file_and_environment_hold_for_connections_to_postgresql(
    tmp_path: Path, postgres_of: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place("postgres15", tmp_path, postgres_of("15"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lodeline.toml").write_text(
        "[postgres]\nconnections = 9\nwait_seconds = 1\nstatement_seconds = 7\nlock_seconds = 8\n"
    )
    settings._configuration.cache_clear()
    monkeypatch.setenv("LODELINE_POSTGRES_CONNECTIONS", "1")
    monkeypatch.setenv("LODELINE_POSTGRES_IDLE_TRANSACTION_SECONDS", "90")
    try:
        with open_segment(place.url) as segment, segment.reading() as connection:
            rows = connection.execute(
                "SELECT name, setting FROM pg_settings WHERE name IN ('statement_timeout',"
                " 'lock_timeout', 'idle_in_transaction_session_timeout')"
            ).fetchall()
            assert dict(rows) == {
                "statement_timeout": "7000",
                "lock_timeout": "8000",
                "idle_in_transaction_session_timeout": "90000",
            }
            with pytest.raises(StoreUnreachableError, match="all 1 connections"):
                segment.size()
        monkeypatch.setenv("LODELINE_POSTGRES_CONNECTIONS", "none")
        with pytest.raises(UsageError, match=r"postgres\.connections: 'none' is no"):
            open_segment(place.url)
    finally:
        place.drop()
