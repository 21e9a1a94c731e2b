"""Tables of the graph view: what the fold of the log looks like in SQLite.

Every row here follows from the log and may be dropped: `lodeline rebuild` writes the same rows
again. `ingest.projection` is the only writer; `query` reads. Times are microseconds since the
epoch, UTC.

Two ways to remember both times (log position and event time):

- *Rectangles.* Facts that follow from a group's merged state (a group is one run of one job, or
  one JobEvent or DatasetEvent) carry `position_from`, `position_to`, `valid_from`, `valid_to`.
  A row holds for the question (as of SIZE, valid at T) exactly when

      position_from < SIZE AND (position_to IS NULL OR position_to >= SIZE)
      AND valid_from <= T  AND (valid_to  IS NULL OR valid_to  >  T)

  where SIZE is a number of entries (positions 0 … SIZE-1 are known), so a row written by the
  entry at position p has `position_from = p`, and one ended by the entry at p has
  `position_to = p`. Without a question in time, SIZE is `fold_state.folded_to` and T is endless:
  `position_to IS NULL AND valid_to IS NULL`.
- *Points.* Facts that one event states alone (`run_event`, `mention`, `alias`, `ending`,
  `sighting`) carry `position` and `event_time`, and hold when `position < SIZE AND
  event_time <= T`; so does `node`, with `first_position` and `first_us`.

Notes for readers:

- `fold_state.epoch` changes when the view was rebuilt: numbers (`*_id`) kept elsewhere are void.
- `derivation` interns (source, target, kind, job); NULL source or target marks a half-derivation.
  `columns` is 1 where an end is a `datasetField` (walked only with `--columns`). What stands of it
  now is in the same row: `live_basis` (the strongest), `first_seen`, `last_seen` and how many
  `groups` assert it; `live_basis` is NULL where none does.
- What repeats is there once. `uses` interns sets of facts that begin together (`uses_assertion`,
  `uses_read`, `uses_feature`), and `group_uses` says which group holds which set, when: one row a
  run where a job does again what it did before. `assertion`, `read` and `feature` are views of
  the two; at any moment a group's sets have no fact in common. A rectangle of a set is cut where
  any fact of it ends, so only the masks above say since when a single fact holds.
- `run_state.state` is COMPLETE, FAIL, ABORT, RUNNING, START, OTHER, or JOB / DATASET for groups
  of one such event, which count as completed at `end_us`. `start_us` is the START event's time,
  else the first event's; `end_us` is null while the run has not ended. `completed` is 1 for
  COMPLETE, JOB and DATASET. `code` is the code version, null if unknown.
- first_seen of an edge = least `run_state.first_us` of the groups asserting it; last_seen =
  greatest `run_state.last_us`. `derivation` holds both for "now".
- Groups dated in the future (`run_group.future` = 1) have rectangles but no mentions, aliases
  or endings; they age nobody, win no register, and no read resolves to their writes.
- `write.version` is `run:<uuid>` where nobody observed one. `read.version` NULL: resolve it to
  the last write at or before `run_state.start_us`, by (time_us, version), of another group; else
  to the group's own write.
- `mention.facet_set_id` names a row of `facet_set`, whose `facets` is a JSON array of
  [facet name, hex digest of the canonical body or null if `_deleted`]. The register's winner per
  facet name is the mention with the greatest (event_time, digest) that states it; the body is
  in the payload of the log entry at `mention.position`.
- `alias`: node_a's symlinks facet named node_b; `node_b` NULL is node_a's retraction (`_deleted`)
  and ends every assertion of node_a with a lesser (event_time, digest).
- When an event first named a node stands in `node` (NULL: none has yet). `sighting` has a row for
  each lesser event time that came later in the log. A node is known if one of these holds, or
  (rare: columns that follow from a model's list of features) if an assertion that holds has it as
  an end.
- `ending`: a lifecycle facet ended the node (DROP, or RENAME for the previous identifier).
"""

from __future__ import annotations

import sqlite3
from typing import Final

from lodeline.store.connections import Connection, exclude_readers
from lodeline.store.search_tables import drop_search_tables

_RECTANGLE = (
    "position_from INTEGER NOT NULL, position_to INTEGER, "
    "valid_from INTEGER NOT NULL, valid_to INTEGER"
)

