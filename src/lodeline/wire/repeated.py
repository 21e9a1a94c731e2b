"""Events that say again what others said: only time, type and run are new.

A job sends the same inputs, outputs and facets run after run. Of such an event its content is
recognised by its bytes, as a whole and not part by part: its typed form, its canonical form and its
fields are those of the earlier one with three small strings put in. What `envelope` read once, and
was sent a second time, is remembered; it vouches for the content, and for the rest the same counts
of colons and backslashes do.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from lodeline.limits import CONTENTS_REMEMBERED_MAX, PART_BYTES_MAX
from lodeline.model import parse_time
from lodeline.wire.commitment import Fields
from lodeline.wire.envelope import UUID, ShortReading
from lodeline.wire.events import EventType, Facets, InputDataset, Job, OutputDataset, Run, RunEvent
from lodeline.wire.parts import Part
from lodeline.wire.scanning import escape_pointer


class _Run(msgspec.Struct, gc=False):
    run_id: str = msgspec.field(name="runId")
    facets: msgspec.Raw | UnsetType = UNSET


class _Top(msgspec.Struct, gc=False, rename="camel"):
    event_time: str
    run: _Run
    job: msgspec.Raw
    event_type: EventType | UnsetType | None = UNSET
    inputs: msgspec.Raw | UnsetType = UNSET
    outputs: msgspec.Raw | UnsetType = UNSET
    producer: str | UnsetType | None = UNSET
    schema_url: str | UnsetType | None = msgspec.field(name="schemaURL", default=UNSET)


_BACKSLASH: Final = ord("\\")
_decode: Final = msgspec.json.Decoder(_Top).decode
_encode: Final = msgspec.json.encode
_Key = tuple[bytes, bytes, bytes, str | UnsetType | None, str | UnsetType | None]


class _Frame(NamedTuple):
    """What an event says besides its run, its type and its time.

    Attributes:
        job: typed, as are the next two.
        inputs: in order.
        outputs: in order.
        producer: None where none is stated.
        schema_url: None where none is stated.
        middle: canonical form between the event's type and the run's members.
        core_middle: the same with the values of facets replaced by null.
        tail: canonical form after the run's members.
        fields: committed to one by one, in pointer order.
        colons: in `middle` and `tail`.
        backslashes: in the producer's bytes.
    """

    job: Job
    inputs: tuple[InputDataset, ...]
    outputs: tuple[OutputDataset, ...]
    producer: str | None
    schema_url: str | None
    middle: bytes
    core_middle: bytes
    tail: bytes
    fields: Fields
    colons: int
    backslashes: int


class _RunFacets(NamedTuple):
    """The facets of a run; attributes as `_Frame`'s."""

    facets: Facets
    canonical: bytes
    core: bytes
    fields: Fields
    colons: int
    backslashes: int


class Repeated(NamedTuple):
    """An event whose content is known.

    Attributes:
        top: what is new of it.
        time: of the event, and whether its zone was stated.
        frame: what is known.
        run_facets: of its run, known too.
    """

    top: _Top
    time: tuple[int, bool]
    frame: _Frame
    run_facets: _RunFacets

    def event(self) -> RunEvent:
        """Give it typed."""
        top, frame = self.top, self.frame
        return RunEvent(
            *self.time,
            top.event_type or None,
            Run(top.run.run_id.lower(), self.run_facets.facets),
            frame.job,
            frame.inputs,
            frame.outputs,
            frame.producer,
            frame.schema_url,
        )

    def canonical(self) -> bytes:
        """Give its RFC 8785 form."""
        return self.forms()[0]

    def fields(self) -> Fields:
        """List the fields committed to one by one, as `commitment_fields` does."""
        return self.forms()[1]

    def forms(self) -> tuple[bytes, Fields]:
        """Give both: what differs between the canonical form and the core lies between two ends."""
        top, frame, run_facets = self.top, self.frame, self.run_facets
        kind = top.event_type
        # None of the three has a character that JSON escapes, since no backslash was sent.
        if kind:
            begin = f'{{"eventTime":"{top.event_time}","eventType":"{kind}"'.encode()
        else:
            stated = "" if kind is UNSET else ',"eventType":null'
            begin = f'{{"eventTime":"{top.event_time}"{stated}'.encode()
        end = b'"runId":"%b"%b' % (top.run.run_id.encode(), frame.tail)
        core = begin + frame.core_middle + run_facets.core + end
        canonical = begin + frame.middle + run_facets.canonical + end
        return canonical, [("", core), *frame.fields, *run_facets.fields]


_NO_FACETS: Final = _RunFacets({}, b"", b"", [], 0, 0)
_frames: Final[dict[_Key, _Frame | None]] = {}
_run_facets: Final[dict[bytes, _RunFacets | None]] = {}


def forget_contents() -> None:
    """Forget everything, for those who measure."""
    _frames.clear()
    _run_facets.clear()


class Unknown(NamedTuple):
    """An event whose content is not known, or not whole.

    Attributes:
        content: that it has.
        facets: of its run, in the producer's bytes; None where it states none.
    """

    content: _Key
    facets: bytes | None


