"""Which rows pandas took, seen where it takes them: at the managers of a frame's values.

Whatever a public operation is called, pandas takes rows through a handful of methods of its block
managers: by positions, by a slice, by a mask. While an operation that is followed runs, each of
them notes which manager it made of which, and by which positions. From the manager of the result
back to the operand's leads an exact chain, even where labels repeat. Where none leads back,
nothing is known, and the caller looks for another way.

These methods are pandas' own and not public. One that a release lacks is not observed; then there
is no chain.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from lodeline.capture.patches import Patches

# The rows are all rows, in their order.
SAME: Final = "same"
_STEPS_MAX: Final = 64


class _Notes(threading.local):
    """What the running operation's managers did: by the id of what was made."""

    made: dict[int, tuple[Any, Any, Any]] | None = None
    joins: list[tuple[Any, Any]] | None = None


NOTES: Final = _Notes()


def begin_notes() -> None:
    """Start to note, for one operation."""
    NOTES.made, NOTES.joins = {}, []


def end_notes() -> tuple[dict[int, tuple[Any, Any, Any]], list[tuple[Any, Any]]]:
    """Stop, and give what managers made of what, and the indexers of joins."""
    notes = NOTES.made or {}, NOTES.joins or []
    NOTES.made = NOTES.joins = None
    return notes


def chain(notes: dict[int, tuple[Any, Any, Any]], result: Any, operand: Any) -> Any:
    """Find the positions in an operand of a result's rows.

    Args:
        notes: of the operation.
        result: its manager.
        operand: the manager that it began with.

    Returns:
        Positions, -1 for none; `SAME`; or `None` where no chain leads back.
    """
    import numpy as np

    taken: list[Any] = []
    current = result
    for _ in range(_STEPS_MAX):
        if current is operand:
            break
        entry = notes.get(id(current))
        if entry is None or entry[0] is not current:
            return None
        _, current, positions = entry
        if positions is not SAME:
            taken.append(positions)
    else:
        return None
    if not taken:
        return SAME
    rows = _rows(operand)
    composed = np.arange(rows)
    for positions in reversed(taken):
        if isinstance(positions, slice):
            composed = composed[positions]
            continue
        chosen = np.asarray(positions)
        if chosen.dtype == bool:
            composed = composed[chosen]
            continue
        missing = chosen < 0
        composed = composed[chosen] if len(composed) else np.full(len(chosen), -1)
        if missing.any():
            composed = np.where(missing, -1, composed)
    return composed


def watch_managers(patches: Patches) -> None:
    """Patch the methods of managers that take rows, and the one that joins."""
    from pandas.core.internals import managers
    from pandas.core.reshape import merge

    base, single = managers.BaseBlockManager, managers.SingleBlockManager
    for owner, name in (
        *((base, "copy"), (base, "consolidate"), (base, "reindex_indexer")),
        *((managers.BlockManager, "get_slice"), (single, "get_slice")),
        *((single, "getitem_mgr"), (single, "get_rows_with_mask")),
    ):
        original = getattr(owner, name, None)
        if original is not None:
            patches.replace(owner, name, patches.finish(_noting(name, original), original))
    for owner in (merge._MergeOperation, merge._OrderedMerge, merge._AsOfMerge):  # noqa: SLF001  # pandas has no public name for them
        found = vars(owner).get("_get_join_info")
        if found is not None:
            patches.replace(owner, "_get_join_info", patches.finish(_joining(found), found))


def _noting(name: str, original: Any) -> Any:
    def lodeline(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(self, *args, **kwargs)
        notes = NOTES.made
        if notes is not None and made is not self:
            positions = _positions(name, self, args, kwargs)
            if positions is not None and _rows(made) == _count(positions, self):
                notes[id(made)] = (made, self, positions)
        return made

    return lodeline


def _positions(name: str, manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name in {"copy", "consolidate"}:
        return SAME
    if name in {"getitem_mgr", "get_rows_with_mask"}:
        return args[0] if args else kwargs.get("indexer")
    if name == "get_slice":
        chosen = args[0] if args else kwargs.get("slobj")
        axis = args[1] if len(args) > 1 else kwargs.get("axis", 0)
        return chosen if axis == manager.ndim - 1 else SAME
    indexer = args[1] if len(args) > 1 else kwargs.get("indexer")
    axis = args[2] if len(args) > 2 else kwargs.get("axis")
    return SAME if indexer is None or axis != manager.ndim - 1 else indexer


def _count(positions: Any, manager: Any) -> int:
    if positions is SAME:
        return _rows(manager)
    if isinstance(positions, slice):
        return len(range(*positions.indices(_rows(manager))))
    return int(positions.sum()) if positions.dtype == bool else len(positions)


def _rows(manager: Any) -> int:
    return len(manager.axes[-1])


def _joining(original: Any) -> Any:
    def lodeline(self: Any) -> Any:
        found = original(self)
        if NOTES.joins is not None:
            NOTES.joins.append((found[1], found[2]))
        return found

    return lodeline
