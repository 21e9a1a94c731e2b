"""MLflow: its runs are mirrored into ours, its models are models, its artifacts are files.

Everything that a program tells MLflow, by the fluent functions or by autologging, passes
`MlflowClient`, whose methods are public; models pass `Model.log`. Parameters, metrics and tags are
recorded as `mlflow.NAME`, those of a second run in the same process as `mlflow.2.NAME`. What MLflow
reads and writes for its own books is not the program's data and is left out.

Where the tracking store is a server, the bytes of a model lie out of reach, and a gap says so.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from lodeline.capture.boosters import tag_prediction
from lodeline.capture.datasets import FILE, Dataset, find_dataset, local_path, stem
from lodeline.capture.flow import BOUND
from lodeline.capture.models import (
    Fitted,
    describe_model,
    find_fitted,
    is_estimator,
    record_model,
    record_use,
)
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.values import plain

Arguments = dict[str, Any]

_FLAVOURS: Final = ("sklearn", "xgboost", "lightgbm", "pytorch", "catboost", "statsmodels")
_WRITTEN: Final = ("log_dict", "log_text", "log_figure", "log_image", "log_table")
# Below the client: MLflow's own books, which some of its functions open without the client.
_BOOKS: Final = {
    "mlflow.tracking._tracking_service.client": "TrackingServiceClient",
    "mlflow.tracking._model_registry.client": "ModelRegistryClient",
}


class MlflowIntegration:
    """MLflow 3."""

    name = "mlflow"
    supports = "mlflow>=3.17,<4"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch the client, models and their loaders, each once it is imported."""
        from lodeline.capture.process import ADAPTERS

        patches = Patches("mlflow")
        observer = _Observer(recorder, patches)
        ADAPTERS.when_imported("mlflow.tracking.client", observer.patch_client)
        ADAPTERS.when_imported("mlflow.models.model", observer.patch_models)
        ADAPTERS.when_imported("mlflow.pyfunc", observer.patch_pyfunc)
        for flavour in _FLAVOURS:
            ADAPTERS.when_imported(f"mlflow.{flavour}", observer.patch_flavour)
        ADAPTERS.when_imported("mlflow.utils.requirements_utils", observer.patch_helpers)
        for module in _BOOKS:
            ADAPTERS.when_imported(module, observer.patch_books)
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches
        self._runs: dict[str, str] = {}
        self._artifacts: dict[str, str] = {}
        # Source of a registered version -> what was logged there.
        self._logged: dict[str, tuple[Dataset, Fitted, dict[str, Any]]] = {}

    # Installing

    def patch_client(self, module: Any) -> None:
        """Patch every public method; those that tell something have a handler."""
        client = module.MlflowClient
        handlers: dict[str, Callable[[Any, Arguments], None]] = {
            "create_run": self.run_created,
            "log_param": self.param_logged,
            "log_metric": self.metric_logged,
            "log_batch": self.batch_logged,
            "set_tag": self.tag_set,
            "log_inputs": self.inputs_logged,
            "log_artifact": self.artifact_logged,
            "log_artifacts": self.artifact_logged,
            "create_model_version": self.version_created,
            "set_registered_model_alias": self.alias_set,
            **dict.fromkeys(_WRITTEN, self.content_logged),
        }
        for name, method in list(vars(client).items()):
            if not name.startswith("_") and inspect.isfunction(method):
                self._observe(client, name, handlers.get(name))

    def _observe(
        self, owner: Any, name: str, handler: Callable[[Any, Arguments], None] | None
    ) -> None:
        original = vars(owner).get(name)
        if original is None:
            return
        signature = inspect.signature(getattr(owner, name))

        def after(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if handler is not None:
                # A class method is called with its class, which its signature leaves out.
                given = args[1:] if isinstance(original, classmethod) else args
                handler(result, dict(signature.bind(*given, **kwargs).arguments))

        self._patches.door(owner, name, after)

    def patch_books(self, module: Any) -> None:
        books = getattr(module, _BOOKS[module.__name__], None)
        for name, method in list(vars(books).items()):
            if inspect.isfunction(method) and (not name.startswith("_") or name == "__init__"):
                self._patches.door(books, name, lambda *_: None)

    def patch_helpers(self, module: Any) -> None:
        """Leave out the program that MLflow starts to find out which packages a model imports.

        It loads the model as a user would; as a run of its own it would look like one.
        """
        original = getattr(module, "_run_command", None)
        if original is None:
            return

        def lodeline(*args: Any, **kwargs: Any) -> Any:
            if kwargs.get("env") is not None:
                kwargs["env"] = {**kwargs["env"], "LODELINE_DISABLED": "1"}
            return original(*args, **kwargs)

        self._patches.replace(module, "_run_command", self._patches.finish(lodeline, original))

    def patch_models(self, module: Any) -> None:
        self._observe(module.Model, "log", self.model_logged)

    def patch_pyfunc(self, module: Any) -> None:
        self._observe(module, "load_model", self.model_loaded)
        self._observe(module, "save_model", self.model_saved)
        self._patches.outermost(module.PyFuncModel, "predict", self.after_predict)

    def patch_flavour(self, module: Any) -> None:
        self._observe(module, "load_model", self.model_loaded)
        self._observe(module, "save_model", self.model_saved)

    # Runs

    def _title(self, run_id: str, name: str) -> str:
        prefix = self._runs.get(run_id)
        if prefix is None:
            number = len(self._runs) + 1
            prefix = self._runs[run_id] = "mlflow" if number == 1 else f"mlflow.{number}"
            self._recorder.param(f"{prefix}.run_id", run_id)
        return f"{prefix}.{name}"

    def run_created(self, run: Any, given: Arguments) -> None:
        run_id = run.info.run_id
        self._artifacts[run_id] = run.info.artifact_uri or ""
        self._recorder.param(self._title(run_id, "run_name"), run.info.run_name)
        self._recorder.param(self._title(run_id, "experiment_id"), run.info.experiment_id)
        for key, value in (given.get("tags") or {}).items():
            self._tag(run_id, key, value)

    def param_logged(self, _: Any, given: Arguments) -> None:
        self._recorder.param(self._title(given["run_id"], given["key"]), plain(given["value"]))

    def metric_logged(self, _: Any, given: Arguments) -> None:
        self._recorder.metric(self._title(given["run_id"], given["key"]), plain(given["value"]))

    def batch_logged(self, _: Any, given: Arguments) -> None:
        run_id = given["run_id"]
        for param in given.get("params") or ():
            self._recorder.param(self._title(run_id, param.key), param.value)
        for metric in given.get("metrics") or ():
            self._recorder.metric(self._title(run_id, metric.key), plain(metric.value))
        for tag in given.get("tags") or ():
            self._tag(run_id, tag.key, tag.value)

    def tag_set(self, _: Any, given: Arguments) -> None:
        self._tag(given["run_id"], given["key"], given["value"])

    def _tag(self, run_id: str, key: str, value: Any) -> None:
        # MLflow's own say who and where, which the run's other facets say, the former opaquely.
        if not key.startswith("mlflow."):
            self._recorder.param(self._title(run_id, f"tag.{key}"), plain(value))

    def inputs_logged(self, _: Any, given: Arguments) -> None:
        """A data set that a run declares was read from its source."""
        for entry in given.get("datasets") or ():
            found = entry.dataset
            told = {"digest": found.digest, "source_type": found.source_type}
            for tag in entry.tags or ():
                told[str(tag.key).rpartition(".")[2]] = tag.value
            self._recorder.param(self._title(given["run_id"], f"input.{found.name}"), told)
            source = json.loads(found.source or "{}")
            named = next((source[key] for key in ("uri", "url", "path") if source.get(key)), None)
            dataset = None if named is None else find_dataset(str(named))
            if dataset is not None:
                self._recorder.read(dataset)

    # Artifacts

    def _artifact(self, run_id: str, path: str) -> Dataset | None:
        root = self._artifacts.get(run_id)
        if root is None:
            root = self._quietly(lambda: self._client().get_run(run_id).info.artifact_uri) or ""
            self._artifacts[run_id] = root
        return find_dataset(f"{root.rstrip('/')}/{path}") if root else None

    def artifact_logged(self, _: Any, given: Arguments) -> None:
        """A file, or a folder, was copied into the run's artifacts."""
        source = given.get("local_path", given.get("local_dir"))
        folder = given.get("artifact_path") or ""
        name = os.path.basename(str(source)) if "local_path" in given else ""
        path = "/".join(part for part in (folder, name) if part)
        local, target = find_dataset(source), self._artifact(given["run_id"], path)
        if local is not None and target is not None:
            if self._recorder.run is not None and local not in self._recorder.run.wrote:
                self._recorder.read(local)
            self._recorder.write(target, inputs=[local])

    def content_logged(self, _: Any, given: Arguments) -> None:
        """Contents in memory were written as an artifact."""
        path = given.get("artifact_file") or given.get("artifact_path")
        target = self._artifact(given["run_id"], str(path)) if path else None
        if target is not None:
            self._recorder.write(target, flow=self._recorder.flow.unknown() | BOUND)

    # Models

    def model_logged(self, info: Any, given: Arguments) -> None:
        """A model was logged to a run."""
        options = {**given, **given.get("kwargs", {})}
        model = next(
            (value for key, value in options.items() if key.endswith("_model") and value), None
        )
        name = options.get("registered_model_name") or options.get("name")
        name = str(name or options.get("artifact_path") or "model").rstrip("/").rpartition("/")[2]
        uri = str(info.model_uri)
        place = self._place_of(uri)
        fitted = self._fitted(model, name)
        artifact = self._bytes_of(place)
        facet = self._facet(model, fitted, artifact or Dataset("mlflow", uri), info)
        number = getattr(info, "registered_model_version", None)
        facets = None
        if number is not None:
            facets = {"version": {"datasetVersion": str(number)}}
            self._recorder.param(f"mlflow.registered.{name}", str(number))
        at = self._write(artifact, fitted, facet, model, facets)
        if artifact is None:
            told = "the model lies in MLflow's store; its bytes were not digested"
            self._recorder.gap(f"model:{at.namespace}:{at.name}", "capture", told)
        for source in (uri, place or uri):
            self._logged[source] = (artifact or at, fitted, facet)

    def _write(
        self,
        artifact: Dataset | None,
        fitted: Fitted,
        facet: dict[str, Any],
        model: Any,
        facets: dict[str, dict[str, Any]] | None = None,
    ) -> Dataset:
        place = artifact or Dataset("mlflow", fitted.name)
        return record_model(
            self._recorder, place, fitted, facet, estimator=model, late=True, facets=facets
        )

    def _fitted(self, model: Any, name: str) -> Fitted:
        known = find_fitted(model)
        if known is None:
            # A model that is a class of the program's own holds others as members.
            members = list(getattr(model, "__dict__", {}).values())
            parts = [part for one in members if (part := find_fitted(one)) is not None]
            flow = self._recorder.flow.unknown() | BOUND
            if parts and not any(is_estimator(one) and not find_fitted(one) for one in members):
                flow = functools.reduce(lambda total, part: total | part.flow, parts, 0)
            known = Fitted(flow=flow, features=parts[0].features if parts else [])
        return Fitted(list(known.features), known.flow, name, known.parameters)

    def _facet(self, model: Any, fitted: Fitted, artifact: Dataset, info: Any) -> dict[str, Any]:
        facet = describe_model(model, fitted, artifact, file_format="mlflow")
        flavours = [name for name in getattr(info, "flavors", None) or () if name in _FLAVOURS]
        if flavours and facet["framework"] == "python":
            facet["framework"] = flavours[0]
        return facet

    def model_saved(self, _: Any, given: Arguments) -> None:
        """A model was written to a folder, without a run."""
        folder = find_dataset(given.get("path"))
        artifact = self._bytes_of(None if folder is None else local_path(folder))
        options = {**given, **given.get("kwargs", {})}
        names = [key for key in options if key.endswith("_model") and key != "mlflow_model"]
        if folder is None or artifact is None or not names:
            return
        model = options[names[0]]
        fitted = self._fitted(model, stem(folder))
        self._write(artifact, fitted, self._facet(model, fitted, artifact, None), model)

    def version_created(self, version: Any, given: Arguments) -> None:
        """A model got a name and a number in the registry."""
        source = str(given.get("source"))
        model_id = given.get("model_id") or getattr(version, "model_id", None)
        known = self._logged.get(source) or self._logged.get(f"models:/{model_id}")
        number = {"version": {"datasetVersion": str(version.version)}}
        self._recorder.param(f"mlflow.registered.{version.name}", str(version.version))
        if known is None:
            place = self._place_of(source)
            artifact = self._bytes_of(place)
            if artifact is None:
                told = f"version {version.version} was made of {source}, which is out of reach"
                self._recorder.gap(f"model:mlflow:{version.name}", "capture", told)
                return
            facet = {"framework": "python", "format": "mlflow", "features": [], "parameters": {}}
            facet["artifact"] = {"namespace": artifact.namespace, "name": artifact.name}
            flow = record_use(self._recorder, artifact, version, facet)
            known = (artifact, Fitted(flow=flow), facet)
        artifact, fitted, facet = known
        named = Fitted(list(fitted.features), fitted.flow, version.name, fitted.parameters)
        record_model(self._recorder, artifact, named, facet, late=True, facets=number)

    def alias_set(self, _: Any, given: Arguments) -> None:
        alias = f"mlflow.registered.{given['name']}.{given['alias']}"
        self._recorder.param(alias, str(given["version"]))

    def model_loaded(self, model: Any, given: Arguments) -> None:
        """A model is used: by its registered name, else the name that it was logged under."""
        uri = str(given.get("model_uri"))
        meta = getattr(model, "metadata", None)
        name = ""
        if uri.startswith("models:/") and not uri.startswith("models:/m-"):
            name = uri.removeprefix("models:/").partition("/")[0].partition("@")[0]
        elif ":/" in uri:
            name = str(getattr(meta, "name", None) or getattr(meta, "artifact_path", None) or "")
            name = self._logged_name(uri) or name
        place = self._place_of(uri)
        artifact = self._bytes_of(place)
        name = name or (stem(find_dataset(place) or Dataset("mlflow", uri)) if place else "")
        at = artifact or Dataset("mlflow", name or uri)
        kind = getattr(meta, "flavors", None) or {}
        facet = describe_model(model, Fitted(), at, file_format="mlflow")
        facet["parameters"] = {}
        inner = str((kind.get("python_function") or {}).get("loader_module", ""))
        if inner.startswith("mlflow."):
            facet["framework"] = inner.removeprefix("mlflow.")
        record_use(self._recorder, at, model, facet, name=name.rpartition("/")[2])

    def after_predict(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        table = args[1] if len(args) > 1 else kwargs.get("data")
        serving = sys.modules.get("lodeline.capture.serving")
        if serving is not None:
            serving.observe_call(args[0], "predict", table, result)
        tag_prediction(self._recorder, args[0], (table,), result)

    # Asking MLflow

    def _client(self) -> Any:
        from mlflow.tracking import MlflowClient

        return MlflowClient()

    def _quietly(self, ask: Callable[[], Any]) -> Any:
        """Ask MLflow's own books, which is none of the program's doing; `None` for no answer."""
        local = self._recorder.local
        before, local.suspended = local.suspended, 1
        try:
            return ask()
        except Exception:  # foreign code; not knowing is an answer
            return None
        finally:
            local.suspended = before

    def _is_local(self) -> bool:
        import mlflow

        # Asking a server for each model could hang the program.
        scheme = mlflow.get_tracking_uri().partition("://")[0]
        return not scheme.startswith(("http", "databricks"))

    def _place_of(self, uri: str) -> str | None:
        """The local folder of a model, from its address; `None` when it lies elsewhere."""
        place: str | None = uri
        if uri.startswith(("models:/", "runs:/")):
            place = self._quietly(lambda: self._ask_place(uri)) if self._is_local() else None
        dataset = find_dataset(place) if place else None
        if dataset is None or dataset.namespace != FILE:
            return None
        path = local_path(dataset)
        return path if path is not None and os.path.isdir(path) else None

    def _ask_place(self, uri: str) -> str:
        client = self._client()
        if uri.startswith("runs:/"):
            run_id, _, path = uri.removeprefix("runs:/").partition("/")
            inside = f"{client.get_run(run_id).info.artifact_uri}/{path}"
            if os.path.isdir(local_path(find_dataset(inside) or Dataset("", "")) or ""):
                return inside
            for output in getattr(client.get_run(run_id).outputs, "model_outputs", None) or ():
                model = client.get_logged_model(output.model_id)
                if model.name == path:
                    return str(model.artifact_location)
            return inside
        name = uri.removeprefix("models:/")
        if name.startswith("m-"):
            return str(client.get_logged_model(name.partition("/")[0]).artifact_location)
        if "@" in name:
            version = client.get_model_version_by_alias(*name.split("@", 1))
        else:
            title, _, number = name.partition("/")
            version = client.get_model_version(title, number) if number.isdigit() else None
            if version is None:
                stages = None if number == "latest" else [number]
                version = client.get_latest_versions(title, stages)[-1]
        source = str(version.source)
        return self._ask_place(source) if source.startswith(("models:/", "runs:/")) else source

    def _bytes_of(self, place: str | None) -> Dataset | None:
        """The file or folder that is the model itself, inside the folder that MLflow describes.

        The folder is no stable identity: MLflow adds to it when the model is registered or loaded.
        """
        if place is None:
            return None
        from mlflow.models import Model

        flavours = self._quietly(lambda: Model.load(place).flavors) or {}
        function = flavours.get("python_function") or {}
        for key in ("model_path", "data", "python_model"):
            inner = function.get(key)
            if isinstance(inner, str) and os.path.exists(os.path.join(place, inner)):
                return find_dataset(os.path.join(place, inner))
        return find_dataset(place)

    def _logged_name(self, uri: str) -> str:
        if uri.startswith("runs:/"):
            return uri.rpartition("/")[2]
        model_id = uri.removeprefix("models:/").partition("/")[0]
        if not model_id.startswith("m-") or not self._is_local():
            return ""
        found = self._quietly(lambda: self._client().get_logged_model(model_id).name)
        return str(found or "")
