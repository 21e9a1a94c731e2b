"""Whether the columns of a dataset may change from one schema to another. Pure.

A change is judged by who reads what, as schema registries do: a *backward* compatible schema reads
old data, a *forward* compatible one writes data that old readers read. Names of columns tell them
apart, so a renamed column is one that is gone and one that is new.

Left out: whether values still mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Mode = Literal["backward", "forward", "full", "none"]
MODES: Final[tuple[Mode, ...]] = ("backward", "forward", "full", "none")

# Names of one type in the vocabularies of databases, Arrow, pandas and Spark.
_SAME: Final = {
    name: names[0]
    for names in (
        ("int8", "tinyint", "byte"),
        ("int16", "smallint", "short", "int2"),
        ("int32", "int", "integer", "int4"),
        ("int64", "bigint", "long"),
        ("float32", "float", "real", "float4"),
        ("float64", "double", "double precision", "float8"),
        ("string", "varchar", "text", "str", "utf8", "large_string", "object", "char", "nvarchar"),
        ("bool", "boolean"),
        ("date", "date32", "date32[day]"),
        ("timestamp", "datetime", "datetime64[ns]", "timestamp[ns]", "timestamp[us]"),
        ("binary", "bytea", "blob", "bytes", "varbinary"),
    )
    for name in names
}
# Every value of the first is a value of the second, without loss.
_WIDER: Final = {
    "int8": {"int16", "int32", "int64", "float32", "float64"},
    "int16": {"int32", "int64", "float32", "float64"},
    "int32": {"int64", "float64"},
    "float32": {"float64"},
}


@dataclass(frozen=True, slots=True)
class Change:
    """One column's change.

    Attributes:
        column: its name before, or after where it is new.
        what: `removed`, `added`, `widened`, `narrowed` or `retyped`.
        before: type; `None` for a new column.
        after: likewise for one that is gone.
        renamed: the new column that may be this one under another name.
    """

    column: str
    what: Literal["removed", "added", "widened", "narrowed", "retyped"]
    before: str | None
    after: str | None
    renamed: str | None = None

    def breaks(self, mode: Mode) -> bool:
        """Whether a mode forbids it."""
        forbidden: dict[Mode, set[str]] = {
            "none": set(),
            # A reader of the new schema misses a new column in old data, and cannot narrow values.
            "backward": {"added", "narrowed", "retyped"},
            # A reader of the old schema misses what is gone, and cannot hold wider values.
            "forward": {"removed", "widened", "retyped"},
        }
        if mode == "full":
            return self.breaks("backward") or self.breaks("forward")
        return self.what in forbidden[mode]


def type_name(text: str) -> str:
    """One name for one type: `VARCHAR(20)`, `text` and `string` are the same."""
    plain = re.sub(r"\s*\([^)]*\)", "", text.strip().lower())
    return _SAME.get(plain, plain)


def read_fields(fields: object) -> dict[str, str | None]:
    """Read columns and types off the `fields` of a schema facet; nested ones as `a.b`."""
    found: dict[str, str | None] = {}
    _read_into(found, "", fields)
    return found


def _read_into(found: dict[str, str | None], prefix: str, fields: object) -> None:
    for one in fields if isinstance(fields, Iterable) and not isinstance(fields, str) else ():
        if not isinstance(one, Mapping) or not isinstance(one.get("name"), str):
            continue
        name = prefix + one["name"]
        kind = one.get("type")
        found[name] = kind if isinstance(kind, str) else None
        _read_into(found, f"{name}.", one.get("fields"))


def compare_schemas(
    before: Mapping[str, str | None], after: Mapping[str, str | None]
) -> list[Change]:
    """List what changed, by columns; a type that is not known on both sides is no change."""
    gone = [name for name in before if name not in after]
    new = [name for name in after if name not in before]
    changes = []
    for name in gone:
        alike = [one for one in new if _alike(before[name], after[one])]
        renamed = alike[0] if len(alike) == 1 and len(gone) == 1 else None
        changes.append(Change(name, "removed", before[name], None, renamed))
    for name, kind in before.items():
        if name in after and not _alike(kind, after[name]) and kind and after[name]:
            changes.append(_retyped(name, kind, str(after[name])))
    changes += [Change(name, "added", None, after[name]) for name in new]
    return changes


def _alike(before: str | None, after: str | None) -> bool:
    if before is None or after is None:
        return before == after
    return type_name(before) == type_name(after)


def _retyped(name: str, before: str, after: str) -> Change:
    old, new = type_name(before), type_name(after)
    if new in _WIDER.get(old, set()):
        return Change(name, "widened", before, after)
    if old in _WIDER.get(new, set()):
        return Change(name, "narrowed", before, after)
    return Change(name, "retyped", before, after)
