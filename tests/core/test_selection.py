"""Which entries a selection matches."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.core.entry import Entry, State
from provisioner.core.selection import Selection
from provisioner.core.versions import Role, Version

ENTRY = Entry(
    "east", "look [1]", State.FAILED, "d", "t", updated_at=100.0, run_id="r1", code="ValidationException", message="m"
)
VERSION = Version("arn:1", "east", "look [1]", Role.SUPERSEDED, "replaced", updated_at=100.0, run_id="r1")


@pytest.mark.parametrize(
    ("selection", "matches"),
    [
        ({}, True),
        ({"targets": frozenset({"east", "west"})}, True),
        ({"targets": frozenset({"west"})}, False),
        ({"names": ("look*",)}, True),
        ({"names": ("other", "look [[]?]")}, True),
        ({"names": ("look [1]",)}, False),
        ({"names": ("LOOK*",)}, False),
        ({"names": ("look",)}, False),
        ({"states": frozenset({State.FAILED, State.PARKED})}, True),
        ({"states": frozenset({State.CREATED})}, False),
        ({"states": frozenset({Role.SUPERSEDED})}, False),
        ({"run": "r1"}, True),
        ({"run": "r"}, False),
        ({"since": 100.0}, True),
        ({"since": 100.1}, False),
        ({"code": "ValidationException"}, True),
        ({"code": "Validation"}, False),
        ({"names": ("look*",), "code": "other"}, False),
    ],
)
def test_an_entry_matches_what_agrees_with_it(selection: dict[str, Any], matches: bool) -> None:  # noqa: FBT001
    """Every option that is given must agree; of the values of one option, one must. Names are case-sensitive globs."""
    assert Selection(**selection).matches(ENTRY) is matches


def test_an_older_version_matches_like_an_entry_whose_state_is_its_role() -> None:
    """A superseded version is selected by its role, and by the same other properties as an entry."""
    assert Selection(states=frozenset({Role.SUPERSEDED}), names=("look*",), run="r1").matches(VERSION)
    assert not Selection(states=frozenset({Role.SUPERSEDED}), since=101.0).matches(VERSION)
    assert not Selection(states=frozenset({State.FAILED})).matches(VERSION)


def test_what_the_ledger_can_select_itself() -> None:
    """The states of entries are apart from the role of versions: of only superseded ones, no entry is read."""
    assert Selection().entry_states is None
    assert Selection(states=frozenset({Role.SUPERSEDED})).entry_states == frozenset()
    assert Selection(states=frozenset({State.SENT, Role.SUPERSEDED})).entry_states == frozenset({State.SENT})
    assert not Selection(states=frozenset({State.SENT})).superseded
