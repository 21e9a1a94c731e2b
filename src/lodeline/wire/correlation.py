"""Identifiers that travel beside an event in headers: W3C `traceparent`, and `baggage`.

Sources: W3C Trace Context (Recommendation, 23 November 2021), section 3.2; W3C Baggage, section 3.
Identifiers alone are read: of baggage the three names below, nothing else. Headers that don't
parse are as if they weren't there, as both specifications ask.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec

from lodeline.limits import CORRELATION_CHARACTERS_MAX, TRACE_HEADER_BYTES_MAX

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_ENCODED: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_RUN_ID: Final = "lodeline.run_id"
_MODEL_VERSION: Final = "lodeline.model_version"
_PREDICTION_ID: Final = "lodeline.prediction_id"


class Correlation(msgspec.Struct, frozen=True, gc=False):
    """What the headers of a message named; empty text where they named nothing.

    Attributes:
        trace_id: of the trace, 32 hexadecimal digits.
        parent_id: of the span that sent the message, 16 hexadecimal digits.
        run_id: of a run, a UUID in lower case.
        model_version: version of a model, as it stands after `#`.
        prediction_id: of a prediction, a UUID in lower case.
    """

    trace_id: str = ""
    parent_id: str = ""
    run_id: str = ""
    model_version: str = ""
    prediction_id: str = ""

    def to_headers(self) -> dict[str, str]:
        """Give headers from which the same is read."""
        names = {
            _RUN_ID: self.run_id,
            _MODEL_VERSION: self.model_version,
            _PREDICTION_ID: self.prediction_id,
        }
        headers = {"baggage": ",".join(f"{k}={_percent_encoded(v)}" for k, v in names.items() if v)}
        if self.trace_id:
            headers["traceparent"] = f"00-{self.trace_id}-{self.parent_id}-00"
        return {name: value for name, value in headers.items() if value}

    def to_json(self) -> dict[str, str]:
        """Give what was named, by the documented keys."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value}


_NOTHING: Final = Correlation()


def read_correlation(headers: Mapping[str, str]) -> Correlation | None:
    """Read what headers name; `None` when that is nothing.

    Args:
        headers: by lower-case names.
    """
    traceparent = headers.get("traceparent", "")
    baggage = headers.get("baggage", "")
    if not traceparent and not baggage:
        return None
    trace_id, parent_id = _trace_of(traceparent)
    named = _named_in(baggage)
    found = Correlation(
        trace_id,
        parent_id,
        _uuid(named.get(_RUN_ID, "")),
        _text(named.get(_MODEL_VERSION, "")),
        _uuid(named.get(_PREDICTION_ID, "")),
    )
    return None if found == _NOTHING else found


def _trace_of(traceparent: str) -> tuple[str, str]:
    # Later versions may append further fields to those of version 00.
    text = traceparent.strip()
    match = _TRACEPARENT.match(text)
    if match is None or text[match.end() : match.end() + 1] not in {"", "-"}:
        return "", ""
    if text.startswith("00") and match.end() != len(text):
        return "", ""
    trace_id, parent_id = match.groups()
    if not trace_id.strip("0") or not parent_id.strip("0"):
        return "", ""
    return trace_id, parent_id


def _named_in(baggage: str) -> dict[str, str]:
    named: dict[str, str] = {}
    if len(baggage) > TRACE_HEADER_BYTES_MAX:
        return named
    for member in baggage.split(","):
        pair, _, _ = member.partition(";")
        name, equals, value = pair.partition("=")
        if equals:
            named.setdefault(name.strip(), percent_decoded(value.strip()))
    return named


def percent_decoded(text: str) -> str:
    """Decode percent-encoded UTF-8; what is none is replaced, as both specifications ask."""
    return _ENCODED.sub(
        lambda match: bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "replace"), text
    )


def _percent_encoded(text: str) -> str:
    plain = frozenset(b"-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    return "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in text.encode())


def _uuid(text: str) -> str:
    try:
        return str(UUID(text)) if len(text) == 36 else ""
    except ValueError:
        return ""


def _text(text: str) -> str:
    return text if len(text) <= CORRELATION_CHARACTERS_MAX and text.isprintable() else ""
