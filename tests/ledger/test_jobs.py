"""Jobs of a PostgreSQL ledger: who gets which targets, what became of each, and what a worker leaves that dies."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from provisioner.errors import LedgerLockedError, UsageError
from provisioner.ledger import RunRecord
from provisioner.ledger.jobs import AUTO, Joining, Share, TargetResult
from provisioner.ledger.lease import OvertakenError
from provisioner.ledger.location import locate
from provisioner.ledger.postgres import patience
from provisioner.ledger.postgres.store import PostgresLedger
from provisioner.ledger.requests import KEPT_RUNS_WITH_PROBLEMS
from tests.ledger.contract.facts import AT
from tests.ledger.proxy import Proxy
from tests.ledger.test_leases import expire, leases_of
from tests.pgbouncer import pooled_ledger
from tests.postgres import Ledger, empty_ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from provisioner.ledger.postgres.lease import PostgresLeases

TARGETS = tuple(f"t{number}" for number in range(12))


@pytest.fixture(params=["direct", "behind PgBouncer"])
def postgres(request: pytest.FixtureRequest) -> Ledger:
    """The ledger of the test."""
    return empty_ledger() if request.param == "direct" else pooled_ledger()


@asynccontextmanager
async def worker(
    url: str, run_id: str, *, job: str = "j", fingerprint: str = "f", targets: tuple[str, ...] = TARGETS
) -> AsyncIterator[tuple[Share, PostgresLeases]]:
    """A worker of a job."""
    async with leases_of(url) as leases:
        ledger = await PostgresLedger.open(leases)
        try:
            joining = Joining(job, fingerprint, run_id, AT, targets)
            share = await locate(url).jobs().join(ledger, leases, joining)
            await ledger.begin_run(RunRecord(run_id, "apply", AT))
            yield share, leases
        finally:
            await ledger.close()


def done(target: str, run_id: str = "r") -> TargetResult:
    """It is as it should be."""
    return TargetResult(target=target, result="done", exit_code=0, run_id=run_id, ended_at=AT, outcomes={"created": 3})


async def test_workers_share_what_is_free(postgres: Ledger) -> None:
    """One takes half and leaves the rest to the next; of that, each takes its share; nobody gets what another has."""
    async with worker(postgres.url, "r1") as (one, _), worker(postgres.url, "r2") as (other, _):
        first = await one.claim(100)
        second = await other.claim(100)
        third = await one.claim(1)

        assert (len(first), len(second), len(third)) == (4, 3, 1)
        assert len({*first, *second, *third}) == 8
        assert (await one.claim(0), await one.left(), await other.left()) == ([], 12, 12)


async def test_a_worker_alone_takes_everything_in_time(postgres: Ledger) -> None:
    """It leaves half for the next to come, again and again, until nothing is left."""
    async with worker(postgres.url, "r1") as (share, _):
        claimed = [len(await share.claim(100)) for _ in range(5)]

    assert claimed == [6, 3, 2, 1, 0]


async def test_what_is_finished_is_final(postgres: Ledger) -> None:
    """No worker gets it again, whatever its result; the job has who finished what, and how."""
    async with worker(postgres.url, "r1", targets=("a", "b", "c")) as (share, leases):
        taken = [*await share.claim(100), *await share.claim(100)]
        parked = msgspec.structs.replace(done(taken[0], "r1"), result="parked", exit_code=4, message="full \x00 \u2602")
        await share.finish(parked)
        with pytest.raises(Exception, match="does not hold the target"):
            leases.of(taken[0]).check()
        during = await locate(postgres.url).jobs().find("j")
    async with worker(postgres.url, "r2", targets=("a", "b", "c")) as (share, _):
        again = [*await share.claim(100), *await share.claim(100), *await share.claim(100)]
        for target in again:
            await share.finish(done(target, "r2"))
        left = await share.left()
        after = await locate(postgres.url).jobs().find("j")

    assert (sorted([*again, taken[0]]), left) == (["a", "b", "c"], 0)
    assert during is not None
    assert after is not None
    assert {one.target: (one.result, one.run_id) for one in during.targets} == {
        **{target: ("", "r1" if target in taken else "") for target in "abc"},
        taken[0]: ("parked", "r1"),
    }
    assert {one.target: one for one in after.targets}[taken[0]] == parked
    assert after.runs == ["r1", "r2"]
    assert await locate(postgres.url).jobs().find("other") is None


async def test_what_a_dead_worker_had_is_taken_over(postgres: Ledger) -> None:
    """When its leases have expired; the one that wakes up records nothing more, and does not take it again."""
    async with worker(postgres.url, "r1", targets=("a", "b")) as (sleeper, leases):
        taken = [*await sleeper.claim(1), *await sleeper.claim(1)]
        expire(postgres, leases)
        async with worker(postgres.url, "r2", targets=("a", "b")) as (other, _):
            (over,) = await other.claim(1)
            kept = next(target for target in taken if target != over)
            with pytest.raises(OvertakenError, match=f"'{over}'"):
                await sleeper.finish(done(over, "r1"))
            await sleeper.finish(done(kept, "r1"))
            assert (await sleeper.left(), await other.left()) == (0, 1)
        # The other one died with it, too: it is for a third.
        assert await sleeper.claim(1) == []
        record = await locate(postgres.url).jobs().find("j")

    assert record is not None
    assert {one.target: one.result for one in record.targets} == {over: "", kept: "done"}


async def test_a_worker_that_slept_has_its_targets_still(postgres: Ledger) -> None:
    """If nobody took them: it does not claim them a second time, and has renewed them when it has claimed others."""
    async with worker(postgres.url, "r1", targets=("a", "b")) as (share, leases):
        (first,) = await share.claim(1)
        expire(postgres, leases)
        (second,) = await share.claim(1)
        expired = postgres.execute("SELECT count(*) FROM workers WHERE expires_at <= now()")

        assert {first, second} == {"a", "b"}
        assert {leases.epoch(target) for target in (first, second)} == {f"1-{leases.nonce}"}
        assert expired == [(0,)]


async def test_workers_of_a_job_do_the_same(postgres: Ledger) -> None:
    """Another manifest or other options are refused; other targets are added, and left to those who know them."""
    async with worker(postgres.url, "r1", targets=("a", "b")) as (one, _):
        with pytest.raises(UsageError, match="another manifest, or has other options"):
            async with worker(postgres.url, "r2", fingerprint="g"):
                pass
        async with worker(postgres.url, "r3", targets=("b", "c")) as (other, _):
            mine = [target for _ in range(4) for target in await one.claim(100)]
            theirs = [target for _ in range(4) for target in await other.claim(100)]

            assert sorted(mine) == ["a", "b"]
            assert theirs == ["c"]


async def test_an_automatic_job_is_open_while_a_worker_lives(postgres: Ledger) -> None:
    """Who does the same meanwhile joins it; what is different, or comes later, or when all is done, is another job."""
    async with worker(postgres.url, "r1", job=AUTO, targets=("a", "b")) as (one, leases):
        async with worker(postgres.url, "r2", job=AUTO, targets=("a", "b")) as (same, _):
            pass
        async with worker(postgres.url, "r3", job=AUTO, fingerprint="g", targets=("c",)) as (different, _):
            pass
        for _ in range(2):
            (target,) = await one.claim(1)
            await one.finish(done(target))
        async with worker(postgres.url, "r4", job=AUTO, targets=("a", "b")) as (again, others):
            expire(postgres, others)
            async with worker(postgres.url, "r5", job=AUTO, targets=("a", "b")) as (later, _):
                pass
        leases.check()

    assert one.job == same.job
    assert len({one.job, different.job, again.job, later.job}) == 4


async def test_a_job_has_its_targets_until_they_are_finished(postgres: Ledger) -> None:
    """Before a worker has begun with them nobody else gets one, as long as a worker is alive: no run, and no job."""

    async def refused(target: str, job: str) -> None:
        with pytest.raises(LedgerLockedError, match=f"'{target}'.*, a worker of the job {job}, since"):
            async with leases_of(postgres.url) as leases:
                await leases.take(["z", target])
        with pytest.raises(LedgerLockedError, match=f"'{target}'.*, a worker of the job {job}, since"):
            async with worker(postgres.url, "r9", job=AUTO, fingerprint="g", targets=(target, "z")):
                pass
        condition = await locate(postgres.url).condition([target])
        assert (f"a worker of the job {job}" in condition.holder, condition.job) == (True, job)

    async with worker(postgres.url, "r1", targets=("a", "b")) as (share, leases):
        for target in "ab":
            await refused(target, "j")
        (first,) = await share.claim(1)
        (other,) = {"a", "b"} - {first}
        await refused(first, "j")
        await share.finish(done(first))
        await refused(other, "j")
        async with leases_of(postgres.url) as alone:
            await alone.take([first])
            async with worker(postgres.url, "r2", targets=("a", "b")) as (same, _):
                assert await same.left() == 1
        expire(postgres, leases)
        async with leases_of(postgres.url) as alone:
            await alone.take([other])
            with pytest.raises(LedgerLockedError, match=f"'{other}'"):
                async with worker(postgres.url, "r3", targets=("a", "b")):
                    pass


async def test_what_a_worker_leaves_is_for_others(postgres: Ledger) -> None:
    """It has no result and no lease; the worker does not claim it again, and does not wait for it."""
    async with worker(postgres.url, "r1", targets=("a",)) as (share, _):
        await share.leave(*await share.claim(1))
        again = await share.claim(1)
        async with worker(postgres.url, "r2", targets=("a",)) as (other, _):
            taken = await other.claim(1)
            await other.finish(msgspec.structs.replace(done("a"), result="failed", exit_code=3))

            assert (again, await share.left(), taken) == ([], 0, ["a"])
            assert await share.exit_codes() == await other.exit_codes() == [3]


async def test_automatic_jobs_are_kept_as_long_as_what_their_runs_did(postgres: Ledger) -> None:
    """Every run makes one, with a row for each target; one whose workers are alive stays, and one that was named."""
    async with worker(postgres.url, "run-000", job=AUTO, targets=("a",)) as (alive, _):
        for number in range(1, KEPT_RUNS_WITH_PROBLEMS + 3):
            job = {1: "mine"}.get(number, AUTO)
            async with worker(postgres.url, f"run-{number:03}", job=job, fingerprint=f"{number}", targets=("b",)):
                pass
    kept = {job for (job,) in postgres.execute("SELECT job FROM jobs")}

    assert {alive.job, "mine"} < kept
    assert len(kept) == 2 + KEPT_RUNS_WITH_PROBLEMS


async def test_claims_survive_a_connection_that_breaks(
    postgres: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim whose reply is lost is the worker's; a result is recorded once, and its lease given back."""
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.05)
    async with (
        Proxy(postgres.server, tmp_path) as proxy,
        worker(proxy.through(postgres.url), "r1", targets=("a", "b")) as (share, leases),
    ):
        proxy.plan = "lose the reply"
        taken = await share.claim(1)
        proxy.cut()
        taken += await share.claim(1)
        for target in taken:
            leases.of(target).check()
            proxy.plan = "lose the reply"
            await share.finish(done(target))

        assert sorted(taken) == ["a", "b"]
        assert await share.left() == 0
        assert postgres.execute("SELECT count(*) FROM leases WHERE worker <> ''") == [(0,)]


