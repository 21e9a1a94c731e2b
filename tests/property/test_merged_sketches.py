"""Quantiles of merged sketches are within the stated error of the exact ones, in any order."""

from __future__ import annotations

import base64
import random
import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lodeline.capture.sampling import SamplingRule, figures, split_rows
from lodeline.ingest.predictions import accept_predictions, summarise_deployment
from lodeline.ingest.sketches import MergedSketches
from lodeline.model import PredictionId
from lodeline.store import open_segment

pytest.importorskip("datasketches")

BLOCK, START = 0x12345, 1_700_000_000_000_000
# Windows of very different sizes and places, ties and constants among them: what goes wrong when
# sketches are averaged instead of merged.
WINDOWS = st.lists(
    st.tuples(
        st.sampled_from(("normal", "ties", "heavy", "constant")),
        st.integers(1, 3_000),
        st.floats(-1e6, 1e6),
    ),
    min_size=1,
    max_size=8,
)


def _draw(shape: str, count: int, place: float, seed: int) -> list[float]:
    drawn = random.Random(f"{shape}{count}{place}{seed}")
    shapes: dict[str, Callable[[], float]] = {
        "normal": lambda: place + drawn.gauss(0, 1 + abs(place)),
        "ties": lambda: float(drawn.randrange(5)),
        "heavy": lambda: drawn.paretovariate(1.1),
        "constant": lambda: place,
    }
    return [shapes[shape]() for _ in range(count)]


def _merged(windows: list[list[float]]) -> dict[str, Any]:
    merged = MergedSketches()
    for window in windows:
        merged.add("x", figures(window))
    found = merged.distribution("x")
    assert found is not None
    return found


def _worst(found: dict[str, Any], exact: list[float]) -> float:
    """How far the ranks asked for are from the places that the values have in all of them."""
    worst = 0.0
    for rank, value in found["quantiles"].items():
        low, high = bisect_left(exact, value), bisect_right(exact, value)
        off = max(low / len(exact) - float(rank), float(rank) - high / len(exact), 0.0)
        worst = max(worst, off)
    return worst


@settings(max_examples=30, deadline=None)
@given(WINDOWS, st.integers(0, 2**32))
def test_merged_quantiles_keep_their_stated_error_in_any_order(
    drawn: list[tuple[str, int, float]], seed: int
) -> None:
    windows = [_draw(*one, seed=seed + i) for i, one in enumerate(drawn)]
    exact = sorted(value for window in windows for value in window)
    shuffled = list(windows)
    random.Random(seed).shuffle(shuffled)
    for order in (windows, windows[::-1], shuffled):
        found = _merged(order)
        assert (found["values"], found["windows"]) == (len(exact), len(windows))
        # The error is stated at 99 % for one quantile; these are many, so twice of it, which is
        # beyond six standard deviations. One more value for the step of the last rank.
        assert _worst(found, exact) <= 2 * found["rankError"] + 1 / len(exact)
        assert 0 <= found["rankError"] < 0.02
    if len(exact) <= 200:
        assert _merged(windows)["rankError"] == 0


def test_the_stated_error_holds_nearly_always_and_is_not_idle() -> None:
    worst = []
    for seed in range(40):
        windows = [_draw("normal", 2_000, 0.0, seed * 100 + i) for i in range(10)]
        exact = sorted(value for window in windows for value in window)
        found = _merged(windows)
        worst.append(_worst(found, exact) / found["rankError"])
    assert sum(one > 1 for one in worst) <= 4
    assert max(worst) > 0.1


def test_a_sketch_that_contradicts_its_figures_is_left_out() -> None:
    honest = figures([1.0, 2.0, 3.0])
    text = base64.b64decode(honest["kll"])
    lies: list[dict[str, Any]] = [
        {"numbers": 4}, {"max": 9.0}, {"kll": "no base 64"}, {"kll": 3}, {"kll": "A" * 20_000},
        {"kll": base64.b64encode(text[:-1]).decode()}, {"kll": base64.b64encode(b"").decode()},
    ]  # fmt: skip
    merged = MergedSketches()
    for lie in lies:
        merged.add("x", {**honest, **lie})
    assert merged.distribution("x") is None
    merged.add("x", honest)
    found = merged.distribution("x")
    assert found is not None
    assert (found["values"], found["windows"], found["quantiles"]["0.5"]) == (3, 1, 2.0)


def test_an_answer_puts_the_sketches_of_all_batches_together(tmp_path: Path) -> None:
    deployment = {"namespace": "prod", "name": "scores", "digest": "sha256:" + "1" * 64}
    reserved = {"type": "reservation", "block": f"{BLOCK:010x}", "time": START, "writer": "1"}
    records: list[dict[str, Any]] = [{**reserved, "deployment": deployment, "run": None}]
    values = [random.Random(7).gauss(0, 1) * i for i in range(6_000)]
    for first in range(0, 6_000, 1_000):
        rows = [
            {"id": str(PredictionId((START + i) * 4096 // 1000, BLOCK, i)), "output": values[i]}
            for i in range(first, first + 1_000)
        ]
        _, summary = split_rows(rows, SamplingRule("*", 0.0))
        assert summary is not None
        if first == 0:
            del summary["columns"]["output"]["kll"]  # A process without the package.
        records.append({**reserved, "type": "predictions", "rows": [], "summary": summary})
    with open_segment(f"sqlite:///{tmp_path}/lodeline.db") as segment:
        assert set(accept_predictions(segment, records)) == {None}
        found = summarise_deployment(segment)
    output = found["columns"]["output"]
    assert (found["count"], found["windows"], found["kept"]) == (6_000, 6, 0)
    assert (output["numbers"], output["min"], output["max"]) == (6_000, min(values), max(values))
    told = output["distribution"]
    assert (told["values"], told["windows"]) == (5_000, 5)
    assert _worst(told, sorted(values[1_000:])) <= 2 * told["rankError"]


HOSTILE = """
import base64, math, random, struct
from datasketches import kll_doubles_sketch
from lodeline.ingest.sketches import MergedSketches

drawn = random.Random(5)
for count in (1, 3, 50, 5_000, 100_000):
    sketch = kll_doubles_sketch(200)
    for _ in range(count):
        sketch.update(drawn.gauss(0, 1))
    whole = sketch.serialize()
    told = {"numbers": count, "min": sketch.get_min_value(), "max": sketch.get_max_value()}
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(drawn.choice((1, 1, 2, 8))):
            data[drawn.randrange(min(len(data), drawn.choice((32, len(data)))))] = drawn.randrange(256)
        if len(data) > 48 and drawn.random() < 0.1:
            at = 8 * drawn.randrange(5, len(data) // 8)
            data[at : at + 8] = struct.pack("<d", drawn.choice((math.nan, math.inf, 1e308)))
        merged = MergedSketches()
        for one in (data, whole, data):
            merged.add("x", {**told, "kll": base64.b64encode(one).decode()})
        found = merged.distribution("x")
        assert found and all(map(math.isfinite, found["quantiles"].values())), data.hex()
print("survived")
"""


def test_bytes_that_are_no_sketch_never_reach_native_code() -> None:
    # A process of its own: what goes wrong there ends it.
    done = subprocess.run([sys.executable, "-c", HOSTILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr
