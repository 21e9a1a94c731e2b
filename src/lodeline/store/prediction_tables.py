"""Tables of recorded predictions: where in which blob an identifier's record lies.

A view, as the graph's tables are: every row follows from `block` entries of the log and the blobs
they name. `ingest.predictions` is the only writer. Times are microseconds since the epoch, UTC.
"""

from __future__ import annotations

from typing import Final

from lodeline.store.connections import Connection, exclude_readers, has_table

_SCRIPT: Final = """
CREATE TABLE IF NOT EXISTS prediction_state(folded_to INTEGER NOT NULL);
-- A range of identifiers that a process reserved. A block's number may recur by chance; its
-- identifiers still differ by their time.
CREATE TABLE IF NOT EXISTS prediction_block(
    block INTEGER NOT NULL,
    reserved_us INTEGER NOT NULL,
    position INTEGER NOT NULL,
    deployment_namespace TEXT NOT NULL,
    deployment_name TEXT NOT NULL,
    deployment_version TEXT,
    model_namespace TEXT,
    model_name TEXT,
    model_version TEXT,
    run_id TEXT,
    ended_position INTEGER,
    ended_clean INTEGER,
    next_counter INTEGER,
    PRIMARY KEY(block, reserved_us)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS prediction_block_deployment
    ON prediction_block(deployment_namespace, deployment_name, reserved_us);
CREATE TABLE IF NOT EXISTS prediction_batch(
    position INTEGER PRIMARY KEY,
    block INTEGER NOT NULL,
    reserved_us INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    count INTEGER NOT NULL,
    first_us INTEGER NOT NULL,
    last_us INTEGER NOT NULL,
    digest TEXT NOT NULL,
    root TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS prediction_batch_block
    ON prediction_batch(block, reserved_us, first, last);
-- Predictions that were made, counted and not kept one by one. `body` has which they are.
CREATE TABLE IF NOT EXISTS prediction_summary(
    position INTEGER PRIMARY KEY,
    block INTEGER NOT NULL,
    reserved_us INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    count INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS prediction_summary_block
    ON prediction_summary(block, reserved_us, first, last);
"""
TABLES: Final = ("prediction_state", "prediction_block", "prediction_batch", "prediction_summary")


def create_prediction_tables(connection: Connection) -> None:
    """Create the tables that are missing, within the caller's transaction."""
    for statement in _SCRIPT.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def drop_prediction_tables(connection: Connection) -> None:
    """Drop the view, so that it is made anew from the log."""
    exclude_readers(connection)
    for table in TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {table}")


def has_summaries(connection: Connection) -> bool:
    """Whether predictions were ever summarised here; stores of before have no table for it."""
    return has_table(connection, "prediction_summary")


def has_prediction_tables(connection: Connection) -> bool:
    """Whether predictions were ever recorded here."""
    return has_table(connection, "prediction_state")
