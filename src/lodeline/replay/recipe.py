"""What the record says about one run: enough to run it again, or the reason why it isn't.

Only the log is read, never the view: a replay rests on what was recorded, in the words in which it
was recorded. Events of one run merge as everywhere: the last word by event time wins.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from lodeline.credentials import MARK
from lodeline.errors import CannotReplayError, UnknownNodeError, UsageError
from lodeline.model import NodeId, parse_time

FILE_NAMESPACE: Final = "file"


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a dataset made of many."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A dataset or model that the run used or generated.

    Attributes:
        node: its identifier, version included when the record has one.
        path: where its bytes lay, `None` when it is not a file.
        digest: SHA-256 of its bytes in hex, `None` when nobody observed it.
        logical: digest of its rows whatever the format, when recorded.
        parts: its files, when it is a directory.
    """

    node: NodeId
    path: str | None
    digest: str | None
    logical: str | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run was: command, code, inputs, outputs, surroundings.

    Attributes:
        code: the facet `lodeline_code` as recorded.
        environment: the facet `lodeline_environment` as recorded.
        parameters: the facet `lodeline_parameters` as recorded.
    """

    run_id: str
    job_namespace: str
    job_name: str
    argv: tuple[str, ...]
    cwd: str
    exit_code: int | None
    deterministic: bool
    inputs: tuple[Artifact, ...]
    outputs: tuple[Artifact, ...]
    code: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)


def parse_run(text: str) -> str:
    """Read a run's identifier, `run:<uuid>` or the UUID alone.

    Raises:
        UsageError: neither.
    """
    bare = text.removeprefix("run:")
    try:
        return str(uuid.UUID(bare))
    except ValueError:
        raise UsageError(f"not a run: {text!r}; write run:<uuid>") from None


def read_recipe(segment: Any, run_id: str) -> Recipe:
    """Read a run's recipe from the log.

    Args:
        segment: an open segment of the store.
        run_id: a UUID in lower case.

    Raises:
        UnknownNodeError: the log has no event of this run.
        CannotReplayError: the events don't say what was run.
    """
    events = [
        event
        for event in iter_events(segment)
        if str(event.get("run", {}).get("runId", "")).lower() == run_id
    ]
    if not events:
        raise UnknownNodeError(node_id=f"run:{run_id}")
    return recipe_of(run_id, events)


def iter_events(segment: Any, start: int = 0) -> Iterator[dict[str, Any]]:
    """Stream the log's events as JSON objects; those whose payload was erased are left out."""
    for _, opened in segment.iter_opened(start, kinds=("event",)):
        yield msgspec.json.decode(opened.payload)


def recipe_of(run_id: str, events: Iterable[Mapping[str, Any]]) -> Recipe:
    """Merge a run's events into its recipe; pure.

    Raises:
        CannotReplayError: the events don't say what was run.
    """
    ordered = sorted(events, key=lambda event: parse_time(str(event["eventTime"])))
    facets = _merged(event["run"].get("facets") for event in ordered)
    capture = facets.get("lodeline_capture") or {}
    if not capture.get("argv") or not capture.get("cwd"):
        raise CannotReplayError(
            reason="the record has no command line for it; only runs under `lodeline run` have one"
        )
    if any(MARK in word for word in capture["argv"]):
        raise CannotReplayError(reason="its command line held a secret, which was not recorded")
    job = _captured_job(ordered)
    return Recipe(
        run_id=run_id,
        job_namespace=job["namespace"],
        job_name=job["name"],
        argv=tuple(capture["argv"]),
        cwd=capture["cwd"],
        exit_code=capture.get("exitCode"),
        deterministic=bool(capture.get("deterministic")),
        inputs=artifacts_of(ordered, "inputs"),
        outputs=artifacts_of(ordered, "outputs"),
        code=facets.get("lodeline_code") or {},
        environment=facets.get("lodeline_environment") or {},
        parameters=facets.get("lodeline_parameters") or {},
    )


def _captured_job(events: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The job whose events carry the command; a run may report under several jobs."""
    for event in reversed(events):
        if "lodeline_capture" in (event["run"].get("facets") or {}):
            job: Mapping[str, Any] = event["job"]
            return job
    last: Mapping[str, Any] = events[-1]["job"]
    return last


def _merged(facet_sets: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for facets in facet_sets:
        for name, body in (facets or {}).items():
            if isinstance(body, Mapping) and body.get("_deleted"):
                merged.pop(name, None)
            else:
                merged[name] = body
    return merged


def artifacts_of(events: Sequence[Mapping[str, Any]], side: str) -> tuple[Artifact, ...]:
    """What events say of the files and models on one side of their runs.

    Args:
        events: in the order in which later words replace earlier ones.
        side: `inputs` or `outputs`.
    """
    facets_of: dict[tuple[str, str], list[Mapping[str, Any] | None]] = {}
    for event in events:
        for dataset in event.get(side) or ():
            key = (dataset["namespace"], dataset["name"])
            facets_of.setdefault(key, []).append(dataset.get("facets"))
    merged = ((key, _merged(sets)) for key, sets in sorted(facets_of.items()))
    return tuple(_artifact(*key, facets) for key, facets in merged if not _is_dropped(facets))


def _is_dropped(facets: Mapping[str, Any]) -> bool:
    """Whether a run told only that something was there before, and that it removed it."""
    state = facets.get("lifecycleStateChange") or {}
    return bool(state.get("lifecycleStateChange") == "DROP")


def _artifact(namespace: str, name: str, facets: Mapping[str, Any]) -> Artifact:
    model = facets.get("lodeline_model")
    digest = facets.get("lodeline_digest") or {}
    if model is not None:
        version = model.get("digest")
        place = model.get("artifact") or {}
        return Artifact(
            node=NodeId("model", namespace, name, version=version or ""),
            path=place.get("name") if place.get("namespace") == FILE_NAMESPACE else None,
            digest=version.removeprefix("sha256:") if version else None,
        )
    value = digest.get("value")
    return Artifact(
        node=NodeId("dataset", namespace, name, version=f"sha256:{value}" if value else ""),
        path=name if namespace == FILE_NAMESPACE else None,
        digest=value,
        logical=digest.get("logical"),
        parts=tuple(Part(part["key"], part["digest"]) for part in digest.get("manifest") or ()),
    )
