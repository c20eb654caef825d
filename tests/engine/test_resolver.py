"""Unresolved entries: the rule of a sweep, and the resolver that carries it out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.aws.faces import CallError
from provisioner.core.entry import Entry, Event, Fact, Stamp, State
from provisioner.core.inventory import Found
from provisioner.core.ownership import OwnershipTag
from provisioner.core.sweep import Decision, Ruling, Sweep, Unresolved, due_at, facts_of, rule
from provisioner.core.verdict import Loss, Reply
from provisioner.engine.resolver import Resolver
from provisioner.engine.retry import READ_ATTEMPTS
from provisioner.errors import IntegrityError, LedgerError, LedgerLockedError
from provisioner.manifest.definition import Definition
from tests.fakes import (
    EPOCH_S,
    LEDGER_ID,
    ROLE,
    TAG,
    Algorithm,
    Endpoint,
    FakeClock,
    FakeLease,
    FakeLedger,
    make_policy,
    now,
    open_target,
)
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from provisioner.core.policy import Policy

OTHER_LEDGER = "00000000000000bb"
SAME, OTHER = "5a" * 16, "07" * 16
ENTRY = Entry(
    "here", "x", State.AMBIGUOUS, digest=SAME, tags_digest="t", attempt="run-1", sent=Stamp(EPOCH_S, "boot-1", 0.0)
)
UNRESOLVED = Unresolved(ENTRY, settled_at=360.0)
CONFLICT = Unresolved(ENTRY, settled_at=360.0, conflict=True)
ABSENT_ONCE = Unresolved(ENTRY, settled_at=360.0, absent_at=400.0)

OURS = Found("arn-1", "x", EPOCH_S + 1, OwnershipTag(LEDGER_ID, SAME, "run-1"), SAME, "t")
LATER = Found("arn-0", "x", EPOCH_S + 2, OwnershipTag(LEDGER_ID, SAME, "run-2"), SAME, "t")
FOREIGN_SAME = Found("arn-2", "x", EPOCH_S - 9, None, SAME, "t2")
THEIRS = Found("arn-5", "x", EPOCH_S - 9, OwnershipTag(OTHER_LEDGER, SAME, "run-1"), SAME, "t2")
FOREIGN_OTHER = Found("arn-3", "x", EPOCH_S - 99, None, OTHER, "t3")
FOREIGN_FIRST = Found("arn-4", "x", EPOCH_S - 999, None, OTHER, "t4")

Adopt = Literal["never", "same", "any"]
Names = Literal["unknown", "unique", "duplicates", "same"]


def sweep(*found: Found, began_at: float = 400.0, complete: bool = True, unread: bool = False) -> Sweep:
    """A sweep that saw ``found`` under the name x."""
    return Sweep(began_at, complete, {"x": list(found)} if found else {}, frozenset("x" if unread else ""))


def ruled(unresolved: Unresolved, seen: Sweep, **policy: Any) -> tuple[Decision, str, list[str]]:
    """The decision, the ARN that it is about, and those of further ones."""
    ruling = rule(unresolved, seen, make_policy(**policy), LEDGER_ID)
    return ruling.decision, ruling.found.arn if ruling.found else "", [one.arn for one in ruling.duplicates]


@pytest.mark.parametrize(
    ("found", "kept", "duplicates"),
    [
        ([OURS], "arn-1", []),
        ([LATER], "arn-0", []),
        ([LATER, OURS], "arn-1", ["arn-0"]),
        ([FOREIGN_OTHER, FOREIGN_SAME, LATER, OURS], "arn-1", ["arn-0"]),
    ],
)
@pytest.mark.parametrize("unresolved", [UNRESOLVED, CONFLICT, ABSENT_ONCE])
@pytest.mark.parametrize("seen", [{}, {"began_at": 0.0}, {"complete": False}, {"unread": True}])
def test_what_bears_our_tag_is_ours(
    found: list[Found], kept: str, duplicates: list[str], unresolved: Unresolved, seen: dict[str, Any]
) -> None:
    """An algorithm with our tag is ours whenever it is seen; of two the oldest is kept and the other reported."""
    assert ruled(unresolved, sweep(*found, **seen)) == (Decision.RECOVERED, kept, duplicates)


def test_of_the_same_age_the_first_arn_is_kept() -> None:
    """Two of our algorithms with the same time of creation are ordered by ARN, so the choice is always the same."""
    twin = msgspec.structs.replace(OURS, arn="arn-00")

    assert (
        ruled(UNRESOLVED, sweep(OURS, twin))
        == ruled(UNRESOLVED, sweep(twin, OURS))
        == (Decision.RECOVERED, "arn-00", ["arn-1"])
    )


FOREIGN = [
    # adopt, found, decision, ARN
    ("never", [FOREIGN_SAME], Decision.TAKEN, "arn-2"),
    ("never", [FOREIGN_OTHER], Decision.TAKEN, "arn-3"),
    ("same", [FOREIGN_SAME], Decision.ADOPT, "arn-2"),
    ("same", [FOREIGN_OTHER], Decision.TAKEN, "arn-3"),
    ("same", [FOREIGN_SAME, FOREIGN_OTHER], Decision.ADOPT, "arn-2"),
    ("same", [FOREIGN_OTHER, FOREIGN_FIRST], Decision.TAKEN, "arn-4"),
    ("any", [FOREIGN_OTHER], Decision.ADOPT, "arn-3"),
    ("any", [FOREIGN_SAME, FOREIGN_OTHER], Decision.ADOPT, "arn-2"),
    ("any", [FOREIGN_OTHER, FOREIGN_FIRST], Decision.TAKEN, "arn-4"),
]


@pytest.mark.parametrize(("adopt", "found", "decision", "arn"), FOREIGN)
@pytest.mark.parametrize("names", ["unknown", "unique", "same"])
def test_a_foreign_algorithm_is_adopted_or_in_the_way(
    adopt: Adopt, found: list[Found], decision: Decision, arn: str, names: Names
) -> None:
    """One of the same name that is not ours is adopted by policy, one of our definition first; else it fails us."""
    assert ruled(UNRESOLVED, sweep(*found), adopt=adopt, names=names) == (decision, arn, [])


@pytest.mark.parametrize("adopt", ["never", "same", "any"])
@pytest.mark.parametrize("unresolved", [UNRESOLVED, CONFLICT])
def test_what_another_ledger_created_is_never_adopted_by_a_sweep(unresolved: Unresolved, adopt: Adopt) -> None:
    """--adopt is about what no ledger created; another ledger's is refused with its id, unless it is taken over."""
    ruling = rule(unresolved, sweep(THEIRS), make_policy(adopt=adopt), LEDGER_ID)

    assert (ruling.decision, ruling.code) == (Decision.TAKEN, "other_ledger")
    assert f"--take-over {OTHER_LEDGER}" in facts_of(ENTRY, ruling)[0].message
    assert ruled(unresolved, sweep(THEIRS), adopt=adopt, take_over=OTHER_LEDGER)[0] is Decision.ADOPT


