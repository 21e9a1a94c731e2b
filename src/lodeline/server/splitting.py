"""A batch of events into raw events: a JSON array, or one event a line (NDJSON).

Each event keeps its own bytes, so that validation sees what was sent.
"""

from __future__ import annotations

import msgspec

from lodeline.errors import InvalidEventError

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


def split_batch(body: bytes) -> list[bytes]:
    """Split a batch.

    Raises:
        InvalidEventError: it starts like an array and is none.
    """
    text = body.lstrip(b" \t\r\n")
    if not text.startswith(b"["):
        return [line for line in body.split(b"\n") if line.strip(b" \t\r")]
    try:
        return [bytes(raw) for raw in _ARRAY.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEventError("event.json", "", f"not a JSON array: {error}") from error
