"""A lease for each target: runs side by side on one PostgreSQL ledger, and what a run loses that stood still."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from provisioner.core.entry import State
from provisioner.core.place import Place
from provisioner.core.problem import Problem
from provisioner.errors import LedgerError, LedgerLockedError, UnsureLeaseError
from provisioner.ledger import FinishedManifest, RunRecord
from provisioner.ledger.lease import OvertakenError
from provisioner.ledger.location import locate
from provisioner.ledger.postgres import patience
from provisioner.ledger.postgres.connection import Database
from provisioner.ledger.postgres.lease import PostgresLeases, TargetLease
from provisioner.ledger.postgres.migrations import MIGRATIONS
from provisioner.ledger.postgres.schema import ONE_LEASE
from provisioner.ledger.postgres.store import PostgresLedger
from provisioner.ledger.postgres.url import parsed
from tests.ledger.contract.facts import AT, all_of, confirm, intend
from tests.ledger.opening import open_ledger
from tests.ledger.proxy import Proxy
from tests.pgbouncer import pooled_ledger
from tests.postgres import Ledger, empty_ledger, fresh_ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=["direct", "behind PgBouncer"])
def postgres(request: pytest.FixtureRequest) -> Ledger:
    """The ledger of the test."""
    return empty_ledger() if request.param == "direct" else pooled_ledger()


def leases_of(url: str, timeout_s: float | None = 0.0, *, ttl_s: float = 30.0) -> PostgresLeases:
    """Those of another run."""
    return PostgresLeases(Database(parsed(url)), timeout_s, ttl_s=ttl_s)


@asynccontextmanager
async def run_in(url: str, *targets: str, ttl_s: float = 30.0) -> AsyncIterator[tuple[PostgresLeases, PostgresLedger]]:
    """A run that holds ``targets``, and its ledger."""
    async with leases_of(url, ttl_s=ttl_s) as leases:
        await leases.take(targets)
        ledger = await PostgresLedger.open(leases)
        try:
            yield leases, ledger
        finally:
            await ledger.close()


def expire(postgres: Ledger, leases: PostgresLeases) -> None:
    """As if the run had not renewed them for so long."""
    postgres.execute(f"UPDATE workers SET expires_at = clock_timestamp() WHERE nonce = '{leases.nonce}'")  # noqa: S608


async def test_runs_with_other_targets_run_side_by_side(postgres: Ledger) -> None:
    """Each records in its own; both see all of it, and both are under way."""
    async with run_in(postgres.url, "east") as (_, one), run_in(postgres.url, "west", "north") as (_, other):
        await one.begin_run(RunRecord("run-1", "apply", AT))
        await other.begin_run(RunRecord("run-2", "apply", AT))
        await asyncio.gather(
            one.record([intend("a", target="east"), confirm("a", 1, target="east")]),
            other.record([intend("a", target="west"), intend("a", target="north")]),
        )
        found = [(entry.target, entry.state, entry.run_id) for entry in await all_of(one)]
        alive = await locate(postgres.url).under_way("run-2")

    assert found == [("east", "created", "run-1"), ("north", "sent", "run-2"), ("west", "sent", "run-2")]
    assert alive == {"run-1", "run-2"}
    assert await locate(postgres.url).under_way("run-2") == set()


async def test_a_target_that_is_held_is_refused_with_its_holder(postgres: Ledger) -> None:
    """None of the others is taken then, so that nobody waits for somebody who waits for him."""
    async with leases_of(postgres.url) as one, leases_of(postgres.url) as other, leases_of(postgres.url, None) as third:
        await one.take(["b", "c"])
        for refused, hint in ((other, "Wait for it with --lock-timeout, or"), (third, "Run again when it has ended")):
            with pytest.raises(LedgerLockedError, match=rf"holds the target 'b': process \d+ on .*, since 20.*{hint}"):
                await refused.take(["a", "b"])
        await third.take(["a"])
        third.of("a").check()

    assert sorted(postgres.execute("SELECT target, epoch FROM leases")) == [("a", 1), ("b", 1), ("c", 1)]


async def test_a_look_names_who_is_in_the_way(postgres: Ledger) -> None:
    """Of the targets that are asked about; a run with others is not, and one that is alone is in everybody's."""
    location = locate(postgres.url)
    async with run_in(postgres.url, "b") as (holder, _):
        free, held = await location.condition(["a", "c"]), await location.condition(["a", "b"])
        expire(postgres, holder)
        expired = await location.condition(["b"])
    async with location.lease(everything=True):
        alone = await location.condition(["a"])

    assert (free.holder, expired.holder) == ("", "")
    assert "the target 'b'" in held.holder
    assert alone.holder.startswith("process ")


async def test_who_may_wait_gets_the_target_when_its_holder_ends(postgres: Ledger) -> None:
    """All of the targets at once, and with the next epoch."""
    async with leases_of(postgres.url, 30.0) as waiting:
        async with leases_of(postgres.url) as holder:
            await holder.take(["b"])
            taking = asyncio.ensure_future(waiting.take(["a", "b"]))
            await asyncio.sleep(0.05)
            assert not taking.done()
        await taking

        assert (waiting.epoch("a"), waiting.epoch("b")) == (f"1-{waiting.nonce}", f"2-{waiting.nonce}")


