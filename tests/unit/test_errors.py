"""Errors are made of the facts that their classes declare."""

from __future__ import annotations

import pickle

import pytest

from lodeline.errors import (
    ConfigurationError,
    DeliveryError,
    InvalidEventError,
    LodelineError,
    MalformedOptionsError,
    Problem,
    UnknownNodeError,
)


def test_an_error_takes_its_facts_by_position_and_by_name() -> None:
    error = MalformedOptionsError("no such option", command="lodeline run")
    assert (error.message, error.command, str(error)) == (
        "no such option",
        "lodeline run",
        "no such option",
    )
    assert repr(error) == "MalformedOptionsError(message='no such option', command='lodeline run')"
    assert UnknownNodeError("dataset:a:b").nearest == ()
    assert DeliveryError("http://x", "down").retriable == DeliveryError.retriable


@pytest.mark.parametrize(
    ("values", "named"), [((), {}), (("a", "b", "c"), {}), (("a", "b"), {"message": "c"}),
                          (("a", "b"), {"other": "c"})],
)  # fmt: skip
def test_an_error_without_its_facts_or_with_others_is_a_fault_of_its_caller(
    values: tuple[str, ...], named: dict[str, str]
) -> None:
    with pytest.raises(TypeError, match="MalformedOptionsError is made of message, command"):
        MalformedOptionsError(*values, **named)


@pytest.mark.parametrize(
    "error",
    [
        UnknownNodeError("dataset:a:b", ("dataset:a:c",)),
        InvalidEventError("event.json", "/run", "no object"),
        ConfigurationError((Problem("a.toml:3", "unknown"),)),
    ],
)
def test_errors_cross_process_borders_with_their_facts(error: LodelineError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
