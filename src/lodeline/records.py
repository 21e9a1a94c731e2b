"""Classes of named values that load at once.

`dataclasses` imports `inspect`, and through it Python's compiler in Python, and compiles functions
for each class: the two dozen classes of `lodeline run` took a tenth of all that it does beside a
program. These say the same to type checkers, and share their functions; making an instance takes
some microseconds. What is made by the million stays a dataclass, a tuple or a struct.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, dataclass_transform

_Kind = TypeVar("_Kind")
_Value = TypeVar("_Value")


class _Fresh:
    """Stands in a class where each instance gets a value of its own."""

    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make


def fresh(*, default_factory: Callable[[], _Value]) -> _Value:
    """Give a field a default that no two instances share."""
    stand_in: Any = _Fresh(default_factory)
    return stand_in  # type: ignore[no-any-return]  # as `dataclasses.field` says


@dataclass_transform(eq_default=False, field_specifiers=(fresh,))
def record(kind: type[_Kind]) -> type[_Kind]:
    """Make a class take its annotated attributes; two of them are equal if they are the same."""
    return _make(kind, {"__init__": _init, "__repr__": _repr})


@dataclass_transform(frozen_default=True, field_specifiers=(fresh,))
def value(kind: type[_Kind]) -> type[_Kind]:
    """Make a class take its annotated attributes; they say who is equal, and never change.

    That they do not change is for type checkers to see.
    """
    return _make(kind, {"__init__": _init, "__repr__": _repr, "__eq__": _eq, "__hash__": _hash})


def _make(kind: type[_Kind], functions: Mapping[str, Callable[..., Any]]) -> type[_Kind]:
    names = tuple(kind.__annotations__)
    given = {name: kind.__dict__[name] for name in names if name in kind.__dict__}
    made = tuple((name, one.make) for name, one in given.items() if isinstance(one, _Fresh))
    for name, _ in made:
        delattr(kind, name)
    parts = {"_all": frozenset(names), "_needed": frozenset(names) - given.keys(), "_made": made}
    for name, part in {**functions, **parts, "__match_args__": names}.items():
        setattr(kind, name, part)
    return kind


def _init(self: Any, *values: object, **named: object) -> None:
    own = self.__dict__
    own.update(zip(self.__match_args__, values, strict=False))
    wrong = len(values) > len(self.__match_args__) or not named.keys().isdisjoint(own)
    own.update(named)
    if wrong or not self._needed <= own.keys() or not own.keys() <= self._all:
        raise TypeError(f"{type(self).__name__} is made of {', '.join(self.__match_args__)}")
    for name, make in self._made:
        if name not in own:
            own[name] = make()


def _repr(self: Any) -> str:
    facts = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
    return f"{type(self).__qualname__}({facts})"


def _facts(self: Any) -> tuple[object, ...]:
    return tuple(getattr(self, name) for name in self.__match_args__)


def _eq(self: Any, other: object) -> bool:
    return _facts(self) == _facts(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_facts(self))
