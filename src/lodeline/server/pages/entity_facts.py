"""The facts of one node's page, composed of the questions that the API answers.

Every part comes through the caller's `ask`; a part that cannot be told says why, and the page
stands without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from lodeline.errors import LodelineError, UnknownNodeError
from lodeline.limits import PAGE_NEIGHBOURS_MAX, PAGE_RUNS_MAX, PAGE_VALUES_MAX
from lodeline.model import NodeId, parse_identifier
from lodeline.server.pages import states

Facts = dict[str, Any]
Asker = Callable[[str, Mapping[str, object]], Facts]

_FLOWS: Final = frozenset({"derives", "trains", "deploys", "predicts"})
_VERSIONED: Final = frozenset({"dataset", "model", "deployment"})


def entity_facts(ask: Asker, identifier: str, times: Mapping[str, object]) -> Facts:
    """Give the facts of a dataset, column, job, run, feature, model, deployment or agent.

    Args:
        ask: the caller's questions.
        identifier: as asked for.
        times: `as_of` and `valid_at`, where given.

    Raises:
        LodelineError: the record does not know the node, or the caller may not.
    """
    if identifier.startswith("agent:"):
        return _agent(ask, identifier, times)
    asking = _Asking(ask, times)
    shown = ask("show", {"id": identifier, **times})
    kind = shown["kind"]
    facts: Facts = {
        **{key: shown[key] for key in ("id", "kind", "namespace", "name", "version")},
        **{key: shown[key] for key in ("aliases", "labels", "owners", "as_of", "trees")},
        "versions": shown["versions"],
        "versions_total": shown.get("versions_total", len(shown["versions"])),
        "number": _number_of(shown),
        "recorded": sorted(name for name in shown["facets"]),
        "documentation": _text(shown["facets"].get("documentation"), "description"),
        "gaps": shown.get("gaps", []),
        "problems": asking.problems,
    }
    facts["around"] = asking.around(shown)
    makers: dict[str, Callable[[_Asking, Facts, Facts], None]] = {
        "dataset": _dataset,
        "datasetField": _column,
        "job": _job,
        "run": _run,
        "feature": _feature,
        "model": _model,
        "deployment": _deployment,
    }
    if kind in makers:
        makers[kind](asking, shown, facts)
    facts.setdefault(
        "state", states.of_data(shown["versions"], facts["around"]["upstream"]["edges"])
    )
    return facts


class _Asking:
    """The questions of one page; which of them could not be answered is told on it."""

    def __init__(self, ask: Asker, times: Mapping[str, object]) -> None:
        self._ask = ask
        self._times = times
        self.problems: list[Facts] = []

    def find(self, about: str, verb: str, **parameters: object) -> Facts | None:
        """Ask for a part of the page."""
        try:
            return self._ask(verb, {**parameters, **self._times})
        except UnknownNodeError:
            return None
        except LodelineError as error:
            self.problems.append({"about": about, "message": str(error)})
            return None

    def around(self, shown: Facts) -> Facts:
        """Give what lies next to a node, upstream and downstream."""
        found: Facts = {}
        for name, direction in (("upstream", "up"), ("downstream", "down")):
            answer = self.find(
                name,
                "trace",
                id=shown["id"],
                direction=direction,
                depth=1,
                columns=shown["kind"] in {"datasetField", "feature"},
                limit=PAGE_NEIGHBOURS_MAX,
            )
            edges = [] if answer is None else _neighbours(answer, direction)
            gaps = [] if answer is None else [one for one in answer["gaps"] if _tells(one)]
            more = answer is not None and answer["next"] is not None
            found[name] = {"edges": edges, "gaps": gaps, "more": more}
        return found


def _tells(gap: Mapping[str, Any]) -> bool:
    # That the walk ended after one step was asked for.
    return str(gap["reason"]) != "depth"


def _neighbours(answer: Facts, direction: str) -> list[Facts]:
    far = "source" if direction == "up" else "target"
    names = {node["id"]: node for node in answer["nodes"]}
    wanted: Collection[str] = _FLOWS
    if answer["root"].startswith("job:"):
        # What a job read and wrote is next to it; how its data went on is the lineage page's.
        wanted = ("reads",) if direction == "up" else ("writes",)
    edges = [edge for edge in answer["edges"] if edge["kind"] in wanted]
    kept = ("kind", "status", "basis", "job", "restricted", "last_seen", "entries")
    return [
        {"id": edge[far], "node": names.get(edge[far]), **{key: edge.get(key) for key in kept}}
        for edge in sorted(edges, key=lambda edge: (edge["status"], edge[far]))
    ]


# -- kinds ---------------------------------------------------------------------------------------


def _dataset(asking: _Asking, shown: Facts, facts: Facts) -> None:
    facets = shown["facets"]
    facts["columns"] = _columns(shown)
    facts["quality"] = quality_results(facets)
    facts["profile"] = _profile(facets)
    facts["storage"] = _storage(facets)
    _compare_versions(asking, shown, facts)
    _add_runs(asking, shown, facts)


def _column(asking: _Asking, shown: Facts, facts: Facts) -> None:
    node = parse_identifier(shown["id"])
    dataset = str(node.dataset.at(node.version))
    facts["dataset"] = dataset
    facts["column"] = node.part
    facts["schema"] = _object(shown["facets"].get("schema"))
    facts["profile"] = _flat(_object(shown["facets"].get("dataQualityMetrics")))
    whole = asking.find("quality", "show", id=dataset)
    results = [] if whole is None else quality_results(whole["facets"])
    facts["quality"] = [one for one in results if one["column"] == node.part]


def _job(asking: _Asking, shown: Facts, facts: Facts) -> None:
    facts["code"] = _joined_code(_job_code(shown["facets"]), code_of({}))
    _add_runs(asking, shown, facts)
    facts["state"] = states.of_job(facts["runs"])
    newest = facts["runs"][0]["run"] if facts["runs"] else None
    if newest is not None:
        run = asking.find("code", "show", id=f"run:{newest}")
        if run is not None:
            facts["code"] = _joined_code(facts["code"], code_of(run["facets"]))


def _run(asking: _Asking, shown: Facts, facts: Facts) -> None:
    facets = shown["facets"]
    for key in ("job", "jobs", "started", "ended", "inputs", "outputs"):
        facts[key] = shown.get(key)
    facts["producers"], facts["senders"] = shown["producers"], shown["senders"]
    facts["state"], facts["run_state"] = states.of_run(shown["state"]), shown["state"]
    facts["error"] = _error(facets)
    job = asking.find("job", "show", id=shown["job"]) if shown["job"] else None
    facts["code"] = _joined_code(_job_code({} if job is None else job["facets"]), code_of(facets))
    facts["agents"] = [
        f"agent:{one.get('type')}:{one.get('id')}"
        for one in _objects(_object(facets.get("lodeline_agent")).get("agents"))
    ]
    capture = _object(facets.get("lodeline_capture"))
    facts["command"] = [str(word) for word in capture.get("argv") or ()]
    facts["environment"] = _environment(facets)
    stated = _object(facets.get("lodeline_parameters"))
    facts["parameters"] = _flat(_object(stated.get("parameters")))
    facts["metrics"] = _flat(_object(stated.get("metrics")))
    facts["seeds"] = _flat(_object(stated.get("seeds")))
    _add_runs(asking, shown, facts)
    _compare_with_previous(asking, shown, facts)
    facts["replays"] = replays_of(asking.find, shown["name"], shown["job"])


def _feature(asking: _Asking, shown: Facts, facts: Facts) -> None:
    del asking
    facts["columns_of"] = shown.get("columns", [])


def _model(asking: _Asking, shown: Facts, facts: Facts) -> None:
    body = _object(shown["facets"].get("lodeline_model"))
    facts["model"] = {
        key: body.get(key) for key in ("framework", "class", "format") if body.get(key) is not None
    }
    facts["features"] = [str(one) for one in body.get("features") or ()]
    facts["parameters"] = _flat(_object(body.get("parameters")))
    artifact = _object(body.get("artifact"))
    facts["artifact"] = _dataset_id(artifact)
    facts["storage"] = _storage(shown["facets"])
    facts["quality"] = quality_results(shown["facets"])
    _compare_versions(asking, shown, facts)
    _add_runs(asking, shown, facts)
    training = _writer_of(shown)
    facts["training"] = training
    run = asking.find("metrics", "show", id=f"run:{training}") if training else None
    stated = _object(run["facets"].get("lodeline_parameters")) if run is not None else {}
    facts["metrics"] = _flat(_object(stated.get("metrics")))
    facts["code"] = _joined_code(_job_code({}), code_of({} if run is None else run["facets"]))
    facts["served_by"] = [
        edge["id"] for edge in facts["around"]["downstream"]["edges"] if edge["kind"] == "deploys"
    ]
    if training and run is not None:
        facts["replays"] = replays_of(asking.find, training, run["job"])


def _deployment(asking: _Asking, shown: Facts, facts: Facts) -> None:
    body = _object(shown["facets"].get("lodeline_deployment"))
    facts["configuration"] = _flat(_object(body.get("configuration")))
    state = _object(shown["facets"].get("lodeline_deployment_state"))
    facts["serving"] = {k: v for k, v in state.items() if not k.startswith("_")}
    facts["sampled"] = shown.get("sampled")
    facts["serves"] = [
        edge["id"] for edge in facts["around"]["upstream"]["edges"] if edge["kind"] == "deploys"
    ]
    _compare_versions(asking, shown, facts)


def _agent(ask: Asker, identifier: str, times: Mapping[str, object]) -> Facts:
    found = ask("runs", {"id": identifier, "limit": PAGE_RUNS_MAX, **times})
    node = parse_identifier(found["id"])
    return {
        "id": found["id"],
        "kind": "agent",
        "namespace": node.namespace,
        "name": node.name,
        "version": None,
        "number": None,
        "runs": found["runs"],
        "children": [],
        "as_of": found["as_of"],
        "trees": found["trees"],
        "problems": [],
        "gaps": [],
        "state": "current",
    }


# -- parts ---------------------------------------------------------------------------------------


def _add_runs(asking: _Asking, shown: Facts, facts: Facts) -> None:
    """Add the runs of a node's job, of a dataset or model the one that wrote it last."""
    about = shown["id"]
    if shown["kind"] in _VERSIONED:
        job = next((one["job"] for one in shown["versions"] if one["job"]), None)
        about = job or ""
    found = asking.find("runs", "runs", id=about, limit=PAGE_RUNS_MAX) if about else None
    empty: Facts = {"job": None, "total": 0, "runs": [], "parent": None, "children": []}
    found = found or empty
    facts["made_by"] = found["job"]
    facts["runs"], facts["runs_total"] = found["runs"], found["total"]
    facts["parent"], facts["children"] = found["parent"], found["children"]
    facts["compared"] = compared_runs(found["runs"])