def test_duplicates_of_a_ledger_that_is_taken_over_are_found() -> None:
    """As at first contact: of two algorithms of the ledger that is taken over, one is kept and one is a duplicate."""
    twin = msgspec.structs.replace(THEIRS, arn="arn-6", created_at=EPOCH_S - 8)

    assert ruled(UNRESOLVED, sweep(twin, THEIRS), take_over=OTHER_LEDGER) == (Decision.ADOPT, "arn-5", ["arn-6"])


def test_what_the_entry_gave_up_is_never_taken_up_again() -> None:
    """The ARN that the entry has was deleted before this create was sent: a List that still shows it proves nothing."""
    anew = msgspec.structs.replace(UNRESOLVED, entry=msgspec.structs.replace(ENTRY, arn=OURS.arn, attempt="run-2"))

    assert ruled(anew, sweep(OURS)) == (Decision.ABSENT_ONCE, "", [])
    assert ruled(anew, sweep(OURS, LATER)) == (Decision.RECOVERED, LATER.arn, [])


@pytest.mark.parametrize(
    ("unresolved", "seen", "decided"),
    [
        (UNRESOLVED, {"began_at": 359.9}, False),
        (UNRESOLVED, {"began_at": 360.0}, True),
        (UNRESOLVED, {"complete": False}, False),
        (UNRESOLVED, {"unread": True}, False),
        (CONFLICT, {"began_at": 0.0}, True),
        (CONFLICT, {"began_at": 0.0, "complete": False}, False),
        (CONFLICT, {"began_at": 0.0, "unread": True}, False),
    ],
)
@pytest.mark.parametrize("adopt", ["never", "any"])
def test_a_foreign_algorithm_decides_once_ours_is_settled(
    unresolved: Unresolved,
    seen: dict[str, Any],
    decided: bool,  # noqa: FBT001  a table
    adopt: Adopt,
) -> None:
    """Names may not be unique: another's decides in a whole sweep after the settle time only, or after a 409."""
    decision, _, _ = ruled(unresolved, sweep(FOREIGN_SAME, **seen), adopt=adopt)

    assert decision is ({"never": Decision.TAKEN, "any": Decision.ADOPT}[adopt] if decided else Decision.UNKNOWN)


@pytest.mark.parametrize(
    ("adopt", "found", "decision"),
    [
        ("never", FOREIGN_SAME, Decision.ABSENT_ONCE),
        ("same", FOREIGN_OTHER, Decision.ABSENT_ONCE),
        ("same", FOREIGN_SAME, Decision.ADOPT),
        ("any", FOREIGN_OTHER, Decision.ADOPT),
        ("any", THEIRS, Decision.ABSENT_ONCE),
    ],
)
def test_where_names_are_not_unique_nobody_is_in_the_way(adopt: Adopt, found: Found, decision: Decision) -> None:
    """Where several may have a name, a foreign one that is not adopted leaves ours absent, not refused."""
    assert ruled(UNRESOLVED, sweep(found), adopt=adopt, names="duplicates")[0] is decision
    assert ruled(CONFLICT, sweep(FOREIGN_OTHER), adopt="never", names="duplicates")[0] is Decision.TAKEN


