import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodeline.errors import MalformedIdentifierError
from lodeline.model import KINDS, NodeId, format_identifier, iter_readings, parse_identifier
from lodeline.model.identifiers import KINDS_OF_ONE_PART, KINDS_OF_THREE_PARTS

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
named = st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40
) | st.sampled_from(
    ["s3://b/k", "%2F", "a:b#c%", "x" * 4096, "https://h:80/p?q=%23", "\u202eabc", "数据/表"]
)


@st.composite
def nodes(draw: st.DrawFn) -> NodeId:
    kind = draw(st.sampled_from(sorted(KINDS)))
    return NodeId(
        kind,
        "" if kind in KINDS_OF_ONE_PART else draw(text),
        draw(named),
        draw(text) if kind in KINDS_OF_THREE_PARTS else "",
        draw(text),
    )


@given(nodes())
def test_every_tuple_survives_the_text_form(node: NodeId) -> None:
    assert parse_identifier(format_identifier(node)) == node


@given(nodes(), nodes())
def test_two_nodes_never_share_a_text_form(one: NodeId, other: NodeId) -> None:
    assert (str(one) == str(other)) == (one == other)


@given(nodes())
def test_the_canonical_reading_comes_first(node: NodeId) -> None:
    assert next(iter(iter_readings(str(node)))) == node


@given(st.text(max_size=200))
def test_any_text_parses_or_is_called_malformed(identifier: str) -> None:
    try:
        node = parse_identifier(identifier)
    except MalformedIdentifierError:
        return
    assert parse_identifier(str(node)) == node


def test_a_raw_identifier_lists_the_literal_readings() -> None:
    readings = list(iter_readings("dataset:s3://bucket:raw/a%2Fb.csv"))
    assert NodeId("dataset", "s3://bucket", "raw/a%2Fb.csv") in readings
    assert NodeId("dataset", "s3", "//bucket:raw/a%2Fb.csv") in readings


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "dataset",
        "dataset:",
        "dataset:a",
        "dataset:a:",
        "table:a:b",
        "run:",
        "run:a:b",
        "dataset:a:b#",
        "dataset:a:b%2F",
        "datasetField:a:b",
    ],
)
def test_malformed_identifiers_are_refused(identifier: str) -> None:
    with pytest.raises(MalformedIdentifierError):
        parse_identifier(identifier)
