"""What every store does in the same way: writes become requests, and long readings come in pages."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

from provisioner.errors import LedgerError
from provisioner.ledger.lease import OvertakenError
from provisioner.ledger.requests import (
    AddProblems,
    Answer,
    BeginRun,
    EndRun,
    Forget,
    KeepSamples,
    Record,
    RenameTarget,
    ReplaceRows,
    Request,
    SetFinished,
    SetPlace,
    TakeIdentity,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from provisioner.core.entry import Entry, Fact, State
    from provisioner.core.place import Place
    from provisioner.core.problem import Problem
    from provisioner.ledger import FinishedManifest, RunRecord
    from provisioner.ledger.tables import Row

PAGE = 1000
"""Entries that are read at a time: about 0.5 MB, in 4 ms from a file."""


class Statistics(msgspec.Struct, frozen=True):
    """What a store has done since it was opened.

    Attributes:
        facts: committed or refused.
        commits: durable.
        largest: most facts in one commit.
    """

    facts: int = 0
    commits: int = 0
    largest: int = 0


class Waiting(msgspec.Struct):
    """A request, and the future that its answer goes to."""

    request: Request
    answer: asyncio.Future[Answer]


class Health:
    """Whether the storage has failed for good; shared by all that use it.

    Attributes:
        failure: what the first such error means; None while there was none.
    """

    def __init__(self) -> None:
        self.failure: LedgerError | None = None

    def poison(self, error: LedgerError) -> LedgerError:
        """Record that the storage failed with ``error``; the first error counts."""
        self.failure = self.failure or error
        return self.failure

    def check(self) -> None:
        """Raise the failure, if there is one; a new exception for each caller, for each gets a traceback of its own."""
        if (failure := self.failure) is not None:
            raise LedgerError(
                failure.what, where=failure.where, why=failure.why, hint=failure.hint
            ) from failure.__cause__


class AnyWriter(Protocol):
    """What a store needs of its writer.

    Attributes:
        learned: what pacers learned, for the next commit.
        statistics: of all commits.
    """

    learned: dict[tuple[str, str], bytes]
    statistics: Statistics


W = TypeVar("W", bound=AnyWriter)


class Store(ABC, Generic[W]):
    """A ledger but for what depends on where it is.

    See :class:`provisioner.ledger.Ledger` for what each method promises.

    Args:
        ledger_id: what it says of itself.
        where: it is, for people.
        health: of its storage.
        writer: None when it is only read.
    """

    def __init__(self, ledger_id: str, where: str, health: Health, writer: W | None) -> None:
        self._ledger_id = ledger_id
        self._where = where
        self._health = health
        self._writer = writer
        self._learned: dict[tuple[str, str], bytes] = {}
        # get_running_loop() makes a system call (getpid), which would cost a twentieth of a create each time.
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Future[None] | None = None

    @abstractmethod
    def epoch(self, target: str) -> str:
        """See :meth:`provisioner.ledger.Ledger.epoch`."""

    @abstractmethod
    def _send(self, waiting: Waiting) -> None:
        """Pass a request to the writer."""

    @abstractmethod
    async def counts(self) -> Mapping[str, Mapping[State, int]]:
        """See :meth:`provisioner.ledger.Ledger.counts`."""

    @abstractmethod
    async def _targets(self) -> Sequence[str]:
        """Targets with entries."""

    @abstractmethod
    async def _page(self, target: str, after: str | None, states: Collection[State] | None) -> Sequence[Entry]:
        """At most :data:`PAGE` entries, by name, behind the name ``after``."""

    @abstractmethod
    async def _problem_page(self, run_id: str, after: int) -> Sequence[tuple[int, Problem]]:
        """At most :data:`PAGE` problems of a run and their numbers, behind the number ``after``."""

    @abstractmethod
    async def _learned_before(self, target: str, family: str) -> bytes | None:
        """What a pacer learned, as far as it is committed."""

    def __repr__(self) -> str:
        condition = "poisoned" if self._health.failure else "closed" if self._closing else "open"
        return f"<{type(self).__name__} {self._where} {condition} {self.statistics()}>"

    def statistics(self) -> Statistics:
        """What has been committed since the ledger was opened."""
        return self._writer.statistics if self._writer else Statistics()

    @property
    def ledger_id(self) -> str:
        """See :attr:`provisioner.ledger.Ledger.ledger_id`."""
        return self._ledger_id

    async def record(self, facts: Sequence[Fact]) -> None:
        """See :meth:`provisioner.ledger.Ledger.record`."""
        if facts:
            await self._ask(Record(facts))

    async def entries(
        self, *, target: str | None = None, states: Collection[State] | None = None
    ) -> AsyncIterator[Entry]:
        """See :meth:`provisioner.ledger.Ledger.entries`."""
        for each in await self._targets() if target is None else [target]:
            after = None
            while page := await self._page(each, after, states):
                for entry in page:
                    yield entry
                if len(page) < PAGE:
                    break
                after = page[-1].name

    async def forget(self, target: str, names: Sequence[str]) -> None:
        """See :meth:`provisioner.ledger.Ledger.forget`."""
        await self._ask(Forget(target, names))

    async def begin_run(self, run: RunRecord) -> None:
        """See :meth:`provisioner.ledger.Ledger.begin_run`."""
        await self._ask(BeginRun(run))

    async def end_run(self, run: RunRecord) -> None:
        """See :meth:`provisioner.ledger.Ledger.end_run`."""
        await self._ask(EndRun(run))

    async def add_problems(self, problems: Sequence[Problem]) -> None:
        """See :meth:`provisioner.ledger.Ledger.add_problems`."""
        if problems:
            await self._ask(AddProblems(problems))

    async def problems(self, run_id: str) -> AsyncIterator[Problem]:
        """See :meth:`provisioner.ledger.Ledger.problems`."""
        after = 0
        while page := await self._problem_page(run_id, after):
            for after, problem in page:  # noqa: B007  the last number is where the next page begins
                yield problem

    async def keep_samples(self, samples: bytes) -> None:
        """See :meth:`provisioner.ledger.Ledger.keep_samples`."""
        await self._ask(KeepSamples(samples))

    async def learned(self, target: str, family: str) -> bytes | None:
        """See :meth:`provisioner.ledger.Ledger.learned`."""
        # What was learned is written with some later commit; until then only this process knows it.
        recent = self._learned.get((target, family))
        return recent if recent is not None else await self._learned_before(target, family)

    async def learn(self, target: str, family: str, state: bytes) -> None:
        """See :meth:`provisioner.ledger.Ledger.learn`."""
        self._writable().learned[target, family] = self._learned[target, family] = state

    async def set_finished(self, target: str, manifest: FinishedManifest) -> None:
        """See :meth:`provisioner.ledger.Ledger.set_finished`."""
        await self._ask(SetFinished(target, manifest))

    async def set_place(self, target: str, place: Place) -> None:
        """See :meth:`provisioner.ledger.Ledger.set_place`."""
        await self._ask(SetPlace(target, place))

    async def rename_target(self, old: str, new: str) -> None:
        """See :meth:`provisioner.ledger.Ledger.rename_target`."""
        await self._ask(RenameTarget(old, new))
        self._learned = {
            (new if target == old else target, family): state
            for (target, family), state in self._learned.items()
            if target != new
        }

    async def take_identity(self, ledger_id: str) -> None:
        """See :meth:`provisioner.ledger.Ledger.take_identity`."""
        if await self.counts():
            raise LedgerError("a ledger with entries keeps its identity", where=self._where)
        await self._ask(TakeIdentity(ledger_id))
        self._ledger_id = ledger_id

    async def replace_rows(self, table: str, after: Row | None, upto: Row | None, rows: Sequence[Row]) -> None:
        """See :meth:`provisioner.ledger.tables.CopyableLedger.replace_rows`."""
        await self._ask(ReplaceRows(table, after, upto, rows))

    async def _ask(self, request: Request) -> None:
        self._writable()
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._send(Waiting(request, answer))
        if (error := await answer) is not None:
            self._health.check()
            if isinstance(error, LedgerError | OvertakenError):
                error.where = error.where or self._where
            raise error

    def _writable(self) -> W:
        self._check()
        if self._writer is None:
            raise LedgerError("the ledger was opened for reading only", where=self._where)
        return self._writer

    def _check(self) -> None:
        self._health.check()
        if self._closing is not None:
            raise LedgerError("the ledger is closed", where=self._where)
