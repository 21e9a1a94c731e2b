"""The fold at speed: new log entries into the view tables, in micro-batches.

Meaning lies in `fold`; here is only when and where. Each batch is one transaction of the view:
entries are sliced and looked up (`contents`), stepped through their groups (`groups`), and the
differences written (`rectangles`), with `fold_state.folded_to` moved on in the same transaction,
so a batch counts once or not at all.

What is kept in memory mirrors the tables as this process left them. If another process has folded
since, or a batch failed, it is thrown away and read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from lodeline.fold import FOLD_VERSION
from lodeline.fold.registers import parent_jobs
from lodeline.fold.relations import BASES, GroupKey
from lodeline.ingest import stitching
from lodeline.ingest.collecting import collector_paused
from lodeline.ingest.contents import Content, Contents, EventSlice, UsesState, slice_stored
from lodeline.ingest.groups import Group, GroupEvent
from lodeline.ingest.interning import Interning
from lodeline.ingest.rectangles import RectangleWriter
from lodeline.ingest.stitching import stitch
from lodeline.limits import (
    CONTENTS_CACHED_MAX,
    CONTENTS_REMEMBERED_MAX,
    FOLD_EVENTS_MAX,
    FUTURE_TOLERANCE_US,
    GROUPS_CACHED_MAX,
    PART_BYTES_MAX,
)
from lodeline.model import NodeId, parse_identifier, parse_time
from lodeline.store import Segment
from lodeline.store.connections import Connection, has_table
from lodeline.store.graph_tables import create_graph_tables, drop_graph_tables
from lodeline.store.planning import Statistics
from lodeline.store.search_tables import has_search_tables, note_described
from lodeline.wire import content_digest

_decode_facets: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
# A run's facets are parsed only if one of them may matter to the fold.
_RUN_MARKS: Final = (b'"parent"', b'"lodeline_', b'"lineage"')
_PARAMETERS_MAX: Final = 500  # SQLite takes 999 in its oldest supported builds.

# position, log time, kind, payload
_Row = tuple[int, int, str, bytes | None]


def fold_pending(segment: Segment, *, progress: Callable[[int], None] | None = None) -> int:
    """Fold what the log has and the view has not.

    New versions of models and deployments get their numbers in the log as `alias` records, which
    are folded too.

    Args:
        segment: whose log and view.
        progress: called after each batch with the log's size that the view has reached.

    Returns:
        The log's size that the view has reached.

    Raises:
        StoreFullError: no room; the log is whole, and folding goes on where it stopped.
        StoreUnreachableError: the store cannot be written.
    """
    # What the view shows stands under a checkpoint.
    segment.sign_pending()
    _log_fold_version(segment)
    while True:
        folded_to, unnumbered = _fold_batches(segment, progress)
        # Copies are told by events of their own, which are folded in turn.
        if not unnumbered and not stitch(segment):
            return folded_to
        for node, number, version in unnumbered:
            segment.append_record("alias", {"node": node, "number": number, "version": version})


def rebuild(segment: Segment, *, progress: Callable[[int], None] | None = None) -> int:
    """Drop the view and fold the whole log again. Arguments as `fold_pending`'s.

    Returns:
        The log's size that the view has reached.
    """
    with segment.writing() as connection:
        _start_over(connection, epoch=_state(connection)[2] + 1)
    return fold_pending(segment, progress=progress)


def _fold_batches(
    segment: Segment, progress: Callable[[int], None] | None
) -> tuple[int, list[tuple[str, int, str]]]:
    while True:
        if not _is_behind(segment):
            projector = _PROJECTORS.get(segment)
            if projector is not None and not projector.unnumbered:
                return projector.folded_to, []
        with segment.writing(durable=False) as connection:
            projector = _projector(segment, connection)
            try:
                with collector_paused():
                    behind = projector.fold_batch(connection)
                projector.statistics.follow(connection, projector.folded_to)
            except BaseException:
                _PROJECTORS.pop(segment, None)
                raise
            if not behind:
                return projector.folded_to, projector.take_unnumbered()
        if progress is not None:
            progress(projector.folded_to)


def _is_behind(segment: Segment) -> bool:
    with segment.reading() as connection:
        folded_to, version, _ = _state(connection)
        return version != FOLD_VERSION or folded_to < _size(connection)


def _log_fold_version(segment: Segment) -> None:
    """Log the fold's version if the log's last word on it is another."""
    with segment.reading() as connection:
        if _state(connection)[1] == FOLD_VERSION:
            return
        row = connection.execute(
            "SELECT payload FROM entry JOIN payload USING (position) WHERE kind = 'fold' "
            "ORDER BY position DESC LIMIT 1"
        ).fetchone()
    if row is None or msgspec.json.decode(row[0]).get("version") != str(FOLD_VERSION):
        segment.append_record("fold", {"version": str(FOLD_VERSION)})


def _size(connection: Connection) -> int:
    row = connection.execute("SELECT position + 1 FROM entry ORDER BY position DESC LIMIT 1")
    return int((row.fetchone() or (0,))[0])


def _state(connection: Connection) -> tuple[int, int, int]:
    """Read (folded to, fold version, epoch); zeros where no view is."""
    if not has_table(connection, "fold_state"):
        return (0, 0, 0)
    row = connection.execute("SELECT folded_to, fold_version, epoch FROM fold_state").fetchone()
    return row or (0, 0, 0)


def _start_over(connection: Connection, *, epoch: int) -> None:
    drop_graph_tables(connection)
    create_graph_tables(connection)
    connection.execute("INSERT INTO fold_state VALUES (0, ?, ?)", (FOLD_VERSION, epoch))


_PROJECTORS: WeakKeyDictionary[Segment, _Projector] = WeakKeyDictionary()


def _projector(segment: Segment, connection: Connection) -> _Projector:
    """Give the projector that knows the view as it is, inside the writer's transaction."""
    folded_to, version, epoch = _state(connection)
    if version != FOLD_VERSION:
        _start_over(connection, epoch=epoch + 1)
        folded_to, epoch = 0, epoch + 1
    known = _PROJECTORS.get(segment)
    if known is None or (known.folded_to, known.epoch) != (folded_to, epoch):
        create_graph_tables(connection)  # An index may be younger than the view.
        known = _PROJECTORS[segment] = _Projector(connection, folded_to=folded_to, epoch=epoch)
    return known


