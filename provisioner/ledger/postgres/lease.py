"""The leases on a PostgreSQL ledger: a row for each run that is alive, and one for each target that it has taken.

A run is a row of ``workers`` with a nonce of its own and an expiry, given by the server's clock. A row of ``leases``
says which worker has taken a target, and how often it was taken: its epoch. The lease is held as long as its worker has
not expired; then whoever wants it may take it, and raises the epoch. So one statement renews all leases of a run,
however many they are.

Whoever takes leases first locks the rows of the expired workers that had them, and counts in each row how many it has
lost. From that two things follow:

* Every commit updates the row of its worker, and so renews its leases in passing. The update locks the row until the
  commit has ended: another run takes a lease before it or after it, never in between. If the number of lost leases is
  not the one that the writer knows, it compares the epochs of all leases that it holds with the stored ones, in the
  same transaction. What a commit has of a target whose epoch is another now is refused; the rest is recorded.
* Between commits a task renews the leases. The holder trusts them until ``TTL - margin`` after the moment at which it
  *began* to renew them last, on a clock that goes on while the machine sleeps, and sends nothing after that. So a
  holder that is cut off from the database, or that was suspended, has stopped sending before another run can begin.
  What it was about to send it withdraws, and goes on once a renewal or a commit shows that the lease is still its own.

Nothing is a lock of a session: a proxy may give every transaction another connection, and a connection that broke is
not a run that died. A run that died keeps its leases until they expire. Those who take leases wait for each other, for
the few milliseconds of a transaction; those who write do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from typing import TYPE_CHECKING, Self, TypeVar

import psycopg

from provisioner.errors import LedgerError, LedgerLockedError, UnsureLeaseError
from provisioner.ledger.lease import OvertakenError, how_to_wait
from provisioner.ledger.postgres.connection import LostError, Session, Statement, errors_of
from provisioner.ledger.postgres.patience import PATIENCE_S, Patience, ticks
from provisioner.ledger.postgres.schema import bring_forward, one_at_a_time
from provisioner.ledger.postgres.text import encode, read
from provisioner.ledger.requests import outdated, targets_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from types import TracebackType

    from provisioner.ledger.postgres.connection import Database, Rows
    from provisioner.ledger.requests import Answer, Request

T = TypeVar("T")

TTL_S = 30.0
"""So long another run waits for one that died. A server that restarts or fails over takes less, or little more."""
MARGIN_S = 5.0
"""For what is between the last look at the lease and the arrival of a request, and for clocks of different speeds."""
POLL_S = 0.5
"""Between two tries to take a lease."""
RELEASE_S = 5.0
"""To give the leases back at the end. They expire by themselves where that does not work."""
RETRY_S = 1.0
"""After a renewal that failed."""
BURIED_S = 86_400.0
"""A worker that died so long ago is forgotten; if it wakes up, it learns that it has lost everything."""


class PostgresLeases:
    """A run's right to write to the ledger in ``database``, and to its targets, as an async context manager.

    Args:
        database: of the ledger; its tables are made if they are missing.
        timeout_s: how long to wait for another holder, 0 not to wait; see
            :meth:`provisioner.ledger.location.Location.lease`.
        everything: whether no other run may be alive meanwhile; then nothing has to be taken.
        ttl_s: see :data:`TTL_S`.

    Attributes:
        nonce: by which the database knows this run.
        everything: as given.
        commits: how many commits of this run the ledger had when its writer began.
    """

    def __init__(
        self, database: Database, timeout_s: float | None = None, *, everything: bool = False, ttl_s: float = TTL_S
    ) -> None:
        self.database = database
        self.everything = everything
        self.nonce = secrets.token_hex(8)
        self.commits = 0
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._margin_s = ttl_s * MARGIN_S / TTL_S
        self._held: dict[str, int] = {}
        self._lost: set[str] = set()
        self._losses = 0
        self._dead = False
        self._session = Session(database, writes=True)
        self._turn = asyncio.Lock()
        self._renewed_at = float("-inf")
        self._renewing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        held = "everything" if self.everything else ", ".join(f"{target} ({n})" for target, n in self._held.items())
        return f"<PostgresLeases {self.nonce} dead={self._dead} held=[{held}] lost={sorted(self._lost)}>"

    async def __aenter__(self) -> Self:
        """Register this run.

        Raises:
            LedgerLockedError: it cannot be alive beside another one, still after ``timeout_s``.
            LedgerError: the database does not answer, or the ledger is newer than this program.
        """
        try:
            async with errors_of(self.database):
                await self.when_free(lambda: self._patiently(self._register))
        except BaseException:
            await self._session.close()
            raise
        self._renewing = asyncio.create_task(self._keep_renewing())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._renewing is None:
            return
        self._renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._renewing
        self._renewed_at = float("-inf")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_S):
                await self._release()
        await self._session.close()

    async def take(self, targets: Collection[str]) -> None:
        """See :meth:`provisioner.ledger.lease.Leases.take`."""
        wanted = [] if self.everything else sorted(set(targets) - self._held.keys())
        if wanted:
            await self.when_free(lambda: self._take(wanted))

    async def take_some(self, among: Collection[str], choose: Callable[[Collection[str]], Statement]) -> list[str]:
        """Take what nobody holds of the targets that a statement names.

        Args:
            among: targets.
            choose: the statement, for those of them that this run neither holds nor has lost.
        """

        async def take(session: Session) -> dict[str, int]:
            (rows,) = await session.go_on(choose(set(among) - self._held.keys() - self._lost))
            wanted = [read(target) for (target,) in rows]
            return await self._taken(wanted) if wanted else {}

        taken = await self.one_at_a_time(take)
        self._held |= taken
        return list(taken)

    async def give_back(self, targets: Collection[str]) -> None:
        """Let others have ``targets``, of which nothing is written any more."""
        for target in targets:
            self._held.pop(target, None)
        free = Statement(_GIVE_BACK, (self.nonce, encode(list(targets))))

        async def give() -> None:
            await self._session.begin()
            await self._session.end(free)

        await self._patiently(give)

    async def one_at_a_time(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Do ``work`` in a transaction while nobody else takes leases; again if the reply to its end is lost.

        It renews the leases of this run first: whoever takes others must not have expired.
        """

        async def alone() -> T:
            began_at = ticks()
            _, alive = await self._session.begin(one_at_a_time(self.database, "leases"), self._renewal())
            if not alive:
                raise self.overtaken()
            await self._compare(self._session, alive[0][0])
            result = await work(self._session)
            await self._session.end()
            self.renewed(began_at)
            return result

        return await self._patiently(alone)

    @property
    def lost(self) -> set[str]:
        """The targets that other runs have taken from this one."""
        return self._lost

    def of(self, target: str) -> TargetLease:
        """See :meth:`provisioner.ledger.lease.Leases.of`."""
        return TargetLease(self, target)

    def epoch(self, target: str) -> str:
        """See :meth:`provisioner.ledger.Ledger.epoch`: how often the lease was taken, this time included, by whom."""
        return f"{self._held.get(target, 0)}-{self.nonce}"

    def check(self, target: str | None = None) -> None:
        """Make sure that this run is alive, and that the lease of ``target`` is still held.

        Raises:
            LedgerLockedError, LedgerError: see :meth:`provisioner.ledger.lease.Lease.check`.
        """
        if (refusal := self._refusal([] if target is None else [target])) is not None:
            raise refusal
        if ticks() - self._renewed_at >= self._ttl_s - self._margin_s:
            raise UnsureLeaseError(self.database.name)

    async def confirm(self, target: str | None = None) -> None:
        """The same, after a renewal if need be.

        Raises:
            LedgerLockedError, LedgerError: see :meth:`provisioner.ledger.lease.Lease.confirm`.
        """
        try:
            self.check(target)
        except UnsureLeaseError:
            await self._patiently(self._renew)
            self.check(target)

    # For whoever writes.

    def fence(self) -> Statement:
        """The first statement of every transaction that writes: it renews the leases and counts the commits.

        It has no row when this run was taken for dead; otherwise the number of its commits and that of its lost leases.
        """
        return Statement(f"{_RENEW}, commits = commits + 1 {_MINE} RETURNING commits, lost", (self._ttl_s, self.nonce))

    async def refusals(self, session: Session, fence: Rows, requests: Sequence[Request]) -> list[Answer]:
        """Why each of ``requests`` must not be carried out in the transaction that has begun with ``fence``."""
        await self._compare(session, fence[0][1])
        return [self._refusal(targets_of(request)) or self._refusal_of_intents(request) for request in requests]

    async def write(self, session: Session, *statements: Statement) -> None:
        """Run ``statements`` in a transaction of their own, if this run is still alive.

        Raises:
            OvertakenError: it was taken for dead.
        """
        await self.begin(session)
        await session.end(*statements)

    async def begin(self, session: Session, *statements: Statement) -> list[Rows]:
        """Begin such a transaction; the rows of ``statements``.

        Raises:
            OvertakenError: as for :meth:`write`.
        """
        fence, *rows = await session.begin(self.fence(), *statements)
        if not fence:
            await session.roll_back()
            raise self.overtaken()
        self.commits = fence[0][0]
        return rows

    def renewed(self, began_at: float) -> None:
        """A transaction with the fence has been committed that began at ``began_at`` by :func:`ticks`."""
        self._renewed_at = max(self._renewed_at, began_at)

    def overtaken(self, target: str = "") -> OvertakenError:
        """Another run has taken the lease of ``target``, or taken this one for dead: the error to raise."""
        self._dead = self._dead or not target
        return OvertakenError(
            self.database.name,
            target=target,
            why="its lease had expired: it was suspended, or the database did not answer",
            hint="Nothing is lost: the other run goes on with it. Run again when it has ended",
        )

    def _refusal(self, targets: Collection[str]) -> LedgerError | LedgerLockedError | None:
        if self._dead:
            return self.overtaken()
        for target in targets:
            if self.everything or target in self._held:
                continue
            if target in self._lost:
                return self.overtaken(target)
            what = f"this run does not hold the target {target!r}"
            return LedgerError(what, where=self.database.name, hint="Please report this")
        return None

    def _refusal_of_intents(self, request: Request) -> OvertakenError | None:
        target = outdated(request, self.epoch)
        return self.overtaken(target) if target else None

    async def _compare(self, session: Session, losses: int) -> None:
        """Find out which leases were lost, in the transaction of ``session``, if that are others than are known."""
        if losses == self._losses:
            return
        held = dict(self._held)
        (rows,) = await session.go_on(Statement("SELECT target, epoch FROM leases WHERE worker = %s", (self.nonce,)))
        stored = {read(target): epoch for target, epoch in rows}
        lost = {target for target, epoch in held.items() if stored.get(target) != epoch}
        self._losses = losses
        self._lost |= lost
        for target in lost:
            self._held.pop(target, None)

    # Taking and giving back.

    async def when_free(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try it until no other run is in the way, for as long as this one may wait."""
        deadline = ticks() + (self._timeout_s or 0.0)
        while True:
            try:
                return await attempt()
            except LedgerLockedError as error:
                left_s = deadline - ticks()
                if left_s <= 0 or isinstance(error, OvertakenError):
                    raise
            await asyncio.sleep(min(POLL_S, left_s))

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try it again while the database does not answer; others have their turn in between."""

        async def in_turn() -> T:
            async with self._turn:
                try:
                    return await attempt()
                finally:
                    await self._session.roll_back()

        return await Patience(self._session, PATIENCE_S).until_answered(in_turn)

    async def _register(self) -> None:
        if (older := await bring_forward(self._session)) is not None:
            raise self._locked([("", *older)])
        began_at = ticks()
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        alone = self.everything
        await self._session.begin(one_at_a_time(self.database, "leases"))
        *_, rows = await self._session.go_on(
            Statement(_BURY, (alone, BURIED_S)),
            Statement(_END, (self.nonce,)),  # of a try whose reply was lost
            Statement(_REGISTER, (self.nonce, holder, self._ttl_s, alone, alone)),
        )
        (others,) = await self._session.end(Statement(_OTHERS, (self.nonce,)))
        if not rows:
            raise self._locked(others)
        self.renewed(began_at)

    async def refuse_taken(self, session: Session, targets: Collection[str], job: str = "") -> None:
        """Make sure that nobody else has one of ``targets``.

        A job has its targets until they have a result, as long as one of its workers is alive.

        Args:
            session: whose transaction is :meth:`one_at_a_time`.
            targets: that this run wants.
            job: that it joins. Its workers do not count, nor do targets that it has finished.

        Raises:
            LedgerLockedError: another run has one of them, or a worker of another job.
        """
        (others,) = await session.go_on(_in_the_way(targets, self.nonce, job))
        if others:
            raise self._locked(others)

    async def _take(self, wanted: list[str]) -> None:
        async def take(session: Session) -> dict[str, int]:
            await self.refuse_taken(session, wanted)
            taken = await self._taken(wanted)
            if len(taken) < len(wanted):
                (others,) = await session.go_on(Statement(_HOLDERS, (self.nonce, encode(wanted))))
                raise self._locked(others)
            return taken

        self._held |= await self.one_at_a_time(take)

    async def _taken(self, wanted: Collection[str]) -> dict[str, int]:
        """Take what is free of ``wanted``, in the transaction that is open; the epochs of what was taken."""
        names = encode(list(wanted))
        (expired,) = await self._session.go_on(Statement(_LOCK_EXPIRED, (names,)))
        free = Statement(_TAKE, (names, self.nonce, encode([row[0] for row in expired]), self.nonce))
        (rows,) = await self._session.go_on(free)
        return {read(target): epoch for target, epoch in rows}

    async def _release(self) -> None:
        # Twice: the first try may only find out that the connection broke since the last renewal.
        for _ in range(2):
            with contextlib.suppress(psycopg.Error, LostError, OSError):
                await self._session.begin()
                await self._session.end(Statement(_END, (self.nonce,)))
                return

    def _renewal(self) -> Statement:
        return Statement(f"{_RENEW} {_MINE} RETURNING lost", (self._ttl_s, self.nonce))

    async def _keep_renewing(self) -> None:
        every_s = self._ttl_s / 3
        while not self._dead:
            left_s = self._renewed_at + every_s - ticks()
            if left_s > 0:
                await asyncio.sleep(left_s)
                continue
            try:
                async with self._turn:
                    await self._renew()
            except (psycopg.Error, LostError, OSError):
                # Until the database answers again; meanwhile check() says whether the leases still count.
                await asyncio.sleep(RETRY_S)

    async def _renew(self) -> None:
        began_at = ticks()
        (rows,) = await self._session.begin(self._renewal())
        if rows:
            await self._compare(self._session, rows[0][0])
        await self._session.end()
        if rows:
            self.renewed(began_at)
        else:
            self._dead = True

    def _locked(self, others: Rows) -> LedgerLockedError:
        target, holder, left_s = described(others[0]) if others else ("", "", 0.0)
        held = f"the target {target!r}" if target else "the ledger"
        return LedgerLockedError(
            f"another run holds {held}",
            where=self.database.name,
            why=holder,
            hint=f"{how_to_wait(self._timeout_s)}, or end it. If it has died, its lease expires in {left_s:.0f} s",
        )


class TargetLease:
    """See :class:`provisioner.ledger.lease.Lease`."""

    def __init__(self, leases: PostgresLeases, target: str) -> None:
        self._leases = leases
        self._target = target

    def check(self) -> None:
        """See :meth:`provisioner.ledger.lease.Lease.check`."""
        self._leases.check(self._target)

    async def confirm(self) -> None:
        """See :meth:`provisioner.ledger.lease.Lease.confirm`."""
        await self._leases.confirm(self._target)


def described(row: tuple[object, ...]) -> tuple[str, str, float]:
    """Of a row of :data:`_HOLDERS`: the target, the holder in words, and the seconds until its leases expire."""
    target, holder, began_at, left_s, *_ = row
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(float(str(began_at))))
    return read(str(target)), f"{holder}, since {since}", max(0.0, float(str(left_s)))


