"""A worker of a job, with a job in memory: what it does with its share, and when it ends. In virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from provisioner.commands.jobs import AT_ONCE, WAIT_S, Work, check_order, with_job, work_together
from provisioner.commands.run import Order, Run, policy_of
from provisioner.commands.runs import exit_code_of
from provisioner.config.settings import LifecycleSettings, Settings
from provisioner.config.target import Target
from provisioner.core.entry import Outcome
from provisioner.core.pause import Pause
from provisioner.core.selection import Selection
from provisioner.engine.observer import Halt
from provisioner.errors import Reason, UsageError
from provisioner.exit_codes import ExitCode
from provisioner.ledger.jobs import AUTO, JobRecord, TargetResult
from provisioner.ledger.lease import OvertakenError
from provisioner.report.summary import JobPart
from tests.fakes import FakeClock
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


class FakeShare:
    """A job of which nobody else has anything, but for what a test takes.

    Args:
        targets: of the job.
    """

    job = "j"

    def __init__(self, *targets: str) -> None:
        self.free = list(targets)
        self.others: set[str] = set()
        self.mine: set[str] = set()
        self.results: dict[str, TargetResult] = {}
        self.lost: set[str] = set()
        self.left_alone: set[str] = set()
        self.codes_of_others: list[int | None] = []
        self.most = 1

    async def claim(self, room: int) -> list[str]:
        """So many at a time."""
        claimed, self.free = self.free[: min(self.most, room)], self.free[min(self.most, room) :]
        self.mine |= {*claimed}
        return claimed

    async def finish(self, result: TargetResult) -> None:
        """Keep it."""
        if result.target in self.lost:
            raise OvertakenError("l", target=result.target, why="it was suspended", hint="run again")
        self.results[result.target] = result

    async def leave(self, target: str) -> None:
        """It is for others."""
        self.mine.remove(target)
        self.left_alone.add(target)

    async def left(self) -> int:
        """What has no result."""
        return len(self.free) + len(self.others) + len(self.mine - self.results.keys() - self.lost)

    async def exit_codes(self) -> list[int | None]:
        """Of this worker's results and those of others."""
        left: list[int | None] = [None] * len(self.left_alone)
        return [*self.codes_of_others, *left, *(one.exit_code for one in self.results.values())]


def run_with(*targets: str, clock: FakeClock | None = None) -> Run:
    """The run of a worker that could do these."""
    settings = Settings()
    order = Order(
        sources=("m",),
        settings=settings,
        targets=tuple(Target(name=name) for name in targets),
        policy=policy_of(settings),
    )
    return Run(order, clock=clock or FakeClock())


def finish(run: Run, target: str, *outcomes: Outcome) -> None:
    """As the engine does when it has read the whole manifest."""
    statistics = run.statistics[target]
    statistics.valid = statistics.lines = len(outcomes)
    statistics.outcomes.update(outcomes)
    statistics.manifest_read()


def each(work: Callable[[str], Awaitable[None]]) -> Work:
    """``work`` for one target after another."""

    async def some(targets: list[str], ended: Callable[[str], Awaitable[None]]) -> None:
        for target in targets:
            await work(target)
            await ended(target)

    return some


@virtual_time
async def test_a_worker_ends_when_everything_is_finished_by_somebody() -> None:
    """It has the statistics of its own part, waits for others, and takes what they leave."""
    run, share = run_with("a", "b", "c"), FakeShare("a", "b")
    run.job = JobPart("j", 3, 3, 3)
    share.others = {"c"}
    told = []

    async def work(target: str) -> None:
        await asyncio.sleep(10)
        finish(run, target, Outcome.CREATED)

    async def leave() -> None:
        await asyncio.sleep(60)
        told.append(run.job.left if run.job else None)
        share.others, share.free = set(), ["c"]

    leaving = asyncio.ensure_future(leave())
    await work_together(run, share, each(work))
    await leaving

    assert {name: (one.result, one.exit_code, one.outcomes) for name, one in share.results.items()} == dict.fromkeys(
        "abc", ("done", 0, {"created": 1})
    )
    assert list(run.statistics) == ["a", "b", "c"]
    assert told == [1]
    assert 70 <= asyncio.get_running_loop().time() <= 70 + 4 * WAIT_S
    assert run.summary().exit_code == 0


