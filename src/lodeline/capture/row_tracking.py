"""Which rows of an anchor the rows of a frame in memory are.

A *track* says that row i of a frame is row `positions[i]` of an anchor. It is made when a frame is
read, and passed on only by operations whose effect on rows is known exactly; any other operation
ends it. Before a link is claimed the frame's values are compared with the anchor's own, column by
column: a column that was not changed on the way and yet differs means that the track is wrong, and
nothing is claimed.

Frames are known by weak identity, and only as long as their index is the very object it was when
the track was made. Nothing is added to them.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any, Final

from lodeline.capture.recorder import RECORDER
from lodeline.capture.row_steps import (
    ROW_STEPS,
    Anchor,
    RowStep,
    blob_draft,
    keep_blob,
    memory_anchor,
)


@dataclass(slots=True)
class Track:
    """The rows of one frame.

    Attributes:
        anchor: that they are rows of.
        positions: row numbers in the anchor, one for each row; `None` for 0, 1, 2, …
        rows: how many.
        index: the frame's index when the track was made; another one ends the track.
        changed: columns whose values were changed on the way.
        reference: the frame as it was read, to compare values with.
        operators: what was done on the way.
    """

    anchor: Anchor
    positions: Any
    rows: int
    index: Any
    changed: frozenset[Any] = frozenset()
    reference: Any = None
    operators: tuple[str, ...] = ()


class Tracking:
    """The tracks of this process."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], Track]] = {}
        self._anchors: dict[int, tuple[weakref.ref[Any], Track, Anchor]] = {}

    def begin(self, frame: Any, anchor: Anchor) -> None:
        """Start a track: row i of the frame is row i of the anchor."""
        reference = frame.copy(deep=False) if _copies_on_write() else None
        self.put(frame, Track(anchor, None, len(frame), _index(frame), reference=reference))

    def put(self, thing: Any, track: Track) -> None:
        """Remember a track."""
        key = id(thing)
        known = self._known
        try:
            known[key] = (weakref.ref(thing, lambda _: known.pop(key, None)), track)
        except TypeError:
            return

    def end(self, thing: Any) -> None:
        """Forget a track."""
        self._known.pop(id(thing), None)

    def find(self, thing: Any) -> Track | None:
        """Give the track of a frame, if it still holds."""
        entry = self._known.get(id(thing))
        if entry is None or entry[0]() is not thing:
            return None
        track = entry[1]
        if _index(thing) is not track.index or _length(thing) != track.rows:
            return None
        return track

    def follow(
        self,
        child: Any,
        parent: Track,
        positions: Any,
        operator: str,
        *,
        changed: frozenset[Any] = frozenset(),
    ) -> None:
        """Pass a track on.

        Args:
            child: what the operation gave.
            parent: the track before.
            positions: row numbers in the parent, one for each row of the child; `None` where the
                rows are the same.
            operator: in words.
            changed: columns whose values the operation changed.
        """
        if positions is not None and parent.positions is not None:
            positions = parent.positions[positions]
        elif positions is None:
            positions = parent.positions
        operators = (
            parent.operators if operator in parent.operators else (*parent.operators, operator)
        )
        self.put(
            child,
            Track(
                parent.anchor,
                positions,
                _length(child),
                _index(child),
                parent.changed | changed,
                parent.reference,
                operators,
            ),
        )

    def verify(self, frame: Any, track: Track) -> bool:
        """Compare a frame's values with those of the rows that its track claims.

        At least one column must be comparable; without one nothing can be claimed.
        """
        reference = track.reference
        if reference is None:
            return False
        columns = getattr(frame, "columns", None)
        if columns is None:
            name = getattr(frame, "name", None)
            columns = [] if name is None else [name]
        compared = 0
        for name in columns:
            if name in track.changed or name not in reference.columns:
                continue
            mine = frame[name] if hasattr(frame, "columns") else frame
            theirs = reference[name]
            if hasattr(mine, "columns") or hasattr(theirs, "columns"):
                return False  # A repeated name: which of them is meant cannot be told.
            if track.positions is not None:
                theirs = theirs.take(track.positions)
            if not _same_values(mine, theirs):
                self._tell_difference(str(name))
                return False
            compared += 1
        return compared > 0

    def _tell_difference(self, name: str) -> None:
        detail = f"column {name} differs from the rows that were followed"
        RECORDER.gap("rows: verification", "capture", detail)

    def find_anchor(self, frame: Any) -> Anchor | None:
        """Name something whose row i is row i of the frame; for those who read frames whole."""
        track = self.find(frame)
        if track is None or not self.verify(frame, track):
            return None
        if track.positions is None and not track.operators:
            return track.anchor
        entry = self._anchors.get(id(frame))
        if entry is not None and entry[0]() is frame and entry[1] is track:
            return entry[2]
        anchor = memory_anchor()
        step = self.step(track, anchor)
        if step is None:
            return None
        ROW_STEPS.add([step])
        key = id(frame)
        anchors = self._anchors
        anchors[key] = (weakref.ref(frame, lambda _: anchors.pop(key, None)), track, anchor)
        return anchor

    def step(self, track: Track, output: Anchor, *, operator: str = "") -> RowStep | None:
        """Make the step from a track's anchor to an output with the frame's rows, in order."""
        words = ", ".join([*track.operators, operator] if operator else track.operators) or "copy"
        if track.positions is None:
            return RowStep(words, track.anchor, output, "identity", track.rows, track.rows)
        blob = write_rows(track.positions, "input")
        if blob is None:
            return None
        return RowStep(words, track.anchor, output, "array", track.rows, track.rows, blob)

    def set_step(self, track: Track, output: Anchor, operator: str) -> RowStep | None:
        """Make the step by which all rows of a frame went into one thing, as a fit does."""
        words = ", ".join([*track.operators, operator])
        if track.positions is None:
            return RowStep(words, track.anchor, output, "set", track.rows, 1, None, 0)
        import numpy as np

        rows = np.unique(track.positions)
        blob = write_rows(rows, "input")
        return (
            None
            if blob is None
            else RowStep(words, track.anchor, output, "set", len(rows), 1, blob)
        )


