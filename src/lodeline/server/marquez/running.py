"""Runs that callers create and move on: each transition is a RunEvent.

A run reads what its job is declared to read, from its start, and wrote what the job is declared to
write, once it completed, as in Marquez.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

from lodeline.errors import RunTakenError, UsageError
from lodeline.model import NodeId
from lodeline.query.asking import Inquiry
from lodeline.query.history import RunRecord, declared_flows
from lodeline.server.marquez import jobs
from lodeline.server.marquez.calls import Call, Json, read_time
from lodeline.server.marquez.describing import RUN
from lodeline.server.marquez.putting import Change, Desk
from lodeline.server.marquez.recording import facet, run_event
from lodeline.server.marquez.shapes import id_json
from lodeline.wire.facets import LodelineParametersRunFacet, NominalTimeRunFacet

_TRANSITIONS: Final = {
    "start": "START",
    "complete": "COMPLETE",
    "fail": "FAIL",
    "abort": "ABORT",
}
_SUMMARIES: Final = {
    "start": "A run started",
    "complete": "A run completed",
    "fail": "A run failed",
    "abort": "A run was aborted",
}


async def create_run(desk: Desk, call: Call) -> Json:
    """Answer `POST /namespaces/{namespace}/jobs/{job}/runs`; the same id again, the same run."""
    run_id = _run_id(call)
    facets = _run_facets(call)

    def check(inquiry: Inquiry, _: Call) -> Json:
        job = jobs.find_job(inquiry, call.path["namespace"], call.path["job"])
        groups = inquiry.groups.load(inquiry.view.groups_of_run(run_id)).values()
        owners = [group.job for group in groups if group.job is not None]
        if owners and job not in owners:
            raise RunTakenError(f"run '{run_id}' is another job's")
        reads, _writes = declared_flows(inquiry, job)
        return job, bool(owners), [id_json(node) for node in reads]

    job, known, inputs = await desk.look(check, call)
    if not known:
        event = run_event(
            "OTHER",
            run_id,
            (job.namespace, job.name),
            desk.recorder.now_us(),
            run_facets=facets,
            inputs=inputs,
        )
        await desk.recorder.record([event])
    return await desk.read(jobs.get_run, Call({"id": run_id}, call.query, {}))


def _run_id(call: Call) -> str:
    text = call.text("id")
    if text is None:
        return str(uuid.uuid4())
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise UsageError(f"id: a UUID, not {text[:64]!r}") from error


def _run_facets(call: Call) -> dict[str, Json]:
    found: dict[str, Json] = {}
    begin, end = call.text("nominalStartTime"), call.text("nominalEndTime")
    for name, text in (("nominalStartTime", begin), ("nominalEndTime", end)):
        if text is not None:
            read_time(text, name)
    if begin is not None or end is not None:
        found |= facet(NominalTimeRunFacet, nominalStartTime=begin, nominalEndTime=end)
    args = call.body.get("args")
    if args is not None and not isinstance(args, dict):
        raise UsageError("args: values by name")
    if args:
        found |= facet(LodelineParametersRunFacet, parameters=args)
    return found


def _transition(word: str) -> Callable[[Desk, Call], Awaitable[Json]]:
    event_type = _TRANSITIONS[word]

    async def make(desk: Desk, call: Call) -> Json:
        at_us = call.time_us("at")

        def check(inquiry: Inquiry, _: Call) -> Any:
            run = jobs.find_run(inquiry, call.path["id"])
            return run, declared_flows(inquiry, run.group.job or NodeId("job", "", ""))

        found: tuple[RunRecord, tuple[list[NodeId], list[NodeId]]] = await desk.look(check, call)
        run, (reads, writes) = found
        job = run.group.job
        if job is None:
            raise UsageError(f"run '{run.group.run_id}' is no job's")
        event = run_event(
            event_type,
            run.group.run_id,
            (job.namespace, job.name),
            desk.recorder.now_us() if at_us is None else at_us,
            inputs=[id_json(node) for node in reads],
            outputs=[id_json(node) for node in writes] if event_type == "COMPLETE" else [],
        )
        await desk.recorder.record([event])
        return await desk.read(jobs.get_run, call)

    return make


CHANGES: Final = [
    Change(
        "POST",
        "/namespaces/{namespace}/jobs/{job}/runs",
        create_run,
        "Create a run",
        RUN,
        status=201,
    ),
    *(
        Change(
            "POST", f"/jobs/runs/{{id}}/{word}", _transition(word), _SUMMARIES[word], query=("at",)
        )
        for word in _TRANSITIONS
    ),
]