@pytest.mark.parametrize(
    ("unresolved", "seen", "decision"),
    [
        (UNRESOLVED, sweep(began_at=360.0), Decision.ABSENT_ONCE),
        (UNRESOLVED, sweep(began_at=359.9), Decision.UNKNOWN),
        (UNRESOLVED, sweep(began_at=9999.0, complete=False), Decision.UNKNOWN),
        (UNRESOLVED, sweep(began_at=9999.0, unread=True), Decision.UNKNOWN),
        (CONFLICT, sweep(began_at=0.0), Decision.UNKNOWN),
        (CONFLICT, sweep(began_at=360.0), Decision.ABSENT_ONCE),
        (ABSENT_ONCE, sweep(began_at=400.0), Decision.UNKNOWN),
        (ABSENT_ONCE, sweep(began_at=459.9), Decision.UNKNOWN),
        (ABSENT_ONCE, sweep(began_at=460.0), Decision.ABSENT),
        (ABSENT_ONCE, sweep(began_at=460.0, complete=False), Decision.UNKNOWN),
        (ABSENT_ONCE, sweep(began_at=460.0, unread=True), Decision.UNKNOWN),
    ],
)
def test_absence_takes_two_whole_sweeps(unresolved: Unresolved, seen: Sweep, decision: Decision) -> None:
    """Absent is what two complete sweeps did not see: both begun after the settle time, and the List lag apart."""
    assert ruled(unresolved, seen) == (decision, "", [])


@pytest.mark.parametrize(
    ("found", "ours"),
    [
        (Found("a", "x", EPOCH_S + 1, None, SAME, "t"), True),
        (Found("a", "x", EPOCH_S - 300, None, SAME, "t"), True),
        (Found("a", "x", EPOCH_S - 301, None, SAME, "t"), False),
        (Found("a", "x", EPOCH_S + 1, None, OTHER, "t"), False),
    ],
)
def test_without_a_tag_name_definition_and_time_prove(found: Found, ours: bool) -> None:  # noqa: FBT001  a table
    """With tags switched off, ours has our definition and is no older than the send, within the clocks' difference."""
    decision, _, _ = ruled(UNRESOLVED, sweep(found), ownership_tag="", adopt="never")

    assert decision is (Decision.RECOVERED if ours else Decision.TAKEN)


def test_without_a_tag_a_send_must_be_known() -> None:
    """With tags switched off, nothing is ours without a known send."""
    never_sent = Unresolved(msgspec.structs.replace(ENTRY, sent=None), settled_at=0.0)
    found = Found("a", "x", EPOCH_S + 1, None, SAME, "t")

    assert ruled(never_sent, sweep(found), ownership_tag="", adopt="never")[0] is Decision.TAKEN


def test_with_a_tag_nothing_else_proves() -> None:
    """With tags switched on, an algorithm without our tag is not ours, even with the same definition and time."""
    found = Found("a", "x", EPOCH_S + 1, None, SAME, "t")

    assert ruled(UNRESOLVED, sweep(found), adopt="never")[0] is Decision.TAKEN


founds = st.lists(st.sampled_from([OURS, LATER, FOREIGN_SAME, FOREIGN_OTHER, FOREIGN_FIRST]), unique=True)
open_entries = st.builds(
    Unresolved,
    st.just(ENTRY),
    st.floats(0, 1000),
    st.booleans(),
    st.booleans(),
    st.one_of(st.none(), st.floats(0, 1000)),
)
policies = st.builds(
    make_policy,
    names=st.sampled_from(["unknown", "unique", "duplicates", "same"]),
    adopt=st.sampled_from(["never", "same", "any"]),
)


@settings(derandomize=True, max_examples=500)
@given(open_entries, founds, st.floats(0, 2000), st.booleans(), st.booleans(), policies)
def test_no_sweep_says_more_than_it_saw(
    unresolved: Unresolved,
    found: list[Found],
    began_at: float,
    complete: bool,  # noqa: FBT001  drawn
    unread: bool,  # noqa: FBT001  drawn
    policy: Policy,
) -> None:
    """Ours exactly where ours was seen; absent only of a whole sweep that began late enough; foreign only likewise."""
    ruling = rule(unresolved, sweep(*found, began_at=began_at, complete=complete, unread=unread), policy, LEDGER_ID)
    whole = complete and not unread
    late = whole and began_at >= unresolved.settled_at

    assert (ruling.decision is Decision.RECOVERED) == any(one.tag and one.tag.ledger_id == LEDGER_ID for one in found)
    if ruling.decision in {Decision.ABSENT, Decision.ABSENT_ONCE}:
        assert late
    if ruling.decision is Decision.ABSENT:
        assert unresolved.absent_at is not None
        assert began_at >= unresolved.absent_at + policy.list_lag_s
    if ruling.decision in {Decision.ADOPT, Decision.TAKEN}:
        assert late or (whole and unresolved.conflict)


@pytest.mark.parametrize(
    ("left", "at"),
    [
        ([UNRESOLVED], 360.0),
        ([UNRESOLVED, Unresolved(ENTRY, 500.0), Unresolved(ENTRY, 200.0)], 500.0),
        ([ABSENT_ONCE], 460.0),
        ([ABSENT_ONCE, UNRESOLVED], 460.0),
        ([CONFLICT], 0.0),
        ([CONFLICT, Unresolved(ENTRY, 500.0)], 0.0),
        ([Unresolved(ENTRY, 360.0, conflict=True, looked=True)], 360.0),
        ([Unresolved(ENTRY, 360.0, looked=True)], 360.0),
    ],
)
def test_when_the_next_sweep_may_begin(left: list[Unresolved], at: float) -> None:
    """One sweep serves all: when the last entry is due, or at once for a conflict without an early sweep."""
    assert due_at(left, make_policy()) == at


