"""The checks of `lodeline ci`: what changed jobs write now, held against what the record knows.

A column that is gone, renamed or of another type breaks whoever reads it. Who does, the record's
column lineage says; where it names readers of the dataset but not what they read of it, the answer
is "could not tell", not "nobody".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from lodeline.errors import InvalidEventError, UnknownNodeError
from lodeline.limits import CHECKED_COLUMNS_MAX
from lodeline.model import NodeId, parse_identifier
from lodeline.questions import Questions
from lodeline.wire import decode_event
from lodeline.wire.compatibility import Change, Mode, compare_schemas, read_fields

Severity = Literal["error", "unknown", "note"]
# Bases of an edge that say which columns flowed.
_COLUMNS_KNOWN: Final = frozenset({"lineage", "columnLineage"})
_FLOWS: Final = frozenset({"derives", "trains"})


@dataclass(slots=True)
class Finding:
    """One thing that the check found.

    Attributes:
        severity: `error` breaks, `unknown` could not be told, `note` is only said.
        what: a word for programs: `invalid_event`, `removed`, `retyped`, `contract`, …
        detail: for people.
        dataset: identifier.
        column: name.
        before: type.
        after: type.
        affected: nodes downstream.
        owners: of these.
        file: of the job that made it, relative to the repository.
    """

    severity: Severity
    what: str
    detail: str
    dataset: str | None = None
    column: str | None = None
    before: str | None = None
    after: str | None = None
    affected: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    file: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the members of the answer."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Written:
    """What the checked events say of one dataset.

    Attributes:
        node: identifier, names as the record has them.
        fields: columns and types; `None` where no event tells them.
        file: path of the job's code.
    """

    node: NodeId
    fields: dict[str, str | None] | None = None
    file: str | None = None


@dataclass(slots=True)
class Checked:
    """Events that were read.

    Attributes:
        valid: how many are.
        written: outputs by identifier.
        jobs: job -> identifiers of what it wrote.
        findings: what is wrong with the rest.
    """

    valid: int = 0
    written: dict[str, Written] = field(default_factory=dict)
    jobs: dict[str, set[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def read_events(
    raws: Iterable[tuple[bytes, str]], names: Mapping[str, str], checked: Checked
) -> None:
    """Validate events and keep what they say is written.

    Args:
        raws: bytes and where they stand.
        names: beginnings of names of datasets here -> in the record.
        checked: gets it.
    """
    import json

    for raw, at in raws:
        try:
            decode_event(raw)
        except InvalidEventError as error:
            checked.findings.append(Finding("error", "invalid_event", f"{at}: {error}"))
            continue
        checked.valid += 1
        _keep_event(json.loads(raw), names, checked)


def _keep_event(event: Mapping[str, Any], names: Mapping[str, str], checked: Checked) -> None:
    job = event.get("job")
    if not isinstance(job, Mapping):
        return
    wrote = checked.jobs.setdefault(str(NodeId("job", job["namespace"], job["name"])), set())
    file = _path_of(event)
    for output in event.get("outputs") or ():
        facets = output.get("facets") or {}
        if "lodeline_model" in facets or "lodeline_deployment" in facets:
            continue
        name = _mapped(output["name"], names)
        node = NodeId("dataset", output["namespace"], name)
        one = checked.written.setdefault(str(node), Written(node))
        wrote.add(str(node))
        one.file = file or one.file
        fields = (facets.get("schema") or {}).get("fields")
        if isinstance(fields, list):
            one.fields = read_fields(fields)


def _mapped(name: str, names: Mapping[str, str]) -> str:
    for here, there in names.items():
        if name == here or name.startswith(here.rstrip("/") + "/"):
            return there.rstrip("/") + name[len(here.rstrip("/")) :]
    return name


def _path_of(event: Mapping[str, Any]) -> str | None:
    code = ((event.get("run") or {}).get("facets") or {}).get("lodeline_code") or {}
    location = ((event["job"].get("facets")) or {}).get("sourceCodeLocation") or {}
    path = code.get("path") or location.get("path")
    return path if isinstance(path, str) else None


def check_written(questions: Questions, checked: Checked) -> None:
    """Compare all that was written with the record; findings go into `checked`."""
    looked_up = 0
    for one in checked.written.values():
        known = _show(questions, str(one.node))
        if known is None:
            detail = f"{one.node} is new to the record"
            checked.findings.append(Finding("note", "new", detail, str(one.node)))
            continue
        looked_up += _check_one(questions, one, known, checked, CHECKED_COLUMNS_MAX - looked_up)
    for job, wrote in checked.jobs.items():
        _check_outputs(questions, job, wrote, checked)


def _check_one(
    questions: Questions, one: Written, known: Mapping[str, Any], checked: Checked, left: int
) -> int:
    facets = known.get("facets") or {}
    contract = facets.get("lodeline_contract")
    before = read_fields((facets.get("schema") or {}).get("fields"))
    if one.fields is None:
        if before or contract:
            detail = "the events do not tell its columns"
            checked.findings.append(_finding("unknown", "no_schema", detail, one))
        return 0
    if contract:
        _check_contract(one, contract, one.fields, checked)
    if not before:
        detail = "the record does not know its columns"
        checked.findings.append(_finding("unknown", "no_record", detail, one))
        return 0
    count = 0
    for change in compare_schemas(before, one.fields):
        if change.what == "added":
            checked.findings.append(_changed("note", change, one, "is new"))
            continue
        count += 1
        if count > left:
            detail = f"more than {CHECKED_COLUMNS_MAX} columns changed; the rest is not looked up"
            checked.findings.append(_finding("unknown", "size", detail, one))
            break
        checked.findings.append(_readers(questions, change, one))
    return count


def _check_contract(
    one: Written, contract: Mapping[str, Any], fields: dict[str, str | None], checked: Checked
) -> None:
    mode: Mode = contract.get("mode", "backward")
    for change in compare_schemas(read_fields(contract.get("fields")), fields):
        if change.breaks(mode):
            detail = f"its contract ({mode}) forbids that"
            checked.findings.append(_changed("error", change, one, detail, what="contract"))


def _readers(questions: Questions, change: Change, one: Written) -> Finding:
    """Find who reads a column that is no longer what it was."""
    column = NodeId("datasetField", one.node.namespace, one.node.name, change.column)
    whole = questions.ask("impact", id=str(one.node), status="current")
    narrow = _impact(questions, str(column))
    known, doubtful = _direct_readers(questions, column, whole, narrow)
    if known:
        affected = sorted({node["id"] for node in narrow["nodes"] if node["depth"]} | known)
        found = _changed("error", change, one, f"is read by {', '.join(sorted(known))}")
        found.affected = affected
        found.owners = _owners(whole, affected)
        return found
    if doubtful or not whole["complete"] or not narrow["complete"]:
        who = ", ".join(sorted(doubtful)) or "somebody that the record does not show"
        found = _changed("unknown", change, one, f"may be read by {who}")
        found.affected = sorted(doubtful)
        found.owners = _owners(whole, found.affected)
        return found
    return _changed("note", change, one, "is read by nobody that the record knows")


def _direct_readers(
    questions: Questions, column: NodeId, whole: Mapping[str, Any], narrow: Mapping[str, Any]
) -> tuple[set[str], set[str]]:
    """List who reads a column for certain, and who may."""
    known: set[str] = set()
    settled: set[str] = set()
    doubtful: set[str] = set()
    for edge in narrow["edges"]:
        if edge["source"] == str(column) and edge["kind"] in _FLOWS:
            target = str(parse_identifier(edge["target"]).dataset)
            settled.add(target)
            if edge["basis"] in {*_COLUMNS_KNOWN, "observed"}:
                known.add(edge["target"])
            else:
                doubtful.add(edge["target"])
    for edge in whole["edges"]:
        if edge["source"] == str(column.dataset) and edge["kind"] in _FLOWS:
            target = str(parse_identifier(edge["target"]).dataset)
            if target not in settled and edge["basis"] not in _COLUMNS_KNOWN:
                doubtful.add(target)
    for node in sorted(doubtful):
        if not node.startswith("model:"):
            continue
        shown = _show(questions, node) or {}
        features = ((shown.get("facets") or {}).get("lodeline_model") or {}).get("features")
        if features:
            doubtful.discard(node)
            known |= {node} if column.part in features else set()
    return known, doubtful


def _check_outputs(questions: Questions, job: str, wrote: set[str], checked: Checked) -> None:
    """Say which outputs of the job's last complete run it no longer writes."""
    shown = _show(questions, job)
    done = [run for run in (shown or {}).get("runs") or () if run["state"] == "COMPLETE"]
    if not done:
        return
    last = _show(questions, f"run:{done[0]['run']}") or {}
    for output in last.get("outputs") or ():
        node = parse_identifier(output).at("")
        if node.kind != "dataset" or str(node) in wrote:
            continue
        impact = questions.ask("impact", id=str(node), status="current")
        affected = sorted(one["id"] for one in impact["nodes"] if one["depth"])
        severity: Severity = "error" if affected else "note"
        detail = f"{job} no longer writes {node}"
        found = Finding(severity, "not_written", detail, str(node), affected=affected)
        found.owners = _owners(impact, affected)
        checked.findings.append(found)


