"""Reading JSON so that every reader understands the same: no name twice, no NaN, UTF-8 only."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object holds the same name twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_strictly(raw: bytes | str) -> Any:
    """Read one JSON document.

    Raises:
        ValueError: not UTF-8, not JSON, a name twice in one object, half of a surrogate pair, or
            nested beyond the interpreter's limit.
    """
    text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
    try:
        value = json.loads(text, object_pairs_hook=_members, parse_constant=_refuse_constant)
        # Escapes can spell half of a pair, which no encoding of Unicode can write again.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value
