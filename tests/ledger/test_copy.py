"""Moving a ledger between stores, and copies of a file that is in use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest

from provisioner.commands.ledger import back_up, copy
from provisioner.config.settings import Settings
from provisioner.core.entry import Event, Fact
from provisioner.core.pause import Pause
from provisioner.core.place import Place
from provisioner.core.problem import Problem
from provisioner.errors import LedgerError, LedgerLockedError, UsageError
from provisioner.ledger import FinishedManifest, RunRecord
from provisioner.ledger.location import locate
from provisioner.ledger.postgres.connection import Database
from provisioner.ledger.postgres.location import PostgresBuilding, PostgresLocation
from provisioner.ledger.postgres.schema import one_at_a_time
from provisioner.ledger.postgres.url import parsed
from provisioner.ledger.sqlite.location import SqliteBuilding, SqliteLocation
from provisioner.ledger.store import Store
from provisioner.ledger.tables import TABLES
from tests.ledger.contract.facts import AT, all_of, arn, confirm, intend
from tests.ledger.opening import open_ledger
from tests.ledger.test_sqlite import names_in
from tests.postgres import Ledger as Postgres
from tests.postgres import fresh_ledger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from provisioner.ledger.lease import Leases
    from provisioner.ledger.location import Location
    from provisioner.ledger.tables import Row

ODD = "odd \x00 \x01 \u2602 'name'"


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few rows fill several."""
    monkeypatch.setattr("provisioner.commands.ledger.PAGE", 50)


async def fill(where: str) -> dict[str, list[Row]]:
    """Put a row or more into every table of a new ledger, more than a page into one; all of its rows."""
    async with open_ledger(where) as ledger:
        await ledger.begin_run(RunRecord("run-1", "apply", AT))
        epoch = ledger.epoch("default")
        await ledger.record([intend(f"n{number:04}", epoch=epoch) for number in range(120)])
        await ledger.record([confirm(f"n{number:04}", number) for number in range(0, 120, 2)])
        await ledger.record([msgspec.structs.replace(intend(ODD), message="\x00"), confirm(ODD, 5000)])
        await ledger.record([msgspec.structs.replace(intend("n0000", "a2"), incoming=True)])
        await ledger.record([Fact("default", "n0002", Event.RETIRE, code="pruned")])
        await ledger.record([Fact("default", "n0002", Event.GONE, arn=arn(2))])
        await ledger.record([intend("x", target="other"), Fact("other", "x", Event.DOUBT, code="timeout")])
        await ledger.set_place("default", Place("aws", "us-east-1", "123456789012"))
        await ledger.set_finished("default", FinishedManifest("f", 3, 2))
        await ledger.learn("default", "create", b"\x00\xff")
        await ledger.keep_samples(b"\x00\xfe")
        await locate(where).pause({ODD: Pause(AT + 1e9, AT, ODD)})
        await ledger.add_problems([Problem("m", 1, "n", "invalid", "no", column=3), Problem("", 0, "n", "twin", "two")])
        await ledger.end_run(RunRecord("run-1", "apply", AT, AT + 1.5, 3, b"{}"))
    return await rows_of(where)


async def rows_of(where: str) -> dict[str, list[Row]]:
    """Every row."""
    async with locate(where).read() as ledger:
        return {table: await ledger.rows(table, None, 10_000) for table in TABLES}


class Wrapped:
    """A location, of which a test changes what happens."""

    def __init__(self, location: Location) -> None:
        self.location = location

    def __getattr__(self, name: str) -> Any:
        return getattr(self.location, name)


@pytest.fixture(params=["file to database", "database to file", "file to file"])
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Two locations."""
    first, _, second = request.param.partition(" to ")
    return (
        str(tmp_path / "from.db") if first == "file" else fresh_ledger().url,
        str(tmp_path / "to.db") if second == "file" else fresh_ledger().url,
    )


async def test_a_ledger_is_moved_with_everything(ends: tuple[str, str]) -> None:
    """Every row of every table is the same, the id too; the source is retired, and the copy goes on where it ended."""
    source, target = ends
    before = await fill(source)
    copied = await copy(source, target)
    after = await rows_of(target)
    with pytest.raises(LedgerError, match="the ledger has moved to"):
        async with open_ledger(source):
            pass
    async with open_ledger(target) as ledger:
        await ledger.record([Fact("default", "n0004", Event.DRIFT, code="drifted")])
        await ledger.record([confirm("n0001", 9000)])
        history = await ledger.history("default", "n0004")
        changes = await ledger.changes("default")

    assert before["entries"][1][7]["epoch"], "the epoch of an intent is copied too"
    assert all(before.values()), {table: len(rows) for table, rows in before.items()}
    assert after == before
    assert await rows_of(source) == before
    assert (copied.entries, copied.ledger_id) == (122, ledger.ledger_id)
    assert [one.event for one in history] == ["drift"]
    assert ("default", changes - 2) in before["changes"]


async def test_a_copy_that_has_ended_is_not_made_again(ends: tuple[str, str]) -> None:
    """The same command once more says the same, whatever has been recorded since; nothing is written by it."""
    source, target = ends
    await fill(source)
    copied = await copy(source, target)
    async with open_ledger(target) as ledger:
        await ledger.record([intend("new")])
    after = await rows_of(target)
    again = await copy(source, target)

    assert (again.ledger_id, again.entries) == (copied.ledger_id, copied.entries + 1)
    assert await rows_of(target) == after


async def test_a_ledger_that_has_moved_says_where_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that was typed as a relative one is recorded as a whole."""
    monkeypatch.chdir(tmp_path)
    await fill("from.db")
    await copy("from.db", "to.db")
    monkeypatch.chdir("/")
    with pytest.raises(LedgerError, match=f"the ledger has moved to {tmp_path}/to.db"):
        async with open_ledger(str(tmp_path / "from.db")):
            pass
    again = await copy(str(tmp_path / "from.db"), str(tmp_path / "to.db"))

    assert again.source == str(tmp_path / "from.db")


