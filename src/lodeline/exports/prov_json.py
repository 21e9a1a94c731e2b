"""The record in the words of W3C PROV: PROV-JSON, written while the log is read.

PROV-JSON groups its records by type, a log by time. So each type is spilled to a temporary file
of its own, and the files are joined at the end; memory holds the identifiers already declared and
the groups whose last event has not come yet.

| Lodeline | PROV |
|---|---|
| dataset, column, model, deployment | entity; a version is `specializationOf` the unversioned |
| run; JobEvent | activity |
| job | entity of type `prov:Plan`, in `wasAssociatedWith` |
| agent of `lodeline_agent` | agent |
| reads, writes | `used`, `wasGeneratedBy` |
| derivation | `wasDerivedFrom`, with `lodeline:basis` |
| parent run | `wasInformedBy` |

Half-derivations have no counterpart: PROV says `used` or `wasGeneratedBy` and no more. Versions
that nobody stated stay open, as they do in the log: which write an unversioned read met is
resolved when a question is asked, not here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from hashlib import blake2b
from tempfile import TemporaryFile
from typing import IO, Any, Final
from urllib.parse import quote

from lodeline.fold import Contribution, Entry, GroupKey, contribution, group_key
from lodeline.model import NodeId, format_time
from lodeline.wire import RunEvent, facets

PREFIXES: Final = {
    "lodeline": "https://lodeline.dev/prov/",
    "node": "https://lodeline.dev/node/",
    "event": "https://lodeline.dev/event/",
}
SECTIONS: Final = (
    "entity",
    "activity",
    "agent",
    "used",
    "wasGeneratedBy",
    "wasDerivedFrom",
    "wasAssociatedWith",
    "wasInformedBy",
    "specializationOf",
)
_TYPES: Final = {
    "dataset": "Dataset",
    "datasetField": "DatasetField",
    "feature": "Feature",
    "model": "Model",
    "deployment": "Deployment",
    "job": "Job",
    "run": "Run",
}


def write_prov_json(groups: Iterable[list[Entry]], out: IO[bytes]) -> None:
    """Write one PROV-JSON document.

    Args:
        groups: the entries of one group each, as `iter_groups` gives them.
        out: where to.
    """
    with ExitStack() as stack:
        files = {name: stack.enter_context(TemporaryFile()) for name in SECTIONS}
        writer = _Writer(files)
        for entries in groups:
            writer.group(entries)
        out.write(b'{"prefix":' + _json(PREFIXES))
        for name, file in files.items():
            if not file.tell():
                continue
            out.write(b',"' + name.encode() + b'":{')
            file.seek(0)
            while chunk := file.read(1 << 16):
                out.write(chunk)
            out.write(b"}")
        out.write(b"}\n")


def last_positions(entries: Iterable[Entry]) -> dict[bytes, int]:
    """Find where each group's last event stands, so that `iter_groups` knows when it is whole."""
    return {_short(group_key(entry)): entry.position for entry in entries}


def iter_groups(entries: Iterable[Entry], lasts: dict[bytes, int]) -> Iterator[list[Entry]]:
    """Collect entries into groups, each as soon as its last event is there."""
    waiting: dict[bytes, list[Entry]] = {}
    for entry in entries:
        key = _short(group_key(entry))
        waiting.setdefault(key, []).append(entry)
        # An event that arrived after the positions were found waits for nothing.
        if entry.position >= lasts.get(key, -1):
            yield waiting.pop(key)
    yield from waiting.values()


def _short(key: GroupKey) -> bytes:
    return blake2b(repr(tuple(key)).encode(), digest_size=16).digest()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _local(text: str) -> str:
    return quote(text, safe="-._~")


