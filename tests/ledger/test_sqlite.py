"""The SQLite store: what is its own, beside the contract."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from provisioner.commands.ledger import check
from provisioner.config.settings import RunSettings, Settings
from provisioner.core.entry import State
from provisioner.core.place import Place
from provisioner.core.problem import Problem
from provisioner.errors import IllegalTransitionError, LedgerError, Reason
from provisioner.ledger import RunRecord
from provisioner.ledger.commit_wait import LOOK_S
from provisioner.ledger.lease import OvertakenError
from provisioner.ledger.requests import KEPT_RUNS, Record
from provisioner.ledger.sqlite.database import connect, open_writer
from provisioner.ledger.sqlite.reading import changes, entries_by_name, page
from provisioner.ledger.sqlite.store import SqliteLedger
from provisioner.ledger.sqlite.writing import Writing
from provisioner.ledger.store import Statistics
from tests.ledger.contract.facts import AT, Clock, all_of, arn, confirm, intend
from tests.ledger.opening import open_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from provisioner.ledger.sqlite.database import Connection, Cursor


class SlowClock(Clock):
    """A clock that stops whoever asks for the time, and so the commit that asks, until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> float:
        """The time, when it is allowed to pass."""
        self.asked.set()
        assert self.go_on.wait(10)

        return self.at


def names_in(directory: Path) -> list[str]:
    """The names of the files in ``directory``, in order."""
    return sorted(file.name for file in directory.iterdir())


async def begun(ledger: SqliteLedger, clock: SlowClock, name: str) -> asyncio.Task[None]:
    """A record of ``name`` whose commit is under way, and stays so until the clock goes on."""
    task = asyncio.create_task(ledger.record([intend(name)]))
    assert await asyncio.to_thread(clock.asked.wait, 10)
    return task


async def test_what_waits_shares_a_commit(tmp_path: Path) -> None:
    """While a commit is under way others gather, and each following commit takes up to 256 facts of them."""
    clock = SlowClock()
    ledger = await SqliteLedger.open(tmp_path / "l.db", now=clock)
    tasks = [await begun(ledger, clock, "first")]
    tasks += [asyncio.create_task(ledger.record([intend(f"n{number}")])) for number in range(600)]
    await asyncio.sleep(0)
    clock.go_on.set()
    await asyncio.gather(*tasks)
    await ledger.close()

    assert ledger.statistics() == Statistics(facts=601, commits=4, largest=256)


async def test_a_lone_fact_waits_for_nothing(tmp_path: Path) -> None:
    """A fact that comes when nothing is under way is a commit of its own."""
    ledger = await SqliteLedger.open(tmp_path / "l.db")
    for number in range(5):
        await ledger.record([intend(f"n{number}")])
    await ledger.close()

    assert ledger.statistics() == Statistics(facts=5, commits=5, largest=1)


async def test_what_many_targets_record_shares_commits(tmp_path: Path) -> None:
    """A result waits for the next intents, and not for ever if there are none."""
    ledger = await SqliteLedger.open(tmp_path / "l.db")
    targets = [f"t{number}" for number in range(8)]
    for target in targets:
        await ledger.record([intend("a", target=target)])
    await asyncio.sleep(LOOK_S)
    before = ledger.statistics().commits
    results = [ledger.record([confirm("a", number, target)]) for number, target in enumerate(targets)]
    await asyncio.gather(*results, ledger.record([intend("b")]))
    together = ledger.statistics().commits - before
    await ledger.record([confirm("b", len(targets))])
    await ledger.close()

    assert together == 1
    assert ledger.statistics().commits == before + 2


async def test_what_was_learned_needs_no_commit_of_its_own(tmp_path: Path) -> None:
    """What a pacer learned goes with the next commit of something else."""
    ledger = await SqliteLedger.open(tmp_path / "l.db")
    for number in range(10):
        await ledger.learn("default", "create", b"%d" % number)
    await ledger.record([intend("a")])
    beside = sqlite3.connect(tmp_path / "l.db")
    [stored] = beside.execute("SELECT state FROM paces").fetchall()
    beside.close()
    await ledger.close()

    assert (stored, ledger.statistics().commits) == ((b"9",), 1)


