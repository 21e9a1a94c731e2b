"""Reducing what programs hold (parameters, metrics, seeds) to plain JSON values.

Nothing is computed: a value that is no number, text, list or mapping is named by its type, so
that describing a parameter can neither run foreign code for long nor print a frame's contents.
"""

from __future__ import annotations

from lodeline.limits import PARAMETER_DEPTH_MAX, PARAMETER_MEMBERS_MAX, PARAMETER_TEXT_MAX


def plain(value: object, *, depth: int = 0) -> object:
    """Give a value that JSON and `ast.literal_eval` both carry unchanged.

    Args:
        value: anything; numpy scalars become numbers, estimators their class name.
        depth: how deep in containers this is.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if value - value == 0 else str(float(value))
    if isinstance(value, str):
        return _text(str(value))
    if isinstance(value, dict) and depth < PARAMETER_DEPTH_MAX:
        pairs = list(value.items())[:PARAMETER_MEMBERS_MAX]
        return {_text(str(key)): plain(member, depth=depth + 1) for key, member in pairs}
    if isinstance(value, (list, tuple, range)) and depth < PARAMETER_DEPTH_MAX:
        return [plain(member, depth=depth + 1) for member in value[:PARAMETER_MEMBERS_MAX]]
    if isinstance(value, (set, frozenset)) and depth < PARAMETER_DEPTH_MAX:
        members = [plain(member, depth=depth + 1) for member in list(value)[:PARAMETER_MEMBERS_MAX]]
        return sorted(members, key=repr)
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "shape", None) == ():
        return plain(item(), depth=PARAMETER_DEPTH_MAX)
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', '?')}.{getattr(value, '__qualname__', '?')}"
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _text(text: str) -> str:
    text = text if len(text) <= PARAMETER_TEXT_MAX else text[:PARAMETER_TEXT_MAX] + "…"
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