# Name to body; dropped and created together.
TABLES: Final[dict[str, str]] = {
    "fold_state": (
        "(folded_to INTEGER NOT NULL, fold_version INTEGER NOT NULL, epoch INTEGER NOT NULL)"
    ),
    "node": (
        "(node_id INTEGER PRIMARY KEY, kind TEXT NOT NULL, namespace TEXT NOT NULL, "
        "name TEXT NOT NULL, part TEXT NOT NULL, first_position INTEGER, first_us INTEGER, "
        "UNIQUE (kind, namespace, name, part))"
    ),
    "sighting": (
        "(node_id INTEGER NOT NULL, position INTEGER NOT NULL, event_time INTEGER NOT NULL, "
        "PRIMARY KEY (node_id, position)) WITHOUT ROWID"
    ),
    "run_group": (
        "(group_id INTEGER PRIMARY KEY, run_id TEXT, job_node INTEGER, future INTEGER NOT NULL, "
        "kind TEXT NOT NULL)"
    ),
    "run_event": (
        "(group_id INTEGER NOT NULL, position INTEGER NOT NULL, event_time INTEGER NOT NULL, "
        "event_type TEXT, digest BLOB NOT NULL, PRIMARY KEY (group_id, position)) WITHOUT ROWID"
    ),
    "run_state": (
        "(group_id INTEGER NOT NULL, job_node INTEGER, state TEXT NOT NULL, "
        "completed INTEGER NOT NULL, first_us INTEGER NOT NULL, start_us INTEGER NOT NULL, "
        f"end_us INTEGER, last_us INTEGER NOT NULL, code TEXT, {_RECTANGLE}, "
        "PRIMARY KEY (group_id, position_from, valid_from)) WITHOUT ROWID"
    ),
    "derivation": (
        "(derivation_id INTEGER PRIMARY KEY, source INTEGER, target INTEGER, kind TEXT NOT NULL, "
        "job INTEGER, columns INTEGER NOT NULL, "
        "live_basis TEXT, first_seen INTEGER, last_seen INTEGER, groups INTEGER)"
    ),
    "detail": "(detail_id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE)",
    "uses": "(uses_id INTEGER PRIMARY KEY, uses_digest BLOB NOT NULL UNIQUE)",
    "uses_assertion": (
        "(derivation_id INTEGER NOT NULL, uses_id INTEGER NOT NULL, basis TEXT NOT NULL, "
        "detail_id INTEGER, PRIMARY KEY (derivation_id, uses_id)) WITHOUT ROWID"
    ),
    "uses_read": (
        "(node_id INTEGER NOT NULL, uses_id INTEGER NOT NULL, version TEXT, "
        "PRIMARY KEY (node_id, uses_id)) WITHOUT ROWID"
    ),
    "uses_feature": (
        "(feature_node INTEGER NOT NULL, field_node INTEGER NOT NULL, version TEXT, "
        "uses_id INTEGER NOT NULL)"
    ),
    "group_uses": (
        f"(uses_id INTEGER NOT NULL, group_id INTEGER NOT NULL, {_RECTANGLE}, "
        "PRIMARY KEY (uses_id, group_id, position_from, valid_from)) WITHOUT ROWID"
    ),
    "write": (
        "(node_id INTEGER NOT NULL, version TEXT NOT NULL, group_id INTEGER NOT NULL, "
        f"time_us INTEGER NOT NULL, {_RECTANGLE}, "
        "PRIMARY KEY (node_id, time_us, version, group_id, position_from, valid_from)) "
        "WITHOUT ROWID"
    ),
    "mention": (
        "(node_id INTEGER NOT NULL, event_time INTEGER NOT NULL, digest BLOB NOT NULL, "
        "position INTEGER NOT NULL, facet_set_id INTEGER NOT NULL, "
        "PRIMARY KEY (node_id, event_time, digest)) WITHOUT ROWID"
    ),
    "facet_set": "(facet_set_id INTEGER PRIMARY KEY, facets TEXT NOT NULL UNIQUE)",
    "alias": (
        "(node_a INTEGER NOT NULL, node_b INTEGER, event_time INTEGER NOT NULL, "
        "digest BLOB NOT NULL, position INTEGER NOT NULL)"
    ),
    "ending": (
        "(node_id INTEGER NOT NULL, event_time INTEGER NOT NULL, position INTEGER NOT NULL, "
        "PRIMARY KEY (node_id, event_time, position)) WITHOUT ROWID"
    ),
    "parent": (
        f"(group_id INTEGER NOT NULL, parent_run TEXT, parent_job INTEGER NOT NULL, {_RECTANGLE})"
    ),
    "capture_gap": (
        "(group_id INTEGER NOT NULL, at TEXT NOT NULL, reason TEXT NOT NULL, "
        f"detail TEXT NOT NULL, {_RECTANGLE})"
    ),
    "content_use": (
        "(version TEXT NOT NULL, written INTEGER NOT NULL, namespace TEXT NOT NULL, "
        "name TEXT NOT NULL, run_id TEXT NOT NULL, time_us INTEGER NOT NULL, "
        "information INTEGER NOT NULL, "
        "PRIMARY KEY (version, written, namespace, name, run_id, time_us)) WITHOUT ROWID"
    ),
    "content_join": (
        "(version TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, "
        "time_us INTEGER NOT NULL, conclusion TEXT NOT NULL, "
        "PRIMARY KEY (version, namespace, name, time_us)) WITHOUT ROWID"
    ),
    "content_due": (
        "(version TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (version)) WITHOUT ROWID"
    ),
    "number": (
        "(node_id INTEGER NOT NULL, number INTEGER NOT NULL, version TEXT NOT NULL, "
        "position INTEGER NOT NULL, PRIMARY KEY (node_id, number)) WITHOUT ROWID"
    ),
}

