"""One statement observed: what it reads and writes, told to the recorder after it succeeded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlglot import exp

from lodeline.capture.datasets import Dataset, find_dataset
from lodeline.capture.recorder import Recorder
from lodeline.errors import UnsupportedQueryError
from lodeline.integrations.duckdb.catalog import ConnectionCatalog, Reading
from lodeline.integrations.duckdb.databases import TEMP, Content, Session, table_dataset
from lodeline.sql import (
    ColumnLineage,
    InputField,
    Source,
    Statement,
    compose_sources,
    mask_literals,
    parse_statements,
    trace_columns,
)
from lodeline.sql.sources import bind_sources

# Text of a statement shown in a gap.
_TEXT_MAX: Final = 200


@dataclass
class Observed:
    """A statement before it runs: what it would read and write.

    Attributes:
        text: as given.
        statement: as parsed; `None` where it could not be.
        catalog: what its names mean now.
        flow: of the datasets that it reads.
        lineage: of its columns; `None` where not followed.
        columns: names and types of its result, where bound.
        targets: dataset of the table written, when it is in a database file.
    """

    text: str
    statement: Statement | None = None
    catalog: ConnectionCatalog | None = None
    flow: int = 0
    lineage: ColumnLineage | None = None
    columns: tuple[tuple[str, str], ...] = ()
    target: Dataset | None = None
    key: tuple[str, str, str] | None = None
    gaps: list[tuple[str, str]] = field(default_factory=list)
    rows_facet: dict[str, Any] | None = None
    content: Content = field(default_factory=Content)

    @property
    def masked(self) -> str:
        """The text as it may be recorded: without its literals."""
        return mask_literals(self.text, dialect="duckdb")


class Observer:
    """Observes statements of one session at a time."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def look(self, text: str, catalog: ConnectionCatalog, query: str | None) -> Observed:
        """Look at a statement before it runs.

        Args:
            text: of one statement.
            catalog: for the names in it.
            query: text of its query, to be bound for the names of its columns.
        """
        observed = Observed(text, catalog=catalog)
        try:
            statements = parse_statements(text)
        except UnsupportedQueryError as error:
            masked = mask_literals(text, dialect="duckdb")[:_TEXT_MAX]
            self._gap("parse", f"{error.detail}: {masked}")
            observed.flow = self.recorder.flow.unknown()
            return observed
        if len(statements) != 1:
            return observed
        observed.statement = statements[0]
        if observed.statement.query is not None:
            self._look_at_query(observed, observed.statement.query, catalog, query)
        elif observed.statement.kind == "change":
            self._look_at_change(observed, catalog)
        return observed

    def _look_at_query(
        self, observed: Observed, tree: exp.Query, catalog: ConnectionCatalog, text: str | None
    ) -> None:
        names = None
        if text is not None:
            observed.columns = catalog.columns_of(text)
            names = [name for name, _ in observed.columns] or None
        try:
            bindings = bind_sources(tree.copy(), catalog)
        except UnsupportedQueryError as error:
            self._gap(error.operator, error.detail)
            observed.flow = self.recorder.flow.unknown()
            return
        for reading in catalog.readings:
            observed.flow |= reading.flow
        for name in bindings.unknown:
            self._gap("table", f"{name} could not be told")
            observed.flow |= self.recorder.flow.unknown()
        try:
            observed.lineage = compose_sources(trace_columns(tree, catalog, names=names))
        except UnsupportedQueryError as error:
            self._gap(f"column lineage: {error.operator}", error.detail)
            return
        for gap in observed.lineage.gaps:
            self._gap(f"column lineage: {gap.operator}", gap.detail)

    def _look_at_change(self, observed: Observed, catalog: ConnectionCatalog) -> None:
        assert observed.statement is not None
        tree = observed.statement.tree
        if isinstance(tree, exp.Update | exp.Delete | exp.Merge):
            for table in tree.find_all(exp.Table):
                source = catalog.find_source(table)
                if source is not None and isinstance(source.detail, Reading):
                    observed.flow |= source.detail.flow

    def _gap(self, operator: str, detail: str) -> None:
        self.recorder.gap(f"duckdb: {operator}", "capture", detail[:500])

    # After the statement ran

    def tell(self, observed: Observed, session: Session) -> None:
        """Tell the recorder what a statement read and wrote."""
        statement = observed.statement
        if statement is None:
            if observed.flow:
                session.forget_rows()
            return
        for reading in observed.catalog.readings if observed.catalog else ():
            for dataset in reading.datasets:
                self.recorder.read(dataset, facets=self._schema_of(observed, dataset))
        observed.content.flow = observed.flow
        observed.content.lineage = observed.lineage
        tell = {
            "select": self._tell_select,
            "copy_to": self._tell_copy_to,
            "copy_from": self._tell_copy_from,
            "create_table": self._tell_create,
            "insert": self._tell_insert,
            "change": self._tell_change,
        }.get(statement.kind, self._tell_other)
        tell(observed, statement, session)

    def _schema_of(self, observed: Observed, dataset: Dataset) -> dict[str, Any] | None:
        for source in observed.lineage.sources if observed.lineage else ():
            if source.dataset == tuple(dataset) and source.columns:
                return {"schema": schema_facet(source.columns)}
        return None

    def _tell_select(self, observed: Observed, _: Statement, session: Session) -> None:
        session.result = observed.content

    def _tell_copy_to(self, observed: Observed, statement: Statement, session: Session) -> None:
        session.result = None
        dataset = find_dataset(statement.path) if statement.path else None
        if dataset is None:
            self._gap("copy", "to a place that could not be told")
            return
        self.write(dataset, observed)

    def write(self, dataset: Dataset, observed: Observed, *, appends: bool = False) -> None:
        """Tell that an observed query's result was written as a dataset."""
        facets: dict[str, Any] = {}
        if observed.columns:
            facets["schema"] = schema_facet(observed.columns)
        lineage = None if observed.lineage is None else column_facet(observed.lineage)
        if lineage is not None:
            facets["columnLineage"] = lineage
        rows = observed.rows_facet
        self.recorder.write(
            dataset,
            flow=observed.flow,
            facets=facets or None,
            output_facets={"lodeline_rows": rows} if rows else None,
            appends=appends,
        )

    def _tell_copy_from(self, observed: Observed, statement: Statement, session: Session) -> None:
        dataset = find_dataset(statement.path) if statement.path else None
        if dataset is None:
            self._gap("copy", "from a place that could not be told")
            return
        observed.flow = self.recorder.read(dataset)
        self._add_to_table(observed, statement, session)

    def _tell_insert(self, observed: Observed, statement: Statement, session: Session) -> None:
        self._add_to_table(observed, statement, session)

    def _add_to_table(self, observed: Observed, statement: Statement, session: Session) -> None:
        """Rows were added: what the table holds comes from more; which row is which is not kept."""
        if statement.table is None:
            return
        key, dataset = self.place(observed, statement, session)
        content = session.table(key) or Content()
        session.put_table(key, content)
        content.anchor = None
        content.flow |= observed.flow
        content.lineage = _joined(content.lineage, observed.lineage, statement.columns)
        if dataset is not None:
            observed.lineage = content.lineage
            self.write(dataset, observed, appends=True)

    def _tell_create(self, observed: Observed, statement: Statement, session: Session) -> None:
        key, dataset = self.place(observed, statement, session)
        session.result = None
        if statement.tree.args.get("exists"):
            # IF NOT EXISTS: the table may be the one that stood there before.
            self._add_to_table(observed, statement, session)
            return
        session.put_table(key, observed.content)
        if dataset is not None:
            self.write(dataset, observed)
            if session.in_transaction:
                session.uncommitted.add(dataset)

    def place(
        self, observed: Observed, statement: Statement, session: Session
    ) -> tuple[tuple[str, str, str], Dataset | None]:
        """Say where a table that now exists is, and its dataset if it is in a database file."""
        table = statement.table
        assert table is not None
        if statement.temporary:
            return (TEMP, "main", table.name.lower()), None
        place = observed.catalog.find_place(table) if observed.catalog else None
        if place is None and observed.catalog and session.in_transaction:
            # The catalog is asked through another connection, which sees what is committed.
            place = observed.catalog.find_new_place(table)
        if place is None:
            return (TEMP, "main", table.name.lower()), None
        catalog, schema, name, path = place
        dataset = None if path is None else table_dataset(path, catalog, schema, name)
        return (catalog.lower(), schema.lower(), name.lower()), dataset

    def _tell_change(self, observed: Observed, statement: Statement, session: Session) -> None:
        if statement.table is None:
            session.forget_rows()
            return
        name = statement.table.name
        session.forget_rows(name)
        if isinstance(statement.tree, exp.Drop | exp.Alter):
            renamed = statement.tree.find(exp.AlterRename)
            # A view is no dataset: it is composed through.
            is_view = str(statement.tree.args.get("kind") or "").upper() == "VIEW"
            if renamed is not None and not is_view:
                self._tell_rename(observed, statement.table, renamed.this.name, session)
            session.drop_tables(name)
            return
        key, dataset = self.place(observed, statement, session)
        content = session.table(key)
        if content is not None:
            content.flow |= observed.flow
        if dataset is not None:
            self.recorder.write(dataset, flow=observed.flow, appends=True)

    def _tell_rename(
        self, observed: Observed, table: exp.Table, name: str, session: Session
    ) -> None:
        """A table has another name; what it holds came from where it did."""
        place = observed.catalog.find_new_place(table) if observed.catalog else None
        if place is None:
            return
        catalog, schema, before, path = place
        if path is None:
            return
        old = table_dataset(path, catalog, schema, before)
        new = table_dataset(path, catalog, schema, name)
        content = session.table((catalog.lower(), schema.lower(), before.lower()))
        if content is None:
            self.recorder.write(new, flow=self.recorder.read(old))
        else:
            session.put_table((catalog.lower(), schema.lower(), name.lower()), content)
            observed.flow, observed.lineage = content.flow, content.lineage
            self.write(new, observed)
        self.recorder.removed(old)
        self.recorder.renamed(old, new)
        if session.in_transaction:
            session.uncommitted.add(new)

    def tell_ended(self, session: Session, *, kept: bool) -> None:
        """A transaction begins or has ended; tables of one that was rolled back are none."""
        for dataset in session.uncommitted if not kept else ():
            self.recorder.removed(dataset)
        session.uncommitted.clear()

    def _tell_other(self, observed: Observed, statement: Statement, session: Session) -> None:
        # By its first word: sqlglot takes ABORT and START TRANSACTION for expressions.
        word = observed.text.split(maxsplit=1)[0].strip(";").lower()
        if word in {"begin", "start"}:
            session.in_transaction = True
        elif word in {"commit", "end", "rollback", "abort"}:
            session.in_transaction = False
            session.forget_rows()
            self.tell_ended(session, kept=word in {"commit", "end"})
        elif isinstance(statement.tree, exp.Command | exp.Create):
            # CALL, IMPORT DATABASE, EXECUTE of something prepared: it may write anything.
            session.forget_rows()


