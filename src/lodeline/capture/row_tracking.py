"""Which rows of which sources the rows of a table in memory were made of.

A *track* says that row i of a table is row `positions[i]` of a source. A source is a dataset at a
version, or something in memory, of which it is known by which *steps* its rows were made: a join
has two steps, one a side, a grouping has lists. Steps wait in memory until something that is
written, fitted or predicted needs them; then they are told, each once, and never their products.

A track is made when a table is read, and passed on only by operations whose effect on rows is known
exactly; any other operation loses it. Before anything is claimed the table's values are compared
with a snapshot, column by column: a column that was not changed on the way and yet differs means
that something happened unseen (a write through a numpy view, say), and nothing is claimed.

Tables are known by weak identity, and only as long as their index or their inner manager is the
very object it was when the track was made. Nothing is added to them.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Sequence
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
    steps_with_gaps,
)
from lodeline.capture.table_values import Snapshot, same_values, snapshot
from lodeline.limits import FIT_WEIGHTS_MAX, ROW_WINDOW_LINKS_MAX


@dataclass(frozen=True, slots=True)
class Lists:
    """Row i was made of the rows `values[offsets[i]:offsets[i + 1]]`, sorted."""

    offsets: Any
    values: Any


@dataclass(frozen=True, slots=True)
class Windows:
    """Row i was made of the rows `low[i]` up to, and without, `high[i]`."""

    low: Any
    high: Any


@dataclass(frozen=True, slots=True)
class Whole:
    """Each row was made of all rows."""


# `None`: row i of row i; an array: of one row, or -1 for none.
Mapping = Any
Gaps = tuple[tuple[str, str], ...]


@dataclass(slots=True, eq=False)
class Source:
    """Something whose rows have numbers.

    Attributes:
        anchor: its name.
        pending: the steps to it.
        told: whether they were told already.
    """

    anchor: Anchor
    pending: list[Pending] = field(default_factory=list)
    told: bool = False


@dataclass(slots=True, eq=False)
class Pending:
    """A step from a source, by way of the positions of the track that it was made of."""

    operator: str
    source: Source
    positions: Any
    mapping: Mapping
    rows: int
    input_rows: int
    gaps: Gaps


@dataclass(slots=True)
class Track:
    """The rows of one table.

    Attributes:
        source: that they are rows of.
        positions: row numbers in the source, one for each row; `None` for 0, 1, 2, …
        rows: how many.
        index: the table's index when the track was made.
        manager: the inner manager of its values, likewise.
        changed: columns whose values were changed since the snapshot.
        reference: the snapshot, to compare values with.
        places: row numbers in the snapshot, as `positions`.
        operators: what was done on the way from the source.
        gaps: (operator, detail) of what is not among the links.
    """

    source: Source
    positions: Any
    rows: int
    index: Any
    manager: Any = None
    changed: frozenset[Any] = frozenset()
    reference: Snapshot | None = None
    places: Any = None
    operators: tuple[str, ...] = ()
    gaps: Gaps = ()

    @property
    def anchor(self) -> Anchor:
        """The source's name."""
        return self.source.anchor

    @property
    def bare(self) -> bool:
        """Whether the table's rows are the source's, and nothing is left to say about them."""
        return self.positions is None and not self.operators and not self.gaps


Parent = tuple[Any, Track, Mapping]


class _Local(threading.local):
    """Per thread.

    Attributes:
        busy: an operation that is followed is running; what it does inside is its own business.
    """

    busy = 0


LOCAL: Final = _Local()


