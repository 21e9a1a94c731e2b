"""What one SQL statement reads and writes, read from its text and the connection's own schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlglot import exp

from lodeline.capture.relations import Relation, Relations
from lodeline.errors import UnsupportedQueryError
from lodeline.sql import ColumnLineage, Statement, compose_sources, trace_columns
from lodeline.sql.sources import is_cte_reference

_WRITING: Final = (exp.Insert, exp.Update, exp.Delete, exp.Merge)
# First words of statements that neither read nor write data of anybody's.
_INERT: Final = frozenset(
    {"set", "show", "reset", "listen", "unlisten", "notify", "grant", "revoke", "lock", "vacuum"}
    | {"analyze", "explain", "comment", "discard", "checkpoint", "close", "deallocate", "move"}
    | {"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "pragma"}
    | {"attach", "detach", "create", "reindex", "cluster", "use", "fetch", "alter", "drop"}
    | {"prepare"}
)  # fmt: skip


@dataclass
class Write:
    """A relation that a statement writes.

    Attributes:
        relation: the table.
        lineage: of its columns, where known.
        replaces: its former content is gone.
        external: values come from outside SQL: parameters, or COPY from the client.
        itself: what it reads of the same relation may end up in other rows of it.
    """

    relation: Relation
    lineage: ColumnLineage | None = None
    replaces: bool = False
    external: bool = False
    itself: bool = True


@dataclass
class Effects:
    """What a statement does, once it has succeeded and is committed.

    Attributes:
        reads: relations read.
        writes: relations written.
        gaps: (operator, detail) of what could not be followed.
        schema: tables may have changed their columns.
    """

    reads: list[Relation] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    gaps: list[tuple[str, str]] = field(default_factory=list)
    schema: bool = False
    is_query: bool = False


def effects_of(
    statement: Statement, relations: Relations, own_functions: Any, *, text: str
) -> Effects:
    """Tell what a statement reads and writes.

    Args:
        statement: as parsed.
        relations: resolve its names.
        own_functions: says which of some names are functions that users of the database defined.
        text: the statement's, for its first word.
    """
    effects = Effects()
    tree = statement.tree
    word = (text.split(maxsplit=1) or [""])[0].strip(";(").lower()
    if isinstance(tree, exp.Command) or (statement.kind == "other" and word not in _INERT):
        if word not in _INERT:
            effects.gaps.append((word, "what it reads and writes is decided in the database"))
            effects.schema = True
        return effects
    if statement.kind == "other" or isinstance(tree, exp.Drop | exp.Alter):
        effects.schema = isinstance(tree, exp.Create | exp.Drop | exp.Alter | exp.Attach)
        return effects
    target = _target(statement)
    inner = [node for node in tree.find_all(*_WRITING) if node is not tree]
    silent = [node for node in inner if not node.args.get("returning")]
    own = {id(target), *(id(_table_of(node)) for node in silent)}
    effects.reads = list(_reads(tree, relations, own, effects))
    for name in own_functions(_function_names(tree)):
        effects.gaps.append((f"function {name}", "what it reads and writes is not observed"))
    effects.is_query = statement.kind in {"select", "copy_to"} and target is None
    lineage = None if inner else _lineage(statement, relations, effects)
    effects.writes = list(_writes(statement, target, lineage, relations, effects))
    for node in inner:
        relation = relations.find(_table_of(node)) if _table_of(node) is not None else None
        if relation is not None:
            values = isinstance(node, exp.Insert) and _takes_values(node)
            inserts = isinstance(node, exp.Insert)
            effects.writes.append(Write(relation, external=values, itself=inserts))
    return effects


def _target(statement: Statement) -> exp.Table | None:
    into = statement.tree.args.get("into") if isinstance(statement.tree, exp.Select) else None
    if into is not None:
        found: exp.Table | None = into.find(exp.Table)
        return found
    return None if statement.kind in {"select", "copy_to"} else statement.table


def _table_of(node: exp.Expr) -> Any:
    return None if node.this is None else node.this.find(exp.Table)


def _reads(
    tree: exp.Expr, relations: Relations, own: set[int], effects: Effects
) -> Iterator[Relation]:
    seen: set[str] = set()
    for table in tree.find_all(exp.Table):
        if id(table) in own or is_cte_reference(table):
            continue
        if not isinstance(table.this, exp.Identifier):
            continue  # A function; those that users defined are told apart from these.
        relation = relations.find(table)
        if relation is None:
            if table.find_ancestor(exp.CTE) is None or table.args.get("db"):
                effects.gaps.append(("table", f"{table.name} is not known"))
            continue
        if relation.key not in seen and not relation.system:
            seen.add(relation.key)
            yield relation
            yield from _beneath(relation, relations, effects, seen)


def _beneath(
    relation: Relation, relations: Relations, effects: Effects, seen: set[str]
) -> Iterator[Relation]:
    """The tables under a view."""
    from lodeline.sql.sources import parse_query

    if relation.view is None:
        return
    try:
        tree = parse_query(relation.view, dialect=relations.dialect)
    except UnsupportedQueryError as error:
        effects.gaps.append(("view", f"{relation.key}: {error}"))
        return
    for table in tree.find_all(exp.Table):
        below = None if is_cte_reference(table) else relations.find(table)
        if below is not None and below.key not in seen:
            seen.add(below.key)
            yield below
            yield from _beneath(below, relations, effects, seen)


def _function_names(tree: exp.Expr) -> list[str]:
    return sorted({node.name.lower() for node in tree.find_all(exp.Anonymous)})


def _lineage(statement: Statement, relations: Relations, effects: Effects) -> ColumnLineage | None:
    query = statement.query
    if isinstance(statement.tree, exp.Update):
        query = _as_query(statement.tree)
    if query is None or statement.kind == "select":
        return None
    query = query.copy()
    query.set("into", None)
    names = list(statement.columns) or None
    try:
        return compose_sources(
            trace_columns(query, relations, names=names, dialect=relations.dialect)
        )
    except UnsupportedQueryError as error:
        effects.gaps.append((f"column lineage: {error.operator}", error.detail[:200]))
        return None


def _as_query(update: exp.Update) -> exp.Query | None:
    """`UPDATE t SET a = e FROM s WHERE c` as `SELECT e AS a FROM t, s WHERE c`."""
    table = update.this
    if not isinstance(table, exp.Table):
        return None
    columns = [
        exp.alias_(one.expression.copy(), one.this.name, quoted=True)
        for one in update.expressions
        if isinstance(one, exp.EQ) and isinstance(one.this, exp.Column)
    ]
    query = exp.select(*columns).from_(table.copy())
    further = update.args.get("from_")
    if further is not None:
        query = query.join(further.this.copy(), join_type="cross")
    where = update.args.get("where")
    return query.where(where.this.copy()) if where is not None else query


def _writes(
    statement: Statement,
    target: exp.Table | None,
    lineage: ColumnLineage | None,
    relations: Relations,
    effects: Effects,
) -> Iterator[Write]:
    if target is None:
        return
    if statement.kind in {"create_table", "create_view"} or statement.kind == "select":
        effects.schema = True
        relations.forget()  # The table stands only since this statement.
    relation = relations.find(target)
    if relation is None:
        effects.gaps.append(("table", f"{target.name}, which is written, is not known"))
        return
    if relation.triggers:
        effects.gaps.append((f"trigger on {target.name}", "what it writes is not observed"))
    fills = statement.kind in {"create_table", "create_view", "select"}
    tree = statement.tree
    external = statement.kind == "copy_from" or _takes_values(tree)
    if isinstance(tree, exp.Insert) and lineage is not None and not statement.columns:
        lineage = _positional(lineage, relation)
    yield Write(
        relation,
        lineage,
        replaces=fills and not tree.args.get("exists"),
        external=external,
        itself=not isinstance(tree, exp.Update | exp.Delete | exp.Merge),
    )


def _takes_values(tree: exp.Expr) -> bool:
    """Whether values that the program gave, or wrote into the text, end up in the table."""
    if isinstance(tree, exp.Insert):
        query = tree.expression
        if not isinstance(query, exp.Query) or query.find(exp.Values):
            return True
        return any(one.find(exp.Placeholder, exp.Parameter) for one in query.selects)
    assigned = tree.expressions if isinstance(tree, exp.Update) else [tree]
    return isinstance(tree, exp.Update | exp.Merge) and any(
        True for one in assigned for _ in one.find_all(exp.Placeholder, exp.Parameter)
    )


def _positional(lineage: ColumnLineage, relation: Relation) -> ColumnLineage | None:
    """INSERT without a list of columns: the query's columns go to the table's, in order."""
    names = [name for name, _ in relation.columns or ()]
    if len(lineage.fields) > len(names):
        return None
    fields = tuple(
        type(one)(name, one.inputs) for name, one in zip(names, lineage.fields, strict=False)
    )
    return ColumnLineage(fields, lineage.indirect, lineage.sources, lineage.gaps)


_REPLACE: Final = re.compile(r"^\s*replace\s+into\b", re.IGNORECASE)
# Parameters as drivers of PostgreSQL spell them, which are no SQL: `%s`, `%(name)s`, `%%`.
_PARAMETER: Final = re.compile(r"%\(\w+\)[sbt]|%[sbt]|%%|\$\d+\b")


def readable_text(text: str, *, dialect: str) -> str:
    """Spell a text as sqlglot reads it."""
    if dialect == "sqlite":
        return _REPLACE.sub("INSERT OR REPLACE INTO", text)
    return _PARAMETER.sub(lambda found: "%" if found[0] == "%%" else "(:p)", text)
