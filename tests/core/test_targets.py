"""Which targets patterns select."""

from __future__ import annotations

import pytest

from provisioner.core.targets import choose

KNOWN = {
    "prod-us": {"env": "prod", "team": "ads"},
    "prod-eu": {"env": "prod"},
    "dev-us": {"env": "dev", "cost": "a=b"},
    "lab": {},
}


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("", "prod-us prod-eu dev-us lab"),
        ("lab", "lab"),
        ("lab prod-us lab", "prod-us lab"),
        ("prod-*", "prod-us prod-eu"),
        ("*-us lab", "prod-us dev-us lab"),
        ("prod-[eu][us]", "prod-us prod-eu"),
        ("tag:env=prod", "prod-us prod-eu"),
        ("tag:env=[dp]*", "prod-us prod-eu dev-us"),
        ("tag:cost=a=b", "dev-us"),
        ("tag:env", "prod-us prod-eu dev-us"),
        ("!lab", "prod-us prod-eu dev-us"),
        ("!tag:env=prod !lab", "dev-us"),
        ("!tag:team tag:env=prod", "prod-eu"),
        ("prod-us !prod-*", ""),
    ],
)
def test_what_patterns_select(patterns: str, names: str) -> None:
    """Names, globs and tags add up, exclusions take away wherever they stand; the order is the configuration's."""
    assert choose(patterns.split(), KNOWN) == (tuple(names.split()), None)


@pytest.mark.parametrize(
    ("patterns", "unmatched"),
    [
        ("prod", "prod"),
        ("PROD-*", "PROD-*"),
        ("lab !prd-*", "prd-*"),
        ("tag:env=prd", "tag:env=prd"),
        ("tag:Env=prod", "tag:Env=prod"),
        ("tag:", "tag:"),
        ("!", ""),
        ("lab x y", "x"),
    ],
)
def test_a_pattern_that_no_target_matches_selects_nothing(patterns: str, unmatched: str) -> None:
    """It is reported, an exclusion too, and nothing else is selected in its place."""
    assert choose(patterns.split(), KNOWN) == ((), unmatched)
