"""Whose an event is, read without decoding all of it: the namespace of its job, or dataset."""

from __future__ import annotations

from typing import Final

import msgspec


class _Named(msgspec.Struct, gc=False):
    namespace: str


class _Event(msgspec.Struct, gc=False):
    # Raw: what the decoder ignores beside the subject must not spoil the reading of the subject.
    job: msgspec.Raw = msgspec.Raw(b"null")
    dataset: msgspec.Raw = msgspec.Raw(b"null")


_EVENT: Final = msgspec.json.Decoder(_Event)
_NAMED: Final = msgspec.json.Decoder(_Named)


def find_namespace(raw: bytes) -> str | None:
    """Give the namespace that an event belongs to, by the member that `decode_event` goes by.

    Args:
        raw: the event as sent.

    Returns:
        `None` where it names none, or cannot be read: such an event is refused by `decode_event`.
    """
    try:
        event = _EVENT.decode(raw)
        for member in (event.job, event.dataset):
            if bytes(member) != b"null":
                return _NAMED.decode(member).namespace
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None
