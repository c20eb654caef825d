"""What every ledger must do. A store is proven by a subclass whose ``store`` fixture opens it; see TestSqlite."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.core.entry import Entry, Event, Fact, Stamp, State, apply, sources
from provisioner.core.problem import Problem
from provisioner.errors import IllegalTransitionError, IntegrityError, LedgerError, ProvisionerError
from provisioner.ledger import RunRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from provisioner.ledger import Ledger

    Store = Callable[..., AbstractAsyncContextManager[Ledger]]
    """Opens the same ledger again and again; takes ``now`` and ``readonly``."""

AT = 1_790_000_000.125


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.at = AT

    def __call__(self) -> float:
        """The time that was set."""
        return self.at


def arn(number: int) -> str:
    """The ARN of algorithm ``number``."""
    return f"arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/{number:032x}"


def intend(name: str, attempt: str = "a1", target: str = "default") -> Fact:
    """The fact that a create of ``name`` is about to be sent."""
    return Fact(
        target,
        name,
        Event.INTEND,
        digest="d" * 64,
        tags_digest="t" * 64,
        attempt=attempt,
        sent=Stamp(AT, "boot", 17.25),
    )


def confirm(name: str, number: int, target: str = "default") -> Fact:
    """The fact that algorithm ``number`` was created for ``name``."""
    return Fact(target, name, Event.CONFIRM, arn=arn(number))


async def all_of(ledger: Ledger, **selection: object) -> list[Entry]:
    """Every entry of ``ledger``."""
    return [entry async for entry in ledger.entries(**selection)]  # type: ignore[arg-type]  # passed through


class LedgerContract:
    """The obligations of :class:`provisioner.ledger.Ledger`, one test each."""

    @pytest.fixture
    def store(self) -> Store:
        """Opens the store under test; subclasses say how."""
        raise NotImplementedError

    async def test_a_new_ledger_is_empty(self, store: Store) -> None:
        """A new ledger has an id of 16 hex digits and nothing else."""
        async with store() as ledger:
            assert len(bytes.fromhex(ledger.ledger_id)) == 8
            assert await all_of(ledger) == []
            assert await ledger.counts() == {}
            assert await ledger.look_up("default", ["x"]) == {}
            assert await ledger.runs() == []

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

    async def test_a_record_is_read_at_once(self, store: Store) -> None:
        """Reads see every fact whose record returned before they began."""
        async with store() as ledger:
            for number in range(20):
                await ledger.record([intend(f"n{number}")])

                assert f"n{number}" in await ledger.look_up("default", [f"n{number}"])

    async def test_registered_are_the_created_ones_with_their_digests(self, store: Store) -> None:
        """Of many names only those whose entry is created are registered, under the digests that were intended."""
        async with store() as ledger:
            await ledger.record([intend("sent"), intend('cre"ated ☂'), intend("drifted")])
            await ledger.record([confirm('cre"ated ☂', 1), confirm("drifted", 2)])
            await ledger.record([Fact("default", "drifted", Event.DRIFT)])

            names = ["sent", 'cre"ated ☂', "drifted", "unknown"]
            entry = (await ledger.look_up("default", names))['cre"ated ☂']
            assert entry.digest
            assert entry.tags_digest
            assert await ledger.registered("default", names) == {entry.name: entry.digest + entry.tags_digest}
            assert await ledger.registered("other", names) == {}
            assert await ledger.registered("default", []) == {}

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

    async def test_an_arn_belongs_to_one_entry(self, store: Store) -> None:
        """An ARN that another entry with an existing algorithm holds is refused, also across targets."""
        async with store() as ledger:
            await ledger.record([intend("a"), confirm("a", 1), intend("b", target="other")])
            with pytest.raises(IntegrityError, match="a"):
                await ledger.record([confirm("b", 1, target="other")])
            with pytest.raises(IntegrityError):
                await ledger.record([intend("c"), confirm("c", 2), intend("d"), confirm("d", 2)])

            assert (await ledger.look_up("other", ["b"]))["b"].state is State.SENT

    async def test_an_arn_is_free_when_its_algorithm_is_gone(self, store: Store) -> None:
        """Two entries may exchange their ARNs in one record, and a deleted algorithm holds none."""
        async with store() as ledger:
            await ledger.record([confirm("a", 1), confirm("b", 2)])
            gone = [Fact("default", name, Event.REPLAN) for name in ("a", "b")]
            await ledger.record([*gone, confirm("a", 2), confirm("b", 1)])
            await ledger.record([Fact("default", "a", Event.DELETE)])
            await ledger.record([confirm("c", 2)])
            held = {entry.name: entry.arn for entry in await all_of(ledger) if entry.exists}

            assert held == {"b": arn(1), "c": arn(2)}

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

    async def test_entries_come_in_order_and_by_selection(self, store: Store) -> None:
        """Entries come in order of target and name, across pages, and only those of the target and states asked for."""
        names = [f"n{number:05}" for number in range(2500)]
        async with store() as ledger:
            await ledger.record([intend(name, target=target) for name in reversed(names) for target in ("b", "a")])
            await ledger.record([confirm(name, number, target="a") for number, name in enumerate(names)])
            keys = [(entry.target, entry.name) for entry in await all_of(ledger)]
            created = await all_of(ledger, states={State.CREATED})
            open_in_a = await all_of(ledger, target="a", states=[State.SENT, State.AMBIGUOUS])
            open_in_b = await all_of(ledger, target="b", states=[State.SENT, State.AMBIGUOUS])

            assert keys == [(target, name) for target in ("a", "b") for name in names]
            assert [entry.name for entry in created] == names
            assert (len(open_in_a), [entry.name for entry in open_in_b]) == (0, names)
            assert await all_of(ledger, states=[]) == []

    async def test_entries_may_change_while_they_are_read(self, store: Store) -> None:
        """A reader that stops half way holds nothing up, and sees what changes behind it."""
        async with store() as ledger:
            await ledger.record([intend(f"n{number:05}") for number in range(1500)])
            stream = ledger.entries()
            first = await anext(stream)
            await ledger.record([confirm("n01499", 1)])
            *_, last = [entry async for entry in stream]

            assert (first.name, last.name, last.state) == ("n00000", "n01499", State.CREATED)

    async def test_counts(self, store: Store) -> None:
        """Counts are by target and state, and leave out what is not there."""
        async with store() as ledger:
            await ledger.record([intend("a"), intend("b"), confirm("b", 1), intend("c", target="other")])

            assert await ledger.counts() == {
                "default": {State.SENT: 1, State.CREATED: 1},
                "other": {State.SENT: 1},
            }

    async def test_facts_carry_the_run_under_way(self, store: Store) -> None:
        """A fact belongs to the run that began last before it."""
        async with store() as ledger:
            await ledger.record([intend("a")])
            await ledger.begin_run(RunRecord("run-1", "apply", AT))
            await ledger.record([intend("b")])
            await ledger.begin_run(RunRecord("run-2", "apply", AT))
            await ledger.record([intend("c")])

            assert {entry.name: entry.run_id for entry in await all_of(ledger)} == {"a": "", "b": "run-1", "c": "run-2"}

    async def test_runs_are_remembered(self, store: Store) -> None:
        """Runs come newest first; one that has ended has its summary, one that died has not."""
        runs = [RunRecord(f"run-{number:02}", "apply", AT + number) for number in range(12)]
        ended = msgspec.structs.replace(runs[11], ended_at=AT + 60.5, exit_code=3, summary=b'{"run_id":"run-11"}')
        async with store() as ledger:
            for run in runs:
                await ledger.begin_run(run)
            await ledger.end_run(ended)
        async with store() as ledger:
            assert await ledger.runs() == [ended, *runs[10:1:-1]]
            assert await ledger.runs(2) == [ended, runs[10]]

    async def test_problems_belong_to_a_run(self, store: Store) -> None:
        """Problems come back in the order in which they were added, by run, for the last 20 runs."""
        problems = [
            Problem("m.jsonl", line, f"n{line}", "invalid", "no role", column=3, target="t", severity="notice")
            for line in range(1, 1203)
        ]
        async with store() as ledger:
            await ledger.begin_run(RunRecord("run-00", "apply", AT))
            await ledger.add_problems(problems[:5])
            await ledger.add_problems(problems[5:])
            first = [problem async for problem in ledger.problems("run-00")]
            for number in range(1, 20):
                await ledger.begin_run(RunRecord(f"run-{number:02}", "apply", AT))
                await ledger.add_problems(problems[:1])
            twentieth = [problem async for problem in ledger.problems("run-00")]
            await ledger.begin_run(RunRecord("run-20", "apply", AT))

            assert first == problems
            assert twentieth == problems
            assert [problem async for problem in ledger.problems("run-00")] == []
            assert [problem async for problem in ledger.problems("run-01")] == problems[:1]

    async def test_what_a_pacer_learned_is_kept(self, store: Store) -> None:
        """The last thing learned is told at once, and after reopening, by target and family."""
        async with store() as ledger:
            before = await ledger.learned("default", "create")
            await ledger.learn("default", "create", b"1")
            await ledger.learn("default", "create", b"\x002")
            await ledger.learn("default", "read", b"3")
            told = await ledger.learned("default", "create")
            await ledger.record([intend("a")])
            await ledger.learn("other", "create", b"4")
        async with store() as ledger:
            kept = [await ledger.learned(*key) for key in (("default", "create"), ("default", "read"))]

            assert (before, told, kept) == (None, b"\x002", [b"\x002", b"3"])
            assert await ledger.learned("other", "create") == b"4"

    async def test_a_reader_sees_a_run_under_way(self, store: Store) -> None:
        """A ledger can be opened for reading beside its writer; it sees commits and refuses to write."""
        async with store() as writer, store(readonly=True) as reader:
            await writer.record([intend("a")])

            assert [entry.name for entry in await all_of(reader)] == ["a"]
            with pytest.raises(LedgerError, match="reading only"):
                await reader.record([intend("b")])
            with pytest.raises(LedgerError, match="reading only"):
                await reader.learn("default", "create", b"1")

    async def test_an_empty_ledger_may_take_an_identity(self, store: Store) -> None:
        """A ledger without entries bears the id that it is given, for good; one with entries keeps its own."""
        async with store() as ledger:
            await ledger.take_identity("0123456789abcdef")
            told = ledger.ledger_id
            await ledger.record([intend("a")])
            with pytest.raises(LedgerError, match="keeps its identity"):
                await ledger.take_identity("fedcba9876543210")
        async with store() as ledger:
            assert (told, ledger.ledger_id) == ("0123456789abcdef", "0123456789abcdef")

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
                max_examples=80,
                deadline=None,
                derandomize=True,
                suppress_health_check=[HealthCheck.too_slow],
            )
            @given(rounds=_ROUNDS)
            def check(rounds: list[list[list[Wish]]]) -> None:
                runner.run(_equal_to_reference(ledger, clock, f"target{next(numbers)}", rounds))

            try:
                check()
            finally:
                runner.run(opened.__aexit__(None, None, None))


class Wish(NamedTuple):
    """A fact to be, whose event is chosen when the state of its entry is known.

    Attributes:
        fact: all but the event.
        choice: picks one of the events.
        legal: pick among those that follow from the state; of all events only few do.
    """

    fact: Fact
    choice: int
    legal: bool

    def granted(self, state: State | None) -> Fact:
        """The fact for an entry in ``state``."""
        legal = [event for event in Event if state in sources(event)]
        events = legal if self.legal and legal else list(Event)
        return msgspec.structs.replace(self.fact, event=events[self.choice % len(events)])


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_FACTS = st.builds(
    Fact,
    target=st.sampled_from(["one", "one", "two"]),
    name=st.sampled_from(["a", "b", "c"]),
    event=st.just(Event.PLAN),
    digest=st.none() | _TEXT,
    tags_digest=st.none() | _TEXT,
    arn=st.none() | st.sampled_from(["", "arn:1", "arn:2", "arn:3"]),
    attempt=st.none() | st.sampled_from(["x", "y"]),
    sent=st.none() | st.builds(Stamp, wall=st.floats(0, 4e9), boot=_TEXT, ticks=st.floats(0, 1e7)),
    code=_TEXT,
    message=_TEXT,
    after=st.none() | st.none() | st.sampled_from(["", "x", "y"]),
)
_WISHES = st.builds(Wish, _FACTS, st.integers(0, 11), st.sampled_from([True, True, True, False]))
_ROUNDS = st.lists(st.lists(st.lists(_WISHES, min_size=1, max_size=3), min_size=1, max_size=5), min_size=1, max_size=8)
"""Rounds of records that are begun at once; each record is a list of facts."""


class Reference:
    """The ledger as :func:`provisioner.core.entry.apply` and the rule about ARNs define it."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}

    def copy(self) -> Reference:
        """One that goes its own way from here on."""
        other = Reference()
        other.entries = self.entries
        return other

    def record(self, facts: Sequence[Fact], at: float, run_id: str = "") -> ProvisionerError | None:
        """Apply all of ``facts`` or none; what refuses them."""
        entries = dict(self.entries)
        try:
            for fact in facts:
                key = (fact.target, fact.name)
                entry = apply(entries.get(key), fact, at=at, run_id=run_id)
                if entry.exists and entry.arn and self._holder(entries, entry) not in (None, key):
                    raise IntegrityError("held")
                entries[key] = entry
        except ProvisionerError as error:
            return error
        self.entries = entries
        return None

    def _holder(self, entries: dict[tuple[str, str], Entry], wanted: Entry) -> tuple[str, str] | None:
        found = {key for key, entry in entries.items() if entry.exists and entry.arn == wanted.arn}
        found.discard((wanted.target, wanted.name))
        return next(iter(found), None)


