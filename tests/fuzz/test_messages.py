"""Can what a broker delivers raise anything, or vanish?"""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from lodeline.store import Refusal
from lodeline.streams.messages import Message, Taken, iter_taken
from streamed import captured

EVENT = min(captured(), key=len)
ENVELOPE = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
STRUCTURED = json.dumps(ENVELOPE).encode()[:-1] + b',"data":' + EVENT + b"}"
PIECES = st.sampled_from(
    [*(bytes([byte]) for byte in b'{}[]",:\\ \n\r\t01'), b"\x00", b"\xff", b'"data":', b'"id":', EVENT]
)  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", EVENT, STRUCTURED, b"[" + STRUCTURED + b"]", EVENT + b"\n" + EVENT]),
    st.lists(PIECES, max_size=12).map(b"".join),
)
NAMES = ["content-type", "CE_specversion", "ce-id", "ce-source", "ce-type", "traceparent"]
HEADERS = st.dictionaries(
    st.sampled_from([*NAMES, "ce-traceparent", "baggage", "ce_baggage"]) | st.text(max_size=5),
    st.sampled_from(
        [
            "application/cloudevents+json",
            "application/cloudevents-batch+json; charset=utf-8",
            "application/cloudevents+avro",
            "1.0",
            "%FF%zz%",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "lodeline.run_id=%41,,=;",
        ]
    )
    | st.text(max_size=20),
    max_size=6,
)


@given(BODIES, HEADERS)
@settings(max_examples=300, deadline=None)
def test_every_message_gives_events_or_refusals_and_never_nothing(
    body: bytes, headers: dict[str, str]
) -> None:
    found = list(iter_taken(Message(body, headers, "kafka:t/0@1")))
    # Nor does an empty one: that it came is kept.
    assert found
    assert all(isinstance(one, Taken | Refusal) for one in found)


@given(st.integers(0, len(STRUCTURED) - 1), st.binary(min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_a_damaged_envelope_is_refused_or_still_holds_an_event(place: int, damage: bytes) -> None:
    body = STRUCTURED[:place] + damage + STRUCTURED[place + len(damage) :]
    kind = {"content-type": "application/cloudevents+json"}
    assert len(list(iter_taken(Message(body, kind, "")))) >= 1
