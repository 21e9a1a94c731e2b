"""The graph index of a segment: a snapshot on disk, and what was folded since.

Large closures are walked on it, small ones go to SQL; both give the same answers. A snapshot holds
what the view held at its size. Of later entries, the groups that they belong to tell which
derivations may have changed: those are read from the store, at the moment of the question, and
their places in the snapshot do not count. A question about a position that the snapshot covers
needs no more than the snapshot.

Needs numpy (extra `server`); without it, or without a snapshot to use, answers come from SQL.
"""

from __future__ import annotations

import fcntl
import json
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from lodeline.errors import LodelineError
from lodeline.limits import INDEX_ENTRIES_MAX, INDEX_FIRST_MIN, INDEX_OVERLAY_MAX
from lodeline.query.compressed import Array, Walker
from lodeline.query.reach import Step
from lodeline.query.snapshot import (
    NEVER,
    SIDES,
    Homes,
    Level,
    Snapshot,
    Stamp,
    Stamped,
    join,
    load,
    read_stamp,
    save,
    stamp,
)
from lodeline.query.view import View
from lodeline.store import Segment
from lodeline.store.connections import Connection, has_table

_AMONG = "IN (SELECT value FROM json_each(:ids))"
# Derivations read at a time while a snapshot is built: bounds memory, and how long one statement
# keeps other threads waiting.
_DERIVATIONS_AT_A_TIME: Final = 200_000
# Columns whose datasets are looked up at a time.
_COLUMNS_AT_A_TIME: Final = 50_000
# Derivations looked up when a snapshot is opened, to see that its numbers are the view's.
_SAMPLES: Final = 32
_INT32_MAX: Final = (1 << 31) - 1
# Columns among nodes, with the number of their datasets; 0 where there is no such node.
_HOMES_AMONG: Final = (
    "SELECT n.node_id, coalesce(d.node_id, 0) FROM node n LEFT JOIN node d ON d.kind = 'dataset'"
    " AND d.namespace = n.namespace AND d.name = n.name AND d.part = ''"
    f" WHERE n.kind = 'datasetField' AND n.node_id {_AMONG}"
)


def folder_of(segment: Segment) -> Path | None:
    """Give the folder of a segment's snapshots; `None` where nothing lies beside the store."""
    path = getattr(segment, "path", None)
    return path.with_name(path.name + ".graph") if isinstance(path, Path) else None


def read_state(connection: Connection) -> tuple[int, int, int]:
    """Read (folded to, fold version, epoch) of the view; zeros where none is."""
    if not has_table(connection, "fold_state"):
        return (0, 0, 0)
    row = connection.execute("SELECT folded_to, fold_version, epoch FROM fold_state").fetchone()
    return (0, 0, 0) if row is None else (int(row[0]), int(row[1]), int(row[2]))


@dataclass(frozen=True, slots=True)
class Overlay:
    """What may differ from the snapshot, at one size of the view.

    Attributes:
        folded_to: that size.
        touched: rows of `derivation` that later groups assert or asserted, ascending.
    """

    folded_to: int
    touched: Array


