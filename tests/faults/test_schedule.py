"""Schedules by the seed, and by hypothesis; and the flaws that must break them."""

from __future__ import annotations

import os
import time
from random import Random
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.fakes import make_policy
from tests.faults.schedule import EXECUTION_S, HARMLESS, LAG_S, LEDGER_IDS, LOST, Flaw, Schedule, explore

if TYPE_CHECKING:
    from tests.faults.schedule import Process

COUNT = int(os.environ.get("PROVISIONER_SCHEDULES", "50000"))
"""Schedules in a torture run; 1,000,000 take an hour on two cores."""


def test_schedules() -> None:
    """However intents, sends, replies, crashes, sweeps and time interleave: nothing is lost, nothing is made twice."""
    assert explore(400, 1) == {"right": 400}, "replay: python -m tests.faults.schedule --seed 1 --count 400"


@pytest.mark.torture
def test_schedules_in_full() -> None:
    """The same, 50,000 times; PROVISIONER_SCHEDULES says how often."""
    seed = Random().randrange(10**9)  # noqa: S311  printed
    began = time.perf_counter()

    found = explore(COUNT, seed)

    rate = COUNT / (time.perf_counter() - began)
    print(f"schedules, seed {seed}: {dict(found)}; {rate:.0f} a second")  # noqa: T201  the campaign's figures
    assert found == {"right": COUNT}, f"replay: python -m tests.faults.schedule --seed {seed} --count {COUNT}"


@pytest.mark.parametrize("flaw", get_args(Flaw)[1:])
def test_controls(flaw: Flaw) -> None:
    """A process that sends again blindly, asks List at once or never, or waits too short makes duplicates.

    So does a ledger that goes back, or another one that is used, before what was sent has settled.
    """
    assert explore(150, 7, flaw)["twice"] > 3


def test_what_a_dead_run_left_may_have_left_at_its_death() -> None:
    """A process that stood still before it sent, and died right after, leaves nothing that is settled already."""
    schedule = Schedule("duplicates", make_policy(), 1)
    schedule.start()
    schedule.contact(lag_s=0.0, complete=True)
    schedule.intend()
    schedule.look(schedule.names[0])
    schedule.wait(1000.0)
    schedule.send(schedule.names[0], EXECUTION_S, LOST[0])
    schedule.crash()

    schedule.finish()

    assert schedule.verdict() == ""


@pytest.mark.parametrize("names", ["unique", "duplicates", "same"])
def test_a_ledger_that_went_back_in_time_recovers(names: Any) -> None:
    """What an older copy of the ledger does not know is recovered, and none of it is sent again."""
    schedule = Schedule(names, make_policy(), 3)
    schedule.copy()
    schedule.finish()
    sent = len(schedule.intents)

    schedule.go_back(0)
    schedule.finish()

    assert (schedule.verdict(), len(schedule.intents)) == ("", sent)
    assert {entry.code for entry in schedule.ledger.values()} == {"recovered"}


@pytest.mark.parametrize("names", ["unique", "duplicates", "same"])
def test_a_second_ledger_is_refused_what_the_first_created(names: Any) -> None:
    """A fresh ledger in the same account makes nothing a second time, and the first one goes on as before."""
    schedule = Schedule(names, make_policy(), 3)
    schedule.finish()
    first, sent = dict(schedule.ledger), len(schedule.intents)

    schedule.use_other_ledger()
    schedule.finish()

    assert (schedule.verdict(), len(schedule.intents)) == ("", sent)
    assert schedule.ledgers[LEDGER_IDS[0]] == first
    assert {entry.code for entry in schedule.ledgers[LEDGER_IDS[1]].values()} == {"other_ledger"}


