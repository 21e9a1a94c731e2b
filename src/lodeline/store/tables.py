"""Tables of a segment: the log, what can be erased beside it, and what refused to enter.

`entry`, `event_id`, `tile` and `checkpoint` are the log; triggers refuse every UPDATE and DELETE.
`payload` and `record_secret` may lose a row only when a logged erasure names its position.
The graph's tables are views and belong to the fold.
"""

from __future__ import annotations

from typing import Final

from lodeline.store.guards import (
    Guard,
    Script,
    grow_only,
    refuse_replace,
    refuse_unless_erased,
)
from lodeline.store.map_tables import MAP_TABLES

# Raised when a reader of the previous format would misread the tables.
FORMAT_VERSION: Final = 2


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
_ENDORSEMENT_GUARDS: Final = (
    *grow_only("cosignature", "size = NEW.size AND vkey = NEW.vkey AND time = NEW.time"),
    *grow_only("timestamp_answer", "size = NEW.size AND digest = NEW.digest"),
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
_PERSONAL_GUARDS: Final = (
    refuse_unless_erased("sealed_value", "DELETE"),
    Guard("sealed_value", "UPDATE", "", "the log is append-only: UPDATE on sealed_value refused"),
    refuse_replace("sealed_value", "position = NEW.position AND pointer = NEW.pointer"),
    *grow_only("subject_key", "key_id = NEW.key_id"),
)
# What version 2 added to the tables of version 1, each of it `IF NOT EXISTS`.
ADDED_IN_2: Final[Script] = (
    _ENDORSEMENTS,
    *_ENDORSEMENT_GUARDS,
    _PERSONAL,
    *_PERSONAL_GUARDS,
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

SCHEMA: Final[Script] = (
    _TABLES,
    *grow_only("entry", "position = NEW.position"),
    *grow_only("event_id", "identifier = NEW.identifier"),
    *grow_only("tile", "level = NEW.level AND number = NEW.number"),
    *grow_only("checkpoint", "size = NEW.size"),
    *grow_only("erasure", "position = NEW.position"),
    refuse_unless_erased("payload", "UPDATE"),
    refuse_unless_erased("payload", "DELETE"),
    refuse_replace("payload", "position = NEW.position"),
    refuse_unless_erased("record_secret", "UPDATE"),
    refuse_unless_erased("record_secret", "DELETE"),
    refuse_replace("record_secret", "position = NEW.position"),
    *ADDED_IN_2,
)


def migration(version: str) -> Script | None:
    """Give what brings tables of an earlier format version to this one, if there is."""
    return ADDED_IN_2 if version == "1" else None
