"""A Croissant description of one dataset: its files with their digests, fields, and where from.

Croissant describes data to whoever trains on it; the record adds what it knows of it. Fields come
from the dataset's schema, digests from what capture hashed, sources (`isBasedOn`) from the trace.
What Croissant asks for and the record does not tell (licence, citation) is left out.

Source: the Croissant format specification, version 1.0 (MLCommons).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from lodeline.errors import UsageError
from lodeline.exports.exporting import Exporting
from lodeline.model import NodeId, parse_identifier
from lodeline.query import ask

CONFORMS_TO: Final = "http://mlcommons.org/croissant/1.0"

_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "prov": "http://www.w3.org/ns/prov#",
}

_ENCODINGS: Final = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".ndjson": "application/jsonlines",
    ".parquet": "application/x-parquet",
    ".txt": "text/plain",
    ".zip": "application/zip",
}
_UNKNOWN_ENCODING: Final = "application/octet-stream"

# The first that is found in a field's type decides.
_TYPES: Final = (
    (re.compile(r"bool", re.IGNORECASE), "sc:Boolean"),
    (re.compile(r"timestamp|datetime", re.IGNORECASE), "sc:DateTime"),
    (re.compile(r"date", re.IGNORECASE), "sc:Date"),
    (re.compile(r"^time", re.IGNORECASE), "sc:Time"),
    (re.compile(r"interval", re.IGNORECASE), "sc:Text"),
    (re.compile(r"u?int|long|short|serial", re.IGNORECASE), "sc:Integer"),
    (re.compile(r"float|double|real|decimal|numeric|number", re.IGNORECASE), "sc:Float"),
)

Answer = dict[str, Any]


def write_croissant(export: Exporting, identifier: str) -> bytes:
    """Write the description of a dataset, at its newest version if the identifier names none.

    Raises:
        UnknownNodeError: the record does not know the dataset, or the reader may not see it.
        UsageError: no dataset.
    """

    def asked(verb: str, **parameters: object) -> Answer:
        parameters["as_of"] = export.size
        return ask(export.segment, verb, parameters, authoriser=export.authoriser)

    shown = asked("show", id=identifier)
    if shown["kind"] != "dataset":
        raise UsageError(f"{identifier} is a {shown['kind']}; Croissant describes a dataset")
    node = parse_identifier(shown["id"]).at(shown["version"] or "")
    trace = asked("trace", id=str(node), direction="up", depth=1)
    body = _describe(node, shown, trace)
    return json.dumps(body, ensure_ascii=False, indent=2).encode() + b"\n"


def _describe(node: NodeId, shown: Answer, trace: Answer) -> Answer:
    facets = shown["facets"]
    documentation = _mapping(facets.get("documentation")).get("description")
    body: Answer = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": _file_name(node),
        "description": documentation if isinstance(documentation, str) else str(node.at("")),
        "url": _url(node, facets),
        "identifier": str(node),
    }
    if node.version:
        body["version"] = node.version
    written = next(
        (one["written"] for one in shown["versions"] if one["version"] == node.version), None
    )
    if written is not None:
        body["datePublished"] = written
    if shown["owners"]:
        body["creator"] = [
            {"@type": "sc:Organization", "name": owner["name"]} for owner in shown["owners"]
        ]
    if shown["labels"]:
        body["keywords"] = shown["labels"]
    sources = _sources(node, trace)
    if sources:
        body["isBasedOn"] = sources
        body["prov:wasDerivedFrom"] = [{"@id": f"urn:lodeline:{source}"} for source in sources]
    files = _files(node, facets)
    if files:
        body["distribution"] = files
        fields = _fields(facets, files[0]["@id"]) if len(files) == 1 else []
        if fields:
            records = {"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": fields}
            body["recordSet"] = [records]
    return body


def _sources(node: NodeId, trace: Answer) -> list[str]:
    return sorted(
        {
            edge["source"]
            for edge in trace["edges"]
            if edge["kind"] == "derives" and edge["target"] == str(node)
        }
    )


def _files(node: NodeId, facets: Mapping[str, Any]) -> list[Answer]:
    """List the files: those of the manifest, or the one that was digested whole."""
    digest = _mapping(facets.get("lodeline_digest"))
    url = _url(node, facets)
    manifest = digest.get("manifest")
    if digest.get("source") == "manifest" and isinstance(manifest, list):
        return [
            _file(
                str(part["key"]),
                f"{url.rstrip('/')}/{part['key']}",
                part["digest"],
                part.get("bytes"),
            )
            for part in manifest
            if isinstance(part, dict) and isinstance(part.get("digest"), str) and "key" in part
        ]
    value = digest.get("value")
    if digest.get("source") != "bytes" or not isinstance(value, str):
        # Croissant has no file without a digest, and nobody knows this one's.
        return []
    return [_file(_file_name(node), url, value, digest.get("bytes"))]


def _file(name: str, url: str, digest: str, size: object) -> Answer:
    suffix = PurePosixPath(name).suffix.lower()
    found: Answer = {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": url,
        "encodingFormat": _ENCODINGS.get(suffix, _UNKNOWN_ENCODING),
        "sha256": digest,
    }
    if isinstance(size, int):
        found["contentSize"] = f"{size} B"
    return found


def _fields(facets: Mapping[str, Any], file: str) -> list[Answer]:
    fields = _mapping(facets.get("schema")).get("fields")
    found = []
    for field in fields if isinstance(fields, list) else []:
        if not isinstance(field, dict) or not isinstance(field.get("name"), str):
            continue
        name = field["name"]
        one: Answer = {
            "@type": "cr:Field",
            "@id": f"rows/{name}",
            "name": name,
            "dataType": _data_type(field.get("type")),
            "source": {"fileObject": {"@id": file}, "extract": {"column": name}},
        }
        if isinstance(field.get("description"), str):
            one["description"] = field["description"]
        found.append(one)
    return found


def _data_type(stated: object) -> str:
    if isinstance(stated, str):
        for pattern, name in _TYPES:
            if pattern.search(stated):
                return name
    return "sc:Text"


def _url(node: NodeId, facets: Mapping[str, Any]) -> str:
    """Say where the data lies: the stated address, else namespace and name as one."""
    stated = _mapping(facets.get("dataSource")).get("uri")
    if node.namespace in {"file", "file://"}:
        return f"file://{node.name}"
    if "://" in node.namespace:
        return f"{node.namespace.rstrip('/')}/{node.name.lstrip('/')}"
    return stated if isinstance(stated, str) else f"{node.namespace}:{node.name}"


def _file_name(node: NodeId) -> str:
    return PurePosixPath(node.name).name or node.name


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