class GraphIndex:
    """The index of one segment in one process. Threads may share it.

    Args:
        segment: whose log and view.
    """

    def __init__(self, segment: Segment) -> None:
        self._folder = folder_of(segment)
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._snapshot: Snapshot | None = None
        self._overlay: Overlay | None = None
        self._walkers = threading.local()

    def at(self, view: View) -> IndexedGraph | None:
        """Give the graph at a question's moment; `None` where SQL has to answer."""
        folded_to, fold_version, epoch = read_state(view.connection)
        with self._lock:
            snapshot = self._find_snapshot(view)
            if snapshot is None:
                return None
            told = snapshot.stamp
            if (told.fold_version, told.epoch) != (fold_version, epoch):
                return None
            if told.folded_to > folded_to:
                return None
            overlay = self._follow(view, told.folded_to, folded_to)
        if len(overlay.touched) > INDEX_OVERLAY_MAX or view.alias_map() is None:
            return None
        return IndexedGraph(self, snapshot, overlay, view)

    def _find_snapshot(self, view: View) -> Snapshot | None:
        if self._folder is None:
            return None
        found = read_stamp(self._folder)
        if found != self._stamp:
            self._stamp, self._snapshot, self._overlay = found, None, None
            self._walkers = threading.local()
            if found is not None and _is_of(found, view):
                loaded = load(self._folder)
                if loaded is not None and loaded.stamp == found and _agrees(loaded, view):
                    self._snapshot = loaded
        return self._snapshot

    def _follow(self, view: View, start: int, folded_to: int) -> Overlay:
        """Find what groups of later entries touch; what is known of earlier ones is kept."""
        known = self._overlay or Overlay(start, np.zeros(0, dtype=np.int64))
        if known.folded_to < folded_to:
            touched = _touched(view, known.folded_to, folded_to)
            merged = np.union1d(known.touched, touched)
            known = self._overlay = Overlay(folded_to, merged)
        return known

    def walker(self, level: Level, direction: str) -> Walker:
        """Give this thread's walker over what holds now between whole nodes."""
        name = f"{id(level)}-{direction}"
        found: Walker | None = getattr(self._walkers, name, None)
        if found is None:
            found = Walker(level.rows(direction, columns=False))
            setattr(self._walkers, name, found)
        return found


def _is_of(found: Stamp, view: View) -> bool:
    """Tell whether a snapshot is of the same log."""
    segment = view.segment
    if found.segment != segment.segment_id:
        return False
    try:
        return segment.root_at(found.folded_to).hex() == found.root_hash
    except LodelineError:
        return False  # The log is shorter: another one, or one restored from before.


def _agrees(snapshot: Snapshot, view: View) -> bool:
    """Look some derivations up, to see that the snapshot numbers them as the view does."""
    level = snapshot.level
    if not len(level.number):
        return True
    places = np.unique(np.linspace(0, len(level.number) - 1, _SAMPLES).astype(np.int64))
    rows = {
        int(level.number[i]): (int(level.source[i]), int(level.target[i]), int(level.job[i]))
        for i in places
    }
    sql = (
        "SELECT derivation_id, coalesce(source, 0), coalesce(target, 0), coalesce(job, 0)"
        f" FROM derivation WHERE derivation_id {_AMONG}"
    )
    return {row[0]: tuple(row[1:]) for row in view.select_among(sql, rows)} == rows


def _touched(view: View, start: int, stop: int) -> Array:
    """Give the derivations that groups of some entries assert, or ever did."""
    groups = view.select(
        "SELECT DISTINCT group_id FROM run_event WHERE position >= :start AND position < :stop",
        start=start,
        stop=stop,
    )
    sql = f"SELECT DISTINCT derivation_id FROM assertion WHERE group_id {_AMONG}"
    rows = view.select_among(sql, [row[0] for row in groups])
    return np.unique(np.fromiter((row[0] for row in rows), dtype=np.int64))


