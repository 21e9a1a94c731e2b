"""Lists of namespaces, datasets and jobs, page by page; what was put into them and taken out.

A catalogue also holds what no event of a pipeline says: a namespace without anything in it, a
source, a tag's description, and that somebody took a dataset or job off the lists. Such things are
recorded as DatasetEvents about datasets of the reserved namespaces below, with the facet
`lodeline_catalogue`; they are nodes of the graph like others and stand on no list here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from lodeline.model import NodeId
from lodeline.query.asking import Inquiry
from lodeline.query.view import View

_AMONG = "IN (SELECT value FROM json_each(:ids))"

# Kinds that are datasets on the wire. Of nodes of one name the first counts: an event that names a
# model without its facet speaks of a dataset.
DATA_KINDS: Final = ("model", "deployment", "dataset")
JOB_KINDS: Final = ("job",)

# No namespace of a pipeline may start like this.
RESERVED: Final = "lodeline:"
NAMESPACES: Final = "lodeline:namespaces"
SOURCES: Final = "lodeline:sources"
TAGS: Final = "lodeline:tags"
# Its datasets are named as `removal_of` says.
REMOVED: Final = "lodeline:removed"


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list.

    Attributes:
        total: entries of all pages.
        nodes: of this page, by number, in order.
    """

    total: int
    nodes: dict[int, NodeId]


@dataclass(frozen=True, slots=True)
class Space:
    """One namespace.

    Attributes:
        name: of it.
        first: number of the node that was recorded first; `None` where it holds none.
        last: number of the node that was recorded last.
        declared: number of the node that declares it, if one does.
    """

    name: str
    first: int | None = None
    last: int | None = None
    declared: int | None = None

    def with_nodes(self, first: int, last: int) -> Space:
        """Give the same namespace with further nodes."""
        least = first if self.first is None else min(first, self.first)
        most = last if self.last is None else max(last, self.last)
        return Space(self.name, least, most, self.declared)


def removal_of(kind: str, namespace: str, name: str = "") -> str:
    """Name the entry that says something was taken off the lists.

    Args:
        kind: `dataset`, `job` or `namespace`; models and deployments are datasets.
        namespace: of it.
        name: of it; empty for a namespace.
    """
    return f"{kind}/{len(namespace)}/{namespace}/{name}"


