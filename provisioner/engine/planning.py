"""Makes the steps of a target, batch by batch: reads what the ledger and the account have of the names, and decides.

The account is read once, before the first step: List costs a call for each 100 algorithms. Get is called for what List
does not settle: an algorithm under a name that is to be created, and one that the ledger names and List does not show.
The decisions are made in :mod:`provisioner.core.planner` and :mod:`provisioner.core.first_contact`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from provisioner.aws.faces import CallError
from provisioner.core.entry import State, may_lag
from provisioner.core.first_contact import MISSING
from provisioner.core.names import folded
from provisioner.core.planner import Action, Planner, Seen, Situation, Step
from provisioner.core.versions import FOREIGN, Role, still_there, to_delete
from provisioner.engine.inventory import Contents, IncompleteListError, Inventory
from provisioner.errors import ConfigurationError, IntegrityError, ProvisionerError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from provisioner.core.entry import Entry
    from provisioner.core.policy import Policy
    from provisioner.engine.target import OpenTarget
    from provisioner.manifest.reader import Row

NEEDS_ACCOUNT = frozenset({Action.CREATE, Action.RECREATE, Action.REPLACE})
"""Steps that make a new algorithm: none is made in an account that could not be read."""


class Planned(msgspec.Struct, frozen=True):
    """A step for a definition.

    Attributes:
        row: the definition.
        step: what to do with it.
        withheld: why it must not be done in this run, "" if it may; then it is left planned.
    """

    row: Row
    step: Step
    withheld: str = ""


class Planning:
    """Plans one target.

    Args:
        target: which one.
        policy: the rules of the run.
        offline: plan by the ledger alone; nothing may be created by such a plan.
        deleting: ARNs that this run deletes; read whenever it is needed, so that it may grow.
        contents: what the account held a moment ago. It is read again if that is longer ago than the List lag: what
            List shows is never newer than that by much.

    Attributes:
        failure: why the account could not be read, None if it was, or was not needed.
        contents: what the account holds; None until it is read.
    """

    def __init__(
        self,
        target: OpenTarget,
        policy: Policy,
        *,
        offline: bool = False,
        deleting: Collection[str] = (),
        contents: Contents | None = None,
    ) -> None:
        self.failure: ProvisionerError | None = None
        fresh_since = target.clock.monotonic() - policy.list_lag_s
        self.contents = contents if contents is not None and contents.began_at >= fresh_since else None
        self._target = target
        self._policy = policy
        self._offline = offline
        self._deleting = deleting
        self._planner = Planner(target.name, policy, target.ledger.ledger_id)
        self._inventory = Inventory(target, policy.ownership_tag)
        self._incoming: dict[str, Entry] = {}
        self._begun = False

    async def plan(self, rows: Sequence[Row]) -> tuple[list[Planned], int]:
        """A step for each of ``rows`` for which there is something to do, and the number of those that are registered.

        May be cancelled at any point.
        """
        if not rows:
            return [], 0
        ledger, target = self._target.ledger, self._target.name
        registered = await ledger.registered(target, [row.name for row in rows])
        listed = None if self._offline else await self._read()
        if not self._begun:
            self._incoming, self._begun = await ledger.incoming(target), True
        needed = [row for row in rows if self._needs_work(row, registered.get(row.name), listed)]
        if not needed:
            return [], len(rows)
        names = {row.name for row in needed}
        known = await ledger.look_up(target, list(names | self._similar(names, listed)))
        seen, unread = await self._look(needed, known, listed)
        there, going = await self._given_up(known, listed)
        unread |= going
        planned = []
        for row in needed:
            name = row.name
            situation = Situation(known.get(name), self._incoming.get(name), seen.get(name, Seen()), name in there)
            step = self._planner.plan(row, situation)
            if step.action is not Action.UNCHANGED or step.facts:
                planned.append(Planned(row, step, self._withheld(row, step, unread)))
        return planned, len(rows) - len(planned)

    def _needs_work(self, row: Row, registered: tuple[str, str] | None, listed: Contents | None) -> bool:
        """Whether it is not registered exactly so, or List does not show what the ledger names."""
        if self._policy.own_tags:  # an entry that is registered may say that others have added tags
            return True
        if registered is None or registered[0] != row.digest + row.tags_digest or row.name in self._incoming:
            return True
        return listed is not None and registered[1] not in listed.arns

    def _withheld(self, row: Row, step: Step, unread: Mapping[str, str]) -> str:
        if step.action not in NEEDS_ACCOUNT or self._offline:
            return ""
        if self.failure is not None:
            return str(self.failure)
        return unread.get(row.name, "")

    async def _read(self) -> Contents | None:
        """What List shows; None if it could not be read to its end."""
        if self.contents is None and self.failure is None:
            self._target.observer.waiting_began("reading what the account holds", 0.0)
            try:
                self.contents = await self._inventory.contents()
            except (CallError, IncompleteListError, IntegrityError, ConfigurationError) as error:
                self.failure = error
            finally:
                self._target.observer.waiting_ended()
        return self.contents

    def _similar(self, names: set[str], listed: Contents | None) -> set[str]:
        """Other forms of ``names`` that List shows: an algorithm may belong to the entry of such a name."""
        if listed is None:
            return set()
        return {item.name for name in names for item in listed.by_name.get(folded(name), ())} - names

    async def _look(
        self, rows: Sequence[Row], known: Mapping[str, Entry], listed: Contents | None
    ) -> tuple[dict[str, Seen], dict[str, str]]:
        """What the account holds under the names of ``rows``, and why some of that could not be read."""
        if listed is None:
            return {}, {}
        mine = await self._recorded(rows, known)
        strangers = {
            row.name: [item.arn for item in listed.by_name.get(folded(row.name), ()) if item.arn not in mine]
            if self._may_create(row, known.get(row.name), listed)
            else []
            for row in rows
        }
        entries = [entry for row in rows if (entry := known.get(row.name)) and entry.exists]
        absent = {entry.name: entry.arn for entry in entries if entry.arn not in listed.arns}
        wanted = [*absent.values(), *(arn for arns in strangers.values() for arn in arns)]
        if not wanted:
            return {}, {}
        try:
            details = await self._inventory.details(wanted)
        except (CallError, IntegrityError, ConfigurationError) as error:
            self.failure = self.failure or error
            return {}, {}
        found = {one.arn: one for one in details.found}
        seen, unread = {}, {}
        for row in rows:
            missing = absent.get(row.name, "") in details.gone and not self._may_lag(known[row.name])
            seen[row.name] = Seen(missing, tuple(found[arn] for arn in strangers[row.name] if arn in found))
            if lost := [arn for arn in strangers[row.name] if arn not in found]:
                unread[row.name] = f"List shows {lost[0]} under this name, and Get cannot read it. Run again"
        return seen, unread

    def _may_create(self, row: Row, entry: Entry | None, listed: Contents) -> bool:
        """Whether the step for ``row`` may make a new algorithm."""
        if entry is None or not entry.exists or entry.arn not in listed.arns:
            return True
        return entry.digest != row.digest and self._policy.on_change == "replace"

    async def _given_up(self, known: Mapping[str, Entry], listed: Contents | None) -> tuple[set[str], dict[str, str]]:
        """Of deleted entries: those whose algorithm is still there, and those whose deletion may be under way."""
        deleted = {name: entry for name, entry in known.items() if entry.state is State.DELETED and entry.arn}
        if not deleted:
            return set(), {}
        now, there, going = self._target.clock.stamp(), set(), {}
        versions = await self._target.ledger.versions(self._target.name, names=list(deleted), roles={Role.SUPERSEDED})
        for version in versions:
            shown = listed is None or version.arn in listed.arns
            current = version.arn == deleted[version.name].arn and version.arn not in self._deleting
            if not (current and shown) or version.code == FOREIGN:
                continue
            settled = version.sent is not None and version.sent.age_s(now) > self._policy.settle_s
            if still_there(version, settled=settled):
                there.add(version.name)
            elif not (self._policy.deletes and to_delete([version], 0, adopted=self._policy.adopted)):
                more = " --adopted" if version.adopted else ""
                ways = f"Run `provisioner apply MANIFEST --prune{more}`, or run again after the settle time"
                going[version.name] = f"{version.arn} is being deleted, and the reply is outstanding. {ways}"
        return there, going

    async def _recorded(self, rows: Sequence[Row], known: Mapping[str, Entry]) -> set[str]:
        """ARNs that entries and older versions name: what is recorded as deleted may still be shown, and is not new.

        What was only marked as missing may have turned up again.
        """
        versions = await self._target.ledger.versions(self._target.name, names=[row.name for row in rows])
        strangers = {version.arn for version in versions if version.code == FOREIGN}
        current = {entry.arn for entry in known.values() if entry.arn and (entry.exists or entry.code != MISSING)}
        return (current | {version.arn for version in versions}) - strangers

    def _may_lag(self, entry: Entry) -> bool:
        return may_lag(entry.sent, entry.updated_at, self._target.clock.stamp(), self._policy.settle_s)
