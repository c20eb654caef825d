"""Folded names."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.names import folded


@pytest.mark.parametrize(
    ("one", "two"),
    [("Train", "tRAIN"), (" a\t", "a"), ("\u00a0a", "a"), ("e\u0301", "\u00c9"), ("stra\u00dfe", "STRASSE")],
)
def test_names_that_look_alike_fold_alike(one: str, two: str) -> None:
    """Letter case, outer white space and the Unicode normal form do not count."""
    assert folded(one) == folded(two)


@pytest.mark.parametrize(("one", "two"), [("a b", "ab"), ("a1", "a2"), ("e", "é"), ("a-b", "a_b")])
def test_other_differences_count(one: str, two: str) -> None:
    """Names that differ in inner blanks, digits, accents or punctuation are different."""
    assert folded(one) != folded(two)


@given(st.text(max_size=8))
def test_folding_ignores_what_it_says(name: str) -> None:
    """Folding is stable, and the same for every normal form, case and outer space of a name."""
    key = folded(name)

    assert folded(key) == key
    assert folded(f" {name}\n") == key
    assert {folded(unicodedata.normalize(form, name)) for form in ("NFC", "NFD")} == {key}
    assert folded(unicodedata.normalize("NFD", name).casefold()) == key
