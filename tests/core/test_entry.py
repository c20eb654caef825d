"""States of entries, and what facts make of them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.core.entry import Entry, Event, Fact, Outcome, Stamp, State, advance, apply, sources
from provisioner.errors import IllegalTransitionError

LEGAL = """
    nothing   plan     planned
    nothing   intend   sent
    nothing   confirm  created
    planned   plan     planned
    planned   intend   sent
    planned   confirm  created
    planned   reject   failed
    sent      confirm  created
    sent      release  planned
    sent      reject   failed
    sent      park     parked
    sent      doubt    ambiguous
    sent      absent   planned
    ambiguous confirm  created
    ambiguous reject   failed
    ambiguous absent   planned
    ambiguous miss     ambiguous
    failed    replan   planned
    parked    replan   planned
    parked    intend   sent
    deleted   replan   planned
    created   replan   planned
    created   drift    drifted
    drifted   drift    drifted
    drifted   restore  created
    created   tag      drifted
    drifted   tag      drifted
    drifted   update   created
    created   delete   deleted
    drifted   delete   deleted
    created   retire   deleted
    drifted   retire   deleted
    deleted   reinstate drifted
    created   question ambiguous
    drifted   question ambiguous
    failed    question ambiguous
    parked    question ambiguous
    planned   question ambiguous