class Tracking:
    """The tracks of this process."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], Track]] = {}
        self._anchors: dict[int, tuple[weakref.ref[Any], Track, Anchor]] = {}
        self._lost: dict[int, tuple[weakref.ref[Any], str, str]] = {}

    @property
    def active(self) -> bool:
        """Whether there is anything to follow."""
        return bool(self._known or self._lost)

    def expose(self, array: Any, table: Any, track: Track) -> None:
        """Follow an array of a table's values, and note that it may be written to."""
        if track.reference is not None and array.flags.writeable:
            track.reference.exposed = True
        if len(array) == track.rows:
            self._restart(array, track.source, track.positions, track.operators, track.gaps)
            if not self.verify(table, track):
                self.end(array)

    def begin(self, table: Any, anchor: Anchor) -> None:
        """Start a track: row i of the table is row i of the anchor."""
        self._restart(table, Source(anchor), None, (), ())

    def begin_at(self, table: Any, source: Source) -> None:
        """Start a track: row i of the table is row i of a source whose steps still wait."""
        self._restart(table, source, None, (), ())

    def put(self, thing: Any, track: Track) -> None:
        """Remember a track."""
        key = id(thing)
        known = self._known
        self._lost.pop(key, None)
        try:
            known[key] = (weakref.ref(thing, lambda _: known.pop(key, None)), track)
        except TypeError:
            return

    def end(self, thing: Any) -> None:
        """Forget a track."""
        self._known.pop(id(thing), None)

    def lose(self, thing: Any, operator: str, detail: str) -> None:
        """End a track, and remember why: what is made of the thing has this as its gap."""
        self.end(thing)
        key = id(thing)
        lost = self._lost
        try:
            lost[key] = (weakref.ref(thing, lambda _: lost.pop(key, None)), operator, detail)
        except TypeError:
            return

    def find_loss(self, thing: Any) -> tuple[str, str] | None:
        """Tell which operation ended the track of a thing, and why."""
        entry = self._lost.get(id(thing))
        return None if entry is None or entry[0]() is not thing else entry[1:]

    def find(self, thing: Any) -> Track | None:
        """Give the track of a table, if it still holds."""
        entry = self._known.get(id(thing))
        if entry is None or entry[0]() is not thing:
            return None
        track = entry[1]
        if _length(thing) != track.rows:
            return None
        index = _index(thing)
        if index is track.index or (index is not None and index.is_(track.index)):
            return track
        same = track.manager is not None and _manager(thing) is track.manager
        return track if same else None

    def follow(
        self,
        child: Any,
        parent: Track,
        positions: Any,
        operator: str,
        *,
        changed: frozenset[Any] = frozenset(),
        gaps: Gaps = (),
    ) -> None:
        """Pass a track on.

        Args:
            child: what the operation gave.
            parent: the track before.
            positions: row numbers in the parent, one for each row of the child; `None` where the
                rows are the same.
            operator: in words.
            changed: columns whose values the operation changed.
            gaps: what is not among the links.
        """
        composed = _compose(parent.positions, positions)
        together = parent.places is parent.positions
        self.put(
            child,
            Track(
                parent.source,
                composed,
                _length(child),
                _index(child),
                _manager(child),
                parent.changed | changed,
                parent.reference,
                composed if together else _compose(parent.places, positions),
                _joined(parent.operators, (operator,)),
                _joined(parent.gaps, gaps),
            ),
        )

    def derive(self, child: Any, operator: str, parents: Sequence[Parent], gaps: Gaps = ()) -> None:
        """Start a new track for a table whose rows were made of other tables' rows.

        Each parent is verified first; where one fails, the child's rows are lost.

        Args:
            child: what the operation gave.
            operator: in words.
            parents: each a table, its track, and which of its rows each row of the child was made
                of.
            gaps: what is not among the links.
        """
        for thing, track, mapping in parents:
            if not self.verify(thing, track):
                self.lose(child, operator, "the values of its input are not those that were read")
                return
            if isinstance(mapping, Windows):
                count = int((mapping.high - mapping.low).clip(min=0).sum())
                if count > ROW_WINDOW_LINKS_MAX:
                    self.lose(child, operator, f"its windows hold {count} rows")
                    return
        first = parents[0][1]
        alike = all(
            mapping is None and track.source is first.source and _alike(track, first)
            for _, track, mapping in parents
        )
        told: Gaps = gaps
        operators: tuple[str, ...] = ()
        for _, track, _mapping in parents:
            told = _joined(told, track.gaps)
            operators = _joined(operators, track.operators)
        if alike and first.rows == _length(child):
            operators = _joined(operators, (operator,))
            self._restart(child, first.source, first.positions, operators, told)
            return
        source = Source(memory_anchor())
        for number, (_, track, mapping) in enumerate(parents):
            words = ", ".join(_joined(track.operators, (operator,)))
            noted = track.gaps if number else _joined(gaps, track.gaps)
            source.pending.append(_pending(words, track, mapping, _length(child), noted))
        self._restart(child, source, None, (), ())

    def adopt(
        self, child: Any, operator: str, parents: Sequence[tuple[Track, Mapping]], gaps: Gaps = ()
    ) -> None:
        """Start a track of a table whose links came with it; its parents were verified before.

        Args:
            child: what the operation gave.
            operator: in words.
            parents: tracks, and which of their rows each row of the child was made of.
            gaps: what is not among the links.
        """
        track, mapping = parents[0]
        plain = mapping is None or (not isinstance(mapping, Lists) and not (mapping < 0).any())
        if len(parents) == 1 and plain:
            words = _joined(track.operators, (operator,))
            positions = _compose(track.positions, mapping)
            self._restart(child, track.source, positions, words, _joined(track.gaps, gaps))
            return
        middle = middle_track(operator, parents, _length(child), gaps)
        self._restart(child, middle.source, None, (), ())

    def renew(self, table: Any, track: Track, operator: str) -> None:
        """Take a new snapshot of a table whose rows are those of a track, now with other values."""
        operators = _joined(track.operators, (operator,))
        self._restart(table, track.source, track.positions, operators, track.gaps)

    def derive_by_way(
        self, child: Any, operator: str, parent: Parent, groups: int, owners: Any
    ) -> None:
        """Start a new track of rows that were each made of one whole group of rows.

        Two steps, from rows to groups and from groups to rows, so that links stay few.

        Args:
            child: what the operation gave.
            operator: in words.
            parent: a table, its track, and the rows of each group.
            groups: how many groups.
            owners: the group of each row of the child.
        """
        thing, track, lists = parent
        if not self.verify(thing, track):
            self.lose(child, operator, "the values of its input are not those that were read")
            return
        words = ", ".join(_joined(track.operators, (operator,)))
        middle = Source(memory_anchor())
        middle.pending.append(_pending(words, track, lists, groups, track.gaps))
        source = Source(memory_anchor())
        source.pending.append(Pending(operator, middle, None, owners, _length(child), groups, ()))
        self._restart(child, source, None, (), ())

    def verify(self, table: Any, track: Track) -> bool:
        """Compare a table's values with those of the rows that its track claims.

        At least one column must be comparable; without one nothing can be claimed.
        """
        if track.reference is None:
            return False
        LOCAL.busy += 1
        try:
            different = same_values(table, track.reference.values, track.places, track.changed)
        finally:
            LOCAL.busy -= 1
        if different is None:
            return True
        if different:
            detail = f"column {different[0]} differs from the rows that were followed"
            RECORDER.gap("rows: verification", "capture", detail)
        return False

    def find_anchor(self, table: Any) -> Anchor | None:
        """Name something whose row i is row i of the table; for those who read tables whole."""
        track = self.find(table)
        if track is None or not self.verify(table, track):
            return None
        if track.bare:
            return track.anchor if tell_steps(track.source) else None
        entry = self._anchors.get(id(table))
        if entry is not None and entry[0]() is table and entry[1] is track:
            return entry[2]
        anchor = memory_anchor()
        step = self.step(track, anchor)
        if step is None:
            return None
        ROW_STEPS.add([step])
        key = id(table)
        anchors = self._anchors
        anchors[key] = (weakref.ref(table, lambda _: anchors.pop(key, None)), track, anchor)
        return anchor

    def step(self, track: Track, output: Anchor, *, operator: str = "") -> RowStep | None:
        """Make the step from a track's source to an output with the table's rows, in order."""
        if not tell_steps(track.source):
            return None
        words = ", ".join([*track.operators, operator] if operator else track.operators) or "copy"
        pending = Pending(
            words, track.source, track.positions, None, track.rows, track.rows, track.gaps
        )
        return _step(pending, output)

    def set_step(self, track: Track, output: Anchor, operator: str) -> RowStep | None:
        """Make the step by which all rows of a table went into one thing, as a fit does."""
        if not tell_steps(track.source):
            return None
        words = ", ".join([*track.operators, operator])
        return _step(
            Pending(words, track.source, track.positions, Whole(), 1, track.rows, track.gaps),
            output,
        )

    def _restart(
        self, table: Any, source: Source, positions: Any, operators: tuple[str, ...], gaps: Gaps
    ) -> None:
        LOCAL.busy += 1
        try:
            reference = snapshot(table)
        finally:
            LOCAL.busy -= 1
        track = Track(source, positions, _length(table), _index(table), _manager(table))
        track.reference, track.operators, track.gaps = reference, operators, gaps
        self.put(table, track)