def _joined(
    before: ColumnLineage | None, added: ColumnLineage | None, columns: tuple[str, ...]
) -> ColumnLineage | None:
    """Column lineage of a table after rows were added; unknown parts make the whole unknown."""
    if added is None:
        return None
    if before is None:
        return added if not columns else None
    if columns or len(before.fields) != len(added.fields):
        return None
    fields = tuple(
        type(one)(one.name, tuple(dict.fromkeys(one.inputs + two.inputs)))
        for one, two in zip(before.fields, added.fields, strict=True)
    )
    return ColumnLineage(
        fields,
        tuple(dict.fromkeys(before.indirect + added.indirect)),
        tuple(dict.fromkeys(before.sources + added.sources)),
    )


def schema_facet(columns: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Give OpenLineage's schema facet."""
    return {"fields": [{"name": name, "type": kind} for name, kind in columns]}


def column_facet(lineage: ColumnLineage) -> dict[str, Any] | None:
    """Give OpenLineage's column lineage facet; `None` where no dataset's field is named."""
    fields: dict[str, Any] = {}
    for output in lineage.fields:
        members = _input_fields(output.inputs)
        if members:
            fields[output.name] = {"inputFields": members}
    shaping = _input_fields(lineage.indirect)
    if not fields and not shaping:
        return None
    return {"fields": fields, "dataset": shaping} if shaping else {"fields": fields}


def _input_fields(inputs: tuple[InputField, ...]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for item in inputs:
        for dataset in _datasets(item.source):
            transformations = found.setdefault((*dataset, item.field), [])
            transformations.append({"type": item.type, "subtype": item.subtype})
    return [
        {"namespace": namespace, "name": name, "field": column, "transformations": steps}
        for (namespace, name, column), steps in found.items()
    ]


def _datasets(source: Source) -> tuple[tuple[str, str], ...]:
    if isinstance(source.detail, Reading) and source.detail.datasets:
        return tuple((dataset.namespace, dataset.name) for dataset in source.detail.datasets)
    return () if source.dataset is None else (source.dataset,)


Variables = Mapping[str, object]
