"""A batch of events into raw events: a JSON array, or one event a line (NDJSON).

Each event keeps its own bytes, so that validation sees what was sent.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from lodeline.errors import InvalidEventError
from lodeline.limits import BATCH_EVENTS_MAX

_ANY: Final = msgspec.json.Decoder(msgspec.Raw)
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])


@cache
def _bounded() -> msgspec.json.Decoder[Any]:
    # An array with one member more stops the parser there: "[0,0,…" must not become a million
    # objects.
    # Made when a batch needs it: its thousands of fields take longer than all of a small delivery.
    members = [(f"event_{i}", msgspec.Raw, msgspec.Raw(b"")) for i in range(BATCH_EVENTS_MAX)]
    return msgspec.json.Decoder(
        msgspec.defstruct(
            "BoundedBatch", members, array_like=True, forbid_unknown_fields=True, gc=False
        )
    )


def split_batch(body: bytes) -> list[bytes]:
    """Split a batch.

    Raises:
        InvalidEventError: nothing, more than `BATCH_EVENTS_MAX` events, or neither an array nor
            objects.
    """
    text = body.lstrip(b" \t\r\n")
    if not text:
        raise InvalidEventError("event.json", "", "the body is empty")
    if text[:1] not in {b"[", b"{"}:
        raise InvalidEventError("event.json", "", "neither a JSON array nor an object a line")
    raws = _split_array(text) if text.startswith(b"[") else _split_lines(text)
    if len(raws) > BATCH_EVENTS_MAX:
        raise _too_many()
    return raws


def _split_array(text: bytes) -> list[bytes]:
    try:
        # Between n events stand n - 1 commas, and more within them.
        if text.count(b",") < BATCH_EVENTS_MAX:
            return [bytes(raw) for raw in _LIST.decode(text)]
        return [
            bytes(raw) for raw in msgspec.structs.astuple(_bounded().decode(text)) if bytes(raw)
        ]
    except msgspec.ValidationError as error:
        raise _too_many() from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEventError("event.json", "", f"not a JSON array: {error}") from error


def _split_lines(text: bytes) -> list[bytes]:
    if text.count(b"\n") > 2 * BATCH_EVENTS_MAX and _is_lines(text):
        raise _too_many()
    if not _is_lines(text):
        return [text]
    return [line for line in text.split(b"\n") if line.strip(b" \t\r")]


def _is_lines(text: bytes) -> bool:
    """Whether a text is more than one JSON document printed over several lines."""
    try:
        _ANY.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    return False


def _too_many() -> InvalidEventError:
    return InvalidEventError(
        "event.too_large", "", f"more than {BATCH_EVENTS_MAX} events in a batch"
    )
