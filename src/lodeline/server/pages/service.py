"""What the pages stand on: the caller's questions through the one door, and what the service knows.

A page asks what the API asks, with the caller's authoriser; nothing here reads the graph by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from lodeline.errors import LodelineError
from lodeline.ingest.examination import Findings
from lodeline.limits import SERVER_THREADS_MAX
from lodeline.server.asking import Ask
from lodeline.server.configuration import DEFAULTS, ServerConfiguration
from lodeline.server.endpoints import Caller, Gate
from lodeline.server.segments import Segments

_T = TypeVar("_T")
LookAtSpool = Callable[[str, Findings], None]


@dataclass(slots=True)
class PageService:
    """What every page may use.

    Attributes:
        ask: answers a caller's verb: `ask(caller, "show", {"id": …})`.
        segments: of the service; what is read of them beside `ask` goes through
            `segments.of_caller(caller)` and `segments.authoriser(caller)`.
        gate: knows callers by their requests.
        keys: whether callers need keys.
        waiting: events that wait for a commit.
        configuration: the service's settings.
        look_at_spool: looks at the spool beside a store; `None` where nobody told how.
    """

    ask: Ask
    segments: Segments
    gate: Gate
    keys: bool = False
    waiting: Callable[[], int] = lambda: 0
    configuration: ServerConfiguration = DEFAULTS
    look_at_spool: LookAtSpool | None = None
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(SERVER_THREADS_MAX, thread_name_prefix="lodeline-page")

    async def answer(self, caller: Caller, verb: str, /, **parameters: object) -> dict[str, Any]:
        """Ask beside the loop; parameters that are `None` are left out.

        Raises:
            LodelineError: as the API would answer.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        return await self.run(self.ask, caller, verb, given)

    async def find(
        self, caller: Caller, verb: str, /, **parameters: object
    ) -> tuple[dict[str, Any] | None, str | None]:
        """Ask for a page that stands without it: the answer, or why there is none."""
        try:
            return await self.answer(caller, verb, **parameters), None
        except LodelineError as error:
            return None, str(error)

    async def run(self, function: Callable[..., _T], /, *arguments: Any) -> _T:
        """Run what reads the store beside the loop, in the pages' bounded pool."""
        call = partial(copy_context().run, function, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)