class _Writer:
    def __init__(self, files: Mapping[str, IO[bytes]]) -> None:
        self.files = files
        self.declared: set[bytes] = set()
        self.relations = 0

    def group(self, entries: list[Entry]) -> None:
        """Write what one group contributes."""
        found = contribution(entries)
        activity = self.activity(found)
        written = {write.node: write.version for write in found.writes}
        read = {use.node: use.version for use in found.reads}
        if activity is not None:
            for use in found.reads:
                used = {
                    "prov:activity": activity,
                    "prov:entity": self.entity(use.node, use.version),
                }
                self.relation("used", used | {"prov:time": format_time(found.state.start_us)})
            self.associations(found, entries, activity)
        for write in found.writes:
            generated = {"prov:entity": self.entity(write.node, write.version)}
            if activity is not None:
                generated["prov:activity"] = activity
            self.relation("wasGeneratedBy", generated | {"prov:time": format_time(write.time_us)})
        self.derivations(found, activity, read, written)

    def activity(self, found: Contribution) -> str | None:
        """Declare a group's activity; a DatasetEvent has none."""
        state = found.state
        if found.key.kind == "dataset":
            return None
        run = found.run
        name = f"event:{found.key.digest.hex()}" if run is None else f"node:{_local(str(run))}"
        attributes: dict[str, Any] = {
            "prov:startTime": format_time(state.start_us),
            "prov:type": _qualified("lodeline:JobEvent" if run is None else "lodeline:Run"),
            "prov:label": f"{found.key.namespace}:{found.key.name}",
            "lodeline:state": state.state,
        }
        if state.end_us is not None:
            attributes["prov:endTime"] = format_time(max(state.end_us, state.start_us))
        if state.code is not None:
            attributes["lodeline:codeVersion"] = state.code
        if found.key.future:
            attributes["lodeline:future"] = True
        self.declare("activity", name, attributes)
        for parent in found.parents:
            if parent.run_id and run is not None:
                informant = f"node:{_local(str(NodeId('run', '', parent.run_id)))}"
                self.relation("wasInformedBy", {"prov:informed": name, "prov:informant": informant})
        return name

    def associations(self, found: Contribution, entries: list[Entry], activity: str) -> None:
        """Tie an activity to its agents, and to its job as the plan."""
        plan: dict[str, Any] = {"prov:activity": activity}
        if found.job is not None:
            plan["prov:plan"] = self.entity(found.job, None)
        agents = _agents(entries)
        for agent in agents:
            node = NodeId("agent", agent.type, agent.id)
            name = f"node:{_local(str(node))}"
            kind = "prov:Person" if agent.type == "user" else "prov:SoftwareAgent"
            self.declare("agent", name, {"prov:type": _qualified(kind)})
            role = {"prov:role": agent.role} if agent.role else {}
            self.relation("wasAssociatedWith", plan | {"prov:agent": name} | role)
        if not agents:
            self.relation("wasAssociatedWith", plan)

    def derivations(
        self,
        found: Contribution,
        activity: str | None,
        read: dict[NodeId, str | None],
        written: dict[NodeId, str],
    ) -> None:
        """Write derivations with both ends."""
        for one in found.assertions:
            if one.source is None or one.target is None:
                continue
            source_version = read.get(one.source.dataset) or one.source.version or None
            attributes: dict[str, Any] = {
                "prov:generatedEntity": self.entity(one.target, written.get(one.target.dataset)),
                "prov:usedEntity": self.entity(one.source, source_version),
                "lodeline:basis": one.basis,
                "lodeline:kind": one.kind,
            }
            if activity is not None:
                attributes["prov:activity"] = activity
            self.relation("wasDerivedFrom", attributes)

    def entity(self, node: NodeId, version: str | None) -> str:
        """Declare an entity, and the unversioned one that it specialises."""
        whole = node.at(version or "")
        name = f"node:{_local(str(whole))}"
        attributes: dict[str, Any] = {
            "prov:type": _qualified(f"lodeline:{_TYPES.get(node.kind, 'Node')}"),
            "prov:label": str(whole),
            "lodeline:namespace": node.namespace,
            "lodeline:name": node.name,
        }
        if node.kind == "job":
            attributes["prov:type"] = [_qualified("prov:Plan"), _qualified("lodeline:Job")]
        if node.part:
            attributes["lodeline:field"] = node.part
        if version:
            attributes["lodeline:version"] = version
        if self.declare("entity", name, attributes) and version:
            general = self.entity(node, None)
            ends = {"prov:specificEntity": name, "prov:generalEntity": general}
            self.relation("specializationOf", ends)
        return name

    def declare(self, section: str, name: str, attributes: dict[str, Any]) -> bool:
        """Write an element the first time it is named."""
        key = blake2b(f"{section} {name}".encode(), digest_size=16).digest()
        if key in self.declared:
            return False
        self.declared.add(key)
        self.write(section, name, attributes)
        return True

    def relation(self, section: str, attributes: dict[str, Any]) -> None:
        """Write a relation under a number of its own."""
        self.relations += 1
        self.write(section, f"_:r{self.relations}", attributes)

    def write(self, section: str, name: str, attributes: dict[str, Any]) -> None:
        file = self.files[section]
        file.write((b"," if file.tell() else b"") + _json(name) + b":" + _json(attributes))


def _qualified(name: str) -> dict[str, str]:
    return {"$": name, "type": "prov:QUALIFIED_NAME"}


def _agents(entries: list[Entry]) -> list[facets.Agent]:
    """Find the agents that a group's newest event with any names."""
    for entry in sorted(entries, key=lambda entry: entry.order, reverse=True):
        if not isinstance(entry.event, RunEvent):
            continue
        raw = entry.event.run.facets.get("lodeline_agent")
        facet = facets.decode("run", "lodeline_agent", raw) if raw is not None else None
        if isinstance(facet, facets.LodelineAgentRunFacet):
            return facet.agents
    return []
