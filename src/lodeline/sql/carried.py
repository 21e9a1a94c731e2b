"""Identities of source rows as a rewritten query carries them, and how an engine spells that.

An identity is, within a query, one of four: a *row* (one value, or NULL where an outer join found
none), a *list* of them (once rows have been grouped), the same as a *bitmap*, whose bit n says
whether row n is among them, where the outermost query groups; or *shared*: the one row of a query
that does not depend on where it stands. What such a query is made of another query tells
(`Shared`), so that it is not repeated for every row.

A list may hold rows of several sources: each is then the row's number times `TAG`, plus the number
of its source.

Where rows are named by the columns of a key, an identity is text: a JSON array of the number of the
source and the key, and of a list several of them with commas between. So lists are joined as texts
are, and every identity says which source it is of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlglot import exp

from lodeline.sql.sources import Source

PREFIX = "__lodeline_"

# Sources of one query, at most: a row's number (below 2^48 in DuckDB) times this is a BIGINT.
TAG = 1024

# The column that numbers the rows of a shared query's table, from 0.
NUMBER = f"{PREFIX}number"

Form = Literal["row", "list", "bitmap", "shared"]


@dataclass(frozen=True)
class Identity:
    """One source of an identity column of a rewritten query.

    Attributes:
        name: of the column.
        source: whose rows it holds.
        lists: whether a list of rows, or one row, or NULL.
        tag: where the column holds rows of several sources: the number of this one.
        bitmap: whether it holds a bitmap of rows, or NULL for none.
    """

    name: str
    source: Source
    lists: bool
    tag: int | None = None
    bitmap: bool = False


@dataclass(frozen=True)
class Shared:
    """A query inside of another, whose rows are linked to once and named by their number.

    Attributes:
        source: stands for it among the sources of the query.
        sql: gives its rows, with the identity columns.
        columns: names of the identity columns.
        identities: what they hold.
        operator: what it is, in words.
        table: the temporary table that has to hold what `sql` gives, in order, before anything
            later runs; `NUMBER` numbers its rows. Without one there is one row, 0.
    """

    source: Source
    sql: str
    columns: tuple[str, ...]
    identities: tuple[Identity, ...]
    operator: str
    table: str | None = None


@dataclass(frozen=True)
class Carried:
    """An identity available in a scope.

    Attributes:
        name: of its column, when projected.
        sources: numbers of the sources that it may hold; one, unless it is tagged.
        form: see the module's docstring.
        tagged: whether rows say which source they are of.
        table: that has it as a column.
        column: its name there, when it isn't `name`.
        made: the expression that makes it, when it is no column.
    """

    name: str
    sources: tuple[int, ...]
    form: Form = "row"
    tagged: bool = False
    table: str = ""
    column: str = ""
    made: exp.Expr | None = None

    def expression(self) -> exp.Expr:
        """Write it where it is available."""
        if self.made is not None:
            return self.made.copy()
        column = self.column or self.name
        table = exp.to_identifier(self.table, quoted=True) if self.table else None
        return exp.Column(this=exp.to_identifier(column, quoted=True), table=table)


def quoted(name: str) -> exp.Identifier:
    """Write a name that is taken as it is."""
    return exp.to_identifier(name, quoted=True)


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))


class DuckdbSpelling:
    """Identities as BIGINT, or lists of them.

    Attributes:
        dialect: as sqlglot calls it.
        stars: whether `*` can leave out columns, GROUP BY take all, and QUALIFY be written.
        semi_joins: whether SEMI and ANTI are joins, and no aliases.
        materializes: whether a common table expression can be had to be evaluated once.
        tags_all: whether every identity says which source it is of.
    """

    dialect = "duckdb"
    stars = True
    materializes = True
    semi_joins = True
    tags_all = False

    def null(self, form: Form) -> exp.Expr:
        """Write that there is no row."""
        kind = "BIGINT[]" if form == "list" else "BIGINT"
        return exp.cast(exp.Null(), kind, dialect="duckdb")

    def shared_row(self, number: int) -> exp.Expr:  # noqa: ARG002  # the other spelling asks
        """Write the one row of a shared sub-query, whose source has that number."""
        return exp.cast(exp.Literal.number(0), "BIGINT", dialect="duckdb")

    def gather(self, value: exp.Expr, form: Form, over: exp.Window | None = None) -> exp.Expr:
        """Collect an identity over a group, or over the frame of a window."""
        gathered = _call("min" if form == "shared" else "list", value)
        if over is not None:
            window = over.copy()
            window.set("this", gathered)
            gathered = window
        # NULLs of outer joins stay in the list: whoever reads it skips them; a FILTER costs more.
        return _call("flatten", gathered) if form == "list" else gathered

    def gathered_form(self, form: Form) -> Form:
        """Say what `gather` gives."""
        return "shared" if form == "shared" else "list"

    def bitmap(self, value: exp.Expr, bits: int) -> exp.Expr:
        """Collect rows over a group, as a bitmap of so many bits; NULL of no row."""
        ends = [exp.cast(exp.Literal.number(end), "BIGINT") for end in (0, bits - 1)]
        return _call("bitstring_agg", value, *ends)

    def tagged(self, value: exp.Expr, form: Form, number: int) -> exp.Expr:
        """Write an identity as a list of rows that say which source they are of."""
        body = f"__lodeline_r * {TAG} + {number}"
        if form == "list":
            made: exp.Expr = exp.maybe_parse(
                f"[{body} for __lodeline_r in __lodeline_l]", dialect="duckdb"
            )
            return made.transform(
                lambda node: (
                    value.copy()
                    if isinstance(node, exp.Column) and node.name == "__lodeline_l"
                    else node
                )
            )
        element = exp.Add(
            this=exp.Mul(this=exp.paren(value.copy()), expression=exp.Literal.number(TAG)),
            expression=exp.Literal.number(number),
        )
        return exp.Array(expressions=[element])

    def concatenated(self, lists: Sequence[exp.Expr]) -> exp.Expr:
        """Join lists, any of which may be NULL."""
        if len(lists) == 1:
            return lists[0]
        return _call("flatten", exp.Array(expressions=list(lists)))

    def as_list(self, value: exp.Expr) -> exp.Expr:
        """Make a list of one row."""
        return exp.Array(expressions=[value])

    def packed(self, value: exp.Expr) -> exp.Expr:
        """Wrap a value, so that what holds a NULL is not NULL itself."""
        return _call("list_value", value)

    def unpacked(self, value: exp.Expr) -> exp.Expr:
        """Take a value out again."""
        return _call("list_extract", value, exp.Literal.number(1))

    def copies(self, number: str) -> str:
        """Write what makes as many rows of one, in SELECT."""
        return f"unnest(range({number}))"

    def unnested(self, column: str) -> str:
        """Write what makes a row of each member of a list that says its sources, in SELECT."""
        return f'unnest("{column}")'

    def relisted(self, column: str) -> str:
        """Collect such members again, over a group."""
        return f'list("{column}")'


class PostgresSpelling(DuckdbSpelling):
    """Identities as text, of the columns of primary keys."""

    dialect = "postgres"
    stars = False
    semi_joins = False
    tags_all = True

    def null(self, form: Form) -> exp.Expr:  # noqa: ARG002
        """Write that there is no row."""
        return exp.cast(exp.Null(), "TEXT", dialect=self.dialect)

    def shared_row(self, number: int) -> exp.Expr:
        """Write the one row of a shared sub-query, whose source has that number."""
        return exp.cast(exp.Literal.string(f"[{number},0]"), "TEXT", dialect=self.dialect)

    def row(self, table: str, keys: Sequence[str], number: int) -> exp.Expr:
        """Write the identity of a table's row; NULL where an outer join found none."""
        made: exp.Expr = exp.Literal.string(f"[{number}")
        for key in keys:
            value = self.value(exp.Column(this=quoted(key), table=quoted(table)))
            comma = exp.DPipe(this=made, expression=exp.Literal.string(","))
            made = exp.DPipe(this=comma, expression=value)
        return exp.paren(exp.DPipe(this=made, expression=exp.Literal.string("]")))

    def value(self, column: exp.Expr) -> exp.Expr:
        """Write one column of a key as JSON; NULL of NULL."""
        return exp.cast(_call("to_jsonb", column), "TEXT", dialect=self.dialect)

    def gather(self, value: exp.Expr, form: Form, over: exp.Window | None = None) -> exp.Expr:
        """Collect an identity over a group, or over the frame of a window."""
        comma = exp.Literal.string(",")
        shared = form == "shared"
        gathered = _call("min", value) if shared else _call("string_agg", value, comma)
        if over is not None:
            window = over.copy()
            window.set("this", gathered)
            gathered = window
        return gathered

    def tagged(self, value: exp.Expr, form: Form, number: int) -> exp.Expr:  # noqa: ARG002
        """Write an identity as a list of rows that say which source they are of: all do."""
        return value

    def concatenated(self, lists: Sequence[exp.Expr]) -> exp.Expr:
        """Join lists, any of which may be NULL."""
        if len(lists) == 1:
            return lists[0]
        joined = _call("concat_ws", exp.Literal.string(","), *lists)
        # Of nothing at all it is an empty text, and two of those joined would be a comma.
        return _call("nullif", joined, exp.Literal.string(""))

    def as_list(self, value: exp.Expr) -> exp.Expr:
        """Make a list of one row."""
        return value

    def copies(self, number: str) -> str:
        """Write what makes as many rows of one, in SELECT."""
        return f"generate_series(1, {number})"

    def unnested(self, column: str) -> str:
        """Write what makes a row of each member of a list that says its sources, in SELECT."""
        return f"CAST(jsonb_array_elements(CAST('[' || \"{column}\" || ']' AS JSONB)) AS TEXT)"

    def relisted(self, column: str) -> str:
        """Collect such members again, over a group."""
        return f"string_agg(\"{column}\", ',')"


