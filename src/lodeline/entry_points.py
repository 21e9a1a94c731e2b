"""Entry points of the installed distributions, without `importlib.metadata`.

Each `lodeline run` asks for them, and that module takes longer to load, and to look at some
hundred distributions, than all else that the runner does before the program starts. What it finds
is found here, too (`tests/unit/test_entry_points.py`); where distributions may lie in anything but
folders, it is asked itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder

_INFORMATION = (".dist-info", ".egg-info")


def find_entry_points(group: str, path: Iterable[str] | None = None) -> dict[str, str]:
    """Names and values of one group; of distributions with one name the first on the path counts.

    Args:
        group: such as `lodeline.integrations`.
        path: folders to look in; by default the import path.
    """
    folders = list(sys.path if path is None else path)
    if _needs_asking(folders):
        return _ask(group, folders)
    mark = f"[{group}]".encode()
    seen: set[str] = set()
    found: dict[str, str] = {}
    for folder in folders:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if not name.lower().endswith(_INFORMATION):
                continue
            distribution = _distribution_of(name)
            if distribution in seen:
                continue
            seen.add(distribution)
            text = _read(os.path.join(folder, name, "entry_points.txt"))
            if mark in text:
                found |= _section(text.decode("utf-8", "replace"), group)
    return found


def _needs_asking(folders: list[str]) -> bool:
    """Whether a distribution may be anywhere but in a folder beside the code it describes."""
    for finder in sys.meta_path:
        if finder is not PathFinder and hasattr(finder, "find_distributions"):
            return True
    return any(folder.endswith(".egg") or os.path.isfile(folder) for folder in folders)


def _ask(group: str, folders: list[str]) -> dict[str, str]:
    from importlib.metadata import distributions

    seen: set[str] = set()
    found: dict[str, str] = {}
    for one in distributions(path=folders):
        name = _normalized(one.metadata["Name"] or "")
        if name not in seen:
            seen.add(name)
            found |= {entry.name: entry.value for entry in one.entry_points if entry.group == group}
    return found


def _distribution_of(name: str) -> str:
    return _normalized(name.rpartition(".")[0].partition("-")[0])


def _normalized(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _read(path: str) -> bytes:
    # Without a buffer and a codec: nearly every file that is opened here is of no interest.
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, os.fstat(file).st_size)
    except OSError:
        return b""
    finally:
        os.close(file)


def _section(text: str, group: str) -> dict[str, str]:
    found: dict[str, str] = {}
    current = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            current = line[1:-1].strip()
        elif current == group and line and not line.startswith(("#", ";")):
            name, mark, value = line.partition("=")
            if mark:
                found[name.strip()] = value.strip()
    return found
