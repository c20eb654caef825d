"""The fault matrix in virtual time: a test for each row of the fault model, named after its row.

Rows about processes and signals are in ``test_processes``; what a torn write leaves of the ledger's file is proven
beside the ledger. Every test checks the invariants against what the endpoint holds.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from provisioner.aws.faces import Page
from provisioner.core.entry import Event, Outcome, State
from provisioner.core.verdict import Loss
from provisioner.emulator.behaviour import Behaviour
from provisioner.errors import LedgerError, Reason
from tests.fakes import make_policy
from tests.faults.crash import die_at
from tests.faults.invariants import (
    check_account,
    check_finished,
    check_finished_together,
    check_invariants,
    outcomes_of,
)
from tests.faults.loaded import LOADED
from tests.faults.world import (
    ACCOUNT,
    EPOCH,
    OTHER_ACCOUNT,
    POLICY,
    REGION,
    ROLE,
    Copies,
    Fate,
    Order,
    World,
    WorldControl,
    entries_of,
    handing,
    ledger_id_of,
    older_of,
    register,
    register_together,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provisioner.core.entry import Entry, Fact
    from provisioner.engine.stop import Stop
    from tests.faults.world import DirectLedger, Ended, VirtualClock

NAMES = ("unique", "duplicates", "same")
DAY_S = 86_400.0


class Job:
    """A manifest, a ledger and a world.

    Args:
        path: a fresh directory.
        names: of the definitions.
        behaviour: of the endpoint.
    """

    def __init__(self, path: Path, names: Sequence[str], behaviour: Behaviour | None = None) -> None:
        self.names = names
        self.path = path
        self.ledger = path / "ledger.db"
        self.manifest = write_manifest(path / "m.jsonl", names)
        self.world = World(behaviour or Behaviour(names="duplicates"), path / "journal")
        self.before: list[str] = []
        self.gone: list[str] = []
        self.at = EPOCH

    def run(self, **changes: Any) -> Ended:
        """The next run, right after the last one, and the invariants after it."""
        order = Order(manifest=self.manifest, ledger=self.ledger, base=self.at)
        for field, value in changes.items():
            setattr(order, field, value)
        ended = register(self.world, order)
        self.at = max(self.at, ended.at) + 0.1
        self.check(ended)
        return ended

    def check(self, *ended: Ended) -> None:
        """I1 to I4, and I8."""
        # What is still on its way happens in a copy, so that the next run meets it in its own time.
        world = self.world if self.world.quiet else World(self.world.behaviour, self.path / "journal")
        truth, entries = world.truth, entries_of(self.ledger)
        statistics = [one.statistics for one in ended]
        check_invariants(
            truth,
            entries,
            ledger_id_of(self.ledger),
            statistics=statistics,
            before=self.before,
            older=older_of(self.ledger, self.gone),
        )

    def check_finished(self) -> None:
        """Everything is registered once, the ledger equals the truth, and a further run sends nothing (I6)."""
        check_finished(self.world.truth, entries_of(self.ledger), self.names)
        again = self.run()
        assert outcomes_of(again.statistics) == {"unchanged": len(self.names)}
        assert not again.statistics.calls["create"]

    def sends(self, name: str) -> list[float]:
        """When creates of ``name`` arrived, seconds since the first run began."""
        return [record.time - EPOCH for record in self.world.truth.creates if record.name == name]

    def foreign(self, name: str, **more: object) -> str:
        """Let another make an algorithm, before any run; its ARN."""
        body = {"name": name, "roleArn": ROLE, **more}
        self.world.send(EPOCH - 3600, msgspec.json.encode(body), Fate(there_s=0.0))
        self.world.advance(EPOCH - 1)
        self.before.append(self.world.service.accounts.algorithms[-1].arn)
        return self.before[-1]


def numbered(count: int) -> list[str]:
    """Names."""
    return [f"algorithm {number}" for number in range(count)]


def die(path: Path, at: str, nth: int = 1) -> Job:
    """A job of one definition whose first run was killed with SIGKILL at a point; a second later."""
    job = Job(path, ["algorithm 0"])
    died = LOADED.Process(target=die_at, args=(path, at, nth))
    died.start()
    died.join(60)
    assert died.exitcode == -9, "what it said is on stderr; with 0 the point was never reached"
    died.close()
    job.world = World(Behaviour(names="duplicates", list_lag=55.0), path / "journal")
    job.at = EPOCH + 10.0
    return job


def events(ended: Ended) -> list[Event]:
    """What happened to entries, in order."""
    return [fact.event for fact in ended.facts]


def test_kill_9_before_the_intent_is_committed(tmp_path: Path) -> None:
    """No call was made and the ledger knows of none: the next run creates it, once."""
    job = die(tmp_path, "before commit")
    assert not job.world.truth.creates
    assert entries_of(job.ledger) == {}

    ended = job.run()

    assert outcomes_of(ended.statistics) == {"created": 1}
    job.check_finished()


@pytest.mark.parametrize("point", ["after commit", "before send"])
def test_kill_9_after_intent_before_bytes(tmp_path: Path, point: str) -> None:
    """The entry is ambiguous, its absence is proven twice after the settle time, and it is created once."""
    job = die(tmp_path, point)
    assert not job.world.truth.creates
    assert entries_of(job.ledger)["algorithm 0"].state is State.SENT

    ended = job.run()

    assert events(ended) == [Event.DOUBT, Event.MISS, Event.ABSENT, Event.INTEND, Event.CONFIRM]
    assert outcomes_of(ended.statistics) == {"created": 1}
    assert job.sends("algorithm 0")[0] > POLICY.settle_s + POLICY.list_lag_s
    job.check_finished()


@pytest.mark.parametrize(("point", "nth"), [("after send", 1), ("receive", 1), ("before commit", 2)])
def test_kill_9_after_bytes_or_before_the_result_is_committed(tmp_path: Path, point: str, nth: int) -> None:
    """The entry is ambiguous and what was made is adopted, with its ARN; there is no second create."""
    job = die(tmp_path, point, nth)
    assert entries_of(job.ledger)["algorithm 0"].state is State.SENT

    ended = job.run()

    assert outcomes_of(ended.statistics) == {"recovered": 1}
    assert job.world.truth.count("create") == 1
    job.check_finished()


LOSSES = (
    "hang",
    "lost_reply",
    "reset",
    "cut_reply",
    "error:500",
    "error:502",
    "error:503",
    "error:504",
    "truncated",
    "no_arn",
    "html",
    "lost_request",
    "reset_without_effect",
    "error_without_effect:500",
)


def test_read_timeout_reset_at_any_byte_5xx_unreadable_2xx(tmp_path: Path) -> None:
    """One List sweep finds all of them, a second proves absence, and none is sent again before it is settled."""
    made = LOSSES[:11]
    job = Job(tmp_path, numbered(len(LOSSES)))

    ended = job.run(hand=handing(*LOSSES), workers=1)

    assert outcomes_of(ended.statistics) == {"recovered": len(made), "created": len(LOSSES) - len(made)}
    assert ended.statistics.calls["list"] == 1 + 2  # before the first create, and two sweeps
    assert ended.statistics.calls["get"] == len(made)
    for name in job.names[len(made) :]:
        first, second = job.sends(name)
        assert second - first > POLICY.settle_s
    job.check_finished()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("names", NAMES)
def test_a_create_that_takes_effect_late_a_list_that_lags(tmp_path: Path, names: Any, known: bool) -> None:  # noqa: FBT001
    """Within the settle time neither makes a duplicate, whether or not the configuration knows the world of names."""
    job = Job(tmp_path, numbered(4), Behaviour(names=names, list_lag=59.0))
    late = Fate("late", late_s=299.0), Fate("late_error", late_s=120.0)
    policy = make_policy(names=names if known else "unknown")

    ended = job.run(hand=handing(*late), policy=policy)

    assert sum(ended.statistics.outcomes[one] for one in (Outcome.CREATED, Outcome.RECOVERED)) == 4
    job.check_finished()


def test_a_storm_of_429s_for_60_s(tmp_path: Path) -> None:
    """A minute of nothing but throttles costs a few calls and no definition."""
    job = Job(tmp_path, numbered(30))

    def hand() -> Fate:
        return Fate("throttle" if asyncio.get_running_loop().time() < 60 else "ok")

    ended = job.run(hand=hand)

    assert outcomes_of(ended.statistics) == {"created": 30}
    assert ended.statistics.calls["throttled"] < 100
    job.check_finished()


@pytest.mark.parametrize("factor", [0.5, 10.0])
def test_the_limit_halves_or_grows_tenfold(tmp_path: Path, factor: float) -> None:
    """A limit that changes under way loses no definition and wastes few calls."""
    job = Job(tmp_path, numbered(200), Behaviour(names="duplicates", rate=10.0, burst=10.0))

    async def change(_: Stop, __: VirtualClock) -> None:
        await asyncio.sleep(5.0)
        service = job.world.service
        service.behaviour = msgspec.structs.replace(service.behaviour, rate=10.0 * factor)

    ended = job.run(hand=lambda: Fate(""), act=change)

    assert outcomes_of(ended.statistics) == {"created": 200}
    assert ended.statistics.calls["throttled"] <= 20
    job.check_finished()


def test_402_in_mid_run(tmp_path: Path) -> None:
    """A quota parks the target after at most a window of calls and is named; other targets go on; exit 4."""
    parked = Job(tmp_path, numbered(40), Behaviour(names="duplicates", quota=10))
    other = World(Behaviour(names="duplicates", seed=1), account=OTHER_ACCOUNT)
    orders = [Order(manifest=parked.manifest, ledger=parked.ledger, target=target) for target in ("default", "other")]

    first, second = register_together((parked.world, orders[0]), (other, orders[1]))

    assert first.statistics.outcomes[Outcome.CREATED] == 10
    assert 1 <= first.statistics.outcomes[Outcome.PARKED] <= orders[0].workers
    assert first.statistics.halt is not None
    assert "quota of 10 " in first.statistics.halt.what
    assert first.statistics.reasons() == {Reason.QUOTA}
    assert outcomes_of(second.statistics) == {"created": 40}
    parked.check(first)
    parked.world.service.behaviour = msgspec.structs.replace(parked.world.service.behaviour, quota=100)
    parked.at = max(first.at, second.at)
    assert outcomes_of(parked.run().statistics) == {"unchanged": 10, "created": 30}


def test_409_that_is_ours(tmp_path: Path) -> None:
    """A name that our own lost create took is found and adopted at once."""
    job = Job(tmp_path, numbered(2), Behaviour(names="unique"))

    ended = job.run(hand=handing("lost_reply"), policy=make_policy(names="unique"))

    assert outcomes_of(ended.statistics) == {"recovered": 1, "created": 1}
    assert ended.at - EPOCH < 10
    job.check_finished()


def test_409_that_could_not_be_looked_up(tmp_path: Path) -> None:
    """A conflict that a run left open is looked up by the next, not sent again."""
    unreadable = ("ok", *("error_without_effect:500",) * 8 * 3)
    job = Job(tmp_path, numbered(1), Behaviour(names="unique", list_script=unreadable))
    unique = make_policy(names="unique")
    assert outcomes_of(job.run(hand=handing("lost_reply"), policy=unique).statistics) == {"ambiguous": 1}

    ended = job.run(policy=unique)

    assert outcomes_of(ended.statistics) == {"recovered": 1}
    assert job.world.truth.count("create") == 2
    job.check_finished()


@pytest.mark.parametrize(
    ("adopt", "same", "outcome"),
    [("never", True, "failed"), ("same", True, "adopted"), ("same", False, "failed"), ("any", False, "drifted")],
)
def test_409_that_is_foreign(tmp_path: Path, adopt: Any, same: bool, outcome: str) -> None:  # noqa: FBT001
    """A name that another holds is adopted or reported with its ARN, as the policy says."""
    job = Job(tmp_path, numbered(2), Behaviour(names="unique"))
    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/algorithm:1"
    definition = {"inferenceContainerConfig": {"imageUri": image}} if same else {}
    arn = job.foreign("algorithm 0", **definition)

    ended = job.run(policy=make_policy(names="unknown", adopt=adopt))

    assert outcomes_of(ended.statistics) == {outcome: 1, "created": 1}
    messages = [problem.message for problem in ended.statistics.problems]
    assert outcome == "adopted" or arn in messages[0]
    assert (entries_of(job.ledger)["algorithm 0"].arn == arn) == (outcome in {"adopted", "drifted"})


def test_409_that_is_transient(tmp_path: Path) -> None:
    """A conflict behind which nothing is found is tried again once its absence is proven."""
    job = Job(tmp_path, numbered(2))

    ended = job.run(hand=handing("conflict"))

    assert outcomes_of(ended.statistics) == {"created": 2}
    job.check_finished()


def test_403_in_mid_run(tmp_path: Path) -> None:
    """Permissions that vanish waste at most five calls; everything that is left stays planned; exit 77."""
    job = Job(tmp_path, numbered(60))

    ended = job.run(hand=handing(*["ok"] * 20, then="denied"))

    assert ended.statistics.outcomes[Outcome.CREATED] == 20
    assert ended.statistics.outcomes[Outcome.PENDING] == 40
    assert job.world.truth.count("create", 403) <= 5
    assert Reason.DENIED in ended.statistics.reasons()
    states = {entry.state for entry in entries_of(job.ledger).values()}
    assert states == {State.CREATED, State.PLANNED}
    assert outcomes_of(job.run().statistics) == {"unchanged": 20, "created": 40}


def test_a_token_that_expires_every_15_minutes(tmp_path: Path) -> None:
    """An expired token is refreshed, and nothing fails for it."""
    job = Job(tmp_path, numbered(50))
    refreshed = []

    async def refresh() -> bool:
        refreshed.append(True)
        return True

    ended = job.run(hand=handing(*(["ok"] * 9 + ["expired_token"]) * 5), refresh=refresh, workers=1)

    assert outcomes_of(ended.statistics) == {"created": 50}
    assert len(refreshed) == 5
    job.check_finished()


def test_a_token_that_stays_expired(tmp_path: Path) -> None:
    """Credentials that are refused again and again, although they are fresh each time, end the run."""
    job = Job(tmp_path, numbered(50))

    ended = job.run(hand=handing(then="expired_token"))

    assert ended.statistics.halt is not None
    assert ended.statistics.halt.reason is Reason.DENIED
    assert ended.statistics.calls["create"] <= 3 * 4
    assert outcomes_of(ended.statistics) == {"pending": 50}


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        *[(loss, Reason.CONFIGURATION) for loss in (Loss.NO_SUCH_HOST, Loss.MISCONFIGURED)],
        *[(loss, Reason.UNFINISHED) for loss in (Loss.DNS, Loss.REFUSED, Loss.CONNECT_TIMEOUT, Loss.HANDSHAKE)],
        *[(loss, Reason.UNFINISHED) for loss in (Loss.PROXY, Loss.UNFETCHED)],
    ],
)
def test_wrong_region_wrong_host(tmp_path: Path, loss: Loss, reason: Reason) -> None:
    """An endpoint that was never reached stops the target within the first calls; 78 only where it cannot exist."""
    job = Job(tmp_path, numbered(50))

    ended = job.run(hand=handing(then=loss))

    assert ended.statistics.calls["create"] <= 3 + 4
    assert ended.statistics.halt is not None
    assert ended.statistics.halt.reason is reason
    assert "cannot be reached" in ended.statistics.halt.what
    assert ended.at - EPOCH < 30
    assert outcomes_of(ended.statistics) == {"pending": 50}


class Failing:
    """A ledger whose storage fails for good at its nth commit.

    Args:
        ledger: the real one.
        nth: the commit that fails.
        after: whether it fails after the facts have reached the file, as a failed sync may.
    """

    def __init__(self, ledger: DirectLedger, nth: int, *, after: bool) -> None:
        self._ledger = ledger
        self._left = nth
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def record(self, facts: Sequence[Fact]) -> None:
        """Fail when it is time, and ever after."""
        if not facts:
            return
        self._left -= 1
        if self._left > 0:
            await self._ledger.record(facts)
            return
        if self._left == 0 and self._after:
            await self._ledger.record(facts)
        raise LedgerError("the disk is full")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3, 8, 17])
def test_disk_full_io_error_failed_fsync(tmp_path: Path, nth: int, after: bool) -> None:  # noqa: FBT001
    """A ledger that fails stops the run at once; nothing that was acknowledged is lost, and the next run reconciles."""
    job = Job(tmp_path, numbered(12))
    order = Order(
        manifest=job.manifest, ledger=job.ledger, wrap=lambda ledger: Failing(ledger, nth, after=after), base=job.at
    )

    with pytest.raises(ExceptionGroup) as raised:
        register(job.world, order)

    assert raised.group_contains(LedgerError)
    job.at += 10
    acknowledged = [entry for entry in entries_of(job.ledger).values() if entry.state is State.CREATED]
    ended = job.run()
    assert {one.arn for one in acknowledged} <= {one.arn for one in job.world.truth.alive}
    assert ended.statistics.outcomes[Outcome.UNCHANGED] == len(acknowledged)
    job.check_finished()


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
@pytest.mark.parametrize("between", [True, False])
def test_the_wall_clock_jumps_a_day_either_way(tmp_path: Path, jump_s: float, between: bool) -> None:  # noqa: FBT001
    """A wall clock that jumps, between two runs or within one, makes nothing settle early."""
    job = Job(tmp_path, numbered(2), Behaviour(names="duplicates", list_lag=59.0))
    late = Fate("late", late_s=290.0)

    async def jump(_: Stop, clock: VirtualClock) -> None:
        await asyncio.sleep(5.0)
        clock.jump = jump_s

    if between:
        job.run(hand=handing(late, "lost_request"), policy=make_policy(wait=False))
        job.run(jump_s=jump_s)
    else:
        job.run(hand=handing(late, "lost_request"), act=jump)

    job.check_finished()
    first, second = job.sends("algorithm 1")
    assert second - first > POLICY.settle_s


def test_another_boot_proves_no_age(tmp_path: Path) -> None:
    """What was sent before a restart of the machine is settled only after the whole settle time."""
    job = Job(tmp_path, numbered(1), Behaviour(names="duplicates"))
    job.run(hand=handing("lost_request"), policy=make_policy(wait=False))
    job.at += 10_000.0

    ended = job.run(boot="another")

    assert outcomes_of(ended.statistics) == {"created": 1}
    assert job.sends("algorithm 0")[1] > 10_000.0 + POLICY.settle_s


def test_the_manifest_changed_between_runs(tmp_path: Path) -> None:
    """A changed definition of a created name has drifted; it is never created again."""
    job = Job(tmp_path, numbered(3))
    job.run()
    write_manifest(job.manifest, job.names, description="another")

    ended = job.run()

    assert outcomes_of(ended.statistics) == {"drifted": 3}
    assert job.world.truth.count("create") == 3
    assert Reason.FAILED in ended.statistics.reasons()


def test_the_manifest_changed_while_its_create_was_in_doubt(tmp_path: Path) -> None:
    """What was made by the older definition is adopted as such, and has drifted."""
    job = Job(tmp_path, numbered(1))
    job.run(hand=handing("lost_reply"), policy=make_policy(wait=False))
    write_manifest(job.manifest, job.names, description="another")

    ended = job.run()

    assert outcomes_of(ended.statistics) == {"drifted": 1}
    assert job.world.truth.count("create") == 1


@pytest.mark.parametrize(("lie", "after"), [("foreign_arn", 0), ("repeated_arn", 1)])
def test_a_reply_whose_arn_is_of_another_account_or_another_entry(tmp_path: Path, lie: str, after: int) -> None:
    """Such an answer halts the target, and what it made stays open until a sweep finds it.

    Which ARNs are known the ledger says, and until then another create may be sent.
    """
    job = Job(tmp_path, numbered(30))

    ended = job.run(hand=handing("ok", lie), workers=1)

    assert outcomes_of(ended.statistics) == {"created": 1 + after, "ambiguous": 1, "pending": 28 - after}
    assert ended.statistics.halt is not None
    assert ended.statistics.halt.reason is Reason.DENIED
    assert job.world.truth.count("create") == 2 + after
    assert outcomes_of(job.run().statistics) == {"unchanged": 1 + after, "recovered": 1, "created": 28 - after}
    job.check_finished()


def test_a_sweep_finds_what_another_entry_holds(tmp_path: Path) -> None:
    """An ARN that another entry holds halts the target; the other entries of the sweep are resolved all the same."""
    job = Job(tmp_path, numbered(3))
    order = Order(
        manifest=job.manifest,
        ledger=job.ledger,
        hand=handing("lost_reply", "repeated_arn", "lost_reply"),
        workers=1,
    )

    ended = register(job.world, order)

    assert outcomes_of(ended.statistics) == {"created": 1, "recovered": 1, "ambiguous": 1}
    assert ended.statistics.halt is not None
    assert "already" in ended.statistics.halt.what
    assert Reason.DENIED in ended.statistics.reasons()


@pytest.mark.parametrize("fault", ["quota", "denied", "hang", "refused"])
def test_one_target_parked_halted_or_black_holed(tmp_path: Path, fault: str) -> None:
    """The other target is not a hundredth slower than alone."""
    job = Job(tmp_path, numbered(100))
    limited = Behaviour(names="duplicates", rate=20.0, burst=20.0, seed=1)
    good = Order(manifest=job.manifest, ledger=job.ledger, target="good", hand=lambda: Fate(""), workers=16)
    alone = register(World(limited), good)
    (tmp_path / "ledger.db").unlink()
    bad = Order(manifest=job.manifest, ledger=job.ledger, hand=handing(then=fault), policy=make_policy(wait=False))

    beside, _ = register_together((World(limited, account=OTHER_ACCOUNT), good), (job.world, bad))

    assert outcomes_of(beside.statistics) == {"created": 100}
    assert beside.at - EPOCH <= (alone.at - EPOCH) * 1.01


def test_a_stop_ends_the_tail_at_once(tmp_path: Path) -> None:
    """A drain while the tail waits for the settle time ends there and then; the entry stays open; exit 75."""
    job = Job(tmp_path, numbered(2))

    async def act(stop: Stop, clock: VirtualClock) -> None:
        await asyncio.sleep(100.0)
        stop.request("enough")
        stopped_at.append(clock.true())

    stopped_at: list[float] = []
    ended = job.run(hand=handing("lost_reply"), act=act)

    assert ended.at - stopped_at[0] < 0.1
    assert outcomes_of(ended.statistics) == {"created": 1, "ambiguous": 1}
    assert Reason.UNFINISHED in ended.statistics.reasons()
    assert outcomes_of(job.run().statistics) == {"recovered": 1, "unchanged": 1}


def test_a_stop_awaits_what_is_in_flight(tmp_path: Path) -> None:
    """A drain sends nothing more, records what was under way, and leaves the rest planned."""
    job = Job(tmp_path, numbered(40))

    async def act(stop: Stop, _: VirtualClock) -> None:
        await asyncio.sleep(0.5)
        stop.request("enough")

    ended = job.run(hand=lambda: Fate(there_s=0.2, back_s=0.2), act=act)

    made = len(job.world.truth.alive)
    assert 0 < made < 40
    assert outcomes_of(ended.statistics) == {"created": made, "pending": 40 - made}
    assert ended.statistics.reasons() == {Reason.UNFINISHED}
    job.run()
    job.check_finished()


def test_workers_begin_when_they_are_needed(tmp_path: Path) -> None:
    """A run that may have 256 workers has a few more than there are slots, which are twice the creates in flight.

    The few are at results that are on their way to the ledger.
    """
    job = Job(tmp_path, numbered(300))
    tasks: list[int] = []

    async def act(*_: object) -> None:
        while True:
            tasks.append(len(asyncio.all_tasks()))
            await asyncio.sleep(0.5)

    ended = job.run(hand=lambda: Fate(there_s=0.2, back_s=0.2), workers=256, act=act)

    assert tasks[0] < 10
    assert 20 < ended.most <= max(tasks) <= 2 * ended.most + 15
    job.check_finished()


def test_all_workers_wake_for_what_is_sent_again(tmp_path: Path) -> None:
    """Workers that have had nothing to do share what a sweep proved absent: none of them has missed the call."""
    job = Job(tmp_path, numbered(8))
    slow = Fate(there_s=5.0, back_s=5.0)

    job.run(hand=handing(*["lost_request"] * 8, *[slow] * 8), workers=4)

    again = sorted(job.world.truth.creates, key=lambda record: record.time)[-8:]
    assert again[3].time - again[0].time < 1.0
    assert again[4].time - again[0].time == pytest.approx(10.0, abs=1.0)
    job.check_finished()


def test_a_get_that_never_succeeds_ends_the_run(tmp_path: Path) -> None:
    """An algorithm that List shows and Get cannot read leaves its entry open; the run ends all the same; exit 5."""
    job = Job(tmp_path, numbered(2), Behaviour(names="duplicates", get_script=("error_without_effect:400",) * 99))

    ended = job.run(hand=handing("lost_reply"))

    assert outcomes_of(ended.statistics) == {"created": 1, "ambiguous": 1}
    assert Reason.AMBIGUOUS in ended.statistics.reasons()


def test_a_sweep_that_breaks_off_proves_no_absence(tmp_path: Path) -> None:
    """A List that fails never means that nothing is there."""
    job = Job(
        tmp_path, numbered(1), Behaviour(names="duplicates", list_script=("ok", *("error_without_effect:500",) * 8 * 3))
    )

    ended = job.run(hand=handing("lost_request"))

    assert outcomes_of(ended.statistics) == {"ambiguous": 1}
    assert len(job.sends("algorithm 0")) == 1


def test_an_entry_that_is_in_no_manifest_is_resolved_too(tmp_path: Path) -> None:
    """What an earlier manifest left in doubt is found, whatever is registered now."""
    job = Job(tmp_path, numbered(2))
    job.run(hand=handing("lost_reply", "lost_request"), policy=make_policy(wait=False))
    write_manifest(job.manifest, ["another"])
    hasty = job.run(policy=make_policy(wait=False))
    assert (outcomes_of(hasty.statistics), hasty.statistics.reasons()) == ({"created": 1}, {Reason.AMBIGUOUS})

    ended = job.run()

    assert (outcomes_of(ended.statistics), ended.statistics.reasons()) == ({"unchanged": 1}, set())
    states = {name: entry.state for name, entry in entries_of(job.ledger).items()}
    assert states == {"algorithm 0": State.CREATED, "algorithm 1": State.PLANNED, "another": State.CREATED}


@pytest.mark.parametrize("boot", ["boot", "another"])
def test_runs_that_never_wait_prove_absence_together(tmp_path: Path, boot: str) -> None:
    """The first of two sweeps that prove absence is durable: runs with --no-wait share the proof."""
    job = Job(tmp_path, numbered(1))
    patient = make_policy(wait=False)
    assert outcomes_of(job.run(hand=handing("lost_request"), policy=patient).statistics) == {"ambiguous": 1}
    job.at += POLICY.settle_s + 20.0

    seen = job.run(policy=patient)
    job.at += POLICY.list_lag_s
    ended = job.run(policy=patient, boot=boot)

    assert (outcomes_of(seen.statistics), events(seen)) == ({"ambiguous": 1}, [Event.MISS])
    assert outcomes_of(ended.statistics) == ({"created": 1} if boot == "boot" else {"ambiguous": 1})
    assert boot == "boot" or not job.sends("algorithm 0")[1:]


class Losing:
    """A lease that is lost after some checks."""

    def __init__(self, checks: int) -> None:
        self._left = checks

    def check(self) -> None:
        """Refuse when it is lost."""
        self._left -= 1
        if self._left < 0:
            raise LedgerError("the lock file was deleted or replaced during the run")

    async def confirm(self) -> None:
        """Refuse when it is lost."""
        self.check()


def test_a_holder_that_lost_its_lease_sends_nothing_more(tmp_path: Path) -> None:
    """The lease is asked after each intent and before each send: no create leaves once it is lost."""
    job = Job(tmp_path, numbered(20))
    order = Order(manifest=job.manifest, ledger=job.ledger, lease=Losing(5), base=job.at)

    with pytest.raises(ExceptionGroup):
        register(job.world, order)

    assert len(job.world.truth.creates) == 5
    job.at += 10
    job.run()
    job.check_finished()


def test_a_process_that_stood_still_after_its_last_look_at_the_clock(tmp_path: Path) -> None:
    """The settle time counts from when a create can have left at the latest, not from its intent."""
    job = Job(tmp_path, numbered(1))

    async def stop_soon(stop: Stop, _: VirtualClock) -> None:
        await asyncio.sleep(405.0)
        stop.request("enough")

    job.run(hand=handing(Fate("late", late_s=290.0, held_s=400.0)), act=stop_soon)
    ended = job.run()

    assert outcomes_of(ended.statistics) == {"recovered": 1}
    job.check_finished()


def test_a_process_that_stood_still_before_it_sent(tmp_path: Path) -> None:
    """An intent that has grown old before its create could leave is made anew, so that the settle time holds."""
    job = Job(tmp_path, numbered(1))

    class Slow:
        def __init__(self, ledger: DirectLedger) -> None:
            self._ledger = ledger
            self._waits = [60.0]

        def __getattr__(self, name: str) -> Any:
            return getattr(self._ledger, name)

        async def record(self, facts: Sequence[Fact]) -> None:
            await self._ledger.record(facts)
            if facts and self._waits:
                await asyncio.sleep(self._waits.pop())

    ended = job.run(wrap=Slow)

    assert events(ended) == [Event.INTEND, Event.RELEASE, Event.INTEND, Event.CONFIRM]
    job.check_finished()


SETTLED_S = POLICY.settle_s + POLICY.list_lag_s
"""After that what a run has sent is no longer on its way, and List shows it: the condition of the rows below."""


def ledgers_of(*paths: Path) -> dict[str, dict[str, Entry]]:
    """The entries of these ledgers, by id."""
    return {ledger_id_of(path): entries_of(path) for path in paths}


@pytest.mark.parametrize("names", NAMES)
def test_a_second_new_ledger_for_the_account(tmp_path: Path, names: Any) -> None:
    """What the first ledger created is refused with its id, and taken over when asked; what it did not is created."""
    job = Job(tmp_path, numbered(4), Behaviour(names=names, list_lag=55.0))
    first, second = job.ledger, tmp_path / "second.db"
    assert outcomes_of(job.run(hand=handing("lost_reply", "late_error")).statistics) == {"recovered": 2, "created": 2}
    write_manifest(job.manifest, [*job.names, "one more"])
    job.at += SETTLED_S

    job.ledger = second
    refused = job.run(hand=handing("lost_reply"))
    job.at += SETTLED_S
    job.ledger = first
    back = job.run()
    job.at += SETTLED_S
    check_account(job.world.truth, ledgers_of(first, second))
    job.ledger, job.before = second, [entry.arn for entry in entries_of(first).values()]
    taken = job.run(policy=make_policy(take_over=ledger_id_of(first)))

    assert outcomes_of(refused.statistics) == {"recovered": 1, "failed": 4}
    assert {problem.code for problem in refused.statistics.problems} == {"other_ledger"}
    assert all(ledger_id_of(first) in problem.message for problem in refused.statistics.problems)
    assert outcomes_of(back.statistics) == {"unchanged": 4, "failed": 1}
    assert outcomes_of(taken.statistics) == {"unchanged": 1, "adopted": 4}
    assert job.world.truth.count("create") == 5


def test_a_second_ledger_where_names_may_repeat(tmp_path: Path) -> None:
    """Where the configuration says that names repeat, each ledger has one algorithm of each name, and no more."""
    job = Job(tmp_path, numbered(3))
    policy = make_policy(names="duplicates")
    job.run(policy=policy)
    job.at += SETTLED_S
    first, job.ledger = job.ledger, tmp_path / "second.db"

    ended = job.run(policy=policy, hand=handing("lost_reply"))

    assert outcomes_of(ended.statistics) == {"recovered": 1, "created": 2}
    check_finished_together(job.world.truth, ledgers_of(first, job.ledger), job.names, names_repeat=True)


@pytest.mark.parametrize("point", ["after commit", "after send", "receive"])
def test_a_second_ledger_after_a_kill(tmp_path: Path, point: str) -> None:
    """A run was killed and the next one uses a new ledger: what was made is refused, what was not is made, once."""
    job = die(tmp_path, point)
    first, job.ledger = job.ledger, tmp_path / "second.db"
    job.at += SETTLED_S

    second = job.run()
    job.at += SETTLED_S
    kept, job.ledger = job.ledger, first
    back = job.run(policy=make_policy(adopt="any"))

    made = point != "after commit"
    assert outcomes_of(second.statistics) == ({"failed": 1} if made else {"created": 1})
    assert outcomes_of(back.statistics) == ({"recovered": 1} if made else {"failed": 1})
    assert len(job.world.truth.creates) == 1
    check_finished_together(job.world.truth, ledgers_of(first, kept), job.names)


@pytest.mark.parametrize("wal", [True, False])
@pytest.mark.parametrize("names", NAMES)
def test_a_ledger_that_was_restored(tmp_path: Path, names: Any, wal: bool) -> None:  # noqa: FBT001  a parameter
    """A copy that was taken in mid-run, with or without its -wal, recovers what it does not know; nothing is sent."""
    job = Job(tmp_path, numbered(12), Behaviour(names=names, list_lag=55.0))
    copies = Copies(job.ledger)
    write_manifest(job.manifest, job.names[:3])
    job.run()

    async def copy(*_: object) -> None:
        await asyncio.sleep(0.6)
        copies.take(wal=wal)

    write_manifest(job.manifest, job.names)
    slow = Fate(there_s=0.1, back_s=0.1)
    job.run(hand=handing("lost_reply", slow, "reset", slow, then="ok"), act=copy, workers=2)
    job.at += SETTLED_S
    copies.put_back(0)
    ended = job.run(hand=handing(then="lost_reply"), workers=2)

    known = ended.statistics.outcomes[Outcome.UNCHANGED]
    assert 3 <= known < 12
    assert outcomes_of(ended.statistics) == {"unchanged": known, "recovered": 12 - known}
    assert job.world.truth.count("create") == 12
    job.check_finished()


def test_copies_of_a_ledger_on_two_machines_in_turn(tmp_path: Path) -> None:
    """Each recovers what the other has made since; neither makes anything twice."""
    job = Job(tmp_path, numbered(9), Behaviour(names="duplicates", list_lag=55.0))
    write_manifest(job.manifest, job.names[:3])
    job.run()
    here, there = job.ledger, tmp_path / "there.db"
    there.write_bytes(here.read_bytes())
    counts = []
    for ledger, boot, size in [(there, "there", 6), (here, "boot", 6), (here, "boot", 9), (there, "there", 9)]:
        write_manifest(job.manifest, job.names[:size])
        job.at += SETTLED_S
        job.ledger = ledger
        counts.append(outcomes_of(register_and_move(job, boot).statistics))

    assert counts == [
        {"unchanged": 3, "recovered": 1, "created": 2},
        {"unchanged": 3, "recovered": 3},
        {"unchanged": 6, "recovered": 1, "created": 2},
        {"unchanged": 6, "recovered": 3},
    ]
    job.check_finished()


def register_and_move(job: Job, boot: str) -> Ended:
    """A run of one of two copies of a ledger: the invariants hold once both know everything."""
    order = Order(
        manifest=job.manifest, ledger=job.ledger, base=job.at, boot=boot, hand=handing("lost_reply"), workers=1
    )
    ended = register(job.world, order)
    job.at = ended.at
    return ended


@pytest.mark.parametrize("adopt", ["never", "same", "any"])
def test_an_unanswered_create_whose_name_another_ledger_took(tmp_path: Path, adopt: Any) -> None:
    """A sweep that finds another ledger's algorithm refuses the name with that ledger's id, whatever --adopt says."""
    job = Job(tmp_path, numbered(1))
    assert outcomes_of(job.run(hand=handing("lost_request"), policy=make_policy(wait=False)).statistics) == {
        "ambiguous": 1
    }
    job.at += SETTLED_S
    first, job.ledger = job.ledger, tmp_path / "second.db"
    assert outcomes_of(job.run().statistics) == {"created": 1}
    job.at += SETTLED_S
    second, job.ledger = job.ledger, first

    ended = job.run(policy=make_policy(adopt=adopt))

    assert outcomes_of(ended.statistics) == {"failed": 1}
    assert [problem.code for problem in ended.statistics.problems] == ["other_ledger"]
    assert f"--take-over {ledger_id_of(second)}" in ended.statistics.problems[0].message
    check_finished_together(job.world.truth, ledgers_of(first, second), job.names)


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_reply_without_the_services_code(tmp_path: Path, status: int) -> None:
    """A 401, 403, 404 or 405 of something in between says nothing: the create may have been executed, or not."""
    job = Job(tmp_path, numbered(5))

    made, lost = Fate("ok", proxy_status=status), Fate("lost_request", proxy_status=status)

    ended = job.run(hand=handing(made, "ok", lost, "ok", made), workers=1)

    assert outcomes_of(ended.statistics) == {"recovered": 2, "created": 3}
    assert ended.statistics.halt is None
    first, second = job.sends("algorithm 2")
    assert second - first > POLICY.settle_s
    job.check_finished()


class EndlessControl(WorldControl):
    """A List whose every page names a next one."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._pages = 0

    async def list_algorithms(self, next_token: str = "", page_size: int = 100) -> Page:
        """The first page, again and again, with another token each time."""
        del next_token
        page = await super().list_algorithms("", page_size)
        self._pages += 1
        return Page(page.items, f"token {self._pages}")


