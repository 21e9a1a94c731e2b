"""What the code offers is documented, and what is documented exists; both by enumeration."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from documents import anchors, iter_links

from lodeline import errors
from lodeline.cli.main import COMMANDS, command_parser
from lodeline.settings import SETTINGS
from lodeline.wire import facets

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "lodeline"
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
# Read by tests and .ci/run, not by the program.
OF_DEVELOPERS = {"LODELINE_VECTORS"}


@cache
def generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


def sources() -> Iterator[tuple[Path, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path, path.read_text(encoding="utf-8")


def literals(path: Path) -> Iterator[str]:
    """String constants of a module, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


@pytest.mark.parametrize(
    "name", ["commands.md", "settings.md", "errors.md", "metrics.md", "facets.md"]
)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert written == generator().PAGES[name](), f"{name} is out of date: run `make docs`"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_configured_and_tells_what_it_does(name: str) -> None:
    parser = command_parser(name)
    assert parser.description
    for action in parser._actions:
        assert action.help, f"lodeline {name}: {action.dest} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_run_by_a_test(name: str) -> None:
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert any(f'"{name}"' in text or f"lodeline {name} " in text for text in texts)


def commands_in_docs() -> Iterator[tuple[Path, list[str]]]:
    for path in pages():
        for match in re.finditer(r"(?m)(?:^\$ |^|`)lodeline ([a-z][^`\n]*)", path.read_text()):
            before = match.string[match.string.rfind("\n", 0, match.start()) + 1 : match.start()]
            if match.group().startswith("lodeline") and before.strip():
                continue
            try:
                yield path, shlex.split(match[1].split(" | ")[0].replace("…", "x"), comments=True)
            except ValueError:
                continue


def options_of(name: str) -> set[str]:
    found: set[str] = set()
    parsers = [command_parser(name)]
    for parser in parsers:
        for action in parser._actions:
            found.update(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
    return found


def test_the_docs_name_no_command_or_option_that_does_not_exist() -> None:
    wrong = []
    for path, (name, *words) in commands_in_docs():
        if name in {"run", "ci"} and "--" in words:
            words = words[: words.index("--")]
        if "{" in name:
            continue
        if name not in COMMANDS:
            wrong.append(f"{path.name}: lodeline {name}")
            continue
        given = {
            re.split(r"[=|\]]", word.lstrip("["))[0]
            for word in words
            if word.lstrip("[").startswith("--")
        }
        wrong += [
            f"{path.name}: lodeline {name} {word}" for word in sorted(given - options_of(name))
        ]
    assert not wrong, "\n".join(wrong)


def test_every_setting_in_the_code_is_documented_and_the_other_way_round() -> None:
    pattern = re.compile(r"\bLODELINE_[A-Z_]+[A-Z]\b")
    used = {
        name for path, _ in sources() for text in literals(path) for name in pattern.findall(text)
    }
    used.discard("LODELINE_FACETS")  # a name that `wire` exports, not a variable
    told = set(pattern.findall((REFERENCE / "settings.md").read_text(encoding="utf-8")))
    assert {v for s in SETTINGS for v in s.variables if v.startswith("LODELINE_")} <= used
    assert used - told == set(), "undocumented"
    assert told - used - OF_DEVELOPERS == set(), "documented but unused"
    elsewhere = {name for page in pages() for name in pattern.findall(page.read_text())}
    assert elsewhere - told == set(), "named in docs, but not a setting"


def error_classes() -> list[type[errors.LodelineError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.LodelineError)
    ]


def test_every_error_has_a_code_of_its_own() -> None:
    codes: dict[str, type] = {}
    for cls in error_classes():
        if "code" not in vars(cls):
            assert cls is errors.InvalidEventError, f"{cls.__name__} has no code of its own"
            continue
        assert cls.code not in codes, f"{cls.__name__} and {codes[cls.code].__name__}: {cls.code}"
        codes[cls.code] = cls


def test_every_fault_of_an_event_is_documented_and_the_other_way_round() -> None:
    """The codes with which events are refused are constants where the fault is found."""
    pattern = re.compile(r"event\.[a-z_]+")
    used = {
        text
        for path, _ in sources()
        if path.name != "errors.py"
        for text in literals(path)
        if pattern.fullmatch(text)
    }
    assert set(errors.EVENT_FAULTS) == used


def test_every_facet_of_ours_has_a_schema_and_the_other_way_round() -> None:
    with_schema = set()
    for path in (ROOT / "schema").glob("*/*.json"):
        with_schema |= {
            name
            for name in json.loads(path.read_text(encoding="utf-8")).get("properties", {})
            if name.startswith("lodeline_")
        }
    defined = {
        getattr(value, "facet_name", "")
        for value in (getattr(facets, name) for name in facets.__all__)
        if isinstance(value, type) and issubclass(value, facets.Facet)
    }
    assert with_schema == {name for name in defined if name.startswith("lodeline_")}


def routes_in_code() -> set[str]:
    """Paths among the constants of the server, and the verbs of the questions below /api/v2/."""
    from lodeline.server.asking import VERBS

    path = re.compile(
        r"/(?:healthz|readyz|metrics|api/v\d+(?:/[\w{}-]+)+|api/openapi\.json"
        r"|log/{segment}/{path:path})"
    )
    found = {
        text
        for source in (SOURCE / "server").glob("*.py")
        for text in literals(source)
        if path.fullmatch(text)
    }
    return found | {f"/api/v2/{verb}" for verb in VERBS}


def test_every_route_is_documented_and_the_other_way_round() -> None:
    text = (REFERENCE / "http.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(?:[A-Z]+ )?(/[^`?]*)`", text, flags=re.MULTILINE))
    assert told == routes_in_code()


def test_every_page_is_in_the_guide_of_the_interface_and_the_other_way_round() -> None:
    made = re.compile(r"page_endpoints?\(\s*(?:service,\s*)?(?:\"[A-Z]+\",\s*)?\"(/[^\"]*)\"")
    found = {
        path
        for source in (SOURCE / "server" / "pages").glob("*.py")
        for path in made.findall(source.read_text(encoding="utf-8"))
    }
    text = (DOCS / "guides" / "interface.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`/[^|]*) \|", text, flags=re.MULTILINE)
    told = {path for row in rows for path in re.findall(r"`(/[^`?]*)", row)}
    assert told == found


def test_every_relative_link_leads_somewhere() -> None:
    broken = []
    for page in pages():
        for number, target in iter_links(page):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            there = (page.parent / name).resolve() if name else page
            if not there.exists():
                broken.append(f"{page.relative_to(ROOT)}:{number} {target}")
            elif anchor and there.suffix == ".md" and anchor not in anchors(there):
                broken.append(f"{page.relative_to(ROOT)}:{number} {target}: no such heading")
    assert not broken, "\n".join(broken)


def test_every_page_can_be_reached_from_the_index() -> None:
    seen, queue = set(), [DOCS / "README.md"]
    while queue:
        page = queue.pop()
        if page in seen or page.suffix != ".md" or not page.is_file():
            continue
        seen.add(page)
        queue += [
            (page.parent / target.partition("#")[0]).resolve()
            for _, target in iter_links(page)
            if not re.match(r"[a-z]+:", target)
        ]
    unreachable = [str(p.relative_to(ROOT)) for p in DOCS.rglob("*.md") if p not in seen]
    assert unreachable == []