def middle_track(
    operator: str, parents: Sequence[tuple[Track, Mapping]], rows: int, gaps: Gaps = ()
) -> Track:
    """Make a track of rows in memory that were made of other tracks' rows, which are verified.

    Args:
        operator: in words.
        parents: tracks, and which of their rows each row was made of.
        rows: how many.
        gaps: what is not among the links.
    """
    source = Source(memory_anchor())
    for number, (parent, links) in enumerate(parents):
        words = ", ".join(_joined(parent.operators, (operator,)))
        told = parent.gaps if number else _joined(gaps, parent.gaps)
        source.pending.append(_pending(words, parent, links, rows, told))
    return Track(source, None, rows, None)


def _pending(words: str, track: Track, mapping: Mapping, rows: int, gaps: Gaps) -> Pending:
    """A step to a child; one that was made of all rows goes by way of a single row."""
    if not isinstance(mapping, Whole):
        return Pending(words, track.source, track.positions, mapping, rows, track.rows, gaps)
    import numpy as np

    middle = Source(memory_anchor())
    middle.pending.append(
        Pending(words, track.source, track.positions, mapping, 1, track.rows, gaps)
    )
    return Pending(words, middle, None, np.zeros(rows, np.int64), rows, 1, ())


def tell_steps(source: Source) -> bool:
    """Write the steps that lead to a source, those before it first; `False` outside a run."""
    waiting = [source]
    while waiting:
        current = waiting[-1]
        before = [one.source for one in current.pending if not one.source.told]
        if current.told:
            waiting.pop()
            continue
        if before:
            waiting += before
            continue
        for pending in current.pending:
            step = _step(pending, current.anchor)
            if step is None:
                return False
            ROW_STEPS.add([step])
        current.told = True
        waiting.pop()
    return True


