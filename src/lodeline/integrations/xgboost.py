"""XGBoost: its own tables and boosters; its estimators are scikit-learn's to that adapter.

A `DMatrix` comes from what it was made of, or from the file that it reads by itself. A table that
is fed piece by piece (`DataIter`, external memory) may hold anything read so far.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from lodeline.capture.boosters import (
    adopt,
    note_scores,
    note_trained,
    record_loaded,
    record_saved,
    stopping_data,
    tag_prediction,
)
from lodeline.capture.datasets import find_dataset
from lodeline.capture.flow import BOUND
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.values import plain

_PATHS: Final = (str, os.PathLike)


class XgboostIntegration:
    """XGBoost 2.1 and 3."""

    name = "xgboost"
    supports = "xgboost>=2.1,<4"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch tables, training, files and predictions."""
        import xgboost
        from xgboost import callback, core, sklearn, training

        patches = Patches("xgboost")
        observer = _Observer(recorder)
        for name in ("DMatrix", "QuantileDMatrix", "ExtMemQuantileDMatrix"):
            kind = getattr(core, name, None)
            if kind is not None:
                patches.outermost(kind, "__init__", observer.after_table)
        for owner in (xgboost, training):
            patches.outermost(owner, "train", observer.after_train)
            patches.outermost(owner, "cv", observer.after_cross_validation)
        patches.door(callback.CallbackContainer, "after_training", observer.after_training)
        patches.outermost(core.DMatrix, "slice", observer.after_slice)
        patches.door(core.DMatrix, "save_binary", observer.after_save_table)
        patches.after(core.Booster, "dump_model", observer.after_dump)
        for kind in (core.Booster, sklearn.XGBModel):
            patches.door(kind, "save_model", observer.after_save)
            patches.door(kind, "load_model", observer.after_load)
        for name in ("predict", "inplace_predict"):
            patches.outermost(core.Booster, name, observer.after_predict)
        patches.outermost(sklearn.XGBModel, "get_booster", observer.after_booster)
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def after_table(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A table comes from its data, labels and weights."""
        del result
        data = args[1] if len(args) > 1 else kwargs.get("data")
        if isinstance(data, _PATHS):
            # `train.csv?format=csv#cache` reads train.csv.
            text = os.fsdecode(data).partition("#")[0].partition("?")[0]
            dataset = find_dataset(text)
            flow = self._recorder.flow.unknown() if dataset is None else 0
            flow |= 0 if dataset is None else self._recorder.read(dataset)
        elif any(kind.__name__ == "DataIter" for kind in type(data).__mro__):
            flow = self._recorder.flow.unknown() | BOUND
        else:
            flow = self._recorder.flow_of(*args[1:], *kwargs.values(), data=True)
        self._recorder.tag(args[0], flow)
        if self._recorder.rows:
            from lodeline.capture.booster_rows import note_table

            note_table(args[0], data, kwargs.get("weight"))

    def after_slice(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Rows of a table come from where the table does."""
        self._recorder.tag(result, self._recorder.flow_of(args[0]))
        if self._recorder.rows:
            from lodeline.capture.booster_rows import note_part

            note_part(result, args[0], args[1] if len(args) > 1 else kwargs["rindex"])

    def after_save_table(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Native code wrote a table in XGBoost's own format."""
        del result
        dataset = find_dataset(args[1] if len(args) > 1 else kwargs.get("fname"))
        if dataset is not None:
            self._recorder.write(dataset, flow=self._recorder.flow_of(args[0]))

    def after_dump(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A model was written for people to read; native code read the names of its features."""
        del result
        names = args[2] if len(args) > 2 else kwargs.get("fmap")
        source = find_dataset(names) if names else None
        if source is not None:
            self._recorder.read(source)
        target = find_dataset(args[1] if len(args) > 1 else kwargs.get("fout"))
        if target is not None:
            flow = self._recorder.flow_of(args[0])
            flow |= 0 if source is None else self._recorder.flow.note_read(source)
            self._recorder.write(target, flow=flow)

    def after_train(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record a training: its settings and what it learned from."""
        table = args[1] if len(args) > 1 else kwargs.get("dtrain")
        settings = dict(args[0] if args else kwargs.get("params") or {})
        settings["num_boost_round"] = args[2] if len(args) > 2 else kwargs.get("num_boost_round")
        flow = self._recorder.flow_of(table, kwargs.get("xgb_model"))
        if kwargs.get("early_stopping_rounds"):
            # Where it stopped depends on them.
            flow |= self._recorder.flow_of([pair[0] for pair in kwargs.get("evals") or ()])
            settings["early_stopping_rounds"] = kwargs["early_stopping_rounds"]
        note_trained(
            self._recorder,
            result,
            flow=flow,
            features=result.feature_names or (),
            settings={name: value for name, value in settings.items() if value is not None},
            title="xgboost",
        )
        if self._recorder.rows:
            self._note_rows(result, table, kwargs)

    def _note_rows(self, booster: Any, table: Any, kwargs: dict[str, Any]) -> None:
        from lodeline.capture.booster_rows import note_training

        watched, own = stopping_data(kwargs.get("callbacks"), kwargs.get("early_stopping_rounds"))
        evals = list(kwargs.get("evals") or ())
        gaps = [] if own is None or not evals else [("fit", f"what {own} decides by is its own")]
        # Without a name it is the last one.
        places = [len(evals) - 1 if name is None else _place(evals, name) for name in watched]
        note_training(
            booster,
            table,
            weights=table.get_weight(),
            deciding=[
                (evals[place][0], f"early stopping by eval_set {place + 1}")
                for place in sorted(set(places))
                if place >= 0 and evals[place][0] is not table
            ],
            before=kwargs.get("xgb_model"),
            gaps=gaps,
        )

    def after_training(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record the evaluations of a training, and where it stopped."""
        del kwargs
        if getattr(args[0], "is_cv", False):
            return
        note_scores(self._recorder, "xgboost", getattr(args[0], "history", {}))
        best = result.attr("best_iteration") if hasattr(result, "attr") else None
        if best is not None:
            self._recorder.metric("xgboost.best_iteration", int(best))

    def after_cross_validation(
        self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Record a cross-validation: how rows were divided, and the last scores."""
        table = args[1] if len(args) > 1 else kwargs.get("dtrain")
        flow = self._recorder.flow_of(table)
        seed, folds = kwargs.get("seed", 0), kwargs.get("nfold", 3)
        criteria = f"nfold={folds}, stratified={kwargs.get('stratified', False)}"
        facet = {"method": "xgboost.cv", "criteria": criteria, "seed": seed}
        self._recorder.seed("xgboost.cv", seed)
        if not flow & BOUND:
            for source in self._recorder.flow.datasets(flow):
                self._recorder.read(source, input_facets={"lodeline_sampling": facet})
        for name in result:
            values = result[name]
            last = values[-1] if isinstance(values, list) else values.iloc[-1]
            self._recorder.metric(f"xgboost.cv.{name}", plain(last))
        if self._recorder.flow.is_data(result):
            self._recorder.tag(result, flow)

    def after_save(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record that a model was written."""
        del result
        target = args[1] if len(args) > 1 else kwargs.get("fname")
        told = _format(target)
        record_saved(self._recorder, args[0], target, features=_features(args[0]), file_format=told)

    def after_load(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record that a model was read."""
        del result
        target = args[1] if len(args) > 1 else kwargs.get("fname")
        told = _format(target)
        record_loaded(
            self._recorder, args[0], target, features=_features(args[0]), file_format=told
        )

    def after_predict(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A prediction comes from the booster and its table."""
        tables = args[1:2] or (kwargs.get("data"),)
        tag_prediction(self._recorder, args[0], tables, result)

    def after_booster(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An estimator's booster is its own."""
        del kwargs
        adopt(self._recorder, result, args[0], result.feature_names or ())


def _place(evals: list[Any], name: str) -> int:
    return next((place for place, (_, told) in enumerate(evals) if told == name), -1)


def _features(model: Any) -> list[str]:
    booster = getattr(model, "_Booster", model)
    return [str(name) for name in getattr(booster, "feature_names", None) or ()]


def _format(target: Any) -> str:
    text = os.fsdecode(target) if isinstance(target, _PATHS) else ""
    return "xgboost-json" if text.endswith(".json") else "xgboost-ubj"
