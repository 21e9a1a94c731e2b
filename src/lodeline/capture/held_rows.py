"""Rows that scikit-learn's own estimators hold back to decide when to stop.

With `early_stopping` or `n_iter_no_change` an estimator divides the rows that it is given: it
learns from one part, and stops by its score on the other (`validation_fraction`). Row numbers are
divided along with them, where it does so, by the very call.
"""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any, Final

from lodeline.capture.patches import Patches
from lodeline.capture.recorder import RECORDER

# Modules whose estimators divide by `train_test_split`; the last has a method of its own.
_DIVIDING: Final = (
    "sklearn.ensemble._gb",
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting",
    "sklearn.neural_network._multilayer_perceptron",
)
_MASKING: Final = "sklearn.linear_model._stochastic_gradient"

Held = tuple[Any, Any]


class HeldRows(threading.local):
    """What was divided inside the fit that runs."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._divided = 0
        self._last: tuple[int, Any, Any] | None = None

    def watch(self) -> None:
        """Observe divisions once their modules are imported."""
        from lodeline.capture.process import ADAPTERS

        for name in _DIVIDING:
            ADAPTERS.when_imported(name, self._patch_division)
        ADAPTERS.when_imported(_MASKING, self._patch_mask)

    def _patch_division(self, module: ModuleType) -> None:
        original = vars(module).get("train_test_split")
        if original is None:
            return
        held = self

        def lodeline(*arrays: Any, **options: Any) -> Any:
            import numpy as np

            count = len(arrays[0]) if isinstance(arrays[0], list) else arrays[0].shape[0]
            # One permutation serves all arrays of a call, so one array more changes nothing.
            parts = original(*arrays, np.arange(count), **options)
            held.note(count, parts[-2], parts[-1])
            return parts[:-2]

        self._patches.replace(module, "train_test_split", self._patches.finish(lodeline, original))

    def _patch_mask(self, module: ModuleType) -> None:
        self._patches.after(module.BaseSGD, "_make_validation_split", self._after_mask)

    def _after_mask(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args, kwargs
        import numpy as np

        mask = np.asarray(result, bool)
        if mask.any():
            self.note(len(mask), np.flatnonzero(~mask), np.flatnonzero(mask))

    def note(self, count: int, learned: Any, held: Any) -> None:
        """Keep how so many rows were divided."""
        if RECORDER.local.state.depth:
            self._divided += 1
            self._last = (count, learned, held)

    def taken(self, estimator: Any, rows: int) -> tuple[Held | None, str]:
        """Tell how a fit that ended divided its rows.

        Args:
            estimator: that was fitted.
            rows: how many it was given.

        Returns:
            Row numbers learned from, and those that decided when to stop; what is not known.
        """
        times, last = self._divided, self._last
        self._divided, self._last = 0, None
        inner, steps = _inner(estimator)
        if not _stops(inner):
            told = "which rows only decided when a part of it was to stop is unknown"
            return None, told if times else ""
        import numpy as np

        # A search divides for each candidate and fold, and last for the one that it keeps.
        searched = hasattr(estimator, "best_estimator_")
        if last is None or last[0] != rows or (times != 1 and not searched):
            return None, "which rows only decided when to stop is unknown"
        # What stands before it in a pipeline learned from all rows.
        return (np.arange(rows) if steps else np.sort(last[1]), np.sort(last[2])), ""


def _inner(estimator: Any) -> tuple[Any, bool]:
    """Give the estimator that learns, of a search or a pipeline, and whether others went before."""
    inner = getattr(estimator, "best_estimator_", estimator)
    steps = getattr(inner, "steps", None)
    return (inner, False) if not steps else (steps[-1][1], len(steps) > 1)


def _stops(estimator: Any) -> bool:
    module = type(estimator).__module__
    if module not in {*_DIVIDING, _MASKING} and not any(
        kind.__module__ in {*_DIVIDING, _MASKING} for kind in type(estimator).__mro__
    ):
        return False
    done = getattr(estimator, "do_early_stopping_", None)
    if done is not None:
        return bool(done) and getattr(estimator, "validation_fraction", None) is not None
    if module == _DIVIDING[0]:
        return getattr(estimator, "n_iter_no_change", None) is not None
    return getattr(estimator, "early_stopping", False) is True