async def test_cancelled_callers_cancel_nothing(tmp_path: Path) -> None:
    """A fact whose caller was cancelled is durable, in mid-commit or waiting, and its neighbours are answered."""
    clock = SlowClock()
    ledger = await SqliteLedger.open(tmp_path / "l.db", now=clock)
    tasks = [await begun(ledger, clock, "under way")]
    tasks += [asyncio.create_task(ledger.record([intend(name)])) for name in ("waiting", "neighbour")]
    await asyncio.sleep(0)
    for task in tasks[:2]:
        task.cancel()
    await asyncio.wait(tasks[:2])
    clock.go_on.set()
    await asyncio.wait_for(tasks[2], 10)
    names = [entry.name for entry in await all_of(ledger)]
    await ledger.close()

    assert [task.cancelled() for task in tasks] == [True, True, False]
    assert names == ["neighbour", "under way", "waiting"]


async def test_a_cancelled_close_still_closes(tmp_path: Path) -> None:
    """Whoever waits for the close may be cancelled; what is under way is committed and the file is let go."""
    clock = SlowClock()
    ledger = await SqliteLedger.open(tmp_path / "l.db", now=clock)
    record = await begun(ledger, clock, "a")
    close = asyncio.create_task(ledger.close())
    await asyncio.sleep(0)
    close.cancel()
    with pytest.raises(asyncio.CancelledError):
        await close
    clock.go_on.set()
    await ledger.close()
    await record

    assert names_in(tmp_path) == ["l.db"]


async def test_a_thousand_runs_are_kept(tmp_path: Path) -> None:
    """A job that runs every minute does not fill the disk: the oldest runs are forgotten, their entries are not."""
    ledger = await SqliteLedger.open(tmp_path / "l.db")
    runs = [RunRecord(f"run-{number:05}", "apply", AT) for number in range(KEPT_RUNS + 5)]
    await ledger.begin_run(runs[0])
    await ledger.record([intend("a")])
    await asyncio.gather(*(ledger.begin_run(run) for run in runs[1:]))
    kept = await ledger.runs(2 * KEPT_RUNS)
    [entry] = await all_of(ledger)
    await ledger.close()

    assert kept == runs[:4:-1]
    assert entry.run_id == "run-00000"


class Explained:
    """A connection that also asks SQLite how it is going to run each delete."""

    def __init__(self, connection: Connection, plans: list[str]) -> None:
        self._connection = connection
        self._plans = plans

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Run one statement."""
        if sql.startswith("DELETE"):
            steps = self._connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
            self._plans += [step[-1] for step in steps]
        return self._connection.execute(sql, parameters)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


async def test_a_start_reads_no_problems_that_stay(tmp_path: Path) -> None:
    """Problems of old runs are found by their key: a start takes no longer where millions of others are kept."""
    plans: list[str] = []
    ledger = await SqliteLedger.open(
        tmp_path / "l.db", connect=lambda path, mode: Explained(connect(path, mode), plans)
    )
    await ledger.begin_run(RunRecord("run-1", "apply", AT))
    await ledger.close()

    assert "SEARCH problems USING PRIMARY KEY (run_id<?)" in plans
    assert not any(plan.startswith("SCAN problems") for plan in plans)


async def test_problems_of_before_the_clock_was_set_back(tmp_path: Path) -> None:
    """A run that sorts before the last 20, because the clock was set back, has its problems until the next begins."""
    problem = Problem("m.jsonl", 1, "a", "invalid", "no")
    ledger = await SqliteLedger.open(tmp_path / "l.db")
    kept: dict[str, int] = {}
    await ledger.add_problems([problem])
    for number in [*range(2, 23), 1]:
        await ledger.begin_run(RunRecord(f"run-{number:02}", "apply", AT))
        await ledger.add_problems([problem])
    for run_id in ["", *(f"run-{number:02}" for number in range(1, 23))]:
        kept[run_id] = len([each async for each in ledger.problems(run_id)])
    await ledger.begin_run(RunRecord("run-00", "apply", AT))
    after = [each async for each in ledger.problems("run-01")]
    await ledger.close()

    assert [run_id for run_id, number in kept.items() if not number] == ["", "run-02"]
    assert after == []


async def test_the_ledger_tells_its_condition(tmp_path: Path) -> None:
    """Its representation names the file, whether it is usable, and what was committed."""
    ledger = await SqliteLedger.open(tmp_path / "l.db")
    await ledger.record([intend("a"), confirm("a", 1)])
    before = repr(ledger)
    await ledger.close()

    assert before == f"<SqliteLedger {tmp_path / 'l.db'} open Statistics(facts=2, commits=1, largest=2)>"
    assert " closed " in repr(ledger)


async def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """The file and those beside it have mode 0600, also where a backup was put back with another."""
    path = tmp_path / "l.db"
    ledger = await SqliteLedger.open(path)
    await ledger.close()
    path.chmod(0o644)
    ledger = await SqliteLedger.open(path)
    await ledger.record([intend("a")])
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names_in(tmp_path)}
    await ledger.close()

    assert modes == {"l.db": 0o600, "l.db-wal": 0o600, "l.db-shm": 0o600}


async def test_it_is_found_through_a_link(tmp_path: Path) -> None:
    """A symbolic link leads to the same ledger, with the files beside it at their place."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "there" / "l.db")
    ledger = await SqliteLedger.open(tmp_path / "link.db")
    await ledger.record([intend("a")])
    names = names_in(tmp_path / "there")
    await ledger.close()

    assert names == ["l.db", "l.db-shm", "l.db-wal"]