def read_repeated(data: bytes) -> Repeated | Unknown | None:
    """Read an event whose content came before, whole and often enough to be remembered.

    Returns:
        None for what no memory can vouch for; `Unknown` for what may be remembered.
    """
    try:
        top = _decode(data)
        key, raw = _key(top), top.run.facets
        facets = None if raw is UNSET else bytes(raw)
        frame = _frames.get(key)
        run_facets = _NO_FACETS if facets is None else _run_facets.get(facets)
        if frame is None or run_facets is None:
            return Unknown(key, facets)
        time = parse_time(top.event_time)
    except (ValueError, OverflowError, RecursionError):
        return None
    if UUID.fullmatch(top.run.run_id) is None:
        return None
    # As `envelope` does: nothing was lost on reading, and no colon or NUL written as an escape.
    colons = 2 + (top.event_type is not UNSET) + top.event_time.count(":")
    if data.count(b":") != colons + frame.colons + run_facets.colons:
        return None
    backslashes = frame.backslashes + run_facets.backslashes
    # A byte sought as a number is found by the C library; as bytes it takes ten times as long.
    if data.count(b"\\") != backslashes if backslashes else _BACKSLASH in data:
        return None
    return Repeated(top, time, frame, run_facets)


def _key(top: _Top) -> _Key:
    inputs, outputs = top.inputs, top.outputs
    return (
        bytes(top.job),
        b"" if inputs is UNSET else bytes(inputs),
        b"" if outputs is UNSET else bytes(outputs),
        top.producer,
        top.schema_url,
    )


def remember(unknown: Unknown, read: ShortReading, byte_count: int) -> None:
    """Remember the content of an event that was read, if it came for the second time.

    Args:
        unknown: what `read_repeated` did not know.
        read: the event.
        byte_count: of the event as sent.
    """
    if byte_count > PART_BYTES_MAX:
        return
    key, facets = unknown
    if _frames.get(key) is None:
        _keep(_frames, key, _frame_of(read) if key in _frames else None)
    if facets is not None and _run_facets.get(facets) is None:
        again = facets in _run_facets and all(map(str.isascii, read.run_facets))
        _keep(_run_facets, facets, _run_facets_of(read) if again else None)


_Name = TypeVar("_Name")
_Value = TypeVar("_Value")


def _keep(known: dict[_Name, _Value], key: _Name, value: _Value) -> None:
    if len(known) >= CONTENTS_REMEMBERED_MAX:
        known.clear()
    known[key] = value


def _frame_of(read: ShortReading) -> _Frame:
    whole, event = read.envelope, read.event
    tail = b"}" + _member("schemaURL", whole.schema_url) + b"}"
    middle = _middle(read, core=False)
    fields = [("/job" + pointer, body) for pointer, body in read.job.fields]
    for member, parts in (("inputs", read.inputs), ("outputs", read.outputs)):
        for i, part in enumerate(parts):
            fields += [(f"/{member}/{i}{pointer}", body) for pointer, body in part.fields]
    return _Frame(
        event.job,
        event.inputs,
        event.outputs,
        event.producer,
        event.schema_url,
        middle,
        _middle(read, core=True),
        tail,
        sorted(fields),
        middle.count(b":") + tail.count(b":"),
        sum(part.backslashes for part in (read.job, *read.inputs, *read.outputs)),
    )


def _middle(read: ShortReading, *, core: bool) -> bytes:
    def form(part: Part) -> bytes:
        return bytes(part.core if core else part.canonical)

    def forms(member: str, stated: object, parts: list[Part]) -> bytes:
        if not isinstance(stated, tuple):
            return _member(member, stated)
        return b',"%b":[%b]' % (member.encode(), b",".join(map(form, parts)))

    whole = read.envelope
    return b"".join(
        (
            forms("inputs", whole.inputs, read.inputs),
            b',"job":' + form(read.job),
            forms("outputs", whole.outputs, read.outputs),
            _member("producer", whole.producer),
            b',"run":{',
        )
    )


def _member(name: str, value: object) -> bytes:
    return b"" if value is UNSET else b',"%b":%b' % (name.encode(), _encode(value))


def _run_facets_of(read: ShortReading) -> _RunFacets:
    names = sorted(read.run_facets)
    members = [b"%b:%b" % (_encode(name), read.run_facets[name].body) for name in names]
    canonical = b'"facets":{%b},' % b",".join(members)
    nulls = b",".join(b"%b:null" % _encode(name) for name in names)
    fields = [
        ("/run/facets/" + escape_pointer(name), facet.body)
        for name, facet in read.run_facets.items()
    ]
    return _RunFacets(
        # Copied, since what is kept would keep the whole event.
        {name: msgspec.Raw(bytes(raw)) for name, raw in read.event.run.facets.items()},
        canonical,
        b'"facets":{%b},' % nulls,
        sorted(fields),
        canonical.count(b":"),
        sum(facet.backslashes for facet in read.run_facets.values()),
    )
