"""Where a ledger is. The only place that knows which kinds of ledgers there are, and that one of them is a file."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from provisioner.core.ledger_names import NO_PATH
from provisioner.core.objects import is_object
from provisioner.errors import DISTRIBUTION, ConfigurationError, LedgerError, UsageError
from provisioner.ledger.postgres.url import SCHEMES, printable_url
from provisioner.ledger.postgres.url import has_password as has_password_in_url

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from provisioner.core.pause import Pause
    from provisioner.ledger import Ledger
    from provisioner.ledger.jobs import Jobs
    from provisioner.ledger.lease import Leases
    from provisioner.ledger.tables import CopyableLedger


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a run could use a ledger now.

    Attributes:
        exists: whether there is one.
        holder: the run that is in the way, "" for none.
        job: of which it is a worker, "" for none.
        free_bytes: free space where it is kept; None if that is unknown.
        storage: the kind of storage, such as the type of the file system; "" if that is unknown.
    """

    exists: bool
    holder: str
    job: str = ""
    free_bytes: int | None
    storage: str


class Building(Protocol):
    """A ledger that is being made from what AWS holds, and does not have its name yet."""

    @property
    def ledger(self) -> CopyableLedger:
        """Empty at first, unless it is a copy that was begun before."""
        ...

    async def finish(self) -> None:
        """Close the ledger, which is whole now, and give it its name. Without this it is discarded at the end.

        Raises:
            LedgerError: it cannot be done, or there is a ledger of that name by now.
        """
        ...


class Location(Protocol):
    """One ledger, that exists or can be made. Nothing is touched before a method is called."""

    @property
    def name(self) -> str:
        """For people: without a password, and with odd bytes escaped."""
        ...

    @property
    def address(self) -> str:
        """The name by which it can be found from anywhere: a path that is not relative."""
        ...

    @property
    def local_state(self) -> Path:
        """The file in which the embedded endpoint keeps its accounts, so that a ledger finds what it created."""
        ...

    @property
    def files(self) -> Sequence[Path]:
        """The files that belong to it, whether they exist or not: nothing else may be written there."""
        ...

    async def exists(self) -> bool:
        """Whether there is a ledger.

        Raises:
            LedgerError: the system does not say, as where its directory may not be searched.
        """
        ...

    async def held(self) -> bool:
        """Whether a run that may write is alive at this moment. Nobody who asks for a lease meanwhile is refused it."""
        ...

    async def under_way(self, latest: str) -> set[str]:
        """The ids of the runs that are alive.

        Args:
            latest: the id of the run that began last. Where a ledger is for one run at a time, no other can be.
        """
        ...

    async def condition(self, targets: Collection[str] = ()) -> Condition:
        """Whether a run with these targets could use the ledger now. Takes no lease, and changes nothing.

        Raises:
            LedgerError: a run could not open it, or not write to it.
        """
        ...

    async def examine(self) -> str:
        """Look for damage of the storage, all of it, however large it is. Changes nothing; a run may be using it.

        Returns:
            What was found in order, for people.

        Raises:
            LedgerError: it is damaged; there is none, or this version cannot read it.
        """
        ...

    def lease(self, timeout_s: float | None = None, *, everything: bool = False) -> AbstractAsyncContextManager[Leases]:
        """The leases of a run, which it takes as it needs them; at the end they are given back.

        Where a ledger is for one run at a time, this takes all of it.

        Args:
            timeout_s: how long to wait for another holder, 0 not to wait; None is 0 for a command without
                ``--lock-timeout``, which the error then does not recommend.
            everything: whether to hold the whole ledger from the beginning, so that no other run is alive meanwhile.

        Raises:
            LedgerLockedError: another run holds it, still after ``timeout_s``.
            LedgerError: a ledger cannot be kept safe here.
        """
        ...

    def open(self, leases: Leases) -> AbstractAsyncContextManager[Ledger]:
        """The ledger for writing, closed at the end; it is made when there never was one.

        Args:
            leases: that :meth:`lease` of this location gave.

        Raises:
            LedgerError: it cannot be opened, is damaged, of a newer version, or has vanished.
        """
        ...

    def read(self) -> AbstractAsyncContextManager[CopyableLedger]:
        """The ledger for reading only, closed at the end; a run may be using it meanwhile.

        Raises:
            LedgerError: there is none, or it cannot be opened.
        """
        ...

    def build(self, leases: Leases, *, copy_of: str = "") -> AbstractAsyncContextManager[Building]:
        """Make a new ledger that appears under its name only when it is whole; see :class:`Building`.

        Args:
            leases: as for :meth:`open`, of the whole ledger.
            copy_of: the id of the ledger that is copied into it, "" for none. It bears that id from the start, and what
                is not finished stays there for the next try.

        Raises:
            UsageError: there is a ledger already.
            LedgerError: it cannot be made here.
        """
        ...

    @property
    def has_jobs(self) -> bool:
        """Whether several runs can use it at a time."""
        ...

    def jobs(self) -> Jobs:
        """What several workers do together on the ledger.

        Raises:
            UsageError: only one run at a time can use it.
        """
        ...

    async def moved_to(self) -> str:
        """The address of the location that the ledger has moved to, "" while it is here.

        Raises:
            LedgerError: there is none, or it cannot be read.
        """
        ...

    async def retire(self, leases: Leases, to: str) -> None:
        """Let nobody write to the ledger any more: it has moved to the location ``to``. It can still be read.

        Args:
            leases: as for :meth:`open`, of the whole ledger.
            to: the address of a location.

        Raises:
            LedgerError: it cannot be written, or has moved already.
        """
        ...

    async def pause(self, pauses: Mapping[str, Pause | None]) -> None:
        """Record that these targets are paused, or with None that they are not, beside whoever holds the lease.

        All of it is one commit, durable when it returns. Whoever reads the ledger sees it from then on.

        Raises:
            LedgerError: there is no ledger, or it cannot be written, or has moved.
        """
        ...

    async def back_up(self, path: Path) -> None:
        """Write the ledger as it is at this moment to the new file ``path``, also while a run writes to it.

        Raises:
            UsageError: there is a file of that name, or this kind of ledger has a tool of its own.
            LedgerError: there is no ledger, or the file cannot be written.
        """
        ...


