"""Bounds of one question: time and nodes. Past them an answer is incomplete, and says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lodeline.limits import ANSWER_SECONDS_MAX, CLOSURE_DERIVATIONS_MAX, CLOSURE_NODES_MAX


@dataclass(slots=True)
class Budget:
    """What one question may use.

    Attributes:
        seconds: of its time.
        nodes: reached at most.
        derivations: walked at most.
        clock: monotonic seconds.
    """

    seconds: float = ANSWER_SECONDS_MAX
    nodes: int = CLOSURE_NODES_MAX
    derivations: int = CLOSURE_DERIVATIONS_MAX
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def exhausted_by(self, nodes: int, derivations: int = 0) -> tuple[str, str] | None:
        """Tell which bound is passed, as the reason and detail of a gap; `None` while none is.

        Args:
            nodes: reached so far.
            derivations: walked so far.
        """
        if derivations > self.derivations:
            return "size", f"more than {self.derivations} derivations; ask with --depth"
        if nodes > self.nodes:
            return "size", f"more than {self.nodes} nodes; ask with --depth"
        if self.clock() - self._started > self.seconds:
            return "time", f"stopped after {self.seconds:g} s; ask with --depth"
        return None
