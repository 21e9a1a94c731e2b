"""What dbt says of its own work: `run_results.json` and `manifest.json` become events of their own.

dbt runs many models in one process; capture sees one run that reads and writes. dbt's artifacts
tell models, tests and their outcome apart. They are read by whoever told of the process, when it is
gone, and named as dbt's OpenLineage integration names jobs and datasets, so that both tell the same
graph. Where they differ on purpose: an ephemeral model is no dataset, what it reads is read by the
model that holds it; seeds and snapshots are inputs, too; columns behind `*` are followed.

What is not there: which database it was. The caller knows, from what the process was seen to write.
"""

from __future__ import annotations

import csv
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lodeline.capture.datasets import Dataset
from lodeline.capture.drafts import SCHEMA_URL, stamp
from lodeline.capture.privacy import current
from lodeline.errors import UnsupportedQueryError, UsageError
from lodeline.limits import (
    ASSERTIONS_MAX,
    DBT_ARTIFACT_BYTES_MAX,
    DBT_QUERY_CHARACTERS_MAX,
    SQL_TEXT_MAX,
)
from lodeline.wire.facets.addresses import PRODUCER

if TYPE_CHECKING:
    from lodeline.sql import Source

RESULTS: Final = "run_results.json"
# Schemes of dataset namespaces, by dbt's adapter, where they are not its name.
_SCHEMES: Final = {"sqlserver": "mssql", "athena": "awsathena", "fabric": "fabric-warehouse"}
# How sqlglot calls the dialects that dbt calls otherwise.
_DIALECTS: Final = {
    "sqlserver": "tsql",
    "fabric": "tsql",
    "glue": "spark",
    "watsonx_presto": "presto",
}
_TABLES: Final = ("model", "snapshot", "seed", "source")
_MADE: Final = ("model", "snapshot")
_DONE: Final = frozenset({"success", "pass", "warn"})
# Nothing was run: what lay upstream failed, or there was nothing new.
_UNTOUCHED: Final = frozenset({"skipped", "no-op", "reused"})
# Run identifiers follow from the invocation and the node: who reads a folder twice tells no more.
_NAMESPACE: Final = uuid.UUID("6ab0c2e4-6f0d-5b39-9a54-2f6e4f6b7d10")

