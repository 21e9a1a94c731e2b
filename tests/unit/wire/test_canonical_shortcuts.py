"""The short cuts of canonical JSON give the bytes of the exact path."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodeline.wire import canonical_bytes, parse_with_tokens
from lodeline.wire.canonical import canonical_bytes_exact

texts = st.text(st.sampled_from('a"\\:,é\ufb33\uffff😀𐀀\n'), max_size=6)
values = st.recursive(
    texts | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


@given(values)
def test_names_and_numbers_of_any_kind_are_written_as_by_the_exact_path(value: object) -> None:
    raw = json.dumps(value).encode()
    exact = canonical_bytes_exact(json.loads(raw))
    assert canonical_bytes(raw) == exact
    assert canonical_bytes(parse_with_tokens(raw), finished=True) == exact
    assert canonical_bytes(value) == exact


@pytest.mark.parametrize("value", ["😀", ["😀", {"a": '😀":'}], {"a": '😀\\":', "b": 1.5}])
def test_characters_beyond_the_basic_plane_in_values_do_not_change_the_order(value: object) -> None:
    assert canonical_bytes(value) == canonical_bytes_exact(value)
