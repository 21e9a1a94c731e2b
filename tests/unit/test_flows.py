"""Flows of objects in memory: how they pass through patched functions, and what is kept of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from lodeline.capture.datasets import Dataset
from lodeline.capture.flow import BOUND, Flow
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import RECORDER


class Table:
    def column(self, result: object) -> Table:
        return Table() if isinstance(result, (str, Table)) else self._fail(result)

    def _fail(self, original: object) -> Table:
        raise KeyError(original)

    def pieces(self, count: int, *, last: bool = False) -> list[Table]:
        return [Table() for _ in range(count + last)]


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flow]:
    fresh = Flow()
    fresh.holds_data(Table)
    monkeypatch.setattr(RECORDER, "flow", fresh)
    patches = Patches("tables")
    patches.passage(Table, "column")
    patches.passage(Table, "pieces")
    yield fresh
    patches.undo()


def _read(flow: Flow, name: str) -> Table:
    table = Table()
    flow.tag(table, flow.note_read(Dataset("file", name)))
    return table


def _by_name(table: Table) -> Table:
    # Named as a local variable of the wrapper is, too.
    return table.column(result="a")


@pytest.mark.parametrize("choose", [lambda table: table.column("a"), _by_name])
def test_what_is_chosen_of_a_table_comes_from_where_the_table_does(
    flow: Flow, choose: Callable[[Table], Table]
) -> None:
    first, second = _read(flow, "/a"), _read(flow, "/b")
    one, two = choose(first), choose(second)
    assert [dataset.name for dataset in flow.datasets(flow.of(one))] == ["/a"]
    assert [dataset.name for dataset in flow.datasets(flow.of(two))] == ["/b"]
    both = first.column(two)
    assert [dataset.name for dataset in flow.datasets(flow.of(both))] == ["/a", "/b"]
    pieces = both.pieces(1, last=True)
    assert [flow.of(piece) for piece in pieces] == [flow.of(both)] * 2


class Indexer:
    """Stands for its table, as pandas's `iloc` does."""

    def __init__(self, table: object) -> None:
        self.table = table

    def item(self, number: int) -> Table:
        return Table()


def test_what_an_indexer_gives_comes_from_where_its_table_does(flow: Flow) -> None:
    def table_of(indexer: object) -> object:
        assert isinstance(indexer, Indexer)
        return indexer.table

    flow.carries(Indexer, table_of)
    patches = Patches("indexers")
    patches.passage(Indexer, "item")
    _read(flow, "/b")
    table = _read(flow, "/a")
    indexer = Indexer(table)
    assert flow.of(indexer.item(0)) == flow.of(indexer.item(1)) == flow.of(table)
    assert flow.of(Indexer(Table()).item(1)) == flow.unknown()
    indexer.item(0)
    assert "indexers.item" not in RECORDER.troubles
    # A fault of ours is told, and the program has its result.
    del indexer.table
    assert isinstance(indexer.item(0), Table)
    patches.undo()
    assert RECORDER.troubles.pop("indexers.item") == 1


def test_what_is_put_into_a_table_adds_to_where_it_comes_from(flow: Flow) -> None:
    class Filled(Table):
        def put(self, name: str, value: object) -> None:
            pass

    flow.holds_data(Filled)
    patches = Patches("filled")
    patches.passage(Filled, "put", mutates=True)
    first, second = _read(flow, "/a"), _read(flow, "/b")
    filled = Filled()
    flow.tag(filled, flow.of(first))
    filled.put("x", 1)
    assert flow.of(filled) == flow.of(first)
    filled.put("x", second)
    filled.put("x", first)
    patches.undo()
    assert [dataset.name for dataset in flow.datasets(flow.of(filled))] == ["/a", "/b"]


def test_an_unknown_table_may_hold_whatever_was_read(flow: Flow) -> None:
    _read(flow, "/a")
    assert flow.of(Table().column("a")) == flow.unknown() == flow.read_so_far | BOUND


def test_a_call_that_fails_or_is_wrong_fails_as_without_us(flow: Flow) -> None:
    table = _read(flow, "/a")
    for call, error in (
        (lambda: table.column(3), KeyError),
        (lambda: table.column(), TypeError),
        (lambda: table.column("a", "b"), TypeError),
        (lambda: table.column(other="a"), TypeError),
    ):
        with pytest.raises(error):
            call()
    assert flow.of(table.column("a")) == flow.of(table)


def test_a_reader_inside_a_call_adds_what_it_read_as_a_bound(flow: Flow) -> None:
    class Reading(Table):
        def column(self, result: object) -> Table:
            flow.note_read(Dataset("file", "/b"))
            return Table()

    patches = Patches("reading")
    patches.passage(Reading, "column")
    _read(flow, "/a")
    reading = Reading()
    flow.tag(reading, flow.bit(Dataset("file", "/a")))
    found = flow.of(reading.column("x"))
    patches.undo()
    assert found & BOUND
    assert [dataset.name for dataset in flow.datasets(found)] == ["/a", "/b"]


def test_objects_that_are_gone_do_not_pile_up(flow: Flow) -> None:
    table = _read(flow, "/a")
    alive = [table.column("a") for _ in range(3_000)]
    for _ in range(20):
        gone = [table.column("a") for _ in range(1_000)]
        del gone
    gc.collect()
    assert len(flow.known) <= 2 * len(alive) + 2_000
    assert all(flow.find(one) == flow.of(table) for one in alive)


def test_undoing_puts_back_what_stood_there_and_takes_out_what_did_not() -> None:
    class Own(Table):
        def column(self, result: object) -> Table:
            return self

    before = dict(vars(Own))
    done: list[str] = []
    patches = Patches("own")
    patches.passage(Own, "column")
    patches.passage(Own, "pieces")
    patches.replace(Own, "pieces", None)
    patches.replace(Own, "column", None)
    patches.on_undo(lambda: done.append("act"))
    assert vars(Own).keys() - before.keys() == {"pieces"}
    patches.undo()
    patches.undo()
    assert dict(vars(Own)) == before
    assert done == ["act"]
