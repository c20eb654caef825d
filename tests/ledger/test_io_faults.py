"""Errors of the disk: one clear error, nothing acknowledged lost, and no sync that is tried again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from provisioner.errors import LedgerError, Reason
from provisioner.ledger.sqlite.store import SqliteLedger
from tests.ledger.contract.facts import Clock, all_of, intend
from tests.ledger.disk import Disk, Fault, connector, put
from tests.ledger.workload import History, recovered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORDS = 25
ERRORS = {"write": ("EIO", "ENOSPC", "short"), "sync": ("EIO", "ENOSPC"), "truncate": ("EIO",)}
REMEDIES = {"EIO": "the disk failed", "ENOSPC": "the disk is full", "short": "the disk is full"}

pytestmark = pytest.mark.usefixtures("frequent_checkpoints")


async def run(directory: Path, disk: Disk) -> tuple[History, LedgerError | None]:
    """Run on a new ledger on ``disk`` until it is done or the ledger refuses; and how it refused."""
    path = put(directory, {})
    history = History(random.Random(7), {})  # noqa: S311  to be repeated
    try:
        ledger = await SqliteLedger.open(path, now=Clock(), connect=connector(disk))
        try:
            await history.run(ledger, RECORDS, disk.mark)
        except LedgerError:
            await refuses_everything(ledger)
            raise
        finally:
            await ledger.close()
    except LedgerError as error:
        return history, error
    return history, None


async def refuses_everything(ledger: SqliteLedger) -> None:
    """Check that a poisoned ledger neither reads nor writes."""
    for call in (ledger.record([intend("x")]), ledger.look_up("default", ["x"]), ledger.counts(), all_of(ledger)):
        with pytest.raises(LedgerError, match="the disk"):
            await call


async def check(directory: Path, fault: Fault) -> None:
    """Run into ``fault``, and check all that must hold then."""
    disk = Disk(fault)
    history, error = await run(directory, disk)
    kinds = [operation.kind for operation in disk.log]
    first = kinds.index("sync failed") if fault.kind == "sync" else len(kinds)
    synced = [operation.file for operation in disk.log[first + 1 :] if operation.kind.startswith("sync")]

    # While the file is being made, SQLite undoes that, and syncs that it has; then nothing was acknowledged yet.
    assert not synced or (history.acknowledged == 0 and synced == ["ledger.db"])
    if error is None:
        # Only what SQLite does by itself at the very end goes unsaid: all facts are durable by then.
        assert history.acknowledged == RECORDS
    else:
        assert error.reason is Reason.LEDGER
        assert (error.what, error.where) == (REMEDIES[fault.error], str(directory / "ledger.db"))
        assert "\n" not in str(error)
    assert history.allows(recovered(directory / "ledger.db"), history.acknowledged)


def faults(seen: dict[str, int]) -> Iterator[Fault]:
    """Every fault that a run with so many operations of each kind can meet."""
    for kind, count in seen.items():
        for number in range(1, count + 1):
            for error in ERRORS[kind]:
                for lasting in (False, True):
                    yield Fault(kind, number, error, lasting)


async def test_every_error_stops_the_ledger_and_loses_nothing(memory: Path) -> None:
    """A sample: whichever operation fails, the ledger refuses from then on and keeps what it acknowledged."""
    disk = Disk()
    _, error = await run(memory, disk)

    assert error is None
    assert min(disk.seen.values()) > 0
    for number in range(1, disk.seen["sync"] + 1):
        await check(memory, Fault("sync", number, "EIO", lasting=False))
    # A prime, so that all kinds of errors come by.
    for fault in list(faults(disk.seen))[::41]:
        await check(memory, fault)


@pytest.mark.torture
async def test_every_error_at_every_operation(memory: Path) -> None:
    """The campaign: every write, sync and truncate of a run fails in every way."""
    disk = Disk()
    await run(memory, disk)
    every = list(faults(disk.seen))
    for fault in every:
        await check(memory, fault)
    print(f"\nI/O errors: {len(every)} runs over {disk.seen}: nothing lost, no sync tried again")  # noqa: T201