WRITES: dict[str, Callable[[PostgresLedger], Awaitable[None]]] = {
    "record": lambda ledger: ledger.record([confirm("a", 1, target="east")]),
    "two targets": lambda ledger: ledger.record([confirm("a", 1, target="east"), intend("b", target="west")]),
    "set_place": lambda ledger: ledger.set_place("east", Place("aws", "us-east-1")),
    "set_finished": lambda ledger: ledger.set_finished("east", FinishedManifest("f", 1, 1)),
    "forget": lambda ledger: ledger.forget("east", ["a"]),
    "rename_target": lambda ledger: ledger.rename_target("west", "east"),
}
"""Whatever is about the target ``east``."""


@pytest.mark.parametrize("write", WRITES)
async def test_what_is_about_a_lost_target_is_refused_and_harms_no_other(postgres: Ledger, write: str) -> None:
    """In one commit with facts of targets that the run still holds: these are recorded, also afterwards."""
    async with run_in(postgres.url, "east", "west") as (sleeper, ledger):
        await ledger.record([intend("a", target="east"), intend("a", target="west")])
        expire(postgres, sleeper)
        async with run_in(postgres.url, "east") as (_, other):
            before = await other.look_up("east", ["a"])
            refused, west, problem = await asyncio.gather(
                WRITES[write](ledger),
                ledger.record([confirm("a", 2, target="west")]),
                ledger.add_problems([Problem("m", 1, "a", "invalid", "no")]),
                return_exceptions=True,
            )
            for _ in range(2):
                with pytest.raises(OvertakenError, match="taken over the target 'east'"):
                    await WRITES[write](ledger)
            with pytest.raises(OvertakenError, match="taken over the target 'east'"):
                sleeper.of("east").check()
            sleeper.of("west").check()

            assert (type(refused), west, problem) == (OvertakenError, None, None)
            assert await other.look_up("east", ["a"]) == before
            assert set(await other.places()) == set()
            await other.record([confirm("a", 3, target="east")])
        await ledger.record([intend("c", target="west")])

        assert {(one.target, one.name, one.state) for one in await all_of(ledger)} == {
            ("east", "a", State.CREATED),
            ("west", "a", State.CREATED),
            ("west", "c", State.SENT),
        }


async def test_a_target_that_was_lost_and_given_back_stays_lost(postgres: Ledger) -> None:
    """What the other run recorded meanwhile is not known here."""
    async with run_in(postgres.url, "east") as (sleeper, ledger):
        await ledger.record([intend("a", target="east")])
        expire(postgres, sleeper)
        async with run_in(postgres.url, "east") as (_, other):
            await other.record([confirm("a", 3, target="east")])
        with pytest.raises(OvertakenError):
            await ledger.record([intend("b", target="east")])


async def test_a_run_that_is_committing_has_not_expired(postgres: Ledger) -> None:
    """A lease is taken before a commit or after it, never in between: the commit renews it."""
    async with run_in(postgres.url, "east") as (sleeper, ledger):
        await ledger.record([intend("a", target="east")])
        expire(postgres, sleeper)
        async with asyncio.TaskGroup() as group, leases_of(postgres.url) as other:
            with _transaction(postgres, f"UPDATE workers SET commits = commits WHERE nonce = '{sleeper.nonce}'"):  # noqa: S608
                with pytest.raises(LedgerLockedError, match="'east'"):
                    await other.take(["east"])
                recorded = group.create_task(ledger.record([confirm("a", 1, target="east")]))
                await asyncio.sleep(0.05)
            await recorded
            with pytest.raises(LedgerLockedError, match="'east'"):
                await other.take(["east"])


@contextmanager
def _transaction(postgres: Ledger, sql: str) -> Iterator[None]:
    """A transaction that is open, as that of a commit is for a moment."""
    with psycopg.connect(postgres.server, options=f"-csearch_path={postgres.schema}") as connection:
        connection.execute(sql.encode())
        yield


async def take_from(postgres: Ledger, sleeper: PostgresLeases, other: PostgresLeases, target: str) -> None:
    """Let ``other`` take what ``sleeper`` has; again if that has renewed its leases meanwhile."""
    while True:
        expire(postgres, sleeper)
        with contextlib.suppress(LedgerLockedError):
            return await other.take([target])


async def test_a_renewal_finds_out_what_was_lost(postgres: Ledger) -> None:
    """A run that only sends, and records nothing, does not trust a lease that another run has; the others it does."""
    async with leases_of(postgres.url, ttl_s=0.6) as sleeper, leases_of(postgres.url) as other:
        await sleeper.take(["east", "west"])
        await take_from(postgres, sleeper, other, "east")
        with pytest.raises(OvertakenError, match="'east'"):
            await _until_refused(sleeper.of("east"))
        sleeper.of("west").check()
        with pytest.raises(LedgerLockedError, match="'west'"):
            await other.take(["west"])


