"""Writing the links of a result: from its identity columns to blobs, as they were gathered.

Lists are neither sorted nor freed of what they repeat: that took longer than the query itself, and
whoever makes a block of a blob does it, not in the observed program. What such a blob counts is
therefore members, and at least the links.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from lodeline.integrations.duckdb.catalog import quoted_text
from lodeline.sql import TAG, Identity

# The lowest level takes two thirds of the usual one's time, and links are as small with it.
_OPTIONS: Final = (
    "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION v2, RETURN_STATS"
)

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
    single = [some[0] for some in inputs.values() if len(some) == 1 and _is_single(some[0])]
    asked = ["count(*)"]
    for one in single:
        name = quoted(one.name)
        asked += [f"min({name} - rowid)", f"max({name} - rowid)", f"count({name})"]
    united_of = {anchor: _united(some) for anchor, some in inputs.items() if some[0].bitmap}
    asked += [f"coalesce(sum(bit_count({united})), 0)::BIGINT" for united in united_of.values()]
    # One look at the table tells of all inputs.
    rows, *found = run(f"SELECT {', '.join(asked)} FROM {table}").fetchone()
    members = dict(zip(united_of, found[3 * len(single) :], strict=True))
    found = found[: 3 * len(single)]
    told = dict(
        zip([one.name for one in single], zip(*[iter(found)] * 3, strict=True), strict=True)
    )
    for anchor, some in inputs.items():
        low, high, count = (
            told.get(some[0].name, (None, None, None)) if len(some) == 1 else (None,) * 3
        )
        facts: dict[str, Any] | None
        if anchor in members:
            count = int(members[anchor])
        if anchor not in members and count == rows and low == high:
            shape = "range" if low else "identity"
            facts = {"shape": shape, "count": count, "start": low or None}
        else:
            query, mapped = links_query(table, some), anchor in members
            facts = _write(query, count, run, mapped=mapped, draft=draft, keep=keep)
        yield anchor, None if facts is None else facts | {"rows": rows}


def _is_single(identity: Identity) -> bool:
    """Whether an identity is one row, or none."""
    return not identity.lists and not identity.bitmap


def _united(identities: Sequence[Identity]) -> str:
    """Write the bitmap of all rows of a source that is met several times."""
    united, *others = (quoted(one.name) for one in identities)
    for other in others:
        united = f"coalesce({united} | {other}, {united}, {other})"
    return united


def _write(
    query: str,
    count: int | None,
    run: Run,
    *,
    mapped: bool,
    draft: Callable[[], Path | None],
    keep: Callable[[Path], str],
) -> dict[str, Any] | None:
    path = draft()
    if path is None:
        return None
    told = run(f"COPY ({query}) TO {quoted_text(str(path))} ({_OPTIONS})").fetchone()
    shape = "bitmaps" if mapped else "lists" if count is None else "array"
    if count is None:
        count = _count_members(told, path, run)
    return {"shape": shape, "count": count, "blob": keep(path)}


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
