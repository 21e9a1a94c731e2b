"""The map of the log, kept up and published: which entries assert something about which node.

Kept up from the log in batches, each one transaction that moves `map_state` with it, so that a
batch counts once or not at all and a crash costs at most one. Published as a `map` leaf, whose
root covers exactly the entries before it: what is left to map is mapped under the writer's lock,
in the transaction that appends the leaf. What is what lies in `fold.subjects` (which nodes) and
`proof.merkle_map` (which bytes).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from lodeline.errors import MapNotKeptError, UnknownPositionError
from lodeline.limits import MAP_ENTRIES_MAX, MAP_INTERVAL_US, MAP_RECOMPUTED_MENTIONS_MAX
from lodeline.proof import MapHead, MapProof, map_key, positions_value
from lodeline.proof.merkle_map import prove_in
from lodeline.store import Segment
from lodeline.store.connections import Connection
from lodeline.store.map_tables import MapTables, last_map_position, map_all, map_batch

# Rounds of catching up before the rest is mapped under the lock, however much it is.
_ROUNDS_MAX: Final = 5


def catch_up_map(segment: Segment) -> int:
    """Map what the log has and the map has not; publishes nothing.

    Returns:
        How many entries are mapped.
    """
    while True:
        with segment.reading() as connection:
            mapped_to = MapTables(connection).state()[0]
        if mapped_to >= segment.size():
            return mapped_to
        with segment.writing(durable=False) as connection:
            map_batch(connection)


def publish_map(segment: Segment, *, force: bool = False) -> int | None:
    """Append a `map` leaf over all entries before it, unless one says it already.

    Args:
        segment: whose log.
        force: even when the newest `map` leaf is younger than a minute. A leaf that would follow
            nothing but `map` leaves is never appended.

    Returns:
        Position of the newest `map` leaf; None if there is none and nothing to map.

    Raises:
        StoreFullError: no room; the log is whole.
        StoreUnreachableError: the store cannot be written.
        KeyMissingError: the log's keys are not there.
    """
    with segment.reading() as connection:
        last = last_map_position(connection)
        if not _has_news(connection, last) or (not force and _is_young(connection, last)):
            return last
    for _ in range(_ROUNDS_MAX):
        catch_up_map(segment)
        # In steps: a first map of a large log must not hold the lock for as long as it takes.
        settled = 1
        while settled:
            with segment.writing(durable=False) as connection:
                settled = MapTables(connection).settle()
        with segment.reading() as connection:
            (size,) = connection.execute("SELECT max(position) + 1 FROM entry").fetchone()
            if size - MapTables(connection).state()[0] <= MAP_ENTRIES_MAX:
                break
    appended = segment.append_computed("map", _head)
    if appended is not None:
        return appended.position
    with segment.reading() as connection:
        return last_map_position(connection)


def _head(connection: Connection, position: int) -> Mapping[str, object] | None:
    """Map the rest and give the record, inside the transaction that appends it."""
    # Another process may have published since the first look.
    if not _has_news(connection, last_map_position(connection)):
        return None
    map_all(connection)
    tables = MapTables(connection)
    return MapHead(position, tables.root(), tables.key_count()).to_json()


def _has_news(connection: Connection, last: int | None) -> bool:
    row = connection.execute(
        "SELECT 1 FROM entry WHERE position > ? AND kind <> 'map' LIMIT 1",
        (-1 if last is None else last,),
    )
    return row.fetchone() is not None


def _is_young(connection: Connection, last: int | None) -> bool:
    if last is None:
        return False
    (log_time_us,) = connection.execute(
        "SELECT log_time FROM entry WHERE position = ?", (last,)
    ).fetchone()
    # After a clock was set back, a leaf from the future is not young for long.
    return 0 <= time.time_ns() // 1000 - int(log_time_us) < MAP_INTERVAL_US


def map_positions(segment: Segment, node_id: str, map_position: int) -> list[int]:
    """List the entries that a map knows to assert something about a node, in ascending order.

    Args:
        segment: whose log.
        node_id: canonical identifier without version.
        map_position: of the `map` leaf.

    Raises:
        UnknownPositionError: no `map` leaf stands there.
    """
    with segment.reading() as connection:
        _check_map(connection, map_position)
        return MapTables(connection).positions(map_key(node_id), below=map_position)


def map_proof(segment: Segment, node_id: str, map_position: int) -> MapProof:
    """Prove what a map says of a node: its positions, or that there are none.

    Arguments and errors as `prove_nodes`'s.
    """
    return prove_nodes(segment, [node_id], map_position)[node_id][1]


def prove_nodes(
    segment: Segment, node_ids: Iterable[str], map_position: int
) -> dict[str, tuple[list[int], MapProof]]:
    """Give, for each node, its positions under a map and their proof, all from one snapshot.

    The newest map is proven from its tables. An earlier one, or one that the tables have gone
    past, is computed again, which takes the whole map.

    Args:
        segment: whose log.
        node_ids: canonical identifiers without version.
        map_position: of the `map` leaf.

    Raises:
        UnknownPositionError: no `map` leaf stands there.
        MapNotKeptError: an earlier map of more mentions than are computed again at a question.
    """
    with segment.reading() as connection:
        _check_map(connection, map_position)
        tables = MapTables(connection)
        mapped_to, last_mention = tables.state()
        (dirty,) = connection.execute("SELECT count(*) FROM map_dirty").fetchone()
        keys = {node: map_key(node) for node in node_ids}
        if last_mention < map_position <= mapped_to and not dirty:
            return {
                node: (tables.positions(key, below=map_position), tables.prove(key))
                for node, key in keys.items()
            }
        if mapped_to < map_position or tables.mention_count() > MAP_RECOMPUTED_MENTIONS_MAX:
            raise MapNotKeptError(map_position)
        known = tables.items_at(map_position)
    items = sorted((key, positions_value(positions)) for key, positions in known.items())
    return {node: (known.get(key, []), prove_in(items, key)) for node, key in keys.items()}


def _check_map(connection: Connection, map_position: int) -> None:
    row = connection.execute(
        "SELECT 1 FROM entry WHERE position = ? AND kind = 'map'", (map_position,)
    ).fetchone()
    if row is None:
        (size,) = connection.execute("SELECT count(*) FROM entry").fetchone()
        raise UnknownPositionError(map_position, size)
