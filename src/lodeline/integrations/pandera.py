"""pandera: what a schema demanded of a table, and whether it held.

Every validation, by a schema, a model class or a decorator, ends in a schema's `validate`. Without
`lazy` it stops at the first fault, so of a table that failed only that check is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from lodeline.capture.checks import record_checks
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.values import plain

_CONTAINERS: Final = ("pandera.api.pandas.container", "pandera.api.polars.container")


class PanderaIntegration:
    """pandera, for pandas and polars."""

    name = "pandera"
    supports = "pandera>=0.35,<1"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch the schemas of each kind of table once they are imported."""
        from lodeline.capture.process import ADAPTERS

        patches = Patches("pandera")
        observer = _Observer(recorder, patches)
        for name in _CONTAINERS:
            ADAPTERS.when_imported(name, observer.patch)
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches

    def patch(self, module: Any) -> None:
        schema = module.DataFrameSchema
        self._patches.wrap(schema, "validate", vars(schema)["validate"], self._validate)

    def _validate(self, original: Any) -> Any:
        local, observer = self._recorder.local, self

        def lodeline(self: Any, *args: Any, **kwargs: Any) -> Any:
            state = local.state
            if state.depth:
                return original(self, *args, **kwargs)
            state.depth = 1
            try:
                result = original(self, *args, **kwargs)
            except Exception as error:
                observer.checked(self, args, kwargs, error)
                raise
            finally:
                state.depth = 0
            observer.checked(self, args, kwargs, None, result)
            return result

        return lodeline

    def checked(
        self,
        schema: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        error: Exception | None,
        result: Any = None,
    ) -> None:
        """Record one validation."""
        try:
            table = args[0] if args else kwargs.get("check_obj")
            flow = self._recorder.flow_of(table)
            if result is not None and result is not table:
                self._recorder.tag(result, flow)
            if error is None:
                assertions = list(_demands(schema))
            elif hasattr(error, "schema"):
                assertions = list(_faults(schema, error))
            else:
                return
            name = getattr(schema, "name", None) or "schema"
            record_checks(self._recorder, f"pandera.{name}", flow, assertions)
        except Exception as trouble:  # capture's outermost door
            self._recorder.trouble("pandera.validate", trouble)


def _demands(schema: Any) -> Iterator[dict[str, Any]]:
    """Everything that a schema demands: it all held."""
    for name, column in schema.columns.items():
        told: dict[str, Any] = {"success": True, "column": str(name)}
        if column.dtype is not None:
            yield {**told, "assertion": "dtype", "expected": str(column.dtype)}
        if not column.nullable:
            yield {**told, "assertion": "not_nullable"}
        if column.unique:
            yield {**told, "assertion": "unique"}
        for check in column.checks:
            yield {**told, **_described(check)}
    for check in schema.checks:
        yield {"success": True, **_described(check)}


def _described(check: Any) -> dict[str, Any]:
    described: dict[str, Any] = {"assertion": str(check.name or check)}
    statistics = getattr(check, "statistics", None)
    if statistics:
        described["expected"] = str(plain(dict(statistics)))
    return described


def _faults(schema: Any, error: Any) -> Iterator[dict[str, Any]]:
    """What did not hold; where all checks were made, also what did."""
    faults = [error]
    if hasattr(error, "schema_errors"):
        faults = list(error.schema_errors)
    failed: dict[tuple[str, str | None], dict[str, Any]] = {}
    missing = set()
    for fault in faults:
        column = getattr(getattr(fault, "schema", None), "name", None)
        place = None if column is None or column == schema.name else str(column)
        described = _described_fault(getattr(fault, "check", None))
        if described["assertion"] == "column_in_dataframe":
            place = str(getattr(fault, "failure_cases", place))
            missing.add(place)
        failed[described["assertion"], place] = described
    if hasattr(error, "schema_errors"):
        for demand in _demands(schema):
            place = demand.get("column")
            if (demand["assertion"], place) not in failed and place not in missing:
                yield demand
    for (_, place), described in failed.items():
        yield {"success": False, **({"column": place} if place else {}), **described}


def _described_fault(check: Any) -> dict[str, Any]:
    """A check that did not hold; pandera's own have other names in faults than in schemas."""
    if hasattr(check, "name"):
        return _described(check)
    name = str(check)
    kind, _, rest = name.partition("(")
    if kind in {"dtype", "coerce_dtype"} and rest:
        return {"assertion": "dtype", "expected": rest.rstrip(")").strip("'\"")}
    return {"assertion": "unique" if name == "field_uniqueness" else name}
