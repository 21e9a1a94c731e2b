"""Rows of what a PySpark program writes: a second query that carries the rows' places in files.

The program's own write runs as it is. After it the query behind it runs once more, rewritten so
that each row carries the file and the place in it of the rows that it was made of
(`lodeline.sql.rewrite_rows`). Nothing is claimed unless all of these hold:

1. Spark's optimizer makes the same plan of the text that stands for the frame as of the frame.
2. That plan is deterministic, and chooses nothing by an order that ties leave open.
3. The files that were read look as they did when the program read them, before and after.
4. What lies in the files that were written is what the second query gave, row for row; rows that
   are equal in all columns must be made of the same rows.

Rows of a folder of Parquet are numbered through its files in the order of their names, which is
that of the manifest whose digest is the folder's version.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import unquote

from lodeline.capture.datasets import find_dataset, local_path
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.row_steps import ROW_STEPS, Anchor, folder_anchor, memory_anchor
from lodeline.errors import UnsupportedQueryError
from lodeline.integrations.spark.queries import (
    MARK,
    Base,
    Queries,
    Query,
    column_text,
    columns_of,
    inner,
    join_text,
    quoted,
    sort_text,
)
from lodeline.limits import SPARK_LINK_ROWS_MAX

_FILE: Final = f"{MARK}file"
_ROW: Final = f"{MARK}row"
_AGGREGATES: Final = ("sum", "avg", "mean", "max", "min")

Links = list[tuple[Any, list[tuple[int, int]]]]


class SparkRows:
    """Follows frames from where they are read to where they are written.

    Attributes:
        busy: what runs is ours, not the program's.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._queries = Queries()
        self.busy = False

    def install(self, patches: Patches, frame: Any) -> None:
        """Observe readers, frames, groups and SQL."""
        from pyspark.sql import DataFrameReader, SparkSession

        def watch(owner: Any, name: str, act: Callable[..., None]) -> None:
            def after(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                if not self.busy and result is not args[0]:
                    act(name, result, args, kwargs)

            patches.after(owner, name, after)

        for name in ("parquet", "load", "csv", "json", "orc", "text", "table", "jdbc"):
            watch(DataFrameReader, name, self._after_read)
        watch(SparkSession, "sql", self._after_sql)
        for name in ("createOrReplaceTempView", "createTempView"):
            watch(frame, name, self._after_view)
        for name in ("coalesce", "repartition", "cache", "persist", "hint"):
            watch(frame, name, self._after_same)
        for name in _MAKERS:
            watch(frame, name, self._after_made)
        watch(frame, "groupBy", self._after_group)
        groups = _group_class()
        for name in ("agg", "count", *_AGGREGATES):
            watch(groups, name, self._after_aggregate)

    def _after_read(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        del args, kwargs
        plan = result._jdf.queryExecution().analyzed()
        kind = plan.getClass().getSimpleName()
        if kind != "LogicalRelation":
            self._queries.lose(result, name, "its rows have no number that Spark tells")
            return
        relation = plan.relation()
        if relation.getClass().getSimpleName() != "HadoopFsRelation":
            self._queries.lose(result, name, "its rows have no number that Spark tells")
            return
        if relation.fileFormat().getClass().getSimpleName() != "ParquetFileFormat":
            self._queries.lose(result, name, "only rows of Parquet have numbers that Spark tells")
            return
        paths = relation.location().rootPaths()
        dataset = find_dataset(_local(paths.apply(0).toString())) if paths.size() == 1 else None
        path = None if dataset is None else local_path(dataset)
        if path is None or relation.partitionSchema().length():
            detail = "several paths, partitions by value, or no local files"
            self._queries.lose(result, "source", detail)
            return
        self._queries.read(result, path, _look(path))

    def _after_sql(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        text = args[1] if len(args) > 1 else kwargs.get("sqlQuery")
        if len(args) > 2 or set(kwargs) - {"sqlQuery"}:
            self._queries.lose(result, name, "with parameters")
        elif isinstance(text, str):
            self._queries.ask(result, text)

    def _after_view(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        del name, result
        self._queries.name(args[0], args[1] if len(args) > 1 else kwargs["name"])

    def _after_same(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        del name, kwargs
        self._queries.same(result, args[0])

    def _after_made(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        make = _MAKERS[name]
        parents = [one for one in args if one is args[0] or type(one) is type(args[0])]
        parents += [one for one in kwargs.values() if type(one) is type(args[0])]
        given = tuple(one for one in args[1:] if type(one) is not type(args[0]))
        named = {key: one for key, one in kwargs.items() if type(one) is not type(args[0])}
        self._queries.make(
            result,
            name,
            lambda *queries: make(*queries, *given, **named),
            *parents,
            ordered=name in {"orderBy", "sort"},
        )

    def _after_group(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        del name, kwargs
        try:
            words = [column_text(one) for one in columns_of(args[1:])]
        except Exception:  # foreign objects tell what they are; then what is made of it is a gap
            return
        self._queries.group(result, args[0], words)

    def _after_aggregate(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        del kwargs
        found = self._queries.find_group(args[0])
        if found is None:
            return
        frame, groups = found

        def make(query: Query) -> str:
            words = [_aggregated(name, one) for one in columns_of(args[1:])]
            if name == "count":
                words = ["count(1) AS `count`"]
            if not words or not groups:
                raise ValueError("without columns")
            listed = ", ".join([*groups, *words])
            return f"SELECT {listed} FROM {inner(query)} GROUP BY {', '.join(groups)}"

        self._queries.make(result, name, make, frame)

    # What is written

    def find_facet(self, writer: Any, target: object) -> dict[str, Any] | None:
        """Give the facet `lodeline_rows` of what a frame was written to, if rows are certain."""
        dataset = find_dataset(target)
        path = None if dataset is None else local_path(dataset)
        query = self._queries.find(writer._df)
        # Files that are looked at here are no business of the program's.
        local = self._recorder.local
        # What Spark refuses of ours it would write into the program's output.
        logger = logging.getLogger("DataFrameQueryContextLogger")
        disabled, logger.disabled = logger.disabled, True
        self.busy, local.suspended = True, 1
        try:
            if query.gap is not None:
                _refuse(*query.gap)
            if path is None:
                _refuse("write", "to what is no local folder")
            return _Linked(writer._df, query, path).find()
        except UnsupportedQueryError as error:
            self._recorder.gap(f"rows: {error.operator}", "capture", f"spark: {error.detail}"[:500])
        except Exception as error:  # Spark's errors have no common root; the program has its own
            detail = f"spark: it took no question about the rows: {type(error).__name__}"
            self._recorder.gap("rows: engine", "capture", detail)
        finally:
            self.busy, local.suspended, logger.disabled = False, 0, disabled
        return None


class _Linked:
    """One write; also the catalog of its query."""

    def __init__(self, frame: Any, query: Query, path: str) -> None:
        self._frame = frame
        self._query = query
        self._path = path
        self._session = frame.sparkSession
        self._sources: dict[str, Any] = {}
        self._offsets: dict[str, dict[str, int]] = {}

    def find(self) -> dict[str, Any] | None:
        """Ask, compare and tell.

        Raises:
            UnsupportedQueryError: nothing can be claimed, and why.
        """
        from lodeline.capture.row_tracking import Source, pending_of_pairs, tell_steps
        from lodeline.sql import rewrite_rows
        from lodeline.sql.found import is_choosing
        from lodeline.sql.sources import parse_query

        bases = list(self._query.bases.values())
        for base in bases:
            self._open(base)
        tree = parse_query(self._query.text, dialect="spark")
        if is_choosing(tree):
            _refuse("order", "which rows are kept, or precede, may be tied")
        rewriting = rewrite_rows(tree, self, dialect="spark")
        try:
            self._judge(rewriting.reproduced)
            given, links = self._ask(rewriting)
        finally:
            for base in bases:
                self._session.catalog.dropTempView(base.name)
        for base in bases:
            if _look(base.path) != base.files:
                _refuse("source", f"{base.path} changed")
        output, written = self._read_back()
        places = _matched(given, links, written)
        made = Source(output)
        gaps = tuple((gap.operator, gap.detail) for gap in rewriting.gaps)
        operator = ", ".join(rewriting.operators)
        for source, pairs in links:
            moved = [(places[row], number) for row, number in pairs if row in places]
            made.pending.append(pending_of_pairs(operator, source, moved, len(written), gaps))
            gaps = ()
        return ROW_STEPS.find_facet(output) if made.pending and tell_steps(made) else None

    def find_source(self, table: Any) -> Any:
        """Resolve a base; see `lodeline.sql.Catalog`."""
        from lodeline.sql import Source

        base = self._query.bases.get(table.name)
        if base is None:
            return None
        kinds = tuple((name, kind) for name, kind in base.frame.dtypes)
        anchor = self._sources[base.name].anchor
        name = (anchor.namespace, anchor.name)
        return Source(base.name, name, kinds, "key", keys=(_FILE, _ROW))

    def _open(self, base: Base) -> None:
        from lodeline.capture.row_tracking import Source

        if _look(base.path) != base.files:
            _refuse("source", f"{base.path} changed since it was read")
        found = folder_anchor(base.path)
        if found is None:
            _refuse("source", f"{base.path} cannot be named by its bytes")
        anchor, files = found
        self._sources[base.name] = Source(anchor)
        self._offsets[base.name] = _offsets(files)

    def _judge(self, text: str) -> None:
        """Have Spark say whether a text is the frame."""
        for base in self._query.bases.values():
            base.frame.createOrReplaceTempView(base.name)
        mine, theirs = self._session.sql(text), self._query.frame
        if mine.columns != theirs.columns:
            _refuse("text", "its columns are not those of the frame")
        plans = [one._jdf.queryExecution().optimizedPlan() for one in (mine, theirs)]
        if not plans[0].sameResult(plans[1]):
            _refuse("text", "Spark has another plan for it than for the frame")
        if not plans[1].deterministic():
            _refuse("unrepeatable function", "Spark says that the plan is not deterministic")

    def _ask(self, rewriting: Any) -> tuple[list[str], Links]:
        """Run the rewritten query: what the program sees, and the links by source."""
        from pyspark.sql import functions

        from lodeline.capture.row_tracking import Source, pending_of_pairs

        for base in self._query.bases.values():
            file, row = functions.col("_metadata.file_path"), functions.col("_metadata.row_index")
            numbered = base.frame.select("*", file.alias(_FILE), row.alias(_ROW))
            numbered.createOrReplaceTempView(base.name)
        shared: dict[str, Any] = {}
        for one in rewriting.shared:
            if one.table is not None:
                _refuse("sub-query", "that a table would have to hold")
            names = ", ".join(f"`{name}`" for name in one.columns)
            rows = self._rows(f"SELECT {names} FROM ({one.sql}) AS shared")
            made = Source(memory_anchor())
            for source, pairs in self._pairs(one.identities, one.columns, rows, shared):
                made.pending.append(pending_of_pairs("sub-query", source, pairs, len(rows), ()))
            shared[one.source.key] = made
        rows = self._rows(rewriting.sql)
        wide = (len(rows[0]) if rows else 0) - len(rewriting.columns)
        ids = [tuple(row)[wide:] for row in rows]
        links = self._pairs(rewriting.identities, rewriting.columns, ids, shared)
        return [repr(tuple(row)[:wide]) for row in rows], links

    def _rows(self, text: str) -> list[Any]:
        found: list[Any] = self._session.sql(text).limit(SPARK_LINK_ROWS_MAX + 1).collect()
        if len(found) > SPARK_LINK_ROWS_MAX:
            _refuse("size", f"more than {SPARK_LINK_ROWS_MAX} rows")
        return found

    def _pairs(self, identities: Any, columns: Any, rows: Any, shared: dict[str, Any]) -> Links:
        places = {name: place for place, name in enumerate(columns)}
        found: dict[tuple[int, int], tuple[Any, Any, list[tuple[int, int]]]] = {}
        for one in identities:
            key = one.source.key
            offsets = None if key in shared else self._offsets[key]
            source = shared[key] if key in shared else self._sources[key]
            found[places[one.name], -1 if one.tag is None else one.tag] = (source, offsets, [])
        for output, row in enumerate(rows):
            for place, text in enumerate(row):
                for tag, value in _identities(text):
                    _, offsets, pairs = found[place, tag]
                    if offsets is None:
                        pairs.append((output, int(value[0])))
                        continue
                    file = _local(value[0])
                    if file not in offsets:
                        _refuse("source", f"{file} is none of the files that were read")
                    pairs.append((output, offsets[file] + int(value[1])))
        return [(source, pairs) for source, _, pairs in found.values()]

    def _read_back(self) -> tuple[Anchor, list[str]]:
        """Give what lies in the files that were written, in order, and what names it."""
        from pyspark.sql import functions

        found = folder_anchor(self._path)
        if found is None:
            _refuse("write", "what was written cannot be named by its bytes")
        anchor, files = found
        if any(not name.endswith(".parquet") for name in files):
            _refuse("write", "in another format than Parquet")
        offsets = _offsets(files)
        frame = self._session.read.parquet(self._path)
        if frame.columns != self._frame.columns:
            _refuse("write", "with columns in the place of folders, or other names")
        file, row = functions.col("_metadata.file_path"), functions.col("_metadata.row_index")
        count = sum(1 for _ in offsets)
        if count and sum(_counts(files)) > SPARK_LINK_ROWS_MAX:
            _refuse("size", f"more than {SPARK_LINK_ROWS_MAX} rows")
        numbered = frame.select("*", file.alias(_FILE), row.alias(_ROW))
        rows = {
            offsets[_local(one[-2])] + int(one[-1]): repr(tuple(one)[:-2])
            for one in numbered.collect()
        }
        return anchor, [rows[number] for number in range(len(rows))]


def _matched(given: list[str], links: Links, written: list[str]) -> dict[int, int]:
    """Find the place of each row of the second query among those that were written."""
    if sorted(given) != sorted(written):
        _refuse("result", "what was written is not what the query gives when it runs again")
    behind: dict[int, list[tuple[int, int]]] = {}
    for number, (_, pairs) in enumerate(links):
        for output, source in pairs:
            behind.setdefault(output, []).append((number, source))
    places: dict[str, list[int]] = {}
    for place, row in enumerate(written):
        places.setdefault(row, []).append(place)
    made: dict[str, list[tuple[int, int]]] = {}
    found = {}
    for number, row in enumerate(given):
        mine = sorted(set(behind.get(number, ())))
        if made.setdefault(row, mine) != mine:
            _refuse("result", "rows that are equal in all columns cannot be told apart")
        found[number] = places[row].pop()
    return found


def _identities(text: str | None) -> Iterator[tuple[int, list[Any]]]:
    for number, *values in json.loads(f"[{text}]") if text else ():
        yield int(number), values


def _refuse(operator: str, detail: str) -> NoReturn:
    raise UnsupportedQueryError(operator, detail)


def _local(path: str) -> str:
    """Spark names files as URIs."""
    return "/" + unquote(path.removeprefix("file:")).lstrip("/")


def _look(path: str) -> tuple[tuple[str, int, int, int], ...]:
    """How the files of a file or a folder look."""
    names = [path]
    if os.path.isdir(path):
        names = sorted(str(one) for one in Path(path).rglob("*") if one.is_file())
    found = []
    for name in names:
        told = os.stat(name)
        found.append((name, told.st_ino, told.st_mtime_ns, told.st_size))
    return tuple(found)


def _counts(files: list[str]) -> list[int]:
    try:
        import numpy as np  # noqa: F401  # what follows needs both, and PyArrow comes without
        import pyarrow.parquet as pq
    except ImportError as error:
        detail = "is not installed where the program runs; links are written with it"
        _refuse(str(error.name).partition(".")[0], detail)
    return [int(pq.read_metadata(name).num_rows) for name in files]


def _offsets(files: list[str]) -> dict[str, int]:
    """The number of the first row of each file."""
    offsets, start = {}, 0
    for name, count in zip(files, _counts(files), strict=True):
        offsets[name] = start
        start += count
    return offsets


def _aggregated(name: str, column: Any) -> str:
    if name == "agg":
        return column_text(column)
    word = "avg" if name == "mean" else name
    return f"{word}({quoted(column)}) AS `{word}({column})`"


# How each method of frames is written, given what stands for the frames, and its arguments.


def _filter(query: Query, condition: Any) -> str:
    text = condition if isinstance(condition, str) else column_text(condition)
    return f"SELECT * FROM {inner(query)} WHERE {text}"


def _select(query: Query, *columns: Any) -> str:
    words = ", ".join(column_text(one) for one in columns_of(columns))
    return f"SELECT {words} FROM {inner(query)}"


def _select_text(query: Query, *texts: Any) -> str:
    return f"SELECT {', '.join(columns_of(texts))} FROM {inner(query)}"


def _with_column(query: Query, colName: str, col: Any) -> str:  # noqa: N803  # Spark's names
    made = f"{column_text(col)} AS {quoted(colName)}"
    names = query.frame.columns
    words = [made if name == colName else quoted(name) for name in names]
    words += [] if colName in names else [made]
    return f"SELECT {', '.join(words)} FROM {inner(query)}"


def _renamed(query: Query, existing: str, new: str) -> str:
    words = [
        f"{quoted(name)} AS {quoted(new)}" if name == existing else quoted(name)
        for name in query.frame.columns
    ]
    return f"SELECT {', '.join(words)} FROM {inner(query)}"


def _drop(query: Query, *names: str) -> str:
    words = [quoted(name) for name in query.frame.columns if name not in set(names)]
    return f"SELECT {', '.join(words)} FROM {inner(query)}"


def _join(left: Query, right: Query, on: Any = None, how: str | None = None) -> str:
    return join_text(left, right, on, how)


def _sort(query: Query, *columns: Any, ascending: Any = None) -> str:
    return f"SELECT * FROM {inner(query)} ORDER BY {sort_text(columns_of(columns), ascending)}"


def _limit(query: Query, num: int) -> str:
    if query.sorted:
        return f"{query.text} LIMIT {int(num)}"
    return f"SELECT * FROM {inner(query)} LIMIT {int(num)}"


def _distinct(query: Query) -> str:
    return f"SELECT DISTINCT * FROM {inner(query)}"


def _union(one: Query, other: Query) -> str:
    return f"SELECT * FROM {inner(one)} UNION ALL SELECT * FROM {inner(other)}"


_MAKERS: Final[dict[str, Callable[..., str]]] = {
    "filter": _filter,
    "where": _filter,
    "select": _select,
    "selectExpr": _select_text,
    "withColumn": _with_column,
    "withColumnRenamed": _renamed,
    "drop": _drop,
    "join": _join,
    "orderBy": _sort,
    "sort": _sort,
    "limit": _limit,
    "distinct": _distinct,
    "dropDuplicates": _distinct,
    "union": _union,
    "unionAll": _union,
}


def _group_class() -> Any:
    from pyspark.sql import GroupedData

    return GroupedData
