"""Writes the pages of docs/reference that are made from the code: `make docs`.

What a machine can enumerate is not typed by hand: commands and options, settings, errors, facets.
`tests/docs` fails when a page and the code disagree.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
OPENAPI = ROOT / "schema" / "openapi.json"
NOTE = "<!-- Made by `make docs` from {source}; edit there. -->\n"


def commands() -> str:
    """Every command with its options, from the argument parsers."""
    from lodeline.cli.main import COMMANDS, command_parser

    lines = [
        "# Commands",
        "",
        NOTE.format(source="the parsers in `src/lodeline/cli/`"),
        "Exit status: 0 yes, 1 no, 2 wrong usage, 3 could not tell. Answers go to stdout,",
        "diagnostics to stderr. Every command takes the options at the end of this page.",
        "",
    ]
    for name, (module, summary) in COMMANDS.items():
        if find_spec(f"lodeline.cli.{module}") is None:
            continue
        parser = command_parser(name)
        lines += [f"## lodeline {name}", "", f"*{summary[0].upper()}{summary[1:]}.*", ""]
        lines += [_usage(name, parser), ""]
        lines += [inspect.cleandoc(parser.description or "").rstrip(), ""]
        lines += _options(parser)
        for word, inner in _subcommands(parser):
            lines += [f"### lodeline {name} {word}", "", _usage(f"{name} {word}", inner), ""]
            lines += _options(inner)
    lines += ["## Common options", ""]
    lines += _options(command_parser("demo"), common=True)
    return "\n".join(lines).rstrip() + "\n"


COMMON = {"--json", "--store", "--server"}


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    # argparse has no public way to list a parser's arguments.
    return [a for a in parser._actions if a.help != argparse.SUPPRESS and a.dest != "help"]  # noqa: SLF001


def _subcommands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # as above
            yield from action.choices.items()


def _usage(name: str, parser: argparse.ArgumentParser) -> str:
    words = ["lodeline", name]
    for action in _actions(parser):
        text = _spelling(action)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # as above
            words.append("{" + "|".join(action.choices) + "}")
        elif not action.option_strings:
            many = {"*": "[{}…]", "+": "{}…", "?": "[{}]", "...": "{}…"}
            words.append(many.get(str(action.nargs), "{}").format(text))
        elif not COMMON & set(action.option_strings):
            words.append(text if action.required else f"[{text}]")
    return "```\n" + " ".join(words) + "\n```"


def _spelling(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar or action.dest.upper())
    spelled = action.option_strings[-1]
    if action.nargs == 0:
        return spelled
    value = action.metavar or (
        "{" + "|".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    return f"{spelled} {value}"


def _options(parser: argparse.ArgumentParser, *, common: bool = False) -> list[str]:
    rows = []
    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # as above
            continue
        if bool(COMMON & set(action.option_strings)) is not common:
            continue
        text = (action.help or "") % {**vars(action), "prog": parser.prog}
        short = "".join(f", `{s}`" for s in action.option_strings[:-1])
        rows.append(f"| `{_cell(_spelling(action))}`{short} | {_cell(text)} |")
    return ["| Argument | Meaning |", "|---|---|", *rows, ""] if rows else []


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def settings() -> str:
    """Every setting with its variables."""
    from lodeline.settings import INTERNAL_VARIABLES, SETTINGS

    lines = [
        "# Settings",
        "",
        NOTE.format(source="`SETTINGS` in `src/lodeline/settings.py`"),
        "An argument wins over the environment, the environment over the configuration file, the",
        "file over the default. The configuration file is `lodeline.toml`, or the table",
        "`[tool.lodeline]` of `pyproject.toml`, whichever is found first going up from the working",
        "directory.",
        "",
        "| Name | Environment | Meaning |",
        "|---|---|---|",
    ]
    for setting in SETTINGS:
        variables = ", ".join(f"`{name}`" for name in setting.variables)
        lines.append(f"| `{setting.name}` | {variables} | {_cell(setting.summary)} |")
    lines += ["", *_server_settings(), ""]
    lines += [
        "Set by `lodeline run` for the program it starts, and not meant to be set by hand:",
        "",
        "| Environment | Meaning |",
        "|---|---|",
        *(f"| `{name}` | {_cell(meaning)} |" for name, meaning in INTERNAL_VARIABLES.items()),
        "",
        "Developers: `LODELINE_VECTORS` names the folder of other projects' test vectors",
        "(default `../shared/vectors`); tests that need them skip without it, and fail under `CI`.",
    ]
    return "\n".join(lines) + "\n"


def _server_settings() -> list[str]:
    from lodeline.server.configuration import OTHER_TABLES, SERVER_SETTINGS

    lines = [
        "## The service",
        "",
        "`lodeline serve` refuses settings that it does not know, and `lodeline serve --check`",
        "tells every fault with its place. Paths are relative to the file's folder. A dotted name",
        "is a key of a table: `server.tls.key` is `key` below `[server.tls]`.",
        "",
        "| Name | Environment | Values | Default | Meaning |",
        "|---|---|---|---|---|",
    ]
    for setting in SERVER_SETTINGS:
        default = "" if setting.default is None else f"`{str(setting.default).lower()}`"
        lines.append(
            f"| `{setting.name}` | `{setting.variable}` | {_cell(setting.kind.values)} "
            f"| {default} | {_cell(setting.summary)} |"
        )
    others = ", ".join(f"`[{name}]`" for name in OTHER_TABLES)
    return [*lines, "", f"Tables that are described elsewhere: {others}.", ""][:-1]


def metrics() -> str:
    """Every metric with its labels."""
    from lodeline.server.metrics import METRICS

    lines = [
        "# Metrics",
        "",
        NOTE.format(source="`METRICS` in `src/lodeline/server/metrics.py`"),
        "`GET /metrics` gives these in Prometheus's text format, and `process_*` of the process.",
        "Counters count since the process started. A gauge that can't be read is left out.",
        "",
        "| Name | Kind | Labels | Meaning |",
        "|---|---|---|---|",
    ]
    for name, about in METRICS.items():
        labels = ", ".join(f"`{label}`" for label in about.labels)
        lines.append(f"| `{name}` | {about.kind} | {labels} | {_cell(about.summary)} |")
    return "\n".join(lines) + "\n"


def errors() -> str:
    """Every error code with its exit status and meaning."""
    module = import_module("lodeline.errors")
    lines = [
        "# Errors",
        "",
        NOTE.format(source="`src/lodeline/errors.py`"),
        'With `--json` an error is `{"error": {"code", "message", "next"}}` on stdout. Codes',
        "are stable; messages are not.",
        "",
        "| Code | Exit status | Meaning |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{code}` | {status} | {_cell(meaning)} |"
        for code, status, meaning in error_codes(module)
    ]
    return "\n".join(lines) + "\n"


def error_codes(module: object) -> list[tuple[str, int, str]]:
    """Code, exit status and meaning of each error class, and of the codes of invalid events."""
    root = module.LodelineError  # type: ignore[attr-defined]
    found = {}
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, root):
            code = value.__dict__.get("code")
            if isinstance(code, str):
                meaning = (inspect.getdoc(value) or "").split("\n\n")[0]
                found[code] = (code, value.exit_status, meaning)
    for code, meaning in getattr(module, "EVENT_FAULTS", {}).items():
        found[code] = (code, 1, meaning)
    return sorted(found.values())


def facets() -> str:
    """Every `lodeline_*` facet with its fields, from the JSON Schemas."""
    lines = [
        "# Facets",
        "",
        NOTE.format(source="the JSON Schemas in `schema/`"),
        "Lodeline speaks OpenLineage and adds facets of its own; any consumer may ignore them.",
        "Members marked `?` may be absent or null. Every facet also carries OpenLineage's",
        "`_producer` and `_schemaURL`, and `_deleted: true` withdraws it.",
        "",
    ]
    for path in sorted((ROOT / "schema").glob("*/*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        lines += _facet(path, schema)
    return "\n".join(lines).rstrip() + "\n"


_BASES = {
    "RunFacet": "runs",
    "JobFacet": "jobs",
    "DatasetFacet": "datasets",
    "InputDatasetFacet": "inputs",
    "OutputDatasetFacet": "outputs",
}


def _facet(path: Path, schema: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, reference in schema["properties"].items():
        main = reference["$ref"].rpartition("/")[2]
        definition = schema["$defs"][main]
        base = definition["allOf"][0]["$ref"].rpartition("/")[2]
        where = f"On {_BASES[base]}. Schema: [`{path.name}`](../../{path.relative_to(ROOT)})."
        lines += [f"## {name}", "", f"{_cell(definition['description'])} {where}", ""]
        lines += _fields(definition)
        for part, inner in schema["$defs"].items():
            if part != main:
                lines += [f"**{part}.** {_cell(inner['description'])}", "", *_fields(inner)]
    return lines


def _fields(definition: dict[str, Any]) -> list[str]:
    rows = ["| Field | Type | Meaning |", "|---|---|---|"]
    for body in [definition, *definition.get("allOf", [])]:
        required = set(body.get("required", ()))
        for field, about in body.get("properties", {}).items():
            mark = "" if field in required else "?"
            kind = _cell(_kind(about))
            rows.append(f"| `{field}{mark}` | {kind} | {_cell(about.get('description', ''))} |")
    return [*rows, ""]


def _kind(about: dict[str, Any]) -> str:
    """Name a schema's type in words; that null may stand for absence is said once, above."""
    if "$ref" in about:
        return str(about["$ref"]).rpartition("/")[2]
    if "enum" in about:
        return " | ".join(f"`{value}`" for value in about["enum"] if value is not None)
    if "anyOf" in about:
        return " | ".join(_kind(one) for one in about["anyOf"] if one != {"type": "null"})
    kind = about.get("type", "any")
    if isinstance(kind, list):
        kind = next(one for one in kind if one != "null")
    if kind == "array":
        return f"list of {_kind(about.get('items', {}))}"
    values = about.get("additionalProperties")
    if kind == "object" and isinstance(values, dict):
        return f"object of {_kind(values)}"
    return str(kind)