async def test_names_with_characters_of_addresses(tmp_path: Path) -> None:
    """Any file name will do."""
    path = tmp_path / "100% #1 ?mode=ro&x.db"
    ledger = await SqliteLedger.open(path)
    await ledger.close()

    assert names_in(tmp_path) == [path.name]


async def refusal(path: Path, *, readonly: bool = False) -> LedgerError:
    """The error with which the ledger at ``path`` is refused."""
    with pytest.raises(LedgerError) as caught:
        await SqliteLedger.open(path, readonly=readonly)

    assert caught.value.reason is Reason.LEDGER
    assert caught.value.where == str(path)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("readonly", [False, True])
async def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, readonly: bool) -> None:  # noqa: FBT001  a parameter of the test
    """What is no SQLite file, and a SQLite file of somebody else, are refused untouched."""
    text, foreign = tmp_path / "text", tmp_path / "foreign.db"
    text.write_text("[run]\nledger = 'ledger.db'\n" * 50)
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE entries (target, name)")
    connection.close()
    before = {path: (path.read_bytes(), path.stat().st_mode) for path in (text, foreign)}

    assert (await refusal(text, readonly=readonly)).what == "this is not a ledger"
    assert (await refusal(foreign, readonly=readonly)).what == "this is a SQLite file, but not a ledger"
    assert {path: (path.read_bytes(), path.stat().st_mode) for path in (text, foreign)} == before
    assert names_in(tmp_path) == ["foreign.db", "text"]


