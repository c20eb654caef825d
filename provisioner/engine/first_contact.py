"""First contact: reads a target's inventory once, before the first create of a run, and calls Get for matching names.

List costs a call for each 100 algorithms, Get one for each match; a run that creates nothing makes neither. The
decision is made in :mod:`provisioner.core.first_contact`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import anyio

from provisioner.aws.faces import CallError
from provisioner.core.entry import Outcome
from provisioner.core.first_contact import CREATE, MISSING, Choice, Meeting, facts_of, meet
from provisioner.core.names import folded
from provisioner.engine.inventory import IncompleteListError, Inventory
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


class UncertainError(ProvisionerError):
    """List shows an algorithm of the name and Get cannot read it: this definition is not created in this run."""

    reason = Reason.UNFINISHED


class FirstContact:
    """What one target held before the first create of the run.

    Args:
        target: which one.
        policy: the rules of the run.
        ending: halts the target if nothing may be created.
        problems: records refused definitions and duplicates.
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
        """Whether what exists in AWS decides ``job``, durably and counted; if not, it is to be created.

        Raises:
            WithheldError: it must not be sent in this run.
        """
        if self._names is not None and folded(job.name) not in self._names:
            # The usual create: one look-up, and no cancel scope to set up.
            return False
        try:
            with self._ending.stop.ends() as looking:
                meeting = await self._look(job.row)
            if looking.cancelled_caught:
                raise WithheldError("nothing more is sent in this run")
            if meeting.choice is not Choice.CREATE:
                await self._take(job, meeting)
        except UncertainError as error:
            await self._problems.add_row(job.row, "unread", str(error))
            raise WithheldError("an algorithm of its name cannot be read") from error
        except (CallError, IncompleteListError, IntegrityError, ConfigurationError) as error:
            self._ending.halt_target(Halt(error.reason, str(error)))
            raise WithheldError("nothing more is sent in this run") from error
        return meeting.choice is not Choice.CREATE

    async def _take(self, job: Job, meeting: Meeting) -> None:
        """Record and count a definition whose name exists in AWS."""
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
        """What to do with the definition in ``row``; usually one dictionary look-up."""
        if self._names is None:
            await self._read()
        named = (self._names or {}).get(folded(row.name))
        return await self._meet(row, named) if named else CREATE

    async def _read(self) -> None:
        async with self._lock:
            if self._names is not None:
                return
            self._target.observer.waiting_began("reading what the account holds", 0.0)
            try:
                items = await self._inventory.everything()
            finally:
                self._target.observer.waiting_ended()
            names: dict[str, list[Listed]] = defaultdict(list)
            for item in items:
                names[folded(item.name)].append(item)
            self._names = dict(names)

    async def _meet(self, row: Row, named: list[Listed]) -> Meeting:
        ledger, target = self._target.ledger, self._target.name
        known = await ledger.look_up(target, list({row.name, *(item.name for item in named)}))
        # An algorithm that an entry names belongs to that entry, even if its name is another form of this one.
        recorded = {entry.arn for entry in known.values() if entry.exists or entry.code != MISSING}
        arns = [item.arn for item in named if item.arn not in recorded]
        if not arns:
            return CREATE
        details = await self._inventory.details(arns)
        if details.unread or details.gone:
            arn = min(details.unread | details.gone)
            what = "List shows an algorithm of this name, and Get cannot read it, so the definition is not created"
            raise UncertainError(what, where=arn, hint="Run again")
        return meet(row, known.get(row.name), details.found, self._policy, ledger.ledger_id)
