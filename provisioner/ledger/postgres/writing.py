"""What is written to the ledger: requests become statements. :mod:`provisioner.core.recording` alone decides."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.core.entry import Entry
from provisioner.core.problem import Problem
from provisioner.core.versions import Happening, Version
from provisioner.errors import LedgerError, ProvisionerError, UsageError
from provisioner.ledger.batch import Batch, OpenEntries, arns_of, keys_of, replaced_by
from provisioner.ledger.postgres.connection import Statement
from provisioner.ledger.postgres.copying import replacing
from provisioner.ledger.postgres.jobs import finished, forgotten, forgotten_runs
from provisioner.ledger.postgres.reading import known, question
from provisioner.ledger.postgres.schema import LEDGER_ID, put_meta
from provisioner.ledger.postgres.text import encode, written
from provisioner.ledger.requests import (
    KEPT_RUNS,
    KEPT_RUNS_WITH_PROBLEMS,
    AddProblems,
    Answer,
    BeginRun,
    EndRun,
    FinishTarget,
    Forget,
    KeepSamples,
    Learn,
    Record,
    RenameTarget,
    ReplaceRows,
    Request,
    SetFinished,
    SetPlace,
    TakeIdentity,
    place_taken,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from provisioner.core.recording import Key
    from provisioner.ledger import FinishedManifest, RunRecord
    from provisioner.ledger.postgres.connection import Rows, Session


class Transaction:
    """One transaction: statements that only write wait for the next message.

    Args:
        session: to which nobody else sends meanwhile.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pending: list[Statement] = []

    def write(self, *statements: Statement) -> None:
        """Run ``statements`` before whatever is asked next, or with the commit."""
        self._pending += statements

    async def ask(self, *statements: Statement) -> list[Rows]:
        """The rows of ``statements``, as what was written so far has left them."""
        pending, self._pending = self._pending, []
        return (await self._session.go_on(*pending, *statements))[len(pending) :]

    async def commit(self) -> None:
        """Run what waits, and commit."""
        await self._session.end(*self._pending)