def _show(questions: Questions, node: str) -> dict[str, Any] | None:
    try:
        return questions.ask("show", id=node)
    except UnknownNodeError:
        return None


def _impact(questions: Questions, node: str) -> dict[str, Any]:
    try:
        return questions.ask("impact", id=node, status="current")
    except UnknownNodeError:
        return {"nodes": [], "edges": [], "complete": True}


def _owners(impact: Mapping[str, Any], affected: Iterable[str]) -> list[str]:
    """Name the owners of affected nodes, of the datasets of affected columns, and of jobs."""
    wanted = {str(parse_identifier(one).dataset) for one in affected}
    return sorted({o["name"] for o in impact.get("owners") or () if wanted & set(o["nodes"])})


def _finding(severity: Severity, what: str, detail: str, one: Written) -> Finding:
    return Finding(severity, what, f"{one.node}: {detail}", str(one.node), file=one.file)


def _changed(
    severity: Severity, change: Change, one: Written, detail: str, *, what: str | None = None
) -> Finding:
    words = {
        "removed": f"is gone (was {change.before or 'of no known type'})",
        "added": f"({change.after or 'of no known type'})",
    }.get(change.what, f"{change.what} from {change.before} to {change.after}")
    if change.renamed:
        words += f", perhaps renamed to {change.renamed}"
    text = f"{one.node}: column {change.column} {words}; {detail}"
    return Finding(
        severity,
        what or change.what,
        text.replace("; is new", " is new"),
        str(one.node),
        change.column,
        change.before,
        change.after,
        file=one.file,
    )
