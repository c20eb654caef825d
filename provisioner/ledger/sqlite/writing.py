"""Writes to the ledger, synchronously: a batch of requests becomes one commit. The writer thread calls this.

After each step of a statement the thread waits for the interpreter's lock, up to 5 ms beside a busy event loop (see
:mod:`provisioner.ledger.sqlite.reading`). So the commits of a run, which only change entries, are two statements: one
reads what the facts are about, and one writes and commits. The second writes nothing if another connection has
committed since this writer last looked, so that the two are as good as one transaction. Everything else is a
transaction of several statements.
"""

from __future__ import annotations

import secrets
import sqlite3
from functools import lru_cache
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.bulk import insert
from provisioner.core.versions import Version
from provisioner.errors import LedgerError, ProvisionerError, UsageError
from provisioner.ledger.batch import Batch, OpenEntries, arns_of, keys_of, replaced_by
from provisioner.ledger.lease import OvertakenError
from provisioner.ledger.requests import (
    FACTS_PER_COMMIT,
    KEPT_RUNS,
    KEPT_RUNS_WITH_PROBLEMS,
    AddProblems,
    Answer,
    BeginRun,
    DropFinished,
    EndRun,
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
    outdated,
    place_taken,
)
from provisioner.ledger.sqlite.copying import replace_rows
from provisioner.ledger.sqlite.database import is_storage_error, transaction
from provisioner.ledger.sqlite.lease import overtaken
from provisioner.ledger.sqlite.reading import (
    CHANGES,
    changes,
    finished,
    incoming_by_key,
    stored,
    versions_by_arn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from provisioner.core.entry import Entry, Fact
    from provisioner.core.place import Place
    from provisioner.core.problem import Problem
    from provisioner.core.recording import Key
    from provisioner.ledger import RunRecord
    from provisioner.ledger.sqlite.database import Connection

_ENTRY_COLUMNS = (
    "target",
    "name",
    "state",
    "digest",
    "tags_digest",
    "arn",
    "attempt",
    "sent",
    "updated_at",
    "run_id",
    "code",
    "message",
    "tag_keys",
    "request_id",
)
_STATE = 2
_SENT = 7
_AT_ONCE = FACTS_PER_COMMIT if sqlite3.sqlite_version_info >= (3, 32) else 64
"""Rows of one statement: 256 have 3,584 parameters, and before 3.32 a statement of SQLite could have 999."""


class Writing:
    """Turns requests into commits. :mod:`provisioner.core.recording` alone decides, so that the store has no rules.

    To make one is to become the ledger's writer: it raises the ledger's epoch, and from then on whatever an earlier
    writer tries to commit is refused.

    Args:
        connection: the one that writes.
        now: the wall clock, seconds since the epoch.
        may_take: called in the transaction that raises the epoch; what it raises leaves the ledger to others.

    Attributes:
        epoch: see :meth:`provisioner.ledger.Ledger.epoch`.

    Raises:
        sqlite3.Error: the ledger cannot be written. A full disk shows here, and not at the first create.
        Exception: what ``may_take`` raises.
    """

    def __init__(
        self, connection: Connection, now: Callable[[], float], may_take: Callable[[], None] = lambda: None
    ) -> None:
        self._connection = connection
        self._now = now
        self._run_id = ""
        self._open_entries = OpenEntries()
        for statement in _COUNTING:
            connection.execute(statement)
        self.epoch = _raise_epoch(connection, may_take)
        self._version: int | None = None

    def commit(self, requests: Sequence[Request]) -> list[Answer]:
        """Make ``requests`` durable in one commit and answer each, in their order.

        A request that cannot be stored (text that is not Unicode, or a bug) fails alone: the commit is rolled back, and
        then each request gets a commit of its own.

        Raises:
            sqlite3.Error: of the storage. Nothing of this commit may be taken for durable.
        """
        try:
            answers = self._commit_entries(requests) or self._commit_all(requests)
        except BaseException as error:
            self._open_entries.forget()
            if isinstance(error, OvertakenError):
                return [error] * len(requests)
            if is_storage_error(error) or not isinstance(error, Exception):
                raise
            if len(requests) == 1:
                return [error]
            return [answer for request in requests for answer in self.commit([request])]
        return answers

    def _commit_entries(self, requests: Sequence[Request]) -> list[Answer] | None:
        """Commit facts that only change entries, with one statement; None where it takes more."""
        if self._version is None or not all(isinstance(request, Record) for request in requests):
            return None
        batch, answers = self._applied(requests)  # type: ignore[arg-type]  # all of them are
        rows = [_entry_row(entry) for entry in batch.changed.values()]
        if not rows or len(rows) > _AT_ONCE or batch.second_day or batch.freed():
            return None
        places = 1 << (len(rows) - 1).bit_length()
        empty = [None] * ((places - len(rows)) * len(_ENTRY_COLUMNS))
        values = [*chain.from_iterable(rows), *empty, self._version]
        if not self._connection.execute(_put_entries(places), values).rowcount:
            return None  # another connection has committed
        self._open_entries.learn(batch.changed)
        return answers

    def _commit_all(self, requests: Sequence[Request]) -> list[Answer]:
        with transaction(self._connection):
            # Inside the transaction, so that no writer can take over between this look and the commit.
            self._notice_others()
            return self._apply_all(requests)

    def _notice_others(self) -> None:
        """Forget what another connection may have changed, and give up when it is the ledger's writer now.

        Raises:
            OvertakenError: another run has taken the lease.
        """
        # The version changes when, and only when, another connection has committed, so that a run that is alone never
        # reads its epoch again. The first time it is read: another may have come right after this writer was made.
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        self._open_entries.forget()
        if _epoch(self._connection) != self.epoch:
            raise overtaken()
        self._version = version

    def _apply_all(self, requests: Sequence[Request]) -> list[Answer]:
        answers: list[Answer] = []
        for kind, group in groupby(requests, type):
            if kind is Record:
                answers += self._record(list(group))  # type: ignore[arg-type]  # groupby by type
            elif kind is ReplaceRows:
                answers += [self._replace_rows(request) for request in group]  # type: ignore[arg-type]  # the same
            else:
                answers += [self._apply(request) for request in group]
        return answers

    def _apply(self, request: Request) -> Answer:
        match request:
            case BeginRun(run):
                self._run_id = run.run_id
                self._put_run(run)
                self._prune()
            case EndRun(run):
                self._put_run(run)
            case AddProblems(problems):
                self._add_problems(problems)
            case KeepSamples(samples):
                self._put("samples", (self._run_id, samples))
            case DropFinished():
                self._connection.execute("DELETE FROM finished")
            case RenameTarget(old, new):
                return self._rename(old, new)
            case Forget(target, names):
                self._forget(target, names)
            case SetPlace(target, place) if self._is_taken(target, place):
                return place_taken(target)
            case Learn() | TakeIdentity() | SetFinished() | SetPlace():
                self._put(*_row(request))
        return None

    def _is_taken(self, target: str, place: Place) -> bool:
        sql = """SELECT 1 FROM places WHERE target <> ? AND kind = ? AND region = ?
            AND (account_id = ? OR account_id = '' OR ? = '')"""
        values = (target, place.kind, place.region, place.account_id, place.account_id)
        return self._connection.execute(sql, values).fetchone() is not None

    def _put(self, table: str, row: tuple[Any, ...]) -> None:
        insert(self._connection, f"INSERT OR REPLACE INTO {table} VALUES", [row])

    def _rename(self, old: str, new: str) -> Answer:
        """Move every row of ``old``, unless rows of ``new`` would be mixed with them."""
        if (refusal := self._rename_refusal(old, new)) is not None:
            return refusal
        before, kept = changes(self._connection, old), finished(self._connection, old)
        # What a target without entries leaves behind (a place, a pace) gives way to what is known of the old name.
        for table in ("places", "paces", "finished"):
            self._connection.execute(f"DELETE FROM {table} WHERE target = ?", (new,))  # noqa: S608  constants
        self._connection.execute(_REPLACED_PAUSE, (new, old))
        for table in ("entries", "incoming", "versions", "history", "places", "paces", "pauses", "finished"):
            self._connection.execute(f"UPDATE {table} SET target = ? WHERE target = ?", (new, old))  # noqa: S608
        # Both counts go on from the higher one, so that no number comes back that stood for other entries.
        after = max(before, changes(self._connection, new)) + 1
        for target in (old, new):
            self._put("meta", (CHANGES + target, after))
        if kept is not None and kept.changes == before:
            self._put("finished", (new, kept.fingerprint, after, kept.lines))
        self._open_entries.forget()
        return None

    def _forget(self, target: str, names: Sequence[str]) -> None:
        named = msgspec.json.encode(list(names)).decode()
        for table in ("entries", "incoming", "versions"):
            sql = f"DELETE FROM {table} WHERE target = ? AND name IN (SELECT value FROM json_each(?))"  # noqa: S608  constants
            self._connection.execute(sql, (target, named))
        self._count_changes([target])
        self._open_entries.forget()

    def _replace_rows(self, request: ReplaceRows) -> Answer:
        replace_rows(self._connection, request)
        self._open_entries.forget()
        return None

    def _rename_refusal(self, old: str, new: str) -> ProvisionerError | None:
        def has(table: str, target: str) -> bool:
            sql = f"SELECT EXISTS (SELECT 1 FROM {table} WHERE target = ?)"  # noqa: S608  constants
            return bool(self._connection.execute(sql, (target,)).fetchone()[0])

        if old == new or has("entries", new):
            return UsageError(
                f"the ledger already has entries of a target {new!r}",
                hint="Choose a name that is not in use; `provisioner status` lists the targets",
            )
        if not has("entries", old) and not has("places", old):
            return LedgerError(
                f"the ledger has no target {old!r}", hint="`provisioner status` lists the targets that it has"
            )
        return None

    def _applied(self, requests: Sequence[Record]) -> tuple[Batch, list[Answer]]:
        """What ``requests`` change, and an answer to each; nothing is written.

        All entries that they need are read with one statement, then each is applied in memory.
        """
        batch = _batch(self._connection, [fact for one in requests for fact in one.facts], self._open_entries.known)
        at = round(self._now(), 3)
        return batch, [self._refusal(one) or batch.apply(one.facts, at, self._run_id) for one in requests]

    def _record(self, requests: Sequence[Record]) -> list[Answer]:
        # All that has changed is written with few statements. An entry that several facts are about is written once.
        batch, answers = self._applied(requests)
        # The unique index on ARNs is checked row by row, and rows are written in no particular order: an ARN that one
        # entry gives up and another takes in this commit must be free before it is taken.
        for target, name in batch.freed():
            self._connection.execute("UPDATE entries SET arn = '' WHERE target = ? AND name = ?", (target, name))
        # The others are counted by their entries.
        if others := batch.targets() - {target for target, _ in batch.changed}:
            self._count_changes(others)
        insert(self._connection, _PUT_ENTRY, [_entry_row(entry) for entry in batch.changed.values()], _ON_KNOWN_ENTRY)
        if batch.second_day:
            self._put_versions(batch)
        self._open_entries.learn(batch.changed)
        return answers

    def _refusal(self, request: Record) -> OvertakenError | None:
        return overtaken() if outdated(request, lambda _: self.epoch) else None

    def _count_changes(self, targets: Collection[str]) -> None:
        keys = [CHANGES + target for target in sorted(targets)]
        self._connection.execute(_COUNT_CHANGES, (msgspec.json.encode(keys).decode(),))

    def _put_versions(self, batch: Batch) -> None:
        for key, entry in batch.incoming.items():
            if entry is None:
                self._connection.execute("DELETE FROM incoming WHERE target = ? AND name = ?", key)
        rows = [_entry_row(entry) for entry in batch.incoming.values() if entry is not None]
        insert(self._connection, _PUT_INCOMING, rows)
        for arn, version in batch.versions.items():
            if version is None:
                self._connection.execute("DELETE FROM versions WHERE arn = ?", (arn,))
        versions = [_version_row(version) for version in batch.versions.values() if version is not None]
        insert(self._connection, _PUT_VERSION, versions)
        insert(self._connection, "INSERT INTO history VALUES", [msgspec.structs.astuple(one) for one in batch.history])

    def _put_run(self, run: RunRecord) -> None:
        self._put("runs", msgspec.structs.astuple(run))

    def _add_problems(self, problems: Sequence[Problem]) -> None:
        last = self._connection.execute("SELECT max(seq) FROM problems WHERE run_id = ?", (self._run_id,)).fetchone()[0]
        rows = [
            (self._run_id, seq, *msgspec.structs.astuple(problem))
            for seq, problem in enumerate(problems, (last or 0) + 1)
        ]
        insert(self._connection, "INSERT INTO problems VALUES", rows)

    def _prune(self) -> None:
        kept_runs = {
            "problems": KEPT_RUNS_WITH_PROBLEMS,
            "samples": KEPT_RUNS_WITH_PROBLEMS,
            "history": KEPT_RUNS,
            "runs": KEPT_RUNS,
        }
        for table, kept in kept_runs.items():
            # A range of the primary key, so that the rows that stay are not read: there may be millions. A run's id
            # begins with its time; problems of no run have "" and are the first to go.
            newest = "SELECT run_id FROM runs ORDER BY run_id DESC LIMIT ?"
            sql = f"DELETE FROM {table} WHERE run_id < (SELECT min(run_id) FROM ({newest}))"  # noqa: S608  constants
            self._connection.execute(sql, (kept,))


_COUNT_CHANGES = """INSERT INTO meta SELECT value, 1 FROM json_each(?) WHERE true
    ON CONFLICT (key) DO UPDATE SET value = value + 1"""
_COUNTING = tuple(
    f"""CREATE TEMP TRIGGER IF NOT EXISTS count_{event} AFTER {event} ON main.entries BEGIN
        INSERT INTO meta VALUES ('{CHANGES}' || NEW.target, 1) ON CONFLICT (key) DO UPDATE SET value = value + 1;
    END"""  # noqa: S608  constants
    for event in ("INSERT", "UPDATE")
)
"""Every change of an entry counts, without a statement of its own. Temporary: for this connection alone."""
_REPLACED_PAUSE = "DELETE FROM pauses WHERE target = ? AND EXISTS (SELECT 1 FROM pauses WHERE target = ?)"
_PUT_ENTRY = f"INSERT INTO entries ({','.join(_ENTRY_COLUMNS)}) VALUES"
_PUT_INCOMING = f"INSERT OR REPLACE INTO incoming ({','.join(_ENTRY_COLUMNS)}) VALUES"
_PUT_VERSION = f"INSERT OR REPLACE INTO versions ({','.join(Version.__struct_fields__)}) VALUES"
_ON_KNOWN_ENTRY = "ON CONFLICT (target, name) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in _ENTRY_COLUMNS[2:]
)


