"""Contracts of datasets: which columns their writers promise, and which changes that allows.

lodeline schema register dataset:warehouse:public.orders --mode forward
lodeline schema check dataset:warehouse:public.orders --fields id:bigint,amount:double
lodeline schema show dataset:warehouse:public.orders
lodeline schema list

A contract is an event in the log like any other, so it has a history and a proof; `lodeline ci`
holds what jobs write against it. Without columns given, `register` takes those last written, and
`check` checks them. Modes: `backward` (readers of the new schema read old data), `forward` (readers
of the old schema read new data), `full`, `none`. Exit status of `check`: 0 allowed, 1 not, 3 where
the columns are not known.
"""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lodeline.cli.answers import connect, open_segment, print_json
from lodeline.errors import UnknownNodeError, UsageError
from lodeline.model import NodeId, format_time, parse_identifier
from lodeline.questions import Questions
from lodeline.settings import receiver_url, store_url
from lodeline.wire.compatibility import MODES, Change, compare_schemas, read_fields

Fields = dict[str, str | None]


def configure(parser: ArgumentParser) -> None:
    """Add the actions."""
    parser.add_argument("action", choices=["register", "check", "list", "show"], help="what to do")
    parser.add_argument("id", nargs="?", metavar="ID", help="dataset:namespace:name")
    parser.add_argument("--fields", metavar="NAME:TYPE,…", help="register, check: the columns")
    parser.add_argument(
        "--file", metavar="FILE", help="register, check: a schema facet in JSON, or its fields"
    )
    parser.add_argument(
        "--mode", choices=MODES, help="register: which changes are allowed (default: backward)"
    )


def execute(arguments: Namespace) -> int:
    """Register, check, list or show."""
    if (arguments.action == "list") is not (arguments.id is None):
        raise UsageError("schema register, check and show take one ID; list takes none")
    if arguments.action == "list":
        return _list(arguments)
    node = parse_identifier(arguments.id).at("")
    if node.kind != "dataset":
        raise UsageError(f"{node}: a contract is of a dataset")
    questions = connect(arguments)
    facets = _facets(questions, node)
    if arguments.action == "show":
        return _show(arguments, node, facets)
    given = _given(arguments)
    if arguments.action == "check":
        return _check(arguments, node, facets, given)
    return _register(arguments, node, facets, given)


def _facets(questions: Questions, node: NodeId) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = questions.ask("show", id=str(node))["facets"]
    except UnknownNodeError:
        return {}
    return found


def _given(arguments: Namespace) -> Fields | None:
    if arguments.fields and arguments.file:
        raise UsageError("give --fields or --file")
    if arguments.fields:
        pairs = [part.partition(":") for part in arguments.fields.split(",") if part.strip()]
        return {name.strip(): kind.strip() or None for name, _, kind in pairs}
    if not arguments.file:
        return None
    try:
        body = json.loads(Path(arguments.file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{arguments.file} is no JSON: {error}") from error
    fields = read_fields(body.get("fields") if isinstance(body, dict) else body)
    if not fields:
        raise UsageError(f"{arguments.file} has no fields")
    return fields


def _written(facets: Mapping[str, Any]) -> Fields:
    return read_fields((facets.get("schema") or {}).get("fields"))


def _register(
    arguments: Namespace, node: NodeId, facets: Mapping[str, Any], given: Fields | None
) -> int:
    fields = _written(facets) if given is None else given
    if not fields:
        raise UsageError(f"the record knows no columns of {node}; give --fields or --file")
    contract = {
        "mode": arguments.mode or "backward",
        "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
    }
    delivered = _deliver(arguments, node, contract)
    answer = {"id": str(node), "contract": contract, "delivered": delivered}
    if arguments.json:
        print_json(answer)
    else:
        print(f"{node}: {len(fields)} columns, {contract['mode']}")
        if not delivered:
            print("  not delivered yet; next: lodeline flush")
    return 0


def _deliver(arguments: Namespace, node: NodeId, contract: dict[str, Any]) -> bool:
    from lodeline.capture.drafts import stamp
    from lodeline.spool import Spool, spool_directory
    from lodeline.transport import drain_into
    from lodeline.wire.facets import PRODUCER

    facet = stamp("dataset", "lodeline_contract", contract)
    event = {
        "eventTime": format_time(time.time_ns() // 1000),
        "producer": PRODUCER,
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/DatasetEvent",
        "dataset": {
            "namespace": node.namespace,
            "name": node.name,
            "facets": {"lodeline_contract": facet},
        },
    }
    directory = spool_directory(store_url(arguments.store))
    spool = Spool(directory)
    spool.append(json.dumps({"type": "event", "event": event}).encode())
    spool.close()
    target = receiver_url(store=arguments.store, server=arguments.server)
    return drain_into(target, None, directory=directory).complete


def _check(
    arguments: Namespace, node: NodeId, facets: Mapping[str, Any], given: Fields | None
) -> int:
    contract = facets.get("lodeline_contract")
    fields = _written(facets) if given is None else given
    if not contract or not fields:
        missing = "has no contract" if not contract else "its columns are not known"
        answer: dict[str, Any] = {"id": str(node), "ok": None, "changes": [], "reason": missing}
        print_json(answer) if arguments.json else print(f"could not tell: {node} {missing}")
        return 3
    changes = compare_schemas(read_fields(contract.get("fields")), fields)
    mode = contract["mode"]
    listed = [_change(one, allowed=not one.breaks(mode)) for one in changes]
    ok = all(one["allowed"] for one in listed)
    if arguments.json:
        print_json({"id": str(node), "ok": ok, "mode": mode, "changes": listed})
    else:
        print(f"{node}: {'allowed' if ok else 'not allowed'} ({mode})")
        for one in listed:
            mark = "  " if one["allowed"] else "! "
            print(f"{mark}{one['what']} {one['column']}: {one['before']} -> {one['after']}")
    return 0 if ok else 1


def _change(change: Change, *, allowed: bool) -> dict[str, Any]:
    return {
        "column": change.column,
        "what": change.what,
        "before": change.before,
        "after": change.after,
        "renamed": change.renamed,
        "allowed": allowed,
    }


def _show(arguments: Namespace, node: NodeId, facets: Mapping[str, Any]) -> int:
    contract, written = facets.get("lodeline_contract"), _written(facets)
    if not contract and not written:
        raise UnknownNodeError(str(node))
    if arguments.json:
        print_json({"id": str(node), "contract": contract, "written": written})
        return 0
    promised = read_fields((contract or {}).get("fields"))
    print(f"{node}: {contract['mode'] if contract else 'no contract'}")
    for name in {**promised, **written}:
        print(f"  {name}: promised {promised.get(name, '-')}, written {written.get(name, '-')}")
    return 0


def _list(arguments: Namespace) -> int:
    from lodeline.ingest import fold_pending
    from lodeline.query.facets import list_stating

    segment = open_segment(arguments)
    fold_pending(segment)
    found = [
        {"id": str(node), "mode": facet.get("mode"), "columns": len(facet.get("fields") or ())}
        for node, facet in list_stating(segment, "lodeline_contract")
    ]
    segment.close()
    if arguments.json:
        print_json({"contracts": found})
    else:
        for one in found:
            print(f"{one['id']}: {one['columns']} columns, {one['mode']}")
        if not found:
            print("no contract is registered")
    return 0
