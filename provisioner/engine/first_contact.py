"""Reads a target's inventory once before the first create of a run, and looks at what has a name that is to be created.

List costs a call for each hundred algorithms, Get one for each match; a run that creates nothing makes neither.
:mod:`provisioner.core.first_contact` decides.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import anyio

from provisioner.aws.faces import CallError
from provisioner.core.entry import Outcome
from provisioner.core.first_contact import CREATE, Choice, Meeting, facts_of, meet
from provisioner.core.names import folded
from provisioner.engine.inventory import Inventory
from provisioner.engine.observer import Halt
from provisioner.engine.outcomes import count_found
from provisioner.engine.sending import WithheldError
from provisioner.errors import ConfigurationError, IntegrityError, ProvisionerError, Reason

if TYPE_CHECKING:
    from provisioner.aws.faces import Listed
    from provisioner.core.policy import Policy
    from provisioner.engine.ending import Ending
    from provisioner.engine.job import Job
    from provisioner.engine.problems import ProblemLog
    from provisioner.engine.target import OpenTarget
    from provisioner.manifest.reader import Row


class UnknownInventoryError(ProvisionerError):
    """List could not be read to its end, so it is not known what exists: nothing is created in this run."""

    reason = Reason.UNFINISHED

    def __init__(self, target: str) -> None:
        hint = "Run again: nothing was created"
        super().__init__("List broke off, so it is not known what the account holds", where=target, hint=hint)


class UncertainError(ProvisionerError):
    """List shows an algorithm of the name, and Get could not read it: this definition is not created in this run."""

    reason = Reason.UNFINISHED


class FirstContact:
    """What one target held before its first create.

    Args:
        target: which one.
        policy: the rules of the run.
        ending: ends the target's run where nothing may be created.
        problems: takes what is refused, and duplicates.
    """

    def __init__(self, target: OpenTarget, policy: Policy, ending: Ending, problems: ProblemLog) -> None:
        self._target = target
        self._policy = policy
        self._ending = ending
        self._problems = problems
        self._inventory = Inventory(target, policy.ownership_tag)
        self._lock = anyio.Lock()
        self._names: dict[str, list[Listed]] | None = None

    async def has_outcome(self, job: Job) -> bool:
        """Whether ``job`` has its outcome by what exists in AWS already, durable and counted; if not, it is created.

        Raises:
            WithheldError: it must not be sent in this run.
        """
        try:
            with self._ending.stop.ends() as looking:
                meeting = await self._look(job.row)
            if looking.cancelled_caught:
                raise WithheldError("nothing more is sent in this run")
            if meeting.choice is not Choice.CREATE:
                await self._take(job, meeting)
        except UncertainError as error:
            await self._problems.add_row(job.row, "unread", str(error))
            raise WithheldError("what has its name is not known") from error
        except (CallError, UnknownInventoryError, IntegrityError, ConfigurationError) as error:
            self._ending.halt_target(Halt(error.reason, str(error)))
            raise WithheldError("nothing more is sent in this run") from error
        return meeting.choice is not Choice.CREATE

    async def _take(self, job: Job, meeting: Meeting) -> None:
        """Make durable and count what becomes of a definition whose name exists."""
        ledger, target = self._target.ledger, self._target.name
        entry = (await ledger.look_up(target, [job.name])).get(job.name)
        await ledger.record(facts_of(target, job.row, entry, meeting))
        if meeting.found is None or meeting.choice is Choice.REFUSE:
            self._target.observer.outcome_changed(Outcome.FAILED)
            await self._problems.add_row(job.row, meeting.code, meeting.message)
            return
        for duplicate in meeting.duplicates:
            await self._problems.add_duplicate(meeting.found, duplicate)
        outcome = Outcome.RECOVERED if meeting.choice is Choice.RECOVER else Outcome.ADOPTED
        await count_found(self._target, self._problems, job, outcome)

    async def _look(self, row: Row) -> Meeting:
        """What to do with the definition in ``row``. The usual case costs a look-up in a dictionary."""
        if self._names is None:
            await self._read()
        named = (self._names or {}).get(folded(row.name))
        return await self._meet(row, named) if named else CREATE

    async def _read(self) -> None:
        async with self._lock:
            if self._names is not None:
                return
            self._target.observer.waiting_began("reading what the account holds", 0.0)
            listing = await self._inventory.listing(lambda _: True)
            if not listing.complete:
                raise UnknownInventoryError(self._target.name)
            names: dict[str, list[Listed]] = defaultdict(list)
            for item in listing.items:
                names[folded(item.name)].append(item)
            self._names = dict(names)
            self._target.observer.waiting_ended()

    async def _meet(self, row: Row, named: list[Listed]) -> Meeting:
        ledger, target = self._target.ledger, self._target.name
        known = await ledger.look_up(target, list({row.name, *(item.name for item in named)}))
        # An algorithm that an entry names is that entry's, be its name another form of this one.
        recorded = {entry.arn for entry in known.values() if entry.arn}
        arns = [item.arn for item in named if item.arn not in recorded]
        if not arns:
            return CREATE
        details = await self._inventory.details(arns)
        if details.unread or details.gone:
            arn = min(details.unread | details.gone)
            what = "an algorithm of this name is listed and cannot be read"
            raise UncertainError(what, where=arn, hint="It is left for the next run")
        return meet(row, known.get(row.name), details.found, self._policy, ledger.ledger_id)
