"""``ledger``: operations on the ledger itself. AWS is not called."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from provisioner.config.target import Target
from provisioner.core.consistency import contradictions
from provisioner.errors import LedgerError, UsageError
from provisioner.ledger.location import locate, moved
from provisioner.ledger.tables import BESIDE, TABLES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable
    from pathlib import Path

    from provisioner.config.settings import Settings
    from provisioner.core.place import Place
    from provisioner.core.versions import Version
    from provisioner.ledger import Ledger
    from provisioner.ledger.location import Location
    from provisioner.ledger.tables import CopyableLedger, Row


class Renamed(msgspec.Struct, frozen=True):
    """A target that was renamed.

    Attributes:
        old, new: its names.
        entries: how many moved.
    """

    old: str
    new: str
    entries: int


async def rename_target(settings: Settings, old: str, new: str, *, lock_timeout_s: float = 0.0) -> Renamed:
    """Move everything that the ledger holds of target ``old`` to ``new``; nothing changes in AWS.

    The same rename once more, after a process that died before it could say so, changes nothing.

    Raises:
        UsageError: ``new`` cannot be the name of a target, or the ledger does not know ``old``.
        LedgerError: there is no ledger, or it has entries of ``new``.
        LedgerLockedError: a run holds the ledger.
    """
    _refuse_name(new)
    location = locate(settings.run.ledger)
    if not await location.exists():
        raise LedgerError("there is no ledger here", where=location.name, hint="Name it with --ledger")
    async with location.lease(lock_timeout_s) as leases, location.open(leases) as ledger:
        await leases.take([old, new])
        return await carry_out(ledger, old, new)


async def carry_out(ledger: Ledger, old: str, new: str) -> Renamed:
    """Do that in ``ledger``; see :func:`rename_target`."""
    counts = await ledger.counts()
    known = {*counts, *await ledger.places()}
    if old not in known:
        if new in known and await _was_renamed(ledger, old, new):
            return Renamed(old, new, sum(counts.get(new, {}).values()))
        hint = f"It has {', '.join(sorted(known)) or 'no targets at all'}"
        raise UsageError(f"the ledger has no target {old!r}", hint=hint)
    await ledger.rename_target(old, new)
    return Renamed(old, new, sum(counts.get(old, {}).values()))


async def _was_renamed(ledger: Ledger, old: str, new: str) -> bool:
    """Whether this rename is done, and nothing has happened since: a rename gives both names the same count."""
    return 0 < await ledger.changes(old) == await ledger.changes(new)


class Copied(msgspec.Struct, frozen=True):
    """A ledger that was moved.

    Attributes:
        source, target: the names of the locations.
        ledger_id: of both.
        entries: how many there are.
    """

    source: str
    target: str
    ledger_id: str
    entries: int


PAGE = 1000
"""Rows that are read, compared and written at a time."""


async def copy(source_text: str, target_text: str, *, lock_timeout_s: float = 0.0) -> Copied:
    """Move a ledger: copy every row, compare every row, retire the source, and give the copy its name.

    One that breaks off is continued by the next, whatever it had done. The source is retired before the copy can be
    written to: at no time are there two ledgers of one id that a run could use.

    Raises:
        UsageError: there is a ledger at the target.
        LedgerError: there is none at the source, it has moved elsewhere, or one of the two fails.
        LedgerLockedError: a run holds one of the two.

    The same copy once more, after one that has ended, changes nothing.
    """
    source, target = locate(source_text), locate(target_text)
    if not await source.exists():
        hint = "Check FROM, the first argument: it names the ledger that is to be moved"
        raise LedgerError("there is no ledger here", where=source.name, hint=hint)
    if (done := await _done(source, target)) is not None:
        return done
    async with (
        source.lease(lock_timeout_s, everything=True) as held,
        target.lease(lock_timeout_s, everything=True) as other,
        source.read() as ledger,
    ):
        before = await source.moved_to()
        if before not in ("", target.address):
            raise moved(source.name, before)
        async with target.build(other, copy_of=ledger.ledger_id) as building:
            parts = (ledger, building.ledger)
            await _copied(*parts, [table for table in TABLES if table not in BESIDE], target.name)
            entries = sum(sum(states.values()) for states in (await building.ledger.counts()).values())
            if not before:
                await source.retire(held, target.address)
            # Who wanted to pause a target until now has done so, and from now on is told where the ledger is.
            await _copied(*parts, BESIDE, target.name)
            await building.finish()
            return Copied(source.name, target.name, ledger.ledger_id, entries)


async def _done(source: Location, target: Location) -> Copied | None:
    """What a copy has done that has ended already; None where there is something to do."""
    if await source.moved_to() != target.address or not await target.exists():
        return None
    async with source.read() as before, target.read() as ledger:
        if ledger.ledger_id != before.ledger_id:
            return None
        entries = sum(sum(states.values()) for states in (await ledger.counts()).values())
        return Copied(source.name, target.name, ledger.ledger_id, entries)


async def _copied(source: CopyableLedger, target: CopyableLedger, tables: Collection[str], where: str) -> None:
    """Make ``tables`` of the target, which is at ``where``, those of the source, and compare every row."""
    async for part in _differences(source, target, tables):
        await target.replace_rows(*part)
    async for table, *_ in _differences(source, target, tables):
        hint = "Nothing is lost: every row is still where it was. Please report this"
        raise LedgerError(f"the copy differs in the table {table}", where=where, hint=hint)


async def _differences(
    source: CopyableLedger, target: CopyableLedger, tables: Collection[str]
) -> AsyncIterator[tuple[str, Row | None, Row | None, list[Row]]]:
    """The ranges of keys in which ``tables`` of two ledgers differ, and the rows that the source has there."""
    for table in tables:
        keys = TABLES[table].keys
        async for after, upto, rows in _pages(source, table):
            there = await target.rows(table, after, PAGE + 1)
            if upto is not None:
                there = [row for row in there if row[:keys] <= upto]
            if there != rows:
                yield table, after, upto, rows


async def _pages(ledger: CopyableLedger, table: str) -> AsyncIterator[tuple[Row | None, Row | None, list[Row]]]:
    """All rows of a table by ranges of its keys: after which key, up to which one, and the rows. None is no bound."""
    keys = TABLES[table].keys
    after: Row | None = None
    while True:
        rows = await ledger.rows(table, after, PAGE)
        upto = rows[-1][:keys] if len(rows) == PAGE else None
        yield after, upto, rows
        if upto is None:
            break
        after = upto


async def back_up(settings: Settings, path: Path) -> str:
    """Write the ledger as it is at this moment to the new file ``path``; the name of the ledger.

    Raises:
        UsageError: there is a file of that name, or the ledger is in a database.
        LedgerError: there is no ledger, or the file cannot be written.
    """
    location = locate(settings.run.ledger)
    await location.back_up(path)
    return location.name


class Contradiction(msgspec.Struct, frozen=True):
    """Records of a name that cannot be as they are.

    Attributes:
        target, name: whose records.
        message: what is wrong.
    """

    target: str
    name: str
    message: str


class Checked(msgspec.Struct, frozen=True):
    """What a ledger was found to be.

    Attributes:
        ledger: the name of its location.
        ledger_id: its id.
        storage: what was looked at in the storage, for people.
        rows: how many there are, of all tables.
        entries: how many there are.
        findings: the first :data:`FINDINGS` contradictions.
        findings_total: how many there are.
    """

    ledger: str
    ledger_id: str
    storage: str
    rows: int
    entries: int
    findings: list[Contradiction]
    findings_total: int


FINDINGS = 100
"""Contradictions that are reported one by one."""


async def check(settings: Settings) -> Checked:
    """Read all of a ledger, and look for damage and for records that contradict each other. A run may be using it.

    Raises:
        LedgerError: its storage is damaged, a row cannot be read, or there is none.
    """
    location = locate(settings.run.ledger)
    if not await location.exists():
        raise LedgerError("there is no ledger here", where=location.name, hint="Name it with --ledger")
    storage = await location.examine()
    async with location.read() as ledger:
        rows = 0
        for table in TABLES:
            async for _, _, page in _pages(ledger, table):
                rows += len(page)
        await ledger.pauses()
        await ledger.runs(rows)
        counts, places = await ledger.counts(), await ledger.places()
        findings, total = [], 0
        for target in sorted({*counts, *places}):
            async for finding in _contradictions(ledger, target, places.get(target)):
                total += 1
                if total <= FINDINGS:
                    findings.append(finding)
        entries = sum(sum(states.values()) for states in counts.values())
        return Checked(location.name, ledger.ledger_id, storage, rows, entries, findings, total)


async def _contradictions(ledger: Ledger, target: str, place: Place | None) -> AsyncIterator[Contradiction]:
    """What the records of ``target`` say that cannot be."""
    incoming, versions = await ledger.incoming(target), _by_name(await ledger.versions(target))
    without_entry = {*incoming, *versions}
    suspects = []
    async for entry in ledger.entries(target=target):
        name = entry.name
        without_entry.discard(name)
        if contradictions(entry, incoming.get(name), versions.get(name, ()), place):
            suspects.append(name)
    suspects += sorted(without_entry)
    if not suspects:
        return
    # Once more: a run may have changed what was read before, and what was read after.
    versions = _by_name(await ledger.versions(target, names=suspects))
    incoming = await ledger.incoming(target)
    entries = await ledger.look_up(target, suspects)
    for name in suspects:
        for message in contradictions(entries.get(name), incoming.get(name), versions.get(name, ()), place):
            yield Contradiction(target, name, message)


def _by_name(versions: Iterable[Version]) -> dict[str, list[Version]]:
    found: defaultdict[str, list[Version]] = defaultdict(list)
    for version in versions:
        found[version.name].append(version)
    return found


def _refuse_name(name: str) -> None:
    try:
        msgspec.convert({"name": name}, Target)
    except msgspec.ValidationError as error:
        hint = "It is a name as in [targets.NAME] of the configuration"
        raise UsageError(f"a target cannot be called {name!r}", why=str(error), hint=hint) from error
