"""Which rows a `DataLoader` fed in which epoch, for a model to learn from.

The numbers of samples that a loader's sampler gives are noted where every loader asks for them, in
the program's own process, with workers, too. An epoch is the samples of the batches that were
handed out before the optimizer's last step, in their order; batches that workers prepared and
nobody took do not count. A sample's
number is a row's where the data set is made of followed tensors alone: a `TensorDataset`, or a part
of one. What another data set makes of a number is its own business, and a gap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lodeline.capture.row_steps import memory_anchor
from lodeline.capture.row_tracking import TRACKING, Pending, Source, Track, same_rows
from lodeline.errors import UnfollowedRowsError
from lodeline.limits import EPOCH_SAMPLES_MAX


@dataclass(eq=False)
class Epoch:
    """One way through a loader.

    Attributes:
        number: of its loader, from 1.
        asked: the samples of each batch, as the sampler gave them.
        yielded: batches that were handed out.
        steps: of an optimizer, meanwhile.
        learned: batches that were handed out before the last of those steps.
    """

    number: int = 0
    asked: list[Any] = field(default_factory=list)
    yielded: int = 0
    steps: int = 0
    learned: int = 0

    def samples(self) -> Any:
        """Give the numbers of the samples that were learned from, in their order."""
        import numpy as np

        fed = [np.atleast_1d(np.asarray(batch, np.int64)) for batch in self.asked[: self.learned]]
        return np.concatenate(fed) if fed else np.empty(0, np.int64)


class Epochs:
    """The epochs of this process, by their iterator and by their loader."""

    def __init__(self) -> None:
        self._running: dict[int, Epoch] = {}
        self._of_loader: dict[int, list[Epoch]] = {}
        self._samples = 0
        self.full = False

    def ask(self, iterator: Any, batch: Any) -> None:
        """Note what a sampler gave to an iterator."""
        epoch = self._running.setdefault(id(iterator), Epoch())
        count = len(batch) if hasattr(batch, "__len__") else 1
        self._samples += count
        self.full = self.full or self._samples > EPOCH_SAMPLES_MAX
        if not self.full:
            import numpy as np

            epoch.asked.append(np.asarray(batch, np.int64))

    def restart(self, iterator: Any) -> None:
        """An iterator begins anew: those of persistent workers serve every epoch."""
        self._running[id(iterator)] = Epoch()

    def begin(self, loader: Any, iterator: Any) -> None:
        """An iterator is a loader's next epoch."""
        epoch = self._running.setdefault(id(iterator), Epoch())
        known = self._of_loader.setdefault(id(loader), [])
        if epoch not in known:
            known.append(epoch)
            epoch.number = len(known)

    def find(self, iterator: Any) -> Epoch | None:
        """Give the epoch that an iterator serves."""
        return self._running.get(id(iterator))

    def end(self, key: int) -> None:
        """Forget an iterator."""
        self._running.pop(key, None)

    def of(self, loader: Any) -> list[Epoch]:
        """Give a loader's epochs in which an optimizer stepped."""
        return [epoch for epoch in self._of_loader.get(id(loader), ()) if epoch.steps]


def rows_of_samples(dataset: Any) -> Track:
    """Tell which rows the samples of a data set are.

    Raises:
        UnfollowedRowsError: that is not known.
    """
    import numpy as np

    kind = type(dataset)
    if not kind.__module__.startswith("torch.utils.data"):
        raise UnfollowedRowsError(f"what {kind.__qualname__} makes of a number is its own business")
    if kind.__name__ == "Subset":
        inner = rows_of_samples(dataset.dataset)
        chosen = np.asarray(list(dataset.indices), np.int64)
        rows = chosen if inner.positions is None else inner.positions[chosen]
        return Track(
            inner.source, rows, len(rows), None, operators=inner.operators, gaps=inner.gaps
        )
    if kind.__name__ != "TensorDataset":
        raise UnfollowedRowsError(f"the samples of {kind.__qualname__} are not followed")
    tracks = [find_tensor(tensor) for tensor in dataset.tensors]
    known = [track for track in tracks if track is not None]
    if not known:
        raise UnfollowedRowsError("the rows of its tensors are not known")
    first = known[0]
    if not all(same_rows(first, track) for track in known[1:]):
        raise UnfollowedRowsError("its tensors are of other rows than one another")
    gaps = first.gaps
    if len(known) < len(tracks):
        gaps = (*gaps, ("TensorDataset", "the rows of one of its tensors are not known"))
    return Track(
        first.source, first.positions, first.rows, None, operators=first.operators, gaps=gaps
    )


def find_tensor(tensor: Any) -> Track | None:
    """Give the track of a tensor that still has its values, or of the one that it is a view of."""
    track = TRACKING.find(tensor)
    held = tensor
    if track is None:
        held = getattr(tensor, "_base", None)
        track = None if held is None else TRACKING.find(held)
        whole = (
            held is not None
            and tensor.shape[:1] == held.shape[:1]
            and tensor.storage_offset() == held.storage_offset()
            and tensor.stride()[:1] == held.stride()[:1]
        )
        if track is None or not whole:
            return None
    return track if TRACKING.verify(held, track) else None


def follow_tensor(tensor: Any, origin: Any) -> None:
    """A tensor was made of an array or another tensor, row by row."""
    if not getattr(origin, "shape", None) or tensor is origin or not len(tensor.shape):
        return
    track = find_tensor(origin) if hasattr(origin, "storage_offset") else TRACKING.find(origin)
    if track is None or tensor.shape[0] != track.rows or tensor.device.type != "cpu":
        return
    if hasattr(origin, "storage_offset") or TRACKING.verify(origin, track):
        TRACKING.adopt(tensor, "tensor", [(track, None)], ())


def learned_rows(
    dataset: Any, title: str, epochs: list[Epoch], *, kept: bool
) -> list[tuple[Track, str]]:
    """Make a step an epoch from the rows of a data set, in the order in which they were fed.

    Args:
        dataset: that the loader feeds from.
        title: of the loader.
        epochs: of it.
        kept: the order in which samples were fed is known.

    Raises:
        UnfollowedRowsError: which rows the samples are, or in which order, is not known.
    """
    if not kept:
        raise UnfollowedRowsError("the order of its samples is not kept")
    rows = rows_of_samples(dataset)
    found: list[tuple[Track, str]] = []
    for epoch in epochs:
        samples = epoch.samples()
        words = ", ".join([*rows.operators, f"{title} epoch {epoch.number}"])
        source = Source(memory_anchor())
        count = len(samples)
        source.pending.append(
            Pending(words, rows.source, rows.positions, samples, count, rows.rows, rows.gaps)
        )
        found.append((Track(source, None, count, None), f"fit, epoch {epoch.number}"))
    return found
