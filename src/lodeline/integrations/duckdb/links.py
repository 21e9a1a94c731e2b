"""Writing the links of a result: from its identity columns to blobs, as they were gathered.

Lists are neither sorted nor freed of what they repeat: that took longer than the query itself, and
whoever makes a block of a blob does it, not in the observed program. What such a blob counts is
therefore members, and at least the links.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from lodeline.integrations.duckdb.catalog import quoted_text
from lodeline.sql import TAG, Identity

_OPTIONS: Final = "FORMAT parquet, PARQUET_VERSION v2, RETURN_STATS"
# The lowest level takes two thirds of the usual one's time, and links are as small with it.
_PACKED: Final = "COMPRESSION zstd, COMPRESSION_LEVEL 1"
# To begin compressing takes longer than to write a small file as it is.
_PLAIN: Final = "COMPRESSION uncompressed"
_SMALL: Final = 4_096

Run = Callable[[str], Any]
_Input = TypeVar("_Input", bound=Hashable)


def keep_links(
    table: str,
    inputs: Mapping[_Input, Sequence[Identity]],
    run: Run,
    *,
    draft: Callable[[], Path | None],
    keep: Callable[[Path], str],
) -> Iterator[tuple[_Input, dict[str, Any] | None]]:
    """Write the links to each input, in the smallest shape that holds them as they are.

    Args:
        table: the result's.
        inputs: the identity columns of each.
        run: runs SQL in the program's connection.
        draft: gives a path to write to.
        keep: names what was written there.

    Yields:
        An input and the facts of its step; `None` where there is no place to write to.
    """
    parts = [_Part(anchor, part) for anchor, some in inputs.items() for part in _split(some)]
    asked = ["count(*)", *(one for part in parts for one in part.asked)]
    # One look at the table tells of all inputs.
    rows, *found = run(f"SELECT {', '.join(asked)} FROM {table}").fetchone()
    told = iter(found)
    for part in parts:
        facts: dict[str, Any] | None
        count, *others = [next(told) for _ in part.asked]
        if part.shape == "array" and count == rows and others[0] == others[1]:
            shape = "range" if others[0] else "identity"
            facts = {"shape": shape, "count": count, "start": others[0] or None}
        else:
            small = (others[0] if part.shape == "bitmaps" else count) <= _SMALL
            facts = _write(part, table, count, run, small=small, draft=draft, keep=keep)
        yield part.input, None if facts is None else facts | {"rows": rows}


class _Part(Generic[_Input]):
    """Identity columns that are written together.

    Args:
        input: whose rows they hold.
        identities: all bitmaps of one source, or none of them a bitmap.

    Attributes:
        shape: that they are written in.
        asked: what has to be known of them: of an array its rows, and how far they are from the
            output's, at least and at most; of lists their members, with what is missing; of
            bitmaps their members, and their words.
    """

    def __init__(self, input: _Input, identities: Sequence[Identity]) -> None:  # noqa: A002
        self.input = input
        self.identities = identities
        first = quoted(identities[0].name)
        if identities[0].bitmap:
            self.shape, united = "bitmaps", _united(identities)
            self.asked = [
                f"coalesce(sum(bit_count({united})), 0)::BIGINT",
                f"coalesce(sum(bit_length({united})), 0)::BIGINT // 64",
            ]
        elif len(identities) == 1 and not identities[0].lists:
            self.shape = "array"
            self.asked = [f"count({first})", f"min({first} - rowid)", f"max({first} - rowid)"]
        else:
            self.shape = "lists"
            lengths = [
                f"sum(len({quoted(one.name)}))" if one.lists else f"count({quoted(one.name)})"
                for one in identities
            ]
            self.asked = [f"({' + '.join(f'coalesce({one}, 0)' for one in lengths)})::BIGINT"]


def _split(identities: Sequence[Identity]) -> Iterator[list[Identity]]:
    """Tell what cannot be written together: bitmaps, whose sizes are those of a source, and others.

    One table may be several sources, under several names.
    """
    parts: dict[str | None, list[Identity]] = {}
    for one in identities:
        parts.setdefault(one.source.key if one.bitmap else None, []).append(one)
    yield from parts.values()


def _united(identities: Sequence[Identity]) -> str:
    """Write the bitmap of all rows of a source that is met several times."""
    united, *others = (quoted(one.name) for one in identities)
    for other in others:
        united = f"coalesce({united} | {other}, {united}, {other})"
    return united


def _write(
    part: _Part[_Input],
    table: str,
    count: int,
    run: Run,
    *,
    small: bool,
    draft: Callable[[], Path | None],
    keep: Callable[[Path], str],
) -> dict[str, Any] | None:
    path = draft()
    if path is None:
        return None
    options = f"{_OPTIONS}, {_PLAIN if small else _PACKED}"
    query = links_query(table, part.identities)
    told = run(f"COPY ({query}) TO {quoted_text(str(path))} ({options})").fetchone()
    if part.shape == "lists":
        count = _count_members(told, path, run)
    return {"shape": part.shape, "count": count, "blob": keep(path)}


def _count_members(told: Sequence[Any], path: Path, run: Run) -> int:
    """Count the members of all lists: from what COPY told, or from the file."""
    for statistics in told[4].values() if len(told) > 4 and told[4] else ():
        if "num_values" in statistics and "null_count" in statistics:  # Since DuckDB 1.4.
            return int(statistics["num_values"]) - int(statistics["null_count"])
    (count,) = run(
        "SELECT coalesce(sum(list_count(inputs)), 0)::BIGINT "
        f"FROM read_parquet({quoted_text(str(path))})"
    ).fetchone()
    return int(count)


def links_query(table: str, identities: Sequence[Identity]) -> str:
    """Select the links to one input from a result with identities, a row for each output row.

    Args:
        table: the result's.
        identities: the identity columns of that input.
    """
    if identities[0].bitmap:
        # Rows are numbered from the first bit of the first byte.
        return f"SELECT CAST({_united(identities)} AS BLOB) AS bitmaps FROM {table}"
    if len(identities) == 1 and not identities[0].lists:
        return f"SELECT {quoted(identities[0].name)} AS input FROM {table}"
    parts = [_listed(one) for one in identities]
    lists = parts[0] if len(parts) == 1 else f"flatten([{', '.join(parts)}])"
    return f"SELECT {lists} AS inputs FROM {table}"


def _listed(identity: Identity) -> str:
    """Write the rows of one source in an identity column, as a list."""
    name = quoted(identity.name)
    if not identity.lists:
        return f"[{name}]"
    if identity.tag is None:
        return f"coalesce({name}, [])"
    return f"[r // {TAG} FOR r IN coalesce({name}, []) IF r % {TAG} = {identity.tag}]"


def quoted(name: str) -> str:
    """Write a name that is taken as it is."""
    return '"' + name.replace('"', '""') + '"'