async def holders_of(session: Session) -> list[str]:
    """The runs that are alive, the oldest first."""
    (rows,) = await session.read(Statement(_OTHERS, ("",)))
    return [described(row)[1] for row in rows]


async def holder_of(session: Session, targets: Collection[str]) -> tuple[str, str]:
    """The run that keeps another one from ``targets``, and what it holds, and the job that it is a worker of.

    Both are "" for none.
    """
    alone = Statement(f"SELECT '', {_HOLDER} FROM workers WHERE everything AND expires_at > clock_timestamp()")  # noqa: S608  constants
    of_target, of_everything = await session.read(_in_the_way(targets, ""), alone)
    for row in of_everything:
        return described(row)[1], ""
    for row in of_target:
        target, holder, _ = described(row)
        return f"{holder}, the target {target!r}", read(str(row[4] or ""))
    return "", ""


def _in_the_way(targets: Collection[str], nonce: str, job: str = "") -> Statement:
    """See :meth:`PostgresLeases.refuse_taken`; the first of them, in the form of :data:`_HOLDERS`, and its job."""
    wanted = encode(list(targets))
    return Statement(_IN_THE_WAY, (nonce, job, wanted, job, job))


async def under_way(session: Session) -> set[str]:
    """The ids of the runs that are alive."""
    (rows,) = await session.read(Statement("SELECT run_id FROM workers WHERE expires_at > clock_timestamp()"))
    return {read(row[0]) for row in rows} - {""}