async def test_the_runs_of_a_job_count_as_one_for_what_is_kept(postgres: Ledger) -> None:
    """A job may have more workers than there are runs whose problems are kept."""
    rows = [f"('run-{number:03}', 'apply', 1, '')" for number in range(KEPT_RUNS_WITH_PROBLEMS + 30)]
    postgres.execute(
        f"""INSERT INTO runs (run_id, command, started_at, summary) VALUES {", ".join(rows)};
        INSERT INTO problems (run_id, seq, source, line, name, code, message, column_, target, severity)
            SELECT run_id, 1, '', 0, '', '', '', 0, '', 'problem' FROM runs;
        INSERT INTO jobs VALUES ('big', 'f', 1), ('old', 'f', 1);
        INSERT INTO job_runs SELECT 'big', run_id FROM runs WHERE run_id >= 'run-010'"""  # noqa: S608  ours
    )
    async with worker(postgres.url, "run-999"):
        pass
    kept = postgres.execute("SELECT min(run_id), count(*) FROM problems")

    assert kept == [("run-000", KEPT_RUNS_WITH_PROBLEMS + 30)]
    assert postgres.execute("SELECT job FROM jobs ORDER BY job") == [("big",), ("j",)]


async def test_a_worker_that_has_joined_is_not_forgotten_before_its_run_is_recorded(postgres: Ledger) -> None:
    """Another one may begin between the two, and forget old runs."""
    async with leases_of(postgres.url) as leases:
        ledger = await PostgresLedger.open(leases)
        share = await locate(postgres.url).jobs().join(ledger, leases, Joining("j", "f", "r1", AT, TARGETS))
        async with worker(postgres.url, "r2") as (other, _):
            record = await locate(postgres.url).jobs().find(other.job)
        await ledger.close()

    assert record is not None
    assert (share.job, record.runs) == ("j", ["r1", "r2"])


async def test_many_claim_at_once(postgres: Ledger) -> None:
    """However many begin together: each target is one worker's, and all are somebody's."""

    async def work(number: int) -> list[str]:
        async with worker(postgres.url, f"r{number}") as (share, _):
            taken: list[str] = []
            while await share.left():
                for target in await share.claim(2):
                    taken.append(target)
                    await share.finish(done(target))
                await asyncio.sleep(0)
            return taken

    taken = await asyncio.gather(*(work(number) for number in range(4)))

    assert sorted(target for some in taken for target in some) == sorted(TARGETS)