def compared_runs(runs: Sequence[Facts]) -> Facts:
    """Put the metrics and parameters of runs beside each other, oldest run first.

    Parameters that all runs share are counted, not listed: what differs is what is looked for.
    """
    ordered = list(reversed(runs))
    tables: Facts = {}
    for what in ("metrics", "parameters"):
        names = sorted({name for run in ordered for name in run[what]})
        rows: list[Facts] = [
            {"name": name, "values": [run[what].get(name) for run in ordered]} for name in names
        ]
        if what == "parameters":
            differing = [row for row in rows if len({repr(one) for one in row["values"]}) > 1]
            tables["parameters_same"] = len(rows) - len(differing)
            rows = differing
        tables[what] = rows[:PAGE_VALUES_MAX]
    return {"runs": [run["run"] for run in ordered], **tables}


def _compare_versions(asking: _Asking, shown: Facts, facts: Facts) -> None:
    """Tell what the version shown changed against the one before it."""
    versions = shown["versions"]
    places = [n for n, one in enumerate(versions) if one["version"] == shown["version"]]
    facts["previous"], facts["changes"] = None, None
    if not places or places[0] + 1 >= len(versions):
        return
    home = parse_identifier(shown["id"]).at("")
    before = versions[places[0] + 1]["version"]
    ends = [str(home.at(one)) for one in (before, shown["version"])]
    answer = asking.find("changes", "diff", a=ends[0], b=ends[1])
    if answer is not None:
        facts["previous"] = ends[0]
        facts["changes"] = answer["changes"]