async def test_a_copy_that_broke_off_is_continued(ends: tuple[str, str]) -> None:
    """What was copied wrongly, or is too much there, is put right; nothing is lost of what was there already."""
    source, target = ends
    before = await fill(source)
    async with locate(source).read() as ledger:
        identity = ledger.ledger_id
    location = locate(target)
    async with location.lease(everything=True) as leases, location.build(leases, copy_of=identity) as building:
        await building.ledger.replace_rows("entries", None, None, [*before["entries"][:70], _other("m"), _other("zz")])
    copied = await copy(source, target)

    assert await rows_of(target) == before
    assert copied.ledger_id == identity


def _other(name: str) -> Row:
    sent = {"wall": 1.5, "boot": "b", "ticks": 2.5}
    return ("default", name, "sent", "d", "t", "", "a", sent, 1.5, "run-0", "", "", "", "")


@pytest.mark.parametrize("ends", ["file to database", "database to file"], indirect=True)
def test_a_copy_that_is_killed_again_and_again_is_continued(ends: tuple[str, str]) -> None:
    """After whichever of its durable steps: at the end every row is there, and only the new ledger can be used."""
    source, target = ends
    before = asyncio.run(fill(source))
    codes = []
    for steps in (6, 6, *[1] * 9):
        codes.append(killed_after(steps, source, target))
        for where in ends:
            expire_workers(where)
        if codes[-1] == 0:
            break
    with pytest.raises(LedgerError, match="the ledger has moved to"):
        asyncio.run(fill(source))

    assert codes == [KILLED] * (len(codes) - 1) + [0]
    assert len(codes) > 4
    assert asyncio.run(rows_of(target)) == before


KILLED = 9


def killed_after(steps: int, source: str, target: str) -> int:
    """The exit code of a process that copies, and ends at once, as by a kill, after so many steps."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = steps

    def stepping(call: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def step(*args: object) -> None:
            nonlocal left
            await call(*args)
            left -= 1
            if not left:
                os._exit(KILLED)

        return step

    code = 1
    try:
        # This process ends with the copy.
        for kind, name in (
            (Store, "replace_rows"),
            *[(kind, "retire") for kind in (SqliteLocation, PostgresLocation)],
            *[(kind, "finish") for kind in (SqliteBuilding, PostgresBuilding)],
        ):
            setattr(kind, name, stepping(getattr(kind, name)))
        asyncio.run(copy(source, target))
        code = 0
    finally:
        os._exit(code)


def expire_workers(where: str) -> None:
    """Let the leases that a killed process has in the database of ``where`` expire."""
    if where.startswith("postgresql:"):
        server, _, schema = where.partition("&schema=")
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"UPDATE {schema}.workers SET expires_at = now()".encode())  # noqa: S608  ours


async def test_a_copy_that_broke_off_at_its_very_end_is_continued(tmp_path: Path) -> None:
    """When the source is retired and the copy has no name yet, no run can use either; the next copy ends it."""
    source, target = str(tmp_path / "from.db"), fresh_ledger().url
    before = await fill(source)
    location = locate(source)
    async with location.lease(everything=True) as leases:
        await location.retire(leases, locate(target).address)
    with pytest.raises(LedgerError, match="has moved to postgresql"):
        await copy(source, str(tmp_path / "elsewhere.db"))
    await copy(source, target)

    assert await rows_of(target) == before


async def test_a_pause_that_is_written_meanwhile_is_copied(
    ends: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written beside whoever holds the ledger, so up to the moment at which the source is retired."""
    source, target = ends
    await fill(source)
    late = Pause(AT + 1e9, AT, "late")

    class Located(Wrapped):
        async def retire(self, leases: Leases, to: str) -> None:
            await locate(source).pause({"default": late, ODD: None})
            await self.location.retire(leases, to)

    monkeypatch.setattr("provisioner.commands.ledger.locate", lambda text: Located(locate(text)))
    await copy(source, target)
    async with locate(target).read() as ledger:
        assert await ledger.pauses() == {"default": late}


