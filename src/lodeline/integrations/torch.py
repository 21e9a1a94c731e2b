"""PyTorch: which data an optimizer learned from, and what was saved of it.

A training loop is the program's own, so it is read at three points that every loop passes: a batch
leaves a `DataLoader`, an optimizer steps (PyTorch's own hook), weights are saved. A batch and a
step cost a look-up and a counter each. What a loader feeds is found once, in its data set's
members. Weights that are saved are recognised by their storage, copies of them by their shapes.

Arithmetic on tensors is not followed. Steps outside a loader's loop, and data sets that other
processes read, give a bound: everything read so far may have been learned from.
"""

from __future__ import annotations

import atexit
import copy
import functools
import hashlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lodeline.capture.datasets import Dataset, find_dataset
from lodeline.capture.epoch_rows import Epoch, Epochs, follow_tensor, learned_rows
from lodeline.capture.flow import BOUND
from lodeline.capture.models import FINDERS, Fitted, find_fitted, record_model, record_use
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.row_tracking import Track, note_rows
from lodeline.capture.values import plain
from lodeline.errors import UnfollowedRowsError
from lodeline.limits import FLOW_MEMBERS_MAX, FOLD_ROWS_DIGESTED_MAX, LOADERS_TOLD_MAX

_FUNCTIONS: Final = ("tensor", "as_tensor", "from_numpy", "asarray")
# Methods that give a copy in another type or place; views lead back to their base by themselves.
_COPIES: Final = (
    *("float", "double", "half", "long", "int", "bool", "to", "type", "clone", "contiguous"),
    *("numpy",),
)
_PLAIN: Final = (str, bytes, int, float, type(None))
_WEIGHTS: Final = ("weight", "bias", "running_mean", "running_var")
_UNFOLLOWED: Final = (
    ("torch", "from_file"),
    ("torch.export", "save"),
    ("torch.export", "load"),
    ("torch.distributed.checkpoint", "save"),
    ("torch.distributed.checkpoint", "load"),
)