def damage(path: Path) -> None:
    """Put rubbish in place of the pages in the middle of the file."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 8192 * 4096
    data[middle : middle + 20 * 4096] = b"\xa5" * (20 * 4096)
    path.write_bytes(data)


async def filled(path: Path) -> None:
    """Make a ledger of 2,000 entries at ``path``."""
    ledger = await SqliteLedger.open(path)
    await ledger.record([intend(f"n{number}") for number in range(2000)])
    await ledger.close()


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
async def test_a_truncated_ledger_is_refused(tmp_path: Path, kept: float) -> None:
    """A ledger that lost its end is refused with its remedy."""
    path = tmp_path / "l.db"
    await filled(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    error = await refusal(path)

    assert (error.what, "provisioner rebuild" in error.hint) == ("the ledger is damaged", True)


async def test_a_ledger_with_a_damaged_page_is_refused(tmp_path: Path) -> None:
    """A page of rubbish in the middle is found at open."""
    path = tmp_path / "l.db"
    await filled(path)
    damage(path)

    assert (await refusal(path)).what == "the ledger is damaged"


async def test_damage_that_shows_while_reading_poisons_the_ledger(tmp_path: Path) -> None:
    """Damage that is met after the open is told with its remedy, and the ledger refuses from then on."""
    path = tmp_path / "l.db"
    await filled(path)
    damage(path)
    ledger = await SqliteLedger.open(path, readonly=True)
    with pytest.raises(LedgerError, match="damaged"):
        await all_of(ledger)
    with pytest.raises(LedgerError, match="damaged"):
        await ledger.runs()
    await ledger.close()

    assert "poisoned" in repr(ledger)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE entries SET sent = '{bad'",
        "UPDATE entries SET sent = '[]'",
        "UPDATE entries SET updated_at = 'yesterday'",
        "UPDATE entries SET name = x'ff00'",
        "UPDATE entries SET message = CAST(x'ff' AS TEXT)",
        "PRAGMA ignore_check_constraints = ON; UPDATE places SET kind = 'moon'",
        "UPDATE runs SET started_at = 'yesterday'",
        "INSERT INTO pauses VALUES ('t', 'tomorrow', 0, '')",
        "DELETE FROM meta",
        "UPDATE meta SET value = '' WHERE key = 'ledger_id'",
        "DROP TABLE versions",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = CAST(x'ff' AS TEXT) WHERE name = 'paces'",
    ],
)
async def test_what_the_store_never_wrote_is_damage(tmp_path: Path, sql: str) -> None:
    """Sound pages with contents that cannot be: the ledger is damaged, and that is no internal error."""
    path = tmp_path / "l.db"
    ledger = await SqliteLedger.open(path)
    await ledger.record([intend("a")])
    await ledger.set_place("t", Place("custom", "us-east-1"))
    await ledger.begin_run(RunRecord("r", "apply", AT))
    await ledger.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql)

    with pytest.raises(LedgerError, match="the ledger is damaged") as caught:
        await check(Settings(run=RunSettings(ledger=str(path))))
    assert caught.value.where == str(path)


async def test_a_damaged_ledger_is_written_no_more(tmp_path: Path) -> None:
    """When damage shows during a run, closing leaves the log beside the file: what is in it may be of use."""
    path = tmp_path / "l.db"
    await filled(path)
    ledger = await SqliteLedger.open(path)
    await ledger.record([intend("a")])
    code = f"import pathlib; from tests.ledger.test_sqlite import damage; damage(pathlib.Path({str(path)!r}))"
    # In another process: closing a file of SQLite's in this one would free its locks.
    assert await asyncio.to_thread(subprocess.call, [sys.executable, "-c", code]) == 0
    with pytest.raises(LedgerError, match="damaged"):
        await all_of(ledger)
    with pytest.raises(LedgerError, match="damaged"):
        await ledger.record([intend("b")])
    before = path.read_bytes()
    await ledger.close()

    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["l.db", "l.db-shm", "l.db-wal"]


async def test_a_change_beside_the_writer_is_seen(tmp_path: Path) -> None:
    """What another connection has committed counts, also for an entry that this one wrote last."""
    ledger = await SqliteLedger.open(tmp_path / "l.db")
    await ledger.record([intend("a", "a1"), intend("b", "b1")])
    with contextlib.closing(sqlite3.connect(tmp_path / "l.db")) as beside:
        beside.execute("UPDATE entries SET attempt = 'a2' WHERE name = 'a'")
        beside.commit()
    with pytest.raises(IllegalTransitionError, match="attempt a2"):
        await ledger.record([msgspec.structs.replace(confirm("a", 1), after="a1")])
    await ledger.record([msgspec.structs.replace(confirm("a", 1), after="a2")])
    await ledger.close()


class Counting:
    """A connection that keeps the statements, and does something else before one that writes entries."""

    def __init__(self, connection: Connection) -> None:
        self.statements: list[str] = []
        self.before_write: Callable[[], object] = lambda: None
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Run one statement."""
        self.statements.append(sql)
        if sql.startswith("INSERT INTO entries"):
            self.before_write()
        return self._connection.execute(sql, parameters)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[tuple[Writing, Counting]]:
    """A writer whose first commit is done, and its connection."""
    connection = Counting(open_writer(tmp_path / "l.db", connect))
    writing = Writing(connection, Clock())
    assert writing.commit([Record([intend("first")])]) == [None]

    connection.statements.clear()
    yield writing, connection
    connection.close()


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257])
def test_a_commit_of_creates_is_two_statements(counting: tuple[Writing, Counting], tmp_path: Path, count: int) -> None:
    """One reads and one writes, since each waits for the interpreter's lock; only a larger commit needs more."""
    writing, connection = counting
    names = [f"n{number}" for number in range(count)]

    intents = writing.commit([Record([intend(name)]) for name in names])
    results = writing.commit([Record([confirm(name, number)]) for number, name in enumerate(names)])

    assert intents == results == [None] * count
    assert (len(connection.statements) == 4) == (count <= 256)
    with contextlib.closing(connect(tmp_path / "l.db", "ro")) as reader:
        assert [(one.name, one.state, one.arn) for one in page(reader, "default", None, None, 1000)] == sorted(
            [("first", State.SENT, ""), *((name, State.CREATED, arn(number)) for number, name in enumerate(names))]
        )
        assert changes(reader, "default") >= 3


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        ("INSERT OR REPLACE INTO pauses VALUES ('default', 1, 1, '')", type(None)),
        ("UPDATE entries SET attempt = 'other' WHERE name = 'first'", IllegalTransitionError),
        ("UPDATE meta SET value = '2-other' WHERE key = 'epoch'", OvertakenError),
    ],
    ids=["a pause", "an entry", "another run"],
)
def test_a_commit_between_reading_and_writing_is_noticed(
    counting: tuple[Writing, Counting], tmp_path: Path, statement: str, answer: type[object]
) -> None:
    """Another connection's commit makes this one read again, so that it is refused if it does not follow any more."""
    writing, connection = counting
    with contextlib.closing(connect(tmp_path / "l.db", "rw")) as other:

        def once() -> None:
            connection.before_write = lambda: None
            other.execute(statement)

        connection.before_write = once
        answers = writing.commit([Record([msgspec.structs.replace(confirm("first", 1), after="a1")])])

    assert [type(one) for one in answers] == [answer]
    with contextlib.closing(connect(tmp_path / "l.db", "ro")) as reader:
        created = entries_by_name(reader, "default", ["first"])["first"].state is State.CREATED
    assert created == (answers == [None])


