"""Composing steps: from some rows of one node to the rows behind them, or ahead of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lodeline.errors import MissingLinksError
from lodeline.fold.row_claims import MEMORY
from lodeline.model import NodeId
from lodeline.query.answers import Gap
from lodeline.query.bounds import Budget
from lodeline.query.visibility import hidden_gap
from lodeline.rows.links import LinkReader
from lodeline.rows.steps import StepIndex, StoredStep

Rows = Any


@dataclass
class FollowedStep:
    """A step that the answer used, and over how many rows of each end."""

    step: StoredStep
    output_rows: int = 0
    input_rows: int = 0


@dataclass
class Composition:
    """What was reached.

    Attributes:
        rows: by node with version: row numbers; `None` for a model, which has none.
        depths: steps from the root.
        steps: that were followed, in order.
        gaps: what could not be.
    """

    rows: dict[NodeId, Rows | None] = field(default_factory=dict)
    depths: dict[NodeId, int] = field(default_factory=dict)
    steps: dict[tuple[object, ...], FollowedStep] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)

    def add_gap(self, gap: Gap) -> None:
        """Take a gap in, once."""
        if gap not in self.gaps:
            self.gaps.append(gap)


class Composer:
    """Walks steps breadth first; rows already seen of a node are not followed again."""

    def __init__(
        self,
        index: StepIndex,
        links: LinkReader,
        budget: Budget,
        *,
        may_see: Callable[[NodeId], bool] = lambda _node: True,
    ) -> None:
        self._index = index
        self._links = links
        self._budget = budget
        self._may_see = may_see

    def walk(self, roots: dict[NodeId, Rows | None], *, back: bool) -> Composition:
        """Compose from some rows of some nodes.

        Args:
            roots: rows by node with version; `None` for all rows, or for a model.
            back: towards sources, else towards what was made.
        """
        import numpy as np

        found = Composition()
        waiting: list[tuple[NodeId, Rows | None, int]] = []
        for node, rows in roots.items():
            found.rows[node], found.depths[node] = rows, 0
            waiting.append((node, rows, 0))
        while waiting:
            node, rows, depth = waiting.pop(0)
            passed = self._budget.exhausted_by(len(found.rows))
            if passed is not None:
                found.add_gap(Gap(str(node), *passed))
                break
            for step in self._index.into(node) if back else self._index.out_of(node):
                other = step.input if back else step.output
                if not self._may_see(other):
                    # Not even how many rows of it: the step stands there, and leads nowhere.
                    found.steps.setdefault(step.content, FollowedStep(step))
                    found.add_gap(hidden_gap(node))
                    continue
                reached = self._follow(step, rows, found, back=back)
                if reached is None or not len(reached):
                    continue
                self._note(found, step, rows, reached, back=back)
                if other.kind == "model":
                    found.rows.setdefault(other, None)
                    found.depths.setdefault(other, depth + 1)
                    continue
                known = found.rows.get(other)
                news = reached if known is None else np.setdiff1d(reached, known)
                if other in found.rows and known is None:
                    continue
                if len(news):
                    found.rows[other] = news if known is None else np.union1d(known, news)
                    found.depths.setdefault(other, depth + 1)
                    waiting.append((other, news, depth + 1))
        return found

    def _follow(
        self, step: StoredStep, rows: Rows | None, found: Composition, *, back: bool
    ) -> Rows | None:
        for operator, detail in step.gaps:
            found.add_gap(Gap(str(step.output), "capture", f"{operator}: {detail}"))
        try:
            erased = self._links.count_erased(step, rows if back else None)
            if erased:
                found.add_gap(Gap(str(step.output), "erased", f"links of {erased} rows"))
            if back:
                return self._links.back(step, rows)
            import numpy as np

            return self._links.forward(step, np.arange(0) if rows is None else rows)
        except MissingLinksError as error:
            found.add_gap(Gap(str(step.output), error.reason, str(error)))
            return None

    def _note(
        self, found: Composition, step: StoredStep, rows: Rows | None, reached: Rows, *, back: bool
    ) -> None:
        followed = found.steps.setdefault(step.content, FollowedStep(step))
        count = step.rows if rows is None else len(rows)
        if back:
            followed.output_rows += count
            followed.input_rows += len(reached)
        else:
            followed.input_rows += count
            followed.output_rows += len(reached)


def is_memory(node: NodeId) -> bool:
    """Whether a node exists only between two steps of one process."""
    return node.namespace == MEMORY