def unmodified() -> str:
    """What capture recorded of programs of others, from the result of the benchmark."""
    result = json.loads((ROOT / "bench" / "results" / "unmodified.json").read_text())
    lines = [
        "# Programs of others",
        "",
        NOTE.format(source="`bench/results/unmodified.json` and `bench/unmodified.toml`"),
        "Programs that were not written for Lodeline, each run as it is and under `lodeline run`;",
        "what was captured is held against what they do by reading them. `bench/unmodified.toml`",
        "names each by repository, path, commit and digest; they do not lie here (`python",
        "bench/unmodified.py FOLDER`). Capture was changed for what it missed of the XGBoost",
        "walkthrough (a table and a map of features that native code writes and reads) and of",
        "the jaffle shop (tables made in transactions, and renamed; models and tests from dbt's",
        "own artifacts, where its views are datasets).",
        "",
        "| Program | It reads, writes, saves | Captured | Missed | Gaps | Not a matter of files |",
        "|---|---|---|---|---|---|",
    ]
    rows = (map(_cell, _of_program(one)) for one in result["programs"])
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += [
        "",
        "*Captured* counts what was expected and recorded: files and tables, models, which of them",
        "flowed into which, parameters and metrics. The program's exit status, its output and the",
        "files it leaves are the same with capture, unless it says otherwise; files that differ",
        "from run to run of the program by itself are left out.",
    ]
    return "\n".join(lines) + "\n"


