import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodeline.model import format_time, parse_time


@given(st.integers(min_value=-62135596800_000000, max_value=253402300799_999999))
def test_a_time_survives_the_text_form(time_us: int) -> None:
    assert parse_time(format_time(time_us)) == (time_us, True)


@pytest.mark.parametrize(
    ("text", "expected", "stated"),
    [
        ("2026-11-22T10:48:00Z", "2026-11-22T10:48:00.000000Z", True),
        ("2026-11-22T10:48:00.123456789+01:00", "2026-11-22T09:48:00.123456Z", True),
        ("2026-11-22T10:48:00+01:00[Europe/Vienna]", "2026-11-22T09:48:00.000000Z", True),
        ("2026-11-22 10:48:00", "2026-11-22T10:48:00.000000Z", False),
        ("2026-11-22T10:48Z", "2026-11-22T10:48:00.000000Z", True),
    ],
)
def test_times_of_real_producers_are_read(text: str, expected: str, stated: bool) -> None:
    time_us, zone_stated = parse_time(text)
    assert (format_time(time_us), zone_stated) == (expected, stated)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-13-01T00:00:00Z",
        "2026-11-22T25:00:00Z",
        "1700000000",
        "0000-01-01T00:00:00Z",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)