async def _equal_to_reference(ledger: Ledger, clock: Clock, prefix: str, rounds: list[list[list[Wish]]]) -> None:
    reference = Reference()
    for number, wishes in enumerate(rounds):
        clock.at = AT + number
        records, expected = [], []
        for wished in wishes:
            records.append(_granted(wished, reference, prefix))
            expected.append(reference.record(records[-1], clock.at))
        answers = await asyncio.gather(*(ledger.record(facts) for facts in records), return_exceptions=True)

        assert [type(answer) for answer in answers] == [type(error) for error in expected]
    for target in (f"{prefix}one", f"{prefix}two"):
        entries = {name: entry for (held, name), entry in reference.entries.items() if held == target}

        assert await ledger.look_up(target, ["a", "b", "c"]) == entries
        assert await all_of(ledger, target=target) == [entries[name] for name in sorted(entries)]


def _granted(wishes: list[Wish], reference: Reference, prefix: str) -> list[Fact]:
    """The facts of one record, in targets and with ARNs that no earlier example used."""
    facts: list[Fact] = []
    for wish in wishes:
        tried = reference.copy()
        tried.record(facts, AT)
        key = (f"{prefix}{wish.fact.target}", wish.fact.name)
        entry = tried.entries.get(key)
        arn = f"{prefix}{wish.fact.arn}" if wish.fact.arn else wish.fact.arn
        facts.append(msgspec.structs.replace(wish.granted(entry.state if entry else None), target=key[0], arn=arn))
    return facts
