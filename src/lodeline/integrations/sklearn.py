"""scikit-learn: every estimator's fit, predict, transform and score; splits and folds; metrics.

`BaseEstimator.__init_subclass__` tells of each class when it is made, scikit-learn's own and
other libraries' alike, so an inherited `fit` is wrapped where it is defined and nothing is listed.
A call inside another estimator's call (a pipeline's steps, a search's candidates) is part of that
one and passes through, in a worker process, too.

How rows are drawn is seen at the splitters: what each `split` yields is counted and digested on its
way to whoever asked, be it the program's own loop or a search.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from lodeline.capture.datasets import file_dataset
from lodeline.capture.flow import BOUND
from lodeline.capture.held_rows import HeldRows
from lodeline.capture.models import find_fitted, note_fitted, parameters_of
from lodeline.capture.patches import After, Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.values import plain
from lodeline.limits import FOLD_ROWS_DIGESTED_MAX, FOLDS_MAX, METRIC_REPEATS_MAX

_FITS: Final = frozenset({"fit", "partial_fit", "fit_transform", "fit_predict", "fit_resample"})
_USES: Final = frozenset(
    {"predict", "predict_proba", "predict_log_proba", "decision_function", "transform"}
    | {"inverse_transform", "score_samples", "kneighbors", "apply"}
)
_SCORES: Final = frozenset({"score"})
_TABLES_OF_METRICS: Final = frozenset(
    {"confusion_matrix", "classification_report", "precision_recall_fscore_support"}
)
_VALIDATIONS: Final = (
    *("cross_val_score", "cross_validate", "cross_val_predict", "permutation_test_score"),
    *("learning_curve", "validation_curve"),
)
# Estimators that call functions of the program's, or make other rows.
_FREE: Final = frozenset({"FunctionTransformer", "PatchExtractor"})
# What a splitter or a sampler chooses rows by.
_CRITERIA: Final = (
    *("n_splits", "n_repeats", "test_size", "train_size", "shuffle", "p", "n_groups"),
    *("max_train_size", "gap", "replace", "n_samples"),
)
# Tables that come with the package: which files each function reads.
_BUNDLED: Final = {
    "load_iris": ("iris.csv",),
    "load_wine": ("wine_data.csv",),
    "load_breast_cancer": ("breast_cancer.csv",),
    "load_digits": ("digits.csv.gz",),
    "load_diabetes": ("diabetes_data_raw.csv.gz", "diabetes_target.csv.gz"),
    "load_linnerud": ("linnerud_exercise.csv", "linnerud_physiological.csv"),
}


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
        self._folds = _Folds(recorder, patches)
        self._metrics = _Metrics(recorder)
        self._held = HeldRows(patches)

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
        after: After = functools.partial(self.after_fit, name) if name in _FITS else self.after_use
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
        """Wrap splits, scores, samplers and bundled data once their modules are imported."""
        from lodeline.capture.process import ADAPTERS

        if self._recorder.rows:
            self._held.watch()
        ADAPTERS.when_imported("sklearn.model_selection", self._patch_selection)
        ADAPTERS.when_imported("sklearn.model_selection._split", self._patch_splitters)
        ADAPTERS.when_imported("sklearn.metrics", self._patch_metrics)
        ADAPTERS.when_imported("sklearn.datasets", self._patch_datasets)
        ADAPTERS.when_imported("sklearn.utils", self._patch_samplers)
        ADAPTERS.when_imported("sklearn.utils.parallel", self._patch_workers)

    def _patch_selection(self, module: Any) -> None:
        if self._recorder.rows:
            from lodeline.capture.frame_rows import follow_split

            follow_split(module, self._patches)
        self._patches.outermost(module, "train_test_split", self.after_split)
        for name in _VALIDATIONS:
            after = functools.partial(self.after_cross_validation, name)
            self._patches.outermost(module, name, after)

    def _patch_splitters(self, module: Any) -> None:
        for kind in list(vars(module).values()):
            if isinstance(kind, type) and callable(vars(kind).get("split")):
                owner: type = kind
                self._patches.wrap(
                    owner, "split", vars(owner)["split"], functools.partial(self._split, owner)
                )

    def _split(self, owner: type, original: Any) -> Any:
        folds = self._folds

        def lodeline(self: Any, *args: Any, **kwargs: Any) -> Any:
            found = original(self, *args, **kwargs)
            # Splitters call the `split` they inherit: the first one on the way is the program's.
            first = next((k for k in type(self).__mro__ if "split" in vars(k)), None)
            if first is not owner:
                return found
            return folds.watch(found, self, args[0] if args else kwargs.get("X"))

        return lodeline

    def _patch_metrics(self, module: Any) -> None:
        for name in dir(module):
            ends = name.endswith(("_score", "_loss", "_error", "_deviance"))
            if ends or name == "auc" or name in _TABLES_OF_METRICS:
                self._patches.outermost(module, name, functools.partial(self.after_metric, name))

    def _patch_samplers(self, module: Any) -> None:
        if self._recorder.rows:
            from lodeline.capture.frame_rows import follow_drawing

            for name in ("resample", "shuffle"):
                follow_drawing(module, name, 1, self._patches)
        for name in ("resample", "shuffle"):
            self._patches.outermost(module, name, functools.partial(self.after_sample, name))

    def _patch_workers(self, module: Any) -> None:
        # What a worker process does for a search or an ensemble is part of that one.
        tasks = getattr(module, "_FuncWrapper", None)
        if tasks is not None:
            self._patches.outermost(tasks, "__call__", lambda *_: None)

    def _patch_datasets(self, module: Any) -> None:
        folder = os.path.join(os.path.dirname(module.__file__), "data")
        for name, files in _BUNDLED.items():
            after = functools.partial(self.after_bundled, folder, files)
            self._patches.outermost(module, name, after)
        self._patches.outermost(module, "load_svmlight_file", self.after_file)
        for name in dir(module):
            if name.startswith("make_"):
                self._patches.outermost(module, name, functools.partial(self.after_made, name))

    def after_fit(
        self, method: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Record a fit: what it learned from, and how."""
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
        weights = _weights_of(estimator, method, args, kwargs)
        if weights is not None:
            self._recorder.param(f"{type(estimator).__name__}.fit.sample_weight", True)
        folds = self._folds.taken(args[1] if len(args) > 1 else kwargs.get("X"))
        if hasattr(estimator, "best_params_"):
            self._note_search(estimator, folds, flow)
        self._note_features(args[1] if len(args) > 1 else kwargs.get("X"), fitted.features)
        if self._recorder.rows:
            from lodeline.capture.row_tracking import note_aligned

            table = args[1] if len(args) > 1 else kwargs.get("X")
            self._note_rows(estimator, method, table, weights, kwargs)
            if result is not estimator and _keeps_rows(estimator):
                note_aligned(result, table, f"{type(estimator).__name__}.fit_transform")

    def _note_rows(
        self, estimator: Any, method: str, table: Any, weights: Any, kwargs: dict[str, Any]
    ) -> None:
        """Remember which rows a fit learned from, and which decided something beside."""
        from lodeline.capture.row_tracking import note_fit

        pairs: list[Any] = []
        if getattr(estimator, "n_splits_", 0) == len(self._folds.rows):
            pairs = self._folds.rows
        folds = [
            (test, f"validated, fold {number} of {len(pairs)}")
            for number, (_, test) in enumerate(pairs, start=1)
        ]
        held, unknown = None, ""
        if kwargs.get("X_val") is None and hasattr(table, "shape"):
            held, unknown = self._held.taken(estimator, int(table.shape[0]))
        again = method == "partial_fit" or bool(getattr(estimator, "warm_start", False))
        for one in (estimator, getattr(estimator, "best_estimator_", None)):
            if one is not None:
                note_fit(
                    one,
                    table,
                    weights=weights,
                    folds=folds,
                    others=_stopping_sets(estimator, table, kwargs),
                    held=held,
                    unknown=unknown,
                    again=again and one is estimator,
                )

    def _note_parameters(self, estimator: Any, parameters: dict[str, Any]) -> None:
        kind = type(estimator).__name__
        for name, value in parameters.items():
            if isinstance(value, str) and value.startswith("<"):
                continue
            self._recorder.param(f"{kind}.{name}", value)
            if name.endswith("random_state"):
                self._recorder.seed(f"{kind}.{name}", value)

    def _note_search(self, search: Any, folds: list[dict[str, Any]], flow: int) -> None:
        """What a search over parameters chose, of how many, by which folds."""
        kind = type(search).__name__
        self._recorder.param(f"{kind}.best_params", plain(search.best_params_))
        results = getattr(search, "cv_results_", {})
        self._recorder.param(f"{kind}.candidates", len(results.get("params", ())))
        best = getattr(search, "best_index_", None)
        if best is not None:
            names = [name for name in results if name.startswith("split")][:FOLDS_MAX]
            scores = {name: plain(results[name][best]) for name in names}
            self._metrics.note(f"{kind}.best_folds", scores)
        if hasattr(search, "best_score_"):
            self._metrics.note(f"{kind}.best_score", plain(search.best_score_))
        self._folds.tell(folds, flow)

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
        if self._recorder.rows and _keeps_rows(estimator):
            from lodeline.capture.row_tracking import note_aligned

            table = args[1] if len(args) > 1 else kwargs.get("X")
            note_aligned(result, table, type(estimator).__name__)

    def after_score(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del kwargs
        self._metrics.note(f"{type(args[0]).__name__}.score", plain(result))

    def after_metric(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Record what a function of `sklearn.metrics` gave, by its name."""
        del args, kwargs
        if not isinstance(result, str):
            self._metrics.note(name, _listed(result))

    def after_split(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for index, part in enumerate(result):
            self._recorder.tag(part, self._recorder.flow_of(args[index // 2]))
        facet: dict[str, Any] = {"method": "train_test_split"}
        total = len(args[0]) if args else 0
        if total and len(result) > 1:
            facet["count"] = len(result[0])
            facet["fraction"] = len(result[0]) / total
        criteria = {"test_size": kwargs.get("test_size"), "train_size": kwargs.get("train_size")}
        criteria |= {"shuffle": kwargs.get("shuffle", True)}
        criteria["stratified"] = kwargs.get("stratify") is not None
        facet["criteria"] = _stated(criteria)
        inner = self._folds.taken()
        if inner and "folds" in inner[-1]:
            facet["folds"] = inner[-1]["folds"]
        self._add_seed(facet, "train_test_split", kwargs.get("random_state"))
        self._folds.tell([facet], self._recorder.flow_of(*args))

    def after_sample(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Record `resample` and `shuffle`: each result comes from the table in its place."""
        parts = list(result) if len(args) > 1 else [result]
        for table, part in zip(args, parts, strict=False):
            self._recorder.tag(part, self._recorder.flow_of(table, data=True))
        criteria = {key: kwargs.get(key) for key in _CRITERIA}
        criteria["stratified"] = True if kwargs.get("stratify") is not None else None
        facet: dict[str, Any] = {"method": name, "criteria": _stated(criteria)}
        if parts and hasattr(parts[0], "__len__"):
            facet["count"] = len(parts[0])
        self._add_seed(facet, name, kwargs.get("random_state"))
        self._folds.tell([facet], self._recorder.flow_of(*args, data=True))

    def _add_seed(self, facet: dict[str, Any], name: str, seed: Any) -> None:
        seed = plain(seed)
        if isinstance(seed, int):
            facet["seed"] = seed
            self._recorder.seed(f"{name}.random_state", seed)

    def after_cross_validation(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Record the scores of a cross-validation, its folds, and where what it gives came from."""
        estimator = args[0] if args else kwargs.get("estimator")
        tables = (*args[1:], *(kwargs[key] for key in ("X", "y") if key in kwargs))
        flow = self._recorder.flow_of(*tables, data=True)
        title = f"{type(estimator).__name__}.{name}"
        if name == "cross_val_predict":
            self._recorder.tag(result, flow)
        elif isinstance(result, Mapping):
            for key, values in result.items():
                if "score" in key:
                    self._metrics.note(f"{title}.{key}", _listed(values))
            self._note_folds(result.get("estimator", ()), tables[0] if tables else None)
            for part in result.get("estimator", ()):
                _tag_part(self._recorder, part, flow, _columns(tables[0] if tables else None))
        elif name.endswith("_score"):
            self._metrics.note(title, _listed(result))
        self._folds.tell(self._folds.taken(tables[0] if tables else None), flow)

    def _note_folds(self, estimators: Any, table: Any) -> None:
        """Each estimator of a cross-validation was fitted on the rows of its fold."""
        folds = self._folds.rows
        if not self._recorder.rows or not estimators or len(folds) != len(estimators):
            return
        from lodeline.capture.row_tracking import note_folds

        for number, (estimator, (train, test)) in enumerate(zip(estimators, folds, strict=True)):
            place = f"fold {number + 1} of {len(folds)}"
            note_folds(estimator, table, [(train, f"fit, {place}"), (test, f"validated, {place}")])

    def after_bundled(
        self,
        folder: str,
        files: tuple[str, ...],
        result: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """A table that comes with the package was read from its files there."""
        del args, kwargs
        flow = 0
        for file in files:
            path = os.path.join(folder, file)
            if os.path.exists(path):
                flow |= self._recorder.read(file_dataset(path))
        _tag_members(self._recorder, result, flow)

    def after_file(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Sparse rows and their labels come from their file."""
        source = args[0] if args else kwargs.get("f")
        dataset = self._recorder.find_source(source)
        flow = self._recorder.flow.unknown() if dataset is None else self._recorder.read(dataset)
        _tag_members(self._recorder, result, flow)

    def after_made(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Data that was made of random numbers comes from nowhere else."""
        del args
        seed = kwargs.get("random_state")
        if isinstance(seed, int):
            self._recorder.seed(f"{name}.random_state", seed)
        _tag_members(self._recorder, result, 0)


class _Metrics:
    """Metrics by name; where one is measured again, each value and the last."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seen: dict[str, tuple[int, object]] = {}

    def note(self, name: str, value: object) -> None:
        count, first = self._seen.get(name, (0, value))
        self._seen[name] = (count + 1, first)
        if count == 1:
            self._recorder.metric(f"{name}.1", first)
        if 0 < count < METRIC_REPEATS_MAX:
            self._recorder.metric(f"{name}.{count + 1}", value)
        self._recorder.metric(name, value)


class _Folds(threading.local):
    """What splitters yielded. Inside an observed call it waits for that call's end."""

    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._waiting: list[dict[str, Any]] = []
        self.rows: list[Any] = []
        patches.hide(_Folds._iter.__code__)

    def watch(self, found: Iterator[Any], splitter: Any, table: Any) -> Iterator[Any]:
        """Give what `split` gave, as it comes, and tell of it at the end."""
        folds: list[dict[str, Any]] = []
        self.rows = []
        return self._iter(found, folds, functools.partial(self._end, splitter, table, folds))

    def _iter(
        self, found: Iterator[Any], folds: list[dict[str, Any]], end: Callable[[], None]
    ) -> Iterator[Any]:
        try:
            for pair in found:
                self._count(pair, folds)
                yield pair
        finally:
            end()

    def _count(self, pair: Any, folds: list[dict[str, Any]]) -> None:
        try:
            if len(folds) < FOLDS_MAX:
                train, test = pair
                if self._recorder.rows:
                    self.rows.append((train, test))
                fold = {"train": len(train), "test": len(test)}
                folds.append(fold | _digest_of(train, test))
        except Exception as error:  # capture's outermost door
            self._recorder.trouble("sklearn.split", error)

    def _end(self, splitter: Any, table: Any, folds: list[dict[str, Any]]) -> None:
        try:
            if folds:
                self._add(splitter, table, folds)
        except Exception as error:  # capture's outermost door
            self._recorder.trouble("sklearn.split", error)

    def _add(self, splitter: Any, table: Any, folds: list[dict[str, Any]]) -> None:
        kind = type(splitter).__name__
        criteria = {name: getattr(splitter, name, None) for name in _CRITERIA}
        facet: dict[str, Any] = {"method": kind, "criteria": _stated(criteria), "folds": folds}
        if hasattr(table, "__len__"):
            facet["count"] = len(table)
        seed = plain(getattr(splitter, "random_state", None))
        if isinstance(seed, int):
            facet["seed"] = seed
        if self._recorder.local.state.depth:
            # A call inside an estimator's call: only that one knows whether it is worth telling.
            self._waiting = [*self._waiting[1 - FOLDS_MAX :], facet]
            return
        self.tell([facet], self._recorder.flow_of(table, data=True))

    def taken(self, table: Any = None) -> list[dict[str, Any]]:
        """What was yielded inside the call that ended.

        Args:
            table: splits of another number of rows are of parts inside, and left out.
        """
        waiting, self._waiting = self._waiting, []
        if table is None or not hasattr(table, "__len__"):
            return waiting
        return [facet for facet in waiting if facet.get("count", len(table)) == len(table)]

    def tell(self, facets: list[dict[str, Any]], flow: int) -> None:
        """Record how rows were drawn, at the inputs that they came from."""
        sources = self._recorder.flow.datasets(flow)
        for facet in facets:
            if "seed" in facet:
                self._recorder.seed(f"{facet['method']}.random_state", facet["seed"])
            if flow & BOUND and len(sources) > 1:
                told = "rows were drawn from a table that may have come from any of several inputs"
                self._recorder.gap(str(facet["method"]), "capture", told)
                continue
            for source in sources:
                self._recorder.read(source, input_facets={"lodeline_sampling": facet})


def _weights_of(estimator: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Give the weights of a fit's rows: by name, of a step of a pipeline, or by place."""
    for name, value in kwargs.items():
        if value is not None and (name == "sample_weight" or name.endswith("__sample_weight")):
            return value
    if len(args) > 3:
        names = list(inspect.signature(getattr(type(estimator), method)).parameters)
        if "sample_weight" in names[3 : len(args)]:
            return args[names.index("sample_weight")]
    return None


def _stopping_sets(estimator: Any, table: Any, kwargs: dict[str, Any]) -> list[tuple[Any, str]]:
    """Give the tables by which a booster's fit decided when to stop."""
    tables = [pair[0] for pair in kwargs.get("eval_set") or ()]
    if kwargs.get("X_val") is not None:
        return [(kwargs["X_val"], "early stopping by eval_set 1")]
    if not tables:
        return []
    rounds = kwargs.get("early_stopping_rounds") or getattr(estimator, "early_stopping_rounds", 0)
    best = getattr(estimator, "best_iteration_", 0)
    own = "xgboost" if hasattr(estimator, "get_booster") else "lightgbm"
    if own == "xgboost":
        from lodeline.capture.boosters import stopping_data

        callbacks = kwargs.get("callbacks") or getattr(estimator, "callbacks", None)
        watched, _ = stopping_data(callbacks, rounds)
        # Its tables have the names `validation_0` and so on; without a name it is the last.
        named = {f"validation_{place}": place for place in range(len(tables))}
        places = {named.get(name or "", len(tables) - 1) for name in watched}
    elif rounds or (isinstance(best, int) and best > 0):
        # LightGBM does not stop by the table that it learns from.
        places = {place for place, one in enumerate(tables) if one is not table}
    else:
        places = set()
    return [(tables[place], f"early stopping by eval_set {place + 1}") for place in sorted(places)]


def _digest_of(train: Any, test: Any) -> dict[str, str]:
    if len(train) + len(test) > FOLD_ROWS_DIGESTED_MAX:
        return {}
    import numpy as np

    digest = hashlib.sha256()
    for numbers in (train, test):
        digest.update(np.ascontiguousarray(np.asarray(numbers), dtype="<i8").data)
    return {"digest": f"sha256:{digest.hexdigest()}"}


def _stated(criteria: Mapping[str, Any]) -> str:
    told = [f"{name}={plain(value)}" for name, value in criteria.items() if value is not None]
    return ", ".join(told)


def _listed(value: Any) -> object:
    """A metric's value as plain numbers: arrays as lists, unless they are large."""
    if isinstance(value, tuple):
        return [_listed(member) for member in value]
    listed = getattr(value, "tolist", None)
    size = getattr(value, "size", 1)
    if listed is not None and isinstance(size, int) and size <= METRIC_REPEATS_MAX:
        return plain(listed())
    return plain(value)


def _tag_members(recorder: Recorder, result: Any, flow: int) -> None:
    """A data set as scikit-learn gives it: a bunch, or a tuple, of arrays and frames."""
    members = list(result.values()) if isinstance(result, dict) else result
    for member in members if isinstance(members, (list, tuple)) else [members]:
        if recorder.flow.is_data(member):
            recorder.tag(member, flow)


def _keeps_rows(estimator: Any) -> bool:
    """Whether each row of a result is that of the same row given: so for scikit-learn's own.

    One that calls the program's functions on whole tables may do anything with them.
    """
    parts = [estimator, *estimator.get_params(deep=True).values()]
    kinds = [type(part) for part in parts if hasattr(part, "fit")]
    return all(
        kind.__module__.startswith("sklearn.") and kind.__name__ not in _FREE for kind in kinds
    )


def _columns(table: Any) -> list[str]:
    columns = getattr(table, "columns", None)
    return [] if columns is None else [str(name) for name in columns]


def _tag_parts(recorder: Recorder, estimator: Any, flow: int, features: list[str]) -> None:
    """The parts of a fitted estimator that programs dump: a search's best, a pipeline's steps."""
    own = getattr(estimator, "__dict__", {})
    for name in ("best_estimator_", "estimator_"):
        _tag_part(recorder, own.get(name), flow, features)
    for number, step in enumerate(own.get("steps") or ()):
        # Only the first step saw the columns as they came.
        _tag_part(recorder, step[1], flow, [] if number else features)
    best = own.get("best_estimator_")
    if best is not None and best is not estimator:
        _tag_parts(recorder, best, flow, features)


def _tag_part(recorder: Recorder, part: Any, flow: int, features: list[str]) -> None:
    if part is None or isinstance(part, str):
        return
    fitted = note_fitted(part)
    if fitted is not None:
        fitted.flow, fitted.features = flow, list(features)
        recorder.tag(part, flow)
