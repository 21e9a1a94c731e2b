"""SQL for what a PySpark program builds of frames: the text that stands for each frame.

A frame that was read from Parquet stands for itself, under a name of its own; what `spark.sql` and
the methods of frames make of it gets a text over these names. The texts are guesses: before one is
used, Spark's own optimizer has to say that its plan is that of the program's frame (`rows`).
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lodeline.errors import UnsupportedQueryError

# In the names that we give, so that what we ask ourselves is not taken for the program's.
MARK: Final = "lodeline_followed_"
_INNER: Final = f"{MARK}inner"
_PLAIN: Final = re.compile(r"[A-Za-z_]\w*$")
_JOINS: Final = {
    "inner": "INNER", "left": "LEFT", "leftouter": "LEFT", "right": "RIGHT",
    "rightouter": "RIGHT", "outer": "FULL", "full": "FULL", "fullouter": "FULL",
    "leftsemi": "LEFT SEMI", "semi": "LEFT SEMI", "leftanti": "LEFT ANTI", "anti": "LEFT ANTI",
}  # fmt: skip
# Functions that stand for operators in Spark 4's own text of a column.
_SORTED: Final = re.compile(r"(.*) ((?:ASC|DESC) NULLS (?:FIRST|LAST))$", re.DOTALL)
_WORDS: Final = re.compile(r"(?<![\w`.])(in|not|like|rlike|between)\(", re.IGNORECASE)


@dataclass(frozen=True)
class Base:
    """A frame as it was read from Parquet.

    Attributes:
        name: that stands for it in texts.
        frame: the program's.
        path: of the file or folder.
        files: (path, inode, mtime in ns, size) of each when it was read.
    """

    name: str
    frame: Any
    path: str
    files: tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Query:
    """What stands for a frame.

    Attributes:
        text: over the names of bases.
        frame: whose plan it has to have.
        bases: by name.
        gap: (operator, detail) of why there is no text.
        sorted: whether it ends in ORDER BY.
    """

    text: str
    frame: Any
    bases: dict[str, Base] = field(default_factory=dict)
    gap: tuple[str, str] | None = None
    sorted: bool = False


Make = Callable[..., str]


class Queries:
    """The texts of the frames of this process, by weak identity."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], Query]] = {}
        self._groups: dict[int, tuple[weakref.ref[Any], Any, list[str]]] = {}
        self._views: dict[str, Query] = {}
        self._bases = 0

    def find(self, frame: Any) -> Query:
        """Give what stands for a frame; a gap where nothing does."""
        entry = self._known.get(id(frame))
        if entry is not None and entry[0]() is frame:
            return entry[1]
        name = str(frame._jdf.queryExecution().analyzed().nodeName())
        return Query("", frame, gap=(name, "an operation of frames that is not followed"))

    def put(self, frame: Any, query: Query) -> None:
        """Remember it."""
        key, known = id(frame), self._known
        known[key] = (weakref.ref(frame, lambda _: known.pop(key, None)), query)

    def read(self, frame: Any, path: str, files: tuple[tuple[str, int, int, int], ...]) -> None:
        """A frame was read from Parquet."""
        self._bases += 1
        base = Base(f"{MARK}rows_{self._bases}", frame, path, files)
        self.put(frame, Query(f"SELECT * FROM {base.name}", frame, {base.name: base}))

    def lose(self, frame: Any, operator: str, detail: str) -> None:
        """A frame's rows are not known, and why."""
        self.put(frame, Query("", frame, gap=(operator, detail)))

    def same(self, frame: Any, parent: Any) -> None:
        """A frame has another's rows; how they lie in partitions is another matter."""
        self.put(frame, replace(self.find(parent), sorted=False))

    def name(self, frame: Any, name: str) -> None:
        """A frame is known to SQL under a name."""
        self._views[name.lower()] = self.find(frame)

    def ask(self, frame: Any, text: str) -> None:
        """A frame was made by SQL."""
        try:
            made, bases = _expanded(text, self._views)
        except UnsupportedQueryError as error:
            self.lose(frame, error.operator, error.detail)
            return
        self.put(frame, Query(made, frame, bases))

    def group(self, groups: Any, frame: Any, columns: list[str]) -> None:
        """Remember by what a frame is grouped."""
        key, known = id(groups), self._groups
        known[key] = (weakref.ref(groups, lambda _: known.pop(key, None)), frame, columns)

    def find_group(self, groups: Any) -> tuple[Any, list[str]] | None:
        """Give the frame that is grouped, and by what."""
        entry = self._groups.get(id(groups))
        return None if entry is None or entry[0]() is not groups else entry[1:]

    def make(
        self, frame: Any, operator: str, make: Make, *parents: Any, ordered: bool = False
    ) -> None:
        """A frame was made of others.

        Args:
            frame: what the operation gave.
            operator: in words.
            make: gives the text, from those of the others.
            parents: the others.
            ordered: its text ends in ORDER BY.
        """
        found = [self.find(one) for one in parents]
        for one in found:
            if one.gap is not None:
                self.lose(frame, *one.gap)
                return
        bases = {name: base for one in found for name, base in one.bases.items()}
        try:
            text = make(*found)
        except Exception as error:  # foreign objects tell what they are; any of it may be missing
            self.lose(frame, operator, str(error)[:200] or type(error).__name__)
            return
        self.put(frame, Query(text, frame, bases, sorted=ordered))


