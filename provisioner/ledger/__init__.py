"""The ledger: the durable record of what was asked for, sent and created. One interface, several stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from provisioner.core.entry import Entry, Fact, State
    from provisioner.core.pause import Pause
    from provisioner.core.place import Place
    from provisioner.core.problem import Problem
    from provisioner.core.versions import Happening, Role, Version


class RunRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the ledger keeps of a run.

    Attributes:
        run_id: sortable by time of start.
        command: ``apply``, ``reconcile``, ...
        started_at: seconds since the epoch.
        ended_at: the same; None while it runs, or when it died.
        exit_code: None likewise.
        summary: the summary as JSON, b"" likewise.
    """

    run_id: str
    command: str
    started_at: float
    ended_at: float | None = None
    exit_code: int | None = None
    summary: bytes = b""


class FinishedManifest(msgspec.Struct, frozen=True):
    """A manifest of which a run left nothing to do in a target.

    Attributes:
        fingerprint: of everything that the plan of its lines depends on.
        changes: :meth:`Ledger.changes` of the target at that moment.
        lines: how many there are, all of them valid and registered.
    """

    fingerprint: str
    changes: int
    lines: int


class Ledger(Protocol):
    """A store of entries.

    Obligations of every store, proven by one contract suite:

    * :meth:`record` returns only when all its facts are durable against power loss. Facts of concurrent callers may
      share a commit (group commit). It applies all of its facts or none.
    * A fact that does not follow from its entry's state raises :class:`IllegalTransitionError` to its caller, and
      changes nothing; facts of other callers in the same commit are not harmed.
    * An ARN that another entry with an existing algorithm holds, or that is an older version, raises
      :class:`IntegrityError`, likewise.
    * A confirmed replacement becomes its entry, and the ARN that the entry had a superseded version, in one commit.
    * After any error of the storage itself (disk full, I/O error, failed sync, damaged or deleted file) every call
      raises :class:`LedgerError` at once; a failed sync is never retried.
    * A write by a run that has lost its lease to another raises :class:`OvertakenError` and changes nothing, and so
      does an intent that was made under another epoch than the present one.
    * Cancelling a caller never cancels a commit: the fact becomes durable all the same.
    * Reads see every fact whose ``record`` returned before they began.
    """

    @property
    def ledger_id(self) -> str:
        """16 hex digits that name this ledger in ownership tags."""
        ...

    def epoch(self, target: str) -> str:
        """The epoch of the lease of ``target`` under which this run writes: a counter, and a nonce of the run.

        Whoever makes an intent puts it into the intent's stamp.
        """
        ...

    async def look_up(self, target: str, names: Sequence[str]) -> dict[str, Entry]:
        """The entries of ``names`` that are known."""
        ...

    async def registered(self, target: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """The digest and the tags digest, concatenated, and the ARN, of those ``names`` whose entry is ``created``.

        A scheduled run asks this of its whole manifest, at half the cost of :meth:`look_up`.
        """
        ...

    async def record(self, facts: Sequence[Fact]) -> None:
        """Make ``facts`` durable, in their order."""
        ...

    def entries(
        self,
        *,
        target: str | None = None,
        states: Collection[State] | None = None,
    ) -> AsyncIterator[Entry]:
        """Entries in order of (target, name), streamed in pages: constant memory, and no lock held between pages."""
        ...

    async def counts(self) -> Mapping[str, Mapping[State, int]]:
        """How many entries each target has in each state."""
        ...

    async def incoming(self, target: str) -> dict[str, Entry]:
        """The replacements of entries of ``target`` that are under way or came to nothing, by name."""
        ...

    async def versions(
        self, target: str, *, names: Sequence[str] | None = None, roles: Collection[Role] | None = None
    ) -> list[Version]:
        """Older versions in ``target``, the latest change first."""
        ...

    async def superseded(self) -> Mapping[str, int]:
        """How many versions of each target are still to be deleted."""
        ...

    async def history(self, target: str, name: str) -> list[Happening]:
        """What happened to an entry besides a plain create, the oldest first; kept as long as its run is."""
        ...

    async def named(self, arn: str) -> list[tuple[str, str]]:
        """Target and name of the entries that have, or ever had, the algorithm ``arn``."""
        ...

    async def forget(self, target: str, names: Sequence[str]) -> None:
        """Remove entries, their replacements and their older versions. Their history stays."""
        ...

    async def begin_run(self, run: RunRecord) -> None:
        """Record that ``run`` has begun; facts recorded from now on carry its id."""
        ...

    async def end_run(self, run: RunRecord) -> None:
        """Record how ``run`` ended."""
        ...

    async def runs(self, limit: int = 10, *, prefix: str = "") -> list[RunRecord]:
        """The latest runs whose id begins with ``prefix``, newest first."""
        ...

    async def add_problems(self, problems: Sequence[Problem]) -> None:
        """Record ``problems`` of the current run. Those of the last 20 runs are kept."""
        ...

    def problems(self, run_id: str) -> AsyncIterator[Problem]:
        """The problems of a run, in the order in which they were added."""
        ...

    async def keep_samples(self, samples: bytes) -> None:
        """Record the samples of the current run in place of earlier ones. Those of the last 20 runs are kept."""
        ...

    async def samples(self, run_id: str) -> bytes:
        """The samples of a run, as :meth:`keep_samples` recorded them; b"" if there are none."""
        ...

    async def learned(self, target: str, family: str) -> bytes | None:
        """What the pacer of (target, operation family) learned, as :meth:`learn` recorded it, or the quota."""
        ...

    async def learn(self, target: str, family: str, state: bytes) -> None:
        """Record what a pacer learned, or a quota; it is written with the next commit, without a sync of its own."""
        ...

    async def finished(self, target: str) -> FinishedManifest | None:
        """The manifest that a run finished last in ``target``."""
        ...

    async def set_finished(self, target: str, manifest: FinishedManifest) -> None:
        """Record ``manifest`` as the one finished last; durable when it returns."""
        ...

    async def places(self) -> Mapping[str, Place]:
        """Where each target is, as :meth:`set_place` recorded it. A target may have entries and no place yet."""
        ...

    async def set_place(self, target: str, place: Place) -> None:
        """Record where ``target`` is; durable when it returns. The last one counts.

        Raises:
            IntegrityError: another target is there, or may be, where an account is unknown. Nothing has changed.
        """
        ...

    async def pauses(self) -> Mapping[str, Pause]:
        """The pauses of targets, as :meth:`provisioner.ledger.location.Location.pause` recorded them.

        One whose end has passed may be among them.
        """
        ...

    async def rename_target(self, old: str, new: str) -> None:
        """Give everything that the ledger holds of ``old`` to ``new``, in one commit.

        Entries, place, paces, pause and the finished manifest move. For :meth:`changes` it is a change of both targets,
        which gives them the same number. Past runs and their problems keep the name that they were about.

        Raises:
            LedgerError: ``new`` has entries, or nothing is known of ``old``. Nothing has changed.
        """
        ...

    async def changes(self, target: str) -> int:
        """A number that grows with every commit of facts about ``target``: the same number, the same entries."""
        ...

    async def take_identity(self, ledger_id: str) -> None:
        """Take over the id of a lost ledger, so that its ownership tags prove ownership; for an empty ledger only.

        Raises:
            LedgerError: there are entries already.
        """
        ...

    async def close(self) -> None:
        """Commit what is under way and close the store; may be called twice."""
        ...