@lru_cache
def _put_entries(places: int) -> str:
    """Writes so many rows, unless the version, its last parameter, has changed; a row of NULLs is none.

    The numbers of rows are powers of two, so that there are few such statements: SQLite compiles each anew.
    """
    rows = ",".join([f"({','.join('?' * len(_ENTRY_COLUMNS))})"] * places)
    return f"""INSERT INTO entries ({",".join(_ENTRY_COLUMNS)}) SELECT * FROM (VALUES {rows})
        WHERE column1 IS NOT NULL AND (SELECT data_version FROM pragma_data_version) = ? {_ON_KNOWN_ENTRY}"""  # noqa: S608  constants


def _entry_row(entry: Entry) -> list[Any]:
    row = list(msgspec.structs.astuple(entry)[: len(_ENTRY_COLUMNS)])
    row[_STATE] = str(entry.state)
    row[_SENT] = None if entry.sent is None else msgspec.json.encode(entry.sent).decode()
    return row


def _row(request: Learn | TakeIdentity | SetFinished | SetPlace) -> tuple[str, tuple[Any, ...]]:
    """The table and the row of what is only put in place of what was there."""
    match request:
        case Learn(target, family, state):
            return "paces", (target, family, state)
        case TakeIdentity(ledger_id):
            return "meta", ("ledger_id", ledger_id)
        case SetFinished(target, manifest):
            return "finished", (target, *msgspec.structs.astuple(manifest))
        case SetPlace(target, place):
            return "places", (target, *msgspec.structs.astuple(place))


