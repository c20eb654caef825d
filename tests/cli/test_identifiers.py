"""Identifiers for names that may contain anything."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.cli.identifiers import CLOUDFORMATION, TERRAFORM, Dialect, Identifiers

VALID = {TERRAFORM: re.compile(r"[A-Za-z_][A-Za-z0-9_-]*"), CLOUDFORMATION: re.compile(r"[A-Za-z][A-Za-z0-9]{0,254}")}

HARD = st.text(st.sampled_from("aB1_- x${}\"'\n\x1bäX模"), max_size=12) | st.text(max_size=63)


@pytest.mark.parametrize(
    ("name", "terraform", "cloudformation"),
    [
        ("plain", "plain", "plain"),
        ("with-2_parts", "with-2_parts", "with2partsX9c512df3"),
        ("lookalike 1", "lookalike_1_94205df2", "lookalike1X94205df2"),
        ("lookalike_1_94205df2", "lookalike_1_94205df2_5e9034cf", "lookalike194205df2X5e9034cf"),
        ("1st", "a_1st_e01ddf65", "a1stXe01ddf65"),
        ("模型", "algorithm_c98e118e", "algorithmXc98e118e"),
        ('"}\nresource "x" "y" {', "resource_x_y_47fb9d14", "resourcexyX47fb9d14"),
    ],
)
def test_a_name_stays_readable(name: str, terraform: str, cloudformation: str) -> None:
    """An identifier is the name where that will do; otherwise what can be kept of it, and a digest of all of it."""
    assert Identifiers(TERRAFORM).of(name) == terraform
    assert Identifiers(CLOUDFORMATION).of(name) == cloudformation


@pytest.mark.parametrize("dialect", VALID, ids=["terraform", "cloudformation"])
@given(st.lists(HARD, unique=True, max_size=20))
def test_every_name_has_one_of_its_own(dialect: Dialect, names: list[str]) -> None:
    """Whatever the names are: the identifiers are valid, no two are the same, and each is the same in every export."""
    identifiers = Identifiers(dialect)
    made = [identifiers.of(name) for name in names]

    assert all(VALID[dialect].fullmatch(identifier) for identifier in made)
    assert len(set(made)) == len(names)
    assert made == [Identifiers(dialect).of(name) for name in names]


def test_names_that_meet_have_the_whole_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the short digests of two names that are otherwise alike are the same, the second has all of its digest."""
    monkeypatch.setattr("provisioner.cli.identifiers.SHORT", 0)
    identifiers = Identifiers(TERRAFORM)

    assert identifiers.of("a b") == "a_b_"
    assert re.fullmatch("a_b_[0-9a-f]{64}", identifiers.of("a  b"))
