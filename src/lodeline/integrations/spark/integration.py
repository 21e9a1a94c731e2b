"""The listener: told by Spark of each finished action and its plan, it records reads and writes.

Spark reads and writes in its own process, where no hook of Python's sees it. Its public
`QueryExecutionListener` tells of every action, from whichever interface it came; py4j lets an
object of Python's be one. It is called on a thread of its own, after the action:

- At the end of the program, and before a session stops, what Spark has still to tell is awaited.
- An action inside a nested run (`lodeline.run`) is awaited at once, so that it is told of while
  that run is current.

What a plan says of rows that came from Python (`createDataFrame`, an RDD) is that there are some;
their flow is what the object was known to hold when it was given to Spark.

Source: `org.apache.spark.sql.util.QueryExecutionListener`; OpenLineage's naming rules.
"""

from __future__ import annotations

import atexit
import functools
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from lodeline.capture.datasets import Dataset, find_dataset
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.integrations.spark.plan import PlanLineage, trace_plan
from lodeline.integrations.spark.queries import MARK
from lodeline.limits import SPARK_LISTENER_MS_MAX, SPARK_PLAN_CHARACTERS_MAX

if TYPE_CHECKING:
    from lodeline.integrations.spark.rows import SparkRows

# Leaves that hold no data from outside the plan's own text.
_MADE_UP: Final = frozenset({"Range", "OneRowRelation", "CTERelationRef"})
# Leaves whose rows came from the program itself.
_FROM_PROGRAM: Final = frozenset({"LogicalRDD", "LocalRelation", "ExternalRDD"})
# Commands that read and write no rows, or whose rows another command tells of.
_SILENT: Final = re.compile(
    r"(View|Table|Namespace|Database|Function|Cache|Clear|Refresh|Set|Reset|Show|Describe|Explain"
    r"|Analyze|CreateDataSourceTableAsSelect|CreateTableAsSelect|Columns|Partitions?)\w*$"
)
_COLLECTING: Final = (
    *("collect", "toPandas", "toArrow", "first", "head", "take", "tail", "count"),
    *("toLocalIterator",),
)
_WRITERS: Final = (
    *("save", "saveAsTable", "insertInto", "parquet", "csv", "json", "orc", "text", "jdbc"),
)
_RDD_WRITERS: Final = ("saveAsTextFile", "saveAsPickleFile", "saveAsSequenceFile")
_RDD_READERS: Final = ("textFile", "wholeTextFiles", "pickleFile", "sequenceFile", "binaryFiles")
_JDBC: Final = re.compile(r"jdbc:(?P<kind>[a-z0-9]+):(?://(?P<host>[^/;?]+)/?)?(?P<rest>[^?;]*)")