class TorchIntegration:
    """PyTorch 2.13 and later."""

    name = "torch"
    supports = "torch>=2.13,<3"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch loaders, saving, loading and seeds; hook optimizers."""
        import torch

        patches = Patches("torch")
        observer = _Observer(recorder, patches)
        recorder.flow.holds_data(torch.Tensor)
        patches.place_warnings()
        observer.patch_functions(torch)
        for name in _COPIES:
            if name not in vars(torch.Tensor):
                inherited = getattr(torch.Tensor, name)
                patches.wrap(torch.Tensor, name, inherited, observer.copying)
        observer.patch_models(torch)
        observer.patch_loaders(torch)
        observer.patch_seeds(torch)
        FINDERS.append(observer.find_module)
        patches.on_undo(functools.partial(FINDERS.remove, observer.find_module))
        atexit.register(observer.tell_counts)
        patches.on_undo(functools.partial(atexit.unregister, observer.tell_counts))
        return patches.undo


@dataclass(eq=False)
class _Loader:
    """A `DataLoader`: what it feeds, and how often it was gone through.

    Attributes:
        title: of its parameters.
        flow: the datasets that its samples came from, as far as known.
        elsewhere: other processes read files for its samples.
    """

    title: str
    flow: int
    elsewhere: bool
    batch_size: Any
    dataset: Any = None
    in_order: bool = True
    epochs: int = 0
    batches: int = 0
    told: tuple[int, int] = (0, 0)
    epoch: Epoch | None = None


@dataclass(eq=False)
class _Training:
    """What flowed into a set of weights.

    Attributes:
        flow: the datasets and models.
        shapes: of the weights, for recognising copies of them.
    """

    optimizer: weakref.ref[Any] | None = None
    flow: int = 0
    steps: int = 0
    loaders: list[_Loader] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


class _Observer:
    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches
        self._loaders: dict[int, tuple[weakref.ref[Any], _Loader]] = {}
        self._loaders_seen = 0
        self._iterators: dict[int, _Loader] = {}
        self._feeding: _Loader | None = None
        self._trainings: dict[int, _Training] = {}
        self._weights: dict[int, tuple[weakref.ref[Any], _Training]] = {}
        self._states: dict[int, tuple[weakref.ref[Any], weakref.ref[Any]]] = {}
        self._epochs = Epochs()

    # Installing

    def patch_functions(self, torch: Any) -> None:
        from torch.jit import _builtins

        for name in _FUNCTIONS:
            original = getattr(torch, name)
            self._patches.passage(torch, name, data=True)
            if self._recorder.rows:
                self._patches.door(torch, name, self._after_tensor)
            # TorchScript knows these functions by identity, once it has listed them.
            listed = getattr(_builtins, "_builtin_table", None)
            if listed and id(original) in listed:
                listed[id(getattr(torch, name))] = listed[id(original)]

    def patch_loaders(self, torch: Any) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook
        from torch.utils.data import dataloader

        loader = dataloader.DataLoader
        self._patches.wrap(loader, "__iter__", vars(loader)["__iter__"], self._iterating)
        steps = dataloader._BaseDataLoaderIter  # the only place that every batch passes
        self._patches.wrap(steps, "__next__", vars(steps)["__next__"], self._next)
        if self._recorder.rows:
            self._patches.wrap(steps, "_next_index", vars(steps)["_next_index"], self._asking)
            self._patches.after(steps, "_reset", lambda _, args, __: self._epochs.restart(args[0]))
        for owner in (torch.utils.data, torch.utils.data.dataset):
            self._patches.door(owner, "random_split", self.after_random_split)
        handle = register_optimizer_step_post_hook(self._after_step)
        self._patches.on_undo(handle.remove)

    def patch_models(self, torch: Any) -> None:
        module = torch.nn.Module
        self._patches.door(torch, "save", self.after_save)
        self._patches.door(torch, "load", self.after_load)
        self._patches.outermost(module, "state_dict", self.after_state)
        self._patches.outermost(module, "load_state_dict", self.after_load_state)
        self._when("torch.jit", ("save",), functools.partial(self.after_save, kind="torchscript"))
        self._when("torch.jit", ("load",), functools.partial(self.after_load, kind="torchscript"))
        scripted = functools.partial(self.after_save, kind="torchscript")
        self._patches.door(torch.jit.RecursiveScriptModule, "save", scripted)
        self._when("torch.onnx", ("export",), self.after_onnx)
        self._when("safetensors.torch", ("save_file",), self.after_safetensors)
        self._when("safetensors.torch", ("load_file",), self._after_load_safetensors)
        for name, function in _UNFOLLOWED:
            told = functools.partial(self.after_unfollowed, f"{name}.{function}")
            self._when(name, (function,), told)

    def patch_seeds(self, torch: Any) -> None:
        self._patches.door(torch, "manual_seed", self.after_seed)
        self._patches.door(torch.random, "manual_seed", self.after_seed)
        if self._recorder.deterministic:
            torch.manual_seed(0)

    def _when(self, module: str, names: tuple[str, ...], after: Any) -> None:
        from lodeline.capture.process import ADAPTERS

        def patch(found: Any) -> None:
            for name in names:
                self._patches.door(found, name, after)

        ADAPTERS.when_imported(module, patch)

    # Tensors

    def copying(self, original: Any) -> Any:
        """Wrap a method whose result is a copy: it comes from where its tensor came from."""
        find, tag = self._recorder.flow.find, self._recorder.flow.tag
        rows, after = self._recorder.rows, self._after_tensor

        def lodeline(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            flow = find(self)
            if flow is not None and result is not self:
                tag(result, flow)
                if rows:
                    after((result), (self,), {})
            return result

        return lodeline

    def _after_tensor(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Follow the rows of an array or tensor into a tensor made of it."""
        try:
            origin = args[0] if args else next(iter(kwargs.values()), None)
            if hasattr(result, "storage_offset"):
                follow_tensor(result, origin)
        except Exception as error:  # capture's outermost door
            self._recorder.trouble("rows.tensor", error)

    def flow_of(self, thing: Any) -> int:
        """The flow of a tensor, a view of one, or anything else."""
        known = self._recorder.flow.find(thing)
        if known is None:
            base = getattr(thing, "_base", None)
            known = None if base is None else self._recorder.flow.find(base)
        return self._recorder.flow_of(thing, data=True) if known is None else known

    # Loaders

    def _iterating(self, original: Any) -> Any:
        observer = self

        def lodeline(self: Any) -> Any:
            iterator = original(self)
            observer.begin_epoch(self, iterator)
            return iterator

        return lodeline

    def _next(self, original: Any) -> Any:
        observer, flow, iterators = self, self._recorder.flow, self._iterators

        def lodeline(self: Any) -> Any:
            before = flow.read_so_far
            loader = iterators.get(id(self))
            try:
                batch = original(self)
            except BaseException:
                observer._feeding = None
                raise
            observer._feeding = loader
            if loader is not None:
                loader.batches += 1
                loader.flow |= flow.read_so_far & ~before
                epoch = observer._epochs.find(self)
                loader.epoch = epoch
                if epoch is not None:
                    epoch.yielded += 1
            return batch

        return lodeline

    def _asking(self, original: Any) -> Any:
        """Wrap where an iterator asks its sampler for the samples of a batch."""
        epochs, trouble = self._epochs, self._recorder.trouble

        def lodeline(self: Any) -> Any:
            batch = original(self)
            try:
                epochs.ask(self, batch)
            except Exception as error:  # capture's outermost door
                trouble("rows.DataLoader", error)
            return batch

        return lodeline

    def begin_epoch(self, loader: Any, iterator: Any) -> None:
        """Count an epoch; the first time, find out what the loader feeds."""
        try:
            known = self._loaders.get(id(loader))
            if known is None or known[0]() is not loader:
                if known is not None:  # one that is gone had the same address
                    self._tell_loader(known[1])
                known = (weakref.ref(loader), self._describe(loader))
                self._loaders[id(loader)] = known
            entry = known[1]
            entry.epochs += 1
            if id(iterator) not in self._iterators:
                weakref.finalize(iterator, self._end_iterator, id(iterator))
            self._iterators[id(iterator)] = entry
            if self._recorder.rows:
                self._epochs.begin(entry, iterator)
            if entry.epochs & (entry.epochs - 1) == 0:
                self._tell_loader(entry)
        except Exception as error:  # capture's outermost door
            self._recorder.trouble("torch.DataLoader", error)

    def _end_iterator(self, key: int) -> None:
        loader = self._iterators.pop(key, None)
        self._epochs.end(key)
        if loader is self._feeding:
            self._feeding = None

    def _describe(self, loader: Any) -> _Loader:
        self._loaders_seen += 1
        number = min(self._loaders_seen, LOADERS_TOLD_MAX)
        if self._loaders_seen == LOADERS_TOLD_MAX + 1:
            detail = f"of loaders from the {number}th on, the last one's settings are told"
            self._recorder.gap(f"DataLoader.{number}", "capture", detail)
        title = "DataLoader" if number == 1 else f"DataLoader.{number}"
        dataset = loader.dataset
        flow, pure = self._flow_of_samples(dataset)
        shuffles = type(loader.sampler).__name__ == "RandomSampler"
        settings = {
            "dataset": f"{type(dataset).__module__}.{type(dataset).__qualname__}",
            "samples": len(dataset) if hasattr(dataset, "__len__") else None,
            "batch_size": loader.batch_size,
            "shuffle": shuffles,
            "sampler": type(loader.sampler).__name__,
            "drop_last": loader.drop_last,
            "num_workers": loader.num_workers,
        }
        for name, value in settings.items():
            self._recorder.param(f"{title}.{name}", plain(value))
        facet: dict[str, Any] = {"method": "DataLoader", "count": settings["samples"]}
        stated = ("batch_size", "shuffle", "sampler", "drop_last")
        facet["criteria"] = ", ".join(f"{name}={settings[name]}" for name in stated)
        if loader.generator is not None:
            facet["seed"] = loader.generator.initial_seed()
            self._recorder.seed(f"{title}.generator", facet["seed"])
        if not flow & BOUND:
            self._tell_sampling(facet, flow)
        elsewhere = bool(loader.num_workers) and not pure
        dataset = loader.dataset if self._recorder.rows else None
        in_order = getattr(loader, "in_order", True)
        return _Loader(title, flow, elsewhere, loader.batch_size, dataset, in_order)

    def _tell_sampling(self, facet: dict[str, Any], flow: int) -> None:
        for source in self._recorder.flow.datasets(flow):
            self._recorder.read(source, input_facets={"lodeline_sampling": facet})

    def _flow_of_samples(self, dataset: Any, depth: int = 0) -> tuple[int, bool]:
        """What a data set's members came from, and whether it is made of tensors alone."""
        flow_of = self._recorder.flow
        known = flow_of.find(dataset)
        if known is not None:
            return known, True
        if flow_of.is_data(dataset):
            return self.flow_of(dataset), True
        kind = type(dataset)
        pure = kind.__module__.startswith("torch.utils.data")
        if isinstance(dataset, (list, tuple, dict)):
            members = list(dataset.values() if isinstance(dataset, dict) else dataset)
            members, pure = members[:FLOW_MEMBERS_MAX], True
            if all(isinstance(member, _PLAIN) for member in members):
                return self._recorder.flow_of(dataset, data=True), True
        elif pure and kind.__name__ == "Subset":
            members = [dataset.dataset]
        else:
            members = list(getattr(dataset, "__dict__", {}).values())
        flow = 0
        for member in members if depth < 4 else ():
            if not isinstance(member, _PLAIN) and not callable(member):
                found, inner = self._flow_of_samples(member, depth + 1)
                flow |= found
                pure = pure and inner
        return flow, pure

    def after_random_split(
        self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Record the sizes of a random division and the digest of its first two parts."""
        dataset = args[0] if args else kwargs["dataset"]
        sizes = [len(part) for part in result]
        facet: dict[str, Any] = {"method": "random_split", "count": sum(sizes)}
        facet["criteria"] = f"lengths={sizes}"
        if len(result) == 2 and sum(sizes) <= FOLD_ROWS_DIGESTED_MAX:
            digest = hashlib.sha256()
            for part in result:
                digest.update(b"".join(int(row).to_bytes(8, "little") for row in part.indices))
            fold = {"train": sizes[0], "test": sizes[1]}
            facet["folds"] = [fold | {"digest": f"sha256:{digest.hexdigest()}"}]
        generator = args[2] if len(args) > 2 else kwargs.get("generator")
        if generator is not None:
            facet["seed"] = generator.initial_seed()
            self._recorder.seed("random_split.generator", facet["seed"])
        flow, _ = self._flow_of_samples(dataset)
        if not flow & BOUND:
            self._tell_sampling(facet, flow)

    def tell_counts(self) -> None:
        """Record how often loaders were gone through, and optimizers stepped."""
        try:
            for _, loader in list(self._loaders.values()):
                self._tell_loader(loader)
            for training in list(self._trainings.values()):
                self._tell_steps(training)
        except Exception as error:  # capture's outermost door
            self._recorder.trouble("torch", error)

    def _tell_loader(self, loader: _Loader) -> None:
        if loader.told != (loader.epochs, loader.batches):
            loader.told = (loader.epochs, loader.batches)
            self._recorder.metric(f"{loader.title}.epochs", loader.epochs)
            self._recorder.metric(f"{loader.title}.batches", loader.batches)

    def _tell_steps(self, training: _Training) -> None:
        if training.steps:
            self._recorder.metric(f"{training.settings['optimizer']}.steps", training.steps)

    # Optimizers

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        del args, kwargs
        training = self._trainings.get(id(optimizer))
        if training is None or training.optimizer is None or training.optimizer() is not optimizer:
            try:
                training = self._begin_training(optimizer)
            except Exception as error:  # capture's outermost door
                self._recorder.trouble("torch.optim", error)
                return
        training.steps += 1
        loader = self._feeding
        if loader is not None and loader.epoch is not None:
            loader.epoch.steps += 1
            loader.epoch.learned = loader.epoch.yielded
        if loader is None:
            training.flow |= self._recorder.flow.unknown()
        elif not training.loaders or training.loaders[-1] is not loader:
            training.loaders.append(loader)

    def _begin_training(self, optimizer: Any) -> _Training:
        weights = [one for group in optimizer.param_groups for one in group["params"]]
        training = _Training(weakref.ref(optimizer))
        training.shapes = sorted(tuple(one.shape) for one in weights)
        kind = type(optimizer).__name__
        training.settings = {"optimizer": kind}
        for name, value in optimizer.defaults.items():
            if isinstance(value, (bool, int, float, str, tuple)):
                training.settings[name] = plain(value)
                self._recorder.param(f"{kind}.{name}", plain(value))
        self._recorder.param(f"{kind}.weights", sum(one.numel() for one in weights))
        self._trainings[id(optimizer)] = training
        self._claim(weights, training)
        return training

    def _claim(self, weights: list[Any], training: _Training) -> None:
        """From now on these weights hold what flows into a training, beside what they held."""
        for one in weights:
            key = id(one)
            before = self._weights.get(key)
            if before is not None and before[0]() is one:
                training.flow |= self._total(before[1])[0]

            def forget(_: object, key: int = key) -> None:
                self._weights.pop(key, None)

            self._weights[key] = (weakref.ref(one, forget), training)

    def _total(self, training: _Training) -> tuple[int, bool]:
        """Everything that flowed in, loaders counted as far as they are read."""
        flow, late = training.flow, False
        for loader in training.loaders:
            flow |= loader.flow
            late = late or loader.elsewhere or not loader.flow
        return flow | self._recorder.flow.unknown() | BOUND if late else flow, late

    # Saving and loading

    def after_state(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Remember whose weights a state dictionary holds."""
        del kwargs
        try:
            self._states[id(result)] = (weakref.ref(result), weakref.ref(args[0]))
        except TypeError:
            return
        weakref.finalize(result, self._states.pop, id(result), None)

    def after_load_state(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Weights that a module takes over come from where the dictionary came from."""
        del result
        module, state = args[0], args[1] if len(args) > 1 else kwargs["state_dict"]
        flow = 0
        for one in (state, *state.values()):
            flow |= self._recorder.flow.find(one) or 0
        if flow:
            self._claim(list(module.parameters()), _Training(flow=flow))

    def after_save(
        self,
        result: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        kind: str = "torch",
        target: Any = None,
    ) -> None:
        """Record weights or other data that were saved."""
        del result
        saved = args[0] if args else next(iter(kwargs.values()))
        target = target or (args[1] if len(args) > 1 else kwargs.get("f"))
        dataset = find_dataset(target)
        if dataset is None:
            return
        if hasattr(target, "flush"):
            target.flush()
        module, weights = self._find_weights(saved)
        if not weights:
            self._recorder.write(dataset, flow=self.flow_of(saved))
            return
        self.tell_counts()
        trainings = self._trainings_of(weights)
        named = find_fitted(module)
        fitted, late = Fitted(name="" if named is None else named.name), False
        for training in trainings:
            flow, comes_late = self._total(training)
            fitted.flow |= flow
            late = late or comes_late
        if not trainings:
            fitted.flow, late = self._recorder.flow.unknown() | BOUND, True
        facet = self._model(module, weights, trainings, dataset, kind)
        if self._recorder.rows:
            module = self._note_rows(module, weights, trainings)
        record_model(self._recorder, dataset, fitted, facet, estimator=module, late=late)

    def _note_rows(self, module: Any, weights: list[Any], trainings: list[_Training]) -> Any:
        """Remember the rows that weights learned from, epoch by epoch.

        Returns:
            What they are remembered by: the module, or a weight of it where that is not known.
        """
        holder = module if module is not None else weights[0]
        tracks: list[tuple[Track, str]] = []
        gaps: list[tuple[str, str]] = []
        try:
            for loader in [loader for training in trainings for loader in training.loaders]:
                kept = loader.in_order and not self._epochs.full
                epochs = self._epochs.of(loader)
                try:
                    tracks += learned_rows(loader.dataset, loader.title, epochs, kept=kept)
                except UnfollowedRowsError as reason:
                    gaps.append((loader.title, str(reason)))
                    self._recorder.gap(f"rows: {loader.title}", "capture", str(reason))
            for track, _ in tracks:
                track.gaps = (*track.gaps, *gaps)
            note_rows(holder, tracks)
        except Exception as error:  # capture's outermost door
            self._recorder.trouble("rows.DataLoader", error)
        return holder

    def find_module(self, value: object) -> Fitted | None:
        """What is known of a module, for whoever writes it by other ways than PyTorch's."""
        import torch

        if not isinstance(value, torch.nn.Module):
            return None
        fitted = Fitted()
        for training in self._trainings_of(list(value.parameters())):
            fitted.flow |= self._total(training)[0]
            fitted.parameters |= training.settings
        return fitted if fitted.flow else None

    def _model(
        self,
        module: Any,
        weights: list[Any],
        trainings: list[_Training],
        dataset: Dataset,
        kind: str,
    ) -> dict[str, Any]:
        settings: dict[str, Any] = {"weights": sum(one.numel() for one in weights)}
        for training in trainings:
            settings |= training.settings
            optimizer = None if training.optimizer is None else training.optimizer()
            groups = [] if optimizer is None else optimizer.param_groups
            if groups and "lr" in groups[0]:
                settings["lr"] = plain(groups[0]["lr"])
            if training.steps:
                settings["steps"] = training.steps
            for loader in training.loaders[:1]:
                settings |= {"epochs": loader.epochs, "batch_size": plain(loader.batch_size)}
        facet = {
            "framework": "torch",
            "format": kind,
            "parameters": settings,
            "features": [],
            "artifact": {"namespace": dataset.namespace, "name": dataset.name},
        }
        if module is not None:
            facet["class"] = f"{type(module).__module__}.{type(module).__qualname__}"
        return facet

    def _find_weights(self, saved: Any, depth: int = 0) -> tuple[Any, list[Any]]:
        """The module, where it is known, and the weights in what was saved or loaded."""
        import torch

        if isinstance(saved, torch.nn.Module):
            return saved, [*saved.parameters(), *saved.buffers()]
        if not isinstance(saved, Mapping) or depth > 2 or "param_groups" in saved:
            return None, []
        values = list(saved.values())
        if values and all(isinstance(one, torch.Tensor) for one in values):
            named = any(str(name).endswith(_WEIGHTS) for name in saved)
            if named or hasattr(saved, "_metadata") or self._trainings_of(values):
                known = self._states.get(id(saved))
                module = None if known is None or known[0]() is not saved else known[1]()
                return module, values
            return None, []
        for member in values[:FLOW_MEMBERS_MAX]:
            module, weights = self._find_weights(member, depth + 1)
            if weights:
                return module, weights
        return None, []

    def _trainings_of(self, weights: list[Any]) -> list[_Training]:
        """What is known of weights: by their storage, else, for copies, by their shapes."""
        places = {}
        for reference, training in list(self._weights.values()):
            one = reference()
            if one is not None:
                places[one.data_ptr()] = training
        found = {id(t): t for one in weights if (t := places.get(one.data_ptr())) is not None}
        if found:
            return list(found.values())
        shapes = sorted(tuple(one.shape) for one in weights)
        alike = [t for t in self._trainings.values() if t.shapes and _contains(shapes, t.shapes)]
        if len(alike) > 1:
            # Any of them may have been copied.
            return [*alike, _Training(flow=BOUND)]
        return alike

    def after_load(
        self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, kind: str = "torch"
    ) -> None:
        """Record weights or other data that were loaded."""
        target = args[0] if args else next(iter(kwargs.values()))
        dataset = find_dataset(target)
        if dataset is None:
            return
        module, weights = self._find_weights(result)
        if not weights:
            flow = self._recorder.read(dataset)
            for tensor in _iter_tensors(result):
                self._recorder.tag(tensor, flow)
            return
        facet = self._model(module, weights, [], dataset, kind)
        flow = record_use(self._recorder, dataset, module if module is not None else result, facet)
        for tensor in weights:
            self._recorder.tag(tensor, flow)
        if module is not None:
            self._claim(list(module.parameters()), _Training(flow=flow))

    def after_onnx(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record a module that was exported."""
        target = args[2] if len(args) > 2 else kwargs.get("f")
        if target is not None:
            self.after_save(result, args, kwargs, kind="onnx", target=target)

    def after_safetensors(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record weights that were saved as safetensors."""
        target = args[1] if len(args) > 1 else kwargs.get("filename")
        self.after_save(result, args, kwargs, kind="safetensors", target=target)

    def _after_load_safetensors(
        self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.after_load(result, args, kwargs, kind="safetensors")

    def after_unfollowed(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Say that something was done which is not followed."""
        del result, args, kwargs
        self._recorder.gap(name, "capture", "what this reads or writes is not followed")

    def after_seed(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record the seed of PyTorch's generators."""
        del result
        self._recorder.seed("torch", plain(args[0] if args else kwargs.get("seed")))


def _contains(shapes: list[tuple[int, ...]], part: list[tuple[int, ...]]) -> bool:
    left = copy.copy(shapes)
    for shape in part:
        if shape not in left:
            return False
        left.remove(shape)
    return True


def _iter_tensors(value: Any, depth: int = 0) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif depth < 3 and isinstance(value, (dict, list, tuple)):
        members = list(value.values() if isinstance(value, dict) else value)
        for member in members[:FLOW_MEMBERS_MAX]:
            yield from _iter_tensors(member, depth + 1)