class IndexedGraph:
    """The graph of one question, on arrays.

    Args:
        index: lends walkers.
        snapshot: of an earlier size, or of this one.
        overlay: what may have changed since.
        view: at the question's moment.
    """

    def __init__(self, index: GraphIndex, snapshot: Snapshot, overlay: Overlay, view: View) -> None:
        self._index = index
        self.view = view
        self.kinds = snapshot.kinds
        self.level = snapshot.level
        self.homes = snapshot.homes
        moment = view.moment
        self._live = moment.newest and moment.valid_us is None
        self._untouched: Array | None = None
        self._steps: dict[tuple[str, bool], dict[int, list[tuple[int, Step]]]] = {
            (direction, columns): defaultdict(list)
            for direction in ("down", "up")
            for columns in (False, True)
        }
        self._overlaid: dict[tuple[str, bool], Array] = {}
        if moment.size > snapshot.stamp.folded_to and len(overlay.touched):
            self._lay_over(overlay.touched)
        self.canonical: Array | None = None
        # Node -> the one that it goes by, and back.
        self._goes_by: dict[int, int] = {}
        self._members: dict[int, list[int]] = {}
        self.stand_for(view.alias_map() or {})

    def _lay_over(self, touched: Array) -> None:
        level = self.level
        places: Array = np.searchsorted(level.number, touched)
        places = places[places < len(level.number)]
        places = places[np.isin(level.number[places], touched)]
        self._untouched = np.ones(len(level.number), dtype=np.bool_)
        self._untouched[places] = False
        view = self.view
        rows = view.select_among(
            "SELECT d.derivation_id, d.source, d.target, d.kind, d.job, d.columns FROM derivation d"
            f" WHERE d.derivation_id {_AMONG} AND EXISTS"
            " (SELECT 1 FROM assertion a WHERE a.derivation_id = d.derivation_id"
            f" AND {view.rectangle('a')})",
            touched.tolist(),
        )
        for number, source, target, kind, job, columns in rows:
            step = Step(source, target, kind, job)
            if source is not None:
                self._steps["down", bool(columns)][source].append((number, step))
            if target is not None:
                self._steps["up", bool(columns)][target].append((number, step))
        self._overlaid = {
            place: np.fromiter(sorted(by_node), dtype=np.int64)
            for place, by_node in self._steps.items()
        }

    def laid_over(self, *, columns: bool) -> list[Step]:
        """Give the derivations of one level that came since the snapshot, both ends there."""
        found = self._steps["down", columns].values()
        return [step for steps in found for _, step in steps if step.target is not None]

    def holding(self, start: int, stop: int, *, columns: bool) -> Array:
        """Give the derivations with both ends, by number from `start` to `stop`, that hold."""
        level = self.level
        first = int(np.searchsorted(level.number, start))
        last = int(np.searchsorted(level.number, stop))
        part = slice(first, last)
        mask = (level.columns[part] == columns) & (level.source[part] > 0)
        mask &= level.target[part] > 0
        if self._untouched is not None:
            mask &= self._untouched[part]
        edges: Array = first + np.flatnonzero(mask)
        edges = edges[level.holds(edges, self.view.moment.size, self.view.moment.valid_us)]
        over = [
            number
            for steps in self._steps["down", columns].values()
            for number, step in steps
            if start <= number < stop and step.target is not None
        ]
        found: Array = np.union1d(level.number[edges], np.array(over, dtype=np.int64))
        return found

    def stand_for(self, others: Mapping[int, int]) -> None:
        """Let nodes go by others, beside those that do already; whoever is not told of is its own.

        Args:
            others: node -> the one that it goes by.
        """
        self._goes_by.update(others)
        if not self._goes_by:
            return
        goes_by = self._goes_by
        found: Array = np.arange(
            max(self.level.node_count, *goes_by, *goes_by.values()) + 1, dtype=np.int64
        )
        found[list(goes_by)] = list(goes_by.values())
        self.canonical = found
        self._members = {}
        for node, other in goes_by.items():
            self._members.setdefault(other, []).append(node)

    @property
    def is_plain(self) -> bool:
        """Whether the live part of the snapshot is the whole graph of the moment."""
        return self._live and self._untouched is None and self.canonical is None

    def walker(self, direction: str) -> Walker:
        """Give a walker over the live part."""
        return self._index.walker(self.level, direction)

    def hop(
        self, nodes: Array, direction: str, *, columns: bool = False
    ) -> tuple[Array, list[tuple[int, Step]]]:
        """Give the derivations that leave nodes in a direction.

        Args:
            nodes: as the log names them.
            direction: `up` or `down`.
            columns: those of columns instead of those between whole nodes.

        Returns:
            Indexes into the snapshot's level, and those derivations that came since.
        """
        rows = self.level.rows(direction, columns=columns)
        within = nodes[nodes < len(rows.live_ends)]
        edges = rows.edges[rows.spans(within, live=self._live)]
        if not self._live:
            moment = self.view.moment
            edges = edges[self.level.holds(edges, moment.size, moment.valid_us)]
        if self._untouched is None:
            return edges, []
        edges = edges[self._untouched[edges]]
        by_node = self._steps[direction, columns]
        here = np.intersect1d(nodes, self._overlaid[direction, columns]).tolist()
        return edges, [step for node in here for step in by_node[node]]

    def members(self, nodes: Array) -> Array:
        """Give all nodes that canonical nodes stand for."""
        if self.canonical is None:
            return nodes
        standing = self._members
        if len(nodes) > len(standing):
            some = set(nodes[np.isin(nodes, list(standing))].tolist())
        else:
            some = standing.keys() & set(nodes.tolist())
        more = [member for node in some for member in standing[node]]
        return np.union1d(nodes, np.array(more, dtype=np.int64))

    def canonical_of(self, node: int) -> int:
        """Give the canonical node of one node."""
        return self._goes_by.get(node, node)

    def homes_among(self, nodes: Collection[int]) -> dict[int, int]:
        """Look up, for those of some nodes that are columns, their datasets; 0 for none."""
        return dict(self.view.select_among(_HOMES_AMONG, nodes))

    def name_canonically(self, nodes: Array) -> Array:
        """Give the canonical nodes of nodes."""
        canonical = self.canonical
        if canonical is None:
            return nodes
        found = nodes.astype(np.int64)
        within = found < len(canonical)
        found[within] = canonical[found[within]]
        return found

    def steps_at(self, edges: Array) -> Iterable[tuple[int, Step]]:
        """Spell out derivations by index, their ends under canonical names."""
        level, kinds = self.level, self.kinds
        columns = [
            level.number[edges].tolist(),
            self.name_canonically(level.source[edges]).tolist(),
            self.name_canonically(level.target[edges]).tolist(),
            level.kind[edges].tolist(),
            level.job[edges].tolist(),
        ]
        for number, source, target, kind, job in zip(*columns, strict=True):
            yield number, Step(source or None, target or None, kinds[kind], job or None)


