"""Connections to databases: what their statements read and write, once that is certain.

Adapters tell a session of each statement that succeeded and of each transaction's end. Reads count
at once, writes when they are committed; what failed or was rolled back was not written. Parameters
never come here, and of a statement's text only the form without its literals is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from lodeline.capture.datasets import Dataset
from lodeline.capture.recorder import Recorder
from lodeline.limits import SQL_STATEMENTS_MAX, SQL_TEXT_MAX

if TYPE_CHECKING:
    from lodeline.capture.relations import Describe
    from lodeline.capture.sql_statements import Effects, Write
    from lodeline.sql import InputField


RowsFacet = dict[str, Any] | None


class _Written:
    """What is known to have flowed into a table so far."""

    def __init__(self) -> None:
        self.flow = 0
        self.fields: dict[str, tuple[InputField, ...]] = {}
        self.indirect: tuple[InputField, ...] = ()
        self.rows: RowsFacet = None


class SqlSession:
    """One connection.

    Args:
        recorder: of this process.
        dialect: of its SQL, as sqlglot calls it.
        driver: its name, for gaps.
        describe: asks the database for a relation; see `Relations`.
        own_functions: which of some names are functions that users of the database defined.
        changed: is told of each dataset that was written without rows being linked, and whether
            rows were added; gives a facet `lodeline_rows` where that ends links.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        dialect: str,
        driver: str,
        describe: Describe,
        own_functions: Callable[[list[str]], Collection[str]] = lambda _: (),
        changed: Callable[[Dataset, bool], RowsFacet] = lambda *_: None,
    ) -> None:
        from lodeline.capture.relations import Relations

        self.dialect = dialect
        self.driver = driver
        self.relations = Relations(dialect, describe)
        self._recorder = recorder
        self._own_functions = own_functions
        self._changed = changed
        self._known: dict[str, list[Effects]] = {}
        self._pending: list[tuple[Write, int, Callable[[], RowsFacet] | None]] = []
        self._marks: list[tuple[str, int]] = []

    # What an adapter tells

    def ran(
        self,
        text: str,
        *,
        incoming: int | None = None,
        rows: Callable[[], RowsFacet] | None = None,
    ) -> None:
        """A statement, or several, succeeded.

        Args:
            text: as the program gave it, parameters apart.
            incoming: flow of the values that the program gave, where it is known.
            rows: gives the facet `lodeline_rows` of what it wrote, once that is committed.
        """
        word = (text.split(maxsplit=1) or [""])[0].strip(";").lower()
        if word in {"savepoint", "rollback", "release"} and self._move(word, text):
            return
        self._recorder.note_sql_read(0)
        if incoming is None:
            incoming = self._recorder.local.incoming
        for effects in self._effects_of(text):
            self._apply(effects, incoming, rows)

    def ended(self, *, committed: bool) -> None:
        """The transaction ended; or, outside of one, the statement."""
        pending, self._pending = self._pending, []
        self._marks.clear()
        if committed:
            for write, flow, rows in pending:
                self._tell(write, flow, rows)
        elif pending:
            # What was created in it is gone, and was looked up as if it stood.
            self._forget()

    def mark(self, name: str) -> None:
        """A savepoint, or a nested transaction, began."""
        self._marks.append((name, len(self._pending)))

    def roll_back_to(self, name: str) -> None:
        """Everything since a mark is undone."""
        for index in range(len(self._marks) - 1, -1, -1):
            if self._marks[index][0] == name:
                del self._pending[self._marks[index][1] :]
                del self._marks[index + 1 :]
                self._forget()
                return

    # What follows

    def _move(self, word: str, text: str) -> bool:
        words = text.strip().rstrip(";").split()
        if word == "savepoint":
            self.mark(words[-1].lower())
        elif word == "rollback" and "to" in (one.lower() for one in words):
            self.roll_back_to(words[-1].lower())
        elif word == "rollback":
            return False
        return True

    def _forget(self) -> None:
        self.relations.forget()
        self._known.clear()

    def _effects_of(self, text: str) -> list[Effects]:
        known = self._known.get(text)
        if known is None:
            if len(self._known) >= SQL_STATEMENTS_MAX:
                detail = f"more than {SQL_STATEMENTS_MAX} statements; further ones are not read"
                self._recorder.gap(self.driver, "size", detail)
                return []
            known = self._read(text)
            if any(effects.schema for effects in known):
                self._forget()
            elif len(text) <= SQL_TEXT_MAX:
                self._known[text] = known
        return known

    def _read(self, text: str) -> list[Effects]:
        # Only here, and a third of a second: pandas loads this module, and mostly reads files.
        from lodeline.capture.sql_statements import effects_of, readable_text
        from lodeline.errors import UnsupportedQueryError
        from lodeline.sql import mask_literals, parse_statements

        masked = mask_literals(text[:SQL_TEXT_MAX], dialect=self.dialect)
        try:
            statements = parse_statements(
                readable_text(text, dialect=self.dialect), dialect=self.dialect
            )
        except UnsupportedQueryError as error:
            self._gap("parse", f"{mask_literals(error.detail, dialect=self.dialect)}: {masked}")
            self._recorder.note_sql_read(self._recorder.flow.unknown())
            return []
        found = []
        for statement in statements:
            first = text if len(statements) == 1 else statement.tree.sql(dialect=self.dialect)
            effects = effects_of(statement, self.relations, self._own_functions, text=first)
            for operator, detail in effects.gaps:
                self._gap(operator, f"{detail}: {masked}")
            found.append(effects)
        if any(one.reads or one.writes or one.gaps for one in found):
            self._recorder.sql(masked, self.dialect)
        return found

    def _gap(self, operator: str, detail: str) -> None:
        self._recorder.gap(f"{self.driver}: {operator}", "capture", detail[:500])

    def _apply(
        self, effects: Effects, incoming: int | None, rows: Callable[[], RowsFacet] | None
    ) -> None:
        recorder = self._recorder
        flow = 0
        for relation in effects.reads:
            if relation.dataset is not None:
                facets = None
                if relation.columns:
                    facets = {"schema": schema_facet(relation.columns)}
                flow |= recorder.read(relation.dataset, facets=facets)
            else:
                flow |= self.relations.content_of(relation).flow
        if effects.gaps:
            flow |= recorder.flow.unknown()
        if effects.is_query:
            recorder.note_sql_read(flow)
        for write in effects.writes:
            into = flow
            if not write.itself and write.relation.dataset is not None:
                into &= ~recorder.flow.bit(write.relation.dataset)
            if write.external:
                into |= recorder.flow.unknown() if incoming is None else incoming
            if write.relation.dataset is None:
                self._fill(write, into)
            else:
                self._pending.append((write, into, rows))

    def _fill(self, write: Write, flow: int) -> None:
        """A table that dies with the connection: what is in it is remembered, not told."""
        content = self.relations.content_of(write.relation)
        if write.replaces:
            content.flow, content.lineage = flow, write.lineage
            return
        content.lineage = write.lineage if not content.flow and content.lineage is None else None
        content.flow |= flow

    def _tell(self, write: Write, flow: int, rows: Callable[[], RowsFacet] | None) -> None:
        dataset = write.relation.dataset
        assert dataset is not None
        inserts = write.itself and not write.replaces
        linked = self._changed(dataset, inserts) if rows is None else rows()
        written = _WRITTEN.get(dataset)
        if written is None or write.replaces:
            written = _WRITTEN[dataset] = _Written()
        # What was linked before stays told when something else is told of the table.
        written.rows = linked or written.rows
        before = (written.flow, dict(written.fields), written.indirect)
        written.flow |= flow
        if write.lineage is not None:
            for one in write.lineage.fields:
                known = written.fields.get(one.name, ())
                written.fields[one.name] = tuple(dict.fromkeys((*known, *one.inputs)))
            shaping = (*written.indirect, *write.lineage.indirect)
            written.indirect = tuple(dict.fromkeys(shaping))
        run = self._recorder.run
        said = run is not None and dataset in run.wrote
        if said and linked is None and not write.replaces and before == (
            written.flow, written.fields, written.indirect,
        ):  # fmt: skip
            return  # A loop of a million inserts says one thing.
        facets: dict[str, Any] = {}
        if write.relation.columns:
            facets["schema"] = schema_facet(write.relation.columns)
        lineage = column_facet(written.fields.items(), written.indirect)
        if lineage is not None:
            facets["columnLineage"] = lineage
        self._recorder.write(
            dataset,
            flow=written.flow,
            facets=facets or None,
            output_facets=None if written.rows is None else {"lodeline_rows": written.rows},
            appends=not write.replaces,
        )


