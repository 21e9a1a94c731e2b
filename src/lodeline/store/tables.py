"""Tables of an SQLite segment: the log, what can be erased beside it, and what refused to enter.

`entry`, `event_id`, `tile` and `checkpoint` are the log; triggers refuse every UPDATE and DELETE.
`payload` and `record_secret` may lose a row only when a logged erasure names its position.
The graph's tables are views and belong to the fold.
"""

from __future__ import annotations

from typing import Final

from lodeline.store.map_tables import MAP_TABLES

# Raised when a reader of the previous format would misread the tables.
FORMAT_VERSION: Final = 2


def append_only_triggers(table: str, key: str) -> str:
    """Give the triggers of a table that only grows.

    Args:
        table: its name.
        key: condition by which a row `NEW` has a key that is taken. INSERT OR REPLACE deletes
            without firing DELETE triggers, so a taken key is refused at INSERT.
    """
    refuse = "SELECT RAISE(ABORT, 'the log is append-only: {act} on {table} refused'); END;"
    triggers = [
        f"CREATE TRIGGER IF NOT EXISTS {table}_refuses_{act.lower()} BEFORE {act} ON {table} "
        f"BEGIN {refuse.format(act=act, table=table)}"
        for act in ("UPDATE", "DELETE")
    ]
    triggers.append(
        f"CREATE TRIGGER IF NOT EXISTS {table}_refuses_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {key}) "
        f"BEGIN {refuse.format(act='REPLACE', table=table)}"
    )
    return "\n".join(triggers)


# What others say of checkpoints: witnesses, and timestamping authorities.
_ENDORSEMENTS: Final = """
CREATE TABLE IF NOT EXISTS cosignature(
    size INTEGER NOT NULL,
    vkey TEXT NOT NULL,
    time INTEGER NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY(size, vkey, time)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cosignature_vkey ON cosignature(vkey, size);
CREATE TABLE IF NOT EXISTS timestamp_answer(
    size INTEGER NOT NULL,
    digest BLOB NOT NULL,
    url TEXT NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY(size, digest)
) WITHOUT ROWID;
"""
_ENDORSEMENT_TRIGGERS: Final = "\n".join(
    [
        append_only_triggers(
            "cosignature", "size = NEW.size AND vkey = NEW.vkey AND time = NEW.time"
        ),
        append_only_triggers("timestamp_answer", "size = NEW.size AND digest = NEW.digest"),
    ]
)

# Sealed personal values, the logged hashes of their keys, and, of entries that were erased in
# part, the salt of each field that is left and the commitment of each that is not.
_PERSONAL: Final = """
CREATE TABLE IF NOT EXISTS sealed_value(
    position INTEGER NOT NULL,
    pointer TEXT NOT NULL,
    key_id TEXT,
    value BLOB NOT NULL,
    PRIMARY KEY(position, pointer)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sealed_value_key ON sealed_value(key_id, position);
CREATE TABLE IF NOT EXISTS subject_key(
    key_id TEXT PRIMARY KEY,
    hash TEXT NOT NULL,
    position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS field_salt(
    position INTEGER NOT NULL,
    pointer TEXT NOT NULL,
    salt BLOB,
    commitment BLOB NOT NULL,
    PRIMARY KEY(position, pointer)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erasure_state(applied_to INTEGER NOT NULL);
"""
# A value's row may go only where a logged erasure names its entry.
_PERSONAL_TRIGGERS: Final = """
CREATE TRIGGER IF NOT EXISTS sealed_value_refuses_delete BEFORE DELETE ON sealed_value
WHEN NOT EXISTS (SELECT 1 FROM erasure WHERE position = OLD.position) BEGIN
SELECT RAISE(ABORT, 'DELETE on sealed_value refused: no logged erasure names the entry'); END;
CREATE TRIGGER IF NOT EXISTS sealed_value_refuses_update BEFORE UPDATE ON sealed_value BEGIN
SELECT RAISE(ABORT, 'the log is append-only: UPDATE on sealed_value refused'); END;
CREATE TRIGGER IF NOT EXISTS sealed_value_refuses_replace BEFORE INSERT ON sealed_value
WHEN EXISTS (SELECT 1 FROM sealed_value WHERE position = NEW.position AND pointer = NEW.pointer)
BEGIN SELECT RAISE(ABORT, 'the log is append-only: REPLACE on sealed_value refused'); END;
""" + append_only_triggers("subject_key", "key_id = NEW.key_id")
# What version 2 added to the tables of version 1, one script a subject, each of it `IF NOT EXISTS`.
ADDED_IN_2: Final[tuple[str, ...]] = (
    _ENDORSEMENTS,
    _ENDORSEMENT_TRIGGERS,
    _PERSONAL,
    _PERSONAL_TRIGGERS,
    MAP_TABLES,
)

