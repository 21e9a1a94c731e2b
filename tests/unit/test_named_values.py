"""Classes of named values: they do what dataclasses of the same fields would."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest

from lodeline.records import fresh, record, value


@record
class Basket:
    owner: str
    fruits: list[str] = fresh(default_factory=list)
    size: int = 3


@value
class Point:
    x: int
    y: int = 0


@dataclass
class Mirrored:
    owner: str
    fruits: list[str] = field(default_factory=list)
    size: int = 3


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (("ada",), {}),
        (("ada", ["fig"]), {"size": 4}),
        ((), {"owner": "ada", "size": 1}),
        ((), {}),
        (("ada",), {"owner": "bob"}),
        (("ada", [], 1, 2), {}),
        (("ada",), {"colour": "red"}),
        ((), {"size": 1}),
    ],
)
def test_a_record_is_made_of_what_a_dataclass_is_made_of(
    values: tuple[Any, ...], named: dict[str, Any]
) -> None:
    try:
        expected = Mirrored(*values, **named)
    except TypeError:
        with pytest.raises(TypeError, match="Basket is made of owner, fruits, size"):
            Basket(*values, **named)
        return
    made = Basket(*values, **named)
    assert (made.owner, made.fruits, made.size) == (expected.owner, expected.fruits, expected.size)
    assert repr(made) == repr(expected).replace("Mirrored", "Basket")


def test_no_two_records_share_a_fresh_default() -> None:
    one, other = Basket("ada"), Basket("ada")
    one.fruits.append("fig")
    assert other.fruits == []
    assert one != other
    assert one == one  # identity is what is said


def test_values_are_equal_by_what_they_hold() -> None:
    assert Point(1) == Point(1, 0)
    assert Point(1) != Point(0, 1)
    assert {Point(1): "a"}[Point(x=1, y=0)] == "a"
    assert Point(1) != (1, 0)


def test_records_and_values_are_copied_and_pickled() -> None:
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)
    twin = copy.deepcopy(Basket("ada", ["fig"]))
    assert (twin.owner, twin.fruits) == ("ada", ["fig"])


def test_a_value_is_matched_by_its_fields() -> None:
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)
