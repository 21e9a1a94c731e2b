"""One call that a program made of DuckDB, to be passed on with the caller's variables in sight."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from lodeline.capture.patches import UNSEEN_FILE

# DuckDB is called from this very expression: it looks variables up in the innermost frame.
CODE: Final = compile(
    "__lodeline_call__(*__lodeline_args__, **__lodeline_kwargs__)", UNSEEN_FILE, "eval"
)


class Call:
    """One call.

    Attributes:
        original: DuckDB's function.
        name: its name.
        args: as given; the connection or relation first, where it is a method.
        kwargs: as given.
        method: whether it is one.
    """

    def __init__(
        self,
        original: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
        *,
        method: bool,
    ) -> None:
        self.original = original
        self.name = name
        self.args = args
        self.kwargs = kwargs
        self.method = method
        self._frame = frame
        self._troubles: list[Exception] = []

    @property
    def variables(self) -> Mapping[str, object]:
        """The caller's variables: locals, then globals."""
        return ChainMap(self._frame.f_locals, self._frame.f_globals)

    def run(self) -> Any:
        """Call the original with what was given."""
        return evaluate(
            self.original, self.args, self.kwargs, self._frame.f_locals, self._frame.f_globals
        )

    def with_text(self, text: str) -> Call:
        """The same call with another statement."""
        at = 1 if self.method else 0
        if len(self.args) > at:
            args, kwargs = (*self.args[:at], text, *self.args[at + 1 :]), self.kwargs
        else:
            args, kwargs = self.args, {**self.kwargs, "query": text}
        call = Call(self.original, self.name, args, kwargs, self._frame, method=self.method)
        call._troubles = self._troubles
        return call

    @contextmanager
    def door(self) -> Iterator[None]:
        """Capture's outermost door: our own faults end here, and are told after the call."""
        try:
            yield
        except Exception as error:  # capture must never break what it observes
            self._troubles.append(error)

    def tell_trouble(self, trouble: Callable[[str, BaseException], None]) -> None:
        """Tell the faults that were caught."""
        for error in self._troubles:
            trouble(f"duckdb.{self.name}", error)


def evaluate(
    function: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    variables: Mapping[str, object],
    globals_: dict[str, Any] | None = None,
) -> Any:
    """Call a DuckDB function from a frame whose locals are these variables."""
    names = {
        **variables,
        "__lodeline_call__": function,
        "__lodeline_args__": args,
        "__lodeline_kwargs__": kwargs,
    }
    return eval(CODE, {} if globals_ is None else globals_, names)  # noqa: S307  # a constant expression