class Writing:
    """Turns requests into the statements of one transaction.

    Args:
        now: the wall clock, seconds since the epoch.
        worker: that writes; see lease.py.
    """

    def __init__(self, now: Callable[[], float], worker: str) -> None:
        self._now = now
        self._worker = worker
        self._run_id = self._committed_run_id = ""
        self._open_entries = OpenEntries()

    def questions(self, requests: Sequence[Request]) -> list[Statement]:
        """What has to be known before the first of ``requests`` can be applied; it is asked together with the fence."""
        records = _leading(requests)
        return [self._question(records)] if records else []

    async def apply(self, transaction: Transaction, requests: Sequence[Request], answers: list[Rows]) -> list[Answer]:
        """Apply ``requests`` in their order.

        Args:
            transaction: that has begun.
            requests: to apply.
            answers: to :meth:`questions`.

        Returns:
            For each None, or the error for which it changes nothing.
        """
        # A transaction that is tried again begins with the run of the last one.
        self._run_id = self._committed_run_id
        applied: list[Answer] = []
        for kind, group in groupby(requests, type):
            if kind is Record:
                records = _leading(list(group))
                (answer,) = answers or await transaction.ask(self._question(records))
                applied += self._record(transaction, records, answer)
            elif kind is SetPlace:
                applied += await _set_places(transaction, list(group))  # type: ignore[arg-type]  # groupby by type
            elif kind is ReplaceRows:
                for request in group:
                    transaction.write(*replacing(request))  # type: ignore[arg-type]  # groupby by type
                    applied.append(None)
                self._open_entries.forget()
            else:
                for request in group:
                    applied.append(await self._apply(transaction, request))
            answers = []
        if any(isinstance(request, BeginRun) for request in requests):
            transaction.write(*_pruned())
        return applied

    def committed(self) -> None:
        """What was applied last is durable."""
        self._committed_run_id = self._run_id

    def forget(self) -> None:
        """Nothing is known any more of what the ledger has."""
        self._open_entries.forget()

    async def _apply(self, transaction: Transaction, request: Request) -> Answer:
        match request:
            case BeginRun(run) | EndRun(run):
                self._run_id = run.run_id
                alive = Statement(_UNDER_WAY, (written(run.run_id), self._worker))
                transaction.write(_put_run(run), alive)
            case AddProblems(problems):
                transaction.write(Statement(_ADD_PROBLEMS, (written(self._run_id), encode(list(problems)))))
            case KeepSamples(samples):
                transaction.write(Statement(_KEEP_SAMPLES, (written(self._run_id), samples)))
            case Learn(target, family, state):
                transaction.write(Statement(_LEARN, (written(target), written(family), state)))
            case TakeIdentity(ledger_id):
                transaction.write(put_meta(LEDGER_ID, ledger_id))
            case SetFinished(target, manifest):
                transaction.write(_put_finished(target, manifest))
            case FinishTarget(job, result):
                transaction.write(finished(job, result))
            case RenameTarget(old, new):
                return await self._rename(transaction, old, new)
            case Forget(target, names):
                transaction.write(*_forgetting(target, names), _changed([target]))
                self._open_entries.forget()
        return None

    def _question(self, records: Sequence[Record]) -> Statement:
        facts = [fact for record in records for fact in record.facts]
        cached = self._cached(records)
        return question(keys_of(facts) - cached.keys(), arns_of(facts, cached), replaced_by(facts))

    def _cached(self, records: Sequence[Record]) -> dict[Key, Entry]:
        known, keys = self._open_entries.known, keys_of([fact for record in records for fact in record.facts])
        return {key: known[key] for key in keys if key in known}

    def _record(self, transaction: Transaction, records: Sequence[Record], answer: Rows) -> list[Answer]:
        # Each request is applied in memory, and all that has changed is written with few statements. An entry that
        # several facts are about is written once.
        found = known(answer, self._cached(records))
        batch = Batch(found.entries, found.holders, found.incoming, found.versions)
        at = round(self._now(), 3)
        applied = [batch.apply(record.facts, at, self._run_id) for record in records]
        transaction.write(*_changes(batch))
        self._open_entries.learn(batch.changed)
        return applied

    async def _rename(self, transaction: Transaction, old: str, new: str) -> Answer:
        """Move every row of ``old``, unless rows of ``new`` would be mixed with them."""
        if (refusal := await _rename_refusal(transaction, old, new)) is not None:
            return refusal
        at, to = written(old), written(new)
        (counts,) = await transaction.ask(
            Statement("SELECT target, commits FROM changes WHERE target IN (%s, %s)", (at, to))
        )
        commits: dict[str, int] = dict(counts)
        # What a target without entries leaves behind (a place, a pace) gives way to what is known of the old name.
        for table in ("places", "paces", "finished"):
            transaction.write(Statement(f"DELETE FROM {table} WHERE target = %s", (to,)))  # noqa: S608  constants
        transaction.write(Statement(_REPLACED_PAUSE, (to, at)))
        for table in ("entries", "incoming", "versions", "history", "places", "paces", "pauses", "finished"):
            transaction.write(Statement(f"UPDATE {table} SET target = %s WHERE target = %s", (to, at)))  # noqa: S608
        # Both counts go on from the higher one, so that no number comes back that stood for other entries.
        before, after = commits.get(at, 0), max([0, *commits.values()]) + 1
        transaction.write(
            *[Statement(_SET_CHANGES, (target, after)) for target in (at, to)],
            Statement("UPDATE finished SET changes = %s WHERE target = %s AND changes = %s", (after, to, before)),
        )
        self._open_entries.forget()
        return None


def _forgetting(target: str, names: Sequence[str]) -> list[Statement]:
    sql = "DELETE FROM {} WHERE target = %s AND name IN (SELECT json_array_elements_text(%s::json))"
    parameters = (written(target), encode(list(names)))
    return [Statement(sql.format(table), parameters) for table in ("entries", "incoming", "versions")]


async def _rename_refusal(transaction: Transaction, old: str, new: str) -> ProvisionerError | None:
    def exists(table: str, target: str) -> Statement:
        return Statement(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE target = %s)", (written(target),))  # noqa: S608

    answers = await transaction.ask(exists("entries", new), exists("entries", old), exists("places", old))
    taken, *known_places = [bool(rows[0][0]) for rows in answers]
    if old == new or taken:
        return UsageError(
            f"the ledger already has entries of a target {new!r}",
            hint="Choose a name that is not in use; `provisioner status` lists the targets",
        )
    if not any(known_places):
        return LedgerError(
            f"the ledger has no target {old!r}", hint="`provisioner status` lists the targets that it has"
        )
    return None