# How Spark tells the rows of Parquet files apart: their place in the file, beside its path.
FILE_ROW = ("_metadata.file_path", "_metadata.row_index")


class SparkSpelling(PostgresSpelling):
    """Identities as text, of the columns of declared keys, or of a row's place in its file.

    Numbers that Spark makes up (`monotonically_increasing_id`) bind to nothing: they change with
    the partitions of a plan.
    """

    dialect = "spark"
    semi_joins = True
    materializes = False

    def row(self, table: str, keys: Sequence[str], number: int) -> exp.Expr:
        """Write the identity of a table's row; NULL where an outer join found none."""
        parts: list[exp.Expr] = [exp.Literal.string(f"[{number}")]
        for key in keys:
            if key in FILE_ROW:
                holder, _, name = key.partition(".")
                column: exp.Expr = exp.Column(
                    this=quoted(name), table=quoted(holder), db=quoted(table)
                )
            else:
                column = exp.Column(this=quoted(key), table=quoted(table))
            parts += [exp.Literal.string(","), self.value(column)]
        return _call("concat", *parts, exp.Literal.string("]"))

    def value(self, column: exp.Expr) -> exp.Expr:
        """Write one column of a key as JSON; NULL of NULL."""
        listed = _call("to_json", _call("array", column))
        inside = _call("regexp_extract", listed, exp.Literal.string("^.(.*).$"))
        there = exp.Not(this=exp.Is(this=column.copy(), expression=exp.Null()))
        return exp.Case(ifs=[exp.If(this=there, true=inside)])

    def gather(self, value: exp.Expr, form: Form, over: exp.Window | None = None) -> exp.Expr:
        """Collect an identity over a group, or over the frame of a window."""
        gathered = _call("min" if form == "shared" else "collect_list", value)
        if over is not None:
            window = over.copy()
            window.set("this", gathered)
            gathered = window
        if form == "shared":
            return gathered
        joined = _call("array_join", gathered, exp.Literal.string(","))
        return _call("nullif", joined, exp.Literal.string(""))

    def packed(self, value: exp.Expr) -> exp.Expr:
        """Wrap a value, so that what holds a NULL is not NULL itself."""
        return _call("array", value)

    def unpacked(self, value: exp.Expr) -> exp.Expr:
        """Take a value out again."""
        return _call("element_at", value, exp.Literal.number(1))

    def copies(self, number: str) -> str:
        """Write what makes as many rows of one, in SELECT."""
        return f"explode(array_repeat(0, CAST({number} AS INT)))"

    def unnested(self, column: str) -> str:
        """Write what makes a row of each member of a list that says its sources, in SELECT."""
        return f"explode(from_json('[' || \"{column}\" || ']', 'array<string>'))"

    def relisted(self, column: str) -> str:
        """Collect such members again, over a group."""
        return f"nullif(array_join(collect_list(\"{column}\"), ','), '')"


Spelling = DuckdbSpelling