_MINE = "WHERE nonce = %s"
_GIVE_BACK = """UPDATE leases SET worker = ''
    WHERE worker = %s AND target IN (SELECT json_array_elements_text(%s::json))"""
_END = f"DELETE FROM workers {_MINE}"  # noqa: S608  constants
_RENEW = "UPDATE workers SET expires_at = clock_timestamp() + make_interval(secs => %s)"
_BURY = """DELETE FROM workers WHERE nonce IN (
    SELECT nonce FROM workers WHERE expires_at <= clock_timestamp() AND (everything OR %s
        OR expires_at < clock_timestamp() - make_interval(secs => %s)) FOR UPDATE SKIP LOCKED)"""
_REGISTER = """INSERT INTO workers (nonce, holder, began_at, expires_at, everything, run_id, commits, lost)
    SELECT nonce, holder, clock_timestamp(), clock_timestamp() + make_interval(secs => ttl), everything, '', 0, 0
    FROM (VALUES (%s::text, %s::text, %s::float8, %s::boolean)) AS worker (nonce, holder, ttl, everything)
    WHERE NOT EXISTS (SELECT 1 FROM workers WHERE everything OR %s)
    RETURNING nonce"""
# A worker that is committing at this moment renews its leases by that: it has not expired.
_LOCK_EXPIRED = """SELECT nonce FROM workers WHERE expires_at <= clock_timestamp() AND nonce IN (
        SELECT worker FROM leases WHERE target IN (SELECT json_array_elements_text(%s::json)))
    FOR UPDATE SKIP LOCKED"""
