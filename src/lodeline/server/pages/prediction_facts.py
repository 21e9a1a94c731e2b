"""The facts of a prediction's page: one thread from the answer to the rows that it stands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lodeline.errors import LodelineError
from lodeline.limits import PAGE_RUNS_MAX
from lodeline.model import NodeId, parse_identifier, parse_time
from lodeline.query.prediction_list import is_failed
from lodeline.server.pages.entity_facts import code_of, replays_of
from lodeline.server.pages.row_facts import MASKED, row_facts
from lodeline.server.pages.values import brief

Facts = dict[str, Any]
Asker = Callable[[str, Mapping[str, object]], Facts]


def prediction_facts(ask: Asker, identifier: str, asked: Mapping[str, str]) -> Facts:
    """Give the facts of one prediction.

    Args:
        ask: the caller's questions.
        identifier: of the prediction.
        asked: of its table of rows: `dataset`, `sort`, `contains`, `page`.

    Raises:
        LodelineError: it is not in the record, or still to come.
    """
    shown = ask("show", {"id": identifier})
    trace = ask("trace", {"id": identifier, "direction": "up"})
    asking = _Asking(ask)
    record = shown["record"]
    rows = asking.rows(identifier, asked)
    model = asking.find("show", id=shown["model"]) if shown["model"] else None
    facts: Facts = {
        **{key: shown[key] for key in ("id", "kind", "name", "deployment", "model", "run")},
        **{key: trace[key] for key in ("as_of", "trees", "complete", "gaps")},
        "senders": shown["senders"],
        "record": record,
        "time": record.get("time"),
        "outcome": outcome(record),
        "failed": is_failed(record),
        "entity": record.get("entityKeys") or {},
        "model_number": _number(model),
        "training": asking.training(model),
        "data": _data_versions(asking, trace, model, record),
        "rows": rows,
        "inputs": _inputs(asking, record, rows),
        "problems": asking.problems,
    }
    facts["sentence"] = _sentence(facts)
    facts["missing"] = _missing(facts)
    return facts


def _missing(facts: Facts) -> list[Facts]:
    """Name what the thread lacks: gaps of the graph, then of the rows, each once."""
    found = list(facts["gaps"])
    rows = facts["rows"] or {"gaps": []}
    found += [gap for gap in rows["gaps"] if gap not in found]
    return found


class _Asking:
    def __init__(self, ask: Asker) -> None:
        self._ask = ask
        self.problems: list[Facts] = []

    def find(self, verb: str, **parameters: object) -> Facts | None:
        """Ask for a part of the page; why there is none is told on it."""
        try:
            return self._ask(verb, parameters)
        except LodelineError as error:
            self.problems.append({"about": verb, "message": str(error)})
            return None

    def rows(self, identifier: str, asked: Mapping[str, str]) -> Facts | None:
        """Give the rows behind it, a table of the source rows first."""
        try:
            found = row_facts(self._ask, identifier, asked)
            source = next((one["id"] for one in found["datasets"] if one["source"]), None)
            if source is not None and not asked.get("dataset"):
                found = row_facts(self._ask, identifier, {**asked, "dataset": source})
        except LodelineError as error:
            self.problems.append({"about": "rows", "message": str(error)})
            return None
        return found

    def training(self, model: Facts | None) -> Facts | None:
        """Give the run that made the model's version: when, of which code, and replayed how."""
        if model is None:
            return None
        version = next(
            (one for one in model["versions"] if one["version"] == model["version"]), None
        )
        if version is None or not version["run"]:
            return None
        run = self.find("show", id=f"run:{version['run']}")
        if run is None:
            return None
        stated = run["facets"].get("lodeline_parameters")
        metrics = stated.get("metrics") if isinstance(stated, Mapping) else None
        return {
            "id": run["id"],
            "job": run["job"],
            "state": run["state"],
            "started": run["started"],
            "ended": run["ended"],
            "code": code_of(run["facets"]),
            "metrics": metrics if isinstance(metrics, Mapping) else {},
            "inputs": run["inputs"],
            "replays": replays_of(self._quiet, run["name"], run["job"]),
        }

    def _quiet(self, _: str, verb: str, **parameters: object) -> Facts | None:
        try:
            return self._ask(verb, parameters)
        except LodelineError:
            return None


def outcome(record: Mapping[str, Any]) -> str:
    """Write what was answered in a few words: numbers in three digits, an error by its name."""
    if record.get("error"):
        return str(record["error"])
    if "output" not in record:
        digest = record.get("outputDigest")
        return f"output {str(digest)[:19]}…" if digest else f"status {record.get('status')}"
    return brief(record["output"])


