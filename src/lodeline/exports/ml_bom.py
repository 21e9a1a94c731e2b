"""A CycloneDX ML-BOM of one model: its card, the data it was trained on, and the packages there.

Everything comes from answers that the reader may have: `show` of the model and of the run that
made it, and `trace` upstream. What the record does not tell (intended use, licences, the approach
to learning) is left out, not guessed; where the trace has gaps, the composition is `incomplete`.

Source: CycloneDX 1.6, JSON (ECMA-424).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from lodeline.errors import UnknownNodeError, UsageError
from lodeline.exports.exporting import Exporting
from lodeline.model import parse_identifier
from lodeline.query import ask

SPEC_VERSION: Final = "1.6"
_SHA256: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_DATA_KINDS: Final = frozenset({"dataset"})

Answer = dict[str, Any]


def write_ml_bom(export: Exporting, identifier: str) -> bytes:
    """Write the ML-BOM of a model, at its newest version if the identifier names none.

    Raises:
        UnknownNodeError: the record does not know the model, or the reader may not see it.
        UsageError: no model.
    """
    bom = _MlBom(export, identifier).build()
    return json.dumps(bom, ensure_ascii=False, indent=2).encode() + b"\n"


class _MlBom:
    def __init__(self, export: Exporting, identifier: str) -> None:
        self._export = export
        self.model = self._ask("show", id=identifier)
        if self.model["kind"] != "model":
            raise UsageError(f"{identifier} is a {self.model['kind']}; an ML-BOM is of a model")
        version = self.model["version"]
        node = parse_identifier(self.model["id"]).at(version or "")
        self.node = node
        self.trace = self._ask("trace", id=str(node), direction="up")
        self.run = self._run()

    def _ask(self, verb: str, **parameters: object) -> Answer:
        parameters["as_of"] = self._export.size
        return ask(self._export.segment, verb, parameters, authoriser=self._export.authoriser)

    def _run(self) -> Answer:
        """Describe the run that wrote the version; empty where none is known."""
        for version in self.model["versions"]:
            if version["version"] == self.node.version and version["run"]:
                try:
                    return self._ask("show", id=f"run:{version['run']}")
                except UnknownNodeError:
                    return {}
        return {}

    def build(self) -> Answer:
        """Give the document."""
        tree = self.trace["trees"][0]
        name = f"{tree['origin']}/{tree['size']}/{tree['root_hash']}/{self.node}"
        data = self._data()
        packages = self._packages()
        bom: Answer = {
            "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": SPEC_VERSION,
            # The same record gives the same document.
            "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, name)}",
            "version": 1,
            "metadata": self._metadata(),
            "components": [*data, *packages],
            "dependencies": self._dependencies(packages),
            "compositions": [
                {
                    "aggregate": "complete" if self.trace["complete"] else "incomplete",
                    "assemblies": [str(self.node)],
                }
            ],
            "properties": [
                _property("lodeline:log", tree["origin"]),
                _property("lodeline:tree_size", str(tree["size"])),
                _property("lodeline:root_hash", tree["root_hash"]),
            ],
        }
        bom["properties"] += [
            _property("lodeline:gap", f"{gap['reason']} at {gap['at']}: {gap['detail']}")
            for gap in self.trace["gaps"]
        ]
        return bom

    def _metadata(self) -> Answer:
        from lodeline import __version__

        tool = {"type": "application", "name": "lodeline", "version": __version__}
        metadata: Answer = {"tools": {"components": [tool]}, "component": self._component()}
        time = self.trace["as_of"]["time"]
        if time is not None:
            metadata["timestamp"] = time
        return metadata

    def _component(self) -> Answer:
        facet = _mapping(self.model["facets"].get("lodeline_model"))
        component: Answer = {
            "type": "machine-learning-model",
            "bom-ref": str(self.node),
            "group": self.node.namespace,
            "name": self.node.name,
            "modelCard": self._card(facet),
        }
        if self.node.version:
            component["version"] = self.node.version
        hashes = _hashes(self.node.version, facet.get("digest"))
        if hashes:
            component["hashes"] = hashes
        description = _mapping(self.model["facets"].get("documentation")).get("description")
        if isinstance(description, str):
            component["description"] = description
        if self.model["owners"]:
            component["authors"] = [{"name": owner["name"]} for owner in self.model["owners"]]
        tags = [label for label in self.model["labels"] if label]
        if tags:
            component["tags"] = tags
        return component

    def _card(self, facet: Mapping[str, Any]) -> Answer:
        said = _mapping(_mapping(self.run.get("facets")).get("lodeline_parameters"))
        chosen = {**_mapping(facet.get("parameters")), **_mapping(said.get("parameters"))}
        parameters: Answer = {"datasets": [{"ref": ref} for ref in self._trained_on()]}
        if isinstance(facet.get("class"), str):
            parameters["modelArchitecture"] = facet["class"]
        card: Answer = {"modelParameters": parameters}
        metrics = [
            {"type": name, "value": _text(value)}
            for name, value in _mapping(said.get("metrics")).items()
        ]
        if metrics:
            card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
        properties = [
            _property(f"lodeline:{sort}:{name}", _text(value))
            for sort, values in (
                ("parameter", chosen),
                ("seed", _mapping(said.get("seeds"))),
            )
            for name, value in values.items()
        ]
        properties += [
            _property(f"lodeline:{name}", facet[name])
            for name in ("framework", "format")
            if isinstance(facet.get(name), str)
        ]
        features = facet.get("features")
        for feature in features if isinstance(features, list) else []:
            properties.append(_property("lodeline:feature", _text(feature)))
        code = _mapping(_mapping(self.run.get("facets")).get("lodeline_code"))
        properties += [
            _property(f"lodeline:code:{name}", code[name])
            for name in ("remote", "commit", "path", "version")
            if isinstance(code.get(name), str)
        ]
        if self.run:
            properties.append(_property("lodeline:run", self.run["id"]))
        if properties:
            card["properties"] = properties
        return card

    def _trained_on(self) -> list[str]:
        edges = self.trace["edges"]
        return sorted({edge["source"] for edge in edges if edge["kind"] == "trains"})

    def _data(self) -> list[Answer]:
        """Describe every dataset upstream."""
        found = []
        for answer in self.trace["nodes"]:
            if answer["kind"] not in _DATA_KINDS:
                continue
            node = parse_identifier(answer["id"])
            component: Answer = {
                "type": "data",
                "bom-ref": answer["id"],
                "group": node.namespace,
                "name": node.name,
                "data": [{"type": "dataset", "name": node.name}],
            }
            if node.version:
                component["version"] = node.version
            hashes = _hashes(node.version, None)
            if hashes:
                component["hashes"] = hashes
            found.append(component)
        return found

    def _packages(self) -> list[Answer]:
        """Describe the packages that were installed where the model was made."""
        environment = _mapping(_mapping(self.run.get("facets")).get("lodeline_environment"))
        packages = [
            (name, version)
            for name, version in sorted(_mapping(environment.get("packages")).items())
            if isinstance(version, str)
        ]
        found = []
        for name, version in packages:
            normal = re.sub(r"[-_.]+", "-", name).lower()
            purl = f"pkg:pypi/{quote(normal, safe='')}@{quote(version, safe='')}"
            component = {"type": "library", "bom-ref": purl, "name": name, "version": version}
            found.append(component | {"purl": purl})
        interpreter = _mapping(environment.get("interpreter"))
        if isinstance(interpreter.get("implementation"), str):
            name, version = interpreter["implementation"], _text(interpreter.get("version", ""))
            ref = f"interpreter:{name}@{version}"
            platform = {"type": "platform", "bom-ref": ref, "name": name, "version": version}
            found.append(platform)
        return list({component["bom-ref"]: component for component in found}.values())

    def _dependencies(self, packages: list[Answer]) -> list[Answer]:
        """Follow derivations: a dataset depends on what it was derived from."""
        depends: dict[str, set[str]] = {str(self.node): {one["bom-ref"] for one in packages}}
        known = {node["id"] for node in self.trace["nodes"] if node["kind"] in _DATA_KINDS}
        depends |= {ref: set() for ref in known}
        for edge in self.trace["edges"]:
            source, target = edge["source"], edge["target"]
            follows = edge["kind"] in {"derives", "trains"} and source != target
            if follows and source in known and target in depends:
                depends[target].add(source)
        return [{"ref": ref, "dependsOn": sorted(on)} for ref, on in sorted(depends.items())]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _property(name: str, value: object) -> dict[str, str]:
    return {"name": name, "value": _text(value)}


def _hashes(version: str, digest: object) -> list[dict[str, str]]:
    """Give what is a SHA-256 among a version and a digest."""
    found = {}
    for text in (version, digest):
        matched = _SHA256.fullmatch(text) if isinstance(text, str) else None
        if matched:
            found[matched[1]] = {"alg": "SHA-256", "content": matched[1]}
    return list(found.values())
