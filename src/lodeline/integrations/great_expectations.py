"""Great Expectations: which expectations of a batch held.

Suites, validation definitions, checkpoints and single expectations all end in one method, which
has the batch at hand: data that pandas read leads back to its file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lodeline.capture.checks import record_checks
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.values import plain


class GreatExpectationsIntegration:
    """Great Expectations 1."""

    name = "great_expectations"
    supports = "great_expectations>=1.24,<2"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch the validator once it is imported."""
        from lodeline.capture.process import ADAPTERS

        patches = Patches("great_expectations")
        observer = _Observer(recorder, patches)
        ADAPTERS.when_imported("great_expectations.validator.validator", observer.patch)
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches

    def patch(self, module: Any) -> None:
        self._patches.outermost(module.Validator, "graph_validate", self.after_validation)

    def after_validation(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record the outcomes for one batch."""
        del kwargs
        batch = args[0].active_batch
        data = getattr(batch, "data", None)
        flow = self._recorder.flow_of(getattr(data, "dataframe", data))
        if not flow and getattr(data, "selectable", None) is not None:
            told = "checks of a table in a database are told at no input"
            self._recorder.gap("great_expectations", "capture", told)
        definition = getattr(batch, "batch_definition", None)
        asset = getattr(definition, "data_asset_name", None) or "batch"
        assertions = [_described(outcome) for outcome in result]
        record_checks(self._recorder, f"great_expectations.{asset}", flow, assertions)


def _described(outcome: Any) -> dict[str, Any]:
    expectation = outcome.expectation_config
    given = {
        name: value
        for name, value in expectation.kwargs.items()
        if name not in {"column", "batch_id"} and value is not None
    }
    told: dict[str, Any] = {"assertion": expectation.type, "success": bool(outcome.success)}
    column = expectation.kwargs.get("column")
    if column is not None:
        told["column"] = str(column)
    if given:
        told["expected"] = str(plain(given))
    measured = outcome.result or {}
    for name in ("observed_value", "unexpected_count"):
        if name in measured:
            told["actual"] = str(plain(measured[name]))
            break
    severity = getattr(expectation, "severity", None)
    if severity is not None:
        told["severity"] = str(getattr(severity, "value", severity))
    return told
