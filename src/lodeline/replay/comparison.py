"""Sets what a run generated beside what its replay generated.

Bytes first: equal digests are `identical`. Else the same content counts as `equal`: tables with the
same logical digest, models that predict the same on rows of their recorded inputs, and, within a
tolerance that the caller states, numbers that are near. What remains is `different`. Anything but
bytes needs what was recorded to still be there, at its recorded digest.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lodeline.limits import PROBE_SECONDS_MAX
from lodeline.replay.mirror import Mirror, digest_of
from lodeline.replay.recipe import Artifact, Part

VERDICTS: Final = ("identical", "equal", "different")
_TABLES: Final = {".parquet", ".csv", ".feather", ".arrow"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One output, twice.

    Attributes:
        node: identifier of what was recorded.
        recorded: version that was recorded.
        replayed: version that came out; `None` when nothing did.
        verdict: one of `VERDICTS`.
        detail: the evidence, where digests alone don't say it.
    """

    node: str
    recorded: str | None
    replayed: str | None
    verdict: str
    detail: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """Give the contract's keys, and `detail` where there is one."""
        answer = {
            "id": self.node,
            "recorded": self.recorded,
            "replayed": self.replayed,
            "verdict": self.verdict,
        }
        return answer | ({"detail": self.detail} if self.detail else {})


def overall(outcomes: Iterable[Outcome]) -> str:
    """The least favourable verdict of several."""
    return max((outcome.verdict for outcome in outcomes), key=VERDICTS.index)


def compare_output(
    mirror: Mirror,
    recorded: Artifact,
    *,
    logical: str | None,
    inputs: Iterable[Path],
    cwd: Path,
    tolerance: float,
) -> Outcome:
    """Compare one output with its file in the mirror.

    Args:
        mirror: the tree that the replay ran in.
        recorded: the output as recorded; a file.
        logical: logical digest of the replayed output, when capture found one.
        inputs: the replay's input files, from which probe rows are taken.
        cwd: the replay's working directory, where models may find their classes.
        tolerance: greatest absolute or relative difference of numbers that counts as none.
    """
    assert recorded.path is not None
    node = str(recorded.node)
    replayed_file = mirror.of(recorded.path)
    version = f"sha256:{recorded.digest}" if recorded.digest else None
    if recorded.parts:
        return _compare_parts(mirror, recorded, version)
    if not replayed_file.is_file():
        return Outcome(node, version, None, "different", "the replay did not write it")
    digest = digest_of(replayed_file)
    replayed = f"sha256:{digest}"
    if digest == recorded.digest:
        return Outcome(node, version, replayed, "identical")
    if logical is not None and logical == recorded.logical:
        return Outcome(node, version, replayed, "equal", "the same rows in other bytes")
    original = Path(recorded.path)
    if not original.is_file() or digest_of(original) != recorded.digest:
        return Outcome(
            node,
            version,
            replayed,
            "different",
            "the recorded bytes are gone, only digests compared",
        )
    if recorded.node.kind == "model":
        same, detail = compare_models(original, replayed_file, inputs, cwd=cwd, tolerance=tolerance)
    else:
        same, detail = compare_files(original, replayed_file, tolerance=tolerance)
    return Outcome(node, version, replayed, "equal" if same else "different", detail)


def _compare_parts(mirror: Mirror, recorded: Artifact, version: str | None) -> Outcome:
    assert recorded.path is not None
    folder = mirror.of(recorded.path)
    wrong = [part.key for part in recorded.parts if not _has(folder, part)]
    if not wrong:
        return Outcome(str(recorded.node), version, version, "identical")
    detail = f"{len(wrong)} of {len(recorded.parts)} files differ, {wrong[0]} first"
    return Outcome(str(recorded.node), version, None, "different", detail)


def _has(folder: Path, part: Part) -> bool:
    path = folder / part.key
    return path.is_file() and digest_of(path) == part.digest.removeprefix("sha256:")


def compare_models(
    recorded: Path, replayed: Path, inputs: Iterable[Path], *, cwd: Path, tolerance: float
) -> tuple[bool, str | None]:
    """Whether two models predict the same on rows of the run's inputs.

    Models are code, and loading one runs it; that happens in a process of its own.
    """
    command = [sys.executable, "-P", "-m", "lodeline.replay.probes", str(tolerance)]
    command += [str(recorded), str(replayed), *map(str, inputs)]
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | {"LODELINE_DISABLED": "1"},
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS_MAX,
            check=False,
        )
        answer = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        return False, "other bytes; their predictions could not be compared"
    return bool(answer["same"]), str(answer["detail"])


def compare_files(recorded: Path, replayed: Path, *, tolerance: float) -> tuple[bool, str | None]:
    """Whether two files hold the same up to a tolerance of their numbers."""
    if tolerance <= 0:
        return False, None
    if recorded.suffix == ".json":
        try:
            same = is_near(
                json.loads(recorded.read_text()), json.loads(replayed.read_text()), tolerance
            )
        except ValueError:
            return False, "not JSON"
        return same, f"numbers compared within {tolerance:g}"
    if recorded.suffix in _TABLES:
        return _compare_tables(recorded, replayed, tolerance=tolerance)
    return False, f"no comparison within a tolerance for {recorded.suffix or 'such'} files"


def is_near(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two JSON values are the same but for numbers that differ by at most `tolerance`."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(is_near(a[key], b[key], tolerance) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(is_near(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _compare_tables(recorded: Path, replayed: Path, *, tolerance: float) -> tuple[bool, str | None]:
    """Compare row by row in the files' order; DuckDB reads all of these formats."""
    try:
        import duckdb
    except ImportError:
        return False, "comparing tables within a tolerance needs duckdb"
    with duckdb.connect() as connection:
        a, b = (_relation(path) for path in (recorded, replayed))
        columns = connection.execute(f"DESCRIBE SELECT * FROM {a}").fetchall()
        if columns != connection.execute(f"DESCRIBE SELECT * FROM {b}").fetchall():
            return False, "other columns"
        counts = [
            connection.execute(f"SELECT count(*) FROM {side}").fetchall()[0][0] for side in (a, b)
        ]
        if counts[0] != counts[1]:
            return False, f"{counts[0]} rows recorded, {counts[1]} replayed"
        unequal = " OR ".join(_inequality(name, kind, tolerance) for name, kind, *_ in columns)
        [(different,)] = connection.execute(
            f"SELECT count(*) FROM (SELECT * FROM {a}) AS a"
            f" POSITIONAL JOIN (SELECT * FROM {b}) AS b WHERE {unequal}"
        ).fetchall()
    return different == 0, f"{different} of {counts[0]} rows differ by more than {tolerance:g}"


def _relation(path: Path) -> str:
    literal = "'" + str(path).replace("'", "''") + "'"
    reader = {".parquet": "read_parquet", ".csv": "read_csv"}.get(path.suffix)
    return f"{reader}({literal})" if reader else literal


def _inequality(name: str, kind: str, tolerance: float) -> str:
    column = '"' + name.replace('"', '""') + '"'
    if kind in {"FLOAT", "DOUBLE"}:
        a, b = f"a.{column}", f"b.{column}"
        near = f"abs({a} - {b}) <= {tolerance} * greatest(1, abs({a}), abs({b}))"
        return f"NOT coalesce({near} OR {a} = {b}, {a} IS NOT DISTINCT FROM {b})"
    return f"a.{column} IS DISTINCT FROM b.{column}"
