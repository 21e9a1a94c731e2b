"""Column lineage of one query: which input fields each output field was made from, and how.

Every output column of every scope is resolved once and remembered, so a query costs one walk,
however many columns lead to one common table expression. The vocabulary (DIRECT with IDENTITY,
TRANSFORMATION, AGGREGATION; INDIRECT with JOIN, GROUP_BY, FILTER, SORT, WINDOW, CONDITIONAL) is
OpenLineage's column lineage facet's.

Left out: what scalar functions do with their arguments. A function of two columns depends on both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope, find_all_in_scope
from sqlglot.schema import MappingSchema

from lodeline.errors import UnsupportedQueryError
from lodeline.sql.sources import (
    Bindings,
    Catalog,
    OperatorGap,
    Source,
    bind_sources,
    describe_error,
)

DIRECT = "DIRECT"
INDIRECT = "INDIRECT"

# Later words absorb earlier ones along a path: the sum of a copied column is an AGGREGATION.
_STRENGTH = {"IDENTITY": 0, "TRANSFORMATION": 1, "AGGREGATION": 2}


@dataclass(frozen=True)
class InputField:
    """One input field and its part in an output."""

    source: Source
    field: str
    type: str
    subtype: str

    def through(self, type_: str, subtype: str) -> InputField:
        """Give the part this field plays when what it made is used as (`type_`, `subtype`)."""
        if type_ == INDIRECT:
            return InputField(self.source, self.field, INDIRECT, subtype)
        if self.type == INDIRECT or _STRENGTH[subtype] <= _STRENGTH[self.subtype]:
            return self
        return InputField(self.source, self.field, DIRECT, subtype)


@dataclass(frozen=True)
class OutputField:
    """An output column and what it was made from."""

    name: str
    inputs: tuple[InputField, ...]


@dataclass(frozen=True)
class ColumnLineage:
    """Column lineage of a query.

    Attributes:
        fields: by output column, in order.
        indirect: fields that shaped the whole output (filters, joins, grouping, order).
        sources: every dataset read, with those that reach no column.
        gaps: what could not be followed.
    """

    fields: tuple[OutputField, ...]
    indirect: tuple[InputField, ...]
    sources: tuple[Source, ...]
    gaps: tuple[OperatorGap, ...] = ()


@dataclass
class _Walk:
    """State of one trace: tables by synthetic name, and what has been resolved already."""

    tables: Mapping[str, Source]
    outputs: dict[int, list[tuple[str, tuple[InputField, ...]]]] = field(default_factory=dict)
    shaping: dict[int, tuple[InputField, ...]] = field(default_factory=dict)
    scopes: dict[int, Scope] = field(default_factory=dict)
    gaps: list[OperatorGap] = field(default_factory=list)


def trace_columns(
    query: exp.Query,
    catalog: Catalog,
    *,
    names: Sequence[str] | None = None,
    dialect: str = "duckdb",
) -> ColumnLineage:
    """Trace every output column of a query to its input fields.

    Args:
        query: left as it is.
        catalog: resolves the tables; sources without known columns become gaps where needed.
        names: the engine's own output names, which then win over those read from the text.
        dialect: of the query, as sqlglot calls it.

    Raises:
        UnsupportedQueryError: the query's shape is beyond the analysis; nothing is claimed.
    """
    tree = query.copy()
    bindings = bind_sources(tree, catalog, dialect=dialect)
    tables, schema = _name_tables(tree, bindings)
    gaps = [OperatorGap("table", f"{name} is not known") for name in bindings.unknown]
    gaps += [
        OperatorGap("table", f"columns of {source.key} are not known")
        for source in bindings.ordered
        if source.columns is None
    ]
    try:
        qualified = qualify(
            tree,
            dialect=dialect,
            schema=MappingSchema(schema, dialect=dialect),
            validate_qualify_columns=False,
            quote_identifiers=False,
        )
        root = build_scope(qualified)
    except (SqlglotError, RecursionError, KeyError, ValueError) as error:
        raise UnsupportedQueryError("column lineage", describe_error(error)) from error
    if root is None:
        raise UnsupportedQueryError("column lineage", "no scope")
    walk = _Walk(tables, gaps=gaps)
    for scope in root.traverse():
        walk.scopes[id(scope.expression)] = scope
    outputs = _outputs(root, walk)
    if names is not None and len(names) != len(outputs):
        raise UnsupportedQueryError(
            "column lineage", f"{len(outputs)} columns read, the engine says {len(names)}"
        )
    titles = names if names is not None else [name for name, _ in outputs]
    fields = tuple(
        OutputField(title, inputs) for title, (_, inputs) in zip(titles, outputs, strict=True)
    )
    return ColumnLineage(
        fields, _shaping(root, walk), tuple(bindings.ordered), tuple(dict.fromkeys(walk.gaps))
    )


def _name_tables(
    tree: exp.Query, bindings: Bindings
) -> tuple[dict[str, Source], dict[str, object]]:
    """Give every base table a synthetic name, so that files and functions look like tables."""
    tables: dict[str, Source] = {}
    schema: dict[str, object] = {}
    names: dict[int, str] = {}
    for table in list(tree.find_all(exp.Table)):
        source = bindings.find_source(table)
        if source is None or source.columns is None or source.rows == "constant":
            continue
        name = names.setdefault(id(source), f"__source_{len(names)}")
        tables[name] = source
        schema[name] = {column.lower(): "unknown" for column, _ in source.columns}
        if not table.args.get("alias"):
            shown = table.name if isinstance(table.this, exp.Identifier) else table.this.key
            table.set("alias", exp.TableAlias(this=exp.to_identifier(shown, quoted=True)))
        table.set("this", exp.to_identifier(name))
        table.set("db", None)
        table.set("catalog", None)
    return tables, schema


def _outputs(scope: Scope, walk: _Walk) -> list[tuple[str, tuple[InputField, ...]]]:
    """Resolve the output columns of a scope, once."""
    key = id(scope.expression)
    if key in walk.outputs:
        return walk.outputs[key]
    walk.outputs[key] = []  # A recursive CTE meets itself here, and adds nothing.
    query = scope.expression
    if isinstance(query, exp.SetOperation):
        result = _merge_branches(query, scope, walk)
    elif isinstance(query, exp.Query):
        result = [
            (
                projection.alias_or_name.lower(),
                _merged(_inputs(projection, scope, walk, DIRECT, "IDENTITY")),
            )
            for projection in query.selects
        ]
        if any(
            isinstance(projection, exp.Star) or projection.is_star for projection in query.selects
        ):
            raise UnsupportedQueryError("star", "over columns that are not known")
    else:
        result = []
    walk.outputs[key] = result
    return result


def _merge_branches(
    query: exp.SetOperation, scope: Scope, walk: _Walk
) -> list[tuple[str, tuple[InputField, ...]]]:
    left, right = (_outputs(branch, walk) for branch in scope.set_operation_scopes)
    if query.args.get("by_name"):
        merged: dict[str, list[InputField]] = {}
        for name, inputs in (*left, *right):
            merged.setdefault(name, []).extend(inputs)
        return [(name, _merged(inputs)) for name, inputs in merged.items()]
    if isinstance(query, exp.Except | exp.Intersect):
        weak = [[item.through(INDIRECT, "FILTER") for item in inputs] for _, inputs in right]
        right = [(name, tuple(inputs)) for (name, _), inputs in zip(right, weak, strict=True)]
    # A recursive CTE's second branch may still be open; it then adds nothing.
    padded = [inputs for _, inputs in right] + [()] * (len(left) - len(right))
    return [
        (name, _merged((*inputs, *other)))
        for (name, inputs), other in zip(left, padded, strict=False)
    ]


def _shaping(scope: Scope, walk: _Walk) -> tuple[InputField, ...]:
    """Collect the fields that shaped a scope's whole output, its inner scopes' included."""
    key = id(scope.expression)
    if key in walk.shaping:
        return walk.shaping[key]
    walk.shaping[key] = ()
    found: list[InputField] = []
    for inner in (*scope.set_operation_scopes, *_source_scopes(scope)):
        found.extend(_shaping(inner, walk))
    query = scope.expression
    clauses = [
        (query.args.get("where"), "FILTER"),
        (query.args.get("having"), "FILTER"),
        (query.args.get("qualify"), "FILTER"),
        (query.args.get("group"), "GROUP_BY"),
        (query.args.get("order"), "SORT"),
    ]
    clauses += [(join.args.get("on"), "JOIN") for join in query.args.get("joins") or ()]
    if isinstance(query, exp.Select):
        for clause, subtype in clauses:
            if clause is not None:
                found.extend(_inputs(clause, scope, walk, INDIRECT, subtype))
        for join in query.args.get("joins") or ():
            found.extend(_using(join, scope, walk))
        for subquery in scope.subquery_scopes:
            found.extend(_shaping(subquery, walk))
    result = _merged(found)
    walk.shaping[key] = result
    return result


def _using(join: exp.Join, scope: Scope, walk: _Walk) -> Iterator[InputField]:
    """`qualify` turns USING into ON where it knows both schemas; the rest stays by name."""
    for name in join.args.get("using") or ():
        for table in scope.sources:
            for item in _resolve(name.name, table, scope, walk):
                yield item.through(INDIRECT, "JOIN")


def _source_scopes(scope: Scope) -> Iterator[Scope]:
    for source in scope.sources.values():
        if isinstance(source, Scope) and source is not scope.parent:
            yield source


def _inputs(
    node: exp.Expr, scope: Scope, walk: _Walk, type_: str, subtype: str
) -> Iterator[InputField]:
    """Find the input fields under an expression, each with the part it plays there."""
    if isinstance(node, exp.Column):
        for item in _resolve(node.name, node.table, scope, walk):
            yield item.through(type_, subtype)
        return
    if isinstance(node, exp.Query) or (
        isinstance(node, exp.Subquery) and isinstance(node.this, exp.Query)
    ):
        yield from _subquery_inputs(node, walk, type_, subtype)
        return
    for child, child_type, child_subtype in _parts(node, type_, subtype):
        yield from _inputs(child, scope, walk, child_type, child_subtype)


def _parts(node: exp.Expr, type_: str, subtype: str) -> Iterator[tuple[exp.Expr, str, str]]:
    """Give each child of an expression with the part it plays in the expression."""
    indirect = type_ == INDIRECT
    conditions: tuple[exp.Expr, ...] = ()
    own = subtype
    if not indirect:
        if isinstance(node, exp.AggFunc):
            own = "AGGREGATION"
        elif not isinstance(node, exp.Alias | exp.Paren):
            own = max(subtype, "TRANSFORMATION", key=lambda word: _STRENGTH[word])
    kind = "CONDITIONAL"
    if isinstance(node, exp.If | exp.Case) and node.this is not None:
        conditions = (node.this,)
    elif isinstance(node, exp.Filter):
        conditions, kind = (node.expression,), "FILTER"
    elif isinstance(node, exp.Window):
        conditions = tuple(child for child in node.iter_expressions() if child is not node.this)
        kind = "WINDOW"
    for child in node.iter_expressions():
        if not indirect and any(child is condition for condition in conditions):
            yield child, INDIRECT, kind
        else:
            yield child, type_, own


def _subquery_inputs(node: exp.Expr, walk: _Walk, type_: str, subtype: str) -> Iterator[InputField]:
    query = node.this if isinstance(node, exp.Subquery) else node
    scope = walk.scopes.get(id(query))
    if scope is None:
        walk.gaps.append(OperatorGap("subquery", query.sql(dialect="duckdb")[:200]))
        return
    own = subtype if type_ == INDIRECT or subtype == "AGGREGATION" else "TRANSFORMATION"
    for _, inputs in _outputs(scope, walk):
        for item in inputs:
            yield item.through(type_, own)
    for item in _shaping(scope, walk):
        yield item.through(INDIRECT, "FILTER" if type_ == DIRECT else subtype)


def _resolve(name: str, table: str, scope: Scope, walk: _Walk) -> tuple[InputField, ...]:
    """Resolve a column name to input fields, looking outwards for correlated references."""
    at: Scope | None = scope
    while at is not None:
        source = at.sources.get(table)
        if source is not None:
            return _resolve_in(source, name, walk)
        at = at.parent
    if not table:
        return _resolve_unqualified(name, scope, walk)
    return ()


def _resolve_unqualified(name: str, scope: Scope, walk: _Walk) -> tuple[InputField, ...]:
    """Resolve a name that `qualify` left without a table: an alias of its SELECT, else a gap."""
    query = scope.expression
    for projection in query.selects if isinstance(query, exp.Query) else ():
        if isinstance(projection, exp.Alias) and projection.alias.lower() == name.lower():
            columns = list(find_all_in_scope(projection.this, exp.Column))
            if all(column.table for column in columns):
                return _merged(_inputs(projection.this, scope, walk, DIRECT, "IDENTITY"))
    candidates = [source for source in scope.sources.values() if not _is_constant(source, walk)]
    if not candidates:
        return ()
    for source in candidates:
        found = _resolve_in(source, name, walk)
        if found:
            return found
    walk.gaps.append(OperatorGap("column", f"{name} could not be told to a table"))
    return ()


def _is_constant(source: object, walk: _Walk) -> bool:
    return isinstance(source, exp.Table) and source.name not in walk.tables


def _resolve_in(source: object, name: str, walk: _Walk) -> tuple[InputField, ...]:
    if isinstance(source, Scope):
        for title, inputs in _outputs(source, walk):
            if title == name.lower():
                return inputs
        return ()
    if isinstance(source, exp.Table):
        base = walk.tables.get(source.name)
        if base is not None:
            return _base_field(base, name)
    return ()


def _base_field(source: Source, name: str) -> tuple[InputField, ...]:
    """Give a base column; for an in-memory table, what that column was made from."""
    if source.lineage is not None:
        for output in source.lineage.fields:
            if output.name.lower() == name.lower():
                return output.inputs
        return ()
    for column, _ in source.columns or ():
        if column.lower() == name.lower():
            return (InputField(source, column, DIRECT, "IDENTITY"),)
    return ()


def _merged(inputs: Iterable[InputField]) -> tuple[InputField, ...]:
    return tuple(dict.fromkeys(inputs))


def compose_sources(lineage: ColumnLineage) -> ColumnLineage:
    """Replace in-memory sources by what they were made from, in `sources` and `indirect` too."""
    sources: dict[str, Source] = {}
    indirect = list(lineage.indirect)
    gaps = list(lineage.gaps)
    for source in lineage.sources:
        if source.lineage is None:
            sources.setdefault(source.key, source)
            continue
        inner = compose_sources(source.lineage)
        indirect.extend(inner.indirect)
        gaps.extend(inner.gaps)
        for base in inner.sources:
            sources.setdefault(base.key, base)
    return ColumnLineage(
        lineage.fields,
        _merged(indirect),
        tuple(sources.values()),
        tuple(dict.fromkeys(gaps)),
    )