def facts(decision: Decision, found: Found | None = None) -> tuple[Fact, ...]:
    """The facts of a ruling on the entry."""
    return facts_of(ENTRY, Ruling(decision, found))


@pytest.mark.parametrize("decision", [Decision.UNKNOWN, Decision.ABSENT_ONCE])
def test_an_open_ruling_is_no_fact(decision: Decision) -> None:
    """What is not decided leaves no trace in the ledger."""
    assert facts(decision) == ()


def test_absence_plans_the_same_attempt_again() -> None:
    """Proven absence is a fact about the attempt that was looked for, and about no later one."""
    assert facts(Decision.ABSENT) == (Fact("here", "x", Event.ABSENT, after="run-1", message="proven absent twice"),)


def test_what_is_recovered_is_confirmed_as_its_tag_says() -> None:
    """What is recovered has digest and attempt of its tag: Get may word a definition otherwise than it was sent."""
    reworded = msgspec.structs.replace(OURS, digest=OTHER)

    [fact] = facts(Decision.RECOVERED, reworded)

    assert (fact.event, fact.arn, fact.digest, fact.tags_digest) == (Event.CONFIRM, "arn-1", SAME, "t")
    assert (fact.code, fact.attempt, fact.after) == ("recovered", "run-1", "run-1")


def test_what_is_adopted_is_confirmed_as_it_is() -> None:
    """A foreign algorithm is confirmed with its own digests, whatever another ledger's tag says."""
    [fact] = facts(Decision.ADOPT, msgspec.structs.replace(FOREIGN_SAME, digest=OTHER))

    assert (fact.event, fact.arn, fact.digest, fact.tags_digest) == (Event.CONFIRM, "arn-2", OTHER, "t2")


def test_a_taken_name_fails_with_its_holder() -> None:
    """A name that is taken fails for good, and the ledger says by which ARN."""
    [fact] = facts_of(ENTRY, rule(UNRESOLVED, sweep(FOREIGN_OTHER), make_policy(adopt="never"), LEDGER_ID))

    assert (fact.event, fact.code, fact.after) == (Event.REJECT, "name_taken", "run-1")
    assert "arn-3" in fact.message


# The reconciler, over fakes and in virtual time.


def definition(name: str) -> Definition:
    """The definition that was sent under ``name``."""
    return Definition(name=name, role_arn=ROLE)


def entry(name: str, state: State = State.AMBIGUOUS, *, sent: Stamp | None = None) -> Entry:
    """Its entry."""
    canonical = definition(name).canonical()
    stamp = sent or Stamp(EPOCH_S, "boot-1", 0.0)
    return Entry("here", name, state, canonical.digest, canonical.tags_digest, attempt=f"run-{name}", sent=stamp)


def made(endpoint: Endpoint, name: str, *, ledger_id: str = LEDGER_ID, since: float = 0.0) -> Algorithm:
    """What its create made."""
    one = definition(name).canonical()
    return endpoint.put(one.request({TAG: str(OwnershipTag(ledger_id, one.digest, f"run-{name}"))}), since=since)


def resolver(endpoint: Endpoint, ledger: FakeLedger, **given: Any) -> Resolver:
    """A resolver of the target ``here``."""
    policy = given.pop("policy", make_policy())
    return Resolver(open_target(endpoint, ledger, **given), policy)


async def resolve(ours: Resolver, *, sweeps: int = 9) -> list[tuple[float, str, Decision]]:
    """Sweep whenever that is due until nothing is open; when each name was resolved, and how."""
    rulings = []
    for _ in range(sweeps):
        if not len(ours):
            break
        await asyncio.sleep(ours.due_in_s())
        began_at = now()
        for unresolved, ruling in await ours.apply(await ours.sweep()):
            rulings.append((began_at, unresolved.entry.name, ruling.decision))
    return rulings


@virtual_time
async def test_one_sweep_and_one_get_per_unresolved_entry() -> None:
    """Whatever the account holds, a sweep reads each page once and Gets only what an unresolved create may have made.

    That is what has its name, and what was made since and has a name that no entry has.
    """
    endpoint = Endpoint(page_size=10)
    for number in range(50):
        made(endpoint, f"older-{number}", since=-1000.0)
    for number in range(45):
        made(endpoint, f"known-{number}")
    known = [entry(f"known-{number}", State.CREATED) for number in range(45)]
    ledger = FakeLedger([entry("x"), entry("y"), *known])
    for name in "xy":
        made(endpoint, name)
    ours = resolver(endpoint, ledger)
    await ours.load()

    rulings = await resolve(ours)

    assert {(name, decision) for _, name, decision in rulings} == {("x", Decision.RECOVERED), ("y", Decision.RECOVERED)}
    assert (endpoint.count("list"), endpoint.count("get")) == (10, 2)
    assert {ledger.state(name) for name in "xy"} == {State.CREATED}
    assert ledger.table["here", "x"].arn == endpoint.named("x")[0].arn