class EveryOrder(RuleBasedStateMachine):
    """The same process and service, with hypothesis in place of the dice."""

    @initialize(
        names=st.sampled_from(["unique", "duplicates", "same"]), configured=st.booleans(), size=st.integers(1, 3)
    )
    def begin(self, names: Any, configured: bool, size: int) -> None:  # noqa: FBT001  hypothesis draws it
        """A world of names, which the configuration may know."""
        self.schedule = Schedule(names, make_policy(names=names if configured else "unknown"), size)

    @property
    def process(self) -> Process:
        """The process that is alive."""
        assert self.schedule.process is not None
        return self.schedule.process

    def _alive(self) -> bool:
        return self.schedule.process is not None

    @precondition(lambda self: not self._alive())
    @rule()
    def start(self) -> None:
        """A run begins."""
        self.schedule.start()

    @rule(seconds=st.sampled_from([0.1, 4.0, 6.0, 59.0, 61.0, 300.0, 361.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.schedule.wait(seconds)

    @precondition(lambda self: self._alive())
    @rule(machine=st.booleans())
    def crash(self, machine: bool) -> None:  # noqa: FBT001  hypothesis draws it
        """The process dies, or the whole machine."""
        (self.schedule.restart_machine if machine else self.schedule.crash)()

    @rule()
    def copy(self) -> None:
        """The ledger is copied."""
        self.schedule.copy()

    @precondition(lambda self: self.schedule.copies)
    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        """The ledger goes back in time."""
        self.schedule.go_back(data.draw(st.integers(0, len(self.schedule.copies) - 1)))

    @rule()
    def use_other_ledger(self) -> None:
        """A second ledger appears, or the first one comes back."""
        self.schedule.use_other_ledger()

    @precondition(lambda self: self._alive() and self.process.queue and self.process.listed is None)
    @rule(lag_s=st.floats(0.0, LAG_S), complete=st.booleans())
    def contact(self, lag_s: float, complete: bool) -> None:  # noqa: FBT001  hypothesis draws it
        """List is read before the first create; it may break off."""
        self.schedule.contact(lag_s=lag_s, complete=complete)

    @precondition(lambda self: self._alive() and self.process.queue and self.process.listed is not None)
    @rule()
    def intend(self) -> None:
        """An intent is committed."""
        self.schedule.intend()

    @precondition(lambda self: self._alive() and self.process.intended)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        """The last look at the clock before a create leaves; then the process may stand still."""
        self.schedule.look(data.draw(st.sampled_from(sorted(self.process.intended))))

    @precondition(lambda self: self._alive() and self.process.ready)
    @rule(
        data=st.data(),
        effect_s=st.none() | st.floats(0.0, EXECUTION_S),
        lost=st.none() | st.sampled_from(LOST),
    )
    def send(self, data: st.DataObject, effect_s: float | None, lost: Any) -> None:
        """A create leaves; its reply comes, or is lost."""
        name = data.draw(st.sampled_from(sorted(self.process.ready)))
        reply = lost or (data.draw(st.sampled_from(HARMLESS)) if effect_s is None else None)
        self.schedule.send(name, effect_s, reply)

    @precondition(lambda self: self._alive() and self.process.calls)
    @rule(data=st.data())
    def receive(self, data: st.DataObject) -> None:
        """A reply is seen, or its absence."""
        self.schedule.receive(data.draw(st.sampled_from(sorted(self.process.calls))))

    @precondition(lambda self: self.schedule.may_sweep)
    @rule(lag_s=st.floats(0.0, LAG_S), complete=st.booleans())
    def sweep(self, lag_s: float, complete: bool) -> None:  # noqa: FBT001  hypothesis draws it
        """A sweep, which may break off."""
        self.schedule.sweep(lag_s=lag_s, complete=complete)

    @invariant()
    def nothing_is_there_twice(self) -> None:
        """At most one algorithm of each name, each made by a committed attempt, at every moment."""
        if not hasattr(self, "schedule"):
            return
        assert not self.schedule.twice
        assert {one.attempt for one in self.schedule.service.made} <= self.schedule.intents

    def teardown(self) -> None:
        """Then the world is kind, and the job ends with everything registered once."""
        if hasattr(self, "schedule"):
            self.schedule.finish()
            assert self.schedule.verdict() == ""


TestEveryOrder = EveryOrder.TestCase
TestEveryOrder.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
