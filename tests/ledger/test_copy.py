"""Moving a ledger between stores, and copies of a file that is in use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
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
from provisioner.ledger.tables import TABLES
from tests.ledger.contract.facts import AT, all_of, arn, confirm, intend
from tests.ledger.opening import open_ledger
from tests.ledger.test_sqlite import names_in
from tests.postgres import fresh_ledger

if TYPE_CHECKING:
    from pathlib import Path

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
        await ledger.record([intend(f"n{number:04}") for number in range(120)])
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
