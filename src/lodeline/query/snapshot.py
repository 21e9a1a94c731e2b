"""The graph's adjacency as files beside the store, mapped into memory by every process.

`<store>.graph/` holds numbers only: of nodes, derivations, positions and times. It is a view of a
view: whoever deletes it costs a rebuild, and one that is not of this log, this numbering and this
fold, or whose bytes are not those that were written, is not used.

- `manifest.json`: what the snapshot is of, and checksum and size of each array; replaced at once.
- `<token>-<array>.npy`: the arrays of one snapshot.

Derivations between whole nodes and between columns lie in the same arrays, each level with its own
rows of neighbours; beside them stands whose the columns are. Every derivation carries one rectangle
of positions and event times (`store.graph_tables`) within which it holds; those few that one does
not cover have more, in the `more_*` arrays. Rectangles that lie within another of the same
derivation are left out.

Needs numpy (extra `server`).
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from lodeline.query.compressed import Array, Rows

FORMAT: Final = 2
# Stands for an end that is open: later than any position or time.
NEVER: Final = (1 << 63) - 1
SIDES: Final = ("position_from", "position_to", "valid_from", "valid_to")
# Bytes hashed at a time.
_CHUNK: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a snapshot is of; one with another stamp is void.

    Attributes:
        segment: identifier of the log.
        fold_version: of the fold that made the view.
        epoch: of the view's numbers.
        folded_to: entries that the view had.
        root_hash: of the log at that size.
    """

    segment: str
    fold_version: int
    epoch: int
    folded_to: int
    root_hash: str


@dataclass(frozen=True, slots=True)
class Homes:
    """Which columns are whose; arrays are empty where no derivation has a column as an end.

    Attributes:
        home: int32 by number of a node: of a column its dataset's number, 0 where that is no node;
            of any other node its own.
        dataset: bool by number of a node, whether it is a dataset.
        starts: int64; columns of `i` stand in `columns` at `starts[i]:starts[i + 1]`.
        columns: int32, columns that are an end of any derivation, by their datasets.
    """

    home: Array
    dataset: Array
    starts: Array
    columns: Array

    @staticmethod
    def build(count: int, columns: Array, homes: Array, datasets: Array) -> Homes:
        """Sort columns by their datasets.

        Args:
            count: one more than the greatest number of a node.
            columns: numbers of columns.
            homes: those of their datasets, beside them; 0 for none.
            datasets: numbers of all datasets.
        """
        home: Array = np.arange(count, dtype=np.int32)
        home[columns] = homes
        dataset: Array = np.zeros(count, dtype=np.bool_)
        dataset[datasets] = True
        order = np.argsort(homes, kind="stable")
        starts: Array = np.zeros(count + 1, dtype=np.int64)
        np.cumsum(np.bincount(homes, minlength=count), out=starts[1:])
        return Homes(home, dataset, starts, columns[order].astype(np.int32))

    def columns_of(self, datasets: Array) -> Array:
        """Give the columns of datasets, as far as derivations have them as ends."""
        within = datasets[(datasets > 0) & (datasets < len(self.home))]
        first = self.starts[within]
        counts = self.starts[within + 1] - first
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        places = np.arange(total, dtype=np.int64) + np.repeat(first - ends + counts, counts)
        return self.columns[places].astype(np.int64)