@virtual_time
async def test_a_worker_without_a_share_has_nothing_to_tell() -> None:
    """Others have done everything: its summary is about no target, and its exit code is 0."""
    run = run_with("a")
    await work_together(run, FakeShare(), each(lambda _: asyncio.sleep(0)))

    assert (run.summary().targets, run.summary().exit_code) == ({}, 0)


ENDS: list[tuple[dict[str, Any], str, int]] = [
    ({"outcomes": (Outcome.CREATED,)}, "done", 0),
    ({"outcomes": (Outcome.CREATED, Outcome.FAILED)}, "failed", 3),
    ({"outcomes": (Outcome.AMBIGUOUS, Outcome.FAILED)}, "ambiguous", 5),
    ({"outcomes": (Outcome.PARKED,), "halt": Reason.QUOTA}, "parked", 4),
    ({"outcomes": (Outcome.PENDING,), "halt": Reason.DENIED}, "halted", 77),
    ({"outcomes": (Outcome.PENDING,), "halt": Reason.UNFINISHED}, "halted", 75),
    ({"outcomes": (Outcome.PENDING,)}, "unfinished", 75),
    ({"outcomes": (Outcome.PENDING,), "halt": Reason.LOCKED}, "", 6),
]


@pytest.mark.parametrize(("end", "result", "code"), ENDS)
@virtual_time
async def test_what_became_of_a_target_is_final(end: dict[str, Any], result: str, code: int) -> None:
    """In one word and by the exit code; only a target that another run has taken is for that one to say."""
    run, share = run_with("a"), FakeShare("a")
    share.lost = set() if result else {"a"}

    async def work(target: str) -> None:
        finish(run, target, *end["outcomes"])
        if "halt" in end:
            run.observers[target].target_halted(Halt(end["halt"], "why"))

    await work_together(run, share, each(work))
    found = share.results.get("a")

    assert (found.result if found else "") == result
    assert run.summary().exit_code == code
    if found:
        assert (found.exit_code, found.message) == (code, "why" if "halt" in end else "")


@virtual_time
@pytest.mark.parametrize(("busy", "taken"), [(True, AT_ONCE + 19), (False, 1000)])
async def test_a_busy_worker_takes_targets_one_by_one(*, busy: bool, taken: int) -> None:
    """It could not be quick with more, and who begins ten seconds later finds something to do."""
    names = [f"t{number}" for number in range(1000)]
    run, share = run_with(*names, clock=FakeClock(busy=busy)), FakeShare(*names)
    share.most = 1000

    async def some(_: list[str], __: Callable[[str], Awaitable[None]]) -> None:
        await asyncio.sleep(60)

    with anyio.move_on_after(9.9):
        await work_together(run, share, some)

    assert len(share.mine) == taken


@virtual_time
async def test_a_stop_leaves_what_is_under_way_to_others() -> None:
    """What was finished has its result; the rest has none, and the worker ends with 75."""
    run, share = run_with("a", "b"), FakeShare("a", "b")

    async def work(target: str) -> None:
        if target == "a":
            finish(run, target, Outcome.CREATED)
            return
        await asyncio.sleep(5)
        run.stop.request("a signal")

    await work_together(run, share, each(work))

    assert set(share.results) == {"a"}
    assert run.summary().exit_code == 75


@virtual_time
async def test_a_paused_target_has_no_result() -> None:
    """It is left to whoever comes when the pause has ended; meanwhile it is not done, and the worker ends with 75."""
    run, share = run_with("a", "b"), FakeShare("a", "b")

    async def work(target: str) -> None:
        if target == "a":
            run.observers[target].target_halted(Halt(Reason.UNFINISHED, "why", pause=Pause(2e9, 0.0, "")))
        else:
            finish(run, target, Outcome.CREATED)

    await work_together(run, share, each(work))

    assert (set(share.results), share.left_alone) == ({"b"}, {"a"})
    assert run.summary().exit_code == 75


