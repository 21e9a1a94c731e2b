"""Running a query so that it carries row identities, and keeping the links.

The rewritten query is run into a temporary table; the program gets its result from there, and the
identity columns beside it become blobs. So a link comes from the very execution that made the row:
nothing is matched by value afterwards. Where any doubt is left (the text may not be reproduced
faithfully, a transaction is open, an input changed meanwhile), the program's own statement runs
instead, untouched, and a gap says why.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from sqlglot import exp

from lodeline.capture.datasets import Stat, find_path_stat
from lodeline.capture.recorder import Recorder
from lodeline.capture.row_steps import (
    ROW_STEPS,
    Anchor,
    RowStep,
    blob_draft,
    file_anchor,
    keep_blob,
    memory_anchor,
    steps_with_gaps,
)
from lodeline.errors import UnsupportedQueryError
from lodeline.integrations.duckdb.catalog import ConnectionCatalog, Reading, quoted_text
from lodeline.integrations.duckdb.counting import EngineCounts
from lodeline.integrations.duckdb.databases import Content
from lodeline.integrations.duckdb.links import keep_links, quoted
from lodeline.limits import FRAME_LINKS_MAX
from lodeline.sql import (
    Identity,
    OperatorGap,
    Rewriting,
    Source,
    mask_literals,
    rewrite_rows,
)
from lodeline.sql.sources import STATEMENT
from lodeline.sql.spelling import function_name, iter_spellings, render

_NUMBERS: Final = itertools.count()

Run = Callable[[str], Any]
FrameAnchors = Callable[[object], Anchor | None]


@dataclass
class Plan:
    """A query that may be run with row identities.

    Attributes:
        rewriting: of the query.
        simpler: the same with fewer links and more gaps, for an engine that refuses the first.
        anchors: of its sources, by key; of what stands for a shared sub-query, too.
        stats: how the files among them looked.
        columns: names and types of the original query.
        listed: the first without bitmaps, where it has some: an input may have grown meanwhile.
    """

    rewriting: Rewriting
    simpler: Callable[[], Rewriting]
    anchors: dict[str, Anchor]
    stats: dict[str, Stat]
    columns: tuple[tuple[str, str], ...]
    listed: Callable[[], Rewriting] | None = None


@dataclass
class Materialised:
    """A query's result with identities, in a temporary table.

    Attributes:
        table: its name, quoted.
        rows: how many.
        plan: that it was made by.
        rewriting: of the plan's, the one that it was made by.
        shared: tables of what each shared sub-query found.
        links: (input, output or None for the result, operator, facts) of each step.
    """

    table: str
    rows: int
    plan: Plan
    rewriting: Rewriting
    shared: tuple[str, ...] = ()
    links: list[tuple[Anchor, Anchor | None, str, dict[str, Any]]] = field(default_factory=list)

    @property
    def visible(self) -> str:
        """The query for the original columns."""
        names = ", ".join(quoted(name) for name, _ in self.plan.columns)
        return f"SELECT {names} FROM {self.table}"


class _RowCatalog:
    """The connection's catalog, with files bound to their bytes and frames to what tracks them."""

    def __init__(self, catalog: ConnectionCatalog, frame_anchor: FrameAnchors) -> None:
        self._catalog = catalog
        self._frame_anchor = frame_anchor
        self.anchors: dict[str, Anchor] = {}
        self.stats: dict[str, Stat] = {}

    def find_source(self, table: exp.Expr) -> Source | None:
        """Resolve, and bind to an anchor; without one the rows are unknown."""
        source = self._catalog.find_source(table)
        if source is None or not isinstance(source.detail, Reading) or source.view is not None:
            return source
        if source.rows in {"unknown", "constant"}:
            return source
        reading = source.detail
        anchor: Anchor | None = None
        if reading.content is not None:
            anchor = self._table_anchor(source, reading.content)
        elif reading.frame is not None:
            anchor = self._frame_anchor(reading.frame)
        elif reading.path is not None:
            bound = file_anchor(reading.path)
            if bound is not None:
                anchor, self.stats[reading.path] = bound
        if anchor is None:
            return replace(source, rows="unknown", reason="its rows are bound to nothing known")
        self.anchors[source.key] = anchor
        return source

    def _table_anchor(self, source: Source, content: Content) -> Anchor | None:
        """Give a table's anchor, unless a checkpoint has moved its rows since."""
        if content.anchor is None or content.mark is None:
            return content.anchor
        asked = f"SELECT count(*), coalesce(sum(rowid), 0) FROM {source.key}"
        found = self._catalog.ask_here(asked)
        if not found or tuple(map(int, found[0])) != content.mark:
            content.anchor = None
        return content.anchor


