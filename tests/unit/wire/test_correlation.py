"""What headers name beside an event."""

from __future__ import annotations

import pytest

from lodeline.wire.correlation import Correlation, read_correlation

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
RUN = "0197b3a4-1111-7222-8333-444455556666"


def test_a_trace_and_the_three_names_of_baggage_are_read_and_nothing_else() -> None:
    baggage = (
        f"user=alice, lodeline.run_id={RUN.upper()};ttl=3,"
        "lodeline.model_version=sha256%3Aabc , lodeline.prediction_id=no-uuid"
    )
    found = read_correlation({"traceparent": f"00-{TRACE}-{SPAN}-01", "baggage": baggage})
    assert found == Correlation(TRACE, SPAN, RUN, "sha256:abc", "")
    assert found.to_json() == {
        "trace_id": TRACE,
        "parent_id": SPAN,
        "run_id": RUN,
        "model_version": "sha256:abc",
    }


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"01-{TRACE}-{SPAN}-01x",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_a_traceparent_that_is_none_is_as_if_it_were_not_there(traceparent: str) -> None:
    assert read_correlation({"traceparent": traceparent}) is None


def test_a_later_version_of_traceparent_may_say_more() -> None:
    found = read_correlation({"traceparent": f"01-{TRACE}-{SPAN}-01-more"})
    assert found == Correlation(TRACE, SPAN)


def test_headers_without_identifiers_correlate_nothing() -> None:
    assert read_correlation({"content-type": "application/json"}) is None
    assert read_correlation({"baggage": "user=alice,lodeline.run_id,=,;;"}) is None
    assert read_correlation({"baggage": "lodeline.run_id=" + "x" * 10_000}) is None


@pytest.mark.parametrize(
    "named",
    [
        Correlation(TRACE, SPAN, RUN, "sha256:abc, 100 % ü;=", RUN),
        Correlation(TRACE, SPAN),
        Correlation(model_version="v1"),
    ],
)
def test_what_headers_named_is_read_again_from_the_headers_made_of_it(named: Correlation) -> None:
    headers = named.to_headers()
    assert read_correlation(headers) == named
    assert all(value.isascii() for value in headers.values())
