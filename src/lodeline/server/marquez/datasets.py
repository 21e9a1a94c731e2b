"""Datasets of a namespace and their versions."""

from __future__ import annotations

from typing import Final

from lodeline.errors import UnknownEntryError
from lodeline.model import NodeId
from lodeline.query.asking import Inquiry
from lodeline.query.catalogue import DATA_KINDS, Catalogue
from lodeline.query.entities import describe_datasets
from lodeline.query.history import (
    WrittenVersion,
    count_versions,
    describe_runs,
    find_version_of,
    list_versions,
)
from lodeline.server.marquez.calls import Call, Json, Read
from lodeline.server.marquez.describing import PAGE
from lodeline.server.marquez.shapes import dataset_json, dataset_version_json
from lodeline.server.marquez.spaces import find_space


def find_dataset(inquiry: Inquiry, namespace: str, name: str) -> NodeId:
    """Find a dataset.

    Raises:
        UnknownEntryError: there is none, or its namespace is none.
    """
    node = Catalogue(inquiry).find(DATA_KINDS, namespace, name)
    if node is None:
        find_space(inquiry, namespace)
        raise UnknownEntryError("Dataset", name)
    return node


def list_datasets(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /namespaces/{namespace}/datasets`."""
    namespace = call.path["namespace"]
    listing = Catalogue(inquiry).list_nodes(
        DATA_KINDS,
        namespace=namespace,
        limit=call.number("limit", 100),
        offset=call.number("offset", 0, most=10**9),
    )
    if not listing.total:
        find_space(inquiry, namespace)
    records = describe_datasets(inquiry, listing.nodes.values())
    datasets = [dataset_json(records[node]) for node in listing.nodes.values()]
    return {"datasets": datasets, "totalCount": listing.total}


def get_dataset(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /namespaces/{namespace}/datasets/{dataset}`."""
    node = find_dataset(inquiry, call.path["namespace"], call.path["dataset"])
    return dataset_json(describe_datasets(inquiry, [node])[node])


def list_dataset_versions(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /namespaces/{namespace}/datasets/{dataset}/versions`."""
    node = find_dataset(inquiry, call.path["namespace"], call.path["dataset"])
    limit, offset = call.number("limit", 100), call.number("offset", 0, most=10**9)
    versions = list_versions(inquiry, node, limit=limit, offset=offset)
    return {
        "versions": _describe(inquiry, node, versions),
        "totalCount": count_versions(inquiry, node),
    }


def get_dataset_version(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /namespaces/{namespace}/datasets/{dataset}/versions/{version}`."""
    node = find_dataset(inquiry, call.path["namespace"], call.path["dataset"])
    text = call.path["version"]
    version = find_version_of(inquiry, node, text)
    versions = list_versions(inquiry, node, limit=1, offset=0, version=version) if version else []
    if not versions:
        raise UnknownEntryError("Dataset version", text)
    [found] = _describe(inquiry, node, versions)
    return found


def _describe(inquiry: Inquiry, node: NodeId, versions: list[WrittenVersion]) -> list[Json]:
    record = describe_datasets(inquiry, [node])[node]
    runs = describe_runs(inquiry, (one.group for one in versions))
    return [dataset_version_json(one, record, runs.get(one.group)) for one in versions]


_ONE: Final = "/namespaces/{namespace}/datasets/{dataset}"
READS: Final = [
    Read(
        "/namespaces/{namespace}/datasets", list_datasets, "List the datasets of a namespace", PAGE
    ),
    Read(_ONE, get_dataset, "One dataset"),
    Read(f"{_ONE}/versions", list_dataset_versions, "List the versions of a dataset", PAGE),
    Read(f"{_ONE}/versions/{{version}}", get_dataset_version, "One version of a dataset"),
]