async def test_a_refused_commit_is_not_remembered(tmp_path: Path) -> None:
    """What was undone because a neighbour could not be stored is not taken for stored."""
    clock = SlowClock()
    ledger = await SqliteLedger.open(tmp_path / "l.db", now=clock)
    first = await begun(ledger, clock, "first")
    tasks = [
        asyncio.create_task(ledger.record([intend("a")])),
        asyncio.create_task(ledger.add_problems([Problem("m.jsonl", 1, "\udc80", "invalid", "no text")])),
        asyncio.create_task(ledger.record([intend("b"), msgspec.structs.replace(intend("c"), message="\udc80")])),
    ]
    await asyncio.sleep(0)
    clock.go_on.set()
    await asyncio.wait([first, *tasks])
    await ledger.record([confirm("a", 1), intend("b")])
    states = {entry.name: entry.state for entry in await all_of(ledger)}
    await ledger.close()

    assert [type(task.exception()) for task in tasks] == [type(None), UnicodeEncodeError, UnicodeEncodeError]
    assert states == {"first": State.SENT, "a": State.CREATED, "b": State.SENT}


async def test_the_log_of_a_ledger_that_was_moved_away_is_kept(tmp_path: Path) -> None:
    """No new ledger is made beside the log of another: SQLite would delete it, and the last facts are in it."""
    log = tmp_path / "l.db-wal"
    log.write_bytes(b"facts")
    with pytest.raises(LedgerError, match="its -wal file is still here"):
        await SqliteLedger.open(tmp_path / "l.db")
    (tmp_path / "l.db").touch()
    with pytest.raises(LedgerError, match="its -wal file is still here"):
        await SqliteLedger.open(tmp_path / "l.db")

    assert log.read_bytes() == b"facts"


