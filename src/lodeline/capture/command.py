"""Reading a command line: which job is this?

The default job name is the script's path relative to its repository root, else its file name;
for `-m` the module's name; for another program its file name. Programs that run somebody's code are
named after that code: notebooks after the notebook, as scripts are, servers and workers after their
application, as in `uvicorn shop.api:app` or `celery shop.tasks`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# `module:attribute`, as servers take it; `localhost:8000` and `127.0.0.1:8000` are none.
_APPLICATION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\(.*\))?")
_NOTEBOOKS = frozenset(
    {"papermill", "jupyter", "jupyter-nbconvert", "jupyter-execute", "jupyter-run"}
)
_SERVERS = frozenset({"uvicorn", "gunicorn", "hypercorn", "granian", "daphne"})

# Options of the interpreter that take a value in the next word.
_WITH_VALUE = frozenset("WX")


class Command(NamedTuple):
    """What a command line runs; no dataclass, whose module every observed program would load.

    Attributes:
        script: absolute path of the Python script, when it runs one.
        module: module name after `-m`, when given.
        name: what to call it, for want of a script in a repository.
        text: the code after `-c`.
        application: what a server or a worker serves; its name is the job's.
    """

    script: Path | None
    module: str | None
    name: str
    text: str = ""
    application: bool = False


def read_command(argv: Sequence[str], *, folder: Path | None = None) -> Command:
    """Find the script or module of a command line.

    Args:
        argv: the command line, interpreter first or not.
        folder: where relative paths start; the working directory when missing.
    """
    folder = Path.cwd() if folder is None else folder
    program = Path(argv[0]).name if argv else "python"
    words = list(argv[1:])
    if not program.lower().startswith(("python", "pypy")):
        launched = _read_launcher(program, words, folder)
        if launched is not None:
            return launched
        path = folder / argv[0] if argv else folder
        own = path.suffix == ".py" and path.is_file()
        return Command(path.absolute() if own else None, None, program)
    while words:
        word = words.pop(0)
        if word in {"-m", "-c"}:
            value = words[0] if words else ""
            launched = _read_launcher(value, words[1:], folder) if word == "-m" else None
            return launched or _of_option(word, value)
        if word.startswith(("-m", "-c")) and not word.startswith("--"):
            return _of_option(word[:2], word[2:])
        if word == "--check-hash-based-pycs" or (word.startswith("-") and word[-1:] in _WITH_VALUE):
            words[:1] = []
            continue
        if word.startswith("-") and word != "-":
            found = _clustered(word)
            if found is not None:
                return _of_option(found, words[0] if words else "")
            continue
        if word == "-":
            break
        script = folder / word
        return Command(Path(os.path.abspath(script)), None, script.name)  # links stay
    return Command(None, None, "-")


def _read_launcher(program: str, words: Sequence[str], folder: Path) -> Command | None:
    """Read the command line of a program that runs somebody's code; `None` for other programs."""
    if program in _NOTEBOOKS:
        for word in words:
            if word.endswith(".ipynb") and not word.startswith("-"):
                notebook = Path(os.path.abspath(folder / word))  # links stay
                return Command(notebook, None, notebook.name)
    if program in _SERVERS:
        for word in words:
            if _APPLICATION.fullmatch(word):
                return _of_application(program, word.partition(":")[0], word, folder)
    if program == "celery":
        for place, word in enumerate(words):
            if word in {"-A", "--app"} and place + 1 < len(words):
                return _of_application(program, words[place + 1], words[place + 1], folder)
            if word.startswith("--app="):
                name = word.partition("=")[2]
                return _of_application(program, name, name, folder)
    return None


def _of_application(program: str, module: str, name: str, folder: Path) -> Command:
    stem = folder.joinpath(*module.split("."))
    for path in (stem.with_suffix(".py"), stem / "__init__.py", stem.parent.with_suffix(".py")):
        if path.is_file():
            return Command(path.absolute(), module, f"{program} {name}", application=True)
    return Command(None, module, f"{program} {name}", application=True)


def _clustered(word: str) -> str | None:
    """`-um` is `-u -m`."""
    if word.startswith("--") or word[1:2] in _WITH_VALUE:
        return None
    return next((f"-{letter}" for letter in word[1:] if letter in "mc"), None)


def _of_option(option: str, value: str) -> Command:
    if option == "-m" and value:
        return Command(None, value, value)
    return Command(None, None, "-c", value)


def job_name(command: Command, *, root: Path | None) -> str:
    """Name the job of a command.

    Args:
        command: as read.
        root: the script's repository root, when it has one.
    """
    if command.application:
        return command.name
    if command.script is not None and root is not None and command.script.is_relative_to(root):
        return command.script.relative_to(root).as_posix()
    return command.name


def find_repository(path: Path) -> Path | None:
    """Find the root of the git repository that a file lies in, going up from it."""
    for folder in path.absolute().parents:
        if (folder / ".git").exists():
            return folder
    return None
