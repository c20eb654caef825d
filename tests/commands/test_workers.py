"""What workers elsewhere get to do, and what several of them did as one result."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from typing import Any

import msgspec
import pytest

from provisioner.commands.job_summary import ended_by, together
from provisioner.commands.ray import apply_on_ray
from provisioner.commands.run import Order, Run, policy_of
from provisioner.commands.workers import UNWATCHED_S, Part, Worker, order_of_workers
from provisioner.config.settings import Settings
from provisioner.config.target import Target
from provisioner.core.entry import Outcome
from provisioner.engine.observer import Halt
from provisioner.errors import Reason, UsageError
from provisioner.ledger.jobs import AUTO, JobRecord, Result, TargetResult
from provisioner.report.statistics import Statistics
from tests.virtual_time import virtual_time

LEDGER = "postgresql://provisioner@db.example.com/provisioner"


def order_with(ledger: str = LEDGER, **more: Any) -> Order:
    """An order for one target."""
    settings = Settings().override("run", ledger=ledger, deadline="1h")
    fields = {"sources": ("m.jsonl",), "targets": (Target(name="a"),), **more}
    return Order(settings=settings, policy=policy_of(settings), **fields)


def test_workers_get_an_order_that_means_the_same_elsewhere() -> None:
    """Whole paths, one id, no deadline of their own, since who starts them passes it on; and it can be sent."""
    order = order_of_workers(order_with(sources=("m.jsonl", "s3://b/m.jsonl")), "ray-1")
    again = order_of_workers(order_with(job="mine"), "ray-1")
    unnamed = order_of_workers(order_with(job=AUTO), "ray-1")

    assert order.sources == (os.path.join(os.getcwd(), "m.jsonl"), "s3://b/m.jsonl")  # noqa: PTH109, PTH118
    assert (order.job, again.job, unnamed.job) == ("ray-1", "mine", "ray-1")
    assert order.settings.run.deadline_s is None
    assert pickle.loads(pickle.dumps(order)) == order  # noqa: S301  our own


REFUSED: dict[str, dict[str, Any]] = {
    "has a password in it": {"ledger": "postgresql://provisioner:secret@db.example.com/provisioner"},
    "a ledger in PostgreSQL": {"ledger": "ledger.db"},
    "standard input": {"sources": ("-",)},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_workers_elsewhere_cannot_do_is_refused(what: str) -> None:
    """The password of a ledger stays where it is, and no message has it."""
    with pytest.raises(UsageError) as refused:
        order_of_workers(order_with(**REFUSED[what]), "ray-1")

    assert what in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 78."""
    monkeypatch.setitem(sys.modules, "ray", None)
    summary = await apply_on_ray(Run(order_with()), workers=2)

    assert summary.exit_code == 78
    assert "pip install 'cleanrooms-provisioner[ray,postgres]'" in (summary.error or "")


async def test_a_cluster_out_of_reach_is_named() -> None:
    """At once, where Ray itself would try for minutes; exit 78."""
    summary = await apply_on_ray(Run(order_with()), workers=2, address="127.0.0.1:1")

    assert summary.exit_code == 78
    assert "127.0.0.1:1: Ray cannot be used: it does not answer" in (summary.error or "")


def part(run_id: str, error: tuple[Reason, str] | None = None, **outcomes: dict[Outcome, int]) -> Part:
    """Of a worker that has read two lines for each of these targets, and sent a create for each outcome."""
    statistics = {}
    for target, counts in outcomes.items():
        one = statistics[target] = Statistics(target)
        one.lines = one.valid = 2
        one.outcomes.update(counts)
        one.calls["create"] = sum(counts.values())
    return Part(run_id=run_id, now=0.0, job=None, statistics=statistics, error=error)


def record_of(**targets: tuple[Result, int, str, dict[str, int]]) -> JobRecord:
    """Of a job: result, exit code, run, outcomes."""
    results = [
        TargetResult(target=target, result=result, exit_code=code, run_id=run_id, outcomes=outcomes, ended_at=1.0)
        for target, (result, code, run_id, outcomes) in targets.items()
    ]
    return JobRecord("j", 0.0, [*results, TargetResult(target="open")], [])


CREATED, UNCHANGED, FAILED = Outcome.CREATED, Outcome.UNCHANGED, Outcome.FAILED
DONE = record_of(a=("done", 0, "2", {"created": 1, "unchanged": 1}))

