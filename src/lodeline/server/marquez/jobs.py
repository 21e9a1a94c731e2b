"""Jobs of a namespace, their versions and their runs."""

from __future__ import annotations

import uuid
from typing import Final

from lodeline.errors import UnknownEntryError, UsageError
from lodeline.limits import CATALOGUE_RUNS_MAX
from lodeline.model import NodeId
from lodeline.query.asking import Inquiry
from lodeline.query.catalogue import JOB_KINDS, Catalogue
from lodeline.query.entities import describe_jobs
from lodeline.query.history import (
    CodeVersion,
    RunRecord,
    count_runs,
    describe_runs,
    find_version_of,
    flows_of_codes,
    list_code_versions,
    list_runs,
)
from lodeline.server.marquez.calls import Call, Json, Read
from lodeline.server.marquez.describing import PAGE
from lodeline.server.marquez.shapes import STATES, job_json, job_version_json, run_json
from lodeline.server.marquez.spaces import find_space


def find_job(inquiry: Inquiry, namespace: str, name: str) -> NodeId:
    """Find a job.

    Raises:
        UnknownEntryError: there is none, or its namespace is none.
    """
    node = Catalogue(inquiry).find(JOB_KINDS, namespace, name)
    if node is None:
        find_space(inquiry, namespace)
        raise UnknownEntryError("Job", name)
    return node


def list_jobs(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /namespaces/{namespace}/jobs` and `GET /jobs`."""
    namespace = call.path.get("namespace")
    names = [name.upper() for name in call.query.getlist("lastRunStates")]
    unknown = set(names) - STATES.keys()
    if unknown:
        raise UsageError(f"lastRunStates: {', '.join(STATES)}, not {min(unknown)[:64]!r}")
    listing = Catalogue(inquiry).list_nodes(
        JOB_KINDS,
        namespace=namespace,
        limit=call.number("limit", 100),
        offset=call.number("offset", 0, most=10**9),
        states=[state for name in names for state in STATES[name]],
    )
    if namespace is not None and not listing.total:
        find_space(inquiry, namespace)
    records = describe_jobs(inquiry, listing.nodes.values(), runs=CATALOGUE_RUNS_MAX)
    jobs = [job_json(records[node]) for node in listing.nodes.values()]
    return {"jobs": jobs, "totalCount": listing.total}


def get_job(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /namespaces/{namespace}/jobs/{job}`."""
    node = find_job(inquiry, call.path["namespace"], call.path["job"])
    return job_json(describe_jobs(inquiry, [node], runs=CATALOGUE_RUNS_MAX)[node])


def list_job_versions(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /namespaces/{namespace}/jobs/{job}/versions`."""
    node = find_job(inquiry, call.path["namespace"], call.path["job"])
    limit, offset = call.number("limit", 100), call.number("offset", 0, most=10**9)
    versions = list_code_versions(inquiry, node)
    page = versions[offset : offset + limit]
    return {"versions": _describe(inquiry, node, page), "totalCount": len(versions)}


def get_job_version(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /namespaces/{namespace}/jobs/{job}/versions/{version}`."""
    node = find_job(inquiry, call.path["namespace"], call.path["job"])
    text = call.path["version"]
    wanted = find_version_of(inquiry, node, text)
    versions = [one for one in list_code_versions(inquiry, node) if one.node.version == wanted]
    if not versions:
        raise UnknownEntryError("Job version", text)
    [found] = _describe(inquiry, node, versions)
    return found


def _describe(inquiry: Inquiry, node: NodeId, versions: list[CodeVersion]) -> list[Json]:
    flows = flows_of_codes(inquiry, node)
    runs = describe_runs(inquiry, (one.latest for one in versions if one.latest is not None))
    facets = describe_jobs(inquiry, [node], runs=0)[node].facets
    return [
        job_version_json(
            one,
            flows.get(one.node.version, ([], [])),
            None if one.latest is None else runs[one.latest],
            facets,
        )
        for one in versions
    ]


def list_job_runs(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /namespaces/{namespace}/jobs/{job}/runs`."""
    node = find_job(inquiry, call.path["namespace"], call.path["job"])
    limit, offset = call.number("limit", 100), call.number("offset", 0, most=10**9)
    runs = [run_json(run) for run in list_runs(inquiry, node, limit=limit, offset=offset)]
    return {"runs": runs, "totalCount": count_runs(inquiry, node)}


def get_run(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /jobs/runs/{id}`."""
    return run_json(find_run(inquiry, call.path["id"]))


def find_run(inquiry: Inquiry, text: str) -> RunRecord:
    """Find a run; where it ran several jobs, with the job that it last spoke of.

    Raises:
        UsageError: not a UUID.
        UnknownEntryError: there is no such run.
    """
    try:
        run_id = str(uuid.UUID(text))
    except ValueError as error:
        raise UsageError(f"a run's id is a UUID, not {text[:64]!r}") from error
    groups = inquiry.groups.load(inquiry.view.groups_of_run(run_id))
    if not groups or not inquiry.authoriser.may_see(NodeId("run", "", run_id)):
        raise UnknownEntryError("Run", text)
    newest = max(groups.values(), key=lambda group: group.order)
    return describe_runs(inquiry, [newest.number])[newest.number]


def get_run_facets(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /jobs/runs/{id}/facets`."""
    kind = call.required("type").lower()
    run = find_run(inquiry, call.path["id"])
    if kind not in {"run", "job"}:
        raise UsageError(f"type: run or job, not {kind[:64]!r}")
    return {"runId": run.group.run_id, "facets": run.run if kind == "run" else run.job}


_ONE: Final = "/namespaces/{namespace}/jobs/{job}"
_JOBS: Final = ("lastRunStates", *PAGE)
READS: Final = [
    Read("/jobs", list_jobs, "List all jobs", _JOBS),
    Read("/namespaces/{namespace}/jobs", list_jobs, "List the jobs of a namespace", _JOBS),
    Read(_ONE, get_job, "One job"),
    Read(f"{_ONE}/versions", list_job_versions, "List the versions of a job", PAGE),
    Read(f"{_ONE}/versions/{{version}}", get_job_version, "One version of a job"),
    Read(f"{_ONE}/runs", list_job_runs, "List the runs of a job", PAGE),
    Read("/jobs/runs/{id}", get_run, "One run"),
    Read("/jobs/runs/{id}/facets", get_run_facets, "The facets of a run, or of its job", ("type",)),
]