@dataclass(frozen=True, slots=True)
class Level:
    """All derivations; arrays are one item each.

    Attributes:
        number: row of `derivation`, ascending.
        source, target, job: rows of `node`; 0 where the derivation has none.
        kind: place in `Snapshot.kinds`.
        columns: whether a column is an end.
        position_from, position_to, valid_from, valid_to: the rectangle; `NEVER` where open.
        live: whether it holds at the snapshot's size without a bound of event time.
        more_of: index of a derivation with a further rectangle, ascending.
        more: (position_from, position_to, valid_from, valid_to) beside it.
        down, up: those between whole nodes, by source, and by target.
        columns_down, columns_up: those of which a column is an end.
    """

    number: Array
    source: Array
    target: Array
    job: Array
    kind: Array
    columns: Array
    position_from: Array
    position_to: Array
    valid_from: Array
    valid_to: Array
    live: Array
    more_of: Array
    more: Array
    down: Rows
    up: Rows
    columns_down: Rows
    columns_up: Rows

    @property
    def node_count(self) -> int:
        """One more than the greatest number of a node."""
        return max(len(self.down.live_ends), len(self.columns_down.live_ends))

    def rows(self, direction: str, *, columns: bool) -> Rows:
        """Give the neighbours of a direction, of one level."""
        if direction == "up":
            return self.columns_up if columns else self.up
        return self.columns_down if columns else self.down

    def holds(self, edges: Array, size: int, valid_us: int | None) -> Array:
        """Tell which derivations, by index, hold at a moment."""
        found: Array = _contains(
            self.position_from[edges],
            self.position_to[edges],
            self.valid_from[edges],
            self.valid_to[edges],
            size=size,
            valid_us=valid_us,
        )
        if len(self.more_of):
            first: Array = np.searchsorted(self.more_of, edges, side="left")
            counts: Array = np.searchsorted(self.more_of, edges, side="right") - first
            some = np.flatnonzero(counts)
            for i in some.tolist():
                place = slice(int(first[i]), int(first[i] + counts[i]))
                found[i] |= _contains(
                    *[side[place] for side in self.more], size=size, valid_us=valid_us
                ).any()
        return found