_TABLES: Final = """
CREATE TABLE meta(
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE entry(
    position INTEGER PRIMARY KEY,
    log_time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    leaf BLOB NOT NULL
);
CREATE INDEX entry_kind ON entry(kind, position) WHERE kind <> 'event';
CREATE TABLE event_id(
    identifier BLOB PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE tile(
    level INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY(level, number)
);
CREATE TABLE tile_edge(
    level INTEGER PRIMARY KEY,
    hashes BLOB NOT NULL
);
CREATE TABLE checkpoint(
    size INTEGER PRIMARY KEY,
    log_time INTEGER NOT NULL,
    root_hash BLOB NOT NULL,
    note TEXT NOT NULL
);
CREATE INDEX checkpoint_log_time ON checkpoint(log_time, size);
CREATE TABLE payload(
    position INTEGER PRIMARY KEY,
    payload BLOB NOT NULL
);
CREATE TABLE record_secret(
    position INTEGER PRIMARY KEY,
    secret BLOB NOT NULL
);
CREATE TABLE erasure(
    position INTEGER PRIMARY KEY,
    erased_by INTEGER NOT NULL
);
CREATE TABLE dead_letter(
    letter_id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    byte_count INTEGER NOT NULL,
    raw BLOB,
    code TEXT NOT NULL,
    path TEXT NOT NULL,
    message TEXT NOT NULL,
    source TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    times INTEGER NOT NULL,
    resolved_at INTEGER
);
CREATE INDEX dead_letter_open ON dead_letter(letter_id) WHERE resolved_at IS NULL;
"""

_APPEND_ONLY: Final = ("entry", "event_id", "tile", "checkpoint", "erasure")
_ERASABLE: Final = ("payload", "record_secret")
# INSERT OR REPLACE deletes without firing DELETE triggers, so a taken key is refused at INSERT.
_KEYS: Final = {
    "entry": "position = NEW.position",
    "event_id": "identifier = NEW.identifier",
    "tile": "level = NEW.level AND number = NEW.number",
    "checkpoint": "size = NEW.size",
    "erasure": "position = NEW.position",
    "payload": "position = NEW.position",
    "record_secret": "position = NEW.position",
}


def schema() -> str:
    """Give the script that makes an empty segment's tables and triggers."""
    triggers = [
        f"CREATE TRIGGER {table}_refuses_{act.lower()} BEFORE {act} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, 'the log is append-only: {act} on {table} refused'); END;"
        for table in _APPEND_ONLY
        for act in ("UPDATE", "DELETE")
    ]
    triggers += [
        f"CREATE TRIGGER {table}_refuses_{act.lower()} BEFORE {act} ON {table} "
        "WHEN NOT EXISTS (SELECT 1 FROM erasure WHERE position = OLD.position) BEGIN "
        f"SELECT RAISE(ABORT, '{act} on {table} refused: no logged erasure names the entry'); END;"
        for table in _ERASABLE
        for act in ("UPDATE", "DELETE")
    ]
    triggers += [
        f"CREATE TRIGGER {table}_refuses_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {match}) BEGIN "
        f"SELECT RAISE(ABORT, 'the log is append-only: REPLACE on {table} refused'); END;"
        for table, match in _KEYS.items()
    ]
    return _TABLES + "\n".join([*triggers, *ADDED_IN_2])


def migration(version: str) -> str | None:
    """Give the script that brings tables of an earlier format version to this one, if there is."""
    return "\n".join(ADDED_IN_2) if version == "1" else None