def _step(pending: Pending, output: Anchor) -> RowStep | None:
    """Write one step in the smallest shape that holds it."""
    anchor, mapping, positions = pending.source.anchor, pending.mapping, pending.positions
    words, rows, gaps = pending.operator, pending.rows, pending.gaps
    if isinstance(mapping, Whole):
        if positions is None:
            return RowStep(words, anchor, output, "set", pending.input_rows, 1, None, 0, gaps)
        import numpy as np

        members = np.unique(positions)
        blob = write_rows(members, "input")
        if blob is None:
            return None
        return RowStep(words, anchor, output, "set", len(members), 1, blob, None, gaps)
    if isinstance(mapping, (Lists, Windows)):
        lists = mapping if isinstance(mapping, Lists) else listed(mapping)
        if positions is not None:
            lists = _sorted_lists(Lists(lists.offsets, positions[lists.values]))
        blob = write_lists(lists)
        if blob is None:
            return None
        return RowStep(words, anchor, output, "lists", len(lists.values), rows, blob, None, gaps)
    places = _compose(positions, mapping)
    if places is None:
        return RowStep(words, anchor, output, "identity", rows, rows, None, None, gaps)
    start = _range_start(places)
    if start is not None:
        return RowStep(words, anchor, output, "range", rows, rows, None, start, gaps)
    blob = write_rows(places, "input")
    if blob is None:
        return None
    count = int((places >= 0).sum())
    return RowStep(words, anchor, output, "array", count, rows, blob, None, gaps)