def _of_program(one: dict[str, Any]) -> list[str]:
    name = f"{one['name']} (`{one['repository']}`, `{one['path']}`)"
    wanted = one["expected"]
    what = [f"reads {len(wanted['read'])}" if wanted["read"] else ""]
    what += [f"writes {len(wanted['written'])}" if wanted["written"] else ""]
    what += [f"saves {', '.join(wanted['models'])}" if wanted["models"] else ""]
    does = ", ".join(part for part in what if part) or "nothing outside the process"
    if "skipped" in one:
        return [name, does, f"not run: {one['skipped']}", "", "", one["beyond"]]
    count = sum(len(wanted[key]) for key in ("read", "written", "models", "facts"))
    count += sum(map(len, wanted["from"].values()) if wanted["from"] else ())
    got = f"{count - len(one['missed'])} of {count}"
    differs = [key for key, same in one["same"].items() if not same]
    got += f"; differs in {', '.join(differs)}" if differs else ""
    captured = one["captured"]
    bounds = [output for output in wanted["from"] or () if captured["flows"][output]["bound"]]
    got += f"; {', '.join(bounds)}: from at most these" if bounds else ""
    gaps = "; ".join(captured["gaps"]) or "none"
    return [
        name,
        does,
        got,
        "; ".join(one["missed"]) or "nothing",
        f"{gaps}; {'complete' if captured['complete'] else 'not complete'}",
        one["beyond"],
    ]


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "settings.md": settings,
    "errors.md": errors,
    "metrics.md": metrics,
    "facets.md": facets,
    "unmodified.md": unmodified,
}


def openapi() -> str:
    """The HTTP interface in OpenAPI 3.1, as a service over an empty store describes it."""
    from lodeline.server.assembly import build_application
    from lodeline.server.openapi import describe

    with tempfile.TemporaryDirectory() as folder:
        application = build_application(f"sqlite:///{folder}/lodeline.db")
        document = describe(application.endpoints)
        application.close()
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write every page, and the description of the HTTP interface."""
    OPENAPI.write_text(openapi(), encoding="utf-8")
    print(OPENAPI.relative_to(ROOT))
    for name, render in PAGES.items():
        path = DOCS / "reference" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(), encoding="utf-8")
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
