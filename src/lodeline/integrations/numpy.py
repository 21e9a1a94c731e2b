"""numpy: seeds, array files, and the few functions that scripts build columns with.

Arithmetic on arrays can't be followed: `ndarray` is an immutable type, and wrapping ufuncs would
take their methods away. A view leads back to its base; any other new array may hold whatever was
read so far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lodeline.capture.datasets import Dataset, find_dataset
from lodeline.capture.patches import Patches
from lodeline.capture.process import ADAPTERS
from lodeline.capture.recorder import Recorder

_READERS: Final = ("load", "loadtxt", "genfromtxt", "fromfile")
_WRITERS: Final = ("save", "savez", "savez_compressed", "savetxt")
_FUNCTIONS: Final = (
    *("where", "select", "concatenate", "column_stack", "hstack", "vstack", "stack", "array"),
    *("asarray", "clip", "round", "unique", "sort", "argsort", "nan_to_num", "cumsum", "diff"),
)


class NumpyIntegration:
    """numpy 1.24 and later."""

    name = "numpy"
    supports = "numpy>=1.24,<3"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch readers, writers, seeds and column builders."""
        import numpy as np

        recorder.flow.holds_data(np.ndarray)
        recorder.flow.holds_scalars(np.generic)
        patches = Patches("numpy")
        observer = _Observer(recorder)
        for name in _READERS:
            patches.door(np, name, observer.after_read)
        for name in _WRITERS:
            patches.door(np, name, observer.after_write)
        for name in _FUNCTIONS:
            patches.passage(np, name, data=True)

        def patch_random(module: Any) -> None:
            patches.door(module, "seed", observer.after_seed)
            patches.door(module, "default_rng", observer.after_generator)
            if recorder.deterministic:
                # The patched one: the seed is recorded, too.
                module.seed(0)

        ADAPTERS.when_imported("numpy.random", patch_random)
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def after_read(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        dataset = find_dataset(args[0] if args else next(iter(kwargs.values()), None))
        if dataset is None:
            return
        self._recorder.tag(result, self._recorder.read(dataset))

    def after_write(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result
        target = args[0] if args else kwargs.pop("file", kwargs.pop("fname", None))
        dataset = find_dataset(target)
        if dataset is None:
            return
        if dataset.namespace == "file" and isinstance(target, str):
            suffix = self._suffix(dataset.name)
            dataset = Dataset(dataset.namespace, dataset.name + suffix)
        values = (*args[1:], *kwargs.values())
        flow = self._recorder.flow_of(*values, data=True)
        if not flow and not any(self._recorder.flow.is_data(value) for value in values):
            # A number is no array; where it came from, nothing tells.
            flow = self._recorder.flow.unknown()
        self._recorder.write(dataset, flow=flow)

    def _suffix(self, name: str) -> str:
        """`save` and `savez` add a suffix to names that lack it."""
        from pathlib import Path

        if Path(name).exists():
            return ""
        return next((s for s in (".npy", ".npz") if Path(name + s).exists()), "")

    def after_seed(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result
        self._note("numpy.random", args[0] if args else kwargs.get("seed"))

    def after_generator(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result
        self._note("numpy.random.default_rng", args[0] if args else kwargs.get("seed"))

    def _note(self, source: str, seed: object) -> None:
        # Libraries make unseeded generators of their own; those say nothing about the program.
        if seed is not None:
            self._recorder.seed(source, seed)