MERGED: list[tuple[list[Part], JobRecord | None, dict[Outcome, int], int, set[Reason]]] = [
    # Who finished it says what became of it, whoever else had it before or after; calls are those of both.
    ([part("1", a={CREATED: 1}), part("2", a={CREATED: 1, UNCHANGED: 1})], DONE, {CREATED: 1, UNCHANGED: 1}, 3, set()),
    ([part("2", a={CREATED: 1, UNCHANGED: 1}), part("3", a={})], DONE, {CREATED: 1, UNCHANGED: 1}, 2, set()),
    # It has finished and died since it was looked at, or before this command began.
    ([part("2", a={CREATED: 1})], DONE, {CREATED: 1, UNCHANGED: 1}, 1, set()),
    ([], DONE, {CREATED: 1, UNCHANGED: 1}, 0, set()),
    ([], record_of(a=("failed", 3, "2", {"failed": 2})), {FAILED: 2}, 0, {Reason.FAILED}),
    ([], record_of(a=("parked", 4, "2", {"parked": 2})), {Outcome.PARKED: 2}, 0, {Reason.QUOTA}),
    # Nobody has finished it.
    ([part("1", a={CREATED: 1, FAILED: 1})], record_of(), {CREATED: 1, FAILED: 1}, 2, {Reason.FAILED}),
    ([part("1", a={CREATED: 2})], None, {CREATED: 2}, 2, set()),
    ([], None, {}, 0, set()),
]


@pytest.mark.parametrize(("parts", "record", "outcomes", "creates", "reasons"), MERGED)
def test_what_workers_did_is_one_result(
    parts: list[Part], record: JobRecord | None, outcomes: dict[Outcome, int], creates: int, reasons: set[Reason]
) -> None:
    """Outcomes add up to the lines of the manifest, whatever died; calls are those of all workers."""
    sent = [pickle.loads(pickle.dumps(one)) for one in parts]  # noqa: S301  as it arrives
    (one,) = together(["a"], sent, record).values()

    assert {what: number for what, number in one.outcomes.items() if number} == outcomes
    assert one.calls["create"] == creates
    assert one.reasons() == reasons


def test_why_a_target_halted_is_known_of_a_worker_that_is_gone() -> None:
    """The ledger has its message."""
    record = record_of(a=("halted", 77, "2", {"pending": 2}))
    halted = [msgspec.structs.replace(record.targets[0], message="denied: look"), *record.targets[1:]]
    one = together(["a"], [], msgspec.structs.replace(record, targets=halted))["a"]

    assert one.halt == Halt(Reason.DENIED, "denied: look")


@virtual_time
async def test_a_worker_that_nobody_looks_at_drains() -> None:
    """Who started it is gone, or cannot reach it to stop it; as long as somebody looks, it goes on."""

    async def until_stopped(run: Run) -> None:
        await run.stop.wait()

    worker = Worker(order_with(job="j"), until_stopped)
    work = asyncio.ensure_future(worker.work())
    for _ in range(3 * int(UNWATCHED_S)):
        await asyncio.sleep(1)
        await worker.look()
    watched = not work.done()
    await work

    assert watched
    assert asyncio.get_running_loop().time() == pytest.approx(4 * UNWATCHED_S, abs=2)


async def test_a_bug_in_a_worker_is_an_internal_error() -> None:
    """Not a death: it would end every other worker as well. Its log has the traceback, the result has not."""

    async def broken(_: Run) -> None:
        raise ExceptionGroup("", [KeyError("x")])

    part = await Worker(order_with(job="j"), broken).work()

    assert part.error is not None
    assert part.error[0] is Reason.INTERNAL
    assert part.error[1].startswith("internal error in a worker: KeyError: 'x'. Please report this")


LEDGER_LOST, DENIED = (Reason.LEDGER, "the ledger is gone"), (Reason.DENIED, "no credentials")
ENDS: list[tuple[list[Part], list[str], str, Reason | None]] = [
    ([part("1"), part("2")], [], "", None),
    ([part("1"), part("2", LEDGER_LOST)], [], "the ledger is gone", Reason.LEDGER),
    ([part("1", DENIED), part("2", LEDGER_LOST), part("3", (Reason.LEDGER, "x"))], ["y"], "the ledger", Reason.LEDGER),
    ([part("1")], ["out of memory"], "a worker died and was not restarted: out of memory", Reason.UNFINISHED),
]


@pytest.mark.parametrize(("parts", "failures", "text", "reason"), ENDS)
def test_what_ended_the_workers_is_the_error_of_all(
    parts: list[Part], failures: list[str], text: str, reason: Reason | None
) -> None:
    """What counts most; why a worker is not started again, if nothing else is known."""
    error = ended_by(parts, failures)

    assert text in str(error or "")
    assert (error.reason if error else None) is reason
