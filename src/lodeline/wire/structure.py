"""Which members an event must have, and of which type: told with JSON pointers.

Runs after typed decoding refused an event, to say where; and beside it for what types cannot
say (empty and overlong names). Also the tolerance for nulls that stand for absence.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn, get_args

import msgspec

from lodeline.errors import InvalidEventError
from lodeline.limits import NAME_BYTES_MAX
from lodeline.wire.events import DatasetEvent, Event, EventType, RunEvent

_EVENT_TYPES: Final = get_args(EventType)

# Members that may be null or absent alike.
_NULLABLE: Final = {
    "": ("eventType", "inputs", "outputs", "producer", "schemaURL", "run", "job", "dataset"),
    "run": ("facets",),
    "job": ("facets",),
    "dataset": ("facets",),
    "inputs": ("facets", "inputFacets"),
    "outputs": ("facets", "outputFacets"),
}

_WORDS: Final = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def check_structure(value: dict[str, Any], kind: type[Event]) -> None:
    """Find the first member that is missing, of the wrong type or outside its enumeration.

    Raises:
        InvalidEventError: `event.missing`, `event.type` or `event.event_type`.
    """
    _text(value, "eventTime", "")
    if kind is RunEvent:
        event_type = value.get("eventType")
        if event_type is not None and event_type not in _EVENT_TYPES:
            _refuse_event_type(event_type)
        run = _object(value, "run", "")
        _text(run, "runId", "/run")
        _facets(run, "facets", "/run")
    if kind is not DatasetEvent:
        _subject(_object(value, "job", ""), "/job", ("facets",))
        _datasets(value, "inputs", ("facets", "inputFacets"))
        _datasets(value, "outputs", ("facets", "outputFacets"))
    else:
        _subject(_object(value, "dataset", ""), "/dataset", ("facets",))
    for name in ("producer", "schemaURL"):
        if value.get(name) is not None:
            _text(value, name, "")


def check_subject(namespace: str, name: str, pointer: str) -> None:
    """Hold a job's or a dataset's identity against what an identifier can carry.

    Raises:
        InvalidEventError: `event.name_empty` or `event.name_too_long`.
    """
    if not name:
        raise InvalidEventError("event.name_empty", f"{pointer}/name", "an empty name")
    for member, text in (("namespace", namespace), ("name", name)):
        if len(text) > NAME_BYTES_MAX // 4 and len(text.encode()) > NAME_BYTES_MAX:
            raise InvalidEventError(
                "event.name_too_long",
                f"{pointer}/{member}",
                f"{len(text.encode())} bytes, more than {NAME_BYTES_MAX}",
            )


def without_nulls(data: bytes) -> bytes:
    """Write an event again without the nulls that stand for absence, facets byte for byte."""
    members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    kept = _drop_nulls(members, _NULLABLE[""])
    for name, nullable in _NULLABLE.items():
        if not name or name not in kept:
            continue
        if name in {"inputs", "outputs"}:
            datasets = msgspec.json.decode(kept[name], type=list[dict[str, msgspec.Raw]])
            inner: Any = [_drop_nulls(dataset, nullable) for dataset in datasets]
        else:
            subject = msgspec.json.decode(kept[name], type=dict[str, msgspec.Raw])
            inner = _drop_nulls(subject, nullable)
        kept[name] = msgspec.Raw(msgspec.json.encode(inner))
    return msgspec.json.encode(kept)


def _drop_nulls(
    members: dict[str, msgspec.Raw], nullable: tuple[str, ...]
) -> dict[str, msgspec.Raw]:
    return {
        name: raw for name, raw in members.items() if name not in nullable or bytes(raw) != b"null"
    }


def _datasets(value: dict[str, Any], member: str, containers: tuple[str, ...]) -> None:
    datasets = value.get(member)
    if datasets is None:
        return
    if not isinstance(datasets, list):
        _refuse_type(datasets, f"/{member}", "an array")
    for i, dataset in enumerate(datasets):
        if not isinstance(dataset, dict):
            _refuse_type(dataset, f"/{member}/{i}", "an object")
        _subject(dataset, f"/{member}/{i}", containers)


def _subject(subject: dict[str, Any], pointer: str, containers: tuple[str, ...]) -> None:
    _text(subject, "namespace", pointer)
    _text(subject, "name", pointer)
    for container in containers:
        _facets(subject, container, pointer)


def _facets(subject: dict[str, Any], container: str, pointer: str) -> None:
    facets = subject.get(container)
    if facets is not None and not isinstance(facets, dict):
        _refuse_type(facets, f"{pointer}/{container}", "an object")


def _object(value: dict[str, Any], member: str, pointer: str) -> dict[str, Any]:
    found = _present(value, member, pointer)
    if not isinstance(found, dict):
        _refuse_type(found, f"{pointer}/{member}", "an object")
    return dict(found)


def _text(value: dict[str, Any], member: str, pointer: str) -> None:
    found = _present(value, member, pointer)
    if not isinstance(found, str):
        _refuse_type(found, f"{pointer}/{member}", "a string")


def _present(value: dict[str, Any], member: str, pointer: str) -> Any:
    found = value.get(member)
    if found is None:
        raise InvalidEventError("event.missing", f"{pointer}/{member}", f"{member} is missing")
    return found


def _refuse_type(found: Any, pointer: str, expected: str) -> NoReturn:
    word = _WORDS.get(type(found), "a number")
    raise InvalidEventError("event.type", pointer, f"{expected}, not {word}")


def _refuse_event_type(found: Any) -> NoReturn:
    if not isinstance(found, str):
        _refuse_type(found, "/eventType", "a string")
    raise InvalidEventError(
        "event.event_type", "/eventType", f"{found[:32]!r} is none of {', '.join(_EVENT_TYPES)}"
    )