@pytest.mark.parametrize("kept_as", ["X", " x ", "another name altogether"])
def test_a_name_that_the_service_keeps_in_another_form(kept_as: str) -> None:
    """An algorithm with our tag and attempt is ours, whatever form of the name the service keeps: no second create."""

    @virtual_time
    async def body() -> None:
        endpoint, ledger = Endpoint(), FakeLedger([entry("x")])
        one = definition("x").canonical()
        body = definition(kept_as).canonical().request({TAG: str(OwnershipTag(LEDGER_ID, one.digest, "run-x"))})
        arn = endpoint.put(body).arn
        ours = resolver(endpoint, ledger)
        ours.add(entry("x"))

        rulings = await resolve(ours)

        assert [decision for _, _, decision in rulings] == [Decision.RECOVERED]
        assert ledger.table["here", "x"].arn == arn

    body()


@virtual_time
async def test_a_settle_time_that_was_raised_counts_anew() -> None:
    """A first sweep that was made under a shorter settle time is no proof under a longer one."""
    ledger = FakeLedger([entry("x")])
    early = resolver(Endpoint(), ledger, policy=make_policy(settle_s=10.0, wait=False))
    await early.load()
    await asyncio.sleep(10.0)
    assert await early.apply(await early.sweep()) == []

    late = resolver(Endpoint(), ledger, policy=make_policy(settle_s=360.0))
    await late.load()

    assert late.due_in_s() == pytest.approx(350.0, abs=1.0)


@virtual_time
async def test_half_a_proof_keeps_the_latest_moment_of_the_create() -> None:
    """What the first sweep records counts from when the lost create was found, not from its intent."""
    ledger = FakeLedger([entry("x", State.SENT)])
    await asyncio.sleep(1000)
    first = resolver(Endpoint(), ledger, policy=make_policy(settle_s=10.0))
    await first.load()
    doubted = ledger.table["here", "x"].sent
    await asyncio.sleep(first.due_in_s())
    await first.apply(await first.sweep())

    late = resolver(Endpoint(), ledger, policy=make_policy(settle_s=360.0))
    await late.load()

    assert doubted is not None
    assert ledger.table["here", "x"].sent == msgspec.structs.replace(
        doubted, missed=Stamp(EPOCH_S + 1010.0, "boot-1", 1010.0, settle_s=10.0)
    )
    assert late.due_in_s() == pytest.approx(350.0, abs=1.0)


@virtual_time
async def test_what_an_earlier_run_left_is_ambiguous() -> None:
    """Entries found as sent become ambiguous at once, for their last attempt; only open entries are unresolved."""
    states = {"a": State.SENT, "b": State.AMBIGUOUS, "c": State.PLANNED, "d": State.CREATED}
    ledger = FakeLedger([entry(name, state) for name, state in states.items()])
    elsewhere = msgspec.structs.replace(entry("e", State.SENT), target="there")
    ledger.table["there", "e"] = elsewhere
    ours = resolver(Endpoint(), ledger)
    await ours.load()

    assert list(ours._unresolved) == ["a", "b"]
    assert ledger.state("a") is State.AMBIGUOUS
    assert [(fact.name, fact.event, fact.code, fact.after) for fact in ledger.facts] == [
        ("a", Event.DOUBT, "interrupted", "run-a")
    ]
    assert ledger.state("e", "there") is State.SENT


@pytest.mark.parametrize(
    ("stamp", "wait_s"),
    [
        (Stamp(EPOCH_S, "boot-1", 1000.0), 360.0),
        (Stamp(EPOCH_S, "boot-1", 900.0), 260.0),
        (Stamp(EPOCH_S, "boot-1", 0.0), 0.0),
        (Stamp(EPOCH_S, "boot-0", 0.0), 360.0),
        (Stamp(EPOCH_S - 86400, "boot-0", 0.0), 360.0),
        (Stamp(EPOCH_S - 86400, "", 0.0), 360.0),
        (Stamp(EPOCH_S - 86400, "boot-1", 1000.0), 360.0),
        (Stamp(EPOCH_S + 86400, "boot-1", 900.0), 260.0),
        (None, 360.0),
    ],
)
def test_the_settle_time_counts_what_has_passed_for_sure(stamp: Stamp | None, wait_s: float) -> None:
    """The wait is shortened by what the boot's ticks prove, never by the wall clock and never across boots."""

    @virtual_time
    async def body() -> None:
        await asyncio.sleep(1000)
        old = msgspec.structs.replace(entry("x"), sent=stamp)
        ours = resolver(Endpoint(), FakeLedger([old]))
        await ours.load()

        assert ours.due_in_s() == wait_s

    body()


@virtual_time
async def test_a_clock_that_jumps_resends_nothing_early() -> None:
    """A wall clock that jumps a day either way changes no moment of a sweep."""
    for jump_s in (86400.0, -86400.0):
        clock = FakeClock()
        ledger = FakeLedger()
        ours = resolver(Endpoint(), ledger, clock=clock)
        began = now()
        ledger.table["here", "x"] = entry("x", sent=clock.stamp())
        clock.jumped_s = jump_s
        await ours.load()

        [(at, _, decision)] = await resolve(ours)

        assert decision is Decision.ABSENT
        assert at - began == pytest.approx(420.0, abs=1.0)


