"""Canonical bytes of JSON: RFC 8785 (JCS), one form for hashing, signing and recognising.

The fast path is msgspec's encoder with sorted keys, used only where its bytes are RFC 8785's to
the letter; whatever it cannot promise (floats in Python objects, keys beyond the Basic
Multilingual Plane) goes through the exact path, written after the RFC's text.

One documented extension: integers beyond 2**53 keep all their digits. RFC 8785 would round them
to a double, and two identifiers that differ only in their last digits would become one.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any, Final

import msgspec

_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode

# A number with a fraction or an exponent after `:`, `[` or `,`, or alone. It may also match
# inside a string: then the exact path runs without need, and gives the same bytes.
_FLOAT = re.compile(rb"(?:^|[:\[,])-?\d+[.eE]")
_BEYOND_BMP = re.compile(rb"[\xf0-\xf4]")
# Every string, so that the search stays linear; the colon marks a name.
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"(:?)')

_ESCAPES: Final = {
    **{code: f"\\u{code:04x}" for code in range(0x20)},
    0x08: "\\b",
    0x09: "\\t",
    0x0A: "\\n",
    0x0C: "\\f",
    0x0D: "\\r",
    0x22: '\\"',
    0x5C: "\\\\",
}


def format_number(value: float) -> str:
    """Write a double as ECMAScript's `Number.prototype.toString` does.

    Raises:
        ValueError: not finite.

    Source: RFC 8785, section 3.2.2.3; ECMA-262, section 6.1.6.1.20.
    """
    if not math.isfinite(value):
        raise ValueError(f"JSON has no number for {value!r}")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    # repr gives the shortest digits that round-trip, which are ECMAScript's digits too.
    mantissa, _, exponent_text = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # The value is 0.DIGITS times ten to the power of `point`.
    point = len(whole) + int(exponent_text or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    power = f"{point - 1:+d}"
    if count == 1:
        return f"{sign}{digits}e{power}"
    return f"{sign}{digits[0]}.{digits[1:]}e{power}"


def number_token(text: str) -> msgspec.Raw:
    """Turn a JSON number with fraction or exponent into its canonical token.

    Raises:
        ValueError: beyond the range of a double.
    """
    return msgspec.Raw(format_number(float(text)).encode())


# Floats become finished tokens while parsing, so that the sorted encoder copies them.
_decode_with_tokens: Final = msgspec.json.Decoder(float_hook=number_token).decode


def parse_with_tokens(raw: bytes) -> Any:
    """Parse JSON so that `canonical_bytes(…, finished=True)` can write it.

    Numbers with fraction or exponent become canonical tokens (`msgspec.Raw`).

    Raises:
        ValueError: not JSON, or a number beyond a double.
    """
    return _decode_with_tokens(raw)


def canonical_bytes(raw_or_object: bytes | str | Any, *, finished: bool = False) -> bytes:
    """Write JSON in the form of RFC 8785.

    Args:
        finished: the object has no floats but canonical tokens, as `parse_with_tokens` makes it.
        raw_or_object: JSON text as `bytes` or `msgspec.Raw`, or a Python value of `dict`, `list`,
            `str`, `int`, `float`, `bool`, `None` (a `str` is a value, not JSON text) and
            `msgspec.Raw` below it.

    Raises:
        ValueError: not JSON, a number beyond a double, or a lone surrogate. Foreign events pass
            `decode_event` first, which says where.
        RecursionError: nested beyond the interpreter's limit.
    """
    if not finished:
        if isinstance(raw_or_object, bytes | bytearray | memoryview | msgspec.Raw):
            return canonical_bytes(_decode_with_tokens(raw_or_object), finished=True)
        if _FLOAT.search(_encode_sorted(raw_or_object)):
            return canonical_bytes_exact(raw_or_object)
    encoded = _encode_sorted(raw_or_object)
    if encoded.isascii() or not has_name_beyond_bmp(encoded):
        return encoded
    return canonical_bytes_exact(raw_or_object)


def has_name_beyond_bmp(encoded: bytes) -> bool:
    """Tell whether JSON without white space has a name that UTF-8 and UTF-16 order differently.

    Values may hold any character: only names are sorted. Linear in the input.
    """
    if not _BEYOND_BMP.search(encoded):
        return False
    return any(match[1] and _BEYOND_BMP.search(match[0]) for match in _STRINGS.finditer(encoded))


def canonical_bytes_exact(value: Any) -> bytes:
    """Write a Python value after the text of RFC 8785, without short cuts.

    Raises:
        ValueError: not finite, a key that is not a string, a type JSON has not, or a lone
            surrogate.
    """
    pieces: list[str] = []
    _write(value, pieces.append)
    return "".join(pieces).encode()


def _write(value: Any, write: Any) -> None:
    if value is None:
        write("null")
    elif value is True:
        write("true")
    elif value is False:
        write("false")
    elif isinstance(value, str):
        write(f'"{value.translate(_ESCAPES)}"')
    elif isinstance(value, int):
        write(str(value))
    elif isinstance(value, float):
        write(format_number(value))
    elif isinstance(value, list | tuple):
        write("[")
        for i, item in enumerate(value):
            if i:
                write(",")
            _write(item, write)
        write("]")
    elif isinstance(value, dict):
        _write_members(value, write)
    elif isinstance(value, msgspec.Raw):
        _write(_decode_with_tokens(value) if bytes(value)[:1] in b'{["' else _Token(value), write)
    elif isinstance(value, _Token):
        write(value.text)
    else:
        raise ValueError(f"JSON has no form for {type(value).__name__}")  # one error for callers


class _Token:
    """A finished scalar: a number that was canonicalised while parsing, or a literal."""

    __slots__ = ("text",)

    def __init__(self, raw: msgspec.Raw) -> None:
        text = bytes(raw).decode()
        self.text = format_number(float(text)) if re.search(r"\d[.eE]", text) else text


def _write_members(members: dict[str, Any], write: Any) -> None:
    write("{")
    # RFC 8785, section 3.2.3: names sort by their UTF-16 code units.
    for i, name in enumerate(sorted(members, key=_utf16)):
        if i:
            write(",")
        write(f'"{name.translate(_ESCAPES)}":')
        _write(members[name], write)
    write("}")


def _utf16(name: Any) -> bytes:
    if not isinstance(name, str):
        raise ValueError(f"a JSON name is a string, not {type(name).__name__}")  # noqa: TRY004  # as above
    return name.encode("utf-16-be")


def content_digest(canonical: bytes) -> bytes:
    """Give the SHA-256 of canonical bytes: 32 bytes."""
    return hashlib.sha256(canonical).digest()