_TAKE = """WITH free AS (
        SELECT wanted.target, leases.worker
        FROM json_array_elements_text(%s::json) AS wanted (target) LEFT JOIN leases ON leases.target = wanted.target
        WHERE leases.worker IS NULL OR leases.worker = %s
            OR leases.worker IN (SELECT json_array_elements_text(%s::json))
            OR NOT EXISTS (SELECT 1 FROM workers WHERE nonce = leases.worker)
    ), taken AS (
        INSERT INTO leases (target, epoch, worker) SELECT target, 1, %s FROM free
        ON CONFLICT (target) DO UPDATE SET epoch = leases.epoch + 1, worker = excluded.worker
        RETURNING target, epoch
    ), counted AS (
        UPDATE workers SET lost = lost + 1 FROM (SELECT DISTINCT worker FROM free) AS loser WHERE nonce = loser.worker
    )
    SELECT target, epoch FROM taken"""
_HOLDER = """holder, extract(epoch FROM began_at)::float8,
    extract(epoch FROM expires_at - clock_timestamp())::float8"""
_HOLDERS = f"""SELECT target, {_HOLDER} FROM leases JOIN workers ON nonce = worker
    WHERE nonce <> %s AND target IN (SELECT json_array_elements_text(%s::json))
    ORDER BY expires_at <= clock_timestamp(), target LIMIT 1"""  # noqa: S608  constants
