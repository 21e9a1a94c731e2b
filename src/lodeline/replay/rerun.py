"""Runs a recorded run again and gives the verdict.

1. Read the recipe from the log.
2. Build the mirror: code and inputs, every byte verified.
3. Run the command in it under capture, writes confined to the mirror, determinism variables as
   recorded.
4. Check that the replay used what the record says, and not something beside the mirror.
5. Compare the outputs; note in the log of what the new run is a replay, and its verdict.

The new run has a namespace of its own, so that no question about the original run's jobs and models
meets their replays.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from lodeline.errors import CannotReplayError
from lodeline.model import NodeId
from lodeline.replay import confinement
from lodeline.replay.comparison import Outcome, compare_output, overall
from lodeline.replay.mirror import Mirror, place_code, place_inputs
from lodeline.replay.recipe import Artifact, Recipe, artifacts_of, iter_events, read_recipe
from lodeline.replay.record import REPLAY_NAMESPACE, find_replay, note_verdict
from lodeline.replay.surroundings import (
    check_inputs,
    child_environment,
    differences,
    mirrored_argv,
    refuse_writes_outside,
)
from lodeline.replay.swaps import apply_swaps
from lodeline.settings import store_path


@dataclass(slots=True)
class Replay:
    """One replay.

    Attributes:
        store: URL of the embedded store.
        run_id: of the run to repeat.
        tolerance: see `comparison.compare_output`.
        swaps: nodes whose version replaces the recorded one.
        keep: leave the mirror behind, for a look.
        tell: called with a line at each step.
    """

    store: str
    run_id: str
    tolerance: float = 0.0
    swaps: tuple[NodeId, ...] = ()
    keep: bool = False
    tell: Callable[[str], None] = lambda _: None

    def verdict(self) -> dict[str, Any]:
        """Run it again; the contract's JSON.

        Raises:
            LodelineError: the run is unknown, or the store unreachable.
        """
        root = Path(tempfile.mkdtemp(prefix="lodeline-replay-")).resolve()
        try:
            with closing(self._open()) as segment:
                recipe = read_recipe(segment, self.run_id)
                mirror = Mirror(root)
                started_at = segment.size()
                changed = self._prepare(segment, mirror, recipe)
            exit_code, said = self._run(mirror, recipe)
            answer = self._judge(mirror, changed, exit_code, said, started_at)
        except CannotReplayError as error:
            answer = self._answer("cannot", reason=error.reason)
        finally:
            if self.keep:
                self.tell(f"kept: {root}")
            else:
                shutil.rmtree(root, ignore_errors=True)
        return answer

    def _open(self) -> Any:
        return import_module("lodeline.store").open_segment(self.store, create=False)

    def _prepare(self, segment: Any, mirror: Mirror, recipe: Recipe) -> Recipe:
        """Fill the mirror; gives the recipe with the swaps applied."""
        recipe = apply_swaps(recipe, self.swaps, list(iter_events(segment)) if self.swaps else ())
        roots = _roots(recipe)
        if not confinement.is_available():
            _refuse_outputs_outside(recipe, roots)
        self.tell(f"code: {recipe.code.get('version') or 'as on the command line'}")
        place_code(mirror, recipe)
        needed = inputs_of(recipe)
        self.tell(f"inputs: {len(needed)}, each verified")
        place_inputs(mirror, needed, nearby=roots, find_copies=_Copies(segment))
        mirror.of(recipe.cwd).mkdir(parents=True, exist_ok=True)
        for output in recipe.outputs:
            if output.path is not None:
                mirror.of(output.path).parent.mkdir(parents=True, exist_ok=True)
        (mirror.root / "tmp").mkdir(exist_ok=True)
        return recipe

    def _run(self, mirror: Mirror, recipe: Recipe) -> tuple[int, str]:
        """Run the command in the mirror; its exit status and what it said."""
        # -P: a file of the mirror named like a module of ours or Python's must not shadow it.
        command = [sys.executable, "-P", "-m", "lodeline", "run", "--namespace", REPLAY_NAMESPACE]
        command += ["--job", recipe.job_name]
        command += ["--deterministic"] if recipe.deterministic else []
        command += ["--", *mirrored_argv(mirror, recipe)]
        if confinement.is_available():
            writable = [mirror.root, store_path(self.store).parent]
            launcher = [sys.executable, "-P", "-m", "lodeline.replay.confinement"]
            command = [*launcher, *map(str, writable), "/dev", "--", *command]
        self.tell("running: " + " ".join(recipe.argv))
        log = mirror.root / "tmp" / "said"
        with log.open("wb") as said:
            done = subprocess.run(
                command,
                cwd=mirror.of(recipe.cwd),
                env=child_environment(recipe, store=self.store, tmp=mirror.root / "tmp"),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                check=False,
            )
        return done.returncode, log.read_text(errors="replace")

    def _judge(
        self, mirror: Mirror, recipe: Recipe, exit_code: int, said: str, started_at: int
    ) -> dict[str, Any]:
        with closing(self._open()) as segment:
            found = find_replay(segment, started_at, cwd=str(mirror.of(recipe.cwd)))
            refuse_writes_outside(recipe, said)
            if exit_code != (recipe.exit_code or 0):
                last = (said.strip().splitlines() or ["it said nothing"])[-1]
                answer = self._answer("failed", found, reason=f"exit status {exit_code}: {last}")
            elif found is None:
                raise CannotReplayError(reason=f"the replay left no record: {said.strip()[-400:]}")
            else:
                check_inputs(mirror, recipe, found, swapped=self.swaps)
                answer = self._compare(mirror, recipe, found)
            if found is not None:
                note_verdict(segment, found, of=self.run_id, verdict=answer["verdict"])
        return answer

    def _compare(self, mirror: Mirror, recipe: Recipe, found: Recipe) -> dict[str, Any]:
        logical = {output.path: output.logical for output in found.outputs}
        inputs = [
            mirror.of(i.path) for i in recipe.inputs if i.path and mirror.of(i.path).is_file()
        ]
        outcomes = [
            compare_output(
                mirror,
                output,
                logical=logical.get(str(mirror.of(output.path or ""))),
                inputs=inputs,
                cwd=mirror.of(recipe.cwd),
                tolerance=self.tolerance,
            )
            for output in recipe.outputs
            if output.path is not None and (output.digest or output.parts)
        ]
        if not outcomes:
            raise CannotReplayError(reason="the record has no digest of anything that it wrote")
        return self._answer(
            overall(outcomes), found, outcomes=outcomes, differences=differences(recipe, found)
        )

    def _answer(
        self,
        verdict: str,
        found: Recipe | None = None,
        *,
        outcomes: Sequence[Outcome] = (),
        differences: Sequence[Mapping[str, Any]] = (),
        reason: str | None = None,
    ) -> dict[str, Any]:
        return {
            "run": f"run:{self.run_id}",
            "replay_run": f"run:{found.run_id}" if found else None,
            "verdict": verdict,
            "outputs": [outcome.to_json() for outcome in outcomes],
            "differences": list(differences),
            "reason": reason,
        }


class _Copies:
    """Where bytes of a digest may lie besides their recorded place: wherever the log saw them."""

    def __init__(self, segment: Any) -> None:
        self._segment = segment
        self._paths: dict[str, set[str]] | None = None

    def __call__(self, digest: str) -> Iterable[Path]:
        if self._paths is None:
            self._paths = {}
            for event in iter_events(self._segment):
                for artifact in (
                    *artifacts_of([event], "inputs"),
                    *artifacts_of([event], "outputs"),
                ):
                    if artifact.path and artifact.digest:
                        self._paths.setdefault(artifact.digest, set()).add(artifact.path)
        return [Path(path) for path in sorted(self._paths.get(digest, ()))]


def inputs_of(recipe: Recipe) -> list[Artifact]:
    """What must be there before the run: its inputs but for those it wrote itself, unchanged."""
    written = {(output.path, output.digest) for output in recipe.outputs}
    return [i for i in recipe.inputs if (i.path, i.digest) not in written or i.digest is None]


def _roots(recipe: Recipe) -> list[str]:
    root = recipe.code.get("repositoryRoot")
    return [recipe.cwd, *([root] if root else [])]


def _refuse_outputs_outside(recipe: Recipe, roots: Sequence[str]) -> None:
    """Without confinement only the record can tell what a replay would overwrite."""
    for output in recipe.outputs:
        path = output.path
        if path is not None and not any(Path(path).is_relative_to(root) for root in roots):
            raise CannotReplayError(reason=f"it wrote {path}, outside its working tree")
