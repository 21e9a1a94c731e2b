"""Feast: feature views as features, and what reads and writes them.

A feature view is a dataset of namespace `feast://PROJECT`, whose columns are features; its version
on the wire is a digest of each feature's definition. Applying a repository states the views and
what they are derived from; materialising and pushing write them; historical and online retrieval
read them, and the source that historical values come from, too.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterable
from typing import Any, Final

from lodeline.capture.datasets import Dataset, find_dataset
from lodeline.capture.flow import BOUND
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder

Arguments = dict[str, Any]

_RESULTS: Final = ("to_df", "to_arrow", "to_polars")
_TABLES: Final = ("table", "table_ref", "query", "path", "topic")


class FeastIntegration:
    """Feast's `FeatureStore`, with any of its offline and online stores."""

    name = "feast"
    supports = "feast>=0.67,<1"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch the feature store and what retrieval gives, once they are imported."""
        from lodeline.capture.process import ADAPTERS

        patches = Patches("feast")
        observer = _Observer(recorder, patches)
        ADAPTERS.when_imported("feast.feature_store", observer.patch_store)
        ADAPTERS.when_imported("feast.infra.offline_stores.offline_store", observer.patch_job)
        ADAPTERS.when_imported("feast.online_response", observer.patch_response)
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches
        self._flows: dict[tuple[str, str, bool], int] = {}

    # Installing

    def patch_store(self, module: Any) -> None:
        """Patch the methods that define, write and read features."""
        for name, handler in {
            "apply": self.applied,
            "materialize": self.materialised,
            "materialize_incremental": self.materialised,
            "write_to_online_store": self.written,
            "write_to_offline_store": self.written_offline,
            "push": self.pushed,
            "get_historical_features": self.retrieved,
            "get_online_features": self.looked_up,
            "get_online_features_async": self.looked_up,
            "create_saved_dataset": self.saved,
        }.items():
            self._observe(module.FeatureStore, name, handler)

    def _observe(
        self, owner: Any, name: str, handler: Callable[[Any, Any, Arguments], None]
    ) -> None:
        original = vars(owner).get(name)
        if original is None:
            return
        signature = inspect.signature(original)

        def after(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = dict(signature.bind(*args, **kwargs).arguments)
            handler(args[0], result, given)

        self._patches.door(owner, name, after)

    def patch_job(self, module: Any) -> None:
        """What a retrieval gives comes from what the retrieval read."""
        for name in _RESULTS:
            self._patches.door(module.RetrievalJob, name, self.after_result)

    def patch_response(self, module: Any) -> None:
        for name in _RESULTS:
            self._patches.door(module.OnlineResponse, name, self.after_result)

    def after_result(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Tag a table with the flow of the retrieval that it came from."""
        del kwargs
        flow = self._recorder.flow.find(args[0])
        self._recorder.tag(result, self._recorder.flow.unknown() if flow is None else flow)

    # Writing

    def applied(self, store: Any, _: Any, given: Arguments) -> None:
        """Definitions were put into the registry: each view is derived from its sources."""
        objects = given.get("objects")
        for view in objects if isinstance(objects, (list, tuple)) else [objects]:
            if hasattr(view, "features") and hasattr(view, "projection"):
                sources = [one for one in self._sources(store, view) if one is not None]
                self._recorder.write(
                    self._dataset(store, view), inputs=sources, facets=self._facets(store, view)
                )
        self._flows.clear()

    def materialised(self, store: Any, _: Any, given: Arguments) -> None:
        """Values were copied from the sources to the online store."""
        wanted = given.get("feature_views")
        for view in self._quietly(store.list_feature_views) or ():
            left_out = wanted is not None and view.name not in wanted
            if left_out or not getattr(view, "online", True):
                continue
            flow = 0
            for source in self._sources(store, view):
                known = source is not None
                flow |= self._recorder.read(source) if known else BOUND  # type: ignore[arg-type]
            self._recorder.write(
                self._dataset(store, view), flow=flow, facets=self._facets(store, view)
            )
        for name in ("start_date", "end_date"):
            if given.get(name) is not None:
                self._recorder.param(f"feast.materialize.{name}", str(given[name]))

    def written(self, store: Any, _: Any, given: Arguments) -> None:
        """Rows were written to the online store directly."""
        name = str(given.get("feature_view_name"))
        table = given.get("df")
        if table is None:
            table = given.get("inputs")
        view = self._view(store, name)
        self._recorder.write(
            Dataset(_namespace(store), name),
            flow=self._recorder.flow_of(table, data=True),
            facets=None if view is None else self._facets(store, view),
            appends=True,
        )

    def written_offline(self, store: Any, _: Any, given: Arguments) -> None:
        """Rows were added to a view's source."""
        view = self._view(store, str(given.get("feature_view_name")))
        self._add_to_source(store, view, given.get("df"))

    def pushed(self, store: Any, _: Any, given: Arguments) -> None:
        """Rows were pushed: to the views of a push source, and perhaps to its batch source."""
        name, table = str(given.get("push_source_name")), given.get("df")
        target = str(getattr(given.get("to"), "name", "ONLINE"))
        for view in self._quietly(store.list_feature_views) or ():
            if getattr(getattr(view, "stream_source", None), "name", None) != name:
                continue
            if "ONLINE" in target:
                self.written(store, None, {"feature_view_name": view.name, "df": table})
            if "OFFLINE" in target:
                self._add_to_source(store, view, table)

    def _add_to_source(self, store: Any, view: Any, table: Any) -> None:
        for source in self._sources(store, view) if view is not None else ():
            if source is not None:
                flow = self._recorder.flow_of(table, data=True)
                self._recorder.write(source, flow=flow, appends=True)

    def saved(self, store: Any, _: Any, given: Arguments) -> None:
        """What a retrieval gave was stored."""
        storage, job = given.get("storage"), given.get("from_")
        source = self._quietly(storage.to_data_source) if storage is not None else None
        dataset = None if source is None else _source_dataset(store, source)
        if dataset is not None:
            flow = self._recorder.flow.find(job)
            flow = self._recorder.flow.unknown() if flow is None else flow
            self._recorder.write(dataset, flow=flow)

    # Reading

    def retrieved(self, store: Any, job: Any, given: Arguments) -> None:
        """Features as of past times, for the rows of a table."""
        flow = self._recorder.flow_of(given.get("entity_df"), data=True)
        flow |= self._read(store, given.get("features"), offline=True)
        self._recorder.tag(job, flow)

    def looked_up(self, store: Any, response: Any, given: Arguments) -> None:
        """Features as they are now, for some keys."""
        flow = self._read(store, given.get("features"), offline=False)
        self._recorder.tag(response, flow | self._recorder.flow_of(given.get("entity_rows")))

    def _read(self, store: Any, features: Any, *, offline: bool) -> int:
        names = _view_names(features)
        # A server asks the same thing again and again.
        key = (_namespace(store), "\n".join(names), offline)
        known = self._flows.get(key)
        if known is not None:
            return known
        flow = 0
        for name in names:
            view = self._view(store, name)
            if view is None:
                told = "a view that the registry does not describe"
                self._recorder.gap(f"dataset:{_namespace(store)}:{name}", "capture", told)
            facets = None if view is None else self._facets(store, view)
            flow |= self._recorder.read(Dataset(_namespace(store), name), facets=facets)
            for source in self._sources(store, view) if offline and view is not None else ():
                flow |= BOUND if source is None else self._recorder.read(source)
        self._flows[key] = flow
        return flow

    # What the registry says

    def _view(self, store: Any, name: str) -> Any:
        asked = ("get_feature_view", "get_on_demand_feature_view", "get_stream_feature_view")
        for ask in (getattr(store, method, None) for method in asked):
            found = None if ask is None else self._quietly(lambda ask=ask: ask(name))  # type: ignore[misc]
            if found is not None:
                return found
        return None

    def _quietly(self, ask: Callable[[], Any]) -> Any:
        """Read Feast's own books, which is none of the program's doing; `None` for no answer."""
        local = self._recorder.local
        before, local.suspended = local.suspended, 1
        try:
            return ask()
        except Exception:  # foreign code; not knowing is an answer
            return None
        finally:
            local.suspended = before

    def _dataset(self, store: Any, view: Any) -> Dataset:
        return Dataset(_namespace(store), view.name)

    def _sources(self, store: Any, view: Any) -> list[Dataset | None]:
        inner = getattr(view, "source_feature_view_projections", None)
        if inner:
            return [Dataset(_namespace(store), name) for name in inner]
        source = getattr(view, "batch_source", None)
        return [] if source is None else [_source_dataset(store, source)]

    def _facets(self, store: Any, view: Any) -> dict[str, dict[str, Any]]:
        keys = [str(column.name) for column in getattr(view, "entity_columns", ())]
        sources = [f"{one.namespace}:{one.name}" for one in self._sources(store, view) if one]
        transformation = getattr(view, "feature_transformation", None)
        shared = {
            "view": view.name,
            "entities": [str(name) for name in getattr(view, "entities", None) or ()],
            "sources": sources,
            "ttl": str(getattr(view, "ttl", None) or ""),
            "code": str(getattr(transformation, "udf_string", "") or ""),
        }
        features = []
        for one in view.features:
            kind = str(one.dtype)
            definition = json.dumps(
                {**shared, "feature": one.name, "type": kind}, sort_keys=True, ensure_ascii=False
            )
            digest = f"sha256:{hashlib.sha256(definition.encode()).hexdigest()}"
            features.append(
                {"name": one.name, "definition": definition, "digest": digest, "type": kind}
            )
        facets: dict[str, dict[str, Any]] = {
            "lodeline_features": {"view": view.name, "entityKeys": keys, "features": features},
            "schema": {"fields": [{"name": one["name"], "type": one["type"]} for one in features]},
        }
        if getattr(view, "description", ""):
            facets["documentation"] = {"description": str(view.description)}
        return facets


def _namespace(store: Any) -> str:
    return f"feast://{store.project}"


def _view_names(features: Any) -> list[str]:
    """Names of the views in a list of `view:feature`, or in a feature service."""
    projections = getattr(features, "feature_view_projections", None)
    if projections is not None:
        return [str(one.name) for one in projections]
    references: Iterable[Any] = features if isinstance(features, (list, tuple)) else ()
    names = {str(one).partition(":")[0].partition("@")[0]: None for one in references}
    return list(names)


def _source_dataset(store: Any, source: Any) -> Dataset | None:
    """Name a data source: files by their path, tables by kind and name."""
    batch = getattr(source, "batch_source", None)
    if batch is not None:
        return _source_dataset(store, batch)
    kind = type(source).__name__
    if kind == "FileSource":
        path = str(source.path)
        if "://" not in path and not os.path.isabs(path):
            path = os.path.join(str(store.repo_path), path)
        return find_dataset(path)
    for name in _TABLES:
        value = getattr(source, name, None)
        if isinstance(value, str) and value:
            return Dataset(kind.removesuffix("Source").lower() or kind, value)
    return Dataset(_namespace(store), f"source/{source.name}") if source.name else None