async def _set_places(transaction: Transaction, requests: Sequence[SetPlace]) -> list[Answer]:
    """Record where targets are, unless another target is there. Other runs may be doing the same for other targets."""
    statements = []
    for target, place in ((request.target, request.place) for request in requests):
        values = tuple(written(value) for value in (target, *msgspec.structs.astuple(place)))
        statements.append(Statement(_SET_PLACE, values))
    lock = Statement("LOCK TABLE places IN SHARE ROW EXCLUSIVE MODE")
    _, *answers = await transaction.ask(lock, *statements)
    return [None if rows else place_taken(one.target) for one, rows in zip(requests, answers, strict=True)]


def _leading(requests: Sequence[Request]) -> list[Record]:
    """The records that ``requests`` begin with."""
    records: list[Record] = []
    for request in requests:
        if not isinstance(request, Record):
            break
        records.append(request)
    return records


def _changes(batch: Batch) -> list[Statement]:
    """The statements that write what has changed in ``batch``."""
    statements: list[Statement] = []
    # The unique index on ARNs is checked row by row, and rows are written in no particular order: an ARN that one entry
    # gives up and another takes in this commit must be free before it is taken.
    if freed := batch.freed():
        statements.append(Statement(f"UPDATE entries SET arn = '' {_OF_KEYS}", (encode(freed),)))  # noqa: S608
    statements.append(_changed(batch.targets()))
    if batch.changed:
        statements.append(Statement(_PUT_ENTRIES, (encode(list(batch.changed.values())),)))
    if over := [key for key, entry in batch.incoming.items() if entry is None]:
        statements.append(Statement(f"DELETE FROM incoming {_OF_KEYS}", (encode(over),)))  # noqa: S608
    if current := [arn for arn, version in batch.versions.items() if version is None]:
        sql = "DELETE FROM versions WHERE arn IN (SELECT json_array_elements_text(%s::json))"
        statements.append(Statement(sql, (encode(current),)))
    for sql, rows in (
        (_PUT_INCOMING, [entry for entry in batch.incoming.values() if entry is not None]),
        (_PUT_VERSIONS, [version for version in batch.versions.values() if version is not None]),
        (_ADD_HISTORY, batch.history),
    ):
        if rows:
            statements.append(Statement(sql, (encode(rows),)))
    return statements


def _changed(targets: Iterable[str]) -> Statement:
    return Statement(_COUNT_CHANGE, (encode(sorted(targets)),))


def _put_run(run: RunRecord) -> Statement:
    values = (run.started_at, run.ended_at, run.exit_code, run.summary)
    return Statement(_PUT_RUN, (written(run.run_id), written(run.command), *values))


def _put_finished(target: str, manifest: FinishedManifest) -> Statement:
    values = (manifest.changes, manifest.lines)
    return Statement(_SET_FINISHED, (written(target), written(manifest.fingerprint), *values))


def _pruned() -> list[Statement]:
    # All runs of a job count as one: its workers may be more than the runs that are kept.
    oldest = """SELECT min(run_id) FROM (
        SELECT min(run_id) AS run_id FROM runs LEFT JOIN job_runs USING (run_id)
        GROUP BY coalesce(job, run_id) ORDER BY max(run_id) DESC LIMIT {}) AS newest"""
    # Facts that belong to no run have "" and are the first to go.
    kept_runs = {
        "problems": KEPT_RUNS_WITH_PROBLEMS,
        "samples": KEPT_RUNS_WITH_PROBLEMS,
        "history": KEPT_RUNS,
        "runs": KEPT_RUNS,
    }
    jobs = Statement("DELETE FROM jobs WHERE NOT EXISTS (SELECT 1 FROM job_runs WHERE job_runs.job = jobs.job)")
    kept = [
        Statement(f"DELETE FROM {table} WHERE run_id < ({oldest.format(number)})")  # noqa: S608  constants
        for table, number in kept_runs.items()
    ]
    return [forgotten(oldest.format(KEPT_RUNS_WITH_PROBLEMS)), *kept, forgotten_runs(oldest.format(KEPT_RUNS)), jobs]


