"""Bounds of the PostgreSQL store that an installation may set: table `[postgres]`, or environment.

Each has its reason where its default stands, in `limits.py`. Read wherever such a store is opened,
by the service and by commands alike, and without the driver, so that they can be listed anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lodeline.errors import UsageError
from lodeline.limits import (
    POSTGRES_CONNECTIONS_MAX,
    POSTGRES_IDLE_TRANSACTION_MS,
    POSTGRES_RECONNECT_SECONDS,
    POSTGRES_STATEMENT_MS_MAX,
    STORE_BUSY_MS,
    WRITER_LOCK_SECONDS_MAX,
)
from lodeline.settings import find_in_table, read_whole

TABLE: Final = "postgres"


@dataclass(frozen=True, slots=True)
class Bound:
    """One bound.

    Attributes:
        name: key in the table.
        variable: of the environment; it wins over the file.
        least: the least that it may be.
        most: the most that it may be.
        default: where nothing sets it.
        summary: one line for the documentation.
    """

    name: str
    variable: str
    least: int
    most: int
    default: int
    summary: str


POSTGRES_BOUNDS: Final = (
    Bound(
        "connections",
        "LODELINE_POSTGRES_CONNECTIONS",
        1,
        1_000,
        POSTGRES_CONNECTIONS_MAX,
        "Connections of one process that read from a PostgreSQL store; one more writes.",
    ),
    Bound(
        "wait_seconds",
        "LODELINE_POSTGRES_WAIT_SECONDS",
        1,
        3_600,
        STORE_BUSY_MS // 1000,
        "Seconds that a question waits for one of them.",
    ),
    Bound(
        "statement_seconds",
        "LODELINE_POSTGRES_STATEMENT_SECONDS",
        1,
        86_400,
        POSTGRES_STATEMENT_MS_MAX // 1000,
        "Seconds that one statement on PostgreSQL may take (`statement_timeout`).",
    ),
    Bound(
        "lock_seconds",
        "LODELINE_POSTGRES_LOCK_SECONDS",
        1,
        86_400,
        int(WRITER_LOCK_SECONDS_MAX),
        "Seconds that a writer waits for the writer of another process (`lock_timeout`).",
    ),
    Bound(
        "idle_transaction_seconds",
        "LODELINE_POSTGRES_IDLE_TRANSACTION_SECONDS",
        1,
        86_400,
        POSTGRES_IDLE_TRANSACTION_MS // 1000,
        "Seconds after which PostgreSQL ends the session of a process that is silent in a "
        "transaction (`idle_in_transaction_session_timeout`).",
    ),
    Bound(
        "reconnect_seconds",
        "LODELINE_POSTGRES_RECONNECT_SECONDS",
        0,
        3_600,
        int(POSTGRES_RECONNECT_SECONDS),
        "Seconds that a process tries to reach a PostgreSQL again that it had reached before.",
    ),
)


@dataclass(frozen=True, slots=True)
class PostgresBounds:
    """The bounds that count; see `POSTGRES_BOUNDS`."""

    connections: int
    wait_seconds: int
    statement_seconds: int
    lock_seconds: int
    idle_transaction_seconds: int
    reconnect_seconds: int

    def __str__(self) -> str:
        return (
            f"{self.connections} connections a process, waited for {self.wait_seconds} s; "
            f"{self.statement_seconds} s a statement; {self.lock_seconds} s for the writer's lock; "
            f"{self.idle_transaction_seconds} s silent in a transaction; "
            f"{self.reconnect_seconds} s to reach it again"
        )


def read_bounds() -> PostgresBounds:
    """Read the bounds that count here.

    Raises:
        UsageError: one that is no whole number of its range, or a configuration file that cannot
            be read.
    """
    found: dict[str, int] = {}
    for bound in POSTGRES_BOUNDS:
        value = find_in_table(TABLE, bound.name, variable=bound.variable)
        try:
            found[bound.name] = (
                bound.default
                if value is None
                else read_whole(value, least=bound.least, most=bound.most)
            )
        except ValueError as error:
            raise UsageError(f"{TABLE}.{bound.name}: {error}") from error
    return PostgresBounds(**found)