def moved(name: str, to: str) -> LedgerError:
    """The error of whoever would write to the ledger ``name`` after it was moved."""
    return LedgerError(
        f"the ledger has moved to {to}",
        where=name,
        why="by `provisioner ledger copy`",
        hint="Name the new place with --ledger; this one can only be read",
    )


def locate(text: str, *, now: Callable[[], float] = time.time, awaited: bool = False) -> Location:
    """The location that ``text`` names: a path, or the URL of a PostgreSQL database.

    Args:
        text: as given with ``--ledger`` or in the configuration.
        now: the wall clock, seconds since the epoch.
        awaited: wait for a database that is just starting or failing over, with a warning, for up to a minute.

    Raises:
        UsageError: it cannot be the path of a file.
        ConfigurationError: the URL cannot be understood, or its driver is not installed.
    """
    # Loaded late: to read the help of a command, no database is needed, and no ledger needs both.
    if text.startswith(SCHEMES):
        return _postgres(text, now, awaited=awaited)
    from provisioner.ledger.sqlite.location import SqliteLocation

    _refuse_no_file(text)
    return SqliteLocation(text, now=now)


def _postgres(text: str, now: Callable[[], float], *, awaited: bool) -> Location:
    try:
        from provisioner.ledger.postgres.location import PostgresLocation
    except ImportError as error:
        # Not there, or there without a libpq that it could use.
        if (error.name or "psycopg").partition(".")[0] not in {"psycopg", "psycopg_binary", "psycopg_c"}:
            raise
        raise ConfigurationError(
            "a PostgreSQL ledger needs a driver that is not installed",
            where=printable_location(text),
            why=str(error),
            hint=f"pip install '{DISTRIBUTION}[postgres]'",
        ) from error
    return PostgresLocation(text, now=now, awaited=awaited)


def printable_location(text: str) -> str:
    """``text`` as it may be printed: a URL without a password, odd bytes escaped."""
    if text.startswith(SCHEMES):
        return printable_url(text)
    if meant := NO_PATH.match(text):
        return f"{meant['url'] or meant['words']}…"
    return os.fsencode(text).decode(errors="backslashreplace")


def has_password(text: str) -> bool:
    """Whether a password stands in ``text``, or may."""
    return text.startswith(SCHEMES) and has_password_in_url(text)


def _refuse_no_file(text: str) -> None:
    """Refuse what names a directory or nothing before a lock file is made in a directory that nobody meant."""
    what = ""
    if not text:
        what = "the ledger's path is empty"
    elif "\0" in text:
        what = "the ledger's path has a NUL character in it"
    elif is_object(text):
        what = "a ledger cannot be in S3"
    elif NO_PATH.match(text):
        raise UsageError(
            "this is neither a path nor a URL that begins with postgresql://",
            where=printable_location(text),
            hint="Write postgresql://USER@HOST/DATABASE; to name a file like this, put ./ before it",
        )
    elif text.endswith(os.sep) or os.path.basename(text) in {os.curdir, os.pardir}:  # noqa: PTH119  a Path drops the slash
        what = "the ledger's path names a directory"
    else:
        with contextlib.suppress(OSError):
            path = Path(text)
            if path.is_dir():
                what = "the ledger's path names a directory"
            elif path.exists() and not path.is_file():
                what = "the ledger's path names a device, a pipe or a socket"
    if what:
        raise UsageError(what, where=printable_location(text), hint="Give the path of a file, such as ledger.db")