async def test_a_run_that_stood_still_asks_whether_its_lease_is_its_own(postgres: Ledger) -> None:
    """It trusts no lease that may have expired; what nobody has taken is still its own, what another has is lost."""
    async with leases_of(postgres.url, ttl_s=0.3) as sleeper, leases_of(postgres.url) as other:
        await sleeper.take(["east", "west"])
        east, west = sleeper.of("east"), sleeper.of("west")
        time.sleep(0.3)  # noqa: ASYNC251  the whole process stands still
        with pytest.raises(UnsureLeaseError):
            east.check()
        await east.confirm()
        await take_from(postgres, sleeper, other, "east")
        time.sleep(0.3)  # noqa: ASYNC251
        with pytest.raises(OvertakenError, match="'east'"):
            await east.confirm()
        await west.confirm()
        west.check()


async def _until_refused(lease: TargetLease) -> None:
    while True:
        lease.check()
        await asyncio.sleep(0.05)


async def test_a_run_that_is_alone_is_alone(postgres: Ledger) -> None:
    """While a ledger is copied or built no other run begins; and it begins when no other is alive, but died ones."""
    location = locate(postgres.url)
    async with leases_of(postgres.url):
        with pytest.raises(LedgerLockedError, match="another run holds the ledger: process"):
            async with location.lease(everything=True):
                pass
    async with location.lease(everything=True):
        with pytest.raises(LedgerLockedError, match="another run holds the ledger: process"):
            async with leases_of(postgres.url):
                pass
    async with run_in(postgres.url, "east") as (sleeper, ledger):
        expire(postgres, sleeper)
        async with location.lease(everything=True) as alone:
            for write in (ledger.record([intend("a", target="east")]), ledger.begin_run(RunRecord("r", "apply", AT))):
                with pytest.raises(OvertakenError, match="taken over the ledger"):
                    await write
            with pytest.raises(OvertakenError, match="taken over the ledger"):
                sleeper.of("east").check()
            alone.of("east").check()


async def test_what_was_not_taken_is_not_written(postgres: Ledger) -> None:
    """A mistake of the program, which it reports instead of writing into a target that another run may hold."""
    async with run_in(postgres.url, "east") as (leases, ledger):
        for call in (ledger.record([intend("a", target="west")]), asyncio.to_thread(leases.of("west").check)):
            with pytest.raises(LedgerError, match="does not hold the target 'west'"):
                await call


async def test_targets_are_taken_while_the_server_comes_and_goes(
    postgres: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that breaks is not a target that is held; an answer that is lost does not lose the lease."""
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.05)
    async with Proxy(postgres.server, tmp_path) as proxy, leases_of(proxy.through(postgres.url)) as leases:
        await leases.take(["a"])
        proxy.plan = "lose the reply"
        await leases.take(["b"])
        proxy.cut()
        await leases.take(["c"])
        for target in "abc":
            leases.of(target).check()
        async with leases_of(postgres.url) as other:
            for target in "abc":
                with pytest.raises(LedgerLockedError):
                    await other.take([target])


async def test_workers_that_start_at_once_on_nothing_have_one_ledger() -> None:
    """One makes the tables, one gives the id, and all of them have it; what each records is there."""
    postgres = fresh_ledger()

    async def work(number: int) -> str:
        async with run_in(postgres.url, f"t{number}") as (_, ledger):
            await ledger.record([intend("a", target=f"t{number}")])
            await asyncio.sleep(0)
            return ledger.ledger_id

    identities = await asyncio.gather(*(work(number) for number in range(6)))

    assert len(set(identities)) == 1
    async with open_ledger(postgres.url, readonly=True) as ledger:
        assert len(await all_of(ledger)) == 6


async def test_a_run_of_an_earlier_version_keeps_the_ledger() -> None:
    """Its lease was of the whole ledger: the tables change when it has ended, and whoever may wait waits for that."""
    postgres = fresh_ledger()
    tables = "; ".join(sql for step in MIGRATIONS[:ONE_LEASE] for sql in step)
    postgres.execute(
        f"""CREATE SCHEMA {postgres.schema}; CREATE TABLE meta (key text COLLATE "C" PRIMARY KEY, value text NOT NULL);
        {tables}; INSERT INTO meta VALUES ('schema', '{ONE_LEASE}'), ('ledger_id', '0123456789abcdef');
        INSERT INTO lease VALUES (1, 7, 'n', 'process 1 on old', now(), now() + interval '1 hour', 3)"""  # noqa: S608  ours
    )
    location = locate(postgres.url)
    with pytest.raises(LedgerLockedError, match="another run holds the ledger: process 1 on old"):
        async with location.lease():
            pass
    waiting = asyncio.ensure_future(_identity(postgres.url))
    await asyncio.sleep(0.05)
    postgres.execute("UPDATE lease SET expires_at = now()")

    assert await waiting == "0123456789abcdef"


async def _identity(url: str) -> str:
    async with leases_of(url, 30.0) as leases:
        ledger = await PostgresLedger.open(leases)
        await ledger.close()
        return ledger.ledger_id
