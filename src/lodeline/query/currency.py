"""Whether edges still hold, computed at the read from the view: the facts for `fold.is_stale`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from lodeline.fold.currency import CompletedRun, is_stale
from lodeline.model import NodeId
from lodeline.query.answers import DerivationKey
from lodeline.query.groups import Group, Groups

_AMONG = "IN (SELECT value FROM json_each(:ids))"
# Before any event time.
_NEVER = -(1 << 62)


class Currency:
    """Judges derivations of one moment, each once.

    Args:
        groups: of the question.
    """

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.view = groups.view
        self._known: dict[DerivationKey, bool] = {}
        self._newest = self.view.memory.newest_ends
        self._oldest = self.view.memory.oldest_runs
        self._targets: dict[NodeId, list[int]] = {}
        self._has_endings = self.view.has_endings

    def is_stale(self, key: DerivationKey, *, asserting: Iterable[Group]) -> bool:
        """Tell whether a derivation is stale.

        Args:
            key: of the derivation.
            asserting: every group that asserts it at the moment.
        """
        known = self._known.get(key)
        if known is None:
            source, target, _, job = key
            known = self._known[key] = self._judge(source, target, job, list(asserting))
        return known

    def _judge(
        self,
        source: NodeId | None,
        target: NodeId | None,
        job: NodeId | None,
        asserting: list[Group],
    ) -> bool:
        past = [group for group in asserting if not group.future]
        if not past:
            return False  # Dated in the future: marked so, and not yet anybody's past.
        newest = max(past, key=lambda group: group.order)
        return is_stale(
            last_us=newest.last_us,
            code=newest.code,
            completed=self._completed_after(newest.last_us, job, target),
            endings=self._endings(source, target),
            valid_at=self.view.moment.valid_us,
        )

    def _completed_after(
        self, last_us: int, job: NodeId | None, target: NodeId | None
    ) -> list[CompletedRun]:
        number = None if job is None else self.view.find_number(job)
        if number is None or self._newest_end(number) <= last_us:
            return []
        view = self.view
        columns = int(target is not None and target.kind == "datasetField")
        rows = view.select(
            "SELECT s.end_us, s.code, EXISTS (SELECT 1 FROM assertion a JOIN derivation d"
            " USING (derivation_id) WHERE a.group_id = s.group_id AND d.columns = :columns"
            f" AND d.target {_AMONG} AND {view.rectangle('a')})"
            " FROM run_state s JOIN run_group g USING (group_id) WHERE s.job_node = :job"
            f" AND s.completed = 1 AND s.end_us > :last AND g.future = 0 AND {view.rectangle('s')}",
            job=number,
            last=last_us,
            columns=columns,
            ids=str(self._written_as(target)),
        )
        return [CompletedRun(end_us, code, bool(wrote)) for end_us, code, wrote in rows]

    def is_surely_current(self, job: int | None, asserting: Iterable[Group]) -> bool:
        """Tell that a derivation is current where no look at the job's other runs is needed.

        Args:
            job: by number.
            asserting: every group that asserts the derivation at the moment.
        """
        if self._has_endings:
            return False
        newest_us = max([group.last_us for group in asserting if not group.future], default=None)
        if newest_us is None or job is None:
            return True
        newest_end = self._newest.get(job)
        return (self._newest_end(job) if newest_end is None else newest_end) <= newest_us

    def look_ahead(self, jobs: Iterable[NodeId]) -> None:
        """Fetch at once what judging derivations of many jobs will ask for one by one."""
        self.look_ahead_numbers({n for job in set(jobs) for n in self.view.members(job)})

    def look_ahead_numbers(self, jobs: Iterable[int | None]) -> None:
        """Fetch as `look_ahead` does, for jobs by number."""
        missing = {job for job in jobs if job is not None and job not in self._newest}
        sql = (
            "SELECT s.job_node, max(CASE WHEN s.completed = 1 AND g.future = 0 THEN s.end_us END),"
            " min(s.last_us) FROM run_state s JOIN run_group g USING (group_id)"
            f" WHERE s.job_node {_AMONG} AND {self.view.rectangle('s')} GROUP BY s.job_node"
        )
        ends, oldest = dict.fromkeys(missing, _NEVER), {}
        for job, end_us, oldest_us in self.view.select_among(sql, missing):
            ends[job] = _NEVER if end_us is None else end_us
            oldest[job] = oldest_us
        # Whole, and what is looked for last: other questions judge by it, too.
        self._oldest.update(oldest)
        self._newest.update(ends)

    @property
    def has_endings(self) -> bool:
        """Whether anything is known to have ended; every derivation is looked at then."""
        return self._has_endings

    def suspects(self, jobs: Collection[int]) -> set[int]:
        """Give the jobs of which anything may be stale: one of their runs is behind another.

        Only where nothing is known to have ended.
        """
        self.look_ahead_numbers(jobs)
        newest, oldest = self._newest, self._oldest
        return {job for job in jobs if oldest.get(job, _NEVER) < newest[job]}

    def older_than_their_jobs(self, jobs: Mapping[int, int]) -> set[int]:
        """Give the derivations that no run asserts as late as their job last completed.

        Args:
            jobs: derivation -> job, which were looked up.
        """
        sql = (
            "SELECT a.derivation_id, max(s.last_us) FROM assertion a"
            " JOIN run_state s USING (group_id) JOIN run_group g USING (group_id)"
            f" WHERE a.derivation_id {_AMONG} AND g.future = 0 AND {self.view.rectangle('a')}"
            f" AND {self.view.rectangle('s')} GROUP BY a.derivation_id"
        )
        newest = self._newest
        rows = self.view.select_among(sql, jobs)
        return {number for number, last_us in rows if last_us < newest[jobs[number]]}

    def _newest_end(self, job: int) -> int:
        if job not in self._newest:
            self.look_ahead_numbers([job])
        return self._newest.get(job, _NEVER)

    def _written_as(self, target: NodeId | None) -> list[int]:
        """Give the nodes whose being written counts as writing the target."""
        if target is None:
            return []
        home = target.dataset if target.kind == "datasetField" else target
        key = home if home == target else NodeId("datasetField", home.namespace, home.name)
        if key not in self._targets:
            found = self.view.members(home)
            if key != home:
                fields = self.view.fields_of(home)
                found = [*found, *(n for field in fields for n in self.view.members(field))]
            self._targets[key] = found
        return self._targets[key]

    def _endings(self, source: NodeId | None, target: NodeId | None) -> list[int]:
        if not self._has_endings:
            return []
        view = self.view
        homes = {end.dataset for end in (source, target) if end is not None}
        numbers = {number for home in homes for number in view.members(home)}
        sql = f"SELECT e.event_time FROM ending e WHERE e.node_id {_AMONG} AND {view.point('e')}"
        return [row[0] for row in view.select_among(sql, numbers)]