def inner(query: Query) -> str:
    """Write a query where a table stands."""
    return f"({query.text}) AS {_INNER}"


def column_text(column: Any) -> str:
    """Write a column, given by name or as an expression, as SQL."""
    if isinstance(column, str):
        return column if column == "*" or "." in column else quoted(column)
    java = column._jc
    if not _is_node(column):
        return str(java.expr().sql())
    text = _WORDS.sub(r"`\1`(", str(_converter().apply(java.node()).sql()))
    ordered = _SORTED.match(text)
    if ordered is not None:
        return f"{_with_operators(ordered[1])} {ordered[2]}"
    return _with_operators(text)


def _is_node(column: Any) -> bool:
    """Whether columns are trees of their own, as from Spark 4 on."""
    return type(column).__module__.startswith("pyspark.sql.classic")


def _converter() -> Any:
    from pyspark import SparkContext

    context = SparkContext._active_spark_context  # what PySpark asks itself
    name = "org.apache.spark.sql.classic.ColumnNodeToExpressionConverter$"
    return context._jvm.java.lang.Class.forName(name).getField("MODULE$").get(None)


def _with_operators(text: str) -> str:
    """Write operators that stand as functions, such as `>`(a, 3), the usual way."""
    import sqlglot
    from sqlglot import exp

    from lodeline.sql.sources import quiet_parser

    binary: dict[str, type[exp.Expression]] = {
        ">": exp.GT, "<": exp.LT, ">=": exp.GTE, "<=": exp.LTE, "=": exp.EQ, "==": exp.EQ,
        "<=>": exp.NullSafeEQ, "!=": exp.NEQ, "+": exp.Add, "-": exp.Sub, "*": exp.Mul,
        "/": exp.Div, "%": exp.Mod, "like": exp.Like, "rlike": exp.RegexpLike,
    }  # fmt: skip

    def rewrite(node: Any) -> Any:
        if not isinstance(node, exp.Anonymous):
            return node
        name, given = node.name.lower(), node.expressions
        if name == "unresolvedstar":
            return exp.Star()
        if name in {"!", "not"} and len(given) == 1:
            return exp.paren(exp.Not(this=exp.paren(given[0])))
        if name == "in":
            return exp.paren(exp.In(this=given[0], expressions=given[1:]))
        if name in binary and len(given) == 2:
            parts = [exp.paren(one) if isinstance(one, exp.Binary) else one for one in given]
            return exp.paren(binary[name](this=parts[0], expression=parts[1]))
        return node

    with quiet_parser():
        return str(sqlglot.parse_one(text, dialect="spark").transform(rewrite).sql(dialect="spark"))


