"""The style guide, where a machine can check it."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "lodeline"
FUNCTION_LINES_MAX = 60
BANNED_WORDS_IN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
PRAISE = re.compile(
    r"\b(robust\w*|efficien\w+|blazing\w*|seamless\w*|powerful\w*|elegant\w*|state[- ]of[- ]the[- ]art"
    r"|cutting[- ]edge|world[- ]class|effortless\w*|lightning|best[- ]in[- ]class|battle[- ]tested)\b",
    re.IGNORECASE,
)
# This file must name what it bans.
THIS = Path(__file__)


@cache
def tracked_files() -> tuple[Path, ...]:
    """What is in the repository: git's index, and new files that it doesn't ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    names = {name for name in listed.decode().split("\0") if name}
    return tuple(sorted(path for path in (ROOT / name for name in names) if path.is_file()))


def python_files(*folders: str) -> list[Path]:
    inside = tuple(ROOT / folder for folder in folders or ("src", "tests", "bench", "examples"))
    return [
        path
        for path in tracked_files()
        if path.suffix == ".py" and any(folder in path.parents for folder in inside)
    ]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def at(path: Path, line: int = 1) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked_files():
        if path == THIS or path.suffix in {".gz", ".zip", ".png", ".parquet", ".joblib"}:
            continue
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_a_function_fits_on_a_screen() -> None:
    long = [
        f"{at(path, node.lineno)} {node.name}: {length} lines"
        for path in python_files()
        for node in functions_of(path)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_a_module_is_named_by_a_noun_of_the_field() -> None:
    banned = [
        at(path)
        for path in python_files()
        for part in path.relative_to(ROOT).with_suffix("").parts
        if BANNED_WORDS_IN_NAMES & set(part.split("_"))
    ]
    assert not banned, "\n".join(banned)


def test_no_two_test_modules_share_a_name() -> None:
    """Tests are collected by name alone: of two, one would keep all from running."""
    names = [path.name for path in python_files("tests") if path.name != "conftest.py"]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, twice


def test_every_module_says_why_it_exists() -> None:
    silent = [
        at(path)
        for path in python_files("src", "bench", "examples")
        if not (ast.get_docstring(tree_of(path)) or "").strip()
        or "Placeholder docstring" in (ast.get_docstring(tree_of(path)) or "")
    ]
    assert not silent, "\n".join(silent)


def public_definitions(
    body: list[ast.stmt],
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_"):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from public_definitions(node.body)


def test_every_public_name_has_a_docstring() -> None:
    overloads = {"overload", "override"}
    silent = [
        f"{at(path, node.lineno)} {node.name}"
        for path in python_files("src")
        for node in public_definitions(tree_of(path).body)
        if not ast.get_docstring(node)
        and not overloads & {getattr(mark, "id", "") for mark in node.decorator_list}
    ]
    assert not silent, "\n".join(silent)


def test_a_package_only_names_things() -> None:
    """`lodeline/__init__.py` alone may define what loads its names lazily."""
    defining = [
        f"{at(path, node.lineno)} {node.name}"
        for path in python_files("src")
        if path.name == "__init__.py"
        for node in tree_of(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.name not in {"__getattr__", "__dir__", "_Package"}
    ]
    assert not defining, "\n".join(defining)


def test_nothing_is_left_for_later_in_a_comment() -> None:
    later = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    left = [
        at(path, number)
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if later.search(line)
    ]
    assert not left, "\n".join(left)


def test_nothing_of_ours_is_mocked() -> None:
    """A bound may be lowered, so that a test reaches it; behaviour is never replaced."""
    mocked = re.compile(
        r"unittest\.mock|\bMagicMock\b|\bmocker\b"
        r"|setattr\(\s*[\"']lodeline(?:\.\w+)*\.(?![A-Z_0-9]+[\"'])\w+[\"']"
    )
    found = [
        at(path, text[: match.start()].count("\n") + 1)
        for path in python_files("tests")
        if path != THIS
        for text in [path.read_text(encoding="utf-8")]
        for match in mocked.finditer(text)
    ]
    assert not found, "\n".join(found)


def test_the_name_of_a_test_is_a_sentence() -> None:
    short = [
        f"{at(path, node.lineno)} {node.name}"
        for path in python_files("tests")
        for node in functions_of(path)
        if node.name.startswith("test_") and len(node.name.split("_")) < 5
    ]
    assert not short, "\n".join(short)


def test_versions_live_in_wire_and_never_in_a_python_name() -> None:
    versioned = re.compile(r"(^|_)v\d+$", re.IGNORECASE)
    named = {
        f"{at(path, node.lineno)} {node.name}"
        for path in python_files("src", "bench", "examples")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and versioned.search(node.name)
    }
    assert not named, "\n".join(sorted(named))


def test_our_errors_have_one_home() -> None:
    strays = [
        f"{at(path, node.lineno)} {node.name}"
        for path in python_files("src")
        # Those of verification lie in `proof`, which stands alone, and leave by `errors.py`, too.
        if path not in (SOURCE / "errors.py", SOURCE / "proof" / "errors.py")
        for node in ast.walk(tree_of(path))
        # An underscore marks what never leaves its module.
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and any(
            getattr(base, "id", getattr(base, "attr", "")).endswith(("Error", "Exception"))
            for base in node.bases
        )
    ]
    assert not strays, "\n".join(strays)


def test_no_text_praises_what_it_describes() -> None:
    praising = [
        f"{at(path, number)} {match.group()}"
        for path, text in texts()
        if path.suffix in {".py", ".md", ".toml"}
        for number, line in enumerate(text.splitlines(), 1)
        if (match := PRAISE.search(line))
    ]
    assert not praising, "\n".join(praising)


def test_no_machine_is_written_into_the_repository() -> None:
    """Paths of one machine and hosts of package registries belong to whoever runs the code."""
    machine = re.compile(
        r"(?<![\w.])/(home|Users)/(?!runner\b|user\b|ada\b|alice\b|me\b|you\b|x\b)[a-z]\w*/"
        r"|https?://(pypi\.org/simple|files\.pythonhosted\.org|[\w.-]+/simple/?)"
        r"|extra-index-url|--index-url"
    )
    found = [
        f"{at(path, number)} {match.group()}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := machine.search(line))
    ]
    assert not found, "\n".join(found)


def test_every_bound_stands_in_limits_with_its_reason() -> None:
    lines = (SOURCE / "limits.py").read_text(encoding="utf-8").splitlines()
    bare = []
    for number, line in enumerate(lines):
        if re.match(r"[A-Z][A-Z_0-9]+ *(: *\w+(\[\w+\])?)? *=", line):
            above = number - 1
            while above >= 0 and re.match(r"[A-Z][A-Z_0-9]+ *(: *\w+(\[\w+\])?)? *=", lines[above]):
                above -= 1
            if not lines[above].startswith("#"):
                bare.append(f"limits.py:{number + 1} {line}")
    assert not bare, "\n".join(bare)


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_the_house_has_its_front_pages(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8").startswith("# ")


def test_every_package_has_its_paragraph_in_the_architecture() -> None:
    told = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    packages = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
    assert [name for name in packages if f"`{name}/`" not in told] == []


def test_every_exemption_from_ruff_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    start = text.index("[tool.ruff.lint]")
    block = text[text.index("ignore = [", start) : text.index("]", text.index("ignore = [", start))]
    bare = [line for line in block.splitlines()[1:] if line.strip() and "#" not in line]
    ignores = text[text.index("[tool.ruff.lint.per-file-ignores]") :].split("\n\n")[0]
    bare += [line for line in ignores.splitlines()[1:] if line.strip() and "#" not in line]
    assert bare == []
