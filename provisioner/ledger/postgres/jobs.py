"""The jobs of a PostgreSQL ledger: which targets a job has, what became of each, and which runs are its workers.

A worker claims targets in the transaction that takes their leases, so that a target has one worker. Its result is
committed under that lease, and only then is the lease given back: whoever sees the target free sees its result too.
Whoever is no worker of the job does not get its targets before that, see :meth:`PostgresLeases.refuse_taken`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.errors import UsageError
from provisioner.ledger.jobs import AUTO, JobRecord, TargetResult
from provisioner.ledger.postgres.connection import Statement
from provisioner.ledger.postgres.text import decode, encode, read, written

if TYPE_CHECKING:
    from collections.abc import Collection

    from provisioner.ledger.jobs import Joining
    from provisioner.ledger.postgres.connection import Session
    from provisioner.ledger.postgres.lease import PostgresLeases
    from provisioner.ledger.postgres.store import PostgresLedger


MARK = 8
"""So many digits of its fingerprint begin the id of an automatic job."""


class PostgresShare:
    """See :class:`provisioner.ledger.jobs.Share`. Made by :func:`join`."""

    def __init__(self, ledger: PostgresLedger, leases: PostgresLeases, job: str, joining: Joining) -> None:
        self.job = job
        self._ledger = ledger
        self._leases = leases
        self._all = joining.targets
        self._targets = set(joining.targets)

    async def claim(self, room: int) -> list[str]:
        """See :meth:`provisioner.ledger.jobs.Share.claim`."""
        if room <= 0:
            return []
        job, nonce = written(self.job), self._leases.nonce

        def choose(among: Collection[str]) -> Statement:
            return Statement(_FREE, (job, encode(sorted(among)), job, nonce, room))

        return await self._leases.take_some(self._targets, choose)

    async def finish(self, result: TargetResult) -> None:
        """See :meth:`provisioner.ledger.jobs.Share.finish`."""
        await self._ledger.finish_target(self.job, result)
        await self._leases.give_back([result.target])

    async def leave(self, target: str) -> None:
        """See :meth:`provisioner.ledger.jobs.Share.leave`."""
        self._targets.discard(target)
        await self._leases.give_back([target])

    async def left(self) -> int:
        """See :meth:`provisioner.ledger.jobs.Share.left`."""
        return await self._ledger.targets_left(self.job, sorted(self._targets - self._leases.lost))

    async def exit_codes(self) -> list[int | None]:
        """See :meth:`provisioner.ledger.jobs.Share.exit_codes`."""
        return await self._ledger.exit_codes(self.job, self._all)


async def join(ledger: PostgresLedger, leases: PostgresLeases, joining: Joining) -> PostgresShare:
    """See :meth:`provisioner.ledger.jobs.Jobs.join`."""

    async def joined(session: Session) -> str:
        job = await _chosen(session, joining)
        await leases.refuse_taken(session, joining.targets, job)
        await session.go_on(
            Statement("INSERT INTO jobs VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (job, fingerprint, joining.now)),
            Statement(_ADD_TARGETS, (job, encode(list(joining.targets)))),
            Statement("INSERT INTO job_runs VALUES (%s, %s) ON CONFLICT DO NOTHING", (job, run_id)),
            Statement("UPDATE workers SET run_id = %s WHERE nonce = %s", (run_id, leases.nonce)),
        )
        return read(job)

    run_id, fingerprint = written(joining.run_id), written(joining.fingerprint)
    job = await leases.when_free(lambda: leases.one_at_a_time(joined))
    return PostgresShare(ledger, leases, job, joining)


async def _chosen(session: Session, joining: Joining) -> str:
    """The id of the job, which need not exist yet."""
    fingerprint = written(joining.fingerprint)
    if joining.job == AUTO:
        targets = encode(list(joining.targets))
        (rows,) = await session.go_on(Statement(_OPEN, (fingerprint, targets)))
        job = str(rows[0][0]) if rows else written(f"{joining.fingerprint[:MARK]}-{joining.run_id}")
    else:
        job = written(joining.job)
        (rows,) = await session.go_on(Statement("SELECT fingerprint FROM jobs WHERE job = %s", (job,)))
        if rows and rows[0][0] != fingerprint:
            raise UsageError(
                f"the job {joining.job!r} is about another manifest, or has other options",
                where=session.database.name,
                hint="Give this one an id of its own with --job; `--job auto` chooses one",
            )
    return job


async def find(session: Session, job: str) -> JobRecord | None:
    """See :meth:`provisioner.ledger.jobs.Jobs.find`."""
    key = (written(job),)
    jobs, targets, runs = await session.read(
        Statement("SELECT began_at FROM jobs WHERE job = %s", key),
        Statement(_TARGETS, key),
        Statement("SELECT run_id FROM job_runs WHERE job = %s ORDER BY run_id", key),
    )
    if not jobs:
        return None
    results = [
        decode(result, TargetResult) if result else TargetResult(target=read(target), run_id=read(run_id))
        for target, result, run_id in targets
    ]
    return JobRecord(job, jobs[0][0], results, [read(run_id) for (run_id,) in runs])


def forgotten(latest_run: str) -> Statement:
    """The statement that forgets automatic jobs all of whose runs began before ``latest_run``, an SQL expression.

    Nobody can join one of them any more once its workers have ended, so it is kept as long as what its runs did.
    """
    return Statement(_FORGET.format(latest_run))


def forgotten_runs(latest_run: str) -> Statement:
    """The statement that forgets which runs that began before ``latest_run``, an SQL expression, were workers of jobs.

    A worker joins its job before its run is recorded, so one that is alive may seem to be older than all runs.
    """
    alive = "SELECT run_id FROM workers"
    return Statement(f"DELETE FROM job_runs WHERE run_id < ({latest_run}) AND run_id NOT IN ({alive})")  # noqa: S608  constants


def finished(job: str, result: TargetResult) -> Statement:
    """The statement that records a result."""
    return Statement(_FINISH, (encode(result), written(job), written(result.target)))


_HELD = """SELECT 1 FROM leases JOIN workers ON nonce = worker
    WHERE leases.target = job_targets.target AND expires_at > clock_timestamp()"""
_OF_ALIVE = "job_runs JOIN workers USING (run_id) WHERE expires_at > clock_timestamp()"
# Each worker goes through them in an order of its own, so that those who begin at once do not want the same ones.
_FREE = f"""WITH free AS (
        SELECT target FROM job_targets WHERE job = %s AND result IS NULL
            AND target IN (SELECT json_array_elements_text(%s::json)) AND NOT EXISTS ({_HELD})
    ), alive AS (SELECT count(*) AS workers FROM {_OF_ALIVE} AND job = %s)
    SELECT target FROM free ORDER BY md5(target || %s)
    LIMIT least(%s, (SELECT ceil((SELECT count(*) FROM free) / (workers + 1.0)) FROM alive))"""  # noqa: S608  constants
# The one with which this worker has the most to do.
_OPEN = f"""SELECT job FROM jobs JOIN job_targets USING (job)
    WHERE fingerprint = %s AND job IN (SELECT job FROM {_OF_ALIVE})
        AND result IS NULL AND target IN (SELECT json_array_elements_text(%s::json))
    GROUP BY job, began_at ORDER BY count(*) DESC, began_at DESC LIMIT 1"""  # noqa: S608  constants
_ADD_TARGETS = """INSERT INTO job_targets
    SELECT %s, target, NULL FROM json_array_elements_text(%s::json) AS given (target)
    ON CONFLICT DO NOTHING"""
_FORGET = f"""DELETE FROM jobs WHERE job LIKE left(fingerprint, {MARK}) || '-%%'
    AND job NOT IN (SELECT job FROM {_OF_ALIVE})
    AND NOT EXISTS (SELECT 1 FROM job_runs WHERE job_runs.job = jobs.job AND run_id >= ({{}}))"""  # noqa: S608  constants
_FINISH = "UPDATE job_targets SET result = %s WHERE job = %s AND target = %s AND result IS NULL"
_TARGETS = """SELECT job_targets.target, result::text, coalesce(
        (SELECT run_id FROM leases JOIN workers ON nonce = worker
        WHERE leases.target = job_targets.target AND expires_at > clock_timestamp()), '')
    FROM job_targets WHERE job = %s ORDER BY job_targets.target"""
