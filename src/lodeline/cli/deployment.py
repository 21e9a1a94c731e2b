"""Decide what a deployment may answer: stop it, bound it, or go back to an earlier model.

lodeline deployment show deployment:prod:churn-api
lodeline deployment kill deployment:prod:churn-api --reason "wrong prices since noon"
lodeline deployment constrain deployment:prod:churn-api --fraction 0.1 --reason "slow start"
lodeline deployment constrain ID --header X-Tenant --allow acme --fallback '{"churn": null}' …
lodeline deployment rollback deployment:prod:churn-api model:ml:churn#6 --reason "7 drifts"
lodeline deployment resume deployment:prod:churn-api --reason "fixed"

Each decision is an event of the record, with who and why; `show --valid-at` tells past ones. The
serving middleware and `lodeline proxy` follow within a second, through a file beside the store or
by asking the server. `resume` lifts everything; killing or constraining keeps a rollback.
"""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from lodeline.cli.answers import connect, open_segment, print_json
from lodeline.errors import UnknownNodeError, UsageError
from lodeline.model import NodeId, parse_identifier
from lodeline.settings import find_setting, store_url
from lodeline.wire.facets import PRODUCER, LodelineDeploymentStateDatasetFacet

_FACET: Final = "lodeline_deploymentState"
_SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/DatasetEvent"
_STATES: Final = {"kill": "killed", "constrain": "constrained", "resume": "active"}


def configure(parser: ArgumentParser) -> None:
    """Add the actions."""
    actions = ["show", "kill", "constrain", "rollback", "resume"]
    parser.add_argument("action", choices=actions, help="what to decide; `show` decides nothing")
    parser.add_argument("id", metavar="ID", help="the deployment")
    parser.add_argument("target", metavar="MODEL", nargs="?", help="rollback: the model's version")
    parser.add_argument("--reason", help="why; needed for every decision")
    parser.add_argument(
        "--fraction", type=float, metavar="F", help="constrain: answer this part of the requests"
    )
    parser.add_argument(
        "--header", metavar="NAME", help="constrain: answer requests with this header…"
    )
    parser.add_argument(
        "--allow", action="append", metavar="VALUE", help="…of this value; may be given again"
    )
    parser.add_argument(
        "--fallback", metavar="JSON", help="constrain: answer the others this, instead of 503"
    )
    parser.add_argument(
        "--unrecorded", action="store_true", help="decide even though the record knows no such ID"
    )


def execute(arguments: Namespace) -> int:
    """Show the state, or put a decision into the record and where serving processes look."""
    node, facet = _find(arguments)
    if arguments.action != "show":
        facet = _decide(arguments, facet)
        _record(arguments, node, facet)
    answer = {
        "id": str(node),
        "state": facet.get("state", "active"),
        "reason": facet.get("reason"),
        "since": facet.get("since"),
        "actor": facet.get("actor"),
        "constraint": facet.get("constraint"),
        "model": _model_text(facet.get("model")),
    }
    if arguments.json:
        print_json(answer)
    else:
        _print(answer)
    return 0


def _find(arguments: Namespace) -> tuple[NodeId, dict[str, Any]]:
    try:
        answer = connect(arguments).ask("show", id=arguments.id)
    except UnknownNodeError:
        if not arguments.unrecorded or arguments.action == "show":
            raise
        node = parse_identifier(arguments.id)
        facets: dict[str, Any] = {}
    else:
        node = parse_identifier(answer["id"])
        facets = answer["facets"]
    if node.kind != "deployment":
        raise UsageError(f"{node} is no deployment")
    return node.at(""), dict(facets.get(_FACET) or {})


def _decide(arguments: Namespace, before: dict[str, Any]) -> dict[str, Any]:
    """Make the facet that states the whole state anew."""
    if not arguments.reason:
        raise UsageError("say why: --reason TEXT")
    action = arguments.action
    bounds = (arguments.fraction, arguments.header, arguments.allow, arguments.fallback)
    if action != "constrain" and any(bound is not None for bound in bounds):
        raise UsageError("--fraction, --header, --allow and --fallback belong to constrain")
    if (action == "rollback") != (arguments.target is not None):
        raise UsageError("rollback, and nothing else, takes a MODEL")
    facet: dict[str, Any] = {
        "_producer": PRODUCER,
        "_schemaURL": LodelineDeploymentStateDatasetFacet.facet_schema_url,
        "state": _STATES.get(action, before.get("state", "active")),
        "reason": arguments.reason,
        "actor": _actor(arguments),
        "since": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }
    if action == "constrain":
        facet["constraint"] = _constraint(arguments)
    elif action == "rollback" and before.get("constraint"):
        facet["constraint"] = before["constraint"]
    if action == "rollback":
        facet["model"] = _model(arguments)
    elif action != "resume" and before.get("model"):
        facet["model"] = before["model"]
    return facet


