"""What surrounds a replayed program: its arguments, variables and packages, then and now."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lodeline.errors import CannotReplayError
from lodeline.model import NodeId
from lodeline.replay.mirror import Mirror
from lodeline.replay.recipe import Recipe

# What makes a result depend on its surroundings: set as recorded, unset if not recorded.
DETERMINISM_VARIABLES: Final = (
    "CUBLAS_WORKSPACE_CONFIG",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "PYTHONHASHSEED",
    "SOURCE_DATE_EPOCH",
    "TZ",
)
_PYTHON: Final = re.compile(r"python(3(\.\d+)?)?")


def mirrored_argv(mirror: Mirror, recipe: Recipe) -> list[str]:
    """The command line with the record's absolute paths led into the mirror.

    A word, or what follows its `=`, is led there when it names the working directory, the
    repository, an input or an output, or something below the former two. An interpreter that is
    gone is replaced by the present one; the difference then shows among the packages.
    """
    words = list(recipe.argv)
    program = words[0]
    named_by_path = "/" in program and not Path(program).is_file()
    if _PYTHON.fullmatch(Path(program).name) and named_by_path:
        words[0] = sys.executable
    root = recipe.code.get("repositoryRoot")
    folders = [recipe.cwd, *([root] if root else [])]
    files = {a.path for a in (*recipe.inputs, *recipe.outputs) if a.path}
    return [words[0], *(_led(mirror, word, folders, files) for word in words[1:])]


def _led(mirror: Mirror, word: str, folders: Sequence[str], files: set[str]) -> str:
    option, equals, value = word.rpartition("=")
    if not value.startswith("/"):
        return word
    inside = value in files or any(Path(value).is_relative_to(folder) for folder in folders)
    return f"{option}{equals}{mirror.of(value)}" if inside else word


def child_environment(recipe: Recipe, *, store: str, tmp: Path) -> dict[str, str]:
    """Environment of the replayed program: the present one, determinism as recorded."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in DETERMINISM_VARIABLES
        and not name.startswith(("LODELINE_", "OPENLINEAGE_", "GIT_"))
    }
    recorded: Mapping[str, Any] = recipe.environment.get("variables") or {}
    for name in DETERMINISM_VARIABLES:
        if name in recorded:
            environment[name] = str(recorded[name])
    # Last: `python` means what it meant to the recorded run, as long as there is one.
    here = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([environment.get("PATH", os.defpath), here])
    # Its tables are compared as soon as it is gone.
    environment["LODELINE_LOGICAL_DIGESTS"] = "now"
    return environment | {"LODELINE_STORE": store, "TMPDIR": str(tmp)}


def refuse_writes_outside(recipe: Recipe, said: str) -> None:
    """Tell a program that was kept from writing outside the mirror from one that failed.

    Raises:
        CannotReplayError: it complained about one of its recorded outputs, by absolute path.
    """
    if not re.search(r"Permission denied|PermissionError|Read-only", said):
        return
    for output in recipe.outputs:
        if output.path and re.search(rf"(?<![\w/.-]){re.escape(output.path)}", said):
            raise CannotReplayError(
                reason=f"it writes to {output.path} by absolute path, which a replay must not do"
            )


def check_inputs(
    mirror: Mirror, recipe: Recipe, found: Recipe, *, swapped: Sequence[NodeId]
) -> None:
    """Hold what the replay used against the record.

    Raises:
        CannotReplayError: it used other bytes at an absolute path, beside the mirror.
    """
    digests = {i.path: i.digest for i in recipe.inputs if i.path}
    swapped_names = {(node.namespace, node.name) for node in swapped}
    for used in found.inputs:
        if used.path is None or mirror.original(used.path) is not None:
            continue
        recorded = digests.get(used.path)
        if recorded is None:
            continue
        if used.digest != recorded or (used.node.namespace, used.node.name) in swapped_names:
            raise CannotReplayError(
                reason=f"it reads {used.path} by absolute path, and finds other bytes there"
            )


def differences(recipe: Recipe, found: Recipe) -> list[dict[str, Any]]:
    """What differs between the two runs besides their outputs, in the words of `lodeline diff`."""
    changes = [
        *_changed("environment", "package:", *_of(recipe, found, "environment", "packages")),
        *_changed("environment", "variable:", *_of(recipe, found, "environment", "variables")),
        *_changed("environment", "interpreter:", *_of(recipe, found, "environment", "interpreter")),
        *_changed("parameter", "", *_of(recipe, found, "parameters", "parameters")),
        *_changed("metric", "", *_of(recipe, found, "parameters", "metrics")),
    ]
    platforms = (recipe.environment.get("platform"), found.environment.get("platform"))
    if platforms[0] != platforms[1]:
        changes.append(_change("environment", "platform", *platforms))
    return changes


def _of(recipe: Recipe, found: Recipe, facet: str, key: str) -> tuple[Any, Any]:
    return getattr(recipe, facet).get(key) or {}, getattr(found, facet).get(key) or {}


def _changed(
    what: str, prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield _change(what, prefix + name, before.get(name), after.get(name))


def _change(what: str, at: str, before: Any, after: Any) -> dict[str, Any]:
    return {"what": what, "at": at, "before": before, "after": after}
