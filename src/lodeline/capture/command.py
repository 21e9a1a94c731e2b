"""Reading a command line: which job is this?

The default job name is the script's path relative to its repository root, else its file name;
for `-m` the module's name; for another program its file name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# Options of the interpreter that take a value in the next word.
_WITH_VALUE = frozenset("WX")


class Command(NamedTuple):
    """What a command line runs; no dataclass, whose module every observed program would load.

    Attributes:
        script: absolute path of the Python script, when it runs one.
        module: module name after `-m`, when given.
        name: what to call it, for want of a script in a repository.
        text: the code after `-c`.
    """

    script: Path | None
    module: str | None
    name: str
    text: str = ""


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
        path = folder / argv[0] if argv else folder
        own = path.suffix == ".py" and path.is_file()
        return Command(path.absolute() if own else None, None, program)
    while words:
        word = words.pop(0)
        if word in {"-m", "-c"}:
            return _of_option(word, words[0] if words else "")
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
    if command.script is not None and root is not None and command.script.is_relative_to(root):
        return command.script.relative_to(root).as_posix()
    return command.name


def find_repository(path: Path) -> Path | None:
    """Find the root of the git repository that a file lies in, going up from it."""
    for folder in path.absolute().parents:
        if (folder / ".git").exists():
            return folder
    return None
