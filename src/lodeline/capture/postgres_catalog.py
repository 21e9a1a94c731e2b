"""What a PostgreSQL server says of the names in statements, for every driver of it.

One question a table and one a set of functions, on the program's own connection, which alone sees
what is not committed and what is temporary. The adapter asks only where a transaction is open that
stands well, or where each statement is its own: a read of the catalog then changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from lodeline.capture.datasets import Dataset
from lodeline.capture.relations import Relation

_RELATION: Final = """
SELECT n.nspname, c.relname, c.relkind::text, c.relpersistence = 't',
    CASE WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END,
    EXISTS (SELECT 1 FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
    a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a
    ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.oid = pg_catalog.to_regclass({})
ORDER BY a.attnum
"""
_FUNCTIONS: Final = """
SELECT DISTINCT p.proname FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname = ANY ({}) AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
_SYSTEM: Final = ("pg_catalog", "information_schema", "pg_toast")

# Query and one text -> rows of texts; `None` where the connection cannot be asked now.
Ask = Callable[[str, str], Sequence[Sequence[str | None]] | None]


class PostgresCatalog:
    """Answers for one connection.

    Args:
        host: of the server; a folder of sockets, or nothing, is the local host.
        port: of the server.
        database: its name.
        ask: runs a question of ours.
        parameter: how the driver spells a parameter.

    Attributes:
        namespace: of the server's datasets.
    """

    def __init__(
        self, *, host: str, port: int, database: str, ask: Ask, parameter: str = "$1"
    ) -> None:
        local = not host or host.startswith(("/", "@"))
        self.namespace = f"postgres://{'localhost' if local else host}:{port}"
        self._database = database
        self._ask = ask
        self._parameter = parameter

    def describe(self, schema: str, name: str, text: str) -> Relation | None:
        """Look a relation up as the server does, by its search path."""
        if schema.lower() in _SYSTEM or (not schema and name.lower().startswith("pg_")):
            return Relation(f"{schema}.{name}", None, system=True)
        rows = self._ask(_RELATION.format(self._parameter + "::text"), text)
        if not rows:
            return None
        home, title, _, temporary, view, triggers = rows[0][:6]
        columns = tuple((str(row[6]), str(row[7])) for row in rows if row[6] is not None)
        dataset = Dataset(self.namespace, f"{self._database}.{home}.{title}")
        return Relation(
            f"{home}.{title}",
            None if temporary in {"t", True} else dataset,
            columns,
            view=None if view is None else str(view).strip().rstrip(";"),
            triggers=triggers in {"t", True},
        )

    def own_functions(self, names: list[str]) -> list[str]:
        """Those that users of the database defined."""
        if not names:
            return []
        quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
        array = "{" + ",".join(f'"{name}"' for name in quoted) + "}"
        rows = self._ask(_FUNCTIONS.format(self._parameter + "::text[]"), array)
        return sorted(str(row[0]) for row in rows or ())
