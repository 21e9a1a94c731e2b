"""Which datasets an object in memory came from.

A flow is an `int` used as a set of bits: bit 0 says that the set is only an upper bound, bit n
that dataset number n flowed in. So the union of flows is `|`, and an operation costs well under
a microsecond. Objects are known by weak identity: nothing is added to them or kept alive.

An object that nothing is known about may hold anything read so far, and no more: its flow is
everything read, marked as a bound.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FrameType, FunctionType, MethodType
from typing import Final

from lodeline.capture.datasets import Dataset
from lodeline.limits import FLOW_MEMBERS_MAX, FLOW_SCALARS_MAX

# Frames from here up to the program's own code: ours, and a few of the program's functions.
_FRAMES_LOOKED_AT: Final = 16

# Bit 0: the set is an upper bound, not an observation.
BOUND: Final = 1

# Types of values that hold no data of their own.
PLAIN: Final = frozenset({int, float, str, bool, bytes, complex, type(None), type, slice, range})


# `id` raises an audit event on each call; the default hash is the identity, too, and raises none.
identity: Final[Callable[[object], int]] = object.__hash__


# So many entries of objects that are gone may stand among the known ones, and as many more as
# there are objects that live.
_GONE_MAX: Final = 1_000


class Flow:
    """The flows of all objects of this process.

    Attributes:
        read_so_far: everything that was read.
        known: identity -> a weak reference, and the flow of its object. Entries of objects that
            are gone are taken out when there are many: a callback for each would cost more than
            all else about a tag.
        known_max: when that is done.
        scalar_kinds: types of single values that come of data, as met so far.
        kinds: type -> `None` (holds no data), or a function giving the object that holds its data;
            `itself` where that is the object.
    """

    def __init__(self) -> None:
        self.read_so_far = 0
        self.known: dict[int, tuple[weakref.ref[object], int]] = {}
        self.known_max = _GONE_MAX
        self.kinds: dict[type, Callable[[object], object] | None] = {}
        self._numbers: dict[Dataset, int] = {}
        self._datasets: list[Dataset] = []
        self._frames: tuple[type, ...] = ()
        self._scalars: tuple[type, ...] = ()
        self.scalar_kinds: set[type] = set()
        self._scalar_flows: dict[object, int] = {}
        self._carriers: list[tuple[type, Callable[[object], object]]] = []

    def bit(self, dataset: Dataset) -> int:
        """The flow of exactly this dataset."""
        number = self._numbers.get(dataset)
        if number is None:
            number = self._numbers[dataset] = len(self._datasets)
            self._datasets.append(dataset)
        return 2 << number

    def knows(self, dataset: Dataset) -> bool:
        """Whether this dataset has a flow already."""
        return dataset in self._numbers

    def note_read(self, dataset: Dataset) -> int:
        """Count a dataset among what was read so far; gives its flow."""
        bit = self.bit(dataset)
        self.read_so_far |= bit
        return bit

    def unknown(self) -> int:
        """The flow of an object that nothing is known about."""
        return self.read_so_far | BOUND if self.read_so_far else 0

    def datasets(self, flow: int) -> list[Dataset]:
        """The datasets in a flow, in the order of their first appearance."""
        return list(self._iter(flow >> 1))

    def _iter(self, bits: int) -> Iterator[Dataset]:
        while bits:
            low = bits & -bits
            yield self._datasets[low.bit_length() - 1]
            bits ^= low

    def holds_data(self, *types: type) -> None:
        """Declare types whose instances carry data: frames, tables, arrays."""
        self._frames += types
        self.kinds.clear()

    def carries(self, kind: type, holder: Callable[[object], object]) -> None:
        """Declare a type that stands for another object's data, as a group-by does."""
        self._carriers.append((kind, holder))
        self.kinds.clear()

    def holds_scalars(self, *types: type) -> None:
        """Declare types of single values that operations on data give, such as numpy's numbers.

        They can't be referred to weakly, and are known by value: two that are equal have one flow.
        """
        self._scalars += types
        self.kinds.clear()

    def note_scalar(self, value: object, flow: int) -> None:
        """Remember the flow of a single value that came of data."""
        try:
            known = self._scalar_flows.pop(value, 0)
        except TypeError:
            return
        self._scalar_flows[value] = known | flow
        if len(self._scalar_flows) > FLOW_SCALARS_MAX:
            # The oldest: of what is used again, most is used soon.
            self._scalar_flows.pop(next(iter(self._scalar_flows)), None)

    def _of_scalar(self, value: object, *, data: bool) -> int:
        """Where a value is data, one that nothing is known about may hold anything read so far.

        Elsewhere it is a position or a choice, as often as not.
        """
        try:
            known = self._scalar_flows.get(value)
        except TypeError:
            known = None
        return (self.unknown() if data else 0) if known is None else known

    def tag(self, thing: object, flow: int) -> None:
        """Remember the flow of an object that can be referred to weakly."""
        try:
            self.known[identity(thing)] = (weakref.ref(thing), flow)
        except TypeError:
            return
        if len(self.known) >= self.known_max:
            self.sweep()

    def sweep(self) -> None:
        """Forget the objects that are gone."""
        known = self.known
        for key, tag in list(known.items()):
            # Another thread may have put a new object there meanwhile.
            if tag[0]() is None and known.get(key) is tag:
                known.pop(key, None)
        self.known_max = 2 * len(known) + _GONE_MAX

    def read_since(self, before: int) -> int:
        """What was read while a call ran, as a bound: a function given to it may have read."""
        news = self.read_so_far & ~before
        return news | BOUND if news else 0

    def is_data(self, thing: object) -> bool:
        """Whether an object holds data that a flow can be remembered for."""
        kind = type(thing)
        if kind in PLAIN:
            return False
        holder = self.kinds[kind] if kind in self.kinds else self._classify(kind)
        return holder is itself

    def receiver(self, thing: object) -> object | None:
        """What a flow can be remembered for in a result: itself, or the data that it stands for.

        A group-by of one column holds a column that nobody has seen; what is known already of
        the data that a carrier stands for is left as it is.
        """
        kind = type(thing)
        if kind in PLAIN:
            return None
        holder = self.kinds[kind] if kind in self.kinds else self._classify(kind)
        if holder is None or holder is itself:
            return None if holder is None else thing
        subject = self.subject(thing)
        return subject if self.find(subject) is None and self.is_data(subject) else None

    def subject(self, thing: object) -> object:
        """The object that holds the data: itself, or what a carrier stands for."""
        for _ in range(8):
            kind = type(thing)
            holder = self.kinds[kind] if kind in self.kinds else self._classify(kind)
            if holder is None or holder is itself:
                break
            thing = holder(thing)
        return thing

    def find(self, thing: object) -> int | None:
        """The flow that was remembered for an object, or that its holder's is."""
        tag = self.known.get(identity(thing))
        return None if tag is None or tag[0]() is not thing else tag[1]

    def of(self, thing: object, *, data: bool = False, depth: int = 0) -> int:
        """The flow of anything: an operand, an argument, a list of frames.

        Args:
            thing: anything.
            data: a list or dict of plain values is data here (as in `Series.map(table)`), not a
                choice of columns; where it came from is unknown.
            depth: how deep in containers this is.
        """
        kind = type(thing)
        if kind in PLAIN:
            return 0
        tag = self.known.get(identity(thing))
        if tag is not None and tag[0]() is thing:
            return tag[1]
        if kind in {list, tuple, dict, set, frozenset}:
            return self._of_members(thing, data=data, depth=depth)
        if kind is FunctionType:
            return self._of_function(thing, depth)
        if kind is MethodType or kind is BuiltinFunctionType:
            return self.of(getattr(thing, "__self__", None), depth=depth + 1) if depth < 3 else 0
        holder = self.kinds[kind] if kind in self.kinds else self._classify(kind)
        if holder is None:
            return self._of_scalar(thing, data=data) if kind in self.scalar_kinds else 0
        held = holder(thing)
        if held is thing or depth > 8:
            return self._of_view(thing)
        return self.of(held, depth=depth + 1)

    def _of_view(self, thing: object) -> int:
        base = getattr(thing, "base", None)
        for _ in range(8):
            if base is None:
                break
            found = self.find(base)
            if found is not None:
                return found
            base = getattr(base, "base", None)
        return self.unknown()

    def _classify(self, kind: type) -> Callable[[object], object] | None:
        holder: Callable[[object], object] | None = None
        if issubclass(kind, self._frames):
            holder = itself
        else:
            for carrier, function in self._carriers:
                if issubclass(kind, carrier):
                    holder = function
                    break
            else:
                if issubclass(kind, self._scalars):
                    self.scalar_kinds.add(kind)
        self.kinds[kind] = holder
        return holder

    def _of_members(self, thing: object, *, data: bool, depth: int) -> int:
        if depth > 3:
            return self.unknown()
        members = list(thing.values() if isinstance(thing, dict) else thing)  # type: ignore[call-overload]
        flow = 0
        plain = True
        for member in members[:FLOW_MEMBERS_MAX]:
            if type(member) not in PLAIN:
                plain = False
                flow |= self.of(member, data=data, depth=depth + 1)
        if len(members) > FLOW_MEMBERS_MAX and not plain:
            flow |= self.unknown()
        if data and plain and members and self.read_so_far and not _is_written_in_code(members):
            flow |= self.unknown()
        return flow

    def _of_function(self, function: object, depth: int) -> int:
        """What a function given to `apply` or `map` can reach: its closure and its globals."""
        assert isinstance(function, FunctionType)
        if depth > 2:
            return 0
        flow = 0
        for cell in function.__closure__ or ():
            try:
                flow |= self.of(cell.cell_contents, data=True, depth=depth + 1)
            except ValueError:
                continue  # An empty cell: not assigned yet.
        names = function.__globals__
        for name in function.__code__.co_names:
            value = names.get(name)
            if value is not None and type(value) is not FunctionType:
                flow |= self.of(value, data=True, depth=depth + 1)
        return flow


def _is_written_in_code(members: list[object]) -> bool:
    """Whether plain values stand as constants in the code that is running: a literal, not data.

    A table of data whose every value also stands in the very code that uses it would be taken
    for a literal; with what was read it then has only the values in common.
    """
    constants: set[object] = set()
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # the interpreter's own, documented
    for _ in range(_FRAMES_LOOKED_AT):
        if frame is None:
            break
        for constant in frame.f_code.co_consts:
            if type(constant) in {tuple, frozenset}:
                constants.update(constant)
            elif type(constant) in PLAIN:
                constants.add(constant)
        frame = frame.f_back
    return all(member in constants for member in members)


def itself(thing: object) -> object:
    """The holder of types that hold their data themselves."""
    return thing