@pytest.mark.parametrize("place", ["file", "database"])
async def test_a_pause_that_comes_too_late_is_told_where_the_ledger_is(tmp_path: Path, place: str) -> None:
    """Also when it found the ledger before that was retired: it is not recorded where nobody looks any more."""
    postgres = fresh_ledger()
    where = str(tmp_path / "from.db") if place == "file" else postgres.url
    async with open_ledger(where):
        pass
    pause = {"default": Pause(AT + 1e9, AT)}
    with retiring_file(where) if place == "file" else retiring_schema(postgres):
        pausing = asyncio.ensure_future(locate(where).pause(pause))
        await asyncio.sleep(0.1)
    with pytest.raises(LedgerError, match="the ledger has moved to elsewhere"):
        await pausing

    assert (await rows_of(where))["pauses"] == []


@contextlib.contextmanager
def retiring_file(path: str) -> Iterator[None]:
    """The transaction that retires a ledger in a file."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO meta VALUES ('moved_to', 'elsewhere')")
        yield
        connection.execute("COMMIT")


@contextlib.contextmanager
def retiring_schema(ledger: Postgres) -> Iterator[None]:
    """The transaction that retires a ledger in a database."""
    one = one_at_a_time(Database(parsed(ledger.url)), "pauses")
    with psycopg.connect(ledger.server) as connection:
        connection.execute(one.sql.encode(), one.parameters)
        connection.execute(f"INSERT INTO {ledger.schema}.meta VALUES ('moved_to', 'elsewhere')".encode())  # noqa: S608  ours
        yield


async def test_what_is_in_use_or_there_already_is_not_touched(tmp_path: Path) -> None:
    """A run that holds either end keeps it, and a ledger at the target stays; nothing is retired."""
    source, target = str(tmp_path / "from.db"), fresh_ledger().url
    async with open_ledger(source) as ledger:
        await ledger.record([intend("a")])
        with pytest.raises(LedgerLockedError):
            await copy(source, target)
    async with locate(target).lease(everything=True):
        with pytest.raises(LedgerLockedError):
            await copy(source, target)
    async with open_ledger(target) as ledger:
        await ledger.record([intend("mine")])
    with pytest.raises(UsageError, match="there is a ledger here already"):
        await copy(source, target)
    with pytest.raises(LedgerError, match="there is no ledger here"):
        await copy(str(tmp_path / "none.db"), target)
    async with open_ledger(source), open_ledger(target) as ledger:
        assert [entry.name for entry in await all_of(ledger)] == ["mine"]


async def test_a_backup_of_a_ledger_in_use_is_a_ledger(tmp_path: Path) -> None:
    """It has every fact that was recorded before it was begun, whole records only, and only its owner may read it."""
    source = str(tmp_path / "l.db")
    settings = Settings().override("run", ledger=source)
    async with open_ledger(source) as ledger:
        await ledger.record([intend("first")])

        async def write() -> None:
            for number in range(200):
                await ledger.record([intend(f"a{number}"), intend(f"b{number}")])

        writing = asyncio.ensure_future(write())
        await asyncio.sleep(0.01)
        name = await back_up(settings, tmp_path / "backup.db")
        await writing
        with pytest.raises(UsageError, match="there is a file here already"):
            await back_up(settings, tmp_path / "backup.db")
    mode = (tmp_path / "backup.db").stat().st_mode & 0o777
    async with open_ledger(str(tmp_path / "backup.db")) as backup:
        names = {entry.name for entry in await all_of(backup)}

        assert (name, backup.ledger_id, mode) == (source, ledger.ledger_id, 0o600)
        assert "first" in names
        assert {name[1:] for name in names if name[0] == "a"} == {name[1:] for name in names if name[0] == "b"}
    assert names_in(tmp_path) == ["backup.db", "backup.db.lock", "l.db", "l.db.lock"]


async def test_a_backup_needs_a_ledger_in_a_file(tmp_path: Path) -> None:
    """Without one nothing is made; a database has tools of its own, and the message says which."""
    with pytest.raises(LedgerError, match=r"/l\.db: there is no ledger here"):
        await back_up(Settings().override("run", ledger=str(tmp_path / "l.db")), tmp_path / "backup.db")
    with pytest.raises(UsageError, match="pg_dump --schema=test_"):
        await back_up(Settings().override("run", ledger=fresh_ledger().url), tmp_path / "backup.db")

    assert names_in(tmp_path) == []


async def test_a_ledger_that_cannot_be_backed_up_is_named(tmp_path: Path) -> None:
    """A damaged ledger is the one that is damaged, not the backup, of which nothing is left."""
    source = tmp_path / "l.db"
    await fill(str(source))
    whole = source.read_bytes()

    for bad in (b"no ledger" * 1000, whole[:8192] + bytes(len(whole) - 8192)):
        source.write_bytes(bad)
        with pytest.raises(LedgerError, match=r"/l\.db: (this is not a ledger|the ledger is damaged)"):
            await back_up(Settings().override("run", ledger=str(source)), tmp_path / "backup.db")

    assert not [name for name in names_in(tmp_path) if name.startswith("backup")]