class RowRunner:
    """Makes plans, runs them, and keeps what they link.

    Args:
        recorder: gets the gaps.
        duckdb: the module, for a private connection.
        connect: DuckDB's own, unobserved `connect`.
        frame_anchor: names what the rows of a frame are numbered in, if that is known.
    """

    def __init__(
        self, recorder: Recorder, connect: Callable[[], Any], frame_anchor: FrameAnchors
    ) -> None:
        self._recorder = recorder
        self._connect = connect
        self._frame_anchor = frame_anchor
        self._judge: Any = None

    def plan(
        self,
        text: str,
        columns: tuple[tuple[str, str], ...],
        catalog: ConnectionCatalog,
        *,
        constants: bool = False,
    ) -> Plan | None:
        """Make a plan for a query, or tell the gap.

        Args:
            text: of the query, as written.
            columns: of its result, as DuckDB binds it.
            catalog: for its names.
            constants: whether a query that reads no rows gets a plan, too, as those of changes
                do; their identities are put together with others, so none is a bitmap.
        """
        try:
            _check_names(columns)
            self._check_order_is_kept(catalog)
            rows = _RowCatalog(catalog, self._frame_anchor)
            tree = self._faithful(text)
            _refuse_macros(tree, catalog)
            where = self._recorder.rows_where
            counts = None if constants else EngineCounts(catalog.ask, text.strip().rstrip(";"))
            rewriting = rewrite_rows(tree, rows, where=where, counts=counts)
            windows = not rewriting.frames or _frames_fit(rewriting, catalog)
            if not windows:
                rewriting = rewrite_rows(tree, rows, windows=False, where=where, counts=counts)
        except UnsupportedQueryError as error:
            self.gap(error.operator, error.detail)
            return None
        if not rewriting.identities and not constants:
            return None  # Made of constants: there is nothing to link to, and nothing missing.
        return Plan(
            rewriting,
            lambda: rewrite_rows(tree, rows, windows=False, questions=False, where=where),
            rows.anchors,
            rows.stats,
            columns,
            partial(rewrite_rows, tree, rows, windows=windows, where=where)
            if any(one.bitmap for one in rewriting.identities)
            else None,
        )

    def gap(self, operator: str, detail: str) -> None:
        """Tell what could not be followed."""
        self._recorder.gap(f"rows: {operator}", "capture", detail[:500] or operator)

    def _faithful(self, text: str) -> exp.Query:
        """Parse a query into a tree that is written back as DuckDB reads the original."""
        original = self._parsed(text.strip().rstrip(";"))
        if not original.get("error"):
            for tree in iter_spellings(text):
                if self._parsed(render(tree.meta.get(STATEMENT, tree))) == original:
                    return tree
        raise UnsupportedQueryError("text", "is not reproduced faithfully")

    def _parsed(self, sql: str) -> Any:
        """Have DuckDB's own parser read a query."""
        if self._judge is None:
            self._judge = self._connect()
        asked = f"SELECT json_serialize_sql({quoted_text(sql)})"
        (answer,) = self._judge.execute(asked).fetchone()
        return _without_places(json.loads(answer))

    def _check_order_is_kept(self, catalog: ConnectionCatalog) -> None:
        rows = catalog.ask("SELECT current_setting('preserve_insertion_order')")
        if not rows or not rows[0][0]:
            raise UnsupportedQueryError("setting", "preserve_insertion_order is off")

    def materialise(self, plan: Plan, run: Run) -> Materialised | None:
        """Run a plan's query into a temporary table.

        Args:
            plan: made for it.
            run: runs SQL in the program's connection and gives something with `fetchall`.
        """
        made = self.make(plan, plan.rewriting, run, tell=False)
        if made is None and plan.listed is not None:
            made = self.make(plan, plan.listed(), run, tell=False)
        if made is None:
            # Such places as DuckDB does not take sub-queries in: fewer links are better than none.
            made = self.make(plan, plan.simpler(), run, tell=True)
        if made is None:
            return None
        described = run(f"DESCRIBE {made.table}").fetchall()
        visible = tuple((row[0], row[1]) for row in described[: len(plan.columns)])
        if visible != plan.columns or not self.inputs_are_still(plan):
            self.gap("rewriting", "the result's columns differ, or an input changed meanwhile")
            self.drop(made, run)
            return None
        return made

    def make(
        self, plan: Plan, rewriting: Rewriting, run: Run, *, tell: bool, alone: bool = True
    ) -> Materialised | None:
        """Run a rewriting, and what it shares, on one snapshot.

        Args:
            plan: that it is of.
            rewriting: to be run.
            run: runs SQL in the program's connection.
            tell: whether a refusal is told as a gap.
            alone: whether there is no transaction yet; else it is the caller's.
        """
        names = [one.table or f"__lodeline_shared_{next(_NUMBERS)}" for one in rewriting.shared]
        shared = [f"temp.main.{quoted(name)}" for name in names]
        table = f"temp.main.{quoted(f'__lodeline_result_{next(_NUMBERS)}')}"
        try:
            if shared and alone:
                run("BEGIN TRANSACTION")
            for name, one in zip(shared, rewriting.shared, strict=True):
                run(f"CREATE TEMPORARY TABLE {name} AS {one.sql}")
            run(f"CREATE TEMPORARY TABLE {table} AS {rewriting.sql}")
            if shared and alone:
                run("COMMIT")
        except Exception as error:  # the program's own statement is run instead
            if shared and alone:
                run("ROLLBACK")
            if tell:
                # What DuckDB says may quote values.
                said = mask_literals(str(error).partition("\n")[0], dialect="duckdb")
                self.gap("rewriting", f"DuckDB refused it: {said}")
            return None
        (count,) = run(f"SELECT count(*) FROM {table}").fetchone()
        for one in rewriting.shared:
            plan.anchors.setdefault(one.source.key, memory_anchor())
        return Materialised(table, count, plan, rewriting, tuple(shared))

    def inputs_are_still(self, plan: Plan) -> bool:
        """Say whether every file that a plan reads looks as it did."""
        return all(find_path_stat(path) == stat for path, stat in plan.stats.items())

    def drop(self, made: Materialised, run: Run) -> None:
        """Drop the temporary tables; a failure to is told, not raised."""
        try:
            for table in (made.table, *made.shared):
                run(f"DROP TABLE IF EXISTS {table}")
        except Exception as error:  # the program's own work is done and must stand
            said = mask_literals(str(error).partition("\n")[0], dialect="duckdb")
            self.gap("temporary table", said)

    def keep(self, made: Materialised, run: Run) -> None:
        """Turn the identity columns into blobs; `finish` makes them steps of an output."""
        rewriting, anchors = made.rewriting, made.plan.anchors
        operator = ", ".join(rewriting.operators)
        told = self._keep(made, made.table, rewriting.identities, run, operator=operator)
        for table, one in zip(made.shared, rewriting.shared, strict=True):
            output = anchors[one.source.key]
            told = told and self._keep(
                made, table, one.identities, run, operator="sub-query", output=output
            )
        if not told:
            self.gap("blob", "could not be written")
            made.links.clear()

    def _keep(
        self,
        made: Materialised,
        table: str,
        identities: Sequence[Identity],
        run: Run,
        *,
        operator: str,
        output: Anchor | None = None,
    ) -> bool:
        grouped: dict[Anchor, list[Identity]] = {}
        for identity in identities:
            grouped.setdefault(made.plan.anchors[identity.source.key], []).append(identity)
        for anchor, facts in keep_links(table, grouped, run, draft=blob_draft, keep=keep_blob):
            if facts is None:
                return False
            made.links.append((anchor, output, operator, facts))
        return True

    def finish(self, made: Materialised, output: Anchor) -> None:
        """Remember the steps from every input to the output."""
        steps = [
            RowStep(operator, anchor, between or output, **facts)
            for anchor, between, operator, facts in made.links
        ]
        gaps = [(gap.operator, gap.detail) for gap in made.rewriting.gaps]
        for operator, detail in gaps:
            self.gap(operator, detail)
        ROW_STEPS.add(steps_with_gaps(steps, gaps))

    def check_file(self, made: Materialised, path: str, run: Run) -> bool:
        """Compare a written Parquet file with the table, row by row; tell a gap if they differ."""
        source = f"read_parquet({quoted_text(path)})"
        kinds = [row[1] for row in run(f"DESCRIBE SELECT * FROM {source}").fetchall()]
        names = [quoted(name) for name, _ in made.plan.columns]
        if len(kinds) != len(names):
            self.gap("written file", "its columns differ from the result's")
            return False
        # Parquet has no type for some of DuckDB's (HUGEINT becomes DOUBLE): compare as written.
        casts = [f"CAST({name} AS {kind})" for name, kind in zip(names, kinds, strict=True)]
        (different, rows) = run(
            f"SELECT count(*) FILTER (WHERE a.h IS DISTINCT FROM b.h), count(*) FROM "
            f"(SELECT rowid AS n, hash({', '.join(casts)}) AS h FROM {made.table}) AS a FULL JOIN "
            f"(SELECT file_row_number AS n, hash({', '.join(names)}) AS h FROM {source}) AS b "
            f"ON a.n = b.n"
        ).fetchone()
        if different or rows != made.rows:
            self.gap("written file", f"{different} rows differ from the result they were made of")
            return False
        return True


