"""Changes of a table that carry row identities: INSERT, UPDATE, DELETE, MERGE.

The program's own statement runs, in a transaction of ours, and beside it on the same snapshot the
query whose rows are the rows that it writes (`lodeline.sql.changes`), into a temporary table. An
INSERT reads that table instead of its query. What the statement did is then compared with what the
query says: how many rows, which rows, and what values. Only where all agree are links claimed.

A row of a DuckDB table is its `rowid`, which holds for one snapshot. An update in place and a
deletion leave those of all other rows as they are, and new rows get the next ones; an update of an
indexed column gives new ones, and a checkpoint may close the gaps that deletions left. Rows never
get a greater `rowid` by that, so their number and the sum of theirs tell whether any has moved.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from lodeline.capture.row_steps import Anchor, memory_anchor
from lodeline.errors import UnsupportedQueryError
from lodeline.integrations.duckdb.databases import TEMP, Content, Session
from lodeline.integrations.duckdb.observing import Observed
from lodeline.integrations.duckdb.rows import Materialised, Plan, RowRunner, quoted
from lodeline.limits import TABLE_CHANGES_MAX
from lodeline.sql import Identity, OperatorGap, Rewriting, Source
from lodeline.sql.changes import ACTION, TARGET, Change, Clause, read_change
from lodeline.sql.sources import bare_table

_NUMBERS: Final = itertools.count()
KEPT: Final = "lodeline kept"

Run = Callable[[str], Any]
Mark = tuple[int, int]


@dataclass(frozen=True)
class Prepared:
    """A change that may be followed.

    Attributes:
        change: as read.
        text: of the statement.
        plan: of its query; None where its rows are made of none.
        kept: the table as it was; None where its rows are not known, or there were none.
        anchor: that its rows are numbered in.
        mark: what `mark_of` has to say of the table before.
    """

    change: Change
    text: str
    plan: Plan | None = None
    kept: Source | None = None
    anchor: Anchor | None = None
    mark: Mark | None = None


@dataclass
class Applied:
    """A change that was made.

    Attributes:
        count: of rows, as DuckDB gives it.
        before: rows that the table had.
        made: the rows of the table after it, with identities; None where they are not followed.
        mark: of the table after it.
        tables: temporary ones, to be dropped.
        problem: why its rows are not followed.
    """

    count: int
    before: int = 0
    made: Materialised | None = None
    mark: Mark | None = None
    tables: tuple[str, ...] = ()
    problem: tuple[str, str] | None = None


class _DiffersError(Exception):
    """What the statement did is not what its query says."""


def mark_of(target: str, run: Run) -> Mark:
    """Say how many rows a table has, and the sum of their numbers."""
    count, total = run(f"SELECT count(*), coalesce(sum(rowid), 0) FROM {target}").fetchone()
    return int(count), int(total)


def dense_mark(rows: int) -> Mark:
    """Give the mark of a table whose rows are numbered from 0 without gaps."""
    return rows, rows * (rows - 1) // 2


class ChangeRunner:
    """Makes changes, and keeps what they link.

    Args:
        runner: runs the rewritten queries.
    """

    def __init__(self, runner: RowRunner) -> None:
        self._runner = runner

    def prepare(
        self, observed: Observed, session: Session, key: tuple[str, str, str], *, alone: bool
    ) -> Prepared | None:
        """Prepare a change to be followed; None, and a gap where links are lost, if it is not.

        Args:
            observed: the statement.
            session: of its connection.
            key: of its table.
            alone: neither within the program's transaction nor with bound parameters.
        """
        statement, catalog = observed.statement, observed.catalog
        assert statement is not None and statement.table is not None and catalog is not None
        content = session.table(key)
        followed = content is not None and content.anchor is not None
        if not followed and (statement.kind != "insert" or statement.query is None):
            return None  # There are no links that it could end or make.
        try:
            change, source = self._read(observed, session, key, alone=alone)
        except UnsupportedQueryError as error:
            self._runner.gap(error.operator, error.detail)
            return None
        plan: Plan | None = None
        if change.query is not None:
            columns = catalog.columns_of(change.query)
            plan = self._runner.plan(change.query, columns, catalog, constants=True)
            if plan is None or not (followed or plan.rewriting.identities):
                return None
        if content is None or not followed:
            return Prepared(change, observed.text, plan)
        mark = content.mark or dense_mark(content.rows)
        return Prepared(change, observed.text, plan, source, content.anchor, mark)

    def _read(
        self, observed: Observed, session: Session, key: tuple[str, str, str], *, alone: bool
    ) -> tuple[Change, Source]:
        statement, catalog, content = observed.statement, observed.catalog, session.table(key)
        assert statement is not None and statement.table is not None and catalog is not None
        if not alone:
            raise UnsupportedQueryError(statement.kind, "in a transaction, or with parameters")
        if content is not None and content.changes >= TABLE_CHANGES_MAX:
            raise UnsupportedQueryError(statement.kind, f"number {TABLE_CHANGES_MAX + 1} of it")
        change = read_change(observed.text)
        source = catalog.find_source(bare_table(statement.table))
        known = getattr(source.detail, "content", None) if source is not None else None
        twofold = statement.table.name.lower() in session.temporary and key[0] != TEMP
        if source is None or twofold or (content is not None and known is not content):
            raise UnsupportedQueryError(change.word, "of a table that cannot be told")
        return change, source

    def keep(self, applied: Applied, content: Content, run: Run) -> None:
        """Have the rows of a changed table known by what they were made of.

        Args:
            applied: the change.
            content: of the table, which has forgotten its rows.
            run: runs SQL in the program's connection.
        """
        if applied.problem is not None:
            self._runner.gap(*applied.problem)
        made = applied.made
        if made is None:
            return
        if (
            applied.before
            and made.rewriting.identities[:1]
            and (made.rewriting.identities[0].name != KEPT)
        ):
            unknown = OperatorGap("insert", "rows that were there before are not known")
            made.rewriting = replace(made.rewriting, gaps=(*made.rewriting.gaps, unknown))
        self._runner.keep(made, run)
        if not made.links:
            return
        output = memory_anchor()
        self._runner.finish(made, output)
        content.anchor, content.rows, content.mark = output, made.rows, applied.mark
        content.changes += 1

    def apply(self, prepared: Prepared, run: Run) -> Applied | None:
        """Make a change; None where nothing was done and the program's own statement has to run.

        Args:
            prepared: the change.
            run: runs SQL in the program's connection and gives something with `fetchall`.
        """
        for rewriting in _rewritings(prepared.plan):
            work = _Work(prepared, rewriting, self._runner, run)
            if work.begin():
                return work.finish()
            if work.refused is not None:
                self._runner.gap(*work.refused)
            if work.refused is not None or work.failed:
                return None
        return None

    def drop(self, applied: Applied, run: Run) -> None:
        """Drop the temporary tables of a change."""
        for table in applied.tables:
            run(f"DROP TABLE IF EXISTS {table}")


def _rewritings(plan: Plan | None) -> Iterator[Rewriting | None]:
    if plan is None:
        yield None
        return
    yield plan.rewriting
    yield plan.simpler()


class _Work:
    """One attempt at a change."""

    def __init__(
        self, prepared: Prepared, rewriting: Rewriting | None, runner: RowRunner, run: Run
    ) -> None:
        self.prepared = prepared
        self.change = prepared.change
        self.target = prepared.change.target
        self.rewriting = rewriting
        self.runner = runner
        self.run = run
        self.asked: Materialised | None = None
        self.count = 0
        self.before: Mark = (0, 0)
        self.last = -1  # The greatest number of a row before.
        self.inside: Mark = (0, 0)
        self.columns: tuple[tuple[str, str], ...] = ()
        self.refused: tuple[str, str] | None = None
        self.failed = False  # The statement did, which its own run will tell the program.
        self.problem: tuple[str, str] | None = None

    # Before the change is made

    def begin(self) -> bool:
        """Make the change, and compare what can be seen before it is committed."""
        run = self.run
        try:
            run("BEGIN TRANSACTION")
        except Exception as error:  # the program's own statement is run instead
            self.refused = (self.change.word, type(error).__name__)
            return False
        try:
            if self._ask():
                self._look()
                self._change()
                run("COMMIT")
                return True
        except _DiffersError as error:
            self.refused = (self.change.word, str(error))
        except Exception as error:  # as above; what it says may quote values
            if not self.failed:
                self.refused = (self.change.word, f"could not be followed: {type(error).__name__}")
        with contextlib.suppress(Exception):  # DuckDB has ended some transactions already
            run("ROLLBACK")
        return False

    def _ask(self) -> bool:
        """Run the query of the change; False where DuckDB refuses it."""
        plan = self.prepared.plan
        if plan is None or self.rewriting is None:
            return True
        last = self.rewriting is not plan.rewriting
        self.asked = self.runner.make(plan, self.rewriting, self.run, tell=last, alone=False)
        if self.asked is None:
            self.refused = None if not last else (self.change.word, "its query is not taken")
            return False
        described = self.run(f"DESCRIBE {self.asked.table}").fetchall()
        if tuple((row[0], row[1]) for row in described[: len(plan.columns)]) != plan.columns:
            raise _DiffersError("its query gives other columns")
        return True

    def _look(self) -> None:
        """Look at the table as it was."""
        self.before = mark_of(self.target, self.run)
        if self.prepared.mark is not None and self.before != self.prepared.mark:
            raise _DiffersError("the rows of its table have moved")
        (last,) = self.run(f"SELECT coalesce(max(rowid), -1) FROM {self.target}").fetchone()
        self.last = int(last)
        described = self.run(f"DESCRIBE {self.target}").fetchall()
        self.columns = tuple((row[0], row[1]) for row in described)
        if self.asked is not None and self.change.word in {"update", "merge"}:
            (several,) = self.run(
                f'SELECT count("{TARGET}") - count(DISTINCT "{TARGET}") FROM {self.asked.table}'
            ).fetchone()
            if several:
                raise _DiffersError("several rows change one, and DuckDB picks among them")

    def _change(self) -> None:
        text = self.prepared.text
        if self.change.span is not None and self.asked is not None:
            start, end = self.change.span
            text = f"{text[:start]} {self.asked.visible} {text[end:]}"
        self.failed = True
        (self.count,) = self.run(text).fetchone()[:1]
        self.failed = False
        try:
            self._compare_inside()
        except _DiffersError as error:
            # The statement did what it does: what it wrote stands, without links.
            self.problem = (self.change.word, str(error))

    def _compare_inside(self) -> None:
        """Compare what the statement did to rows that were there with what the query says."""
        self.inside = self._mark(f"WHERE rowid <= {self.last}")
        word = self.change.word
        rows, total = self.before
        if word == "delete":
            if self.inside[0] != rows - self.count:
                raise _DiffersError("more or other rows are gone than it counts")
            return
        if word == "update" and self.asked is not None and self.count != self.asked.rows:
            raise _DiffersError("it changed more or other rows than its query gives")
        if word == "merge":
            gone, numbers = self._acted("delete")
            acted = sum(self._acted(act)[0] for act in ("insert", "update", "delete"))
            if acted != self.count:
                raise _DiffersError("it changed more or other rows than its query gives")
            rows, total = rows - gone, total - numbers
        if self.inside != (rows, total):
            raise _DiffersError("rows have moved: an indexed column or a list changed")
        for number, clause in enumerate(self.change.clauses):
            if clause.act == "update":
                self._compare_values(number, clause)
        if word == "merge" and self._acted("delete", still=True)[0]:
            raise _DiffersError("a row that it deletes is still there")

    def _mark(self, where: str) -> Mark:
        count, total = self.run(
            f"SELECT count(*), coalesce(sum(rowid), 0) FROM {self.target} {where}"
        ).fetchone()
        return int(count), int(total)

    def _numbers(self, act: str) -> str:
        """List the clauses that do something."""
        numbers = [str(n) for n, one in enumerate(self.change.clauses) if one.act == act]
        return ", ".join(numbers) or "-1"

    def _acted(self, act: str, *, still: bool = False) -> Mark:
        """Count the rows to which a MERGE does something, and add their numbers up."""
        assert self.asked is not None
        there = f' AND "{TARGET}" IN (SELECT rowid FROM {self.target})' if still else ""
        count, total = self.run(
            f'SELECT count(*), coalesce(sum("{TARGET}"), 0) FROM {self.asked.table} '
            f'WHERE "{ACTION}" IN ({self._numbers(act)}){there}'
        ).fetchone()
        return int(count), int(total)

    def _kind(self, column: str) -> tuple[str, str]:
        for name, kind in self.columns:
            if name.lower() == column.lower():
                return name, kind
        raise _DiffersError(f"column {column} is not known")

    def _pairs(self, clause: Clause) -> list[tuple[str, str]]:
        """Write each column that gets a value beside that value."""
        columns = clause.columns or tuple(name for name, _ in self.columns)
        if len(columns) != len(clause.values):
            raise _DiffersError("it does not give as many values as there are columns")
        pairs = []
        for column, value in zip(columns, clause.values, strict=True):
            name, kind = self._kind(column)
            pairs.append((f"t.{quoted(name)}", f"CAST(m.{quoted(value)} AS {kind})"))
        return pairs

    def _compare_values(self, number: int, clause: Clause) -> None:
        assert self.asked is not None
        other = " OR ".join(f"{one} IS DISTINCT FROM {two}" for one, two in self._pairs(clause))
        acting = f'm."{ACTION}" = {number}' if self.change.word == "merge" else "TRUE"
        (different,) = self.run(
            f"SELECT count(*) FROM {self.asked.table} AS m LEFT JOIN {self.target} AS t "
            f'ON t.rowid = m."{TARGET}" WHERE {acting} AND (t.rowid IS NULL OR {other})'
        ).fetchone()
        if different:
            raise _DiffersError("it gave other values than its query gives")

    # After it

    def finish(self) -> Applied:
        """Link the rows of the table as it is now; whatever goes wrong here is a gap."""
        applied = Applied(self.count, self.before[0], problem=self.problem)
        if self.asked is not None:
            applied.tables = (self.asked.table, *self.asked.shared)
        if applied.problem is not None:
            return applied
        try:
            self._link(applied)
        except _DiffersError as error:
            applied.problem = (self.change.word, str(error))
        except Exception as error:  # the statement is done; links are all that is lost
            applied.problem = (self.change.word, f"could not be followed: {type(error).__name__}")
        return applied

    def _link(self, applied: Applied) -> None:
        if self._mark(f"WHERE rowid <= {self.last}") != self.inside:
            raise _DiffersError("a checkpoint moved the rows of its table")
        if self.prepared.plan is not None and not self.runner.inputs_are_still(self.prepared.plan):
            raise _DiffersError("an input changed meanwhile")
        joint, taken = self._joint()
        kept = f'k.r AS "{KEPT}"'
        ids = [] if self.rewriting is None else list(self.rewriting.identities)
        if self.change.word in {"update", "merge"} and self.prepared.kept is not None:
            ids = self._without_itself(ids)
        names = dict.fromkeys(one.name for one in ids)
        shown = ", ".join([kept, *(f"m.{quoted(name)}" for name in names)])
        table = f"temp.main.{quoted(f'__lodeline_changed_{next(_NUMBERS)}')}"
        self.run(
            f"CREATE TEMPORARY TABLE {table} AS SELECT {shown} "
            f"FROM range((SELECT coalesce(max(rowid), -1) + 1 FROM {self.target})) AS g(n) "
            f"LEFT JOIN (SELECT rowid AS r FROM {self.target} WHERE rowid <= {self.last}) AS k "
            f"ON k.r = g.n {joint} ORDER BY g.n"
        )
        applied.tables = (*applied.tables, table)
        (rows,) = self.run(f"SELECT count(*) FROM {table}").fetchone()
        kept_source = self.prepared.kept
        if kept_source is not None:
            ids = [Identity(KEPT, kept_source, lists=False), *ids]
        rewriting = self._rewriting(ids)
        plan = self.prepared.plan or Plan(rewriting, lambda: rewriting, {}, {}, ())
        if kept_source is not None and self.prepared.anchor is not None:
            plan.anchors[kept_source.key] = self.prepared.anchor
        shared = () if self.asked is None else self.asked.shared
        applied.made = Materialised(table, rows, plan, rewriting, shared)
        applied.mark = mark_of(self.target, self.run)
        if applied.mark[0] != self.inside[0] + taken:
            raise _DiffersError("the table has more or fewer rows than it should")

    def _rewriting(self, ids: list[Identity]) -> Rewriting:
        word = self.change.word
        if self.rewriting is None:
            return Rewriting("", "", (), tuple(ids), (), (word,), (), ordered=True)
        operators = tuple(one for one in self.rewriting.operators if one != "projection")
        return replace(self.rewriting, identities=tuple(ids), operators=(word, *operators))

    def _without_itself(self, ids: list[Identity]) -> list[Identity]:
        """Leave out the row that is changed: it is linked to as the row that it was."""
        kept = self.prepared.kept
        if not ids or kept is None or ids[0].source.key != kept.key:
            return ids
        return ids if ids[0].lists or ids[0].tag is not None else ids[1:]

    def _joint(self) -> tuple[str, int]:
        """Write which row of the query made which row of the table; and how many are new."""
        new = self._mark(f"WHERE rowid > {self.last}")
        if self.change.word in {"delete", "update"}:
            if new[0]:
                raise _DiffersError("rows have moved: an indexed column changed")
            if self.asked is None:
                return "", 0
            return f'LEFT JOIN {self.asked.table} AS m ON m."{TARGET}" = k.r', 0
        if self.change.word == "insert":
            return self._inserted(new), new[0]
        return self._merged(new), new[0]

    def _inserted(self, new: Mark) -> str:
        """New rows stand in the order in which the query gave them; their values must agree."""
        if new[0] != self.count or (self.asked is not None and self.asked.rows != self.count):
            raise _DiffersError("it inserted more or fewer rows than it counts")
        if self.asked is None or not self.count:
            return "" if self.asked is None else f"LEFT JOIN {self.asked.table} AS m ON FALSE"
        (first,) = self.run(
            f"SELECT min(rowid) FROM {self.target} WHERE rowid > {self.last}"
        ).fetchone()
        plan = self.asked.plan
        names = tuple(name for name, _ in plan.columns)
        (clause,) = self.change.clauses
        columns = names if self.change.by_name else clause.columns
        pairs = self._pairs(replace(clause, columns=columns, values=names))
        same = " AND ".join(f"{one} IS NOT DISTINCT FROM {two}" for one, two in pairs)
        (agreeing,) = self.run(
            f"SELECT count(*) FROM {self.asked.table} AS m JOIN {self.target} AS t "
            f"ON t.rowid = m.rowid + {first} WHERE {same}"
        ).fetchone()
        if agreeing != self.count:
            raise _DiffersError("the rows that it inserted are not those of its query, in order")
        return f"LEFT JOIN {self.asked.table} AS m ON m.rowid + {first} = g.n"

    def _merged(self, new: Mark) -> str:
        """New rows are those that have the values of exactly one row of the query."""
        assert self.asked is not None
        made = self.asked.table
        if new[0] != self._acted("insert")[0]:
            raise _DiffersError("it inserted more or fewer rows than its query gives")
        updated = f'm."{ACTION}" IN ({self._numbers("update")})'
        found = [f'SELECT m.rowid AS m, m."{TARGET}" AS n FROM {made} AS m WHERE {updated}']
        for number, clause in enumerate(self.change.clauses):
            if clause.act != "insert":
                continue
            pairs = self._pairs(clause)
            same = " AND ".join(f"{one} IS NOT DISTINCT FROM {two}" for one, two in pairs)
            found.append(
                f"SELECT m.rowid AS m, t.rowid AS n FROM {made} AS m JOIN {self.target} AS t "
                f'ON t.rowid > {self.last} AND m."{ACTION}" = {number} AND {same}'
            )
        matched = " UNION ALL ".join(found)
        (pairs_, news, olds) = self.run(
            f"SELECT count(*), count(DISTINCT n), count(DISTINCT m) FROM ({matched}) "
            f"WHERE n > {self.last}"
        ).fetchone()
        if not pairs_ == news == olds == new[0]:
            raise _DiffersError("rows that it inserted are equal: which is which cannot be told")
        return f"LEFT JOIN ({matched}) AS p ON p.n = g.n LEFT JOIN {made} AS m ON m.rowid = p.m"
