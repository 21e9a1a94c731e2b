"""Text is cut into words, and mistyped words find the ones that were meant."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lodeline.query.search_terms import (
    asked_words,
    distance,
    edits_of,
    name_keys,
    nearest_words,
    variants_of,
    words_in,
)

WORDS = st.text("abcdeé", min_size=4, max_size=14)


def test_names_are_cut_at_separators_case_and_digits() -> None:
    assert words_in("public.customerOrders_v2") == (
        *("public", "customerorders", "customer", "orders", "v2"),
    )
    assert words_in("Orders2024") == ("orders2024", "orders", "2024")
    assert words_in("HTTPServer") == ("httpserver", "http", "server")
    assert words_in("straße É") == ("strasse", "e")


def test_what_is_asked_is_cut_as_what_is_named() -> None:
    assert asked_words("Public.Customer_Orders public") == ["public", "customer", "orders"]


def test_a_name_is_looked_up_whole_and_by_its_last_part() -> None:
    assert name_keys("public.Orders") == ("public.orders", "orders")
    assert name_keys("a/b/clean.parquet") == ("a/b/clean.parquet", "clean.parquet", "clean")


def test_swapped_letters_are_one_mistake() -> None:
    assert distance("orders", "ordres") == 1
    assert distance("orders", "orders") == 0
    assert distance("abc", "") == 3


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(WORDS, st.data())
def test_words_within_the_edits_share_a_variant(word: str, data: st.DataObject) -> None:
    letters = list(word)
    for _ in range(data.draw(st.integers(0, edits_of(word)))):
        place = data.draw(st.integers(0, len(letters) - 1))
        how = data.draw(st.sampled_from(["drop", "add", "replace"]))
        if how == "drop" and len(letters) > 1:
            del letters[place]
        elif how == "add":
            letters.insert(place, "f")
        else:
            letters[place] = "f"
    typed = "".join(letters)
    far = distance(word, typed)
    if far <= min(edits_of(word), edits_of(typed)):
        assert variants_of(word) & variants_of(typed)
        if far <= edits_of(typed):
            assert nearest_words(typed, [word], 5) == [word]


def test_words_with_digits_and_short_words_have_no_variants() -> None:
    assert variants_of("v2025") == variants_of("tax") == set()
    assert len(variants_of("a" * 3 + "bcdefghijklm")) <= 56
