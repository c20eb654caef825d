"""Where a ledger may be, what is refused before anything is made, and a ledger that is whole or not there."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.config.settings import Settings
from provisioner.errors import LedgerError, LedgerLockedError, Reason, UsageError
from provisioner.ledger import FinishedManifest
from provisioner.ledger.location import locate, printable_location
from provisioner.ledger.sqlite.watch import CHECK_EVERY_S
from tests.ledger.contract.facts import all_of, intend
from tests.ledger.opening import open_ledger
from tests.ledger.test_sqlite import names_in

if TYPE_CHECKING:
    from provisioner.ledger import Ledger

ODD = os.fsdecode(b"odd \xff\xfe name.db")
"""A name that is not Unicode."""


@pytest.mark.parametrize("text", ["", "dir/", "there", ".", "..", "there/.", "a/..", "a\0b", "/"])
def test_what_cannot_be_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """An empty path, a directory and a NUL are wrong usage; no file is made anywhere."""
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(UsageError, match="the ledger's path"):
        locate(text if text != "there" else str(tmp_path / "there"))

    assert names_in(tmp_path) == ["there"]
    assert names_in(tmp_path / "there") == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("POSTGRESQL://me:secret@host/db", "POSTGRESQL://…"),
        (" postgresql://me:secret@host/db", "postgresql://…"),
        ("postgresql:/me:secret@host/db", "postgresql:/…"),
        ("postgresql+psycopg://me:secret@host/db", "postgresql+psycopg://…"),
        ("mysql://me:secret@host/db", "mysql://…"),
        ("sqlite:///ledger.db", "sqlite:///…"),
        ("postgresql:me:secret@host/db", "postgresql:…"),
        ("postgresql//me:secret@host/db", "postgresql//…"),
        ("'postgresql://me:secret@host/db'", "postgresql://…"),
        ("jdbc:postgresql://host/db?user=me&password=secret", "postgresql://…"),
        ("DATABASE_URL=postgresql://me:secret@host/db", "postgresql://…"),
        ("host=db user=me password=secret", "host=…"),
        ("'host=db user=me password=secret'", "host=…"),
        ("password = 'my secret' host = db", "password =…"),
    ],
)
def test_a_database_that_is_not_written_as_its_url_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, shown: str
) -> None:
    """It is refused without its password, also where a configuration in another folder names it."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("folder/c.toml").write_text(f'[run]\nledger = "{text}"\n')
    for one in (text, Settings.load("folder/c.toml").run.ledger):
        with pytest.raises(UsageError, match="a URL that begins with postgresql://") as caught:
            locate(one)
        assert (caught.value.where, printable_location(one)) == (shown, shown)

    assert names_in(tmp_path) == ["folder"]


def test_a_dot_makes_it_a_file() -> None:
    """For a file that is called like a URL."""
    assert locate("./user=a pass=b:/x.db").name == "./user=a pass=b:/x.db"


@pytest.mark.parametrize("name", ["100% #1 ?mode=ro&x.db", " leading and trailing ", "ü☂.db", ODD, "-", "file:x.db"])
async def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    """Blanks, characters of URLs and bytes that are no Unicode: the ledger, its lock and its log have that name."""
    path = f"{tmp_path}/{name}"
    async with open_ledger(path) as ledger:
        await ledger.record([intend("a")])
        assert names_in(tmp_path) == sorted(f"{name}{suffix}" for suffix in ("", "-shm", "-wal", ".lock"))
    async with open_ledger(path, readonly=True) as ledger:
        assert [entry.name for entry in await all_of(ledger)] == ["a"]

    printable_location(path).encode()


async def test_a_path_that_cannot_be_looked_up(tmp_path: Path) -> None:
    """Whether there is a ledger cannot be said where the system refuses to look: an error of the ledger, exit 74."""
    path = tmp_path / ("l" * 300)
    with pytest.raises(LedgerError, match="File name too long") as caught:
        await locate(str(path)).exists()

    assert (caught.value.reason, caught.value.where) == (Reason.LEDGER, str(path))