def _compare_with_previous(asking: _Asking, shown: Facts, facts: Facts) -> None:
    """Tell what a run changed against the run of its job before it."""
    ids = [one["run"] for one in facts["runs"]]
    facts["previous"], facts["changes"] = None, None
    if shown["name"] not in ids:
        return
    place = ids.index(shown["name"])
    if place + 1 < len(ids):
        before = f"run:{ids[place + 1]}"
        answer = asking.find("changes", "diff", a=before, b=shown["id"])
        if answer is not None:
            facts["previous"] = before
            facts["changes"] = answer["changes"]


def replays_of(find: Callable[..., Facts | None], run: str, job: str | None) -> list[Facts]:
    """Give the recorded replays of a run, the newest first: run and verdict."""
    if not job or job.startswith("restricted:"):
        return []
    node = parse_identifier(job)
    replaying = str(NodeId("job", "replay", node.name))
    found = find("replays", "runs", id=replaying, limit=PAGE_RUNS_MAX)
    return [
        {"run": one["run"], "verdict": one["verdict"], "started": one["started"]}
        for one in (found or {"runs": []})["runs"]
        if one["replay_of"] == run
    ]


def code_of(facets: Mapping[str, Any]) -> Facts:
    """Give what a run says of its code: commit, where it can be read, what was not committed."""
    body = _object(facets.get("lodeline_code"))
    kept = ("commit", "path", "branch", "remote", "sourceDigest", "version", "patchDigest")
    code: Facts = {key: _word(body.get(key)) for key in kept}
    code["patch"] = body.get("patch") if isinstance(body.get("patch"), str) else None
    code["dirty"] = bool(body.get("patchDigest"))
    code["link"] = commit_link(code.get("remote"), code.get("commit"))
    return code


