"""Wrapping foreign functions: the one way integrations patch what has no public hook.

A wrapper calls the original with exactly what it was given, hands out exactly what came back, and
lets exactly its exception pass; what we do with it afterwards is behind a door that catches our
own faults, counts them and reports a gap.

Two traces of a wrapper could show in a program's output, and are removed:

- A warning's `stacklevel` would count our frame. Its code therefore claims a file name that the
  framework's own search skips (pandas, polars look for their directory), or that `warnings` skips
  (frames of the import system).
- An uncaught exception's traceback would list our frame; `strip_traceback` takes it out before
  the interpreter prints.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, Final
from weakref import ref

from lodeline.capture.flow import PLAIN, identity, itself
from lodeline.capture.recorder import RECORDER
from lodeline.limits import FLOW_MEMBERS_MAX

After = Callable[[Any, tuple[Any, ...], dict[str, Any]], object]
Before = Callable[[tuple[Any, ...], dict[str, Any]], object]
Around = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], object]

# `warnings.warn` skips frames whose file name has both "importlib" and "_bootstrap".
UNSEEN_FILE: Final = "<frozen importlib._bootstrap lodeline>"

_CODES: Final[set[CodeType]] = set()
_RENAMED: Final[dict[tuple[CodeType, str, tuple[str, ...]], CodeType]] = {}


class Patches:
    """The patches of one integration, undone together.

    Args:
        integration: its name, for gaps.
        file: the file name that wrappers claim.
    """

    def __init__(self, integration: str, *, file: str = UNSEEN_FILE) -> None:
        self.integration = integration
        self.file = file
        # Acts, and what stood at (owner, name): not a function for each of pandas's hundreds, which
        # would stay and be looked through at each of the program's collections of garbage.
        self._undo: list[Callable[[], None] | tuple[Any, str, object]] = []

    def undo(self) -> None:
        """Put every original back, the last patch first."""
        while self._undo:
            last = self._undo.pop()
            if not isinstance(last, tuple):
                last()
            elif last[2] is _ABSENT:
                delattr(last[0], last[1])
            else:
                setattr(*last)

    def hide(self, code: CodeType) -> None:
        """Keep frames of this code out of the program's tracebacks, too."""
        _CODES.add(code)

    def place_warnings(self) -> None:
        """Have warnings of native code name the program's line, not the wrapper's around it.

        Native code warns at the frame on top, and no file name makes that one be skipped.
        """
        import warnings

        original = getattr(warnings, "_showwarnmsg", None)  # what the interpreter itself calls
        if original is None:
            return

        def lodeline(message: Any) -> Any:
            if message.filename == self.file:
                frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # documented
                while frame is not None and frame.f_code in _CODES:
                    frame = frame.f_back
                if frame is not None:
                    message.filename, message.lineno = frame.f_code.co_filename, frame.f_lineno
            return original(message)

        self.replace(warnings, "_showwarnmsg", self.finish(lodeline, original))

    def on_undo(self, act: Callable[[], None]) -> None:
        """Have something more done by `undo`."""
        self._undo.append(act)

    def replace(self, owner: Any, name: str, value: object) -> None:
        """Set an attribute, remembering what stood in the owner's own dictionary."""
        original = vars(owner).get(name, _ABSENT)
        setattr(owner, name, value)
        self._undo.append((owner, name, original))

    def door(self, owner: Any, name: str, after: After) -> None:
        """Observe a reader or writer: after it returned, `after(result, args, kwargs)` is called.

        Plain files that it opens are its own business and are not recorded apart. A name that
        this version of the framework lacks is skipped.
        """
        original = vars(owner).get(name)
        if original is None:
            return
        where = f"{self.integration}.{name}"
        self.wrap(owner, name, original, lambda f: _door(f, self._guarded(where, after)))

    def after(self, owner: Any, name: str, after: After) -> None:
        """Observe every call that succeeds; nothing else changes meanwhile."""
        self._after(owner, name, after, _calling)

    def around(self, owner: Any, name: str, before: Before, after: Around) -> None:
        """Observe a call from before it: `before(args, kwargs)` gives what `after` is told.

        Where the call fails, `after` is not called.
        """
        original = vars(owner).get(name)
        if original is None:
            return
        where = f"{self.integration}.{name}"

        def guarded(act: Callable[..., Any], *args: Any) -> Any:
            try:
                return act(*args)
            except Exception as error:  # capture's outermost door
                RECORDER.trouble(where, error)
                return None

        def make(function: Any) -> Any:
            def lodeline(*args: Any, **kwargs: Any) -> Any:
                told = guarded(before, args, kwargs)
                result = function(*args, **kwargs)
                guarded(after, told, result, args, kwargs)
                return result

            return lodeline

        self.wrap(owner, name, original, make)

    def after_awaited(self, owner: Any, name: str, after: After) -> None:
        """Observe every call of a coroutine function that succeeds."""
        self._after(owner, name, after, _awaiting)

    def streaming(self, owner: Any, name: str, after: After) -> None:
        """Observe a generator function, of either kind: `after` is called when it ends well."""
        original = vars(owner).get(name)
        if original is not None:
            awaited = getattr(original, "__code__", None) and (
                original.__code__.co_flags & _ASYNC_GENERATOR
            )
            self._after(owner, name, after, _streaming_awaited if awaited else _streaming)

    def _after(
        self, owner: Any, name: str, after: After, make: Callable[[Any, After], Any]
    ) -> None:
        original = vars(owner).get(name)
        if original is not None:
            where = f"{self.integration}.{name}"
            self.wrap(owner, name, original, lambda f: make(f, self._guarded(where, after)))

    def passage(self, owner: Any, name: str, *, data: bool = False, mutates: bool = False) -> None:
        """Observe an operation in memory: its result inherits the flows of its operands.

        Args:
            owner: class or module.
            name: attribute; skipped when missing or not a function.
            data: plain lists and dicts among the arguments are data.
            mutates: the first operand inherits too.
        """
        original = vars(owner).get(name)
        if original is None:
            return
        where = f"{self.integration}.{name}"
        if mutates:
            inherit = functools.partial(_inherit_mutating, where, data)
            self.wrap(owner, name, original, lambda f: _passage(f, inherit))
        elif _takes_two(original):
            self.wrap(owner, name, original, lambda f: _passage_of_two(f, where, data))
        else:
            inherit = functools.partial(_inherit, where, data)
            self.wrap(owner, name, original, lambda f: _passage(f, inherit))

    def iteration(self, owner: Any, name: str) -> None:
        """Observe a method that gives an iterator: what it yields inherits from its object."""
        original = vars(owner).get(name)
        if isinstance(original, FunctionType):
            where = f"{self.integration}.{name}"
            self.wrap(owner, name, original, lambda f: _iteration(f, where))

    def feeding(self, owner: Any, name: str, *, data: bool = False) -> None:
        """Observe a method that takes data in: its object inherits the flows of the arguments.

        Args:
            owner: class.
            name: method; skipped when missing.
            data: plain lists and dicts among the arguments are data.
        """
        original = vars(owner).get(name)
        if original is None:
            return
        where = f"{self.integration}.{name}"
        inherit = functools.partial(_inherit_feeding, where, data)
        self.wrap(owner, name, original, lambda f: _passage(f, inherit))

    def outermost(self, owner: Any, name: str, after: After) -> None:
        """Observe a call that calls others of its kind: `after` is called for the outermost."""
        original = vars(owner).get(name)
        if original is None:
            return
        where = f"{self.integration}.{name}"
        self.wrap(owner, name, original, lambda f: _outermost(f, self._guarded(where, after)))

    def _guarded(self, where: str, after: After) -> After:
        def guarded(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            try:
                after(result, args, kwargs)
            except Exception as error:  # capture's outermost door
                RECORDER.trouble(where, error)

        return guarded

    def wrap(self, owner: Any, name: str, original: Any, make: Callable[[Any], Any]) -> None:
        """Put `make(original)` in the place of a function, method or property."""
        if isinstance(original, property):
            if original.fget is not None:
                got = self.finish(make(original.fget), original.fget)
                self.replace(
                    owner, name, property(got, original.fset, original.fdel, original.__doc__)
                )
            return
        if isinstance(original, (classmethod, staticmethod)):
            inner = original.__func__
            self.replace(owner, name, type(original)(self.finish(make(inner), inner)))
            return
        if callable(original):
            self.replace(owner, name, self.finish(make(original), original))

    def finish(self, wrapper: Any, original: Any) -> Any:
        """Give a wrapper the original's name and papers, and hide its frame."""
        plain = wrapper.__code__
        # Two parameters that are named in a call must be the original's.
        both = _takes_two(wrapper) and _takes_two(original)
        named = original.__code__.co_varnames[:2] if both else ()
        code = _RENAMED.get((plain, self.file, named))
        if code is None:
            names = named + plain.co_varnames[len(named) :]
            code = plain.replace(co_filename=self.file, co_varnames=names)
            _RENAMED[plain, self.file, named] = code
            _CODES.add(code)
        wrapper.__code__ = code
        return functools.update_wrapper(wrapper, original)


_ABSENT: Final = object()
# `inspect.CO_ASYNC_GENERATOR`, without importing `inspect`.
_ASYNC_GENERATOR: Final = 0x200
# `inspect.CO_VARARGS | inspect.CO_VARKEYWORDS`.
_VARIABLE: Final = 0x04 | 0x08


def _door(original: Any, after: After) -> Any:
    local = RECORDER.local

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        if local.suspended:
            return original(*args, **kwargs)
        local.suspended = 1
        local.stored = RECORDER.stored
        try:
            result = original(*args, **kwargs)
        finally:
            local.suspended = 0
        after(result, args, kwargs)
        return result

    return lodeline


def _calling(original: Any, after: After) -> Any:
    def lodeline(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        after(result, args, kwargs)
        return result

    return lodeline


def _awaiting(original: Any, after: After) -> Any:
    async def lodeline(*args: Any, **kwargs: Any) -> Any:
        result = await original(*args, **kwargs)
        after(result, args, kwargs)
        return result

    return lodeline


def _streaming(original: Any, after: After) -> Any:
    def lodeline(*args: Any, **kwargs: Any) -> Any:
        items = original(*args, **kwargs)
        try:
            yield from items
        except GeneratorExit:
            after(None, args, kwargs)
            raise
        after(None, args, kwargs)

    return lodeline


def _streaming_awaited(original: Any, after: After) -> Any:
    async def lodeline(*args: Any, **kwargs: Any) -> Any:
        items = original(*args, **kwargs)
        try:
            async for item in items:
                yield item
        except GeneratorExit:
            await items.aclose()
            after(None, args, kwargs)
            raise
        after(None, args, kwargs)

    return lodeline


def _passage(original: Any, inherit: Callable[..., None]) -> Any:
    local, flow = RECORDER.local, RECORDER.flow

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        state = local.state
        # Before anything was read, nothing can come from anywhere.
        if state.depth or not (before := flow.read_so_far):
            return original(*args, **kwargs)
        state.depth = 1
        try:
            result = original(*args, **kwargs)
        finally:
            state.depth = 0
        inherit(before, result, args, kwargs)
        return result

    return lodeline


def _takes_two(original: Any) -> bool:
    """Whether it is a plain function of two parameters: operators, and choosing by `[]`."""
    code = original.__code__ if type(original) is FunctionType else None
    return (
        code is not None
        and code.co_argcount == 2
        and not code.co_kwonlyargcount
        and not code.co_flags & _VARIABLE
        and not original.__defaults__
    )


def _passage_of_two(original: Any, where: str, data: bool) -> Any:  # noqa: FBT001  # as below
    """`_passage` for what is called most, and takes least itself: a column, a sum, a mask.

    Parameters by name instead of tuples and dictionaries, and what nearly all of these calls need
    of `_inherit` written out: half of the cost.
    """
    local, flow = RECORDER.local, RECORDER.flow
    known, kinds = flow.known, flow.kinds

    def lodeline(first: Any, second: Any) -> Any:
        state = local.state
        if state.depth or not (before := flow.read_so_far):
            return original(first, second)
        state.depth = 1
        try:
            result = original(first, second)
        finally:
            state.depth = 0
        try:
            if (
                type(second) in PLAIN
                and kinds.get(type(result)) is itself
                and flow.read_so_far == before
                and len(known) < flow.known_max
            ):
                held, tag = first, known.get(identity(first))
                if tag is None and (holder := kinds.get(type(first))) is not None:
                    # An indexer stands for its frame.
                    held = holder(first)
                    tag = known.get(identity(held))
                if tag is not None and tag[0]() is held:
                    known[identity(result)] = (ref(result), tag[1])
                    return result
        except Exception:  # capture's outermost door; what follows fails alike, and tells it
            held = None
        _inherit(where, data, before, result, (first, second), {})
        return result

    return lodeline


def _iteration(original: Any, where: str) -> Any:
    def lodeline(self: Any) -> Any:
        iterator = original(self)
        while True:
            # `for` would call `__iter__` once more, hence this very function, on an object that
            # is its own iterator.
            try:
                item = next(iterator)
            except StopIteration:
                return
            _inherit(where, False, RECORDER.flow.read_so_far, item, (self,), {})
            yield item

    return lodeline


def _outermost(original: Any, after: After) -> Any:
    local = RECORDER.local

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        state = local.state
        if state.depth:
            return original(*args, **kwargs)
        state.depth = 1
        try:
            result = original(*args, **kwargs)
        finally:
            state.depth = 0
        after(result, args, kwargs)
        return result

    return lodeline


def _inherit(
    where: str,
    data: bool,  # noqa: FBT001  # bound once by partial, never by callers
    before: int,
    result: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    try:
        flow = RECORDER.flow
        parts: list[object] | tuple[object] = []
        if flow.kinds.get(type(result)) is itself:
            # Nearly every result is one object: lists for it would be a third of the cost.
            parts = (result,)
        elif type(result) is tuple or type(result) is list:
            received = [flow.receiver(part) for part in result[:FLOW_MEMBERS_MAX]]
            parts = [part for part in received if part is not None]
        elif (one := flow.receiver(result)) is not None:
            parts = (one,)
        if not parts and type(result) not in flow.scalar_kinds:
            return
        bits = 0 if flow.read_so_far == before else flow.read_since(before)
        known = flow.known
        for value in args:
            if type(value) not in PLAIN:
                tag = known.get(identity(value))
                if tag is not None and tag[0]() is value:
                    bits |= tag[1]
                else:
                    bits |= flow.of(value, data=data)
        if kwargs:
            for value in kwargs.values():
                bits |= flow.of(value, data=data)
        if not parts:
            flow.note_scalar(result, bits)
        for part in parts:
            flow.tag(part, bits)
    except Exception as error:  # capture's outermost door
        RECORDER.trouble(where, error)


def _inherit_mutating(
    where: str,
    data: bool,  # noqa: FBT001
    before: int,
    result: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    del result
    try:
        flow = RECORDER.flow
        first = args[0]
        subject = first if flow.kinds.get(type(first)) is itself else flow.subject(first)
        tag = flow.known.get(identity(subject))
        known = tag[1] if tag is not None and tag[0]() is subject else None
        bits = flow.of(subject) if known is None else known
        if flow.read_so_far != before:
            bits |= flow.read_since(before)
        # A new column's name comes first and says nothing about where the values come from.
        for value in args[2:] if len(args) > 2 else args[1:]:
            if type(value) not in PLAIN:
                bits |= flow.of(value, data=data)
        for value in kwargs.values():
            bits |= flow.of(value, data=data)
        if bits != known:
            flow.tag(subject, bits)
    except Exception as error:  # capture's outermost door
        RECORDER.trouble(where, error)


def _inherit_feeding(
    where: str,
    data: bool,  # noqa: FBT001  # as above
    before: int,
    result: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    del result
    try:
        flow = RECORDER.flow
        bits = (flow.find(args[0]) or 0) | flow.read_since(before)
        for value in (*args[1:], *kwargs.values()):
            bits |= flow.of(value, data=data)
        flow.tag(args[0], bits)
    except Exception as error:  # capture's outermost door
        RECORDER.trouble(where, error)


def strip_traceback(error: BaseException) -> None:
    """Take our frames out of an exception's traceback, and out of those it was raised from."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        current.__traceback__ = _without_ours(current.__traceback__)
        following: Iterable[BaseException | None] = (current.__cause__, current.__context__)
        waiting += [one for one in following if one is not None]
        if isinstance(current, BaseExceptionGroup):
            waiting += list(current.exceptions)


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code in _CODES:
        trace = trace.tb_next
    current = trace
    while current is not None:
        following = current.tb_next
        while following is not None and following.tb_frame.f_code in _CODES:
            following = following.tb_next
        current.tb_next = following
        current = following
    return trace
