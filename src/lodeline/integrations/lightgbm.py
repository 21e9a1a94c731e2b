"""LightGBM: its own tables and boosters; its estimators are scikit-learn's to that adapter.

A `Dataset` comes from what it was made of, or from the file that it reads by itself when it is
first used; it is told of as read when it is made.
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
    tag_prediction,
)
from lodeline.capture.datasets import find_dataset
from lodeline.capture.flow import BOUND
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.values import plain

_PATHS: Final = (str, os.PathLike)


class LightgbmIntegration:
    """LightGBM 4."""

    name = "lightgbm"
    supports = "lightgbm>=4.0,<5"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch tables, training, files and predictions."""
        import lightgbm
        from lightgbm import basic, engine

        patches = Patches("lightgbm")
        observer = _Observer(recorder)
        patches.outermost(basic.Dataset, "__init__", observer.after_table)
        for name in ("subset", "create_valid"):
            patches.outermost(basic.Dataset, name, observer.after_derived)
        if recorder.rows:
            patches.after(basic.Dataset, "construct", observer.after_copied)
            patches.door(basic.Dataset, "add_features_from", observer.after_joined)
        patches.door(basic.Dataset, "save_binary", observer.after_binary)
        for owner in (lightgbm, engine):
            patches.outermost(owner, "train", observer.after_train)
            patches.outermost(owner, "cv", observer.after_cross_validation)
        patches.door(basic.Booster, "save_model", observer.after_save)
        patches.door(basic.Booster, "__init__", observer.after_booster_made)
        patches.outermost(basic.Booster, "predict", observer.after_predict)
        estimator = getattr(lightgbm, "LGBMModel", None)
        if estimator is not None:
            patches.outermost(estimator, "booster_", observer.after_booster)
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def after_table(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A table comes from its data, labels and weights."""
        del result
        data = args[1] if len(args) > 1 else kwargs.get("data")
        dataset = find_dataset(data) if isinstance(data, _PATHS) else None
        if dataset is not None:
            flow = self._recorder.read(dataset)
        elif any(kind.__name__ == "Sequence" for kind in type(data).__mro__):
            flow = self._recorder.flow.unknown() | BOUND
        else:
            named = [kwargs[key] for key in ("label", "weight", "init_score") if key in kwargs]
            flow = self._recorder.flow_of(data, *args[2:], *named, data=True)
        self._recorder.tag(args[0], flow)
        if self._recorder.rows:
            from lodeline.capture.booster_rows import note_table

            weights = args[4] if len(args) > 4 else kwargs.get("weight")
            note_table(args[0], data, weights, copied=False)

    def after_copied(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A table was made of what it was given."""
        del result, kwargs
        from lodeline.capture.booster_rows import note_copied

        note_copied(args[0])

    def after_joined(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A table took the columns of another."""
        del result, kwargs
        from lodeline.capture.booster_rows import lose_table

        lose_table(args[0], "add_features_from", "rows of two tables are not followed")

    def after_derived(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Rows of a table, or one like it, come from what they are made of."""
        flow = self._recorder.flow_of(*args[1:], *kwargs.values(), data=True)
        if not flow or not self._recorder.flow.is_data(args[1] if len(args) > 1 else None):
            flow |= self._recorder.flow_of(args[0])
        self._recorder.tag(result, flow)
        if self._recorder.rows:
            from lodeline.capture.booster_rows import note_part, note_table

            if "used_indices" in kwargs or getattr(result, "used_indices", None) is not None:
                note_part(result, args[0], result.used_indices)
            else:
                data = args[1] if len(args) > 1 else kwargs.get("data")
                weights = args[3] if len(args) > 3 else kwargs.get("weight")
                note_table(result, data, weights, copied=False)

    def after_binary(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record that a table was written."""
        del result
        dataset = find_dataset(args[1] if len(args) > 1 else kwargs.get("filename"))
        if dataset is not None:
            self._recorder.write(dataset, flow=self._recorder.flow_of(args[0]))

    def after_train(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record a training: its settings, its scores and what it learned from."""
        table = args[1] if len(args) > 1 else kwargs.get("train_set")
        settings = dict(args[0] if args else kwargs.get("params") or {})
        settings["num_boost_round"] = args[2] if len(args) > 2 else kwargs.get("num_boost_round")
        checks = args[3] if len(args) > 3 else kwargs.get("valid_sets")
        flow = self._recorder.flow_of(table, kwargs.get("init_model"))
        if getattr(result, "best_iteration", 0) and result.best_iteration > 0:
            # Where it stopped depends on them.
            flow |= self._recorder.flow_of(checks)
            self._recorder.metric("lightgbm.best_iteration", int(result.best_iteration))
        note_trained(
            self._recorder,
            result,
            flow=flow,
            features=result.feature_name(),
            settings={name: value for name, value in settings.items() if value is not None},
            title="lightgbm",
        )
        note_scores(self._recorder, "lightgbm", result.best_score or {})
        if self._recorder.rows:
            self._note_rows(result, table, checks, args, kwargs)

    def _note_rows(
        self,
        booster: Any,
        table: Any,
        checks: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        from lodeline.capture.booster_rows import note_training

        # One table may be given without a list.
        tables = checks if isinstance(checks, (list, tuple)) else [] if checks is None else [checks]
        stopped = getattr(booster, "best_iteration", 0) > 0
        own = [one for one in kwargs.get("callbacks") or () if not _is_its_own(one)]
        gaps = []
        if own and tables:
            name = getattr(own[0], "__qualname__", type(own[0]).__qualname__)
            gaps = [("fit", f"what {name} decides by is its own")]
        note_training(
            booster,
            table,
            weights=table.get_weight(),
            deciding=[
                (one, f"early stopping by eval_set {number}")
                for number, one in enumerate(tables, start=1)
                # It never stops by the table that it learns from.
                if stopped and one is not table
            ],
            before=kwargs.get("init_model", args[6] if len(args) > 6 else None),
            gaps=gaps,
        )

    def after_cross_validation(
        self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Record a cross-validation: how rows were divided, and the last scores."""
        table = args[1] if len(args) > 1 else kwargs.get("train_set")
        flow = self._recorder.flow_of(table)
        seed = kwargs.get("seed", 0)
        stated = {"nfold": 5, "stratified": True, "shuffle": True} | {
            name: kwargs[name] for name in ("nfold", "stratified", "shuffle") if name in kwargs
        }
        criteria = ", ".join(f"{name}={plain(value)}" for name, value in stated.items())
        facet = {"method": "lightgbm.cv", "criteria": criteria, "seed": seed}
        self._recorder.seed("lightgbm.cv", seed)
        if not flow & BOUND:
            for source in self._recorder.flow.datasets(flow):
                self._recorder.read(source, input_facets={"lodeline_sampling": facet})
        for name, values in result.items():
            if isinstance(values, list) and values:
                self._recorder.metric(f"lightgbm.cv.{name}", plain(values[-1]))

    def after_save(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record that a model was written."""
        del result
        target = args[1] if len(args) > 1 else kwargs.get("filename")
        features = args[0].feature_name()
        record_saved(
            self._recorder, args[0], target, features=features, file_format="lightgbm-text"
        )

    def after_booster_made(
        self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """A booster that is made of a file was loaded."""
        del result
        target = kwargs.get("model_file", args[3] if len(args) > 3 else None)
        if target is not None:
            features = args[0].feature_name()
            record_loaded(
                self._recorder, args[0], target, features=features, file_format="lightgbm-text"
            )

    def after_predict(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A prediction comes from the booster and its table, or the file that it names."""
        table = args[1] if len(args) > 1 else kwargs.get("data")
        dataset = find_dataset(table) if isinstance(table, _PATHS) else None
        if dataset is not None:
            self._recorder.read(dataset)
        tag_prediction(self._recorder, args[0], (table,), result)

    def after_booster(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An estimator's booster is its own."""
        del kwargs
        adopt(self._recorder, result, args[0], result.feature_name())


def _is_its_own(callback: Any) -> bool:
    module = getattr(callback, "__module__", None) or type(callback).__module__
    return str(module).startswith("lightgbm.")