def commit_link(remote: str | None, commit: str | None) -> str | None:
    """Give the address of a commit where its repository has pages; `None` where it cannot be told.

    Nothing but `https` and `http` becomes a link, whatever a producer sent.
    """
    if not remote or not commit or not re.fullmatch(r"[0-9a-f]{7,64}", commit):
        return None
    match = re.fullmatch(r"(?:ssh://)?git@([A-Za-z0-9.-]+)[:/]([A-Za-z0-9._/-]+)", remote)
    if match:
        remote = f"https://{match[1]}/{match[2]}"
    try:
        parts = urlsplit(remote)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    if parts.scheme not in {"https", "http"} or not re.fullmatch(r"[A-Za-z0-9.-]+", host):
        return None
    path = parts.path.removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", path):
        return None
    # Credentials that somebody left in the address are not passed on.
    return f"{parts.scheme}://{host}{port}{path}/commit/{commit}"


def _job_code(facets: Mapping[str, Any]) -> Facts:
    located = _object(facets.get("sourceCodeLocation"))
    url = _word(located.get("url"))
    source = _object(facets.get("sourceCode"))
    return {
        "path": _word(located.get("path")),
        "branch": _word(located.get("branch")),
        "commit": _word(located.get("version")),
        "url": url if url is not None and url.startswith(("https://", "http://")) else None,
        "source": _word(source.get("sourceCode")),
        "language": _word(source.get("language")),
        "sql": _text(facets.get("sql"), "query"),
    }


def _joined_code(job: Facts, run: Facts) -> Facts:
    """Put what a run says of its code over what its job says, and name what neither does."""
    told = {key: value for key, value in run.items() if value is not None}
    return {**dict.fromkeys([*run, *_job_code({})]), **job, **told}


def _environment(facets: Mapping[str, Any]) -> Facts:
    body = _object(facets.get("lodeline_environment"))
    packages = _object(body.get("packages"))
    rest = {k: v for k, v in body.items() if not k.startswith("_") and k != "packages"}
    return {"packages": len(packages), "places": _flat(rest), "engine": _engine(facets)}


def _engine(facets: Mapping[str, Any]) -> str | None:
    engine = _object(facets.get("processing_engine"))
    words = [str(engine[key]) for key in ("name", "version") if engine.get(key)]
    return " ".join(words) or None


def _error(facets: Mapping[str, Any]) -> Facts | None:
    body = _object(facets.get("errorMessage"))
    if not body.get("message"):
        return None
    return {"message": str(body["message"]), "stack": body.get("stackTrace")}


def _columns(shown: Facts) -> list[Facts]:
    """Give the columns of a dataset: stated, measured, and made of how many others."""
    node = parse_identifier(shown["id"])
    facets = shown["facets"]
    measured = _object(_object(facets.get("dataQualityMetrics")).get("columnMetrics"))
    told = _object(facets.get("columnLineage"))
    lineage = _object(told.get("fields"))
    # What decides about rows is said once, for all columns.
    shared = _objects(told.get("dataset"))
    stated = {
        str(one["name"]): one
        for one in _objects(_object(facets.get("schema")).get("fields"))
        if isinstance(one.get("name"), str)
    }
    names = list(dict.fromkeys([*stated, *(shown.get("fields") or ())]))
    return [
        {
            "name": name,
            "id": _field_id(node, name),
            "type": _word(stated.get(name, {}).get("type")),
            "description": _word(stated.get(name, {}).get("description")),
            "measured": _flat(_object(measured.get(name))),
            "inputs": _count_fields(
                [*_objects(_object(lineage.get(name)).get("inputFields")), *shared]
            ),
        }
        for name in names
    ]