Columns = Mapping[Dataset, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class DbtResults:
    """Artifacts of one invocation.

    Attributes:
        manifest: what the project is.
        results: what was run.
        catalog: columns of the tables, where `dbt docs generate` wrote them; else empty.
        folder: where they lie, in the project as a rule.
    """

    folder: Path
    manifest: dict[str, Any]
    results: dict[str, Any]
    catalog: dict[str, Any] = field(default_factory=dict)

    @property
    def invocation(self) -> str:
        """Identifier of the invocation; empty where dbt gives none."""
        return str(self.results.get("metadata", {}).get("invocation_id") or "")

    @property
    def adapter(self) -> str:
        """Name of dbt's adapter: `duckdb`, `postgres`, …."""
        return str(self.manifest.get("metadata", {}).get("adapter_type") or "")

    @property
    def command(self) -> str:
        """What dbt was asked for: `build`, `run`, `test`, …."""
        return str(self.results.get("args", {}).get("which") or "")

    def node(self, name: str) -> dict[str, Any] | None:
        """Find a node or source."""
        found = self.manifest["nodes"].get(name) or self.manifest.get("sources", {}).get(name)
        return found if isinstance(found, dict) else None

    def table_name(self, name: str) -> str | None:
        """Give the name of the dataset that a node is; `None` where it is none."""
        node = self.node(name)
        kind = name.partition(".")[0]
        if node is None or kind not in _TABLES or _is_ephemeral(node):
            return None
        own = node.get("identifier") or node["name"] if kind == "source" else node.get("alias")
        return ".".join(str(one) for one in (node.get("database"), node.get("schema"), own) if one)

    def parents(self, name: str) -> Iterator[str]:
        """List the nodes that a node reads as tables, those behind ephemeral models, too."""
        waiting, seen = [name], {name}
        while waiting:
            for parent in self.manifest.get("parent_map", {}).get(waiting.pop(), ()):
                if parent in seen:
                    continue
                seen.add(parent)
                if self.table_name(parent) is not None:
                    yield parent
                elif (node := self.node(parent)) is not None and _is_ephemeral(node):
                    waiting.append(parent)


def _is_ephemeral(node: Mapping[str, Any]) -> bool:
    return bool((node.get("config") or {}).get("materialized") == "ephemeral")


def read_results(folder: Path) -> DbtResults:
    """Read the artifacts of a target folder.

    Raises:
        UsageError: they are not there, too large, or not what dbt writes.
    """
    manifest, results = _read(folder / "manifest.json"), _read(folder / RESULTS)
    catalog = _read(folder / "catalog.json") if (folder / "catalog.json").is_file() else {}
    found = DbtResults(folder, manifest, results, catalog)
    whole = isinstance(manifest.get("nodes"), dict) and isinstance(results.get("results"), list)
    if not whole or not found.invocation:
        raise UsageError(f"{folder}: no manifest.json and {RESULTS} of dbt")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > DBT_ARTIFACT_BYTES_MAX:
            raise UsageError(f"{path}: longer than {DBT_ARTIFACT_BYTES_MAX} bytes")
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {error}") from error
    return found if isinstance(found, dict) else {}


def find_namespace(found: DbtResults, observed: Iterable[Dataset]) -> str:
    """Find the namespace of the database among datasets that were seen: most names agree.

    Args:
        found: of dbt.
        observed: datasets that its process read or wrote.

    Raises:
        UsageError: none is in a database of that kind.
    """
    scheme = _SCHEMES.get(found.adapter, found.adapter)
    counts: dict[str, int] = {}
    named = {*found.manifest["nodes"], *found.manifest.get("sources", {})}
    names = {str(found.table_name(one)).lower() for one in named}
    for dataset in observed:
        if dataset.namespace.partition(":")[0] == scheme:
            counts.setdefault(dataset.namespace, 0)
            counts[dataset.namespace] += dataset.name.lower() in names
    if not counts:
        raise UsageError(f"no table of {found.adapter or 'its database'} was seen")
    return max(counts, key=lambda one: (counts[one], one))


@dataclass(frozen=True, slots=True)
class DbtTelling:
    """How events of dbt's artifacts are told.

    Attributes:
        namespace: of the jobs.
        datasets: namespace of the database.
        parent: (namespace, job, run) of the run that ran dbt, if any.
        columns: of tables, as the process saw them.
    """

    namespace: str
    datasets: str
    parent: tuple[str, str, str] | None = None
    columns: Columns = field(default_factory=dict)


def events_of(found: DbtResults, telling: DbtTelling) -> list[dict[str, Any]]:
    """Give two RunEvents, START and the end, for each model, snapshot and tested table.

    Raises:
        UsageError: the artifacts have another shape than those of any version that is known.
    """
    try:
        return list(_iter_events(found, telling))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"artifacts of dbt have an unknown shape: {error!r}") from error


def _iter_events(found: DbtResults, telling: DbtTelling) -> Iterator[dict[str, Any]]:
    writing = _Writing(found, telling)
    for result in found.results["results"]:
        if result["unique_id"].partition(".")[0] in _MADE and result["status"] not in _UNTOUCHED:
            yield from writing.model(result)
    yield from writing.tests()


