"""What a deployment is: its name, its model, and the configuration that gives it a version."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from lodeline.credentials import redact_value, scrub
from lodeline.errors import UsageError
from lodeline.model import format_time, parse_identifier
from lodeline.settings import find_setting, store_url
from lodeline.spool import Spool, spool_directory
from lodeline.wire.facets import PRODUCER, LodelineDeploymentDatasetFacet

_SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
_SPOOLS: Final[dict[Path, Spool]] = {}


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment as this process describes it.

    Attributes:
        given_namespace: of the deployment; `None` to take its model's.
        name: of the deployment.
        given_model: `{namespace, name, version}`, with `pending` instead of a version where the
            deliverer is to compute it; `None` to take the model that this process loaded last.
        configuration: what else its version depends on.
    """

    given_namespace: str | None
    name: str
    given_model: dict[str, Any] | None
    configuration: dict[str, Any]

    @property
    def model(self) -> dict[str, Any] | None:
        """The model that is served, as known now."""
        return self.given_model or _find_loaded_model()

    @property
    def namespace(self) -> str:
        """The deployment's namespace, as known now: given, the run's, or the model's."""
        if self.given_namespace is not None:
            return self.given_namespace
        run, model = _find_run(), self.model
        if run is not None:
            return run[0]
        return "default" if model is None else str(model["namespace"])

    def facet(self) -> dict[str, Any]:
        """Give `lodeline_deployment`; the deliverer fills in the digest."""
        configuration, model = dict(self.configuration), self.model
        if model is not None:
            configuration["model"] = model
        facet = {
            "_producer": PRODUCER,
            "_schemaURL": LodelineDeploymentDatasetFacet.facet_schema_url,
            "digest": None,
            "configuration": configuration,
            "pending": True,
        }
        if model is not None:
            facet["model"] = model
        return facet

    def event(self) -> bytes:
        """Give the spool record of the event that says what is deployed, as of now.

        In an observed process the deployment is an output of its run.
        """
        dataset = {
            "namespace": self.namespace,
            "name": self.name,
            "facets": {"lodeline_deployment": self.facet()},
        }
        event: dict[str, Any] = {
            "eventTime": format_time(time.time_ns() // 1000),
            "producer": PRODUCER,
        }
        run = _find_run()
        if run is None:
            event |= {"schemaURL": f"{_SCHEMA}DatasetEvent", "dataset": dataset}
        else:
            namespace, job, run_id = run
            event |= {
                "schemaURL": f"{_SCHEMA}RunEvent",
                "eventType": "RUNNING",
                "run": {"runId": run_id},
                "job": {"namespace": namespace, "name": job},
                "inputs": [],
                "outputs": [dataset],
            }
        return msgspec.json.encode({"type": "event", "event": event})

    def reservation(self) -> dict[str, Any]:
        """Give the members that a block's reservation carries."""
        facet = {name: value for name, value in self.facet().items() if not name.startswith("_")}
        members: dict[str, Any] = {
            "deployment": {"namespace": self.namespace, "name": self.name, **facet}
        }
        if "model" in facet:
            members["model"] = facet["model"]
        run = _find_run()
        if run is not None:
            members["run"] = run[2]
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
        namespace: by default the setting `namespace`, else the run's, else the model's.
        settings: whatever else its version depends on; plain JSON values.

    Raises:
        UsageError: the model is nothing that names one.
    """
    app = _innermost(app)
    kind = type(app)
    configuration: dict[str, Any] = {
        "app": getattr(app, "__qualname__", None) or f"{kind.__module__}.{kind.__qualname__}",
        "python": platform.python_version(),
    }
    build = find_setting("build")
    if build is not None:
        # Names commit, pipeline and image, so that another build is another version.
        configuration["build"] = dict(
            part.split("=", 1) for part in scrub(build).split() if "=" in part
        )
    if settings:
        configuration["settings"] = redact_value("settings", dict(settings))
    given_namespace = namespace or find_setting("namespace")
    return Deployment(given_namespace, name, model_reference(model), configuration)


def _find_run() -> tuple[str, str, str] | None:
    """Namespace, job and UUID of the run that this process is observed as."""
    recorder = sys.modules.get("lodeline.capture.recorder")
    run = None if recorder is None else recorder.RECORDER.process_run
    return None if run is None else (run.namespace, run.job, run.run_id)


def _innermost(app: object) -> object:
    """The application inside middleware that a server has put around it."""
    for _ in range(32):
        inner = getattr(app, "app", None)
        if inner is None or not callable(inner):
            break
        app = inner
    return app


def _find_loaded_model() -> dict[str, Any] | None:
    # Only where capture watches loads is there anything to know; nothing is imported for it.
    models = sys.modules.get("lodeline.capture.models")
    loaded = models.loaded_models() if models is not None else []
    return model_reference(loaded[-1]) if loaded else None


def model_reference(model: object) -> dict[str, Any] | None:
    """Name a model on the wire.

    Args:
        model: `None`, an identifier, a mapping, or an object with `namespace`, `name` and
            `version`, or the `stat` of its file.

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
        found = {key: getattr(model, key, None) for key in ("namespace", "name", "version")}
        to_json = getattr(getattr(model, "stat", None), "to_json", None)
        found["pending"] = None if to_json is None else to_json()
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