async def test_a_path_that_begins_with_two_slashes(tmp_path: Path) -> None:
    """As a shell makes it of ``$EMPTY/$PATH``: what stands behind them is no host."""
    async with open_ledger(f"/{tmp_path}/l.db") as ledger:
        await ledger.record([intend("a")])

    assert names_in(tmp_path) == ["l.db", "l.db.lock"]


async def test_a_start_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """Where no ledger can be opened, neither lock nor ledger stay behind; a lock that was there before stays."""
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE entries (target, name)")
    for _ in range(2):
        with pytest.raises(LedgerError, match="not a ledger"):
            async with open_ledger(str(foreign)):
                pass
        assert names_in(tmp_path) == ["foreign.db"]
    (tmp_path / "foreign.db.lock").touch()
    with pytest.raises(LedgerError, match="not a ledger"):
        async with open_ledger(str(foreign)):
            pass

    assert names_in(tmp_path) == ["foreign.db", "foreign.db.lock"]


async def test_a_ledger_that_cannot_be_made_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that fails while it makes the ledger takes the half of it away again."""
    monkeypatch.setattr("provisioner.ledger.sqlite.database.MIGRATIONS", (("this is no SQL",),))
    with pytest.raises(LedgerError):
        async with open_ledger(str(tmp_path / "l.db")):
            pass

    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("case", "kept"), [("untouched", True), ("restored", False), ("half of a run", False), ("no lock file", False)]
)
async def test_a_ledger_that_went_back_has_no_finished_manifest(tmp_path: Path, case: str, *, kept: bool) -> None:
    """The lock file says how a ledger was left. A copy in its place does not know what was changed in AWS since."""
    path, backup = tmp_path / "l.db", tmp_path / "backup.db"
    async with open_ledger(str(path)) as ledger:
        await ledger.record([intend("a")])
        await ledger.set_finished("here", FinishedManifest("digest", await ledger.changes("here"), 1))
        if case == "half of a run":
            _copy(path, backup)
            await ledger.record([intend("b")])
    if case == "restored":
        _copy(path, backup)
        async with open_ledger(str(path)) as ledger:
            await ledger.record([intend("b")])
    if backup.exists():
        backup.replace(path)
    if case == "no lock file":
        (tmp_path / "l.db.lock").unlink()

    for _ in range(2):
        async with open_ledger(str(path)) as ledger:
            assert (await ledger.finished("here") is not None) is kept


def _copy(path: Path, copy: Path) -> None:
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


async def test_two_names_of_one_file_are_refused(tmp_path: Path) -> None:
    """Hard links have a log and a lock each: neither name is opened, for reading either, and no lock is made."""
    async with open_ledger(str(tmp_path / "a.db")) as ledger:
        await ledger.record([intend("a")])
    (tmp_path / "b.db").hardlink_to(tmp_path / "a.db")
    before = names_in(tmp_path)
    for name in ("a.db", "b.db"):
        for readonly in (False, True):
            with pytest.raises(LedgerError, match="more than one name"):
                async with open_ledger(str(tmp_path / name), readonly=readonly):
                    pass

    assert names_in(tmp_path) == before


async def test_a_link_made_during_a_run_is_refused_at_its_other_end(tmp_path: Path) -> None:
    """While a run holds one name, another name of the same file is not opened."""
    async with open_ledger(str(tmp_path / "a.db")) as ledger:
        (tmp_path / "b.db").hardlink_to(tmp_path / "a.db")
        with pytest.raises(LedgerError, match="more than one name"):
            async with open_ledger(str(tmp_path / "b.db")):
                pass
        await ledger.record([intend("a")])


@pytest.mark.parametrize("left", ["no file", "an empty file", "a file without its log"])
async def test_a_ledger_that_vanished_is_not_replaced_by_a_new_one(tmp_path: Path, left: str) -> None:
    """Where the lock file says which ledger was here, a missing or empty file is an error, and nothing is made."""
    path = tmp_path / "l.db"
    async with open_ledger(str(path)) as ledger:
        await ledger.record([intend("a")])
        without_log = path.read_bytes()
    path.unlink()
    if left != "no file":
        path.write_bytes(b"" if left == "an empty file" else without_log)
    before = names_in(tmp_path)
    for _ in range(2):
        with pytest.raises(LedgerError, match="gone or empty") as caught:
            async with open_ledger(str(path)):
                pass
    assert ledger.ledger_id in caught.value.why
    assert "provisioner rebuild" in caught.value.hint
    assert names_in(tmp_path) == before
    (tmp_path / "l.db.lock").unlink()
    async with open_ledger(str(path)) as new:
        assert new.ledger_id != ledger.ledger_id


async def test_the_lock_file_of_a_killed_first_start_forbids_nothing(tmp_path: Path) -> None:
    """A start that was killed before it had opened a ledger left a lock file that names none: the next one begins."""
    (tmp_path / "l.db.lock").write_text('{"pid":1,"host":"h","started_at":1.0}')
    (tmp_path / "l.db").touch()
    async with open_ledger(str(tmp_path / "l.db")) as ledger:
        assert await all_of(ledger) == []


def take_away(path: Path, another: bytes = b"") -> None:
    """Delete the file, and put another in its place if there is one."""
    path.unlink()
    if another:
        path.write_bytes(another)


def contents(path: Path) -> bytes:
    """The whole file."""
    return path.read_bytes()


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_ledger_that_is_taken_away_during_a_run(tmp_path: Path, suffix: str, replaced: bool) -> None:  # noqa: FBT001  a parameter of the test
    """When a file of the ledger is deleted or replaced, no fact is acknowledged any more, and the new file is kept."""
    path = tmp_path / "l.db"
    async with open_ledger(str(path)) as ledger:
        await ledger.record([intend("a")])
        take_away(Path(f"{path}{suffix}"), b"another" if replaced else b"")
        await asyncio.sleep(CHECK_EVERY_S)
        for _ in range(2):
            with pytest.raises(LedgerError, match="deleted or replaced while the run was using it"):
                await ledger.record([intend("b")])
        with pytest.raises(LedgerError, match="deleted or replaced"):
            await ledger.counts()

    assert not replaced or contents(Path(f"{path}{suffix}")) == b"another"


async def test_a_ledger_that_is_taken_away_before_the_close(tmp_path: Path) -> None:
    """A run whose ledger vanished after its last commit does not end as if all were well."""
    path = tmp_path / "l.db"

    async def run() -> None:
        async with open_ledger(str(path)) as ledger:
            await ledger.record([intend("a")])
            take_away(path)

    with pytest.raises(LedgerError, match="deleted or replaced while the run was using it"):
        await run()


async def test_a_lease_that_was_given_back_opens_nothing(tmp_path: Path) -> None:
    """Only who holds the lease opens the ledger for writing."""
    location = locate(str(tmp_path / "l.db"))
    async with location.lease() as lease:
        pass
    with pytest.raises(LedgerError):
        async with location.open(lease):
            pass

    assert names_in(tmp_path) == []


async def fill(ledger: Ledger) -> None:
    """What a rebuild does."""
    await ledger.take_identity("0123456789abcdef")
    await ledger.record([intend("a")])


async def test_a_ledger_is_built_whole(tmp_path: Path) -> None:
    """What is built appears under its name when it is finished, alone, with its identity."""
    location = locate(str(tmp_path / "l.db"))
    async with location.lease() as lease, location.build(lease) as building:
        await fill(building.ledger)
        assert not await location.exists()
        await building.finish()
        assert names_in(tmp_path) == ["l.db", "l.db.lock"]
    async with open_ledger(str(tmp_path / "l.db")) as ledger:
        assert (ledger.ledger_id, len(await all_of(ledger))) == ("0123456789abcdef", 1)


async def test_a_ledger_that_is_not_finished_is_none(tmp_path: Path) -> None:
    """Whatever ends the building early leaves nothing under the name, and nothing beside it."""
    location = locate(str(tmp_path / "l.db"))

    async def rebuild() -> None:
        async with location.lease() as lease, location.build(lease) as building:
            await fill(building.ledger)
            raise RuntimeError("early")

    with pytest.raises(RuntimeError, match="early"):
        await rebuild()

    assert names_in(tmp_path) == []


async def test_what_a_killed_building_left_is_replaced(tmp_path: Path) -> None:
    """The half of a ledger that a killed rebuild left is neither taken for one nor in the way of the next."""
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"l.db.building{suffix}").write_bytes(b"half")
    location = locate(str(tmp_path / "l.db"))
    assert not await location.exists()
    async with location.lease() as lease, location.build(lease) as building:
        await building.finish()

    assert names_in(tmp_path) == ["l.db", "l.db.lock"]


@pytest.mark.parametrize("late", [False, True])
async def test_what_is_there_is_not_built_over(tmp_path: Path, late: bool) -> None:  # noqa: FBT001  a parameter of the test
    """A ledger that exists, or that appears while another is built, stays as it is."""
    path = tmp_path / "l.db"
    location = locate(str(path))
    if not late:
        path.write_bytes(b"there")

    async def rebuild() -> None:
        async with location.lease() as lease, location.build(lease) as building:
            path.write_bytes(b"there")
            await building.finish()

    with pytest.raises(UsageError, match="a ledger here already"):
        await rebuild()

    assert (names_in(tmp_path), path.read_bytes()) == (["l.db"], b"there")


async def test_a_log_without_its_ledger_is_not_built_over(tmp_path: Path) -> None:
    """The log of a ledger that was moved away may hold its last facts: it is neither deleted nor given a new ledger."""
    log = tmp_path / "l.db-wal"
    log.write_bytes(b"facts")
    location = locate(str(tmp_path / "l.db"))
    with pytest.raises(LedgerError, match="its -wal file is still here"):
        async with location.lease() as lease, location.build(lease):
            pass

    assert (names_in(tmp_path), log.read_bytes()) == (["l.db-wal"], b"facts")


async def test_nothing_is_built_beside_a_run(tmp_path: Path) -> None:
    """Building needs the lease: who runs keeps the ledger."""
    location = locate(str(tmp_path / "l.db"))
    async with location.lease() as lease, location.open(lease) as ledger:
        await ledger.record([intend("a")])
        with pytest.raises(LedgerLockedError):
            async with location.lease():
                pass
        await ledger.record([intend("b")])


async def test_the_condition_of_a_ledger_changes_nothing(tmp_path: Path) -> None:
    """Whether it exists, who holds it, the space and the file system, before and after it is made."""
    path = tmp_path / "l.db"
    before = await locate(str(path)).condition()
    assert names_in(tmp_path) == []
    async with open_ledger(str(path)):
        pass
    after = await locate(str(path)).condition()

    assert (before.exists, after.exists, after.holder) == (False, True, "")
    assert (after.free_bytes or 0) > 0
    assert after.storage


async def test_a_ledger_in_no_directory_cannot_be_written(tmp_path: Path) -> None:
    """A directory that is missing is what a run would stop at, exit 74."""
    with pytest.raises(LedgerError, match="there is no such directory") as caught:
        await locate(f"{tmp_path}/none/l.db").condition()

    assert caught.value.reason is Reason.LEDGER


async def test_the_condition_of_a_ledger_whose_log_lies_alone(tmp_path: Path) -> None:
    """A log without its ledger is what a run would stop at, too."""
    (tmp_path / "l.db-wal").write_bytes(b"log")
    with pytest.raises(LedgerError, match="its -wal file is still here"):
        await locate(str(tmp_path / "l.db")).condition()