def _contains(
    position_from: Array,
    position_to: Array,
    valid_from: Array,
    valid_to: Array,
    *,
    size: int,
    valid_us: int | None,
) -> Array:
    known = (position_from < size) & (position_to >= size)
    if valid_us is None:
        return known & (valid_to == NEVER)
    return known & (valid_from <= valid_us) & (valid_to > valid_us)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot in use.

    Attributes:
        stamp: what it is of.
        kinds: of derivations.
        level: the derivations.
        homes: the columns that they join.
    """

    stamp: Stamp
    kinds: tuple[str, ...]
    level: Level
    homes: Homes


@dataclass(frozen=True, slots=True)
class Stamped:
    """Derivations with their rectangles, a part of all."""

    columns: dict[str, Array]
    more_of: Array
    more: Array


def stamp(derivations: Mapping[str, Array], rectangles: Mapping[str, Array]) -> Stamped:
    """Give each derivation its rectangles, without those that lie within another.

    Args:
        derivations: `number` (ascending), `source`, `target`, `job`, `kind`, `columns`.
        rectangles: `number` of the derivation, and the four sides, of every assertion of these.
    """
    order: Array = np.lexsort(
        (
            rectangles["valid_from"],
            rectangles["position_from"],
            -rectangles["valid_to"],
            -rectangles["position_to"],
            rectangles["number"],
        )
    )
    owner: Array = np.searchsorted(derivations["number"], rectangles["number"][order])
    sides = {name: rectangles[name][order] for name in SIDES}
    first: Array = np.ones(len(owner), dtype=np.bool_)
    first[1:] = owner[1:] != owner[:-1]
    # 1. The main one is the most open, and the earliest of those: if any holds now, it does.
    main: Array = np.flatnonzero(first)
    run: Array = np.cumsum(first) - 1
    # 2. The others count where they do not lie within it.
    within: Array = np.ones(len(owner), dtype=np.bool_)
    for name in SIDES:
        bound = sides[name][main][run]
        within &= sides[name] >= bound if name.endswith("from") else sides[name] <= bound
    rest: Array = np.flatnonzero(~within)
    columns = {name: column[owner[main]] for name, column in derivations.items()}
    columns |= {name: sides[name][main] for name in SIDES}
    more: Array = np.stack([sides[name][rest] for name in SIDES])
    return Stamped(columns, run[rest].astype(np.int64), more)


def join(parts: Sequence[Stamped]) -> Level:
    """Put parts together, given by ascending numbers."""
    columns = {
        name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns
    }
    before = np.cumsum([0, *(len(part.columns["number"]) for part in parts)])
    live = (columns["position_to"] == NEVER) & (columns["valid_to"] == NEVER)
    rows = {}
    for name, of_columns in (("", False), ("columns_", True)):
        some: Array = np.flatnonzero(columns["columns"] == of_columns)
        near, far = columns["source"][some], columns["target"][some]
        count = 1 + max(int(end.max(initial=0)) for end in (near, far))
        rows[f"{name}down"] = _rows(count, near, far, live[some], some)
        rows[f"{name}up"] = _rows(count, far, near, live[some], some)
    return Level(
        **columns,
        live=live,
        more_of=np.concatenate(
            [part.more_of + shift for part, shift in zip(parts, before, strict=False)]
        ),
        more=np.concatenate([part.more for part in parts], axis=1),
        **rows,
    )


def _rows(count: int, near: Array, far: Array, live: Array, some: Array) -> Rows:
    """Make the rows of some derivations, given by their indexes beside their ends."""
    rows = Rows.build(count, near, far, live)
    # Node 0 stands for the end that a half-derivation lacks: nothing leads on from there.
    rows.live_ends[0] = rows.starts[0]
    return Rows(rows.starts, rows.live_ends, rows.neighbours, some[rows.edges].astype(np.int32))


_ROWS: Final = ("starts", "live_ends", "neighbours", "edges")
_SIDES_OF_ROWS: Final = ("down", "up", "columns_down", "columns_up")
_COLUMNS: Final = (
    *("number", "source", "target", "job", "kind", "columns", *SIDES),
    *("live", "more_of", "more"),
)
_HOMES: Final = ("home", "dataset", "starts", "columns")


def _arrays_of(snapshot: Snapshot) -> dict[str, Array]:
    level = snapshot.level
    found = {name: getattr(level, name) for name in _COLUMNS}
    for side in _SIDES_OF_ROWS:
        found |= {f"{side}-{name}": getattr(getattr(level, side), name) for name in _ROWS}
    return found | {f"homes-{name}": getattr(snapshot.homes, name) for name in _HOMES}


def save(folder: Path, snapshot: Snapshot) -> None:
    """Write a snapshot, and let it take the place of the one before.

    Raises:
        OSError: no room, or no permission.
    """
    token = secrets.token_hex(8)
    arrays: dict[str, dict[str, object]] = {}
    try:
        for name, array in _arrays_of(snapshot).items():
            path = folder / f"{token}-{name}.npy"
            np.save(path, array, allow_pickle=False)
            arrays[name] = {"bytes": path.stat().st_size, "crc32": _checksum(path)}
        manifest = {
            "format": FORMAT,
            "token": token,
            "stamp": {name: getattr(snapshot.stamp, name) for name in Stamp.__slots__},
            "kinds": list(snapshot.kinds),
            "arrays": arrays,
        }
        waiting = folder / f"{token}.json"
        waiting.write_text(json.dumps(manifest), encoding="utf-8")
        waiting.replace(folder / "manifest.json")
    except BaseException:
        _remove(folder, lambda name: name.startswith(token))
        raise
    # Processes that have the earlier one mapped keep it until they look again.
    _remove(folder, lambda name: name.endswith(".npy") and not name.startswith(token))


def _remove(folder: Path, doomed: Callable[[str], bool]) -> None:
    for path in folder.iterdir():
        if doomed(path.name):
            path.unlink(missing_ok=True)


def _checksum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total = zlib.crc32(chunk, total)
    return total


def read_stamp(folder: Path) -> Stamp | None:
    """Read what the snapshot of a folder is of; `None` where there is none to use."""
    manifest = _read_manifest(folder)
    return None if manifest is None else Stamp(**manifest["stamp"])


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            return None
        Stamp(**manifest["stamp"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(manifest)


def load(folder: Path) -> Snapshot | None:
    """Map the snapshot of a folder; `None` where there is none, or not all of it as written."""
    manifest = _read_manifest(folder)
    if manifest is None:
        return None
    arrays: dict[str, Array] = {}
    try:
        for name, told in manifest["arrays"].items():
            path = folder / f"{manifest['token']}-{name}.npy"
            if path.stat().st_size != told["bytes"] or _checksum(path) != told["crc32"]:
                return None
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            # A plain array over the same memory: a memmap costs a millisecond an index.
            arrays[name] = mapped.view(np.ndarray)
        return Snapshot(
            Stamp(**manifest["stamp"]),
            tuple(manifest["kinds"]),
            _level_of(arrays),
            Homes(**{name: arrays[f"homes-{name}"] for name in _HOMES}),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _level_of(arrays: Mapping[str, Array]) -> Level:
    rows = {
        side: Rows(**{name: arrays[f"{side}-{name}"] for name in _ROWS}) for side in _SIDES_OF_ROWS
    }
    return Level(**{name: arrays[name] for name in _COLUMNS}, **rows)