_TYPES = {"sent": "json", "updated_at": "float8", "at": "float8", "line": "bigint", "column": "bigint"}
_LITERALS = {"": "''", 0: "0", "problem": "'problem'"}


def _select(struct: type[Any], columns: Sequence[str]) -> str:
    """Rows from JSON objects, in which a field with its default is left out."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(struct)}
    given = ", ".join(f'"{name}" {_TYPES.get(name, "text")}' for name in columns)
    values = ", ".join(
        f'coalesce("{name}", {_LITERALS[defaults[name]]})' if defaults[name] in _LITERALS else f'"{name}"'
        for name in columns
    )
    return f"SELECT {values} FROM json_to_recordset(%s::json) AS given ({given})"  # noqa: S608  constants


def _put(table: str, struct: type[Any], key: Sequence[str], *, without: str = "") -> str:
    """The statement that inserts rows, or replaces those with the same key."""
    columns = [name for name in struct.__struct_fields__ if name != without]
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    head = f"INSERT INTO {table} ({', '.join(columns)})"
    return f"{head} {_select(struct, columns)} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}"


_OF_KEYS = """WHERE (target, name) IN (
    SELECT one ->> 0, one ->> 1 FROM json_array_elements(%s::json) AS given (one))"""
_PUT_ENTRIES = _put("entries", Entry, ("target", "name"), without="incoming")
_PUT_INCOMING = _put("incoming", Entry, ("target", "name"), without="incoming")
_PUT_VERSIONS = _put("versions", Version, ("arn",))
_ADD_HISTORY = (
    f"INSERT INTO history ({', '.join(Happening.__struct_fields__)}) {_select(Happening, Happening.__struct_fields__)}"
)
_ADD_PROBLEMS = f"""INSERT INTO problems
    SELECT run.id, row_number() OVER () + coalesce((SELECT max(seq) FROM problems WHERE run_id = run.id), 0), given.*
    FROM (SELECT %s::text) AS run (id), ({_select(Problem, Problem.__struct_fields__)}) AS given"""  # noqa: S608  constants
_COUNT_CHANGE = """INSERT INTO changes SELECT target, 1 FROM json_array_elements_text(%s::json) AS given (target)
    ON CONFLICT (target) DO UPDATE SET commits = changes.commits + 1"""
_SET_CHANGES = "INSERT INTO changes VALUES (%s, %s) ON CONFLICT (target) DO UPDATE SET commits = excluded.commits"
_PUT_RUN = """INSERT INTO runs (run_id, command, started_at, ended_at, exit_code, summary)
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (run_id) DO UPDATE SET command = excluded.command, started_at = excluded.started_at,
        ended_at = excluded.ended_at, exit_code = excluded.exit_code, summary = excluded.summary"""
_KEEP_SAMPLES = "INSERT INTO samples VALUES (%s, %s) ON CONFLICT (run_id) DO UPDATE SET samples = excluded.samples"
_UNDER_WAY = "UPDATE workers SET run_id = %s WHERE nonce = %s"
_LEARN = """INSERT INTO paces VALUES (%s, %s, %s)
    ON CONFLICT (target, family) DO UPDATE SET state = excluded.state"""
_SET_FINISHED = """INSERT INTO finished VALUES (%s, %s, %s, %s) ON CONFLICT (target) DO UPDATE
    SET fingerprint = excluded.fingerprint, changes = excluded.changes, lines = excluded.lines"""
_REPLACED_PAUSE = "DELETE FROM pauses WHERE target = %s AND EXISTS (SELECT 1 FROM pauses WHERE target = %s)"
_SET_PLACE = """INSERT INTO places
    SELECT given.* FROM (VALUES (%s, %s, %s, %s)) AS given (target, kind, region, account)
    WHERE NOT EXISTS (SELECT 1 FROM places AS other WHERE other.target <> given.target AND other.kind = given.kind
        AND other.region = given.region AND (other.account_id IN (given.account, '') OR given.account = ''))
    ON CONFLICT (target) DO UPDATE
    SET kind = excluded.kind, region = excluded.region, account_id = excluded.account_id RETURNING target"""