def tell_apart(before: Array, after: Array) -> tuple[list[int], list[int]]:
    """Give what only one of two ascending arrays has, and what both have."""
    moved: list[int] = np.setxor1d(before, after, assume_unique=True).tolist()
    stayed: list[int] = np.intersect1d(before, after, assume_unique=True).tolist()
    return moved, stayed


_INDEXES: WeakKeyDictionary[Segment, GraphIndex] = WeakKeyDictionary()
_INDEXES_LOCK = threading.Lock()


def index_of(segment: Segment) -> GraphIndex:
    """Give this process's index of a segment."""
    with _INDEXES_LOCK:
        found = _INDEXES.get(segment)
        if found is None:
            found = _INDEXES[segment] = GraphIndex(segment)
    return found


def build_snapshot(segment: Segment) -> Stamp | None:
    """Write a snapshot of the view as it is.

    Returns:
        What it is of; `None` where there is nowhere to keep one, another process is at it, or
        numbers are too large.

    Raises:
        OSError: it can't be written.
        LodelineError: the store can't be read.
    """
    folder = folder_of(segment)
    if folder is None:
        return None
    folder.mkdir(mode=0o700, exist_ok=True)
    with _alone(folder / "lock") as is_alone:
        if not is_alone:
            return None
        with segment.reading() as connection:
            snapshot = _read_snapshot(segment, connection)
        if snapshot is not None:
            save(folder, snapshot)
    return None if snapshot is None else snapshot.stamp


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Tell whether no other process builds; the kernel lets go of the lock with its holder."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _read_snapshot(segment: Segment, connection: Connection) -> Snapshot | None:
    folded_to, fold_version, epoch = read_state(connection)
    (greatest,) = connection.execute("SELECT coalesce(max(node_id), 0) FROM node").fetchone()
    if greatest >= _INT32_MAX:
        return None
    rows = connection.execute("SELECT DISTINCT kind FROM derivation ORDER BY kind").fetchall()
    kinds = tuple(row[0] for row in rows)
    level = _read_level(connection, kinds)
    root_hash = segment.root_at(folded_to).hex()
    of = Stamp(segment.segment_id, fold_version, epoch, folded_to, root_hash)
    return Snapshot(of, kinds, level, _read_homes(connection, level))