@virtual_time
async def test_absent_twice_is_planned_again() -> None:
    """An entry whose algorithm never came to be is planned after two sweeps: at the settle time, and the lag later."""
    ledger, endpoint = FakeLedger([entry("x")]), Endpoint()
    ours = resolver(endpoint, ledger)
    ours.add(entry("x"))

    rulings = await resolve(ours)

    assert rulings == [(420.0, "x", Decision.ABSENT)]
    assert [at for kind, at in endpoint.calls if kind == "list"] == [360.0, 420.0]
    assert ledger.state("x") is State.PLANNED


@virtual_time
async def test_the_first_half_of_a_proof_outlives_the_run() -> None:
    """A run that ends between the two sweeps leaves the first one in the ledger: the next run makes only the second."""
    ledger = FakeLedger([entry("x")])
    first = resolver(Endpoint(), ledger)
    await first.load()
    await asyncio.sleep(first.due_in_s())
    assert await first.apply(await first.sweep()) == []
    await asyncio.sleep(20)

    second = resolver(Endpoint(), ledger)
    await second.load()

    assert second.due_in_s() == pytest.approx(40.0, abs=0.1)
    assert [decision for _, _, decision in await resolve(second, sweeps=1)] == [Decision.ABSENT]
    assert ledger.state("x") is State.PLANNED


@virtual_time
async def test_half_a_proof_of_another_boot_starts_its_wait_anew() -> None:
    """Across boots the age of the first sweep is unknown: the second comes a whole List lag later."""
    ledger = FakeLedger([entry("x")])
    first = resolver(Endpoint(), ledger)
    await first.load()
    await asyncio.sleep(first.due_in_s())
    await first.apply(await first.sweep())
    await asyncio.sleep(1000)

    second = resolver(Endpoint(), ledger, clock=FakeClock("boot-2"))
    await second.load()

    assert second.due_in_s() == pytest.approx(60.0)
    assert [decision for _, _, decision in await resolve(second, sweeps=1)] == [Decision.ABSENT]


@virtual_time
async def test_half_a_proof_is_of_one_attempt() -> None:
    """What was missed of one attempt says nothing of the next: its stamp is a new one, and it settles in full."""
    ledger = FakeLedger([entry("x")])
    ours = resolver(Endpoint(), ledger)
    await ours.load()
    await resolve(ours)
    again = Stamp(EPOCH_S, "boot-1", now())
    await ledger.record([Fact("here", "x", Event.INTEND, attempt="run-again", sent=again)])

    second = resolver(Endpoint(), ledger)
    await second.load()

    assert second.due_in_s() == pytest.approx(360.0)


@virtual_time
async def test_a_create_that_takes_effect_late_is_found() -> None:
    """An algorithm that comes to be late, and shows late in List, is ours all the same while that is within settle."""
    endpoint = Endpoint(list_lag_s=60.0)
    made(endpoint, "x", since=299.0)
    ledger = FakeLedger([entry("x")])
    ours = resolver(endpoint, ledger)
    ours.add(entry("x"))

    assert await resolve(ours) == [(360.0, "x", Decision.RECOVERED)]
    assert ledger.state("x") is State.CREATED


@virtual_time
async def test_a_throttled_list_is_asked_again() -> None:
    """A throttled or lost read is retried and proves nothing."""
    endpoint = Endpoint()
    made(endpoint, "x")
    endpoint.list_failures = [Reply(status=429), Reply(status=503), Reply(loss=Loss.READ_TIMEOUT), Reply(loss=Loss.DNS)]
    endpoint.get_failures = [Reply(status=500), Reply(status=429)]
    ours = resolver(endpoint, FakeLedger([entry("x")]))
    ours.add(entry("x"))

    [(_, _, decision)] = await resolve(ours, sweeps=1)

    assert decision is Decision.RECOVERED
    assert (endpoint.count("list"), endpoint.count("get")) == (5, 3)


@virtual_time
async def test_a_sweep_that_breaks_off_proves_presence_only() -> None:
    """Of a List that fails for good after some pages, what was seen counts, and nothing is absent."""
    endpoint = Endpoint(page_size=1)
    ledger = FakeLedger([entry("x"), entry("y")])
    made(endpoint, "y")
    made(endpoint, "x")
    endpoint.list_failures = [None] + [Reply(status=429)] * READ_ATTEMPTS
    ours = resolver(endpoint, ledger)
    for name in "xy":
        ours.add(entry(name))

    await asyncio.sleep(400)
    seen = await ours.sweep()
    resolved = await ours.apply(seen)

    assert not seen.complete
    assert [(unresolved.entry.name, ruling.decision) for unresolved, ruling in resolved] == [("x", Decision.RECOVERED)]
    assert ledger.state("y") is State.AMBIGUOUS
    assert list(ours._unresolved) == ["y"]


