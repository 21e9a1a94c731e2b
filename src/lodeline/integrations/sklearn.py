"""scikit-learn: every estimator's fit, predict, transform and score; splits; metrics.

`BaseEstimator.__init_subclass__` tells of each class when it is made, scikit-learn's own and
other libraries' alike, so an inherited `fit` is wrapped where it is defined and nothing is listed.
A call inside another estimator's call (a pipeline's steps, a search's candidates) is part of that
one and passes through.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Final

from lodeline.capture.models import find_fitted, note_fitted, parameters_of
from lodeline.capture.patches import After, Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.values import plain

_FITS: Final = frozenset({"fit", "partial_fit", "fit_transform", "fit_predict", "fit_resample"})
_USES: Final = frozenset(
    {"predict", "predict_proba", "predict_log_proba", "decision_function", "transform"}
    | {"inverse_transform", "score_samples", "kneighbors", "apply"}
)
_SCORES: Final = frozenset({"score"})


class SklearnIntegration:
    """scikit-learn 1.3 and later."""

    name = "sklearn"
    supports = "scikit-learn>=1.3,<2"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Wrap the methods of every estimator class, now and to come."""
        from sklearn.base import BaseEstimator

        patches = Patches("sklearn")
        observer = _Observer(recorder, patches)
        original = BaseEstimator.__init_subclass__.__func__

        def announce(cls: Any, /, **kwargs: Any) -> None:
            original(cls, **kwargs)
            try:
                observer.wrap_class(cls)
            except Exception as error:  # capture's outermost door
                recorder.trouble("sklearn", error)

        patches.replace(BaseEstimator, "__init_subclass__", classmethod(announce))
        waiting = [BaseEstimator]
        while waiting:
            kind = waiting.pop()
            observer.wrap_class(kind)
            waiting += kind.__subclasses__()
        observer.watch_modules()
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches
        self._wrapped: set[tuple[type, str]] = set()

    def wrap_class(self, kind: type) -> None:
        """Wrap the methods that a class, or a mixin that it inherits from, defines."""
        for owner in kind.__mro__:
            if owner is object:
                continue
            for name in (_FITS | _USES | _SCORES) & vars(owner).keys():
                if (owner, name) not in self._wrapped:
                    self._wrapped.add((owner, name))
                    self._wrap_method(owner, name)

    def _wrap_method(self, owner: type, name: str) -> None:
        after: After = self.after_fit if name in _FITS else self.after_use
        if name in _SCORES:
            after = self.after_score
        elif name.startswith("predict"):
            after = functools.partial(self._after_prediction, name)
        method = vars(owner)[name]
        if hasattr(method, "fn") and hasattr(method, "check"):
            # `available_if`: the descriptor keeps the function that it guards.
            self._patches.outermost(method, "fn", after)
        else:
            self._patches.outermost(owner, name, after)

    def watch_modules(self) -> None:
        """Wrap splits and scores once their modules are imported."""
        from lodeline.capture.process import ADAPTERS

        ADAPTERS.when_imported("sklearn.model_selection", self._patch_selection)
        ADAPTERS.when_imported("sklearn.metrics", self._patch_metrics)

    def _patch_selection(self, module: Any) -> None:
        if self._recorder.rows:
            from lodeline.capture.frame_rows import follow_split

            follow_split(module, self._patches)
        self._patches.outermost(module, "train_test_split", self.after_split)
        self._patches.outermost(module, "cross_val_score", self.after_cross_validation)

    def _patch_metrics(self, module: Any) -> None:
        for name in dir(module):
            if name.endswith(("_score", "_loss", "_error", "_deviance")) or name == "auc":
                self._patches.outermost(module, name, _MetricDoor(self._recorder, name))

    def after_fit(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        estimator = args[0]
        fitted = note_fitted(estimator)
        if fitted is None:
            return
        flow = self._recorder.flow_of(*args[1:], *kwargs.values(), data=True)
        fitted.flow = flow | (fitted.flow if "warm_start" in fitted.parameters else 0)
        fitted.features = _columns(args[1] if len(args) > 1 else kwargs.get("X"))
        fitted.parameters = parameters_of(estimator)
        self._recorder.tag(estimator, fitted.flow)
        _tag_parts(self._recorder, estimator, fitted.flow, fitted.features)
        if result is not estimator:
            self._recorder.tag(result, fitted.flow)
        self._note_parameters(estimator, fitted.parameters)
        self._note_features(args[1] if len(args) > 1 else kwargs.get("X"), fitted.features)
        if self._recorder.rows:
            from lodeline.capture.row_tracking import note_fit

            note_fit(estimator, args[1] if len(args) > 1 else kwargs.get("X"))

    def _note_parameters(self, estimator: Any, parameters: dict[str, Any]) -> None:
        kind = type(estimator).__name__
        for name, value in parameters.items():
            if isinstance(value, str) and value.startswith("<"):
                continue
            self._recorder.param(f"{kind}.{name}", value)
            if name.endswith("random_state"):
                self._recorder.seed(f"{kind}.{name}", value)

    def _note_features(self, table: Any, features: list[str]) -> None:
        """Plain columns that reach a fit are features: defined by their dataset and name."""
        flow = self._recorder.flow_of(table)
        sources = self._recorder.flow.datasets(flow)
        if not features or len(sources) != 1:
            return
        types = getattr(table, "dtypes", None)
        kinds = [str(kind) for kind in types] if types is not None else [""] * len(features)
        self._recorder.features(sources[0], dict(zip(features, kinds, strict=False)))

    def _after_prediction(
        self, method: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        serving = sys.modules.get("lodeline.capture.serving")
        if serving is not None:
            table = args[1] if len(args) > 1 else kwargs.get("X")
            serving.observe_call(args[0], method, table, result)
        self.after_use(result, args, kwargs)

    def after_use(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        estimator = args[0]
        flow = self._recorder.flow_of(*args[1:], *kwargs.values(), data=True)
        fitted = find_fitted(estimator)
        flow |= fitted.flow if fitted is not None else self._recorder.flow.unknown()
        self._recorder.tag(result, flow)

    def after_score(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del kwargs
        self._recorder.metric(f"{type(args[0]).__name__}.score", plain(result))

    def after_split(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for index, part in enumerate(result):
            self._recorder.tag(part, self._recorder.flow_of(args[index // 2]))
        facet: dict[str, Any] = {"method": "train_test_split"}
        size = kwargs.get("test_size")
        total = len(args[0]) if args else 0
        if total and len(result) > 1:
            facet["count"] = len(result[0])
            facet["fraction"] = len(result[0]) / total
        criteria = {"test_size": size, "train_size": kwargs.get("train_size")}
        criteria |= {"shuffle": kwargs.get("shuffle", True)}
        criteria["stratified"] = kwargs.get("stratify") is not None
        stated = [f"{name}={plain(value)}" for name, value in criteria.items() if value is not None]
        facet["criteria"] = ", ".join(stated)
        seed = plain(kwargs.get("random_state"))
        if isinstance(seed, int):
            facet["seed"] = seed
            self._recorder.seed("train_test_split.random_state", seed)
        for source in self._recorder.flow.datasets(self._recorder.flow_of(*args)):
            self._recorder.read(source, input_facets={"lodeline_sampling": facet})

    def after_cross_validation(
        self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        del kwargs
        kind = type(args[0]).__name__ if args else "estimator"
        self._recorder.metric(f"{kind}.cross_val_score", plain([float(value) for value in result]))


class _MetricDoor:
    """Records what a function of `sklearn.metrics` gave, by its name."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        self._recorder = recorder
        self._name = name

    def __call__(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args, kwargs
        value = plain(result)
        if isinstance(value, (int, float)):
            self._recorder.metric(self._name, value)


def _columns(table: Any) -> list[str]:
    columns = getattr(table, "columns", None)
    return [] if columns is None else [str(name) for name in columns]


def _tag_parts(recorder: Recorder, estimator: Any, flow: int, features: list[str]) -> None:
    """The parts of a fitted estimator that programs dump: the best of a search, a last step."""
    for name in ("best_estimator_", "estimator_", "_final_estimator"):
        part = getattr(estimator, "__dict__", {}).get(name)
        if part is None or isinstance(part, str):
            continue
        fitted = note_fitted(part)
        if fitted is not None:
            fitted.flow, fitted.features = flow, list(features)
            recorder.tag(part, flow)
