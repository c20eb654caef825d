"""Which targets begin, and when no other one does."""

from __future__ import annotations

import pytest

from provisioner.config.settings import FleetSettings
from provisioner.config.target import Target
from provisioner.fleet.waves import Waves

NAMES = "abcdefgh"
FAILED = "failed, and max_failed_targets is"


def story(events: str, **settings: object) -> str:
    """What begins in the course of ``events``: ``+`` a target ends well, ``-`` one fails; the beginnings follow each.

    Args:
        events: in order; the targets are a to h.
        settings: the rules.
    """
    waves = Waves([Target(name=name) for name in NAMES], FleetSettings(**settings))  # type: ignore[arg-type]
    told = []
    for event in ["", *events]:
        if event:
            waves.end(failed=event == "-")
        begun = ""
        while (target := waves.next()) is not None:
            begun += target.name
        told.append(f"{event}{begun}")
    return " ".join(told) + (f" | {waves.refusal}" if waves.refusal else "")


@pytest.mark.parametrize(
    ("settings", "events", "told"),
    [
        ({}, "+-", "abcdefgh + -"),
        ({"max_active_targets": 3}, "++-", "abc +d +e -f"),
        ({"max_active_targets": 8}, "+", "abcdefgh +"),
        ({"canary": 2}, "++", "ab + +cdefgh"),
        ({"canary": 2, "max_active_targets": 1}, "+++", "a +b +c +d"),
        ({"canary": 2}, "+-", "ab + - | 1 of 2 canary targets failed"),
        ({"canary": 1}, "-", "a - | 1 of 1 canary target failed"),
        ({"canary": 2}, "++--", "ab + +cdefgh - -"),
        ({"canary": 100}, "++++++++", "abcdefgh + + + + + + + +"),
        ({"max_failed_targets": "0", "max_active_targets": 2}, "+-", f"ab +c - | 1 target {FAILED} 0"),
        ({"max_failed_targets": "1", "max_active_targets": 2}, "--", f"ab -c - | 2 targets {FAILED} 1"),
        ({"max_failed_targets": "25%", "max_active_targets": 1}, "--+-", f"a -b -c +d - | 3 targets {FAILED} 2"),
        ({"max_failed_targets": "100%", "max_active_targets": 1}, "--------", "a -b -c -d -e -f -g -h -"),
    ],
)  # fmt: skip
def test_targets_begin_in_order_as_far_as_the_rules_let_them(
    settings: dict[str, object], events: str, told: str
) -> None:
    """A window bounds those that are open, canaries go first, and too many failures keep the rest from beginning."""
    assert story(events, **settings) == told


@pytest.mark.parametrize(
    ("bound", "targets", "allowed"),
    [("100%", 7, 7), ("0%", 7, 0), ("10%", 7, 0), ("15%", 7, 1), ("12.5%", 8, 1), ("3", 7, 3), ("0", 7, 0)],
)
def test_a_bound_is_a_number_or_a_share(bound: str, targets: int, allowed: int) -> None:
    """A share is of all targets, rounded down."""
    assert FleetSettings(max_failed_targets=bound).failures_allowed(targets) == allowed
