"""Models: estimators that were fitted here, and the files that they are dumped to and loaded from.

A fitted estimator is known by weak identity, with the datasets and features that reached its fit.
Its file is recorded as the model itself (facet `lodeline_model`, whose digest the deliverer adds),
named by the file's stem unless `lodeline.register` named it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from lodeline.capture.datasets import Dataset, Stat, find_dataset, find_stat, stem
from lodeline.capture.flow import BOUND
from lodeline.capture.recorder import Recorder
from lodeline.capture.values import plain
from lodeline.credentials import redact_value

_FRAMEWORKS: Final = ("sklearn", "xgboost", "lightgbm", "catboost", "torch", "tensorflow", "keras")


@dataclass(slots=True)
class Fitted:
    """What is known of one fitted estimator.

    Attributes:
        features: names of the columns that reached the fit.
        flow: the datasets that did.
        name: given by `register`.
    """

    features: list[str] = field(default_factory=list)
    flow: int = 0
    name: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model file that this process loaded, for whoever serves it."""

    namespace: str
    name: str
    stat: Stat | None
    artifact: Dataset


_FITTED: Final[dict[int, tuple[weakref.ref[Any], Fitted]]] = {}
LOADED: Final[list[tuple[weakref.ref[Any], LoadedModel]]] = []


# Integrations that know models by other signs than an estimator's fit: each is asked in turn.
FINDERS: Final[list[Callable[[object], Fitted | None]]] = []


def find_fitted(estimator: object) -> Fitted | None:
    """What is known of an estimator; `None` when it was not fitted or named here."""
    entry = _FITTED.get(id(estimator))
    if entry is not None and entry[0]() is estimator:
        return entry[1]
    for find in FINDERS:
        found = find(estimator)
        if found is not None:
            return found
    return None


def note_fitted(estimator: object) -> Fitted | None:
    """Start knowing an estimator; `None` when it can't be referred to weakly."""
    entry = _FITTED.get(id(estimator))
    if entry is not None and entry[0]() is estimator:
        return entry[1]
    key = id(estimator)

    def forget(_: object, key: int = key) -> None:
        _FITTED.pop(key, None)

    try:
        reference = weakref.ref(estimator, forget)
    except TypeError:
        return None
    fitted = Fitted()
    _FITTED[key] = (reference, fitted)
    return fitted


def find_estimator(value: object, *, depth: int = 0) -> object | None:
    """Find the estimator in a dumped value: itself, or a member of a dict, list or tuple."""
    if is_estimator(value):
        return value
    if depth > 2:
        return None
    members: list[object] = []
    if type(value) is dict:
        members = list(value.values())[:50]
    elif type(value) in {list, tuple}:
        members = list(value)[:50]  # type: ignore[call-overload]  # narrowed above
    for member in members:
        found = find_estimator(member, depth=depth + 1)
        if found is not None:
            return found
    return None


def is_estimator(value: object) -> bool:
    """Whether a value looks like a model: it fits, and it predicts or transforms."""
    kind = type(value)
    if not hasattr(kind, "fit"):
        return find_fitted(value) is not None
    return any(hasattr(kind, name) for name in ("predict", "transform", "fit_predict"))


def record_dump(
    recorder: Recorder, value: object, target: object, *, file_format: str, flush: bool = False
) -> None:
    """Record that an object was dumped to a file: a model, or plain data.

    Args:
        recorder: of this process.
        value: what was dumped.
        target: path or open file.
        file_format: `joblib` or `pickle`.
        flush: the file is still open; its buffer is written out so that its size counts.
    """
    dataset = find_dataset(target)
    if dataset is None:
        return
    if flush and hasattr(target, "flush"):
        target.flush()
    estimator = find_estimator(value)
    if estimator is None:
        recorder.write(dataset, flow=recorder.flow_of(value, data=True))
        return
    fitted = find_fitted(estimator) or Fitted(flow=recorder.flow.unknown() | BOUND)
    facet = describe_model(estimator, fitted, dataset, file_format=file_format)
    record_model(recorder, dataset, fitted, facet, estimator=estimator)


def record_model(
    recorder: Recorder,
    artifact: Dataset,
    fitted: Fitted,
    facet: dict[str, Any],
    *,
    estimator: object = None,
    late: bool = False,
    facets: dict[str, dict[str, Any]] | None = None,
) -> Dataset:
    """Record that a model was written to a file or a folder.

    Args:
        recorder: of this process.
        artifact: what holds its bytes.
        fitted: what flowed in, and the model's name where it was given one.
        facet: `lodeline_model` without its digest.
        estimator: the model in memory, whose rows may be known.
        late: as for `Recorder.write`.
        facets: further ones of the model.

    Returns:
        The model's name.
    """
    model = Dataset(_namespace(recorder), fitted.name or stem(artifact))
    told = {**(facets or {}), "lodeline_model": facet}
    features = facet.get("features")
    if features:
        told["schema"] = {"fields": [{"name": name} for name in features]}
    recorder.write(
        model,
        flow=fitted.flow,
        facets=told,
        output_facets=None if estimator is None else _rows_of(recorder, estimator, model),
        stat=find_stat(artifact),
        late=late,
    )
    return model


