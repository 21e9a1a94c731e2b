"""Every store that keeps the contract, each in a place of its own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from lodeline.settings import store_path
from lodeline.store import SqliteSegment, SqlSegment
from lodeline.store.postgres import PostgresSegment
from postgres_servers import Server

STORES = ("sqlite", "postgres15", "postgres18")
_schemas = itertools.count()


@dataclass
class Place:
    """Where one test's store lies.

    Attributes:
        kind: one of `STORES`.
        folder: of its files.
        server: of PostgreSQL, for all tests of a session.
    """

    kind: str
    folder: Path
    server: Server | None = None
    schema: str = field(default_factory=lambda: f"test_{next(_schemas)}")

    @property
    def url(self) -> str:
        """Of the store."""
        if self.server is None:
            return f"sqlite:///{self.folder}/lodeline.db"
        return self.server.url(self.schema, self.folder)

    @property
    def path(self) -> Path:
        """Beside which its files lie."""
        return store_path(self.url)

    def open(
        self,
        *,
        create: bool = True,
        clock_us: Callable[[], int] | None = None,
        seed: int | None = None,
    ) -> SqlSegment:
        """Open the store; with a seed it draws the same keys and secrets everywhere."""
        options: dict[str, Callable[..., object]] = {}
        if clock_us is not None:
            options["clock_us"] = clock_us
        if seed is not None:
            options["randomness"] = random.Random(seed).randbytes
        if self.server is None:
            path, url = self.path, self.url
            return SqliteSegment(path, url=url, create=create, **options)  # type: ignore[arg-type]
        return PostgresSegment(self.url, create=create, **options)  # type: ignore[arg-type]

    def tamper(self, *statements: str) -> None:
        """Run statements behind the store's back."""
        if self.server is None:
            import sqlite3

            connection = sqlite3.connect(self.path)
            try:
                for statement in statements:
                    connection.execute(statement)
                connection.commit()
            finally:
                connection.close()
            return
        with psycopg.connect(self.server.conninfo()) as raw:
            raw.execute(f"SET search_path = {self.schema}")
            for statement in statements:
                raw.execute(statement)

    def drop(self) -> None:
        """Let go of a schema, so that a server does not grow with the tests."""
        if self.server is not None and self.server.process.poll() is None:
            with psycopg.connect(self.server.conninfo(), autocommit=True) as raw:
                raw.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")