class SparkIntegration:
    """Classic PySpark; Spark Connect has no plans here and is told as a gap."""

    name = "spark"
    supports = "pyspark>=3.5,<5"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Add a listener to every session, and observe what passes between Spark and Python."""
        import pyspark.context
        from pyspark import RDD, SparkContext
        from pyspark.sql import DataFrame, DataFrameWriter, SparkSession

        # From Spark 4 on, `DataFrame` is the interface of both kinds; this one is the classic.
        frame_class = _find_classic_frame() or DataFrame
        observer = _Observer(recorder)
        patches = Patches("spark")
        # Starting Java is no unobserved program: what it does, its listener tells.
        patches.door(pyspark.context, "launch_gateway", lambda *_: None)
        patches.door(SparkSession, "__init__", observer.after_session)
        patches.door(SparkSession, "createDataFrame", observer.after_create)
        for name in _COLLECTING:
            patches.door(frame_class, name, observer.after_collect)
        rows = None
        if recorder.rows:
            from lodeline.integrations.spark.rows import SparkRows

            rows = observer.rows = SparkRows(recorder)
            rows.install(patches, frame_class)
        for name in _WRITERS:
            after = functools.partial(observer.after_frame_write, name)
            patches.door(DataFrameWriter, name, observer.after_write if rows is None else after)
        patches.door(SparkSession, "sql", observer.after_write)
        for name in _RDD_READERS:
            patches.door(SparkContext, name, observer.after_rdd_read)
        for name in _RDD_WRITERS:
            patches.door(RDD, name, observer.after_rdd_write)
        patches.wrap(SparkContext, "stop", vars(SparkContext)["stop"], observer.before_stop)
        active = getattr(SparkSession, "_instantiatedSession", None)
        if active is not None:
            observer.listen(active)
        atexit.register(observer.finish)
        patches.on_undo(lambda: atexit.unregister(observer.finish))
        patches.on_undo(observer.finish)
        return patches.undo


def _find_classic_frame() -> Any:
    try:
        from pyspark.sql.classic.dataframe import DataFrame
    except ImportError:
        return None
    return DataFrame


class _Listener:
    """What Spark calls; its methods carry the names of the Java interface."""

    def __init__(self, observer: _Observer) -> None:
        self._observer = observer

    def onSuccess(self, action: str, execution: Any, duration_ns: int) -> None:  # noqa: N802
        """An action succeeded."""
        del duration_ns
        self._observer.hear(action, execution)

    def onFailure(self, action: str, execution: Any, error: Any) -> None:  # noqa: N802
        """An action failed: it may have read, and what it wrote does not count."""
        del error
        self._observer.hear(action, execution, failed=True)

    class Java:
        """Which interface this is, for py4j."""

        implements: Final = ["org.apache.spark.sql.util.QueryExecutionListener"]


class _Observer:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._listeners: list[tuple[Any, Any]] = []
        self._contexts: dict[int, Any] = {}
        # Column id -> what was known of rows that Python gave to Spark.
        self._given: dict[int, int] = {}
        self._lock = threading.Lock()
        # Follows rows, where they are recorded; and what was told of the last write of each.
        self.rows: SparkRows | None = None
        self._told: dict[Dataset, dict[str, Any]] = {}

    # Sessions

    def after_session(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result, kwargs
        self.listen(args[0])

    def listen(self, session: Any) -> None:
        """Have a session tell of its actions."""
        java = getattr(session, "_jsparkSession", None)
        if java is None:
            self._recorder.gap("spark", "capture", "Spark Connect is not observed")
            return
        manager = java.listenerManager()
        if any(known.equals(manager) for known, _ in self._listeners):
            return
        from pyspark.java_gateway import ensure_callback_server_started

        context = session.sparkContext
        ensure_callback_server_started(context._gateway)
        listener = _Listener(self)
        manager.register(listener)
        self._listeners.append((manager, listener))
        self._contexts[id(context)] = context

    def before_stop(self, original: Any) -> Any:
        """Wrap `SparkContext.stop`: what was done is told before the context goes."""

        def lodeline(self_: Any, *args: Any, **kwargs: Any) -> Any:
            self.finish()
            self._listeners.clear()
            self._contexts.clear()
            return original(self_, *args, **kwargs)

        return lodeline

    def finish(self) -> None:
        """Wait until Spark has told of everything so far, for a bounded time."""
        for context in list(self._contexts.values()):
            try:
                if getattr(context, "_jsc", None) is not None:
                    bus = context._jsc.sc().listenerBus()
                    bus.waitUntilEmpty(SPARK_LISTENER_MS_MAX)
            except Exception as error:  # capture's outermost door
                self._recorder.trouble("spark.finish", error)

    # What passes between Spark and Python

    def after_create(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        data = args[1] if len(args) > 1 else kwargs.get("data")
        flow = self._recorder.flow_of(data, data=True)
        plan = json.loads(result._jdf.queryExecution().analyzed().toJSON())
        with self._lock:
            for _, columns in trace_plan(plan).leaves:
                self._given.update(dict.fromkeys(columns, flow))

    def after_collect(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del kwargs
        if self.rows is not None and self.rows.busy:
            return
        action = _Action(args[0]._jdf.queryExecution(), self._given)
        self._recorder.tag(result, self._read(action))
        self._settle()

    def after_rdd_read(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        target = args[1] if len(args) > 1 else next(iter(kwargs.values()), None)
        for one in str(target).split(","):
            flow = self._recorder.read_all(one)
            self._recorder.tag(result, flow)

    def after_rdd_write(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result
        dataset = find_dataset(args[1] if len(args) > 1 else kwargs.get("path"))
        if dataset is not None:
            self._recorder.write(dataset)

    def after_write(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The listener tells what was written; here it is only awaited where that matters."""
        del result, args, kwargs
        self._settle()

    def after_frame_write(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """A frame was written: beside what the listener tells of it, which rows are whose."""
        del result
        self._settle()
        rows = self.rows
        target = args[1] if len(args) > 1 else kwargs.get("path")
        if rows is None or rows.busy:
            return
        if name not in {"parquet", "save"} or not isinstance(target, str):
            detail = "spark: only rows that are written as Parquet to a folder have numbers"
            self._recorder.gap(f"rows: {name}", "capture", detail)
            return
        facet = rows.find_facet(args[0], target)
        dataset = find_dataset(target)
        if facet is None or dataset is None:
            return
        self.finish()
        told = self._told.get(dataset)
        if told is not None:
            self._recorder.write(dataset, output_facets={"lodeline_rows": facet}, **told)

    def _settle(self) -> None:
        run = self._recorder.run
        if run is not None and run is not self._recorder.process_run:
            self.finish()

    # What Spark tells

    def hear(self, action: str, execution: Any, *, failed: bool = False) -> None:
        """Record one action. Never raises: Spark would log it into the program's output."""
        try:
            if self.rows is not None and MARK in execution.analyzed().toJSON():
                return  # Our own question.
            told = _Action(execution, self._given)
            if _SILENT.search(told.command or ""):
                return
            flow = self._read(told)
            if told.command is not None and not failed:
                self._write(told, flow)
        except Exception as error:  # capture's outermost door
            if MARK not in str(error):  # Else it is what Spark refused of our own questions.
                self._recorder.trouble(f"spark.{action}", error)

    def _read(self, action: _Action) -> int:
        flow = 0
        for leaf in action.leaves:
            if leaf.dataset is not None:
                facets = {"schema": {"fields": leaf.schema}} if leaf.schema else None
                flow |= self._recorder.read(leaf.dataset, facets=facets)
            elif leaf.flow is not None:
                flow |= leaf.flow
            elif leaf.kind in _FROM_PROGRAM:
                flow |= self._recorder.flow.unknown()
            elif leaf.kind not in _MADE_UP:
                self._recorder.gap("spark", "capture", f"{leaf.kind} has no name outside Spark")
                flow |= self._recorder.flow.unknown()
        return flow

    def _write(self, action: _Action, flow: int) -> None:
        target = action.find_target()
        if target is None:
            if action.reads_nothing:
                return
            self._recorder.gap("spark", "capture", f"{action.command} is not followed")
            return
        dataset, appends = target
        for operator in action.lineage.unfollowed:
            detail = f"columns are not followed through {operator}"
            self._recorder.gap(dataset.name, "capture", detail)
        facets = {"schema": {"fields": action.schema}} if action.schema else None
        told: dict[str, Any] = {"flow": flow, "facets": facets, "appends": appends}
        told["fields"] = action.find_fields()
        if self.rows is not None:
            self._told[dataset] = told
        self._recorder.write(dataset, **told)


class _Leaf:
    def __init__(self, kind: str, columns: tuple[int, ...]) -> None:
        self.kind = kind
        self.columns = columns
        self.dataset: Dataset | None = None
        self.flow: int | None = None
        self.schema: list[dict[str, str]] = []


class _Action:
    """One finished action: its plan in Java, and the same plan traced.

    Attributes:
        command: class of the command, `None` for a query.
        lineage: of the columns.
        leaves: what it reads.
        schema: fields of the output.
    """

    def __init__(self, execution: Any, given: dict[int, int]) -> None:
        plan = execution.analyzed()
        text = plan.toJSON()
        if len(text) > SPARK_PLAN_CHARACTERS_MAX:
            raise ValueError(f"a plan of {len(text)} characters is not followed")
        nodes = json.loads(text)
        self._plan = plan
        self.lineage: PlanLineage = trace_plan(nodes)
        kind = str(nodes[0]["class"]).rpartition(".")[2]
        commanding = ".command." in nodes[0]["class"] or "Command" in kind or _is_v2_write(kind)
        self.command: str | None = kind if commanding else None
        self.leaves = [_Leaf(kind, columns) for kind, columns in self.lineage.leaves]
        self.schema: list[dict[str, str]] = []
        self._names: dict[int, tuple[_Leaf, str]] = {}
        self._resolve(given)
        if self.command is not None:
            self._read_schema()

    @property
    def reads_nothing(self) -> bool:
        """Whether no leaf is anything but the command itself."""
        return all(leaf.kind == self.command for leaf in self.leaves)

    def _resolve(self, given: dict[int, int]) -> None:
        by_columns = {leaf.columns: leaf for leaf in self.leaves if leaf.columns}
        for leaf in self.leaves:
            for column in leaf.columns:
                self._names[column] = (leaf, "")
            known = [given[column] for column in leaf.columns if column in given]
            if known:
                leaf.flow = known[0]
        for java in _iter_leaves(self._plan):
            traced = trace_plan(json.loads(java.toJSON())).leaves
            kind = str(java.getClass().getSimpleName())
            # A command is a leaf of its plan, too; what lies inside it comes by itself.
            found = by_columns.get(traced[0][1]) if [one for one, _ in traced] == [kind] else None
            if found is None or found.dataset is not None or kind in _FROM_PROGRAM | _MADE_UP:
                continue
            found.dataset = _name_relation(kind, java)
            found.schema = _fields_of(java.schema())

    def _read_schema(self) -> None:
        query = _query_of(self._plan)
        if query is not None:
            self.schema = _fields_of(query.schema())

    def find_fields(self) -> dict[str, list[tuple[Dataset, str]]] | None:
        """Which columns of which datasets each output column was made of, where that is known."""
        found: dict[str, list[tuple[Dataset, str]]] = {}
        for column in self.lineage.columns:
            if not column.followed:
                continue
            named = []
            for one, name in sorted(column.sources):
                leaf, _ = self._names[one]
                if leaf.dataset is not None:
                    named.append((leaf.dataset, name))
            if named:
                found[column.name] = named
        return found or None

    def find_target(self) -> tuple[Dataset, bool] | None:
        """What the command wrote, and whether earlier contents stayed."""
        plan, command = self._plan, self.command
        if command == "InsertIntoHadoopFsRelationCommand":
            dataset = find_dataset(_path_text(plan.outputPath().toString()))
            appends = str(plan.mode().toString()) == "Append"
            return None if dataset is None else (dataset, appends)
        if command == "SaveIntoDataSourceCommand":
            options = plan.options()
            appends = str(plan.mode().toString()) == "Append"
            dataset = _name_by_options(lambda name: _option(options, name))
            return None if dataset is None else (dataset, appends)
        if command in {"InsertIntoDataSourceDirCommand", "InsertIntoHiveDirCommand"}:
            dataset = _name_location(plan.storage().locationUri())
            return None if dataset is None else (dataset, False)
        if command == "InsertIntoDataSourceCommand":
            dataset = _name_relation("LogicalRelation", plan.logicalRelation())
            return None if dataset is None else (dataset, not plan.overwrite())
        if command is not None and _is_v2_write(command) and hasattr(plan, "table"):
            dataset = _name_relation("DataSourceV2Relation", plan.table())
            return None if dataset is None else (dataset, command == "AppendData")
        return None


def _is_v2_write(kind: str) -> bool:
    return kind in {"AppendData", "OverwriteByExpression", "OverwritePartitionsDynamic"}


def _query_of(plan: Any) -> Any:
    children = plan.children()
    if children.isEmpty():
        children = plan.innerChildren()
    head = None if children.isEmpty() else children.head()
    return head if head is not None and hasattr(head, "schema") else None


def _iter_leaves(plan: Any) -> Iterator[Any]:
    """Leaves of a plan, of the queries inside its commands and of its sub-queries."""
    waiting = [plan]
    while waiting:
        current = waiting.pop()
        leaves = current.collectLeaves()
        for index in range(leaves.size()):
            leaf = leaves.apply(index)
            inner = leaf.innerChildren()
            waiting += [inner.apply(number) for number in range(inner.size())]
            yield leaf
        below = current.subqueriesAll()
        waiting += [below.apply(number) for number in range(below.size())]


def _name_relation(kind: str, java: Any) -> Dataset | None:
    if kind == "LogicalRelation":
        relation = java.relation()
        name = relation.getClass().getSimpleName()
        if name == "HadoopFsRelation":
            return _name_paths(relation.location().rootPaths())
        if name == "JDBCRelation":
            options = relation.jdbcOptions()
            return _name_jdbc(options.url(), options.tableOrQuery())
        return None
    if kind == "HiveTableRelation":
        return _name_location(java.tableMeta().storage().locationUri())
    if kind.startswith("DataSourceV2"):
        table = java.table()
        index = getattr(table, "fileIndex", None)
        if "FileTable" in _ancestors(table) and callable(index):
            return _name_paths(index().rootPaths())
        return Dataset("spark", str(table.name()))
    return None


def _ancestors(java: Any) -> str:
    names, current = [], java.getClass()
    while current is not None:
        names.append(current.getSimpleName())
        current = current.getSuperclass()
    return " ".join(names)


def _name_paths(paths: Any) -> Dataset | None:
    """One dataset for what was read: a file, a folder, or the folder that all files lie in."""
    names = [_path_text(paths.apply(index).toString()) for index in range(paths.size())]
    if len(names) == 1:
        return find_dataset(names[0])
    parents = {name.rpartition("/")[0] for name in names}
    return find_dataset(parents.pop()) if len(parents) == 1 else None


def _name_location(location: Any) -> Dataset | None:
    return find_dataset(_path_text(location.get().toString())) if _has(location) else None


def _path_text(path: str) -> str:
    """Hadoop writes local paths as `file:/a/b`."""
    if path.startswith("file:"):
        return "file:///" + path.removeprefix("file:").lstrip("/")
    return path


def _name_by_options(option: Callable[[str], str | None]) -> Dataset | None:
    url = option("url")
    if url is not None and url.startswith("jdbc:"):
        return _name_jdbc(url, option("dbtable") or "")
    path = option("path")
    return None if path is None else find_dataset(_path_text(path))


def _name_jdbc(url: str, table: str) -> Dataset | None:
    """Name a table as OpenLineage does; a query in the table's place has no name."""
    found = _JDBC.match(url)
    if found is None or not table or " " in table.strip() or "(" in table:
        return None
    kind, host, rest = found["kind"], found["host"], found["rest"].strip("/")
    if kind == "sqlite":
        return Dataset("file", f"{rest}:{table}")
    scheme = "postgres" if kind == "postgresql" else kind
    plain = table.replace('"', "").replace("`", "")
    if scheme == "postgres" and "." not in plain:
        plain = f"public.{plain}"
    host = (host or "").rpartition("@")[2]
    if scheme == "postgres" and ":" not in host:
        host = f"{host}:5432"
    return Dataset(f"{scheme}://{host}", f"{rest}.{plain}" if rest else plain)


def _option(options: Any, name: str) -> str | None:
    found = options.get(name)
    return str(found.get()) if _has(found) else None


def _has(option: Any) -> bool:
    return bool(option.isDefined())


def _fields_of(schema: Any) -> list[dict[str, str]]:
    fields = json.loads(schema.json())["fields"]
    return [{"name": field["name"], "type": _type_of(field["type"])} for field in fields]


def _type_of(told: Any) -> str:
    return told if isinstance(told, str) else str(told.get("type", "struct"))