_IN_THE_WAY = """WITH others AS (
        SELECT *, (SELECT min(job) FROM job_runs WHERE job_runs.run_id = workers.run_id) AS job FROM workers
        WHERE expires_at > clock_timestamp() AND nonce <> %s
            AND NOT EXISTS (SELECT 1 FROM job_runs WHERE job_runs.run_id = workers.run_id AND job_runs.job = %s)
    ), wanted AS (
        SELECT target FROM json_array_elements_text(%s::json) AS given (target) WHERE NOT EXISTS (
            SELECT 1 FROM job_targets WHERE job = %s AND job_targets.target = given.target AND result IS NOT NULL)
    ), taken AS (
        SELECT target, others.* FROM leases JOIN others ON nonce = worker
        UNION ALL
        SELECT target, others.* FROM job_targets JOIN others USING (job) WHERE result IS NULL AND job <> %s
    )
    SELECT target, holder || coalesce(', a worker of the job ' || job, ''), extract(epoch FROM began_at)::float8,
        extract(epoch FROM expires_at - clock_timestamp())::float8, job
    FROM taken WHERE target IN (SELECT target FROM wanted) ORDER BY target, began_at, nonce LIMIT 1"""
_OTHERS = f"""SELECT '', {_HOLDER} FROM workers
    WHERE expires_at > clock_timestamp() AND nonce <> %s ORDER BY began_at, nonce"""  # noqa: S608  constants
