"""Asks two models about the same rows: `python -m … TOLERANCE RECORDED REPLAYED INPUT…`.

The rows come from the first of the run's inputs that holds every feature of the model, evenly
spaced over it. The answer is one line of JSON. It runs in a process of its own, since loading a
pickled model runs the code inside.
"""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lodeline.limits import PROBE_ROWS_MAX


def main(argv: Sequence[str]) -> None:
    """Compare, and print what was found."""
    # Last, so that nothing in the working directory shadows a module.
    sys.path.append(str(Path.cwd()))
    tolerance, recorded, replayed, *inputs = argv
    same, detail = _compare(
        float(tolerance), Path(recorded), Path(replayed), [Path(path) for path in inputs]
    )
    print(json.dumps({"same": same, "detail": detail}))  # noqa: T201  # the parent reads it


def _compare(
    tolerance: float, recorded: Path, replayed: Path, inputs: Sequence[Path]
) -> tuple[bool, str]:
    first, second = _load(recorded), _load(replayed)
    features = [str(name) for name in getattr(first, "feature_names_in_", ())]
    if not features:
        return False, "other bytes; the model does not name its features, so none could be compared"
    rows = next(
        (rows for path in inputs if (rows := _probe_rows(path, features)) is not None), None
    )
    if rows is None:
        return False, "other bytes; no recorded input holds the model's features to compare on"
    answers = [name for name in ("predict_proba", "predict") if hasattr(first, name)]
    for name in answers:
        worst = _difference(getattr(first, name)(rows), getattr(second, name)(rows))
        if not worst <= tolerance:
            return False, f"{name} differs by up to {worst:g} on {len(rows)} recorded rows"
    said = f"within {tolerance:g}" if tolerance else "exactly"
    return bool(answers), f"other bytes, but predicts the same {said} on {len(rows)} recorded rows"


def _load(path: Path) -> Any:
    try:
        return importlib.import_module("joblib").load(path)
    except ImportError:
        return pickle.loads(path.read_bytes())  # noqa: S301  # the model that the run itself wrote


def _probe_rows(path: Path, features: Sequence[str]) -> Any:
    pandas = importlib.import_module("pandas")
    readers = {".parquet": pandas.read_parquet, ".csv": pandas.read_csv}
    reader = readers.get(path.suffix)
    if reader is None:
        return None
    frame = reader(path)
    if not set(features) <= set(frame.columns):
        return None
    step = max(1, len(frame) // PROBE_ROWS_MAX)
    return frame[list(features)].iloc[::step][:PROBE_ROWS_MAX]


def _difference(a: Any, b: Any) -> float:
    """Greatest absolute difference; infinite where the answers aren't numbers and not the same."""
    numpy = importlib.import_module("numpy")
    left, right = numpy.asarray(a), numpy.asarray(b)
    if left.shape != right.shape:
        return float("inf")
    if not (numpy.issubdtype(left.dtype, numpy.number) and left.size):
        return 0.0 if numpy.array_equal(left, right) else float("inf")
    return float(numpy.max(numpy.abs(left.astype(float) - right.astype(float))))


if __name__ == "__main__":
    main(sys.argv[1:])