async def test_a_ledger_that_is_not_there(tmp_path: Path) -> None:
    """A reader is told that there is none, and makes none; a writer is told when it cannot make one."""
    assert (await refusal(tmp_path / "none.db", readonly=True)).what == "there is no ledger here"
    assert (await refusal(tmp_path / "no" / "such" / "l.db")).what == "the ledger cannot be opened"
    assert (await refusal(tmp_path)).what == "the ledger cannot be opened"
    assert names_in(tmp_path) == []


async def test_it_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    """From a read-only file system, where SQLite cannot make its index, a ledger that was closed can be read."""
    path = tmp_path / "l.db"
    await filled(path)

    def connect_there(path: Path, mode: str) -> Connection:
        if mode == "still":
            return connect(path, mode)
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    ledger = await SqliteLedger.open(path, readonly=True, connect=connect_there)
    entries = await all_of(ledger)
    await ledger.close()

    assert len(entries) == 2000
    assert names_in(tmp_path) == ["l.db"]


async def test_another_process_may_not_keep_it_busy_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that holds the file longer than the busy timeout is told, with what to do."""
    path = tmp_path / "l.db"
    await filled(path)
    monkeypatch.setattr("provisioner.ledger.sqlite.database.BUSY_TIMEOUT_S", 0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    error = await refusal(path)
    other.close()

    assert error.what == "another process has locked the ledger"


async def test_open_ledger_closes(tmp_path: Path) -> None:
    """The ledger is closed at the end of its context."""
    async with open_ledger(str(tmp_path / "l.db")) as ledger:
        await ledger.record([intend("a")])
    with pytest.raises(LedgerError, match="closed"):
        await ledger.counts()


async def test_a_backup_is_a_ledger(tmp_path: Path) -> None:
    """VACUUM INTO, while a run writes, makes a file that opens as the same ledger with the same entries."""
    ledger = await SqliteLedger.open(tmp_path / "l.db")
    await ledger.record([intend("a"), confirm("a", 1)])
    beside = sqlite3.connect(tmp_path / "l.db")
    beside.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    beside.close()
    await ledger.record([intend("b")])
    before = await all_of(ledger, states={State.CREATED})
    await ledger.close()
    async with open_ledger(str(tmp_path / "backup.db")) as backup:
        assert backup.ledger_id == ledger.ledger_id
        assert await all_of(backup) == before


def contents(directory: Path) -> dict[str, bytes]:
    """What the files in ``directory`` hold, but for the index of the log, which SQLite makes anew."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if not path.name.endswith("-shm")}


def checkpointed(path: Path) -> None:
    """Fold the log into the file, as SQLite or another tool may at any time, so that a new log begins."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize("known", [0, 50, 300])
@pytest.mark.parametrize("new", [1, 40, 300])
async def test_a_backup_beside_the_log_of_a_later_time_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: int, new: int
) -> None:
    """A restored backup and the log that a killed run left do not make a ledger, also where only an index shows it."""
    monkeypatch.setattr("provisioner.ledger.sqlite.database.CHECKED_BYTES", 0)
    path, restored = tmp_path / "l.db", tmp_path / "restored" / "l.db"
    restored.parent.mkdir()
    ledger = await SqliteLedger.open(path)
    await ledger.record([confirm(f"n{number}", number * 7919) for number in range(known)])
    await ledger.close()
    shutil.copy(path, restored)
    ledger = await SqliteLedger.open(path)
    await ledger.record([intend(f"m{number * 37 % new}") for number in range(new)])
    checkpointed(path)
    await ledger.record([confirm(f"m{number}", 5_000_000 + number * 7919) for number in range(new)])
    shutil.copy(f"{path}-wal", f"{restored}-wal")
    await ledger.close()
    before = contents(restored.parent)
    error = await refusal(restored)

    assert error.what == "the ledger is damaged"
    assert contents(restored.parent) == before


async def test_a_ledger_beside_its_own_log_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed run leaves, file and log, is a ledger with everything that was acknowledged, of any size."""
    monkeypatch.setattr("provisioner.ledger.sqlite.database.CHECKED_BYTES", 0)
    path, left = tmp_path / "l.db", tmp_path / "left" / "l.db"
    left.parent.mkdir()
    ledger = await SqliteLedger.open(path)
    await ledger.record([intend(f"n{number}") for number in range(300)])
    checkpointed(path)
    await ledger.record([confirm(f"n{number}", number) for number in range(300)])
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{left}{suffix}")
    await ledger.close()
    ledger = await SqliteLedger.open(left)
    counts = await ledger.counts()
    await ledger.close()

    assert counts == {"default": {State.CREATED: 300}}