def _check_names(columns: tuple[tuple[str, str], ...]) -> None:
    names = [name.lower() for name, _ in columns]
    if not names or len(set(names)) != len(names):
        raise UnsupportedQueryError("column names", "repeated, or not bound")


def _refuse_macros(tree: exp.Query, catalog: ConnectionCatalog) -> None:
    """Refuse a query that calls a macro: it may read tables, group, or draw, unseen."""
    called = {function_name(one) for one in tree.find_all(exp.Func)}
    if not called:
        return
    macros = catalog.ask(
        "SELECT lower(function_name) FROM duckdb_functions() "
        "WHERE NOT internal AND function_type IN ('macro', 'table_macro')"
    )
    for (name,) in macros:
        if name in called:
            raise UnsupportedQueryError("macro", name)


def _frames_fit(rewriting: Rewriting, catalog: ConnectionCatalog) -> bool:
    """Count the rows of all window frames before they are written out, one by one."""
    total = 0
    for count in rewriting.frames:
        try:
            ((links,),) = catalog.ask(count)
        except Exception:  # as with any rewriting that DuckDB refuses; its kinds have no promise
            return False
        total += links
    return total <= FRAME_LINKS_MAX


def _without_places(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: _without_places(v) for k, v in tree.items() if k != "query_location"}
    if isinstance(tree, list):
        return [_without_places(member) for member in tree]
    return tree


__all__ = ["Materialised", "OperatorGap", "Plan", "RowRunner", "quoted"]
