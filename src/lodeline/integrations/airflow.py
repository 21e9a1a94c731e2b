"""Airflow: what its OpenLineage provider does not say of a task: environment and code.

Airflow is not observed; its provider sends events of its own, and asks functions that are named in
`[openlineage] custom_run_facets` for further facets. This is one:

    [openlineage]
    custom_run_facets = lodeline.integrations.airflow.run_facets

It is asked in the process that runs the task. What cannot be told is left out; the provider logs an
exception in it, and sends the event as it was.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import attr
from openlineage.client.facet_v2 import RunFacet

from lodeline.capture.code import describe_code
from lodeline.capture.command import find_repository
from lodeline.capture.environment import describe_environment
from lodeline.wire.facets import LodelineCodeRunFacet, LodelineEnvironmentRunFacet


@attr.define
class EnvironmentFacet(RunFacet):  # type: ignore[misc]  # the client may be absent here
    """`lodeline_environment`, in the client's own terms."""

    interpreter: dict[str, str]
    packages: dict[str, str]
    platform: str
    variables: dict[str, str]
    host: str
    digest: str
    container: str | None = attr.field(default=None)
    ci: dict[str, str] | None = attr.field(default=None)

    @staticmethod
    def _get_schema() -> str:
        return LodelineEnvironmentRunFacet.facet_schema_url


@attr.define
class CodeFacet(RunFacet):  # type: ignore[misc]  # likewise
    """`lodeline_code`, likewise; the text of uncommitted changes stays out."""

    version: str
    commit: str | None = attr.field(default=None)
    patchDigest: str | None = attr.field(default=None)  # noqa: N815  # as it is written
    remote: str | None = attr.field(default=None)
    repositoryRoot: str | None = attr.field(default=None)  # noqa: N815
    path: str | None = attr.field(default=None)
    sourceDigest: str | None = attr.field(default=None)  # noqa: N815

    @staticmethod
    def _get_schema() -> str:
        return LodelineCodeRunFacet.facet_schema_url


def run_facets(task_instance: Any, state: Any) -> dict[str, RunFacet]:
    """Give the facets that Airflow's provider adds to a task's events.

    Args:
        task_instance: that runs; its DAG's file is the code.
        state: it is in; not asked.
    """
    del state
    found: dict[str, RunFacet] = {"lodeline_environment": _environment()}
    dag = getattr(getattr(task_instance, "task", None), "dag", None)
    file = getattr(dag, "fileloc", None)
    code = None if not isinstance(file, str) else _code(file)
    if code is not None:
        found["lodeline_code"] = code
    return found


@lru_cache(maxsize=1)
def _environment() -> EnvironmentFacet:
    header = {
        "implementation": sys.implementation.name,
        "version": sys.version.split()[0],
        "path": [entry for entry in sys.path if entry],
    }
    return EnvironmentFacet(**describe_environment(header, os.environ))


@lru_cache(maxsize=16)
def _code(file: str) -> CodeFacet | None:
    script = Path(file)
    facet = describe_code(script, root=find_repository(script)).facet
    told = {name: facet[name] for name in attr.fields_dict(CodeFacet) if name in facet}
    return CodeFacet(**told) if "version" in told else None