INDEXES: Final[dict[str, str]] = {
    "run_group_of_run": "run_group (run_id, job_node, future)",
    "run_group_of_job": "run_group (job_node)",
    "run_event_of_position": "run_event (position)",
    "run_state_of_job": "run_state (job_node, completed, end_us)",
    "derivation_source": "derivation (source)",
    "derivation_target": "derivation (target)",
    "derivation_job": "derivation (job)",
    "uses_assertion_of_uses": "uses_assertion (uses_id)",
    "uses_read_of_uses": "uses_read (uses_id)",
    "group_uses_of_group": "group_uses (group_id)",
    "write_of_version": "write (node_id, version)",
    "write_of_group": "write (group_id)",
    "alias_a": "alias (node_a)",
    "alias_b": "alias (node_b)",
    "parent_of_group": "parent (group_id)",
    "uses_feature_of_node": "uses_feature (feature_node)",
    "uses_feature_of_field": "uses_feature (field_node)",
    "uses_feature_of_uses": "uses_feature (uses_id)",
    "capture_gap_of_group": "capture_gap (group_id)",
    "number_of_version": "number (node_id, version)",
}

_OF_GROUPS: Final = "g.group_id, g.position_from, g.position_to, g.valid_from, g.valid_to"
# Name to question: what the tables above say of each group, fact by fact.
VIEWS: Final[dict[str, str]] = {
    "assertion": (
        f"SELECT u.derivation_id, u.basis, u.detail_id, {_OF_GROUPS} "
        "FROM uses_assertion u JOIN group_uses g ON g.uses_id = u.uses_id"
    ),
    "read": (
        f"SELECT u.node_id, u.version, {_OF_GROUPS} "
        "FROM uses_read u JOIN group_uses g ON g.uses_id = u.uses_id"
    ),
    "feature": (
        f"SELECT u.feature_node, u.field_node, u.version, {_OF_GROUPS} "
        "FROM uses_feature u JOIN group_uses g ON g.uses_id = u.uses_id"
    ),
}
# Tables that stores written by earlier versions have.
_FORMER: Final = ("derivation_live",)


def create_graph_tables(connection: Connection) -> None:
    """Create the tables and indexes that are missing. The caller owns the transaction."""
    for name, body in TABLES.items():
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} {body}")
    for name, columns in INDEXES.items():
        connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {columns}")
    for name, question in VIEWS.items():
        if _kind_of(connection, name) is None:
            connection.execute(f"CREATE VIEW {name} AS {question}")


def drop_graph_tables(connection: Connection) -> None:
    """Drop every table of the view, and the index of searches, which is made from them.

    The log is untouched; `rebuild` writes them again.
    """
    exclude_readers(connection)
    drop_search_tables(connection)
    # In an earlier version's store a table may stand where now a view does.
    for name in (*VIEWS, *TABLES, *_FORMER):
        kind = _kind_of(connection, name)
        if kind is not None:
            connection.execute(f"DROP {kind} {name}")


def _kind_of(connection: Connection, name: str) -> str | None:
    """Tell whether a TABLE or a VIEW has a name; None for neither."""
    if isinstance(connection, sqlite3.Connection):
        row = connection.execute(
            "SELECT upper(type) FROM sqlite_master WHERE type IN ('table', 'view') AND name = ?",
            (name,),
        ).fetchone()
    else:
        row = connection.execute(
            "SELECT CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END FROM pg_class "
            "WHERE oid = to_regclass(?)",
            (name,),
        ).fetchone()
    return None if row is None else str(row[0])