def _range_start(places: Any) -> int | None:
    """The first of row numbers that follow one another."""
    if not len(places) or places[0] < 0 or places[-1] - places[0] != len(places) - 1:
        return None
    return int(places[0]) if bool((places[1:] - places[:-1] == 1).all()) else None


def _compose(outer: Any, inner: Any) -> Any:
    """Positions of positions; -1 stays what it is."""
    if inner is None or outer is None:
        return outer if inner is None else inner
    if not len(outer):
        return inner
    composed = outer[inner]
    if len(inner) and inner.min() < 0:
        composed[inner < 0] = -1
    return composed


def listed(windows: Windows) -> Lists:
    """Spell windows out."""
    import numpy as np

    low = np.asarray(windows.low, np.int64)
    counts = np.clip(np.asarray(windows.high, np.int64) - low, 0, None)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    values = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts) + np.repeat(low, counts)
    return Lists(offsets, values)


def _sorted_lists(lists: Lists) -> Lists:
    """Sort each list, and take each row once."""
    import numpy as np

    owner: Any = np.repeat(np.arange(len(lists.offsets) - 1), np.diff(lists.offsets))
    order = np.lexsort((lists.values, owner))
    owner, values = owner[order], lists.values[order]
    kept: Any = np.ones(len(values), bool)
    kept[1:] = (owner[1:] != owner[:-1]) | (values[1:] != values[:-1])
    kept &= values >= 0
    counts = np.bincount(owner[kept], minlength=len(lists.offsets) - 1)
    return Lists(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), values[kept])


