"""Keeps the unresolved entries of one target, and resolves them by sweeps of the inventory.

The decision is made in :mod:`provisioner.core.sweep`; this module reads, records and waits. One sweep serves all
unresolved entries of a target, and calls Get only for algorithms that may be theirs, whatever the size of the ledger.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import Entry, Stamp, State, apply
from provisioner.core.names import folded
from provisioner.core.planner import unmarked
from provisioner.core.sweep import (
    SKEW_S,
    Decision,
    Ruling,
    Sweep,
    Unresolved,
    due_at,
    facts_of,
    interrupted,
    missed,
    rule,
)
from provisioner.core.verdict import is_conflict
from provisioner.engine.inventory import Inventory
from provisioner.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.aws.faces import Listed
    from provisioner.core.entry import Fact
    from provisioner.core.inventory import Found
    from provisioner.core.policy import Policy
    from provisioner.engine.target import OpenTarget


class Resolver:
    """The unresolved entries of one target.

    Attributes:
        refusal: why a ruling could not be recorded: another entry holds the ARN. None if all could.
    """

    def __init__(self, target: OpenTarget, policy: Policy) -> None:
        self.refusal: IntegrityError | None = None
        self._target = target
        self._policy = policy
        self._inventory = Inventory(target, policy.ownership_tag)
        self._unresolved: dict[str, Unresolved] = {}

    def __len__(self) -> int:
        return len(self._unresolved)

    async def load(self) -> None:
        """Take over every entry, and every replacement of one, that an earlier run left unresolved."""
        ledger, states = self._target.ledger, (State.SENT, State.AMBIGUOUS)
        found = [entry async for entry in ledger.entries(target=self._target.name, states=states)]
        found += [one for one in (await ledger.incoming(self._target.name)).values() if one.unresolved]
        now = self._target.clock.stamp()
        doubts = {entry.name: interrupted(entry, now) for entry in found if entry.state is State.SENT}
        await ledger.record(list(doubts.values()))
        for entry in found:
            doubt = doubts.get(entry.name)
            self.recall(apply(entry, doubt, at=now.wall, run_id=entry.run_id) if doubt else entry, now)

    def recall(self, entry: Entry, now: Stamp) -> None:
        """Take over ``entry``, ambiguous, from an earlier run; how long ago its create left is known from its stamp."""
        sent = entry.sent or Stamp(0.0)
        self.add(entry, age_s=sent.age_s(now), conflict=is_conflict(entry.code))
        if sent.missed is None:
            return
        if sent.missed.settle_s < self._policy.settle_s:
            # That sweep began after a shorter settle time than the present one: it proves nothing now.
            return
        # Its settle time had passed by then; the second sweep waits for the List lag from there.
        absent_at, unresolved = self._target.clock.monotonic() - sent.missed.age_s(now), self._unresolved[entry.name]
        self._unresolved[entry.name] = msgspec.structs.replace(unresolved, settled_at=absent_at, absent_at=absent_at)

    def add(self, entry: Entry, *, age_s: float = 0.0, conflict: bool = False, early: bool = False) -> None:
        """Take over ``entry``, whose create is known to have left at least ``age_s`` ago.

        Where names are known to be unique, a create answered with 409 was not executed: nothing has to be waited for.
        """
        harmless = conflict and self._policy.resend_is_safe
        wait = 0.0 if harmless else max(0.0, self._policy.settle_s - age_s)
        settled_at = self._target.clock.monotonic() + wait
        self._unresolved[entry.name] = Unresolved(entry, settled_at, conflict=conflict, early=early)

    def forget(self, name: str) -> None:
        """Drop ``name``, which is resolved."""
        self._unresolved.pop(name, None)

    def due_in_s(self) -> float:
        """Seconds until the next sweep may begin."""
        due = due_at(list(self._unresolved.values()), self._policy)
        return max(0.0, due - self._target.clock.monotonic())

    async def apply(self, sweep: Sweep) -> list[tuple[Unresolved, Ruling]]:
        """Make durable what ``sweep`` proves, and return what it resolved.

        An entry whose algorithm another entry holds stays unresolved and does not affect the others; see
        :attr:`refusal`.

        Raises:
            LedgerError: it could not be made durable.
            LedgerLockedError: the lease is lost.
        """
        ledger = self._target.ledger
        rulings = [(one, rule(one, sweep, self._policy, ledger.ledger_id)) for one in self._unresolved.values()]
        facts = [self._facts(one, ruling, sweep) for one, ruling in rulings]
        await self._target.lease.confirm()
        try:
            await ledger.record([fact for some in facts for fact in some])
        except IntegrityError:
            # A record is all or nothing: recording one entry at a time keeps all but the one that contradicts.
            rulings = [pair for pair, some in zip(rulings, facts, strict=True) if await self._recorded(some)]
        resolved = [(one, ruling) for one, ruling in rulings if self._take(one, ruling, sweep)]
        decisions = Counter(ruling.decision.value for _, ruling in resolved)
        self._target.observer.sweep_ended(complete=sweep.complete, resolved=decisions, left=len(self))
        return resolved

    def _facts(self, unresolved: Unresolved, ruling: Ruling, sweep: Sweep) -> tuple[Fact, ...]:
        if ruling.decision is Decision.ABSENT_ONCE:
            return (missed(unresolved.entry, sweep.stamp, self._policy.settle_s),)
        facts = facts_of(unresolved.entry, ruling)
        if ruling.decision is Decision.ADOPT and self._policy.ownership_tag:
            return (*facts, unmarked(unresolved.entry.target, unresolved.entry.name))
        return facts

    async def _recorded(self, facts: Sequence[Fact]) -> bool:
        """Record ``facts`` of one entry; False if another entry holds its ARN."""
        try:
            await self._target.ledger.record(facts)
        except IntegrityError as error:
            self.refusal = self.refusal or error
            return False
        return True

    def _take(self, unresolved: Unresolved, ruling: Ruling, sweep: Sweep) -> bool:
        """Apply a ruling; whether it resolves the entry."""
        name = unresolved.entry.name
        if ruling.decision is Decision.ABSENT_ONCE:
            self._unresolved[name] = msgspec.structs.replace(unresolved, looked=True, absent_at=sweep.began_at)
            return False
        if ruling.decision is Decision.UNKNOWN:
            self._unresolved[name] = msgspec.structs.replace(unresolved, looked=unresolved.looked or sweep.complete)
            return False
        self.forget(name)
        return True

    async def sweep(self) -> Sweep:
        """List everything, and Get what an unresolved create may have made. May be cancelled at any point.

        Raises:
            CallError: List or Get is denied, so that a retry is pointless.
            IntegrityError: what was found is in another account or Region.
        """
        began_at, stamp = self._target.clock.monotonic(), self._target.clock.stamp()
        listing = await self._inventory.listing(self._may_be_ours())
        strangers = [item.name for item in listing.items if item.name not in self._unresolved]
        known = await self._target.ledger.look_up(self._target.name, strangers) if strangers else {}
        recorded = await self._recorded_arns()
        names = {item.arn: item.name for item in listing.items if item.name not in known and item.arn not in recorded}
        details = await self._inventory.details(list(names))
        # List shows it, and Get cannot read it or reports that it is gone: nothing is proven about its name.
        unread = frozenset(names[arn] for arn in names.keys() - {one.arn for one in details.found})
        found: dict[str, list[Found]] = defaultdict(list)
        for one in details.found:
            if one.name not in unread:
                found[one.name].append(one)
        return Sweep(began_at, listing.complete, found, unread, stamp)

    async def _recorded_arns(self) -> set[str]:
        """Algorithms of the unresolved names that the ledger knows already: no unanswered create made them."""
        ledger, target, names = self._target.ledger, self._target.name, list(self._unresolved)
        versions = await ledger.versions(target, names=names)
        entries = (await ledger.look_up(target, names)).values()
        return {version.arn for version in versions} | {entry.arn for entry in entries if entry.exists}

    def _may_be_ours(self) -> _MayBeOurs:
        return _MayBeOurs([one.entry for one in self._unresolved.values()])


class _MayBeOurs:
    """Whether a listed algorithm may be what an unresolved create made.

    It may if it has the name in any form, because the service may keep another form of a name than was sent (trimmed,
    NFC), or if it is as new as the creates, which covers forms that are not known here.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._names = {folded(entry.name) for entry in entries}
        sent = [entry.sent.wall for entry in entries if entry.sent is not None]
        self._since = min(sent) - SKEW_S if sent else float("inf")

    def __call__(self, item: Listed) -> bool:
        return folded(item.name) in self._names or item.created_at >= self._since
