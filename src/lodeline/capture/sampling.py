"""Sampling where there are too many: which predictions and runs keep their details.

The table `[sampling]` has rules. The *head* of a rule is a share decided by the identifier before
anything happens; its *tail* keeps, whatever the share, what turned out to matter: failures always,
and what was slow. What is not kept is summarised, so that it is counted and its absence is told
from a loss.
"""

from __future__ import annotations

import base64
import hashlib
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final

from lodeline.errors import UsageError
from lodeline.limits import FIGURES_IN_ONE_GO, SUMMARY_COLUMNS_MAX
from lodeline.model.sampling import is_sampled
from lodeline.records import value
from lodeline.settings import sampling_table

_KINDS: Final = {"predictions": "deployment", "runs": "job"}


@value
class SamplingRule:
    """One rule.

    Attributes:
        pattern: glob of `namespace:name` of the deployment or job.
        head: the share that is kept by identifier, from 0 to 1.
        slow_ms: what took longer is kept; 0: nothing for that.
    """

    pattern: str
    head: float
    slow_ms: float = 0.0

    def keeps(self, identifier: str, *, failed: bool, took_us: float = 0.0) -> bool:
        """Whether the details of one are kept."""
        slow = self.slow_ms > 0 and took_us > self.slow_ms * 1000
        return failed or slow or is_sampled(identifier, self.head)


def find_rule(kind: str, name: str) -> SamplingRule | None:
    """Find the first rule for a deployment or job.

    Args:
        kind: `predictions` or `runs`.
        name: `namespace:name`.

    Raises:
        UsageError: the table cannot be read.
    """
    rules = read_rules().get(kind, ())
    return next((rule for rule in rules if fnmatchcase(name, rule.pattern)), None)


def read_rules() -> Mapping[str, tuple[SamplingRule, ...]]:
    """Read the table of the settings here."""
    import os

    return _read(os.getcwd(), os.environ.get("LODELINE_SAMPLING", ""))


@lru_cache(maxsize=8)
def _read(folder: str, named: str) -> Mapping[str, tuple[SamplingRule, ...]]:
    del folder, named
    return parse_sampling(sampling_table() or {})


def parse_sampling(table: Mapping[str, Any]) -> Mapping[str, tuple[SamplingRule, ...]]:
    """Read rules.

    Raises:
        UsageError: something in it is not known here, or out of its range.
    """
    if table.keys() - _KINDS.keys():
        raise UsageError("sampling: write [[sampling.predictions]] or [[sampling.runs]]")
    return {
        kind: tuple(_parse_rule(kind, member, entry) for entry in table.get(kind, ()))
        for kind, member in _KINDS.items()
    }


def _parse_rule(kind: str, member: str, entry: Any) -> SamplingRule:
    known = {member, "head", "slow_ms"}
    if not isinstance(entry, Mapping) or entry.keys() - known or "head" not in entry:
        raise UsageError(f"sampling.{kind}: a rule has {member}, head, and may have slow_ms")
    head, slow, pattern = entry["head"], entry.get("slow_ms", 0), entry.get(member, "*")
    numbers = all(isinstance(n, int | float) and not isinstance(n, bool) for n in (head, slow))
    if not numbers or not 0 <= head <= 1 or slow < 0 or not isinstance(pattern, str):
        raise UsageError(f"sampling.{kind}: head is a share from 0 to 1, slow_ms at least 0")
    return SamplingRule(pattern, float(head), float(slow))