class Catalogue:
    """The lists at one moment.

    Args:
        inquiry: under way; its authoriser decides about every node listed.
    """

    def __init__(self, inquiry: Inquiry) -> None:
        self.inquiry = inquiry
        self.view: View = inquiry.view
        self._has_models = bool(
            self.view.select("SELECT 1 FROM node WHERE kind IN ('model', 'deployment') LIMIT 1")
        )
        self._has_removals = bool(
            self.view.select(
                "SELECT 1 FROM node WHERE kind = 'dataset' AND namespace = :removed LIMIT 1",
                removed=REMOVED,
            )
        )

    def list_nodes(
        self,
        kinds: Sequence[str],
        *,
        namespace: str | None,
        limit: int,
        offset: int,
        states: Sequence[str] = (),
    ) -> Listing:
        """List nodes under their canonical names.

        Args:
            kinds: `DATA_KINDS`, by name, or `JOB_KINDS`, the last active first.
            namespace: of them; `None` for all.
            limit: nodes of the page.
            offset: nodes of the pages before.
            states: of a job's latest run, of which it must have one; empty for any.
        """
        condition, values = self._listed(kinds, namespace)
        if states:
            names = {f"state{i}": state for i, state in enumerate(states)}
            condition += f" AND {self._latest_state()} IN ({', '.join(f':{one}' for one in names)})"
            values |= names
        order = "n.namespace, n.name, n.node_id"
        if kinds == JOB_KINDS:
            order = f"{self._last_active()} DESC, {order}"
        sql = f"SELECT n.node_id, n.kind, n.namespace, n.name FROM node n WHERE {condition}"
        if self.inquiry.authoriser.sees_all:
            [(total,)] = self.view.select(
                f"SELECT count(*) FROM node n WHERE {condition}", **values
            )
            page = f"{sql} ORDER BY {order} LIMIT :limit OFFSET :offset"
            rows = self.view.select(page, **values, limit=limit, offset=offset)
            return Listing(total, {row[0]: NodeId(*row[1:]) for row in rows})
        rows = self.view.select(f"{sql} ORDER BY {order}", **values)
        seen = [(row[0], NodeId(*row[1:])) for row in rows]
        seen = [one for one in seen if self.inquiry.authoriser.may_see(one[1])]
        return Listing(len(seen), dict(seen[offset : offset + limit]))

    def find(self, kinds: Sequence[str], namespace: str, name: str) -> NodeId | None:
        """Find the canonical node of a name that is listed, whichever of its names it is."""
        if namespace.startswith(RESERVED):
            return None
        for kind in kinds:
            node = NodeId(kind, namespace, name)
            if self.view.find_number(node) is None:
                continue
            node = self.view.canonical(node)
            rows = self.view.select(
                f"SELECT 1 FROM node n WHERE n.node_id = :node AND {self._kept()}",
                node=self.view.find_number(node),
                removed=REMOVED,
            )
            if rows and self.inquiry.authoriser.may_see(node):
                return node
        return None

    def matching(
        self, kinds: Sequence[str], *, pattern: str, namespace: str | None, limit: int
    ) -> dict[int, NodeId]:
        """Find listed nodes whose names match a pattern of LIKE, in lower case, by name.

        Args:
            kinds: of the nodes.
            pattern: `%` for any characters, `_` for one.
            namespace: of them; `None` for all.
            limit: nodes looked at.
        """
        condition, values = self._listed(kinds, namespace)
        rows = self.view.select(
            f"SELECT n.node_id, n.kind, n.namespace, n.name FROM node n WHERE {condition}"
            " AND lower(n.name) LIKE :pattern ORDER BY n.name, n.namespace, n.node_id LIMIT :limit",
            **values,
            pattern=pattern,
            limit=limit,
        )
        found = {row[0]: NodeId(*row[1:]) for row in rows}
        may_see = self.inquiry.authoriser.may_see
        return {number: node for number, node in found.items() if may_see(node)}

    def updated(self, numbers: Iterable[int]) -> dict[int, int]:
        """Give, per node, the event time of what was last said of it."""
        view = self.view
        wanted = set(numbers)
        # Of some no event speaks itself: lineage facets of others name them.
        found = dict.fromkeys(wanted, 0)
        for table, node, time, alive in (
            ("node", "node_id", "first_us", view.named_first("t")),
            ("sighting", "node_id", "event_time", view.point("t")),
            ("mention", "node_id", "event_time", view.point("t")),
            ('"write"', "node_id", "time_us", view.rectangle("t")),
            ("run_state", "job_node", "last_us", view.rectangle("t")),
        ):
            sql = (
                f"SELECT t.{node}, max(t.{time}) FROM {table} t WHERE t.{node} {_AMONG}"
                f" AND {alive} GROUP BY t.{node}"
            )
            for number, time_us in view.select_among(sql, wanted):
                found[number] = max(time_us, found[number])
        beginning = self.inquiry.moment.time_us or 0
        return {number: time_us or beginning for number, time_us in found.items()}

    def names_of(self, namespace: str) -> dict[str, int]:
        """Give name and number of the datasets of a reserved namespace that the reader may see."""
        rows = self.view.select(
            "SELECT n.name, n.node_id FROM node n WHERE n.kind = 'dataset'"
            f" AND n.namespace = :space AND {self.view.known('n')} ORDER BY n.name",
            space=namespace,
        )
        return {name: number for name, number in rows if self.may_see_entry(namespace, name)}

    def may_see_entry(self, namespace: str, name: str) -> bool:
        """Whether the reader may know of an entry of the catalogue.

        A namespace is seen by who may see what lies in it. Sources and tags that somebody declared
        are everybody's, and may say where others keep their data: a confined reader sees those
        that something visible names, as it names them.
        """
        may_see = self.inquiry.authoriser.may_see
        if namespace == NAMESPACES and may_see(NodeId("dataset", name, name)):
            return True
        return may_see(NodeId("dataset", namespace, name))

    # -- namespaces ----------------------------------------------------------------------------

    def list_namespaces(self) -> list[Space]:
        """List all namespaces by name: those of listed nodes, and those declared."""
        found: dict[str, Space] = {}
        for kind in (*DATA_KINDS, *JOB_KINDS):
            for name, first, last in self._spaces_of(kind):
                known = found.get(name)
                found[name] = (
                    Space(name, first, last) if known is None else known.with_nodes(first, last)
                )
        for name, number in self.names_of(NAMESPACES).items():
            known = found.get(name)
            if known is not None:
                found[name] = Space(name, known.first, known.last, number)
            elif not self._is_removed(name, number):
                found[name] = Space(name, None, None, number)
        return [found[name] for name in sorted(found)]

    def find_namespace(self, name: str) -> Space | None:
        """Find one namespace."""
        if name.startswith(RESERVED):
            return None
        first: list[int] = []
        last: list[int] = []
        for kind in (*DATA_KINDS, *JOB_KINDS):
            if not self._holds(kind, name):
                continue
            rows = self.view.select(
                "SELECT min(n.node_id), max(n.node_id) FROM node n"
                " WHERE n.kind = :kind AND n.namespace = :space",
                kind=kind,
                space=name,
            )
            first.append(rows[0][0])
            last.append(rows[0][1])
        declared = None
        if self.may_see_entry(NAMESPACES, name):
            declared = self.view.find_number(NodeId("dataset", NAMESPACES, name))
        if first:
            return Space(name, min(first), max(last), declared)
        if declared is None or self._is_removed(name, declared):
            return None
        return Space(name, None, None, declared)

    def _spaces_of(self, kind: str) -> list[tuple[str, int, int]]:
        """Give the namespaces that hold a listed node of a kind, with their outermost numbers."""
        condition, values = self._listed([kind], None, other_names=True)
        sql = (
            "SELECT g.namespace, g.first, g.last FROM (SELECT m.namespace, min(m.node_id) AS first,"
            " max(m.node_id) AS last FROM node m WHERE m.kind = :kind GROUP BY m.namespace) g"
            " WHERE EXISTS (SELECT 1 FROM node n"
            f" WHERE n.namespace = g.namespace AND {condition})"
        )
        rows = self.view.select(sql, kind=kind, **values)
        if self.inquiry.authoriser.sees_all:
            return rows
        return [row for row in rows if self._holds(kind, row[0])]

    def _holds(self, kind: str, namespace: str) -> bool:
        """Tell whether a namespace has a listed node of a kind that the reader may see."""
        condition, values = self._listed([kind], namespace, other_names=True)
        sql = f"SELECT n.kind, n.namespace, n.name FROM node n WHERE {condition}"
        if self.inquiry.authoriser.sees_all:
            return bool(self.view.select(f"{sql} LIMIT 1", **values))
        rows = self.view.select(sql, **values)
        return any(self.inquiry.authoriser.may_see(NodeId(*row)) for row in rows)

    def _is_removed(self, namespace: str, declared: int) -> bool:
        """Tell whether an empty namespace was removed after it was declared."""
        entry = self.view.find_number(
            NodeId("dataset", REMOVED, removal_of("namespace", namespace))
        )
        if entry is None:
            return False
        sql = (
            f"SELECT m.node_id, max(m.event_time) FROM mention m WHERE m.node_id {_AMONG}"
            f" AND {self.view.point('m')} GROUP BY m.node_id"
        )
        times = dict(self.view.select_among(sql, [entry, declared]))
        return bool(times.get(entry, 0) >= times.get(declared, 0))

    # -- conditions ----------------------------------------------------------------------------

    def _listed(
        self, kinds: Sequence[str], namespace: str | None, *, other_names: bool = False
    ) -> tuple[str, dict[str, object]]:
        """Give the SQL condition of nodes `n` on the lists, and its values.

        A node of several names is listed under its canonical one; the others are still names in
        their namespaces.
        """
        among = ", ".join(f"'{kind}'" for kind in kinds)
        parts = [f"n.kind IN ({among})", self.view.known("n"), self._kept()]
        if len(kinds) > 1 and self._has_models:
            parts.append(self._first_of_its_name())
        values: dict[str, object] = {"removed": REMOVED}
        if namespace is None:
            parts.append(f"substr(n.namespace, 1, {len(RESERVED)}) <> :reserved")
            values["reserved"] = RESERVED
        else:
            parts.append("n.namespace = :space")
            values["space"] = namespace
        others = set() if other_names else self._other_names(kinds, namespace)
        if others:
            parts.append("NOT (n.node_id IN (SELECT value FROM json_each(:others)))")
            values["others"] = str(sorted(others))
        return " AND ".join(parts), values

    def _kept(self) -> str:
        """Give the condition that `n` was not removed since anything was last said of it."""
        if not self._has_removals:
            return "1 = 1"
        view = self.view
        later = (
            (
                f"SELECT 1 FROM mention l WHERE l.node_id = n.node_id AND {view.point('l')}"
                " AND l.event_time > d.event_time"
            ),
            (
                f'SELECT 1 FROM "write" w WHERE w.node_id = n.node_id AND {view.rectangle("w")}'
                " AND w.time_us > d.event_time"
            ),
            (
                "SELECT 1 FROM read r JOIN run_state s USING (group_id) WHERE r.node_id = n.node_id"
                f" AND {view.rectangle('r')} AND {view.rectangle('s')} AND s.last_us > d.event_time"
            ),
            (
                f"SELECT 1 FROM run_state j WHERE j.job_node = n.node_id AND {view.rectangle('j')}"
                " AND j.last_us > d.event_time"
            ),
        )
        kind = "CASE WHEN n.kind = 'job' THEN 'job' ELSE 'dataset' END"
        place = "'/' || length(n.namespace) || '/' || n.namespace || '/'"
        return (
            "NOT EXISTS (SELECT 1 FROM node k JOIN mention d ON d.node_id = k.node_id"
            " WHERE k.kind = 'dataset' AND k.namespace = :removed AND k.part = ''"
            f" AND k.name IN ({kind} || {place} || n.name, 'namespace' || {place})"
            f" AND {view.point('d')}"
            f" AND NOT ({' OR '.join(f'EXISTS ({one})' for one in later)}))"
        )

    def _first_of_its_name(self) -> str:
        """Give the condition that no other node of the name of `n` stands before it."""
        return (
            "NOT EXISTS (SELECT 1 FROM node o WHERE o.kind IN ('model', 'deployment')"
            " AND o.namespace = n.namespace AND o.name = n.name AND o.part = ''"
            " AND (n.kind = 'dataset' OR (n.kind = 'deployment' AND o.kind = 'model'))"
            f" AND {self.view.known('o')})"
        )

    def _last_active(self) -> str:
        return (
            "coalesce((SELECT max(s.last_us) FROM run_state s WHERE s.job_node = n.node_id"
            f" AND {self.view.rectangle('s')}), 0)"
        )

    def _latest_state(self) -> str:
        return (
            "(SELECT s.state FROM run_state s JOIN run_group g USING (group_id)"
            " WHERE s.job_node = n.node_id AND g.run_id IS NOT NULL"
            f" AND {self.view.rectangle('s')} ORDER BY s.start_us DESC, g.run_id DESC LIMIT 1)"
        )

    def _other_names(self, kinds: Iterable[str], namespace: str | None) -> set[int]:
        """Find the nodes that are listed under another name, which the aliases make canonical."""
        if not self.view.has_aliases:
            return set()
        among = ", ".join(f"'{kind}'" for kind in kinds)
        space = "1 = 1" if namespace is None else "n.namespace = :space"
        rows = self.view.select(
            f"SELECT n.node_id, n.kind, n.namespace, n.name FROM node n WHERE n.kind IN ({among})"
            f" AND {space} AND (EXISTS (SELECT 1 FROM alias a WHERE a.node_a = n.node_id)"
            " OR EXISTS (SELECT 1 FROM alias a WHERE a.node_b = n.node_id))",
            space=namespace or "",
        )
        names = {row[0]: NodeId(*row[1:]) for row in rows}
        self.view.look_ahead(names)
        canonical = self.view.canonical_names(names)
        return {number for number, name in names.items() if canonical[number] != name}