"""
TABLE = {
    (None if before == "nothing" else State(before), Event(event)): State(after)
    for before, event, after in (line.split() for line in LEGAL.split("\n") if line.strip())
}
STATES = (None, *State)
HELD = Stamp(wall=100.0, boot="b", ticks=10.0)


def entry(state: State, **changes: Any) -> Entry:
    """An entry whose every field is set."""
    fields: dict[str, Any] = {
        "digest": "d1",
        "tags_digest": "t1",
        "arn": "arn1",
        "attempt": "a1",
        "sent": HELD,
        "updated_at": 1.0,
        "run_id": "r1",
        "code": "old",
        "message": "old reason",
    }
    return Entry("here", "x", state, **(fields | changes))


def fact(event: Event, **fields: Any) -> Fact:
    """A fact about that entry."""
    return Fact("here", "x", event, **fields)


@pytest.mark.parametrize(("state", "event"), list(product(STATES, Event)))
def test_every_state_and_event(state: State | None, event: Event) -> None:
    """A legal event leads where the table says, every other one is refused with its data."""
    if (state, event) in TABLE:
        assert advance(state, event) is TABLE[state, event]
        return
    with pytest.raises(IllegalTransitionError) as caught:
        advance(state, event)

    assert (caught.value.state, caught.value.fact) == (str(state), event)


@pytest.mark.parametrize("event", Event)
def test_sources_are_where_an_event_may_happen(event: Event) -> None:
    """The sources of an event are the states that the table names."""
    assert sources(event) == {before for before, known in TABLE if known is event}


@pytest.mark.parametrize("state", State)
def test_only_what_cannot_exist_is_sent(state: State) -> None:
    """No state but planned and parked leads to sent, so that an open create is never sent a second time."""
    assert ((state, Event.INTEND) in TABLE) == (state in {State.PLANNED, State.PARKED})


@pytest.mark.parametrize("state", State)
def test_what_an_entry_says_of_its_algorithm(state: State) -> None:
    """Created and drifted ones exist, sent and ambiguous ones are unresolved, of all others neither is true."""
    known = entry(state)

    assert known.exists == (state in {State.CREATED, State.DRIFTED})
    assert known.unresolved == (state in {State.SENT, State.AMBIGUOUS})


def test_outcomes_are_the_words_of_the_contract() -> None:
    """The outcomes are those of the summary, in its order."""
    contract = "created recovered adopted unchanged updated replaced drifted failed parked ambiguous pending"

    assert [outcome.value for outcome in Outcome] == contract.split()


def test_a_first_fact_begins_an_entry() -> None:
    """The first fact of a name makes an entry of what it says, with time and run."""
    intend = fact(Event.INTEND, digest="d", tags_digest="t", attempt="a", sent=HELD)

    begun = apply(None, intend, at=5.0, run_id="r")

    assert begun == Entry("here", "x", State.SENT, "d", "t", attempt="a", sent=HELD, updated_at=5.0, run_id="r")


def test_fields_left_out_keep_their_values() -> None:
    """A fact that says nothing of a field keeps it; time, run, code and message are always those of the last fact."""
    after = apply(entry(State.SENT), fact(Event.DOUBT), at=7.0, run_id="r2")

    assert after == entry(State.AMBIGUOUS, updated_at=7.0, run_id="r2", code="", message="")


def test_fields_given_replace_values() -> None:
    """A fact replaces each field that it names."""
    given_: dict[str, Any] = {
        "digest": "d2",
        "tags_digest": "t2",
        "attempt": "a2",
        "sent": Stamp(200.0),
    }

    after = apply(entry(State.PLANNED), fact(Event.INTEND, **given_, code="c", message="m"), at=7.0, run_id="r2")

    assert after == entry(State.SENT, **given_, updated_at=7.0, run_id="r2", code="c", message="m")


def test_an_empty_text_is_a_value() -> None:
    """An empty digest that a fact names is taken, it is not "left out"."""
    after = apply(entry(State.PLANNED), fact(Event.PLAN, digest="", tags_digest=""), at=7.0, run_id="r")

    assert (after.digest, after.tags_digest) == ("", "")


@pytest.mark.parametrize(("state", "event"), [key for key in TABLE if key[0] is not None])
def test_a_fact_about_an_older_attempt_is_refused(state: State, event: Event) -> None:
    """Whatever the event: one that speaks of another attempt than the last changes nothing, one of the last does."""
    assert apply(entry(state), fact(event, after="a1"), at=1.0, run_id="r").state is TABLE[state, event]
    with pytest.raises(IllegalTransitionError, match=r"a1.*a0|a0.*a1"):
        apply(entry(state), fact(event, after="a0"), at=1.0, run_id="r")


def test_a_fact_about_an_attempt_needs_an_entry() -> None:
    """A fact that speaks of an attempt does not begin an entry: there was none."""
    with pytest.raises(IllegalTransitionError):
        apply(None, fact(Event.CONFIRM, arn="arn1", after="a1"), at=1.0, run_id="r")


@pytest.mark.parametrize(
    ("then", "now", "age_s"),
    [
        (Stamp(0.0, "b", 10.0), Stamp(0.0, "b", 25.5), 15.5),
        (Stamp(0.0, "b", 10.0), Stamp(90000.0, "b", 25.5), 15.5),
        (Stamp(90000.0, "b", 10.0), Stamp(0.0, "b", 25.5), 15.5),
        (Stamp(0.0, "b", 10.0), Stamp(500.0, "c", 510.0), 0.0),
        (Stamp(0.0, "", 10.0), Stamp(500.0, "", 510.0), 0.0),
        (Stamp(0.0, "b", 10.0), Stamp(500.0, "", 510.0), 0.0),
        (Stamp(0.0, "b", 10.0), Stamp(500.0, "b", 9.0), 0.0),
    ],
)
def test_an_age_is_what_has_passed_for_sure(then: Stamp, now: Stamp, age_s: float) -> None:
    """Age counts ticks of one boot; jumps of the wall clock do not matter; across boots nothing is sure."""
    assert then.age_s(now) == age_s


clocks = st.builds(Stamp, st.floats(-1e9, 1e9), st.sampled_from(["", "b", "c"]), st.floats(0, 1e9))


@settings(derandomize=True)
@given(clocks, clocks, st.floats(-1e6, 1e6))
def test_no_clock_makes_an_age_negative_or_too_long(then: Stamp, now: Stamp, jump: float) -> None:
    """Whatever two stamps say, an age is at least 0, at most the ticks between them, and the same for any wall time."""
    age = then.age_s(now)

    assert 0.0 <= age <= abs(now.ticks - then.ticks)
    assert Stamp(then.wall + jump, then.boot, then.ticks).age_s(now) == age