def split_rows(
    rows: Sequence[dict[str, Any]], rule: SamplingRule
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Split predictions into those kept and a summary of the others.

    Args:
        rows: records of one block.
        rule: of their deployment.

    Returns:
        The kept, and the summary as it is delivered; `None` when all are kept.
    """
    kept = [row for row in rows if _is_kept(row, rule)]
    known = {row["id"] for row in kept}
    others = [row for row in rows if row["id"] not in known]
    return kept, summarise(others, rule) if others else None


def _is_kept(row: Mapping[str, Any], rule: SamplingRule) -> bool:
    status = row.get("status")
    failed = bool(
        row.get("error") or row.get("gaps") or (isinstance(status, int) and status >= 400)
    )
    return rule.keeps(row["id"], failed=failed, took_us=row.get("latencyUs") or 0)


def summarise(rows: Sequence[dict[str, Any]], rule: SamplingRule) -> dict[str, Any]:
    """Summarise predictions: which, how many, exact figures of numbers, sketches, a digest."""
    from lodeline.model import find_prediction_id  # not for the rules of runs

    drawn = [found for row in rows if (found := find_prediction_id(row["id"])) is not None]
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for name in ("features", "output"):
            _collect(columns, name, row.get(name))
    columns["latencyUs"] = [row.get("latencyUs") for row in rows]
    from lodeline.wire import canonical_bytes  # nor this

    digest = hashlib.sha256(canonical_bytes(list(rows))).hexdigest()
    return {
        "count": len(rows),
        "counters": list(_ranges(sorted(one.counter for one in drawn))),
        "firstTime": str(min(one.time_us for one in drawn)),
        "lastTime": str(max(one.time_us for one in drawn)),
        "head": rule.head,
        "digest": f"sha256:{digest}",
        "columns": {name: figures(values) for name, values in columns.items()},
    }


def _collect(columns: dict[str, list[Any]], name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, member in value.items():
            _collect(columns, f"{name}.{key}", member)
    elif isinstance(value, list):
        for member in value:
            _collect(columns, name, member)
    elif name in columns or len(columns) < SUMMARY_COLUMNS_MAX:
        columns.setdefault(name, []).append(value)


def figures(values: Iterable[Any]) -> dict[str, Any]:
    """Give exact figures of one column, and a sketch of its distribution where that is at hand."""
    found = ColumnFigures()
    for one in values:
        found.add(one)
    return found.told()


class ColumnFigures:
    """Exact figures of a column that grows, and a sketch of its distribution.

    Texts are counted and nothing else: a summary holds no value that is not a number.
    """

    __slots__ = ("_fresh", "_sketch", "count", "least", "most", "nulls", "numbers", "total")

    def __init__(self) -> None:
        self.count = self.nulls = self.numbers = 0
        self.least = self.most = self.total = 0.0
        self._fresh: list[float] = []
        self._sketch: Any = None

    def add(self, value: Any) -> None:
        """Count one value."""
        self.count += 1
        if value is None:
            self.nulls += 1
        elif isinstance(value, int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                # An integer that no float holds is no number to those who read figures.
                return
            if math.isfinite(number):
                self._fresh.append(number)
                if len(self._fresh) >= FIGURES_IN_ONE_GO:
                    self._fold()

    def _fold(self) -> None:
        fresh = self._fresh
        if not fresh:
            return
        self._fresh = []
        if self.numbers:
            self.least, self.most = min(self.least, *fresh), max(self.most, *fresh)
        else:
            self.least, self.most = min(fresh), max(fresh)
            self._sketch = _begin_sketch()
        try:
            self.total = math.fsum((self.total, *fresh))
        except OverflowError:
            # Finite numbers may add up to more than a float holds, and JSON has no infinity.
            self.total = math.copysign(sys.float_info.max, sum(fresh))
        self.numbers += len(fresh)
        if self._sketch is not None:
            for number in fresh:
                self._sketch.update(number)

    def told(self) -> dict[str, Any]:
        """Give what is known so far."""
        self._fold()
        found: dict[str, Any] = {
            "count": self.count,
            "nulls": self.nulls,
            "numbers": self.numbers,
        }
        if self.numbers:
            found |= {"min": self.least, "max": self.most, "sum": self.total}
            if self._sketch is not None:
                found["kll"] = base64.b64encode(self._sketch.serialize()).decode()
        return found


def _begin_sketch() -> Any:
    """A KLL sketch of Apache DataSketches; `None` without the package."""
    try:
        from datasketches import kll_doubles_sketch
    except ImportError:
        return None
    return kll_doubles_sketch(200)


def _ranges(counters: Sequence[int]) -> Iterable[list[int]]:
    """Write sorted counters as ranges, both ends included."""
    start = end = -1
    for counter in counters:
        if start >= 0 and counter == end + 1:
            end = counter
            continue
        if start >= 0:
            yield [start, end]
        start = end = counter
    if start >= 0:
        yield [start, end]