@virtual_time
async def test_a_broken_sweep_does_not_count_towards_absence() -> None:
    """Absence is proven by two whole sweeps, however many broke off before and in between."""
    endpoint, ledger = Endpoint(), FakeLedger([entry("x")])
    broken = [Reply(status=400, code="ValidationException")]
    endpoint.list_failures = [*broken, None, *broken, *broken, None]
    ours = resolver(endpoint, ledger)
    ours.add(entry("x"))
    await asyncio.sleep(360)

    states = []
    for _ in range(5):
        await ours.apply(await ours.sweep())
        states.append(ledger.state("x"))
        await asyncio.sleep(60)

    assert states == [State.AMBIGUOUS] * 4 + [State.PLANNED]


@virtual_time
async def test_a_list_that_repeats_its_token_is_not_complete() -> None:
    """A List that never comes to its end is given up, and proves no absence."""
    endpoint = Endpoint(page_size=1)
    for name in "ab":
        made(endpoint, name)
    pages = endpoint.list_algorithms

    async def circling(next_token: str = "", page_size: int = 100) -> Any:
        page = await pages(next_token, page_size)
        return msgspec.structs.replace(page, next_token="1")

    endpoint.list_algorithms = circling  # type: ignore[method-assign]
    ours = resolver(endpoint, FakeLedger([entry("x")]))
    ours.add(entry("x"))

    assert not (await ours.sweep()).complete


@pytest.mark.parametrize(("status", "code"), [(400, "ValidationException"), (404, "ResourceNotFoundException")])
def test_a_get_that_fails_proves_nothing(status: int, code: str) -> None:
    """A name that List shows and Get does not know is neither there nor absent."""

    @virtual_time
    async def body() -> None:
        endpoint, ledger = Endpoint(), FakeLedger([entry("x")])
        made(endpoint, "x")
        endpoint.get_failures = [Reply(status=status, code=code)] * 2
        ours = resolver(endpoint, ledger)
        ours.add(entry("x"))
        await asyncio.sleep(400)

        for _ in range(2):
            seen = await ours.sweep()
            assert seen.complete
            assert seen.unread == {"x"}
            assert await ours.apply(seen) == []
            await asyncio.sleep(60)
        [(_, ruling)] = await ours.apply(await ours.sweep())

        assert ruling.decision is Decision.RECOVERED

    body()


@pytest.mark.parametrize("kind", ["list", "get"])
def test_a_refused_read_is_raised(kind: str) -> None:
    """A denied List or Get is reported at once, without a retry, and proves nothing."""

    @virtual_time
    async def body() -> None:
        endpoint = Endpoint()
        made(endpoint, "x")
        refused = Reply(status=403, code="AccessDeniedException")
        (endpoint.list_failures if kind == "list" else endpoint.get_failures).append(refused)
        ours = resolver(endpoint, FakeLedger([entry("x")]))
        ours.add(entry("x"))

        with pytest.raises(CallError) as caught:
            await ours.sweep()

        assert caught.value.reply == refused
        assert endpoint.count(kind) == 1

    body()


@virtual_time
async def test_a_conflict_takes_an_early_look() -> None:
    """A 409 is looked up at once, not after the settle time, and ours is adopted; others go on waiting."""
    endpoint, ledger = Endpoint(), FakeLedger([entry("x"), entry("y")])
    made(endpoint, "x")
    ours = resolver(endpoint, ledger)
    ours.add(entry("y"))
    await asyncio.sleep(5)
    ours.add(entry("x"), conflict=True)

    rulings = await resolve(ours)

    assert rulings == [(5.0, "x", Decision.RECOVERED), (420.0, "y", Decision.ABSENT)]


@virtual_time
async def test_a_foreign_conflict_follows_the_policy() -> None:
    """The foreign algorithm behind a 409 is adopted or refused at once, by policy, and reported with its ARN."""
    expected: dict[Adopt, tuple[Decision, State]] = {
        "never": (Decision.TAKEN, State.FAILED),
        "same": (Decision.ADOPT, State.DRIFTED),  # until it has this ledger's tag
    }
    for adopt, (decision, state) in expected.items():
        endpoint, ledger = Endpoint(), FakeLedger([entry("x")])
        arn = endpoint.put(definition("x").canonical().request({})).arn
        ours = resolver(endpoint, ledger, policy=make_policy(adopt=adopt))
        ours.add(entry("x"), conflict=True)

        [(_, _, ruled_)] = await resolve(ours)

        assert (ruled_, ledger.state("x")) == (decision, state)
        assert arn in (ledger.table["here", "x"].arn or ledger.table["here", "x"].message)


@virtual_time
async def test_a_transient_conflict_is_planned_again() -> None:
    """A 409 behind which there is nothing is looked at once, then settles as any other."""
    endpoint, ledger = Endpoint(), FakeLedger([entry("x")])
    ours = resolver(endpoint, ledger)
    ours.add(entry("x"), conflict=True)

    rulings = await resolve(ours)

    assert rulings == [(420.0, "x", Decision.ABSENT)]
    assert [at for kind, at in endpoint.calls if kind == "list"] == [0.0, 360.0, 420.0]