def _namespace(recorder: Recorder) -> str:
    run = recorder.run
    return run.namespace if run is not None else "default"


def _rows_of(recorder: Recorder, estimator: object, model: Dataset) -> dict[str, Any] | None:
    """The rows that a model was fitted on, when row provenance is recorded and they are known."""
    if not recorder.rows:
        return None
    from lodeline.capture.row_tracking import fitted_rows

    facet = fitted_rows(estimator, *model)
    return None if facet is None else {"lodeline_rows": facet}


def describe_model(
    estimator: object, fitted: Fitted, artifact: Dataset, *, file_format: str
) -> dict[str, Any]:
    """Give `lodeline_model` without its digest."""
    kind = type(estimator)
    module = kind.__module__ or ""
    framework = module.partition(".")[0]
    return {
        "framework": framework if framework in _FRAMEWORKS else "python",
        "class": f"{module}.{kind.__qualname__}",
        "format": file_format,
        "parameters": fitted.parameters or parameters_of(estimator),
        "features": fitted.features or _feature_names(estimator),
        "artifact": {"namespace": artifact.namespace, "name": artifact.name},
    }


def record_load(recorder: Recorder, value: object, target: object, *, file_format: str) -> None:
    """Record that an object was loaded from a file: a model, or plain data."""
    dataset = find_dataset(target)
    if dataset is None:
        return
    estimator = find_estimator(value)
    if estimator is None:
        recorder.tag(value, recorder.read(dataset))
        return
    known = note_fitted(estimator) or Fitted()
    facet = describe_model(estimator, known, dataset, file_format=file_format)
    flow = record_use(recorder, dataset, estimator, facet)
    if value is not estimator:
        recorder.tag(value, flow)


def record_use(
    recorder: Recorder,
    artifact: Dataset,
    estimator: object,
    facet: dict[str, Any],
    *,
    name: str = "",
) -> int:
    """Record that a model was loaded from a file or a folder.

    Args:
        recorder: of this process.
        artifact: what holds its bytes.
        estimator: the model in memory, to be known from here on.
        facet: `lodeline_model` without its digest.
        name: of the model; by default the file's.

    Returns:
        The flow of the model.
    """
    stat = find_stat(artifact)
    model = Dataset(_namespace(recorder), name or stem(artifact))
    flow = recorder.read(model, facets={"lodeline_model": facet}, stat=stat)
    fitted = note_fitted(estimator)
    if fitted is not None:
        fitted.features = list(facet.get("features") or ())
        fitted.flow = flow
        recorder.tag(estimator, flow)
        LOADED.append((weakref.ref(estimator), LoadedModel(*model, stat, artifact)))
    return flow


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered model: what `lodeline.serving` takes. Everything else is the estimator's.

    Attributes:
        namespace: of the model.
        name: of the model.
        version: `sha256:` of the estimator as pickle writes it; empty when it can't be pickled.
        estimator: the registered object.
    """

    namespace: str
    name: str
    version: str
    estimator: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.estimator, name)


def register_model(recorder: Recorder, estimator: object, name: str) -> ModelVersion:
    """Name a model and record a version of it. A dump that follows takes the version's place.

    Args:
        recorder: of this process.
        estimator: a fitted one.
        name: of the model, in the run's namespace.
    """
    import hashlib
    import pickle

    namespace = _namespace(recorder)
    unknown = recorder.flow.unknown() | BOUND
    known = find_fitted(estimator) or Fitted(flow=unknown)
    fitted = note_fitted(estimator) or Fitted(flow=unknown)
    if fitted is not known:
        fitted.flow, fitted.parameters = known.flow, known.parameters
    fitted.name = name
    try:
        version = "sha256:" + hashlib.sha256(pickle.dumps(estimator, protocol=5)).hexdigest()
    except Exception as error:  # foreign code pickles itself
        recorder.gap(f"model:{namespace}:{name}", "capture", f"cannot be pickled: {error}"[:500])
        return ModelVersion(namespace, name, "", estimator)
    facet = describe_model(estimator, fitted, Dataset(namespace, name), file_format="pickle")
    facet["digest"] = version
    del facet["artifact"]
    recorder.write(Dataset(namespace, name), flow=fitted.flow, facets={"lodeline_model": facet})
    return ModelVersion(namespace, name, version, estimator)


def loaded_models() -> list[LoadedModel]:
    """Models that this process loaded and still holds, the latest last."""
    return [model for reference, model in LOADED if reference() is not None]


def parameters_of(estimator: object) -> dict[str, Any]:
    """The parameters of an estimator, as plain values; steps of a pipeline by their names."""
    get = getattr(estimator, "get_params", None)
    if get is None:
        return {}
    found = plain(get(deep=True))
    # By itself, not under a name of ours: each parameter has its own.
    return redact_value("", found) if isinstance(found, dict) else {}


def _feature_names(estimator: object) -> list[str]:
    names = getattr(estimator, "feature_names_in_", None)
    return [] if names is None else [str(name) for name in names]