def _read_level(connection: Connection, kinds: Sequence[str]) -> Level:
    (greatest,) = connection.execute(
        "SELECT coalesce(max(derivation_id), 0) FROM derivation"
    ).fetchone()
    parts: list[Stamped] = []
    which = " ".join(f"WHEN '{kind}' THEN {i}" for i, kind in enumerate(kinds))
    for start in range(0, greatest + 1, _DERIVATIONS_AT_A_TIME):
        bounds = {"start": start, "stop": start + _DERIVATIONS_AT_A_TIME, "never": NEVER}
        derivations = _table(
            connection,
            "SELECT derivation_id, coalesce(source, 0), coalesce(target, 0), coalesce(job, 0),"
            f" CASE kind {which or 'WHEN NULL THEN 0'} ELSE 0 END, columns FROM derivation"
            " WHERE derivation_id >= :start AND derivation_id < :stop ORDER BY derivation_id",
            bounds,
            ("number", "source", "target", "job", "kind", "columns"),
        )
        rectangles = _table(
            connection,
            "SELECT a.derivation_id, a.position_from, coalesce(a.position_to, :never),"
            " a.valid_from, coalesce(a.valid_to, :never) FROM assertion a"
            " WHERE a.derivation_id >= :start AND a.derivation_id < :stop",
            bounds,
            ("number", *SIDES),
        )
        narrow: dict[str, Any] = {"kind": np.uint8, "columns": np.bool_}
        narrow |= dict.fromkeys(("source", "target", "job"), np.int32)
        derivations |= {name: derivations[name].astype(kind) for name, kind in narrow.items()}
        parts.append(stamp(derivations, rectangles))
    return join(parts)


def _read_homes(connection: Connection, level: Level) -> Homes:
    """Read whose the columns are that derivations join, and which nodes are datasets."""
    joined = level.columns
    ends = np.unique(np.concatenate([level.source[joined], level.target[joined]]))
    pairs: list[Array] = []
    for start in range(0, len(ends), _COLUMNS_AT_A_TIME):
        some = {"ids": json.dumps(ends[start : start + _COLUMNS_AT_A_TIME].tolist())}
        found = _table(connection, _HOMES_AMONG, some, ("column", "home"))
        pairs.append(np.stack(list(found.values())))
    columns, homes = np.concatenate([np.zeros((2, 0), dtype=np.int64), *pairs], axis=1)
    if not len(columns):
        return Homes.build(0, columns, homes, columns)
    datasets = _table(connection, "SELECT node_id FROM node WHERE kind = 'dataset'", {}, ("node",))
    datasets = datasets["node"]
    count = 1 + max(level.node_count - 1, int(homes.max()), int(datasets.max(initial=0)))
    return Homes.build(count, columns, homes, datasets)


def _table(
    connection: Connection, sql: str, parameters: Mapping[str, object], names: Collection[str]
) -> dict[str, Array]:
    """Read rows of integers into a column an array."""
    rows = connection.execute(sql, parameters)
    flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64).reshape(-1, len(names))
    return {name: np.ascontiguousarray(flat[:, i]) for i, name in enumerate(names)}


def is_outgrown(segment: Segment) -> bool:
    """Tell whether a snapshot is due: there is none to use, or many entries came since."""
    folder = folder_of(segment)
    if folder is None:
        return False
    with segment.reading() as connection:
        folded_to, fold_version, epoch = read_state(connection)
    found = read_stamp(folder)
    of_this_view = found is not None and (
        (found.segment, found.fold_version, found.epoch)
        == (segment.segment_id, fold_version, epoch)
        and found.folded_to <= folded_to
    )
    if found is None or not of_this_view:
        return folded_to >= INDEX_FIRST_MIN
    return folded_to - found.folded_to >= INDEX_ENTRIES_MAX