@virtual_time
async def test_where_names_are_unique_a_conflict_needs_no_settling() -> None:
    """Where names are unique, a 409 means that nothing of ours is under way: only the List lag is waited for."""
    ledger = FakeLedger([entry("x")])
    ours = resolver(Endpoint(), ledger, policy=make_policy(names="unique"))
    ours.add(entry("x"), conflict=True)

    assert await resolve(ours) == [(60.0, "x", Decision.ABSENT)]


@virtual_time
async def test_two_of_ours_are_told() -> None:
    """Of two algorithms with our tag the oldest is recorded and the other reported."""
    endpoint, ledger = Endpoint(), FakeLedger([entry("x")])
    second = made(endpoint, "x", since=7.0)
    first = made(endpoint, "x", since=3.0)
    ours = resolver(endpoint, ledger)
    ours.add(entry("x"))
    await asyncio.sleep(360)

    [(_, ruling)] = await ours.apply(await ours.sweep())

    assert ledger.table["here", "x"].arn == first.arn
    assert [one.arn for one in ruling.duplicates] == [second.arn]


@virtual_time
async def test_what_lies_elsewhere_is_never_asked_for() -> None:
    """An ARN of another account or Region breaks the integrity of the target before any Get."""
    endpoint = Endpoint()
    one = made(endpoint, "x")
    elsewhere = msgspec.structs.replace(one, arn=one.arn.replace("us-east-1", "us-west-2"))
    endpoint.algorithms = {elsewhere.arn: elsewhere}
    ours = resolver(endpoint, FakeLedger([entry("x")]))
    ours.add(entry("x"))

    with pytest.raises(IntegrityError):
        await ours.sweep()

    assert endpoint.count("get") == 0


@virtual_time
async def test_nothing_is_resolved_before_it_is_durable() -> None:
    """If the ledger fails or the lease is lost, every entry stays unresolved and the ledger unchanged."""
    lease = FakeLease()
    endpoint, ledger = Endpoint(), FakeLedger([entry("x")])
    made(endpoint, "x")
    ours = resolver(endpoint, ledger, lease=lease)
    ours.add(entry("x"))
    seen = await ours.sweep()

    ledger.broken = True
    with pytest.raises(LedgerError):
        await ours.apply(seen)
    ledger.broken = False
    lease.lost = True
    with pytest.raises(LedgerLockedError):
        await ours.apply(seen)

    assert len(ours) == 1
    assert ledger.state("x") is State.AMBIGUOUS
    assert ledger.commits == []


@virtual_time
async def test_an_older_attempts_verdict_is_refused() -> None:
    """What a sweep says of one attempt never touches the entry of a later one."""
    ledger = FakeLedger([msgspec.structs.replace(entry("x"), attempt="run-later")])
    ours = resolver(Endpoint(), ledger)
    ours.add(entry("x"))

    with pytest.raises(Exception, match="run-later"):
        await resolve(ours)

    assert ledger.state("x") is State.AMBIGUOUS


@virtual_time
async def test_what_is_forgotten_is_not_unresolved() -> None:
    """A doubt that is gone is not looked for; to forget a name that is none does nothing."""
    ours = resolver(Endpoint(), FakeLedger())
    ours.add(entry("x"))
    ours.forget("x")
    ours.forget("y")

    assert len(ours) == 0


@virtual_time
async def test_a_definition_that_ours_could_never_be_is_still_ours_by_its_tag() -> None:
    """An algorithm whose definition cannot be read as one is recognised by its tag and recovered as it was sent."""
    endpoint, ledger = Endpoint(), FakeLedger([entry("x")])
    one = made(endpoint, "x")
    endpoint.algorithms[one.arn] = msgspec.structs.replace(one, body=b'{"name": "x", "novelty": 1}')
    ours = resolver(endpoint, ledger)
    ours.add(entry("x"))

    [(_, _, decision)] = await resolve(ours)

    assert decision is Decision.RECOVERED
    assert ledger.table["here", "x"].digest == entry("x").digest


@virtual_time
async def test_aws_own_tags_are_not_compared() -> None:
    """Tags that AWS adds, and the ownership tag, are no part of the tags' digest."""
    endpoint, ledger = Endpoint(), FakeLedger([entry("x")])
    one = made(endpoint, "x")
    endpoint.algorithms[one.arn] = msgspec.structs.replace(one, tags=one.tags | {"aws:cloudformation:stack": "s"})
    ours = resolver(endpoint, ledger)
    ours.add(entry("x"))
    await resolve(ours)

    assert ledger.table["here", "x"].tags_digest == entry("x").tags_digest


@pytest.mark.parametrize("key", ["another:key", ""])
def test_the_ownership_tag_is_read_under_any_key(key: str) -> None:
    """A ledger whose tag had another key before, or has none today, knows its own; nothing drifts by that."""

    @virtual_time
    async def body() -> None:
        endpoint, ledger = Endpoint(), FakeLedger([entry("x")])
        one = made(endpoint, "x")
        ours = resolver(endpoint, ledger, policy=make_policy(ownership_tag=key))
        ours.add(entry("x"))

        [(_, _, decision)] = await resolve(ours)

        assert decision is Decision.RECOVERED
        assert (ledger.table["here", "x"].arn, ledger.table["here", "x"].tags_digest) == (
            one.arn,
            entry("x").tags_digest,
        )

    body()
