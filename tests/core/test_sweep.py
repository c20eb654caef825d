"""What a sweep proves about a replacement; what it proves about a plain create is in tests/engine/test_resolver.py."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from provisioner.core.entry import Entry, Event, Stamp, State
from provisioner.core.inventory import Found
from provisioner.core.ownership import OwnershipTag
from provisioner.core.sweep import Decision, Sweep, Unresolved, facts_of, rule
from tests.fakes import LEDGER_ID, make_policy

SENT = Stamp(1000.0, "boot-1", 0.0)
REPLACEMENT = Entry("here", "x", State.AMBIGUOUS, "d2", "t2", attempt="run-2", sent=SENT, incoming=True)
OPEN = Unresolved(REPLACEMENT, settled_at=360.0)
ONCE = Unresolved(REPLACEMENT, settled_at=360.0, absent_at=400.0)
CONFLICT = Unresolved(REPLACEMENT, settled_at=360.0, conflict=True)

OLD = Found("arn-1", "x", 900.0, OwnershipTag(LEDGER_ID, "d1", "run-1"), "d1", "t1")
NEW = Found("arn-2", "x", 1001.0, OwnershipTag(LEDGER_ID, "d2", "run-2"), "d2", "t2")
TWIN = Found("arn-3", "x", 1002.0, OwnershipTag(LEDGER_ID, "d2", "run-3"), "d2", "t2")
ELSEWHERE = Found("arn-2", " X", 1001.0, OwnershipTag(LEDGER_ID, "d2", "run-2"), "d2", "t2")
FOREIGN = Found("arn-4", "x", 900.0, None, "d2", "t2")

CASES: list[tuple[Unresolved, list[Found], dict[str, Any], Decision]] = [
    # By its own attempt, whenever it is seen and under whatever name.
    (OPEN, [OLD, NEW], {"began_at": 0.0}, Decision.RECOVERED),
    (OPEN, [OLD, NEW], {"complete": False}, Decision.RECOVERED),
    (OPEN, [OLD, ELSEWHERE], {}, Decision.RECOVERED),
    (CONFLICT, [OLD, NEW], {}, Decision.RECOVERED),
    # The old one, a twin of another attempt and a stranger of the same definition prove nothing.
    (OPEN, [OLD], {}, Decision.ABSENT_ONCE),
    (OPEN, [OLD, TWIN], {}, Decision.ABSENT_ONCE),
    (OPEN, [OLD, FOREIGN], {}, Decision.ABSENT_ONCE),
    (OPEN, [], {}, Decision.ABSENT_ONCE),
    # Absence takes two whole sweeps after the settle time.
    (OPEN, [OLD], {"began_at": 359.0}, Decision.UNKNOWN),
    (OPEN, [OLD], {"complete": False}, Decision.UNKNOWN),
    (OPEN, [OLD], {"unread": frozenset("x")}, Decision.UNKNOWN),
    (ONCE, [OLD], {"began_at": 459.0}, Decision.UNKNOWN),
    # What the ledger names is not part of a sweep, so another one of this ledger would be unknown to it.
    (ONCE, [FOREIGN], {"began_at": 460.0}, Decision.ABSENT),
    (ONCE, [OLD], {"began_at": 460.0, "complete": False}, Decision.UNKNOWN),
    # A 409: what it was to replace is in the way.
    (CONFLICT, [OLD], {"began_at": 0.0}, Decision.TAKEN),
    (CONFLICT, [OLD], {"began_at": 0.0, "complete": False}, Decision.UNKNOWN),
    (CONFLICT, [OLD], {"began_at": 0.0, "unread": frozenset("x")}, Decision.UNKNOWN),
]


@pytest.mark.parametrize(("unresolved", "found", "seen", "decision"), CASES)
@pytest.mark.parametrize("adopt", ["never", "any"])
def test_a_replacement_is_proven_by_its_own_attempt_alone(
    unresolved: Unresolved, found: list[Found], seen: dict[str, Any], decision: Decision, adopt: Any
) -> None:
    """Whatever else has its name: that is what it replaces, or has nothing to do with it."""
    by_name: dict[str, list[Found]] = {}
    for one in found:
        by_name.setdefault(one.name, []).append(one)
    sweep = msgspec.structs.replace(Sweep(400.0, complete=True, found=by_name), **seen)

    ruling = rule(unresolved, sweep, make_policy(adopt=adopt), LEDGER_ID)

    assert ruling.decision is decision
    assert (ruling.found.arn if ruling.found else "") == ("arn-2" if decision is Decision.RECOVERED else "")


def test_its_facts_are_about_the_replacement() -> None:
    """Found, absent or refused: the entry itself is left alone, and a refusal names the way out."""
    policy = make_policy()
    found = facts_of(REPLACEMENT, rule(OPEN, Sweep(400.0, complete=True, found={"x": [NEW]}), policy, LEDGER_ID))
    absent = facts_of(REPLACEMENT, rule(ONCE, Sweep(460.0, complete=True, found={}), policy, LEDGER_ID))
    taken = facts_of(REPLACEMENT, rule(CONFLICT, Sweep(0.0, complete=True, found={}), policy, LEDGER_ID))

    facts = [*found, *absent, *taken]
    assert [fact.event for fact in facts] == [Event.CONFIRM, Event.ABSENT, Event.REJECT]
    assert all(fact.incoming and fact.after == "run-2" for fact in facts)
    assert taken[0].code == "names_unique"
    assert "--replace-order delete-first" in taken[0].message