def test_a_list_whose_pages_never_end(tmp_path: Path) -> None:
    """Before the first create nothing is created, and in a sweep nothing is proven absent: the run ends in a minute."""
    job = Job(tmp_path, numbered(3))

    ended = job.run(control=EndlessControl)

    assert outcomes_of(ended.statistics) == {"pending": 3}
    assert ended.statistics.reasons() == {Reason.UNFINISHED}
    assert ended.at - EPOCH < 60
    assert not job.world.truth.creates
    job.run(hand=handing("lost_reply", "lost_request"), policy=make_policy(wait=False), workers=1)
    job.at += SETTLED_S
    swept = job.run(control=EndlessControl)
    assert outcomes_of(swept.statistics) == {"unchanged": 1, "recovered": 1, "ambiguous": 1}
    assert len(job.sends("algorithm 1")) == 1
    job.run()
    job.check_finished()


def test_a_list_that_broke_off_before_the_first_create(tmp_path: Path) -> None:
    """An incomplete List is not taken for a whole one: nothing is created, and the next run creates everything."""
    job = Job(tmp_path, numbered(3), Behaviour(names="duplicates", list_script=("error_without_effect:500",) * 8))

    ended = job.run()

    assert outcomes_of(ended.statistics) == {"pending": 3}
    assert ended.statistics.reasons() == {Reason.UNFINISHED}
    assert not job.world.truth.creates
    assert outcomes_of(job.run().statistics) == {"created": 3}
    job.check_finished()