def columns_of(given: tuple[Any, ...]) -> list[Any]:
    """Take columns that were given one by one, or as one list."""
    return (
        list(given[0]) if len(given) == 1 and isinstance(given[0], (list, tuple)) else list(given)
    )


def sort_text(columns: list[Any], ascending: Any) -> str:
    """Write what a frame is sorted by."""
    ways = list(ascending) if isinstance(ascending, (list, tuple)) else None
    words = []
    for number, column in enumerate(columns):
        up = ways[number] if ways is not None else ascending
        words.append(column_text(column) + ("" if up is None or up is True else " DESC"))
    if ascending not in {None, True, False} and ways is None:
        raise ValueError("sorted in an unknown way")
    return ", ".join(words)


def join_text(left: Query, right: Query, on: Any, how: str | None) -> str:
    """Write a join by names, or by a condition in which equal names of both sides are compared."""
    word = _JOINS[(how or "inner").lower().replace("_", "")]
    one, two = f"{MARK}left", f"{MARK}right"
    sides = f"({left.text}) AS {one} {word} JOIN ({right.text}) AS {two}"
    if isinstance(on, str) or (isinstance(on, (list, tuple)) and all(type(x) is str for x in on)):
        names = [on] if isinstance(on, str) else list(on)
        return f"SELECT * FROM {sides} USING ({', '.join(map(quoted, names))})"
    conditions = list(on) if isinstance(on, (list, tuple)) else [on]
    known = (set(left.frame.columns), set(right.frame.columns))
    told = " AND ".join(_sided(column_text(part), (one, two), known) for part in conditions)
    return f"SELECT * FROM {sides} ON {told}"


def _sided(text: str, names: tuple[str, str], known: tuple[set[str], set[str]]) -> str:
    import sqlglot
    from sqlglot import exp

    tree = exp.paren(sqlglot.parse_one(text, dialect="spark"))
    for pair in tree.find_all(exp.EQ):
        if pair.this == pair.expression and isinstance(pair.this, exp.Column):
            for side, column in zip(names, (pair.this, pair.expression), strict=True):
                column.set("table", exp.to_identifier(side))
    for column in tree.find_all(exp.Column):
        places = [side for side, some in zip(names, known, strict=True) if column.name in some]
        if not column.table:
            if len(places) != 1:
                raise ValueError("which side a column is of is not known")
            column.set("table", exp.to_identifier(places[0]))
    return str(tree.sql(dialect="spark"))


def quoted(name: str) -> str:
    """Write a name."""
    return name if _PLAIN.match(name) else "`" + name.replace("`", "``") + "`"


def _expanded(text: str, views: dict[str, Query]) -> tuple[str, dict[str, Base]]:
    """Write a query with what its views stand for in their place."""
    from sqlglot import exp

    from lodeline.sql.sources import is_cte_reference, parse_query

    tree = parse_query(text, dialect="spark")
    bases: dict[str, Base] = {}
    for table in list(tree.find_all(exp.Table)):
        if is_cte_reference(table):
            continue
        view = None if table.args.get("db") else views.get(table.name.lower())
        if view is None:
            raise UnsupportedQueryError("table", "of a catalog, or a view that is not followed")
        if view.gap is not None:
            raise UnsupportedQueryError(*view.gap)
        bases |= view.bases
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name))
        derived = exp.Subquery(this=parse_query(view.text, dialect="spark"), alias=alias)
        for key in ("joins", "sample", "pivots", "laterals"):
            if table.args.get(key):
                derived.set(key, table.args[key])
        if table.parent is not None:
            table.replace(derived)
    return str(tree.sql(dialect="spark")), bases
