"""Dagster: assets with what they were made of, their checks, and each step as a run of its own.

Every event of a run passes `DagsterInstance.handle_new_event` in the process that made it, be it
the executor of one process or a child for each step. A step's events stand around what it does:
between them its reads and writes are its own.

Assets have the names that `dagster-openlineage` gives them, so that both tell of the same nodes.
That producer names no assets upstream, no environment, code or bytes; here they come from the tags
of a materialisation, and from the step's run.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from lodeline.capture.datasets import Dataset
from lodeline.capture.flow import BOUND
from lodeline.capture.journal import Journal
from lodeline.capture.patches import Patches
from lodeline.capture.process import describe_process, new_run_id
from lodeline.capture.recorder import RECORDER, Recorder, RunContext, now_us
from lodeline.capture.values import plain
from lodeline.credentials import redact_text

_UPSTREAM: Final = "dagster/input_data_version/"
_VERSION: Final = "dagster/data_version"
_ENDS: Final = frozenset({"STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY", "STEP_SKIPPED"})


# Where Dagster keeps what it knows of runs: its own business, and nobody's data.
_BOOKS: Final = {
    "event_log.sql_event_log": "SqlEventLogStorage",
    "event_log.sqlite.sqlite_event_log": "SqliteEventLogStorage",
    "runs.sql_run_storage": "SqlRunStorage",
    "schedules.sql_schedule_storage": "SqlScheduleStorage",
    "local_compute_log_manager": "LocalComputeLogManager",
}


class DagsterIntegration:
    """Dagster 1.11 and later."""

    name = "dagster"
    supports = "dagster>=1.11,<2"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch the instance once it is imported."""
        from lodeline.capture.process import ADAPTERS

        patches = Patches("dagster")
        observer = _Observer(recorder, patches)
        # Dagster 1.11 defines it in the package itself.
        for place in ("dagster._core.instance.instance", "dagster._core.instance"):
            ADAPTERS.when_imported(place, observer.patch)
        for module, kind in _BOOKS.items():
            ADAPTERS.when_imported(
                f"dagster._core.storage.{module}", partial(observer.patch_books, kind)
            )
        patches.on_undo(observer.leave_all)
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches
        self._patched = False
        # Steps that run here: their context, and how to leave it.
        self._steps: dict[tuple[str, str], tuple[RunContext, Callable[[], None]]] = {}
        self._acts: dict[str, Callable[[Any, Any], None]] = {
            "STEP_START": self._begin,
            "ASSET_MATERIALIZATION": self._materialized,
            "ASSET_OBSERVATION": self._observed,
            "ASSET_CHECK_EVALUATION": self._checked,
            **dict.fromkeys(_ENDS, self._end),
        }

    def patch(self, module: Any) -> None:
        instance = getattr(module, "DagsterInstance", None)
        if instance is None or self._patched:
            return
        self._patched = True
        for kind in instance.__mro__:
            if "handle_new_event" in vars(kind):
                self._patches.after(kind, "handle_new_event", self._handled)

    def patch_books(self, kind: str, module: Any) -> None:
        books = getattr(module, kind, None)
        for name, method in list(vars(books).items()) if books is not None else ():
            if not inspect.isfunction(method):
                continue
            if name == "capture_logs":
                self._patches.wrap(books, name, method, _managed_apart)
            elif not inspect.isgeneratorfunction(inspect.unwrap(method)):
                self._patches.wrap(books, name, method, _apart)

    def _handled(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result
        entry = args[1] if len(args) > 1 else kwargs["event"]
        event = entry.dagster_event
        act = None if event is None else self._acts.get(event.event_type_value)
        if act is not None:
            act(entry, event)

    # Steps

    def _begin(self, entry: Any, event: Any) -> None:
        outer = self._recorder.run
        key = (entry.run_id, str(event.step_key))
        if outer is None or key in self._steps:
            return
        # Jobs that Dagster makes up for a selection of assets have names that tell nothing.
        job = str(entry.job_name or "__")
        name = f"{'dagster' if job.startswith('__') else job}.{event.step_key}"
        run = {"namespace": outer.namespace, "job": redact_text(name), "run_id": new_run_id()}
        parent = (outer.namespace, outer.job, outer.run_id)
        header = {**describe_process(), "parent": parent, "nested": True, **run}
        journal = Journal(outer.journal.directory, outer.journal.root, header)
        journal.open()
        context = RunContext(run["run_id"], run["namespace"], run["job"], journal)
        self._steps[key] = (context, self._recorder.enter(context))
        self._recorder.param("dagster.run_id", entry.run_id)
        self._recorder.param("dagster.step", event.step_key)

    def _end(self, entry: Any, event: Any) -> None:
        found = self._steps.pop((entry.run_id, str(event.step_key)), None)
        if found is None:
            return
        context, leave = found
        leave()
        failed = ""
        if event.event_type_value != "STEP_SUCCESS":
            error = getattr(event.event_specific_data, "error", None)
            cause = getattr(error, "cause", None) or error
            failed = str(getattr(cause, "cls_name", None) or event.event_type_value)
        context.say(("end", now_us(), failed))

    def leave_all(self) -> None:
        """End the steps that are under way: capture stops."""
        while self._steps:
            _, (context, leave) = self._steps.popitem()
            leave()
            context.say(("end", now_us()))

    # Assets

    def _materialized(self, entry: Any, event: Any) -> None:
        del entry
        made = event.event_specific_data.materialization
        tags: Mapping[str, str] = made.tags or {}
        upstream = []
        for tag, version in tags.items():
            if tag.startswith(_UPSTREAM):
                source = _asset(tag.removeprefix(_UPSTREAM).split("/"))
                self._recorder.read(source, facets=_versioned(version))
                upstream.append(source)
        asset = _asset(made.asset_key.path)
        if made.partition is not None:
            self._recorder.param(f"dagster.{asset.name}.partition", str(made.partition))
        if "dagster/code_version" in tags:
            self._recorder.param(f"dagster.{asset.name}.code_version", tags["dagster/code_version"])
        rows = _value(made.metadata.get("dagster/row_count"))
        self._recorder.write(
            asset,
            # Which of the files that the step read went into it, Dagster does not know.
            flow=BOUND,
            inputs=upstream,
            late=True,
            facets={**(_versioned(tags.get(_VERSION)) or {}), **_schema(made.metadata)},
            output_facets={"outputStatistics": {"rowCount": rows}} if type(rows) is int else None,
            fields=_columns(made.metadata),
        )

    def _observed(self, entry: Any, event: Any) -> None:
        """A source that others made was looked at."""
        del entry
        seen = event.event_specific_data.asset_observation
        self._recorder.read(
            _asset(seen.asset_key.path), facets=_versioned((seen.tags or {}).get(_VERSION))
        )

    def _checked(self, entry: Any, event: Any) -> None:
        del entry
        check = event.event_specific_data
        told: dict[str, Any] = {"assertion": check.check_name, "success": bool(check.passed)}
        column = _value((check.metadata or {}).get("column"))
        if isinstance(column, str):
            told["column"] = column
        told["severity"] = check.severity.value.lower()
        facet = {"assertions": [told]}
        asset = _asset(check.asset_key.path)
        self._recorder.read(asset, input_facets={"dataQualityAssertions": facet})
        self._recorder.metric(f"dagster.{asset.name}.{check.check_name}", bool(check.passed))


def _apart(original: Any) -> Any:
    local = RECORDER.local

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        before, local.apart = local.apart, 1
        try:
            return original(*args, **kwargs)
        finally:
            local.apart = before

    return lodeline


def _managed_apart(original: Any) -> Any:
    def lodeline(*args: Any, **kwargs: Any) -> Any:
        return _Apart(original(*args, **kwargs))

    return lodeline


class _Apart:
    """A context whose beginning and end are not recorded; what happens in it is."""

    def __init__(self, manager: Any) -> None:
        self.__enter = _apart(manager.__enter__)
        self.__exit = _apart(manager.__exit__)

    def __enter__(self) -> Any:
        return self.__enter()

    def __exit__(self, *error: object) -> Any:
        return self.__exit(*error)


def _asset(path: Any) -> Dataset:
    return Dataset(os.environ.get("OPENLINEAGE_NAMESPACE") or "dagster", "/".join(path))


def _versioned(version: str | None) -> dict[str, dict[str, Any]] | None:
    return {"version": {"datasetVersion": version}} if version else None


def _value(metadata: Any) -> Any:
    return plain(getattr(metadata, "value", None))


def _schema(metadata: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    schema = getattr(metadata.get("dagster/column_schema"), "schema", None)
    if schema is None:
        return {}
    return {"schema": {"fields": [{"name": c.name, "type": c.type} for c in schema.columns]}}


def _columns(metadata: Mapping[str, Any]) -> dict[str, list[tuple[Dataset, str]]] | None:
    lineage = getattr(metadata.get("dagster/column_lineage"), "column_lineage", None)
    if lineage is None:
        return None
    return {
        column: [(_asset(dep.asset_key.path), dep.column_name) for dep in deps]
        for column, deps in lineage.deps_by_column.items()
    }