class _Projector:
    """One process's hold on the view of one segment."""

    def __init__(self, connection: Connection, *, folded_to: int, epoch: int) -> None:
        self.folded_to = folded_to
        self.epoch = epoch
        self._connection = connection
        self._interning = Interning(connection)
        self._contents = Contents(self._interning)
        self._rectangles = RectangleWriter()
        self._live = _Live()
        # By run id, so that all groups of a run are in memory or none; then by the job's namespace
        # and name, and whether they lie in the future.
        self._groups: dict[str, dict[tuple[tuple[str, str], bool], Group]] = {}
        self._group_id = self._max(connection, "run_group", "group_id")
        self._sighted: dict[int, int] = {}
        self._sightings_before = self._interning.nodes_written
        # Nodes of the batch: the event that first named them, position and time.
        self._named: dict[int, tuple[int, int]] = {}
        self._rows: dict[str, list[tuple[Any, ...]]] = {"run_event": [], "mention": []}
        self._run_events = self._rows["run_event"]
        self._mentions = self._rows["mention"]
        # Per content of the batch, the last event that states it: event time, digest, position.
        self._described: dict[Content, tuple[int, bytes, int]] = {}
        self._parent_jobs: dict[bytes, list[int]] = {}
        self.statistics = Statistics()
        self._bytes = stitching.Contents()
        self._numbers: dict[str, list[str]] = {}
        self._numbered_ids: set[tuple[str, str]] = set()
        self._load_numbers(connection)

    @staticmethod
    def _max(connection: Connection, table: str, column: str) -> int:
        return int(
            connection.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchone()[0]
        )

    # Batches

    def fold_batch(self, connection: Connection) -> bool:
        """Fold the next entries; False once there are none."""
        self._connection = connection
        rows: list[_Row] = connection.execute(
            "SELECT entry.position, entry.log_time, entry.kind, payload.payload FROM entry "
            "LEFT JOIN payload USING (position) WHERE entry.position >= ? "
            "ORDER BY entry.position LIMIT ?",
            (self.folded_to, FOLD_EVENTS_MAX),
        ).fetchall()
        if not rows:
            return False
        sliced = [
            slice_stored(payload) if kind == "event" and payload is not None else None
            for _, _, kind, payload in rows
        ]
        self._find_groups(sliced)
        for row, event in zip(rows, sliced, strict=True):
            if event is not None:
                self._fold_event(row, event)
            elif row[2] == "alias" and row[3] is not None:
                self._fold_number(row[0], row[3])
        self._flush(connection, rows[-1][0] + 1)
        return True

    def _flush(self, connection: Connection, folded_to: int) -> None:
        live = self._live.sum_up()
        written = self._interning.derivations_written
        self._interning.flush(connection, sighted=self._named, live=live.values)
        self._named.clear()
        self._rectangles.flush(connection)
        for name, rows in self._rows.items():
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                connection.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
                rows.clear()
        live.flush(connection, written)
        self._bytes.flush(connection)
        self._note_described(connection)
        connection.execute("UPDATE fold_state SET folded_to = ?", (folded_to,))
        self.folded_to = folded_to
        self._contents.trim()
        if len(self._groups) > GROUPS_CACHED_MAX:
            for run_id in list(self._groups)[: GROUPS_CACHED_MAX // 2]:
                del self._groups[run_id]

    def _note_described(self, connection: Connection) -> None:
        """Tell the index of searches, if there is one, which nodes to read again."""
        if self._described and has_search_tables(connection):
            note_described(
                connection,
                (
                    (node, facet_set, *last)
                    for content, last in self._described.items()
                    for node, facet_set in content.mentions
                ),
            )
        self._described.clear()

    def _write(self, table: str, row: tuple[Any, ...]) -> None:
        self._rows.setdefault(table, []).append(row)

    # Events

    def _fold_event(self, row: _Row, event: EventSlice) -> None:
        position, log_time_us, _, payload = row
        assert payload is not None
        digest = content_digest(payload)
        time_us = parse_time(event.event_time)[0]
        future = time_us > log_time_us + FUTURE_TOLERANCE_US
        facets, lineage = _run_facets(event)
        content = self._contents.content(_content_key(event), payload)
        group = self._group(event, content, future=future, digest=digest)
        self._run_events.append((group.group_id, position, time_us, event.event_type, digest))
        if not future:
            self._live.touch(group)
            self._mention(content, position, time_us, digest)
            if content.marked and stitching.MARK in payload:
                self._bytes.note(payload, time_us=time_us, position=position)
        kind = event.event_type or "OTHER"
        if event.run is None:
            kind = "DATASET" if content.job_node is None else "JOB"
        member = GroupEvent((time_us, digest), kind, content, facets, lineage)
        group.add(member, position, self._contents, self._rectangles, self._connection)
        if time_us < content.sighted_us:
            self._sight(content.sighted, time_us, position)
            content.sighted_us = time_us
        if facets:
            self._sight(self._parents(facets), time_us, position)

    def _mention(self, content: Content, position: int, time_us: int, digest: bytes) -> None:
        self._mentions += [
            (node, time_us, digest, position, facet_set) for node, facet_set in content.mentions
        ]
        if content.described:
            last = (time_us, digest, position)
            if self._described.get(content, last) <= last:
                self._described[content] = last
        for node, other in content.aliases:
            self._write("alias", (node, other, time_us, digest, position))
        for node in content.endings:
            self._write("ending", (node, time_us, position))
        for named, version in content.versions:
            self._see_version(str(named), version)

    def _parents(self, facets: dict[str, msgspec.Raw]) -> list[int]:
        raw = bytes(facets.get("parent", b""))
        known = self._parent_jobs.get(raw)
        if known is None:
            if len(self._parent_jobs) > CONTENTS_CACHED_MAX:
                self._parent_jobs.clear()
            known = [self._interning.node(job) for job in parent_jobs(facets)]
            self._parent_jobs[raw] = known
        return known

    def _sight(self, nodes: Iterable[int], time_us: int, position: int) -> None:
        sighted, written = self._sighted, self._interning.nodes_written
        for node in nodes:
            least_us = sighted.get(node)
            if least_us is None:
                least_us = self._least_sighting(node)
            if time_us < least_us:
                sighted[node] = time_us
                if least_us == _NEVER and node > written:
                    self._named[node] = (position, time_us)
                else:
                    self._write("sighting", (node, position, time_us))

    def _least_sighting(self, node: int) -> int:
        if node > self._sightings_before:
            return _NEVER
        (least_us,) = self._connection.execute(
            "SELECT min(event_time) FROM (SELECT first_us AS event_time FROM node "
            "WHERE node_id = ? UNION ALL SELECT event_time FROM sighting WHERE node_id = ?) AS s",
            (node, node),
        ).fetchone()
        self._sighted[node] = least = _NEVER if least_us is None else int(least_us)
        return least

    # Groups

    def _find_groups(self, events: Sequence[EventSlice | None]) -> None:
        """Take up the groups of a batch that the view holds and memory does not."""
        runs = {event.run.run_id.lower() for event in events if event is not None and event.run}
        wanted = sorted(runs - self._groups.keys())
        for run_id in wanted:
            self._groups[run_id] = {}
        for start in range(0, len(wanted), _PARAMETERS_MAX):
            part = wanted[start : start + _PARAMETERS_MAX]
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(
                "SELECT group_id, run_id, job_node, future, namespace, name FROM run_group "
                f"JOIN node ON node_id = job_node WHERE run_id IN ({marks})",
                part,
            ).fetchall()
            uses = self._held_uses([row[0] for row in rows])
            for group_id, run_id, job_node, future, namespace, name in rows:
                key = GroupKey("run", run_id, namespace, name, bool(future), b"")
                group = Group(group_id, key, job_node)
                self._groups[run_id][(namespace, name), bool(future)] = group
                stored = self._stored_events(group_id)
                group.load(stored, self._contents, uses.get(group_id, ()))

    def _held_uses(self, groups: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
        """Read the sets of uses that groups hold at the end of event time, and since when."""
        found: dict[int, list[tuple[int, int]]] = {}
        # A run may be of several jobs.
        for start in range(0, len(groups), _PARAMETERS_MAX):
            part = groups[start : start + _PARAMETERS_MAX]
            for group_id, *held in self._connection.execute(
                "SELECT group_id, uses_id, valid_from FROM group_uses WHERE group_id IN "
                f"({','.join('?' * len(part))}) AND position_to IS NULL AND valid_to IS NULL",
                part,
            ).fetchall():
                found.setdefault(group_id, []).append(tuple(held))
        return found

    def _stored_events(self, group_id: int) -> list[GroupEvent]:
        found = []
        for time_us, digest, payload in self._connection.execute(
            "SELECT event_time, digest, payload FROM run_event JOIN payload USING (position) "
            "WHERE group_id = ?",
            (group_id,),
        ).fetchall():
            event = slice_stored(payload)
            facets, lineage = _run_facets(event)
            content = self._contents.content(_content_key(event), payload)
            kind = event.event_type or "OTHER"
            found.append(GroupEvent((time_us, digest), kind, content, facets, lineage))
        return found

    def _group(self, event: EventSlice, content: Content, *, future: bool, digest: bytes) -> Group:
        job, group_id = content.job_node, self._group_id + 1
        if event.run is None:
            # Complete with its one event.
            key = GroupKey(content.kind, "", *content.subject, future, digest)
            group = Group(group_id, key, job)
        else:
            run_id = event.run.run_id.lower()
            groups = self._groups[run_id]
            known = groups.get((content.subject, future))
            if known is not None:
                return known
            key = GroupKey("run", run_id, *content.subject, future, b"")
            group = groups[content.subject, future] = Group(group_id, key, job)
        self._group_id = group_id
        self._write("run_group", (group_id, key.run_id or None, job, int(future), key.kind))
        return group

    # Numbers

    def _load_numbers(self, connection: Connection) -> None:
        for kind, namespace, name, version in connection.execute(
            "SELECT kind, namespace, name, version FROM number JOIN node USING (node_id) "
            "ORDER BY node_id, number"
        ):
            node = str(NodeId(kind, namespace, name))
            self._numbers.setdefault(node, []).append(version)
            self._numbered_ids.add((node, version))
        self.unnumbered: list[tuple[str, str]] = []
        # Versions that a crash left without their record are found again from the writes.
        for kind, namespace, name, version in connection.execute(
            "SELECT node.kind, namespace, name, version FROM node JOIN write USING (node_id) "
            "JOIN run_group USING (group_id) WHERE node.kind IN ('model', 'deployment') "
            "AND version NOT LIKE 'run:%' AND future = 0 UNION "
            "SELECT node.kind, namespace, name, version FROM node JOIN read USING (node_id) "
            "JOIN run_group USING (group_id) WHERE node.kind IN ('model', 'deployment') "
            "AND version IS NOT NULL AND future = 0"
        ):
            self._see_version(str(NodeId(kind, namespace, name)), version)

    def _see_version(self, node: str, version: str) -> None:
        if (node, version) not in self._numbered_ids:
            self._numbered_ids.add((node, version))
            self.unnumbered.append((node, version))

    def take_unnumbered(self) -> list[tuple[str, int, str]]:
        """Give each version without a number the next of its node."""
        waiting, self.unnumbered = self.unnumbered, []
        counts = {node: len(versions) for node, versions in self._numbers.items()}
        found = []
        for node, version in waiting:
            if version in self._numbers.get(node, ()):
                continue
            counts[node] = counts.get(node, 0) + 1
            found.append((node, counts[node], version))
        return found

    def _fold_number(self, position: int, payload: bytes) -> None:
        """Fold an `alias` record: the n-th version recorded of a node is its number n.

        Two processes may record the same number at once; the log's order decides, whatever the
        records claim.
        """
        record = msgspec.json.decode(payload)
        if "version" not in record or "node" not in record:
            return
        node, version = record["node"], record["version"]
        versions = self._numbers.setdefault(node, [])
        self._numbered_ids.add((node, version))
        if version in versions:
            return
        versions.append(version)
        number = self._interning.node(parse_identifier(node))
        self._write("number", (number, len(versions), version, position))


_NEVER: Final = 1 << 62


def _run_facets(event: EventSlice) -> tuple[dict[str, msgspec.Raw], bytes]:
    """Give the run's facets if any may matter, and its lineage facet apart."""
    if event.run is None:
        return {}, b""
    raw = bytes(event.run.facets)
    # The START and the end of a run state the same, and so do many runs of a job.
    return _known_run_facets(raw) if len(raw) <= PART_BYTES_MAX else _read_run_facets(raw)


def _read_run_facets(raw: bytes) -> tuple[dict[str, msgspec.Raw], bytes]:
    if raw == b"null" or not any(mark in raw for mark in _RUN_MARKS):
        return {}, b""
    facets = _decode_facets(raw)
    return facets, bytes(facets["lineage"]) if "lineage" in facets else b""


_known_run_facets: Final = lru_cache(maxsize=CONTENTS_REMEMBERED_MAX)(_read_run_facets)


def _content_key(event: EventSlice) -> tuple[bytes, ...]:
    if event.run is None and bytes(event.dataset) not in (b"", b"null"):
        return (bytes(event.dataset),)
    kind = b"job" if event.run is None else b"run"
    return (kind, bytes(event.job), bytes(event.inputs), bytes(event.outputs))


class _Live:
    """What the assertions in force add up to, kept in `derivation` as they change."""

    def __init__(self) -> None:
        # Groups of the batch, with their uses before it.
        self._touched: dict[Group, UsesState | None] = {}

    def touch(self, group: Group) -> None:
        """Note a group, before its next event."""
        if group not in self._touched:
            self._touched[group] = group.uses

    def sum_up(self) -> _Moved:
        """Give what the batch moved."""
        # Per uses: least first, greatest last event time, groups gained.
        moved: dict[UsesState, list[int]] = {}
        dirty: set[int] = set()
        for group, before in self._touched.items():
            uses, state = group.uses, group.state
            assert uses is not None
            assert state is not None
            here = moved.setdefault(uses, [state.first_us, state.last_us, 0])
            here[0] = min(here[0], state.first_us)
            here[1] = max(here[1], state.last_us)
            if before is uses:
                continue
            here[2] += 1
            if before is not None:
                moved.setdefault(before, [state.first_us, state.last_us, 0])[2] -= 1
                dirty.update(
                    derivation
                    for derivation, rank in before.basis.items()
                    if uses.basis.get(derivation, len(BASES)) > rank
                )
        self._touched.clear()
        return _Moved(moved, dirty)


class _Moved:
    """What a batch moved of the assertions in force.

    Attributes:
        values: per derivation the strongest basis, the first and the last event time, and how many
            groups more assert it; of derivations new in the batch these are the whole.
    """

    def __init__(self, moved: dict[UsesState, list[int]], dirty: set[int]) -> None:
        self._dirty = dirty
        sums: dict[int, list[int]] = {}
        for uses, (first_us, last_us, groups) in moved.items():
            for derivation, rank in uses.basis.items():
                total = sums.get(derivation)
                if total is None:
                    sums[derivation] = [rank, first_us, last_us, groups]
                    continue
                total[0] = min(total[0], rank)
                total[1] = min(total[1], first_us)
                total[2] = max(total[2], last_us)
                total[3] += groups
        self.values: dict[int, tuple[str, int, int, int]] = {
            derivation: (BASES[rank], first_us, last_us, groups)
            for derivation, (rank, first_us, last_us, groups) in sums.items()
        }

    def flush(self, connection: Connection, written: int) -> None:
        """Write what moved of derivations already written; recount what lost an assertion.

        Args:
            connection: to write to.
            written: the greatest number of a derivation written before the batch.
        """
        dirty = self._dirty
        connection.executemany(
            _ADD_LIVE,
            [
                (basis, basis, first_us, first_us, last_us, last_us, groups, derivation)
                for derivation, (basis, first_us, last_us, groups) in self.values.items()
                if derivation <= written and derivation not in dirty
            ],
        )
        for derivation in dirty:
            connection.execute(_RECOUNT_LIVE, (derivation,))


def _rank(basis: str) -> str:
    ranks = " ".join(f"WHEN '{name}' THEN {rank}" for rank, name in enumerate(BASES))
    return f"(CASE {basis} {ranks} END)"


_BASIS_OF_LEAST: Final = "CASE min(basis_rank) {} END".format(
    " ".join(f"WHEN {rank} THEN '{name}'" for rank, name in enumerate(BASES))
)
_ADD_LIVE: Final = f"""
UPDATE derivation SET
    live_basis = CASE WHEN live_basis IS NULL OR {_rank("?")} < {_rank("live_basis")}
        THEN ? ELSE live_basis END,
    first_seen = CASE WHEN first_seen < ? THEN first_seen ELSE ? END,
    last_seen = CASE WHEN last_seen > ? THEN last_seen ELSE ? END,
    groups = coalesce(groups, 0) + ?
WHERE derivation_id = ?
"""
# Without a row of what stands, nothing does, and all four become NULL.
_RECOUNT_LIVE: Final = f"""
UPDATE derivation SET (live_basis, first_seen, last_seen, groups) = (
    SELECT {_BASIS_OF_LEAST}, min(first_us), max(last_us), nullif(count(*), 0) FROM (
        SELECT run_state.first_us, run_state.last_us, {_rank("assertion.basis")} AS basis_rank
        FROM assertion JOIN run_state USING (group_id) JOIN run_group USING (group_id)
        WHERE assertion.derivation_id = derivation.derivation_id AND future = 0
            AND assertion.position_to IS NULL AND assertion.valid_to IS NULL
            AND run_state.position_to IS NULL AND run_state.valid_to IS NULL
    ) AS standing
) WHERE derivation_id = ?
"""
