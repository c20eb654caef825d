"""Failover, with a real standby: what runs see until it is promoted, and afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.core.entry import State
from provisioner.errors import LedgerError
from tests.ledger.contract.facts import all_of, confirm, intend
from tests.ledger.opening import open_ledger
from tests.postgres import control, fresh_ledger, own_server, run_program

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.torture
async def test_a_standby_that_takes_over_goes_on_with_the_run() -> None:
    """It waits for the promotion and records everything once; who only reads need not wait, a new run is refused."""
    server = own_server()
    try:
        with standby_of(server) as standby:
            primary = fresh_ledger(server.get_uri())
            alone = primary.url.replace(str(server.pgdata), str(standby))
            # What was acknowledged is on both from now on.
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.execute("SELECT pg_reload_conf()")
            both = primary.url.replace(str(server.pgdata), f"{server.pgdata},{standby}")
            async with open_ledger(both) as ledger:
                await ledger.record([intend(f"n{number}") for number in range(50)])
                recording = asyncio.gather(*(ledger.record([confirm(f"n{number}", number)]) for number in range(50)))
                await asyncio.to_thread(control, server, Path(server.pgdata), "stop", "-m", "immediate")
                async with open_ledger(both, readonly=True) as reader:
                    states = {entry.state for entry in await all_of(reader)}
                with pytest.raises(LedgerError, match=r"the database is read-only.*HOST1,HOST2"):
                    async with open_ledger(alone):
                        pass
                await asyncio.to_thread(control, server, standby, "promote")
                await recording
                await ledger.record([intend("after")])
                counts = await ledger.counts()
    finally:
        server.cleanup()

    assert states <= {State.SENT, State.CREATED}
    assert counts == {"default": {State.CREATED: 50, State.SENT: 1}}


@contextlib.contextmanager
def standby_of(server: Any) -> Iterator[Path]:
    """The folder of a standby, which has the socket too."""
    folder = Path(f"{server.pgdata}-standby")
    try:
        run_program(server, "pg_basebackup", "-D", folder, "-R", "-c", "fast", "-h", server.pgdata, "-U", "postgres")
        # The server of the tests has its socket, and so the lock on it, among its files.
        (folder / ".s.PGSQL.5432.lock").unlink()
        control(server, folder, "start", "-l", folder / "log", "-o", f'-h "" -k {folder}')
        yield folder
        control(server, folder, "stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
