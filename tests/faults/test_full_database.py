"""A disk of the database that is really full, a small one in memory: of the tables, or of the write-ahead log.

Where the tables find no room, the server refuses a statement. Where the log finds none, it panics, and starts again
only when there is room.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.commands.apply import apply
from provisioner.commands.run import Order, Run, policy_of
from provisioner.config.settings import Settings
from provisioner.emulator import DEFAULT_ACCOUNT, Behaviour, credentials, running
from provisioner.ledger.location import locate
from provisioner.ledger.postgres import lease
from provisioner.ledger.postgres.store import PostgresLedger
from tests.faults.invariants import check_finished, check_invariants
from tests.faults.world import write_manifest
from tests.postgres import Ledger, control, fresh_ledger, own_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.report.summary import Summary

SIZE = 36 * 2**20
"""Of the disk: two segments of the log, and less than a third."""
ROOM = 96 * 2**10
"""What is left when a run begins: enough for its start, too little for its end."""
NAMES = [f"algorithm {number}" for number in range(150)]
LIMIT_S = 60.0


_UNWRITTEN = """WITH current AS (SELECT * FROM pg_walfile_name_offset(pg_current_wal_insert_lsn()))
    SELECT sum(size)::bigint - min(file_offset) FROM pg_ls_waldir() AS segment, current
    WHERE segment.name >= current.file_name AND length(segment.name) = 24"""
"""How many bytes of the log have a place on the disk already."""


class Disk:
    """A small disk.

    Args:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, room: int) -> None:
        """Leave so many bytes."""
        with self._ballast.open("wb") as file:
            left = shutil.disk_usage(self.folder).free - room
            while left > 0:
                left -= file.write(bytes(min(left, 2**20)))

    def free(self) -> None:
        """Leave all of it."""
        self._ballast.unlink()


class Database:
    """A server with its log on one small disk, and the tables of its ledgers on another one.

    Args:
        server: its own.
        tables, log: the disks.
    """

    def __init__(self, server: Any, tables: Disk, log: Disk) -> None:
        self._server = server
        self._tables = tables
        self._log = log

    def ledger(self) -> Ledger:
        """A new ledger in it."""
        return fresh_ledger(self._server.get_uri())

    def fill(self, disk: str, ledger: Ledger) -> None:
        """Leave little room on one of them."""
        if disk == "tables":
            self._tables.fill(ROOM)
            return
        self._log.fill(0)
        # All but the end of the last segment that there is: the next one cannot be made.
        ((size,),) = ledger.execute(_UNWRITTEN)
        ledger.execute(f"SELECT pg_logical_emit_message(false, 'x', repeat('x', {size - ROOM}))")

    def mend(self, disk: str) -> None:
        """Make room again, and start the server if it has ended."""
        if disk == "tables":
            self._tables.free()
            return
        deadline = time.monotonic() + LIMIT_S
        while (self._server.pgdata / "postmaster.pid").exists():
            assert time.monotonic() < deadline, "the server has not ended"
            time.sleep(0.02)
        self._log.free()
        self._server.ensure_postgres_running()


@contextmanager
def small_disk(folder: Path, owner: str | None) -> Iterator[Disk]:
    """A disk of :data:`SIZE` bytes, in memory. Where none can be mounted the test is skipped, as the run says."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED, this is not permitted here: {' '.join(mount)}: {done.stderr.strip()}")
    try:
        if owner:
            shutil.chown(folder, owner)
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607  as for mount


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """A server on small disks."""
    server = own_server()
    around = server.pgdata.with_name(f"{server.pgdata.name}-disks")
    around.mkdir(mode=0o755)
    try:
        with (
            small_disk(around / "log", server.system_user) as log,
            small_disk(around / "tables", server.system_user) as tables,
        ):
            control(server, server.pgdata, "stop")
            before, after = server.pgdata / "pg_wal", log.folder / "pg_wal"
            shutil.copytree(before, after)
            for path in (after, *after.rglob("*")):
                shutil.chown(path, server.system_user)
            shutil.rmtree(before)
            before.symlink_to(after)
            with (server.pgdata / "postgresql.conf").open("a") as settings:
                settings.write("max_wal_size = 1GB\ncheckpoint_timeout = 1h\nautovacuum = off\n")
            server.ensure_postgres_running()
            administrator = fresh_ledger(server.get_uri())
            administrator.execute(f"CREATE TABLESPACE small LOCATION '{tables.folder}'")
            administrator.execute("ALTER ROLE postgres SET default_tablespace = small")
            yield Database(server, tables, log)
            server.cleanup()
    finally:
        server.cleanup()
        shutil.rmtree(around)


def order(ledger: Ledger, endpoint: str, manifest: Path) -> Order:
    """What a run is to do."""
    tables = {
        "run": {"ledger": ledger.url, "max_in_flight": 8},
        "pace": {"initial_rate": 1000.0},
        "reconcile": {"settle": "1s", "list_lag": "100ms"},
    }
    settings = Settings.from_tables(tables).with_endpoint(endpoint, region="us-east-1")
    return Order(sources=(str(manifest),), settings=settings, targets=settings.select(()), policy=policy_of(settings))


@pytest.mark.parametrize("disk", ["tables", "log"])
async def test_a_full_disk_of_the_database_loses_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: str
) -> None:
    """A run ends with 74 in its midst and says why; once there is room again, the next one finishes the rest."""
    for name, value in credentials(DEFAULT_ACCOUNT).environment().items():
        monkeypatch.setenv(name, value)
    # A reader or a renewal may come upon a server that is gone before the writer hears why.
    monkeypatch.setattr(lease, "PATIENCE_S", 1.0)
    monkeypatch.setitem(PostgresLedger.open.__func__.__kwdefaults__, "patience_s", 1.0)  # type: ignore[attr-defined]
    ledger = database.ledger()
    few = write_manifest(tmp_path / "few.jsonl", NAMES[:3], description="x" * 255)
    manifest = write_manifest(tmp_path / "m.jsonl", NAMES, description="x" * 255)
    with running(Behaviour(names="duplicates")) as emulator:

        async def run_of(path: Path) -> Summary:
            return await apply(Run(order(ledger, emulator.url, path)))

        assert (await run_of(few)).exit_code == 0
        database.fill(disk, ledger)
        broken = await run_of(manifest)
        made = len(emulator.truth.algorithms)
        database.mend(disk)
        ledger.execute("UPDATE workers SET expires_at = now()")  # what a run without a database could not give back
        after = await run_of(manifest)
        async with locate(ledger.url).read() as opened:
            entries = {entry.name: entry async for entry in opened.entries()}
            check_invariants(emulator.truth, entries, opened.ledger_id)

    assert (broken.exit_code, after.exit_code) == (74, 0), (broken.error, after.error)
    assert "the disk of the database is full" in str(broken.error) or "does not answer" in str(broken.error)
    assert 3 < made < len(NAMES)
    check_finished(emulator.truth, entries, NAMES)