@virtual_time
@pytest.mark.parametrize(("codes", "code"), [([0, 0], 0), ([0, 3], 3), ([65, 4, None], 4), ([0, None], 75)])
async def test_a_worker_ends_with_the_code_of_the_job(codes: list[int | None], code: int) -> None:
    """0 means that all of its targets are as they should be, whoever did them, and also if it did nothing itself."""
    run, share = run_with("a"), FakeShare("a")
    run.job = JobPart("j", 3, 3, 3)
    share.codes_of_others = codes

    async def work(target: str) -> None:
        finish(run, target, Outcome.CREATED)

    await work_together(run, share, each(work))
    summary = run.summary()

    assert summary.exit_code == code
    assert summary.job == JobPart("j", 3, 3, codes.count(None), bad=sum(bool(one) for one in codes))


@virtual_time
async def test_a_target_that_was_lost_at_the_end_is_halted() -> None:
    """Another worker has it: this one says so, ends with 6, and does not wait for it."""
    run, share = run_with("a", "b"), FakeShare("a", "b")
    share.lost = {"a"}

    async def work(target: str) -> None:
        finish(run, target, Outcome.CREATED)

    await work_together(run, share, each(work))
    summary = run.summary()

    assert set(share.results) == {"b"}
    assert "taken over the target 'a'" in str(summary.targets["a"].halted)
    assert summary.exit_code == 6


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"sources": ("m", "-")}, "standard input"),
    ({"deletes": True}, "add --yes"),
    ({"selection": Selection(run="last")}, "by --name and --target alone"),
    ({"deletes": True, "yes": True, "max_delete": 3}, "--max-delete"),
]


@pytest.mark.parametrize(("given", "hint"), REFUSED)
def test_what_several_workers_cannot_do_is_refused(given: dict[str, Any], hint: str) -> None:
    """Standard input is one process's, nobody is asked, a bound would be one for each, and the ledger changes."""
    settings = Settings(lifecycle=LifecycleSettings(max_delete=given.get("max_delete", 0)))
    policy = msgspec.structs.replace(policy_of(settings), deletes=given.get("deletes", False))
    order = Order(
        sources=given.get("sources", ("m",)),
        settings=settings,
        targets=(),
        policy=policy,
        selection=given.get("selection", Selection()),
        yes=given.get("yes", False),
    )
    with pytest.raises(UsageError, match=hint):
        check_order(order)


SHARED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "postgresql://h/d", AUTO),
    ({}, "ledger.db", ""),
    ({"sources": ("-",)}, "postgresql://h/d", ""),
    ({"deletes": True}, "postgresql://h/d", ""),
    ({"deletes": True, "yes": True}, "postgresql://h/d", AUTO),
    ({"deletes": True, "yes": True, "max_delete": 3}, "postgresql://h/d", ""),
]


@pytest.mark.parametrize(("given", "ledger", "job"), SHARED)
def test_who_names_no_job_shares_what_can_be_shared(given: dict[str, Any], ledger: str, job: str) -> None:
    """On a ledger that several runs can use; everything else is a run of its own."""
    lifecycle = LifecycleSettings(max_delete=given.get("max_delete", 0))
    settings = Settings(lifecycle=lifecycle).override("run", ledger=ledger)
    policy = msgspec.structs.replace(policy_of(settings), deletes=given.get("deletes", False))
    sources, yes = given.get("sources", ("m",)), given.get("yes", False)
    order = Order(sources=sources, settings=settings, targets=(), policy=policy, yes=yes, job=AUTO)

    assert with_job(order).job == job
    assert with_job(msgspec.structs.replace(order, job="")).job == ""


def job_of(*codes: int | None) -> JobRecord:
    """A job whose targets ended with these."""
    results: Sequence[TargetResult] = [
        TargetResult(target=str(number), result="" if code is None else "done", exit_code=code)
        for number, code in enumerate(codes)
    ]
    return JobRecord("j", 0.0, list(results), [])


@pytest.mark.parametrize(
    ("codes", "code"), [((0, 0), 0), ((0, 3, 4), 4), ((0, None), 75), ((77, 4), 77), ((None, 4), 4), ((), 0)]
)
def test_a_job_ends_as_one_run_would(codes: tuple[int | None, ...], code: int) -> None:
    """By the same order of exit codes; what is not finished is left."""
    assert exit_code_of(job_of(*codes)) is ExitCode(code)
