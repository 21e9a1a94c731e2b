"""Groups as the view knows them: one run of one job, or one JobEvent or DatasetEvent.

Loads in portions, keeps what it loaded for the length of one question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from lodeline.model import NodeId
from lodeline.query.answers import Gap
from lodeline.query.view import View

_AMONG = "IN (SELECT value FROM json_each(:ids))"


class Group(NamedTuple):
    """One group at the moment.

    Attributes:
        number: row of `run_group`.
        run_id: empty for a JobEvent or DatasetEvent.
        job: None for a DatasetEvent.
        future: dated beyond the log's clock.
        tie: orders groups of equal times, as the fold's keys do.
        first_us, start_us, end_us, last_us: as `run_state`.
        code: code version, None if unknown.
        state: as `run_state`.
    """

    number: int
    run_id: str
    job: NodeId | None
    future: bool
    tie: tuple[str, str, str, str, bool, bytes]
    first_us: int
    start_us: int
    end_us: int | None
    last_us: int
    code: str | None
    state: str

    @property
    def order(self) -> tuple[int, tuple[str, str, str, str, bool, bytes]]:
        """Later groups are greater."""
        return (self.last_us, self.tie)

    @property
    def run(self) -> NodeId | None:
        """The run node, if the group is a run's."""
        return NodeId("run", "", self.run_id) if self.run_id else None


class Said(NamedTuple):
    """One assertion row: which derivation, by which group, on which basis."""

    derivation: int
    group: int
    basis: str
    detail: int | None


# As `Said._make`, which is a call of Python's for each of thousands.
_make_said: Callable[[Any], Said] = partial(tuple.__new__, Said)


class Groups:
    """The groups, assertions and gaps of one question's moment."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._groups = view.memory.groups
        self._said = view.memory.said
        self._gaps: dict[int, list[Gap]] = {}
        # Writes of a node that other segments hold (`versions.Written`), for a federated question.
        self.foreign_writes: Callable[[NodeId], list[Any]] | None = None
        self.has_gaps = view.has_gaps
        self.has_parents = view.has_parents

    def load(self, numbers: Iterable[int]) -> dict[int, Group]:
        """Give groups by number."""
        wanted = set(numbers)
        known = self._groups
        missing = [number for number in wanted if number not in known]
        if not missing:
            return {number: known[number] for number in wanted}
        sql = (
            "SELECT g.group_id, g.run_id, g.job_node, g.future, g.kind, s.first_us, s.start_us,"
            " s.end_us, s.last_us, s.code, s.state, CASE WHEN g.kind <> 'run' THEN"
            " (SELECT digest FROM run_event e WHERE e.group_id = g.group_id LIMIT 1) END"
            f" FROM run_group g JOIN run_state s USING (group_id) WHERE g.group_id {_AMONG}"
            f" AND {self.view.rectangle('s')}"
        )
        rows = list(self.view.select_among(sql, missing))
        jobs = self.view.names({row[2] for row in rows if row[2] is not None})
        for number, run_id, job_node, future, kind, *state, digest in rows:
            job = None if job_node is None else jobs[job_node]
            namespace, name = ("", "") if job is None else job[1:3]
            tie = (kind, run_id or "", namespace, name, bool(future), bytes(digest or b""))
            known[number] = Group(number, run_id or "", job, bool(future), tie, *state)
        return {number: self._groups[number] for number in wanted if number in self._groups}

    def get(self, number: int) -> Group:
        """Give a group that holds at the moment."""
        known = self._groups.get(number)
        return self.load([number])[number] if known is None else known

    def said_of(self, derivations: Iterable[int]) -> dict[int, list[Said]]:
        """Give the assertions behind derivations."""
        wanted = set(derivations)
        said = self._said
        missing = [number for number in wanted if number not in said]
        sql = (
            "SELECT a.derivation_id, a.group_id, a.basis, a.detail_id FROM assertion a"
            f" WHERE a.derivation_id {_AMONG} AND {self.view.rectangle('a')}"
        )
        found: dict[int, list[Said]] = {number: [] for number in missing}
        for row in self.view.select_among(sql, missing):
            found[row[0]].append(_make_said(row))
        # Whole: other questions read it, too.
        said.update(found)
        return {number: said[number] for number in wanted}

    def entries_of(self, numbers: Iterable[int]) -> dict[int, list[int]]:
        """Give the positions of the log entries that each group consists of, ascending."""
        known = self.view.memory.entries
        wanted = set(numbers)
        found: dict[int, list[int]] = {number: [] for number in wanted - known.keys()}
        sql = (
            f"SELECT group_id, position FROM run_event WHERE group_id {_AMONG}"
            " AND position < :size AND (:valid IS NULL OR event_time <= :valid)"
            " ORDER BY group_id, position"
        )
        for number, position in self.view.select_among(sql, list(found)):
            found[number].append(position)
        known.update(found)
        return {number: known[number] for number in wanted}

    def gaps_of(self, numbers: Iterable[int]) -> list[Gap]:
        """Give what the groups' captures know that they did not see."""
        if not self.has_gaps:
            return []
        wanted = set(numbers)
        missing = [number for number in wanted if number not in self._gaps]
        for number in missing:
            self._gaps[number] = []
        sql = (
            "SELECT c.group_id, c.at, c.reason, c.detail FROM capture_gap c"
            f" WHERE c.group_id {_AMONG} AND {self.view.rectangle('c')}"
        )
        groups = self.load(missing)
        for number, at, reason, detail in self.view.select_among(sql, missing):
            group = groups[number]
            place = at or str(group.run or group.job or "")
            self._gaps[number].append(Gap(place, reason, detail))
        return [gap for number in sorted(wanted) for gap in self._gaps[number]]

    def details_of(self, numbers: Iterable[int]) -> dict[int, str]:
        """Give the transformations behind column edges, as JSON text."""
        sql = f"SELECT detail_id, body FROM detail WHERE detail_id {_AMONG}"
        return dict(self.view.select_among(sql, numbers))

    def parents_of(self, jobs: Iterable[int]) -> dict[int, list[tuple[int, str, int]]]:
        """Give, by job number, (group, parent run, parent job number) of its groups."""
        found: dict[int, list[tuple[int, str, int]]] = defaultdict(list)
        sql = (
            "SELECT g.job_node, p.group_id, p.parent_run, p.parent_job FROM run_group g"
            f" JOIN parent p USING (group_id) WHERE g.job_node {_AMONG}"
            f" AND {self.view.rectangle('p')}"
        )
        for job, group, run, parent in self.view.select_among(sql, jobs):
            found[job].append((group, run or "", parent))
        return found
