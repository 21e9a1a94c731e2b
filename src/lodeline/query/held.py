"""Which derivations of the whole graph hold at two moments, in pieces, as numbers alone.

What came, went or stayed is told by rows of `derivation`: each is interned, so that the same row is
the same derivation at both moments. On the index a piece is two masks over arrays; without it, two
statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lodeline.query.asking import Inquiry
from lodeline.query.view import View

if TYPE_CHECKING:
    from lodeline.query.graph_index import IndexedGraph

# Rows of `derivation` looked at between two looks at the clock: some 50 ms either way.
PIECE_STORED: Final = 20_000
PIECE_INDEXED: Final = 1_000_000


@dataclass(slots=True)
class Compared:
    """Derivations of two moments, by number.

    Attributes:
        moved: that hold at one of the moments only.
        stayed: that hold at both; empty once there are more in all than the bound.
        whole: whether `stayed` is all of them.
        ended_by: `size` or `time` where not all were looked at.
        upto: numbers below were looked at.
    """

    moved: list[int] = field(default_factory=list)
    stayed: list[int] = field(default_factory=list)
    whole: bool = True
    ended_by: str | None = None
    upto: int = 0


def compare(earlier: Inquiry, later: Inquiry, *, columns: bool, most: int) -> Compared:
    """Compare which derivations with both ends hold at two moments.

    Args:
        earlier: one moment.
        later: the other; its budget is the bound of time.
        columns: those of columns instead of those between whole nodes.
        most: numbers kept of what moved; and of both together as long as there are no more.
    """
    found = Compared()
    for moved, stayed, upto in _pieces(earlier, later, columns=columns):
        found.moved += moved
        found.upto = upto
        if found.whole:
            found.stayed += stayed
            if len(found.moved) + len(found.stayed) > most:
                found.whole, found.stayed = False, []
        if len(found.moved) > most:
            del found.moved[most:]
            found.upto = found.moved[-1] + 1
            found.ended_by = "size"
        elif later.budget.exhausted_by(0) is not None:
            found.ended_by = "time"
        if found.ended_by is not None:
            break
    else:
        return found
    found.whole = False
    return found


_Pieces = Iterator[tuple[list[int], list[int], int]]


def _pieces(earlier: Inquiry, later: Inquiry, *, columns: bool) -> _Pieces:
    """Walk what moved, what stayed, and the number after the last looked at; all ascending."""
    [(greatest,)] = later.view.select("SELECT coalesce(max(derivation_id), 0) FROM derivation")
    graphs = _indexed(earlier, later)
    if graphs is None:
        for start in range(0, greatest + 1, PIECE_STORED):
            stop = start + PIECE_STORED
            before, after = (
                _stored(one.view, start, stop, columns=columns) for one in (earlier, later)
            )
            yield sorted(before ^ after), sorted(before & after), stop
        return
    from lodeline.query.graph_index import tell_apart

    for start in range(0, greatest + 1, PIECE_INDEXED):
        stop = start + PIECE_INDEXED
        held = [one.holding(start, stop, columns=columns) for one in graphs]
        yield *tell_apart(*held), stop


def _indexed(earlier: Inquiry, later: Inquiry) -> list[IndexedGraph] | None:
    """Give the graph of both moments on one snapshot; None where SQL has to answer."""
    try:
        from lodeline.query.graph_index import index_of
    except ModuleNotFoundError:
        return None
    found = [index_of(one.segment).at(one.view) for one in (earlier, later)]
    graphs = [one for one in found if one is not None]
    return graphs if len(graphs) == len(found) else None


def _stored(view: View, start: int, stop: int, *, columns: bool) -> set[int]:
    rows = view.select(
        "SELECT d.derivation_id FROM derivation d WHERE d.derivation_id >= :start"
        " AND d.derivation_id < :stop AND d.columns = :columns AND d.source IS NOT NULL"
        " AND d.target IS NOT NULL AND EXISTS (SELECT 1 FROM assertion a"
        f" WHERE a.derivation_id = d.derivation_id AND {view.rectangle('a')})",
        start=start,
        stop=stop,
        columns=int(columns),
    )
    return {row[0] for row in rows}