class _Writing:
    """Events of one invocation."""

    def __init__(self, found: DbtResults, telling: DbtTelling) -> None:
        self._found = found
        self._telling = telling
        self._privacy = current()
        self._tables = _Tables(found, telling)
        # `dbt build` runs models and tests: their jobs are told apart by a suffix.
        self._build = ".build" if found.command == "build" else ""

    def model(self, result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        name = str(result["unique_id"])
        kind = name.partition(".")[0]
        node = self._found.manifest["nodes"][name]
        suffix = ".snapshot" if kind == "snapshot" else ".run" if self._build else ""
        job = _job_name(node, name.removeprefix(f"{kind}.")) + self._build + suffix
        inputs = [
            self._dataset(parent, self._described(parent))
            for parent in self._found.parents(name)
            if parent != name
        ]
        outputs: list[dict[str, Any]] = []
        if result["status"] == "success" and self._found.table_name(name) is not None:
            facets = self._described(name)
            lineage = self._tables.lineage(name)
            if lineage is not None:
                facets["columnLineage"] = lineage
            output = self._dataset(name, facets)
            count = (result.get("adapter_response") or {}).get("rows_affected")
            if type(count) is int and count > 0:
                body = stamp("output", "outputStatistics", {"rowCount": count})
                output["outputFacets"] = {"outputStatistics": body}
            outputs.append(output)
        facets = {"jobType": _job_type(kind.upper())} | self._sql(node)
        yield from self._pair(
            (job, facets), str(result["status"]), [result], inputs=inputs, outputs=outputs
        )

    def tests(self) -> Iterator[dict[str, Any]]:
        """A run for each table that was tested; one more for each test that is a query alone."""
        about: dict[str, list[tuple[Mapping[str, Any], dict[str, Any]]]] = {}
        for result in self._found.results["results"]:
            name = str(result["unique_id"])
            node = self._found.node(name)
            if node is None or not name.startswith("test.") or result["status"] in _UNTOUCHED:
                continue
            table = self._tested(name, node)
            if table is not None:
                about.setdefault(table, []).append((result, node))
            if node.get("test_metadata") is None:
                yield from self._single(result, name, node)
        for table, members in about.items():
            yield from self._table_tests(table, members)

    def _tested(self, name: str, node: Mapping[str, Any]) -> str | None:
        attached = node.get("attached_node")
        if isinstance(attached, str) and self._found.table_name(attached) is not None:
            return attached
        return next(reversed([None, *self._found.parents(name)]))

    def _table_tests(
        self, table: str, members: list[tuple[Mapping[str, Any], dict[str, Any]]]
    ) -> Iterator[dict[str, Any]]:
        node = self._found.node(table) or {}
        own = table.removeprefix("model.")
        job = _job_name(node, own) + self._build + ".test"
        checks = [_assertion(result, test) for result, test in members[:ASSERTIONS_MAX]]
        told = stamp("input", "dataQualityAssertions", {"assertions": checks})
        tested = self._dataset(table, {})
        owner = f"{tested['namespace']}:{tested['name']}"
        # On the dataset, too, as dbt's integration does: whoever asks about the table sees it.
        facets = self._privacy.conceal_facets(owner, {"dataQualityAssertions": told})
        tested |= {"inputFacets": facets, "facets": {**tested["facets"], **facets}}
        held = all(_holds(result, test) for result, test in members)
        yield from self._pair(
            (job, {"jobType": _job_type("TEST")}),
            "success" if held else "error",
            [result for result, _ in members],
            inputs=[tested],
        )

    def _single(
        self, result: Mapping[str, Any], name: str, node: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        test = {"name": name, "status": "pass" if result["status"] == "pass" else "fail"}
        found = _assertion(result, node)
        test |= {key: found[key] for key in ("severity", "actual", "expected") if key in found}
        facets = {"jobType": _job_type("TEST")} | self._sql(node)
        inputs = [self._dataset(parent, {}) for parent in self._found.parents(name)]
        status = "success" if _holds(result, node) else "error"
        yield from self._pair((name, facets), status, [result], inputs=inputs, test=test)

    def _dataset(self, name: str, facets: dict[str, Any]) -> dict[str, Any]:
        told = {"namespace": self._telling.datasets, "name": self._found.table_name(name)}
        owner = f"{told['namespace']}:{told['name']}"
        stamped = {key: stamp("dataset", key, body) for key, body in facets.items()}
        return {**told, "facets": self._privacy.conceal_facets(owner, stamped)}

    def _described(self, name: str) -> dict[str, Any]:
        node = self._found.node(name) or {}
        facets: dict[str, Any] = {}
        if node.get("description"):
            facets["documentation"] = {"description": str(node["description"])}
        owner = (node.get("meta") or {}).get("owner")
        if owner:
            names = owner if isinstance(owner, list) else [owner]
            facets["ownership"] = {"owners": [{"name": str(one)} for one in names]}
        fields = self._tables.schema(name)
        if fields:
            facets["schema"] = {"fields": fields}
        return facets

    def _sql(self, node: Mapping[str, Any]) -> dict[str, Any]:
        text = node.get("compiled_code") or node.get("compiled_sql")
        if not isinstance(text, str) or not text:
            return {}
        from lodeline.sql import mask_literals

        dialect = self._tables.dialect
        masked = mask_literals(text[:SQL_TEXT_MAX], dialect=dialect).strip()
        return {"sql": stamp("job", "sql", {"query": masked, "dialect": dialect})}

    def _pair(
        self,
        job: tuple[str, dict[str, Any]],
        status: str,
        results: list[Mapping[str, Any]],
        *,
        inputs: list[dict[str, Any]],
        outputs: Iterable[dict[str, Any]] = (),
        test: dict[str, Any] | None = None,
    ) -> Iterator[dict[str, Any]]:
        name, job_facets = job
        facets: dict[str, dict[str, Any]] = {}
        version = self._found.results["metadata"].get("dbt_version")
        facets["processing_engine"] = {"name": "dbt", "version": str(version or "")}
        if self._telling.parent is not None:
            space, parent, run = self._telling.parent
            facets["parent"] = {"run": {"runId": run}, "job": {"namespace": space, "name": parent}}
        if test is not None:
            facets["test"] = {"tests": [test]}
        started, ended = self._times(results)
        event: dict[str, Any] = {
            "eventType": "START",
            "eventTime": started,
            "producer": PRODUCER,
            "schemaURL": SCHEMA_URL,
            "run": {
                "runId": str(uuid.uuid5(_NAMESPACE, f"{self._found.invocation} {name}")),
                "facets": {key: stamp("run", key, body) for key, body in facets.items()},
            },
            "job": {"namespace": self._telling.namespace, "name": name, "facets": job_facets},
            "inputs": inputs,
            "outputs": [],
        }
        yield event
        over: dict[str, Any] = {**event["run"], "facets": dict(event["run"]["facets"])}
        if status not in _DONE:
            said = {"message": self._message(results), "programmingLanguage": "SQL"}
            over["facets"] |= {"errorMessage": stamp("run", "errorMessage", said)}
        end = "COMPLETE" if status in _DONE else "FAIL"
        yield {**event, "eventType": end, "eventTime": ended, "run": over, "outputs": list(outputs)}

    def _message(self, results: list[Mapping[str, Any]]) -> str:
        """What dbt said first: what failed, and where. The lines below it may hold values."""
        said = [str(one.get("message") or one["status"]) for one in results if _is_bad(one)]
        return "; ".join(one.strip().partition("\n")[0][:500] for one in said[:3]) or "failed"

    def _times(self, results: list[Mapping[str, Any]]) -> tuple[str, str]:
        timings = [one for result in results for one in result.get("timing") or ()]
        at = str(self._found.results["metadata"].get("generated_at"))
        started = [str(one["started_at"]) for one in timings if one.get("started_at")]
        ended = [str(one["completed_at"]) for one in timings if one.get("completed_at")]
        return min(started, default=at), max(ended, default=at)


def _is_bad(result: Mapping[str, Any]) -> bool:
    return result["status"] not in _DONE


def _job_name(node: Mapping[str, Any], own: str) -> str:
    return ".".join(str(one) for one in (node.get("database"), node.get("schema"), own) if one)


def _job_type(kind: str) -> dict[str, Any]:
    facet = {"processingType": "BATCH", "integration": "DBT", "jobType": kind}
    return stamp("job", "jobType", facet)


def _severity(node: Mapping[str, Any]) -> str:
    return str((node.get("config") or {}).get("severity") or "error").lower()


def _holds(result: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Whether a test lets the pipeline go on, as dbt decides it: a warning does."""
    return result["status"] in _DONE or (_severity(node) == "warn" and result["status"] == "fail")


def _assertion(result: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    generic = node.get("test_metadata") or {}
    told: dict[str, Any] = {
        "assertion": str(generic.get("name") or node["name"]),
        "name": str(node["name"]),
        "success": result["status"] == "pass",
        "severity": _severity(node),
    }
    column = (generic.get("kwargs") or {}).get("column_name") or node.get("column_name")
    if column:
        told["column"] = str(column)
    if result.get("failures") is not None:
        config = node.get("config") or {}
        bound = config.get("warn_if" if told["severity"] == "warn" else "error_if")
        plain = bound is None or re.sub(r"\s", "", str(bound)) == "!=0"
        told |= {"actual": str(result["failures"]), "expected": "0" if plain else str(bound)}
    return told


class _Tables:
    """The tables of a project: their columns, and what their models make those of."""

    def __init__(self, found: DbtResults, telling: DbtTelling) -> None:
        self._found = found
        self._telling = telling
        self.dialect = _DIALECTS.get(found.adapter, found.adapter)
        self._known = {(one.namespace, one.name.lower()): c for one, c in telling.columns.items()}
        # By the last two parts of the name, and by all three, in lower case.
        self._named: dict[tuple[str, ...], str] = {}
        for name in (*found.manifest["nodes"], *found.manifest.get("sources", {})):
            table = found.table_name(name)
            if table is not None:
                parts = tuple(table.lower().split("."))
                self._named[parts] = name
                self._named.setdefault(parts[-2:], name)
        self._traced: dict[str, Any] = {}

    def columns(self, name: str) -> tuple[tuple[str, str], ...] | None:
        """Give the columns of a table, in order; `None` where nobody says."""
        table = str(self._found.table_name(name))
        for part in ("nodes", "sources"):
            listed = ((self._found.catalog.get(part) or {}).get(name) or {}).get("columns")
            if listed:
                ordered = sorted(listed.values(), key=lambda one: int(one.get("index") or 0))
                return tuple((str(one["name"]), str(one.get("type") or "")) for one in ordered)
        seen = self._known.get((self._telling.datasets, table.lower()))
        if seen:
            return tuple(seen)
        traced = self._trace(name)
        if traced is not None and not traced.gaps and traced.fields:
            return tuple((one.name, "") for one in traced.fields)
        header = _seed_header(self._found, name) if name.startswith("seed.") else ()
        return tuple((column, "") for column in header) or None

    def schema(self, name: str) -> list[dict[str, Any]]:
        """Give the fields of a table, as the project describes them."""
        node = self._found.node(name) or {}
        about = {str(k).lower(): v for k, v in (node.get("columns") or {}).items()}
        columns = self.columns(name)
        if columns is None:
            columns = tuple(
                (str(one.get("name")), str(one.get("data_type") or "")) for one in about.values()
            )
        fields: list[dict[str, Any]] = []
        for column, kind in columns:
            one = about.get(column.lower()) or {}
            told = {"type": kind or one.get("data_type"), "description": one.get("description")}
            fields.append({"name": column, **{k: str(v) for k, v in told.items() if v}})
        return fields

    def lineage(self, name: str) -> dict[str, Any] | None:
        """Give the facet of column lineage of a model; `None` where its SQL is not understood."""
        traced = self._trace(name)
        if traced is None:
            return None
        from lodeline.capture.sql_sessions import column_facet

        own = self._found.table_name(name)
        fields = [
            (one.name, tuple(i for i in one.inputs if (i.source.dataset or ("", ""))[1] != own))
            for one in traced.fields
        ]
        shaping = tuple(i for i in traced.indirect if (i.source.dataset or ("", ""))[1] != own)
        return column_facet(fields, shaping)

    def _trace(self, name: str) -> Any:
        """Trace a model's query once; `None` while that is under way, or where it fails."""
        if name in self._traced:
            return self._traced[name]
        self._traced[name] = None
        node = self._found.node(name) or {}
        text = node.get("compiled_code") or node.get("compiled_sql")
        if (
            not isinstance(text, str)
            or len(text) > DBT_QUERY_CHARACTERS_MAX
            or node.get("language") == "python"
        ):
            return None
        from lodeline.sql import parse_statements, trace_columns

        try:
            statements = parse_statements(text, dialect=self.dialect)
            if len(statements) == 1 and statements[0].query is not None:
                query = statements[0].query
                asked = _Asked(self, query)
                self._traced[name] = trace_columns(query, asked, dialect=self.dialect)
        except (UnsupportedQueryError, ValueError):
            # A dialect that is not known, or a query beyond the analysis: datasets are told alone.
            return None
        return self._traced[name]

    def find_name(self, table: Any) -> str | None:
        """Find the node that a table of a compiled query is."""
        parts = tuple(str(one).lower() for one in (table.catalog, table.db, table.name) if one)
        return self._named.get(parts) or self._named.get(parts[-2:])

    def dataset(self, name: str) -> tuple[str, str]:
        """Name the dataset that a node is."""
        return self._telling.datasets, str(self._found.table_name(name))


class _Asked:
    """What the tables of one query mean."""

    def __init__(self, tables: _Tables, query: Any) -> None:
        self._tables = tables
        self._query = query

    def find_source(self, table: Any) -> Source | None:
        """Resolve a table of the query."""
        from lodeline.sql import Source

        name = self._tables.find_name(table)
        if name is None:
            return None
        columns = self._tables.columns(name) or self._mentioned(table)
        return Source(key=name, dataset=self._tables.dataset(name), columns=columns)

    def _mentioned(self, table: Any) -> tuple[tuple[str, str], ...] | None:
        """Columns that the query itself takes from a table of which nobody says more.

        Those that it names with the table, and, where the table stands alone in its FROM, those
        that it names alone. `None` where it takes all.
        """
        from sqlglot import exp

        found: set[str] = set()
        for node in self._query.find_all(exp.Table):
            if (node.name, node.db) != (table.name, table.db):
                continue
            select = node.find_ancestor(exp.Select)
            if select is None or any(one.find(exp.Star) for one in select.expressions):
                return None
            alone = not select.args.get("joins") and len(list(select.find_all(exp.Table))) == 1
            wanted = {node.alias_or_name.lower(), *([""] if alone else [])}
            columns = select.find_all(exp.Column)
            found |= {one.name.lower() for one in columns if one.table.lower() in wanted}
        return tuple((one, "") for one in sorted(found)) or None


def _seed_header(found: DbtResults, name: str) -> list[str]:
    """Read the names of a seed's columns off its file, which lies in the project."""
    node = found.node(name) or {}
    own = str(node.get("original_file_path") or "")
    # The root that dbt tells may be relative to where dbt was started.
    roots = (found.folder.resolve().parent, Path(str(node.get("root_path") or "")))
    path = next((one / own for one in roots if (one / own).is_file()), roots[0] / own)
    delimiter = (node.get("config") or {}).get("delimiter") or ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader([file.readline(SQL_TEXT_MAX)], delimiter=delimiter), [])
    except (OSError, ValueError, TypeError, csv.Error):
        return []
