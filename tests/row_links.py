"""Reading the links out of what a rewritten query gives, in plain Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lodeline.sql import TAG, Identity, Rewriting
from lodeline.sql.carried import NUMBER

Link = tuple[str, Any]  # A source's key, and a row of it.
Ask = Callable[[str], list[tuple[Any, ...]]]


def links_of(
    rewriting: Rewriting, ask: Ask, *, quote: str = '"'
) -> list[tuple[tuple[Any, ...], frozenset[Link]]]:
    """Run a rewritten query; give the values and the links of each row."""
    shared: dict[str, list[frozenset[Link]]] = {}
    for one in rewriting.shared:
        names = ", ".join(f"{quote}{name}{quote}" for name in one.columns)
        if one.table is None:
            rows = ask(f"SELECT {names} FROM ({one.sql}) AS shared")
        else:
            ask(f'CREATE OR REPLACE TEMPORARY TABLE "{one.table}" AS {one.sql}')
            rows = ask(f'SELECT {names} FROM "{one.table}" ORDER BY "{NUMBER}"')
        shared[one.source.key] = [read(one.identities, one.columns, row, shared) for row in rows]
    width = len(rewriting.columns)
    found = []
    for row in ask(rewriting.sql):
        values, ids = row[: len(row) - width], row[len(row) - width :]
        found.append((values, read(rewriting.identities, rewriting.columns, ids, shared)))
    return found


def read(
    identities: Sequence[Identity],
    names: Sequence[str],
    values: Sequence[Any],
    shared: dict[str, list[frozenset[Link]]],
) -> frozenset[Link]:
    """Read the links of one row."""
    columns = dict(zip(names, values, strict=True))
    links: set[Link] = set()
    for identity in identities:
        value = columns[identity.name]
        if identity.bitmap:
            value = [number for number, bit in enumerate(value or "") if bit == "1"]
        for tag, number in iter_rows(value, tagged=identity.tag is not None):
            if number is None or tag not in {None, identity.tag}:
                continue
            key = identity.source.key
            links |= shared[key][number] if key in shared else {(key, number)}
    return frozenset(links)


def iter_rows(value: Any, *, tagged: bool) -> Iterator[tuple[int | None, Any]]:
    """Give the rows of an identity: the number of their source, if they tell it, and theirs."""
    if isinstance(value, str):
        for number, *key in json.loads(f"[{value}]") if value else ():
            parts = [one["k"] if isinstance(one, dict) else one for one in key]
            yield number, parts[0] if len(parts) == 1 else tuple(parts)
        return
    for row in value if isinstance(value, list) else [value]:
        if row is None or not tagged:
            yield None, row
        else:
            yield row % TAG, row // TAG