def written_rows(frame: Any, path: str) -> dict[str, Any] | None:
    """Give the facet `lodeline_rows` of a file that a tracked frame was written to, in order."""
    from lodeline.capture.row_steps import file_anchor

    track = TRACKING.find(frame)
    if track is None or not TRACKING.verify(frame, track):
        return None
    bound = file_anchor(path)
    step = None if bound is None else TRACKING.step(track, bound[0])
    if bound is None or step is None:
        return None
    ROW_STEPS.add([step])
    return ROW_STEPS.find_facet(bound[0])


@dataclass
class _Fits:
    """The rows that fitted estimators were fitted on, by weak identity."""

    known: dict[int, tuple[weakref.ref[Any], Track]] = field(default_factory=dict)


_FITS: Final = _Fits()


def note_fit(estimator: Any, table: Any) -> None:
    """Remember which rows an estimator was fitted on; without a verified track forget it."""
    track = TRACKING.find(table)
    key = id(estimator)
    if track is None or not TRACKING.verify(table, track):
        _FITS.known.pop(key, None)
        RECORDER.gap("rows: fit", "capture", "the rows of its table are not known")
        return
    known = _FITS.known
    known[key] = (weakref.ref(estimator, lambda _: known.pop(key, None)), track)


def fitted_rows(estimator: Any, namespace: str, name: str) -> dict[str, Any] | None:
    """Give the facet `lodeline_rows` of a model: the set of rows that it was fitted on.

    The output's version is left empty: it is the model's digest, which the deliverer computes.
    """
    entry = _FITS.known.get(id(estimator))
    if entry is None or entry[0]() is not estimator:
        return None
    output = Anchor(namespace, name)
    step = TRACKING.set_step(entry[1], output, "fit")
    if step is None:
        return None
    ROW_STEPS.add([step])
    return ROW_STEPS.find_facet(output)


def find_feature_rows(features: object) -> list[dict[str, object]]:
    """List the rows that a model's input is made of, for the record of a prediction.

    Empty where they are not known. Rows of something in memory are none that anyone could look
    up later, and are not listed.
    """
    from lodeline.limits import FEATURE_ROWS_MAX
    from lodeline.model import NodeId

    track = TRACKING.find(features)
    if track is None or track.anchor.in_memory or track.rows > FEATURE_ROWS_MAX:
        return []
    if not TRACKING.verify(features, track):
        return []
    dataset = str(NodeId("dataset", track.anchor.namespace, track.anchor.name))
    numbers = range(track.rows) if track.positions is None else track.positions
    return [
        {"dataset": dataset, "version": track.anchor.version, "key": str(int(number))}
        for number in numbers
    ]


def write_rows(rows: Any, column: str) -> str | None:
    """Write row numbers as a blob; `None` outside a run."""
    path = blob_draft()
    if path is None:
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({column: pa.array(rows, type=pa.int64())})
    pq.write_table(
        table,
        path,
        compression="zstd",
        use_dictionary=False,
        column_encoding={column: "DELTA_BINARY_PACKED"},
        version="2.6",
    )
    return keep_blob(path)


def _index(thing: Any) -> Any:
    """The index of a frame or series; for arrays, which have none, nothing to compare."""
    return getattr(thing, "index", None) if hasattr(thing, "iloc") else None


def _length(thing: Any) -> int:
    shape = getattr(thing, "shape", None)
    return int(shape[0]) if shape else 0


def _same_values(mine: Any, theirs: Any) -> bool:
    """Equal in every place, missing values where the other is missing; whatever the dtype."""
    mine, theirs = mine.reset_index(drop=True), theirs.reset_index(drop=True)
    missing = mine.isna()
    if not bool((missing == theirs.isna()).all()):
        return False
    equal = (mine == theirs).fillna(value=False)
    return bool((equal | missing).all())


def _copies_on_write() -> bool:
    """Whether a shallow copy keeps its values when the original changes: pandas 3 and later."""
    import pandas as pd

    return int(pd.__version__.partition(".")[0]) >= 3


TRACKING: Final = Tracking()