def _sentence(facts: Facts) -> str:
    entity = ", ".join(f"{key} {brief(value)}" for key, value in facts["entity"].items())
    words = [f"{facts['outcome']}{f' for {entity}' if entity else ''}"]
    if facts["model"]:
        number = f" #{facts['model_number']}" if facts["model_number"] else ""
        words.append(f"model {_name(facts['model'])}{number}")
    elif facts["deployment"]:
        words.append(f"deployment {_name(facts['deployment'])}")
    return ", ".join(words)


def _name(identifier: str) -> str:
    if identifier.startswith("restricted:"):
        return "hidden"
    return parse_identifier(identifier).name


def _number(model: Facts | None) -> int | None:
    if model is None:
        return None
    for one in model["versions"]:
        if one["version"] == model["version"]:
            number: int | None = one["number"]
            return number
    return None


def _data_versions(
    asking: _Asking, trace: Facts, model: Facts | None, record: Mapping[str, Any]
) -> list[Facts]:
    """Give the versions that the model was trained on, and those that the answer was read from."""
    found: dict[str, Facts] = {}
    for edge in trace["edges"]:
        if model is not None and edge["kind"] == "trains" and edge["target"] == _whole(model):
            found[edge["source"]] = {"id": edge["source"], "role": "trained on"}
    for row in record.get("featureRows") or ():
        name = f"{row['dataset']}#{row['version']}"
        known = found.get(name)
        found[name] = (
            {"id": name, "role": "trained on, and read for this answer"}
            if known
            else {
                "id": name,
                "role": "read for this answer",
            }
        )
    for one in list(found.values())[:PAGE_RUNS_MAX]:
        shown = asking.find("show", id=one["id"]) if ":" in one["id"] else None
        version = None if shown is None else _version_of(shown)
        digest = {} if shown is None else shown["facets"].get("lodeline_digest") or {}
        one["written"] = None if version is None else version["written"]
        one["run"] = None if version is None else version["run"]
        one["bytes"] = digest.get("bytes") if isinstance(digest, Mapping) else None
        one["rows"] = digest.get("rows") if isinstance(digest, Mapping) else None
        one["seconds_before"] = _between(one["written"], record.get("time"))
    return list(found.values())


def _whole(model: Facts) -> str:
    return str(parse_identifier(model["id"]).at(model["version"] or ""))


def _version_of(shown: Facts) -> Facts | None:
    return next((one for one in shown["versions"] if one["version"] == shown["version"]), None)


def _between(earlier: object, later: object) -> float | None:
    try:
        return (parse_time(str(later))[0] - parse_time(str(earlier))[0]) / 1e6
    except ValueError:
        return None


def _inputs(asking: _Asking, record: Mapping[str, Any], rows: Facts | None) -> list[Facts]:
    """Give what the model was given: each value with the row that it was read from, and its age."""
    features = record.get("features")
    if not isinstance(features, Mapping):
        return []
    sources = [_source(asking, row) for row in record.get("featureRows") or ()]
    hidden = rows is not None and any(gap["reason"] == "permission" for gap in rows["gaps"])
    found = []
    for name, value in features.items():
        source = next((one for one in sources if name in one["columns"]), None)
        masked = isinstance(value, Mapping) and value.get("restricted") is True
        found.append(
            {
                "name": name,
                "value": None if masked else value,
                "masked": MASKED if masked else None,
                "row": None if source is None else source["row"],
                "dataset": None if source is None else source["dataset"],
                "key": None if source is None else source["key"],
                "column": None
                if source is None
                else str(_at(source["node"], "datasetField", name)),
                "seconds_old": (
                    None if source is None else _between(source["written"], record.get("time"))
                ),
                "unknown": source is None and not hidden,
            }
        )
    return found


def _column(dataset: NodeId, name: str) -> str:
    return str(_at(dataset, "datasetField", name))


def _at(dataset: NodeId, kind: str, part: str) -> NodeId:
    return NodeId(kind, dataset.namespace, dataset.name, part, dataset.version)


def _source(asking: _Asking, row: Mapping[str, Any]) -> Facts:
    """Describe a row that features were read from, and which columns it has."""
    dataset = parse_identifier(row["dataset"]).at(str(row["version"]))
    shown = asking.find("show", id=str(dataset))
    columns: Sequence[str] = [] if shown is None else shown.get("fields") or []
    version = None if shown is None else _version_of(shown)
    return {
        "dataset": str(dataset),
        "key": str(row["key"]),
        "row": str(_at(dataset, "row", str(row["key"]))),
        "node": dataset,
        "columns": set(columns),
        "written": None if version is None else version["written"],
    }