# By dataset, of this process: several connections may write one table.
_WRITTEN: dict[Dataset, _Written] = {}


def schema_facet(columns: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Give OpenLineage's schema facet."""
    return {"fields": [{"name": name, "type": kind} for name, kind in columns]}


def column_facet(
    fields: Iterable[tuple[str, tuple[InputField, ...]]], indirect: tuple[InputField, ...]
) -> dict[str, Any] | None:
    """Give OpenLineage's column lineage facet; `None` where no dataset's field is named."""
    named: dict[str, Any] = {}
    for name, inputs in fields:
        members = _input_fields(inputs)
        if members:
            named[name] = {"inputFields": members}
    shaping = _input_fields(indirect)
    if not named and not shaping:
        return None
    return {"fields": named, "dataset": shaping} if shaping else {"fields": named}


def _input_fields(inputs: tuple[InputField, ...]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for item in inputs:
        if item.source.dataset is not None:
            steps = found.setdefault((*item.source.dataset, item.field), [])
            steps.append({"type": item.type, "subtype": item.subtype})
    return [
        {"namespace": namespace, "name": name, "field": column, "transformations": steps}
        for (namespace, name, column), steps in found.items()
    ]


def reading(recorder: Recorder, original: Any, after: Callable[[Any, int | None], None]) -> Any:
    """Wrap a function that runs queries and gives a frame: `after(result, what they read)`."""
    local = recorder.local

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        outer, local.sql_flow = local.sql_flow, None
        before, local.sql_rows = local.sql_rows, [] if recorder.rows else None
        try:
            result = original(*args, **kwargs)
        finally:
            flow, local.sql_flow = local.sql_flow, outer
            rows, local.sql_rows = local.sql_rows, before
        try:
            after(result, flow)
            if rows:
                _follow_rows(recorder, result, rows)
        except Exception as error:  # capture's outermost door
            recorder.trouble("sql", error)
        return result

    return lodeline


def _follow_rows(recorder: Recorder, frame: Any, sources: list[Any]) -> None:
    """Track the rows of a frame that was made of the last query's result.

    Those before it are questions of the library's own, about the server or a name.
    """
    from lodeline.capture.row_tracking import TRACKING

    source, count = sources[-1]
    if source is None:
        return  # A gap told why.
    if not hasattr(frame, "columns") or len(frame) != count:
        recorder.gap("rows: frame", "capture", "a frame of other rows than its query gave")
        return
    TRACKING.begin_at(frame, source)


def writing(recorder: Recorder, original: Any, after: Callable[[int | None], None]) -> Any:
    """Wrap a method that writes its frame by SQL: its statements take the frame's flow."""
    local = recorder.local

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        outer, local.sql_flow = local.sql_flow, None
        before, local.incoming = local.incoming, recorder.flow_of(args[0]) if args else None
        try:
            result = original(*args, **kwargs)
        finally:
            local.incoming = before
            seen, local.sql_flow = local.sql_flow, outer
        try:
            after(seen)
        except Exception as error:  # capture's outermost door
            recorder.trouble("sql", error)
        return result

    return lodeline
