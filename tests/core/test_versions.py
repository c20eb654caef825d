"""Older versions: their roles, what replaces what, and which of them are to be deleted."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.entry import VERSION_EVENTS, Entry, Event, Fact, State
from provisioner.core.recording import Changes, Key
from provisioner.core.versions import (
    DUPLICATE,
    PRUNED,
    REPLACED,
    Role,
    SameArnError,
    Version,
    apply_to_version,
    happening,
    superseded,
    to_delete,
)
from provisioner.errors import IllegalTransitionError, IntegrityError

ENTRY = Entry("here", "x", State.CREATED, "d1", "t1", arn="arn-1", attempt="run-1")
INCOMING = Entry("here", "x", State.SENT, "d2", "t2", attempt="run-2", incoming=True)
OLD = Version("arn-0", "here", "x", Role.SUPERSEDED, REPLACED, attempt="run-0")

ROLES = """
    nothing    supersede superseded
    superseded deleting  superseded
    superseded keep      superseded
    superseded gone      deleted
"""
LEGAL = {(role, event): after for role, event, after in (line.split() for line in ROLES.split("\n") if line.strip())}


class Known:
    """What a ledger has."""

    def __init__(self, *entries: Entry, versions: tuple[Version, ...] = ()) -> None:
        self.entries = {(one.target, one.name): one for one in entries if not one.incoming}
        self.incoming = {(one.target, one.name): one for one in entries if one.incoming}
        self.versions = {one.arn: one for one in versions}

    def entry(self, key: Key) -> Entry | None:
        """See :class:`provisioner.core.recording.Known`."""
        return self.entries.get(key)

    def replacement(self, key: Key) -> Entry | None:
        """The same."""
        return self.incoming.get(key)

    def version(self, arn: str) -> Version | None:
        """The same."""
        return self.versions.get(arn)

    def holder(self, arn: str) -> Key | None:
        """The same."""
        return next((key for key, one in self.entries.items() if one.exists and one.arn == arn), None)


def recorded(known: Known, *facts: Fact) -> Changes:
    """What ``facts`` change."""
    changes = Changes(known, at=9.0, run_id="run-9")
    for fact in facts:
        changes.apply(fact)
    return changes


@pytest.mark.parametrize(("role", "event"), list(product(["nothing", *Role], sorted(VERSION_EVENTS))))
def test_roles(role: str, event: Event) -> None:
    """Only what is superseded is deleted or kept, and what is deleted stays so."""
    version = None if role == "nothing" else msgspec.structs.replace(OLD, role=Role(role))
    fact = Fact("here", "x", event, arn="arn-0", code="409", message="why")
    if (role, event.value) not in LEGAL:
        with pytest.raises(IllegalTransitionError):
            apply_to_version(version, fact, at=1.0, run_id="run-9")
        return

    after = apply_to_version(version, fact, at=1.0, run_id="run-9")

    assert after.role is Role(LEGAL[role, event.value])
    assert (after.arn, after.updated_at, after.run_id, after.message) == ("arn-0", 1.0, "run-9", "why")


def test_a_confirmed_replacement_is_promoted() -> None:
    """It is the entry by its own attempt and digest, and the old one is superseded with what is known of it."""
    confirm = Fact("here", "x", Event.CONFIRM, arn="arn-2", after="run-2", incoming=True)

    changes = recorded(Known(ENTRY, INCOMING), confirm)

    after = changes.entries["here", "x"]
    assert (after.arn, after.attempt, after.digest, after.incoming) == ("arn-2", "run-2", "d2", False)
    assert changes.incoming == {("here", "x"): None}
    assert changes.versions == {"arn-1": superseded(ENTRY, REPLACED, at=9.0, run_id="run-9")}
    assert changes.holders == {"arn-1": None, "arn-2": ("here", "x")}


@pytest.mark.parametrize(
    ("arn", "error"), [("arn-1", SameArnError), ("arn-0", IntegrityError), ("arn-3", IntegrityError)]
)
def test_a_replacement_has_an_arn_of_its_own(arn: str, error: type[Exception]) -> None:
    """Not that of what it replaces, of an older version, or of another entry."""
    other = msgspec.structs.replace(ENTRY, name="y", arn="arn-3")
    confirm = Fact("here", "x", Event.CONFIRM, arn=arn, after="run-2", incoming=True)

    with pytest.raises(error):
        recorded(Known(ENTRY, INCOMING, other, versions=(OLD,)), confirm)


@pytest.mark.parametrize("attempt", ["run-1", "run-3"])
def test_a_replacement_is_confirmed_by_its_own_attempt(attempt: str) -> None:
    """Neither the attempt of the old one nor a later one is proof."""
    with pytest.raises(IllegalTransitionError):
        recorded(Known(ENTRY, INCOMING), Fact("here", "x", Event.CONFIRM, arn="arn-2", after=attempt, incoming=True))


def test_retired_and_reinstated_is_as_before_but_for_the_state() -> None:
    """A delete that was refused leaves no version behind."""
    changes = recorded(Known(ENTRY), Fact("here", "x", Event.RETIRE, code=REPLACED), Fact("here", "x", Event.REINSTATE))

    after = changes.entries["here", "x"]
    assert (after.state, after.arn, after.attempt) == (State.DRIFTED, "arn-1", "run-1")
    assert changes.versions == {"arn-1": None}


@pytest.mark.parametrize("event", [Event.RETIRE, Event.DELETE])
@pytest.mark.parametrize("state", [State.SENT, State.AMBIGUOUS, State.PLANNED, State.FAILED, State.PARKED])
def test_what_may_be_replaced_is_not_given_up(event: Event, state: State) -> None:
    """While a replacement may exist, nothing else would resolve it; one that came to nothing ends with its entry."""
    known = Known(ENTRY, msgspec.structs.replace(INCOMING, state=state))
    if state in {State.SENT, State.AMBIGUOUS}:
        with pytest.raises(IllegalTransitionError):
            recorded(known, Fact("here", "x", event))
    else:
        assert recorded(known, Fact("here", "x", event)).incoming == {("here", "x"): None}


def test_history_leaves_out_what_a_plain_create_tells() -> None:
    """A recovered create, an ambiguous one that turned out to exist and a replacement are worth a row."""
    sent = msgspec.structs.replace(ENTRY, state=State.SENT, arn="")
    ambiguous = msgspec.structs.replace(sent, state=State.AMBIGUOUS)
    confirm = Fact("here", "x", Event.CONFIRM, arn="arn-1")

    def event(entry: Entry | None, fact: Fact) -> str:
        one = happening(entry, fact, at=1.0, run_id="")
        return one.event if one else ""

    assert event(sent, confirm) == ""
    assert event(ambiguous, confirm) == "confirm"
    assert event(None, msgspec.structs.replace(confirm, code="recovered")) == "confirm"
    assert event(ENTRY, msgspec.structs.replace(confirm, incoming=True)) == "replace"
    assert event(None, Fact("here", "x", Event.INTEND)) == ""
    assert event(ENTRY, Fact("here", "x", Event.DRIFT)) == "drift"


# What is deleted.


def version(number: int, **changes: object) -> Version:
    """One of x; a higher number is older."""
    return msgspec.structs.replace(OLD, arn=f"arn-{number}", **changes)


@pytest.mark.parametrize(("keep", "left"), [(0, []), (1, [1]), (2, [1, 2]), (9, [1, 2, 3])])
def test_the_newest_replaced_versions_are_kept(keep: int, left: list[int]) -> None:
    """So many of each name; what was pruned or is a duplicate is never kept."""
    replaced = [version(number) for number in (1, 2, 3)]
    others = [version(8, reason=PRUNED), version(9, reason=DUPLICATE), version(7, role=Role.DELETED)]
    of_y = [version(4, name="y")]

    chosen = {one.arn for one in to_delete([*replaced, *others, *of_y], keep, adopted=False)}

    assert chosen == {f"arn-{number}" for number in {1, 2, 3} - set(left)} | {"arn-8", "arn-9"} | (
        set() if keep else {"arn-4"}
    )


def test_what_may_be_deleted_already_is_not_kept() -> None:
    """An unanswered deletion may have taken effect: it is sent again, and an older version is kept in its place."""
    doubtful, sound = version(1, deletion="run-8"), version(2)

    assert to_delete([doubtful, sound], 1, adopted=False) == [doubtful]


def test_what_was_taken_over_is_deleted_on_request_only() -> None:
    """It neither takes the place of one that is kept."""
    taken, own = version(1, attempt="adopted-0123"), version(2)

    assert to_delete([taken, own], 0, adopted=False) == [own]
    assert to_delete([taken, own], 1, adopted=False) == []
    assert to_delete([taken, own], 0, adopted=True) == [taken, own]
    assert to_delete([taken, own], 1, adopted=True) == [own]


@given(
    st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from([REPLACED, PRUNED]), st.sampled_from(list(Role)))),
    st.integers(0, 3),
)
def test_no_more_are_deleted_when_more_are_kept(rows: list[tuple[str, str, Role]], keep: int) -> None:
    """Raising keep deletes a part of what a lower one deletes, and never what is deleted already."""
    versions = [
        version(number, name=name, reason=reason, role=role) for number, (name, reason, role) in enumerate(rows)
    ]
    fewer, more = to_delete(versions, keep + 1, adopted=True), to_delete(versions, keep, adopted=True)

    assert {one.arn for one in fewer} <= {one.arn for one in more}
    assert all(one.role is Role.SUPERSEDED for one in more)
    for name in "xy":
        kept = [one for one in versions if one.name == name and one.role is Role.SUPERSEDED and one not in more]
        assert len(kept) <= keep
