"""One factor of a run in place of the recorded one: `--with NODE#VERSION`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lodeline.errors import UsageError
from lodeline.model import NodeId
from lodeline.replay.recipe import Artifact, Recipe


def apply_swaps(
    recipe: Recipe, swaps: Sequence[NodeId], events: Iterable[Mapping[str, Any]]
) -> Recipe:
    """Give the recipe with other versions of an input or of the code; pure.

    Args:
        recipe: as recorded.
        swaps: datasets and models among the run's inputs, or its job, each with a version.
        events: the log's, in which the code of other runs is looked up.

    Raises:
        UsageError: a swap names no version, or nothing that the run used.
    """
    for swap in swaps:
        if not swap.version:
            raise UsageError(f"--with needs a version: {swap}#…")
        if swap.kind == "job":
            recipe = replace(recipe, code=_other_code(recipe, swap.version, events))
        else:
            recipe = replace(recipe, inputs=_other_input(recipe, swap))
    return recipe


def _other_input(recipe: Recipe, swap: NodeId) -> tuple[Artifact, ...]:
    if not any(_is_same(artifact, swap) for artifact in recipe.inputs):
        used = ", ".join(str(artifact.node.at("")) for artifact in recipe.inputs) or "nothing"
        raise UsageError(f"the run did not use {swap.at('')}; it used {used}")
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", swap.version):
        raise UsageError(f"not a digest: {swap.version}; write sha256:<64 hex digits>")
    digest = swap.version.removeprefix("sha256:")
    return tuple(
        replace(artifact, node=swap, digest=digest, logical=None, parts=())
        if _is_same(artifact, swap)
        else artifact
        for artifact in recipe.inputs
    )


def _is_same(artifact: Artifact, node: NodeId) -> bool:
    return artifact.node.at("") == node.at("")


def _other_code(
    recipe: Recipe, version: str, events: Iterable[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """The code facet of any run at that version; a bare commit needs none."""
    for event in events:
        facets = event.get("run", {}).get("facets") or {}
        code: Mapping[str, Any] = facets.get("lodeline_code") or {}
        if code.get("version") == version and code.get("path") == recipe.code.get("path"):
            return code
    if re.fullmatch(r"[0-9a-f]{7,64}", version) and recipe.code.get("repositoryRoot"):
        kept = ("repositoryRoot", "path", "remote")
        return {key: recipe.code[key] for key in kept if key in recipe.code} | {
            "commit": version,
            "version": version,
        }
    raise UsageError(f"no run of this program with code {version} is in the record")
