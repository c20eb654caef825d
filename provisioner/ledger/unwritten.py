"""A ledger that is only looked at: for commands that need no lease, make no ledger and leave no trace."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from provisioner.core.entry import Entry, Fact, State
    from provisioner.core.pause import Pause
    from provisioner.core.place import Place
    from provisioner.core.problem import Problem
    from provisioner.core.versions import Happening, Role, Version
    from provisioner.ledger import FinishedManifest, Ledger, RunRecord


class NoLeases:
    """The leases of a command that writes nothing and changes nothing in AWS."""

    async def take(self, targets: Collection[str]) -> None:
        """Nothing has to be held."""

    def of(self, target: str) -> NoLeases:
        """The lease of any target."""
        del target
        return self

    def check(self) -> None:
        """Nothing can be lost."""

    async def confirm(self) -> None:
        """Nothing can be lost."""


class UnwrittenLedger:
    """Reads from ``ledger``, and forgets what it is told to write. See :class:`provisioner.ledger.Ledger`.

    Args:
        ledger: None for one that does not exist, or is not to be looked at.
    """

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger = ledger
        self._id = secrets.token_hex(8)

    @property
    def exists(self) -> bool:
        """Whether there is a ledger."""
        return self._ledger is not None

    @property
    def ledger_id(self) -> str:
        """That of the ledger; a new one if there is none."""
        return self._ledger.ledger_id if self._ledger else self._id

    def epoch(self, target: str) -> str:
        """None: nothing is written."""
        del target
        return ""

    async def look_up(self, target: str, names: Sequence[str]) -> dict[str, Entry]:
        """See the interface."""
        return await self._ledger.look_up(target, names) if self._ledger else {}

    async def registered(self, target: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """See the interface."""
        return await self._ledger.registered(target, names) if self._ledger else {}

    async def record(self, facts: Sequence[Fact]) -> None:
        """Forget them."""

    async def entries(
        self, *, target: str | None = None, states: Collection[State] | None = None
    ) -> AsyncIterator[Entry]:
        """See the interface."""
        if self._ledger:
            async for entry in self._ledger.entries(target=target, states=states):
                yield entry

    async def counts(self) -> Mapping[str, Mapping[State, int]]:
        """See the interface."""
        return await self._ledger.counts() if self._ledger else {}

    async def incoming(self, target: str) -> dict[str, Entry]:
        """See the interface."""
        return await self._ledger.incoming(target) if self._ledger else {}

    async def versions(
        self, target: str, *, names: Sequence[str] | None = None, roles: Collection[Role] | None = None
    ) -> list[Version]:
        """See the interface."""
        return await self._ledger.versions(target, names=names, roles=roles) if self._ledger else []

    async def superseded(self) -> Mapping[str, int]:
        """See the interface."""
        return await self._ledger.superseded() if self._ledger else {}

    async def history(self, target: str, name: str) -> list[Happening]:
        """See the interface."""
        return await self._ledger.history(target, name) if self._ledger else []

    async def forget(self, target: str, names: Sequence[str]) -> None:
        """Forget nothing."""

    async def begin_run(self, run: RunRecord) -> None:
        """Forget it."""

    async def end_run(self, run: RunRecord) -> None:
        """Forget it."""

    async def runs(self, limit: int = 10, *, prefix: str = "") -> list[RunRecord]:
        """See the interface."""
        return await self._ledger.runs(limit, prefix=prefix) if self._ledger else []

    async def named(self, arn: str) -> list[tuple[str, str]]:
        """See the interface."""
        return await self._ledger.named(arn) if self._ledger else []

    async def add_problems(self, problems: Sequence[Problem]) -> None:
        """Forget them."""

    async def problems(self, run_id: str) -> AsyncIterator[Problem]:
        """See the interface."""
        if self._ledger:
            async for problem in self._ledger.problems(run_id):
                yield problem

    async def keep_samples(self, samples: bytes) -> None:
        """Forget them."""

    async def samples(self, run_id: str) -> bytes:
        """See the interface."""
        return await self._ledger.samples(run_id) if self._ledger else b""

    async def learned(self, target: str, family: str) -> bytes | None:
        """See the interface."""
        return await self._ledger.learned(target, family) if self._ledger else None

    async def learn(self, target: str, family: str, state: bytes) -> None:
        """Forget it."""

    async def finished(self, target: str) -> FinishedManifest | None:
        """See the interface."""
        return await self._ledger.finished(target) if self._ledger else None

    async def set_finished(self, target: str, manifest: FinishedManifest) -> None:
        """Forget it."""

    async def places(self) -> Mapping[str, Place]:
        """See the interface."""
        return await self._ledger.places() if self._ledger else {}

    async def set_place(self, target: str, place: Place) -> None:
        """Forget it."""

    async def pauses(self) -> Mapping[str, Pause]:
        """See the interface."""
        return await self._ledger.pauses() if self._ledger else {}

    async def rename_target(self, old: str, new: str) -> None:
        """Rename nothing."""

    async def changes(self, target: str) -> int:
        """See the interface."""
        return await self._ledger.changes(target) if self._ledger else 0

    async def take_identity(self, ledger_id: str) -> None:
        """Take nothing over."""

    async def close(self) -> None:
        """Whoever opened the ledger closes it."""
