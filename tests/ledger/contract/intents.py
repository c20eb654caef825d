"""What a record makes durable, and what it leaves alone when a fact is refused."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from provisioner.core.entry import Event, Fact, State, apply
from provisioner.errors import IllegalTransitionError, IntegrityError, LedgerError
from provisioner.ledger import RunRecord
from tests.ledger.contract.facts import AT, Clock, all_of, confirm, intend
from tests.ledger.contract.reference import ROUNDS, equal_to_reference

if TYPE_CHECKING:
    from tests.ledger.contract.facts import Store
    from tests.ledger.contract.reference import Wish


class Intents:
    """What a record makes durable, and what it leaves alone when a fact is refused."""

    examples = 80
    """Sequences of facts that are compared with the reference."""

    async def test_what_was_recorded_is_there_after_reopening(self, store: Store) -> None:
        """The id of the ledger and every column of an entry survive closing."""
        clock = Clock()
        fact = msgspec.structs.replace(intend("weiß ☂ \t'\"\\ 😀"), message="NUL \x00 and control \x1b", code="c\x00d")
        async with store(now=clock) as ledger:
            identity = ledger.ledger_id
            await ledger.begin_run(RunRecord("run-1", "apply", AT))
            await ledger.record([fact])
        async with store() as ledger:
            [entry] = await all_of(ledger)

            assert ledger.ledger_id == identity
            assert entry == apply(None, fact, at=clock.at, run_id="run-1")
            assert await ledger.look_up("default", ["other", fact.name]) == {fact.name: entry}

    async def test_all_facts_of_a_record_or_none(self, store: Store) -> None:
        """When one fact of a record is refused, none of its facts takes effect."""
        async with store() as ledger:
            await ledger.record([intend("a")])
            with pytest.raises(IllegalTransitionError):
                await ledger.record([confirm("a", 1), intend("b"), confirm("b", 2), intend("b")])

            assert [(entry.name, entry.state) for entry in await all_of(ledger)] == [("a", State.SENT)]

    async def test_a_refused_fact_harms_no_other_caller(self, store: Store) -> None:
        """Of many records at once, those that are right take effect, and each wrong one is told so."""
        async with store() as ledger:
            facts = [intend(f"n{number}") if number % 3 else confirm(f"n{number}", 7) for number in range(60)]
            answers = await asyncio.gather(*(ledger.record([fact]) for fact in facts), return_exceptions=True)

            assert [n for n, answer in enumerate(answers) if isinstance(answer, IntegrityError)] == list(
                range(3, 60, 3)
            )
            assert len(await all_of(ledger)) == 41

    async def test_a_fact_about_an_older_attempt_is_refused(self, store: Store) -> None:
        """A late answer for an attempt that is no longer the last one changes nothing."""
        late = msgspec.structs.replace(confirm("a", 1), after="a1")
        async with store() as ledger:
            await ledger.record([intend("a"), Fact("default", "a", Event.RELEASE), intend("a", "a2")])
            with pytest.raises(IllegalTransitionError):
                await ledger.record([late])

            assert (await ledger.look_up("default", ["a"]))["a"].state is State.SENT

    async def test_text_that_is_not_unicode_harms_no_neighbour(self, store: Store) -> None:
        """A fact that cannot be stored is refused alone."""
        broken = msgspec.structs.replace(intend("a"), message="\udc80")
        async with store() as ledger:
            answers = await asyncio.gather(
                *(ledger.record([fact]) for fact in (intend("b"), broken, intend("c"))), return_exceptions=True
            )

            assert [type(answer) for answer in answers] == [type(None), UnicodeEncodeError, type(None)]
            assert [entry.name for entry in await all_of(ledger)] == ["b", "c"]

    async def test_nothing_to_record_is_no_error(self, store: Store) -> None:
        """Empty batches are allowed everywhere."""
        async with store() as ledger:
            await ledger.record([])
            await ledger.add_problems([])

            assert await ledger.look_up("default", []) == {}

    async def test_a_cancelled_caller_does_not_cancel_its_fact(self, store: Store) -> None:
        """A record that was begun becomes durable although nobody waits for it."""
        async with store() as ledger:
            task = asyncio.ensure_future(ledger.record([intend("a")]))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with store() as ledger:
            assert [entry.name for entry in await all_of(ledger)] == ["a"]

    async def test_facts_carry_the_run_under_way(self, store: Store) -> None:
        """A fact belongs to the run that began last before it."""
        async with store() as ledger:
            await ledger.record([intend("a")])
            await ledger.begin_run(RunRecord("run-1", "apply", AT))
            await ledger.record([intend("b")])
            await ledger.begin_run(RunRecord("run-2", "apply", AT))
            await ledger.record([intend("c")])

            assert {entry.name: entry.run_id for entry in await all_of(ledger)} == {"a": "", "b": "run-1", "c": "run-2"}

    async def test_close_may_be_called_twice(self, store: Store) -> None:
        """Closing again does nothing, and what comes after closing is refused."""
        async with store() as ledger:
            await asyncio.gather(ledger.close(), ledger.close())
            await ledger.close()
            with pytest.raises(LedgerError, match="closed"):
                await ledger.record([intend("a")])
            with pytest.raises(LedgerError, match="closed"):
                await ledger.look_up("default", ["a"])

    async def test_what_was_recorded_just_before_closing_is_kept(self, store: Store) -> None:
        """Closing commits what is under way first."""
        async with store() as ledger:
            tasks = [asyncio.ensure_future(ledger.record([intend(f"n{number}")])) for number in range(300)]
            await asyncio.sleep(0)
            await ledger.close()
            await asyncio.gather(*tasks)
        async with store() as ledger:
            assert len(await all_of(ledger)) == 300

    def test_facts_mean_what_the_reference_says(self, store: Store) -> None:
        """Whatever facts come, in whatever batches, the entries are those of provisioner.core.entry.apply."""
        numbers = itertools.count()
        with asyncio.Runner() as runner:
            clock = Clock()
            opened = store(now=clock)
            ledger = runner.run(opened.__aenter__())

            @settings(
                max_examples=self.examples,
                deadline=None,
                derandomize=True,
                suppress_health_check=[HealthCheck.too_slow],
            )
            @given(rounds=ROUNDS)
            def check(rounds: list[list[list[Wish]]]) -> None:
                runner.run(equal_to_reference(ledger, clock, f"target{next(numbers)}", rounds))

            try:
                check()
            finally:
                runner.run(opened.__aexit__(None, None, None))
