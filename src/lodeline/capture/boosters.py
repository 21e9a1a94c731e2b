"""Boosters: models of libraries whose native interface is no scikit-learn estimator.

XGBoost and LightGBM both train a booster from a table of their own, wrap it as an estimator, and
write it to files themselves. What their adapters have in common lies here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lodeline.capture.datasets import find_dataset
from lodeline.capture.flow import BOUND
from lodeline.capture.models import (
    Fitted,
    describe_model,
    find_fitted,
    note_fitted,
    record_model,
    record_use,
)
from lodeline.capture.recorder import Recorder
from lodeline.capture.values import plain


def note_trained(
    recorder: Recorder,
    booster: Any,
    *,
    flow: int,
    features: Iterable[str],
    settings: Mapping[str, Any],
    title: str,
) -> None:
    """Record that a booster was trained here: on what, with which settings.

    Args:
        recorder: of this process.
        booster: the model.
        flow: of the tables that it learned from.
        features: names of their columns.
        settings: the parameters, as the program gave them.
        title: in front of the parameters' names.
    """
    fitted = note_fitted(booster)
    if fitted is None:
        return
    fitted.flow, fitted.features = flow, [str(name) for name in features]
    fitted.parameters = {str(name): plain(value) for name, value in settings.items()}
    recorder.tag(booster, flow)
    for name, value in fitted.parameters.items():
        recorder.param(f"{title}.{name}", value)
        if name.endswith("seed") or name == "random_state":
            recorder.seed(f"{title}.{name}", value)


def note_scores(recorder: Recorder, title: str, scores: Mapping[Any, Any]) -> None:
    """Record the evaluations of a training: the last value of each, by data set and metric."""
    for table, metrics in scores.items():
        for metric, values in metrics.items():
            last = values[-1] if isinstance(values, (list, tuple)) and values else values
            recorder.metric(f"{title}.{table}.{metric}", plain(last))


def adopt(recorder: Recorder, booster: Any, estimator: Any, features: Iterable[str]) -> None:
    """An estimator's booster comes from where the estimator does."""
    whole = find_fitted(estimator)
    part = None if whole is None or booster is None else note_fitted(booster)
    if whole is None or part is None:
        return
    part.flow, part.parameters = whole.flow, whole.parameters
    part.features = whole.features or [str(name) for name in features]
    recorder.tag(booster, whole.flow)
    if recorder.rows:
        from lodeline.capture.booster_rows import copy_sets

        copy_sets(booster, estimator)


def record_saved(
    recorder: Recorder, model: Any, target: object, *, features: Iterable[str], file_format: str
) -> None:
    """Record that a model was written to a file by its own library.

    Args:
        recorder: of this process.
        model: a booster, or an estimator around one.
        target: path.
        features: names of the columns, for a model that was not trained here.
        file_format: of the file.
    """
    dataset = find_dataset(target)
    if dataset is None:
        return
    fitted = find_fitted(model) or Fitted(flow=recorder.flow.unknown() | BOUND)
    fitted.features = fitted.features or [str(name) for name in features]
    facet = describe_model(model, fitted, dataset, file_format=file_format)
    record_model(recorder, dataset, fitted, facet, estimator=model)


def record_loaded(
    recorder: Recorder, model: Any, target: object, *, features: Iterable[str], file_format: str
) -> None:
    """Record that a model was read from a file by its own library; arguments as for saving."""
    dataset = find_dataset(target)
    if dataset is None:
        return
    known = Fitted(features=[str(name) for name in features])
    facet = describe_model(model, known, dataset, file_format=file_format)
    record_use(recorder, dataset, model, facet)


def tag_prediction(recorder: Recorder, model: Any, tables: Iterable[Any], result: Any) -> None:
    """A prediction comes from its model and from the rows that it is about."""
    flow = recorder.flow_of(*tables, data=True)
    fitted = find_fitted(model)
    recorder.tag(result, flow | (recorder.flow.unknown() if fitted is None else fitted.flow))


def stopping_data(callbacks: Any, rounds: Any) -> tuple[list[str | None], str | None]:
    """Give the names of what XGBoost stops a training by, and a callback of the program's own.

    Args:
        callbacks: given to the training.
        rounds: `early_stopping_rounds`.

    Returns:
        Names, `None` for the last of the evaluated tables; and the class of a callback that may
        stop by anything.
    """
    names: list[str | None] = [None] if rounds else []
    own = None
    for one in callbacks or ():
        if not type(one).__module__.startswith("xgboost."):
            own = type(one).__qualname__
        elif type(one).__name__ == "EarlyStopping":
            names.append(getattr(one, "data", None))
    return names, own