def _constraint(arguments: Namespace) -> dict[str, Any]:
    if arguments.fraction is None and arguments.header is None:
        raise UsageError("constrain by --fraction, or by --header and --allow, or by both")
    if (arguments.header is None) != (arguments.allow is None):
        raise UsageError("--header and --allow belong together")
    constraint: dict[str, Any] = {}
    if arguments.fraction is not None:
        if not 0 <= arguments.fraction <= 1:
            raise UsageError("--fraction is a number from 0 to 1")
        constraint["fraction"] = arguments.fraction
    if arguments.header is not None:
        constraint |= {"header": arguments.header.lower(), "values": arguments.allow}
    if arguments.fallback is not None:
        try:
            constraint |= {"fallback": json.loads(arguments.fallback), "hasFallback": True}
        except ValueError as error:
            raise UsageError(f"--fallback is JSON: {error}") from error
    return constraint


def _model(arguments: Namespace) -> dict[str, Any]:
    """Find the version to go back to; a number becomes the digest that it stands for."""
    node = parse_identifier(arguments.target)
    if node.kind != "model" or not node.version:
        raise UsageError("roll back to a version of a model: model:NAMESPACE:NAME#VERSION")
    answer = connect(arguments).ask("show", id=arguments.target)
    # As it stands in the list of versions, where the given one was a number.
    versions = {str(one.get("number")): one["version"] for one in answer["versions"]}
    found = parse_identifier(answer["id"])
    version = versions.get(node.version) or found.version or node.version
    return {"namespace": found.namespace, "name": found.name, "version": version}


def _actor(arguments: Namespace) -> dict[str, str]:
    from lodeline.capture.actor import describe_agents
    from lodeline.spool import spool_directory

    agents = describe_agents(spool_directory(store_url(arguments.store)) / "actors", os.environ)
    # The first is the one who had it done: a job of continuous integration before its user.
    return {"type": agents[0]["type"], "id": agents[0]["id"]}


def _record(arguments: Namespace, node: NodeId, facet: dict[str, Any]) -> None:
    from lodeline.capture.deployment_state import state_file, write_state_file
    from lodeline.spool import spool_directory

    event = {
        "eventTime": facet["since"],
        "producer": PRODUCER,
        "schemaURL": _SCHEMA,
        "dataset": {"namespace": node.namespace, "name": node.name, "facets": {_FACET: facet}},
    }
    body = json.dumps(event).encode()
    server = find_setting("url", argument=arguments.server) if arguments.store is None else None
    if server is not None:
        from lodeline.questions import ServerQuestions

        ServerQuestions(server).send("POST", "/api/v1/lineage?wait=folded", body)
        return
    # First the record, then what serving processes read: they never do what nobody can look up.
    _append(arguments, body)
    name = (str(node.namespace), node.name)
    spool: Path = spool_directory(store_url(arguments.store))
    write_state_file(state_file(spool, name), name, facet)


def _append(arguments: Namespace, body: bytes) -> None:
    from lodeline.ingest import Submission, accept

    with closing(open_segment(arguments, create=True)) as segment:
        result = accept(segment, [Submission(body, "lodeline deployment")])
    if result.refused:
        raise UsageError(f"the record refuses it: {result.dead_letters[0].message}")


def _model_text(model: object) -> str | None:
    if not isinstance(model, dict):
        return None
    version = str(model.get("version") or "")
    return str(NodeId("model", str(model["namespace"]), str(model["name"]), "", version))


def _print(answer: dict[str, Any]) -> None:
    print(f"{answer['id']}: {answer['state']}")
    for name in ("model", "constraint", "reason", "since"):
        if answer[name] is not None:
            value = answer[name]
            print(f"  {name}: {value if isinstance(value, str) else json.dumps(value)}")
    if answer["actor"]:
        print(f"  by: {answer['actor']['type']} {answer['actor']['id']}")