def _version_row(version: Version) -> tuple[Any, ...]:
    sent = None if version.sent is None else msgspec.json.encode(version.sent).decode()
    row = msgspec.structs.asdict(version) | {"role": version.role.value, "sent": sent}
    return tuple(row.values())


_TAKEN = """INSERT OR REPLACE INTO meta VALUES
    ('epoch', ?), ('opened_at', strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))"""


def _epoch(connection: Connection) -> str:
    row = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    return str(row[0]) if row else ""


def _raise_epoch(connection: Connection, may_take: Callable[[], None]) -> str:
    """Take the next epoch: a counter for people, and a nonce, so that a copy of the ledger never has the same one."""
    with transaction(connection):
        may_take()
        epoch = f"{int(_epoch(connection).partition('-')[0] or 0) + 1}-{secrets.token_hex(8)}"
        connection.execute(_TAKEN, (epoch,))
    return epoch


def _batch(connection: Connection, facts: Sequence[Fact], known: Mapping[Key, Entry]) -> Batch:
    """What ``facts`` are about; entries that are ``known`` need not be read."""
    keys = keys_of(facts)
    entries = {key: known[key] for key in keys if key in known}
    arns = arns_of(facts, entries)
    read = stored(connection, keys - entries.keys(), arns)
    entries, holders = entries | read.entries, read.holders
    if more := arns_of((), read.entries) - arns:  # of what was made before, and is recorded anew
        holders, arns = holders | stored(connection, (), more).holders, arns | more
    replaced = replaced_by(facts)
    return Batch(
        entries,
        holders,
        incoming_by_key(connection, replaced) if replaced else {},
        versions_by_arn(connection, arns) if arns and read.any_version else {},
    )
