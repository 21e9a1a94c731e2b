"""What a deployment is: its name, its model, and the configuration that gives it a version."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from lodeline.errors import UsageError
from lodeline.model import format_time, parse_identifier
from lodeline.settings import find_setting, store_url
from lodeline.spool import Spool, spool_directory
from lodeline.wire.facets import PRODUCER, LodelineDeploymentDatasetFacet

_EVENT_SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/DatasetEvent"
_SPOOLS: Final[dict[Path, Spool]] = {}


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment as this process describes it.

    Attributes:
        namespace: of the deployment.
        name: of the deployment.
        model: `{namespace, name, version}`, with `pending` instead of a version where the
            deliverer is to compute it; `None` when no model is known.
        configuration: what else its version depends on.
    """

    namespace: str
    name: str
    model: dict[str, Any] | None
    configuration: dict[str, Any]

    def facet(self) -> dict[str, Any]:
        """Give `lodeline_deployment`; the deliverer fills in the digest."""
        configuration = dict(self.configuration)
        if self.model is not None:
            configuration["model"] = self.model
        facet = {
            "_producer": PRODUCER,
            "_schemaURL": LodelineDeploymentDatasetFacet.facet_schema_url,
            "digest": None,
            "configuration": configuration,
            "pending": True,
        }
        if self.model is not None:
            facet["model"] = self.model
        return facet

    def event(self) -> bytes:
        """Give the spool record of the event that says what is deployed, as of now."""
        event = {
            "eventTime": format_time(time.time_ns() // 1000),
            "producer": PRODUCER,
            "schemaURL": _EVENT_SCHEMA,
            "dataset": {
                "namespace": self.namespace,
                "name": self.name,
                "facets": {"lodeline_deployment": self.facet()},
            },
        }
        return msgspec.json.encode({"type": "event", "event": event})

    def reservation(self) -> dict[str, Any]:
        """Give the members that a block's reservation carries."""
        facet = {name: value for name, value in self.facet().items() if not name.startswith("_")}
        members: dict[str, Any] = {
            "deployment": {"namespace": self.namespace, "name": self.name, **facet}
        }
        if self.model is not None:
            members["model"] = self.model
        run = os.environ.get("LODELINE_RUN")
        if run:
            members["run"] = run
        return members


def describe_deployment(
    app: object,
    name: str,
    *,
    model: object = None,
    namespace: str | None = None,
    settings: Mapping[str, object] | None = None,
) -> Deployment:
    """Describe a deployment.

    Args:
        app: the application.
        name: of the deployment.
        model: as `serving` takes it.
        namespace: by default the setting `namespace`, else that of the model, else `default`.
        settings: whatever else its version depends on; plain JSON values.

    Raises:
        UsageError: the model is nothing that names one.
    """
    reference = model_reference(model)
    found = namespace or find_setting("namespace")
    if found is None:
        found = str(reference["namespace"]) if reference is not None else "default"
    kind = type(app)
    configuration: dict[str, Any] = {
        "app": getattr(app, "__qualname__", None) or f"{kind.__module__}.{kind.__qualname__}",
        "python": platform.python_version(),
    }
    if settings:
        configuration["settings"] = dict(settings)
    return Deployment(found, name, reference, configuration)


def model_reference(model: object) -> dict[str, Any] | None:
    """Name a model on the wire.

    Args:
        model: `None`, an identifier, a mapping, or an object with `namespace`, `name` and
            `version` or `pending`.

    Raises:
        UsageError: none of these.
    """
    if model is None:
        return None
    if isinstance(model, str):
        node = parse_identifier(model if model.startswith("model:") else f"model:default:{model}")
        return {"namespace": node.namespace, "name": node.name, "version": node.version or None}
    if isinstance(model, Mapping):
        found = dict(model)
    else:
        found = {
            key: getattr(model, key, None) for key in ("namespace", "name", "version", "pending")
        }
    if not isinstance(found.get("name"), str):
        raise UsageError(
            f"model: {type(model).__qualname__} names no model; give what register gave"
        )
    reference: dict[str, Any] = {
        "namespace": str(found.get("namespace") or "default"),
        "name": found["name"],
    }
    if found.get("version"):
        reference["version"] = str(found["version"])
    elif isinstance(found.get("pending"), Mapping):
        reference["pending"] = dict(found["pending"])
    else:
        reference["version"] = None
    return reference


def spool_of_this_process(directory: Path | str | None = None) -> Spool:
    """Open the spool that records of this process go to, once."""
    if directory is None:
        journals = os.environ.get("LODELINE_JOURNALS")
        path = Path(journals).parent if journals else spool_directory(store_url())
    else:
        path = Path(directory)
    if path not in _SPOOLS:
        _SPOOLS[path] = Spool(path)
    return _SPOOLS[path]
