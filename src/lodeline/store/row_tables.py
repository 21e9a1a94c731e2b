"""Tables of recorded row steps: which blob says how which rows went into which.

A view, as the graph's tables are: every row follows from the `lodeline_rows` facets of events in
the log, and the blocks of links from `block` entries. `rows.steps` is the only writer. Times are
microseconds since the epoch, UTC.
"""

from __future__ import annotations

from typing import Final

from lodeline.store.connections import Connection, exclude_readers, has_table

_SCRIPT: Final = """
CREATE TABLE IF NOT EXISTS row_state(folded_to INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS row_step(
    step_id INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,
    event_time INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    operator TEXT NOT NULL,
    input_namespace TEXT NOT NULL,
    input_name TEXT NOT NULL,
    input_version TEXT NOT NULL,
    output_kind TEXT NOT NULL,
    output_namespace TEXT NOT NULL,
    output_name TEXT NOT NULL,
    output_version TEXT NOT NULL,
    shape TEXT NOT NULL,
    count INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    start INTEGER NOT NULL,
    digest TEXT NOT NULL,
    gaps TEXT NOT NULL,
    UNIQUE(run_id, output_kind, output_namespace, output_name, output_version, input_namespace,
        input_name, input_version, shape, start, digest, operator)
);
CREATE INDEX IF NOT EXISTS row_step_output
    ON row_step(output_namespace, output_name, output_version);
CREATE TABLE IF NOT EXISTS row_key(
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    columns TEXT NOT NULL,
    digest TEXT NOT NULL,
    position INTEGER NOT NULL,
    event_time INTEGER NOT NULL,
    PRIMARY KEY(namespace, name, version, columns, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS row_block(
    source TEXT NOT NULL,
    form TEXT NOT NULL,
    position INTEGER NOT NULL,
    block TEXT NOT NULL,
    block_shape TEXT NOT NULL,
    root TEXT NOT NULL,
    footer TEXT NOT NULL,
    PRIMARY KEY(source, form)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS row_block_size(
    source TEXT NOT NULL,
    form TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY(source, form)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS row_step_input ON row_step(input_namespace, input_name, input_version);
"""
TABLES: Final = ("row_state", "row_step", "row_key", "row_block", "row_block_size")


def create_row_tables(connection: Connection) -> None:
    """Create the tables that are missing, within the caller's transaction."""
    for statement in _SCRIPT.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def drop_row_tables(connection: Connection) -> None:
    """Drop the view, so that it is made anew from the log."""
    exclude_readers(connection)
    for table in TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {table}")


def has_row_tables(connection: Connection) -> bool:
    """Whether row steps were ever folded here."""
    # The youngest of the tables: a store of before is folded once more.
    return has_table(connection, "row_block_size")
