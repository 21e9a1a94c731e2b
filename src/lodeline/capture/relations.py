"""What the names in SQL statements mean to one connection, as its own database says.

An adapter gives the one function that asks the database; answers are remembered until a statement
changes the schema, so a statement that runs a million times is looked up once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lodeline.capture.datasets import Dataset
from lodeline.limits import SQL_TABLES_MAX
from lodeline.sql import ColumnLineage, Source

if TYPE_CHECKING:
    from sqlglot import exp


@dataclass(frozen=True)
class Relation:
    """A table or view.

    Attributes:
        dataset: `None` for what dies with the connection.
        columns: (name, type) in order; `None` where the database could not be asked.
        view: its query, when it is a view.
        triggers: what is written to it may be written elsewhere, too.
        system: belongs to the database itself, and holds no data of anybody's.
        key: tells relations of one connection apart.
    """

    key: str
    dataset: Dataset | None
    columns: tuple[tuple[str, str], ...] | None = None
    view: str | None = None
    triggers: bool = False
    system: bool = False


@dataclass
class Content:
    """What a table that dies with the connection was made from."""

    flow: int = 0
    lineage: ColumnLineage | None = None


# (schema, name) as written, without and with quotes -> the relation.
Describe = Callable[[str, str, str], Relation | None]


@dataclass
class Relations:
    """The catalog of one connection; see `lodeline.sql.Catalog`.

    Args:
        dialect: of its SQL, as sqlglot calls it.
        describe: asks the database for (schema, name, both quoted as written).
    """

    dialect: str
    describe: Describe
    contents: dict[str, Content] = field(default_factory=dict)
    _known: dict[str, Relation] = field(default_factory=dict)
    asked: int = 0

    def forget(self) -> None:
        """A statement changed the schema."""
        self._known.clear()

    def find(self, table: exp.Expr) -> Relation | None:
        """The relation behind a table expression; `None` for an unknown one."""
        from sqlglot import exp

        from lodeline.sql.sources import bare_table

        if not isinstance(table.this, exp.Identifier):
            # A function. PostgreSQL takes its text for a malformed name, which is an error, and an
            # error would end the program's transaction.
            return None
        bare: Any = bare_table(table)  # type: ignore[arg-type]
        text = bare.sql(dialect=self.dialect)
        known = self._known.get(text)
        if known is None and self.asked < SQL_TABLES_MAX:
            self.asked += 1
            # What is not known may be so because the connection could not be asked just then.
            known = self.describe(bare.text("db"), bare.name, text)
            if known is not None:
                self._known[text] = known
        return known

    def content_of(self, relation: Relation) -> Content:
        """What is known of a table that dies with the connection."""
        return self.contents.setdefault(relation.key, Content())

    def find_source(self, table: exp.Expr) -> Source | None:
        """Resolve a table expression for column lineage."""
        relation = self.find(table)
        if relation is None or relation.system:
            return None
        if relation.view is not None:
            return Source(relation.key, view=relation.view)
        if relation.dataset is None:
            lineage = self.content_of(relation).lineage
            nothing = ColumnLineage((), (), ())
            return Source(relation.key, columns=relation.columns, lineage=lineage or nothing)
        name = (relation.dataset.namespace, relation.dataset.name)
        return Source(relation.key, dataset=name, columns=relation.columns)