def lists_of_pairs(outputs: Any, inputs: Any, rows: int) -> Lists:
    """Make lists of pairs of an output and an input row; a pair with -1 counts for nothing."""
    import numpy as np

    outputs, inputs = np.asarray(outputs, np.int64), np.asarray(inputs, np.int64)
    real = (outputs >= 0) & (inputs >= 0)
    outputs, inputs = outputs[real], inputs[real]
    order = np.argsort(outputs, kind="stable")
    counts = np.bincount(outputs, minlength=rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return _sorted_lists(Lists(offsets, inputs[order]))


def pending_of_pairs(
    operator: str,
    source: Source,
    pairs: Iterable[tuple[int, int]],
    rows: int,
    gaps: tuple[tuple[str, str], ...],
) -> Pending:
    """Make a step of pairs of an output and an input row, in any order, some perhaps twice."""
    import numpy as np

    unique = np.array(sorted(set(pairs)), np.int64).reshape(-1, 2)
    outputs, inputs = unique[:, 0], unique[:, 1]
    mapping: Any
    if len(np.unique(outputs)) == len(outputs):
        mapping = np.full(rows, -1, np.int64)
        mapping[outputs] = inputs
    else:
        mapping = lists_of_pairs(outputs, inputs, rows)
    return Pending(operator, source, None, mapping, rows, len(unique), gaps)


def _joined(one: tuple[Any, ...], two: Iterable[Any]) -> tuple[Any, ...]:
    return (*one, *(word for word in two if word not in one))


def _alike(one: Track, two: Track) -> bool:
    if one is two or one.positions is two.positions:
        return True
    if one.positions is None or two.positions is None or one.rows != two.rows:
        return False
    return bool((one.positions == two.positions).all())


def same_rows(one: Track, two: Track) -> bool:
    """Whether the rows of two tables are the same rows of the same source, in the same order."""
    return one.source is two.source and one.rows == two.rows and _alike(one, two)


def written_rows(table: Any, path: str) -> dict[str, Any] | None:
    """Give the facet `lodeline_rows` of a file that a table was written to, in order.

    A table whose rows were lost on the way is a gap that names the operation.
    """
    from lodeline.capture.row_steps import file_anchor

    track = TRACKING.find(table)
    if track is None:
        loss = TRACKING.find_loss(table)
        if loss is not None:
            RECORDER.gap(f"rows: {loss[0]}", "capture", loss[1])
        return None
    if not TRACKING.verify(table, track):
        return None
    bound = file_anchor(path)
    step = None if bound is None else TRACKING.step(track, bound[0])
    if bound is None or step is None:
        return None
    ROW_STEPS.add([step])
    return ROW_STEPS.find_facet(bound[0])


Sets = list[tuple[Track, str]]


@dataclass
class _Fits:
    """The rows that fitted estimators were fitted on, by weak identity; and what is not known."""

    known: dict[int, tuple[weakref.ref[Any], Sets, Gaps]] = field(default_factory=dict)


_FITS: Final = _Fits()


def note_fit(
    estimator: Any,
    table: Any,
    *,
    weights: Any = None,
    folds: Sequence[tuple[Any, str]] = (),
    others: Sequence[tuple[Any, str]] = (),
    again: bool = False,
    held: tuple[Any, Any] | None = None,
    unknown: str = "",
) -> None:
    """Remember which rows an estimator was fitted on; without a verified track forget it.

    Args:
        estimator: fitted.
        table: that it was fitted on.
        weights: of its rows; `None` where all count alike.
        folds: parts of the table that decided something beside, such as those that a search
            validated on: row numbers, and words for the step.
        others: tables that decided something, such as when to stop, with words likewise.
        again: it keeps what it learned from rows before.
        held: of the table, row numbers learned from, and those held back to decide when to stop.
        unknown: what is not known of such rows.
    """
    entry = _FITS.known.get(id(estimator)) if again else None
    sets, gaps = ([], ()) if entry is None or entry[0]() is not estimator else entry[1:]
    track = find_verified(table)
    if track is None:
        gap = TRACKING.find_loss(table) or ("fit", "the rows of its table are unknown")
        RECORDER.gap(f"rows: {gap[0]}", "capture", gap[1])
        if not again:
            _FITS.known.pop(id(estimator), None)
            return
        note_rows(estimator, sets, _joined(gaps, [gap]))
        return
    if unknown:
        gaps = _joined(gaps, [("fit", unknown)])
    found = _learned(track, weights, held)
    found += [(part_of(track, places), words) for places, words in folds]
    for other, words in others:
        known = find_verified(other)
        if known is None:
            gap = TRACKING.find_loss(other) or (words, "the rows of its table are unknown")
            gaps = _joined(gaps, [gap])
        else:
            found.append((known, words))
    note_rows(estimator, [*sets, *found], gaps)


def _learned(track: Track, weights: Any, held: tuple[Any, Any] | None) -> Sets:
    """The rows that a fit learned from by their weights, and those that it held back."""
    if held is None:
        return [(track, "fit")] if weights is None else weighed_sets(track, weights)
    import numpy as np

    learned, back = held
    part = part_of(track, learned)
    stopping = (part_of(track, back), "early stopping by validation_fraction")
    if weights is None:
        return [(part, "fit"), stopping]
    given = np.asarray(weights, np.float64).ravel()
    return [*weighed_sets(part, given[learned] if len(given) == track.rows else given), stopping]


def find_sets(estimator: Any) -> tuple[Sets, Gaps] | None:
    """Give the sets of rows that went into an estimator, and what is not known of them."""
    entry = _FITS.known.get(id(estimator))
    return None if entry is None or entry[0]() is not estimator else entry[1:]


def find_verified(table: Any) -> Track | None:
    """Give the track of a table whose values are those of its rows."""
    track = TRACKING.find(table)
    return track if track is not None and TRACKING.verify(table, track) else None


def note_rows(estimator: Any, sets: Sets, gaps: Gaps = ()) -> None:
    """Remember which rows went into an estimator, in some sets, each with words for its step."""
    key, known = id(estimator), _FITS.known
    known[key] = (weakref.ref(estimator, lambda _: known.pop(key, None)), sets, gaps)


def note_folds(estimator: Any, table: Any, folds: Sequence[tuple[Any, str]]) -> None:
    """Remember what an estimator did with some parts of a table: row numbers, and words."""
    track = find_verified(table)
    if track is not None:
        note_rows(estimator, [(part_of(track, places), words) for places, words in folds])


def part_of(track: Track, places: Any) -> Track:
    """Give the track of some rows of a table, by their places in it."""
    import numpy as np

    places = np.asarray(places, np.int64)
    part = Track(track.source, _compose(track.positions, places), len(places), None)
    part.operators, part.gaps = track.operators, track.gaps
    return part


def weighed_sets(track: Track, weights: Any) -> Sets:
    """Divide the rows of a fit by their weight; many different ones by ranges of weights."""
    import numpy as np

    given = np.asarray(weights, np.float64).ravel()
    if len(given) != track.rows or not np.isfinite(given).all():
        part = part_of(track, np.arange(track.rows))
        part.gaps = _joined(part.gaps, [("fit", "the weights of its rows are not known")])
        return [(part, "fit with sample_weight")]
    values = np.unique(given)
    if len(values) <= FIT_WEIGHTS_MAX:
        bounds = [(value, value) for value in values]
    else:
        # Rows of no weight stand apart: a model learned nothing from them.
        others = values[values != 0]
        parts = [[0.0]] if len(others) < len(values) else []
        parts += np.array_split(others, FIT_WEIGHTS_MAX - len(parts))
        bounds = [(part[0], part[-1]) for part in parts]
    found = []
    for low, high in bounds:
        kept = (given >= low) & (given <= high)
        if low < 0 < high:
            kept &= given != 0
        words = f"fit, sample_weight {float(low):.16g}"
        words += f" to {float(high):.16g}" if low != high else ""
        found.append((part_of(track, np.flatnonzero(kept)), words))
    return found


def note_aligned(result: Any, table: Any, operator: str) -> None:
    """Follow a result of which each row was made of the same row of a table."""
    if not hasattr(result, "__array_interface__") and not hasattr(result, "iloc"):
        return
    track = TRACKING.find(table)
    if track is None or _length(result) != track.rows or result is table:
        return
    if TRACKING.verify(table, track):
        TRACKING.adopt(result, operator, [(track, None)], ())


def fitted_rows(estimator: Any, namespace: str, name: str) -> dict[str, Any] | None:
    """Give the facet `lodeline_rows` of a model: the set of rows that it was fitted on.

    The output's version is left empty: it is the model's digest, which the deliverer computes.
    """
    entry = _FITS.known.get(id(estimator))
    if entry is None or entry[0]() is not estimator:
        return None
    output = Anchor(namespace, name)
    for number, (track, words) in enumerate(entry[1]):
        step = TRACKING.set_step(track, output, words)
        if step is None:
            return None
        told = _joined(step.gaps, entry[2]) if not number else step.gaps
        ROW_STEPS.add(steps_with_gaps([step], told))
    return ROW_STEPS.find_facet(output)


def find_origins(track: Track) -> tuple[list[set[tuple[Anchor, int]]], Gaps]:
    """Compose the steps behind a table: for each of its rows the rows that it was made of.

    For few rows only; answers about many compose what was written.

    Returns:
        Anchors and row numbers for each row, and what is not among them.
    """
    import numpy as np

    rows = np.arange(track.rows) if track.positions is None else track.positions
    found: list[set[tuple[Anchor, int]]] = [set() for _ in range(track.rows)]
    gaps = track.gaps
    waiting = [(track.source, [[int(row)] if row >= 0 else [] for row in rows])]
    while waiting:
        source, behind = waiting.pop()
        for pending in source.pending:
            gaps = _joined(gaps, pending.gaps)
            waiting.append((pending.source, [_behind(pending, some) for some in behind]))
        if not source.pending:
            for members, some in zip(found, behind, strict=True):
                members.update((source.anchor, row) for row in some)
    return found, gaps


def _behind(pending: Pending, rows: list[int]) -> list[int]:
    """The input rows of one step behind some output rows."""
    mapping, positions = pending.mapping, pending.positions
    if isinstance(mapping, Whole):
        found: Iterable[Any] = range(pending.input_rows) if rows else ()
    elif isinstance(mapping, Lists):
        found = [
            row for out in rows for row in mapping.values[slice(*mapping.offsets[out : out + 2])]
        ]
    elif isinstance(mapping, Windows):
        found = [row for out in rows for row in range(mapping.low[out], mapping.high[out])]
    else:
        found = rows if mapping is None else [mapping[out] for out in rows]
    numbers = (int(row) for row in found)
    kept = {row if positions is None else int(positions[row]) for row in numbers if row >= 0}
    return sorted(row for row in kept if row >= 0)


def find_feature_rows(features: object) -> list[dict[str, object]]:
    """List the rows that a model's input is made of, for the record of a prediction.

    Empty where they are not known, or too many. Rows of something in memory whose own sources are
    not known are none that anyone could look up later, and are not listed.
    """
    from lodeline.limits import FEATURE_ROWS_MAX
    from lodeline.model import NodeId

    track = TRACKING.find(features)
    if track is None or track.rows > FEATURE_ROWS_MAX or not TRACKING.verify(features, track):
        return []
    origins, _ = find_origins(track)
    together: dict[tuple[Anchor, int], None] = {}
    for some in origins:
        named = [pair for pair in some if not pair[0].in_memory]
        for pair in sorted(named, key=lambda one: (one[0].name, one[1])):
            together.setdefault(pair)
    if len(together) > FEATURE_ROWS_MAX:
        return []
    return [
        {
            "dataset": str(NodeId("dataset", anchor.namespace, anchor.name)),
            "version": anchor.version,
            "key": str(row),
        }
        for anchor, row in together
    ]


def write_rows(rows: Any, column: str) -> str | None:
    """Write row numbers as a blob, -1 as null; `None` outside a run."""
    import pyarrow as pa

    missing = rows < 0
    array = pa.array(rows, type=pa.int64(), mask=missing if bool(missing.any()) else None)
    return _write(pa.table({column: array}), column)


def write_lists(lists: Lists) -> str | None:
    """Write lists of row numbers as a blob; `None` outside a run."""
    import pyarrow as pa

    values = pa.array(lists.values, type=pa.int64())
    offsets = pa.array(lists.offsets, type=pa.int32())
    return _write(pa.table({"inputs": pa.ListArray.from_arrays(offsets, values)}), "inputs")


def _write(table: Any, column: str) -> str | None:
    path = blob_draft()
    if path is None:
        return None
    import pyarrow.parquet as pq

    plain = column == "input"
    pq.write_table(
        table,
        path,
        compression="zstd",
        use_dictionary=False,
        column_encoding={column: "DELTA_BINARY_PACKED"} if plain else None,
        version="2.6",
    )
    return keep_blob(path)


def _index(thing: Any) -> Any:
    """The index of a frame or series; for arrays, which have none, nothing to compare."""
    return getattr(thing, "index", None) if hasattr(thing, "iloc") else None


def _manager(thing: Any) -> Any:
    return getattr(thing, "_mgr", None)


def _length(thing: Any) -> int:
    shape = getattr(thing, "shape", None)
    return int(shape[0]) if shape else 0


TRACKING: Final = Tracking()