class SlowDisk:
    """Opens files in which one kind of statement takes until it is allowed to end.

    Args:
        statement: how the statement begins.

    Attributes:
        asked: set when the statement has come.
        go_on: lets it end.
        closed: set when no connection is open any more.
    """

    def __init__(self, statement: str) -> None:
        self.statement = statement
        self.asked, self.go_on, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.connections = 0

    def connect(self, path: Path, mode: str) -> Connection:
        """A connection to ``path``."""
        self.connections += 1
        return Slow(connect(path, mode), self)


class Slow:
    """A connection to a slow disk."""

    def __init__(self, connection: Connection, disk: SlowDisk) -> None:
        self._connection = connection
        self._disk = disk

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Run one statement."""
        if sql.startswith(self._disk.statement):
            self._disk.asked.set()
            assert self._disk.go_on.wait(10)
        return self._connection.execute(sql, parameters)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        self._disk.connections -= 1
        if not self._disk.connections:
            self._disk.closed.set()


async def abandoned(path: Path, disk: SlowDisk) -> None:
    """Open the ledger at ``path``, and be cancelled while ``disk`` is slow."""
    opening = asyncio.create_task(SqliteLedger.open(path, connect=disk.connect))
    assert await asyncio.to_thread(disk.asked.wait, 10)
    opening.cancel()
    await asyncio.wait([opening])

    assert opening.cancelled()


@pytest.mark.parametrize("statement", ["PRAGMA integrity_check", "BEGIN IMMEDIATE"])
async def test_an_open_that_was_abandoned_overtakes_nobody(tmp_path: Path, statement: str) -> None:
    """A run that was stopped while it opened the ledger does not take it from the next run when the disk answers."""
    path = tmp_path / "l.db"
    await filled(path)
    disk = SlowDisk(statement)
    await abandoned(path, disk)
    ledger = await SqliteLedger.open(path)
    await ledger.record([intend("a")])
    disk.go_on.set()
    closed = await asyncio.to_thread(disk.closed.wait, 10)
    await ledger.record([intend("b")])
    await ledger.close()

    assert closed


async def test_an_open_that_was_abandoned_leaves_nothing_open(tmp_path: Path) -> None:
    """What a run opened after it was stopped is closed, however late the disk answers."""
    disk = SlowDisk("SELECT value FROM meta WHERE key = 'ledger_id'")
    await abandoned(tmp_path / "l.db", disk)
    disk.go_on.set()

    assert await asyncio.to_thread(disk.closed.wait, 10)
    assert names_in(tmp_path) == ["l.db"]


async def test_a_writer_that_cannot_start_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no thread for the writer, the ledger is not open."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("provisioner.ledger.sqlite.writer.Writer.start", start)
    disk = SlowDisk("nothing")
    with pytest.raises(RuntimeError, match="new thread"):
        await SqliteLedger.open(tmp_path / "l.db", connect=disk.connect)

    assert disk.closed.is_set()


async def test_a_new_ledger_that_cannot_be_connected_to_is_not_left_behind(tmp_path: Path) -> None:
    """Where SQLite cannot open the file that was just made, no empty file stays that would pass for a lost ledger."""

    def fail(_: Path, __: str) -> Connection:
        raise MemoryError

    with pytest.raises(MemoryError):
        await SqliteLedger.open(tmp_path / "l.db", connect=fail)

    assert names_in(tmp_path) == []


async def test_a_ledger_whose_mode_cannot_be_set_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system fails at the last step of an open, exit 74, nothing stays open."""
    await filled(tmp_path / "l.db")

    def chmod(path: Path, _: int) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr("pathlib.Path.chmod", chmod)
    disk = SlowDisk("nothing")
    with pytest.raises(LedgerError, match="the disk failed"):
        await SqliteLedger.open(tmp_path / "l.db", connect=disk.connect)

    assert disk.closed.is_set()