def _count_fields(named: Sequence[Mapping[str, Any]]) -> int:
    """Count the columns that are named, each once."""
    return len({(one.get("namespace"), one.get("name"), one.get("field")) for one in named})


def _field_id(node: NodeId, name: str) -> str:
    return str(NodeId("datasetField", node.namespace, node.name, name, node.version))


def quality_results(facets: Mapping[str, Any]) -> list[Facts]:
    """Give the checks of a dataset, those that failed first, whichever facet told them."""
    stated = _objects(_object(facets.get("dataQualityAssertions")).get("assertions"))
    checked = _objects(_object(facets.get("lodeline_quality")).get("checks"))
    found = [_check(one, "assertion", "actual") for one in stated]
    found += [_check(one, "name", "observed") for one in checked]
    return sorted(found, key=lambda one: one["success"])


def _check(one: Mapping[str, Any], name: str, observed: str) -> Facts:
    return {
        "check": str(one.get(name)),
        "column": _word(one.get("column")),
        "success": one.get("success") is True,
        "severity": _word(one.get("severity")),
        "observed": _plain(one.get(observed)),
        "expected": _plain(one.get("expected")),
    }


def _profile(facets: Mapping[str, Any]) -> Facts:
    body = _object(facets.get("dataQualityMetrics"))
    rest = {k: v for k, v in body.items() if not k.startswith("_") and k != "columnMetrics"}
    return _flat({**rest, **_unmarked(facets.get("outputStatistics"))})


def _storage(facets: Mapping[str, Any]) -> Facts:
    """Give what is known of a version's cost: bytes, rows, files, where they lie."""
    digest = _object(facets.get("lodeline_digest"))
    written = _object(facets.get("outputStatistics"))
    measured = _object(facets.get("dataQualityMetrics"))
    storage = _object(facets.get("storage"))
    counts = {
        "bytes": _first(digest.get("bytes"), written.get("size"), measured.get("bytes")),
        "rows": _first(digest.get("rows"), written.get("rowCount"), measured.get("rowCount")),
        "files": _first(written.get("fileCount"), measured.get("fileCount")),
    }
    words = {
        "layer": _word(storage.get("storageLayer")),
        "format": _word(storage.get("fileFormat")) or _word(digest.get("format")),
        "location": _word(_object(facets.get("dataSource")).get("uri")),
    }
    return {**counts, **words}


def _number_of(shown: Facts) -> int | None:
    for one in shown["versions"]:
        if one["version"] == shown["version"]:
            number: int | None = one["number"]
            return number
    return None


def _writer_of(shown: Facts) -> str | None:
    """Give the run that wrote the version shown."""
    for one in shown["versions"]:
        if one["version"] == shown["version"]:
            run: str | None = one["run"]
            return run
    return None


def _dataset_id(named: Mapping[str, Any]) -> str | None:
    namespace, name = named.get("namespace"), named.get("name")
    if not isinstance(namespace, str) or not isinstance(name, str) or not name:
        return None
    return str(NodeId("dataset", namespace, name))


# -- foreign values ------------------------------------------------------------------------------


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _unmarked(value: object) -> Facts:
    return {k: v for k, v in _object(value).items() if not k.startswith("_")}


def _text(value: object, key: str) -> str | None:
    return _word(_object(value).get(key))


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _first(*values: object) -> int | float | None:
    for one in values:
        if isinstance(one, int | float) and not isinstance(one, bool):
            return one
    return None


def _plain(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return repr(value)[:200]


def _flat(body: Mapping[str, Any]) -> Facts:
    """Spread nested objects into dotted places; lists stay, as they are one value."""
    found: Facts = {}
    waiting: list[tuple[str, object]] = [(str(key), value) for key, value in body.items()]
    while waiting and len(found) < PAGE_VALUES_MAX:
        place, value = waiting.pop(0)
        if isinstance(value, Mapping):
            waiting[:0] = [(f"{place}.{key}", inner) for key, inner in value.items()]
        elif not place.startswith("_"):
            found[place] = value
    return found
