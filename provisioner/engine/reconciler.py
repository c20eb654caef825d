"""From "nobody knows" to a verdict: resolves creates whose reply was lost.

An unanswered create can still take effect until its signature is too old to be accepted, and its algorithm can stay out
of List for a while longer. The settle time bounds both. So:

* Presence may be proven at any time: an algorithm with our tag is ours, whenever it is seen.
* Absence takes two complete sweeps of List: the first begins when the last suspect is settled, the second at least the
  List lag later. A sweep that breaks off, or a Get that fails, proves no absence.

One sweep serves all suspects of a target, and Get is asked only where a name matches, whatever the ledger's size.
"""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
import structlog

from provisioner.core.entry import Entry, Event, Fact, Stamp, State
from provisioner.core.verdict import is_conflict
from provisioner.engine.inventory import Found, Survey
from provisioner.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.engine.site import Policy, Site
    from provisioner.engine.tally import Tally

SKEW_S = 300.0
"""How far the server's clock may differ from ours: SigV4 tolerates five minutes."""

log = structlog.get_logger()


class Suspect(msgspec.Struct, frozen=True):
    """An entry of which nobody knows whether its algorithm exists.

    Attributes:
        entry: as the ledger has it; its digest is that of the definition that was sent.
        settled_at: monotonic time from which a sweep may begin that proves absence.
        conflict: whether the doubt is a 409, which an early look may clear up.
        looked: whether that early look was taken.
        absent_at: when the first sweep began that proved absence, None before.
    """

    entry: Entry
    settled_at: float
    conflict: bool = False
    looked: bool = False
    absent_at: float | None = None


class Decision(StrEnum):
    """What a sweep says of a suspect."""

    OURS = "ours"
    ADOPT = "adopt"
    TAKEN = "taken"
    ABSENT = "absent"
    ABSENT_ONCE = "absent_once"
    UNKNOWN = "unknown"


class Ruling(msgspec.Struct, frozen=True):
    """A decision, the algorithm that it is about, and further algorithms of ours with the same name."""

    decision: Decision
    found: Found | None = None
    duplicates: tuple[Found, ...] = ()


class Sweep(msgspec.Struct, frozen=True):
    """What one sweep saw.

    Attributes:
        began_at: monotonic.
        complete: whether every page was read.
        found: by name.
        unread: names for which a Get failed, or did not know what List had told.
        stamp: when it began, in a form that outlives the process.
    """

    began_at: float
    complete: bool
    found: dict[str, list[Found]]
    unread: frozenset[str] = frozenset()
    stamp: Stamp | None = None


def rule(suspect: Suspect, sweep: Sweep, policy: Policy, ledger_id: str) -> Ruling:
    """What ``sweep`` says of ``suspect``. Pure: the heart of the promise."""
    found = sorted(sweep.found.get(suspect.entry.name, ()), key=lambda one: one.age_order)
    ours = [one for one in found if _is_ours(one, suspect.entry, policy, ledger_id)]
    if ours:
        return Ruling(Decision.OURS, ours[0], tuple(ours[1:]))
    whole = sweep.complete and suspect.entry.name not in sweep.unread
    settled = whole and sweep.began_at >= suspect.settled_at
    # Where names are not unique, another's algorithm does not prove that ours is not on its way.
    if found and (settled or (whole and suspect.conflict)) and (foreign := _foreign(suspect, found, policy)):
        return foreign
    if not settled:
        return Ruling(Decision.UNKNOWN)
    if suspect.absent_at is None:
        return Ruling(Decision.ABSENT_ONCE)
    again = sweep.began_at >= suspect.absent_at + policy.list_lag_s
    return Ruling(Decision.ABSENT if again else Decision.UNKNOWN)


def _is_ours(found: Found, entry: Entry, policy: Policy, ledger_id: str) -> bool:
    """By the tag; where tags are switched off by name, definition and time."""
    if policy.ownership_tag:
        return found.tag is not None and found.tag.ledger_id == ledger_id
    made_since = entry.sent is not None and found.created_at >= entry.sent.wall - SKEW_S
    return found.digest == entry.digest and made_since


def _foreign(suspect: Suspect, found: list[Found], policy: Policy) -> Ruling | None:
    """By policy; None where another's algorithm is not in the way."""
    same = [one for one in found if one.digest == suspect.entry.digest]
    if policy.adopt == "any" or (policy.adopt == "same" and same):
        return Ruling(Decision.ADOPT, (same or found)[0])
    if policy.names == "duplicates" and not suspect.conflict:
        return None
    return Ruling(Decision.TAKEN, found[0])


def due(suspects: Sequence[Suspect], policy: Policy) -> float:
    """When the next sweep may begin (monotonic): at once for a conflict, else when the last suspect is ready."""
    if any(suspect.conflict and not suspect.looked for suspect in suspects):
        return 0.0
    return max(
        suspect.settled_at if suspect.absent_at is None else suspect.absent_at + policy.list_lag_s
        for suspect in suspects
    )


def facts_of(entry: Entry, ruling: Ruling) -> tuple[Fact, ...]:
    """The facts that make ``ruling`` durable; none while it is open."""
    found = ruling.found
    if ruling.decision is Decision.ABSENT:
        return (Fact(entry.target, entry.name, Event.ABSENT, after=entry.attempt, message="proven absent twice"),)
    if found is None:
        return ()
    if ruling.decision is Decision.TAKEN:
        message = f"the name is taken by {found.arn}, which is not ours and was not to be adopted"
        fact = Fact(entry.target, entry.name, Event.REJECT, code="name_taken", message=message, after=entry.attempt)
        return (fact,)
    # No property but the tags can change, so our tag tells the digest of what was sent, however Get words it.
    tag = found.tag if ruling.decision is Decision.OURS else None
    confirm = Fact(
        entry.target,
        entry.name,
        Event.CONFIRM,
        arn=found.arn,
        digest=tag.digest if tag else found.digest,
        tags_digest=found.tags_digest,
        code="adopted",
        after=entry.attempt,
    )
    return (confirm,)


def interrupted(entry: Entry, now: Stamp) -> Fact:
    """The fact that ``entry`` was found as sent, and that its create may have left until ``now``."""
    message = "the run that sent it ended before its reply came"
    return Fact(
        entry.target,
        entry.name,
        Event.DOUBT,
        sent=entry.sent and entry.sent.until(now),
        code="interrupted",
        message=message,
        after=entry.attempt,
    )


def missed(entry: Entry, began: Stamp | None) -> Fact:
    """The fact that a sweep which ``began`` then, when ``entry`` was settled, did not find it: half of a proof."""
    sent = msgspec.structs.replace(entry.sent or Stamp(0.0), missed=began)
    message = "a sweep did not find it; a second one, the List lag later, decides"
    return Fact(entry.target, entry.name, Event.MISS, sent=sent, code="missed", message=message, after=entry.attempt)


class Reconciler:
    """Keeps the suspects of one target and resolves them by sweeps.

    Attributes:
        refusal: why a sweep's finding could not be recorded: another entry holds the ARN. None while all is well.
    """

    def __init__(self, site: Site, policy: Policy, tally: Tally) -> None:
        self.refusal: IntegrityError | None = None
        self._site = site
        self._policy = policy
        self._survey = Survey(site, tally, policy.ownership_tag)
        self._suspects: dict[str, Suspect] = {}
        self._log = log.bind(target=site.target)

    def __len__(self) -> int:
        return len(self._suspects)

    def __contains__(self, name: str) -> bool:
        return name in self._suspects

    async def load(self) -> None:
        """Suspect every entry that an earlier run left without a verdict."""
        found = [
            entry
            async for entry in self._site.ledger.entries(target=self._site.target, states=(State.SENT, State.AMBIGUOUS))
        ]
        now = self._site.clock.stamp()
        await self._site.ledger.record([interrupted(entry, now) for entry in found if entry.state is State.SENT])
        for entry in found:
            self.recall(entry, now)

    def recall(self, entry: Entry, now: Stamp) -> None:
        """Suspect ``entry``, which an earlier run left at a time that only stamps tell.

        What a run left as sent may have left this machine at any moment until that run died, however long it had stood
        still before: nothing has passed for sure since then.
        """
        sent = entry.sent or Stamp(0.0)
        age_s = 0.0 if entry.state is State.SENT else sent.age_s(now)
        self.add(entry, age_s=age_s, conflict=is_conflict(entry.code))
        if sent.missed is not None:
            # It was settled then; how long ago that was is what counts for the second sweep.
            here = self._site.clock.monotonic()
            suspect = self._suspects[entry.name]
            absent_at = here - sent.missed.age_s(now)
            self._suspects[entry.name] = msgspec.structs.replace(suspect, settled_at=absent_at, absent_at=absent_at)

    def add(self, entry: Entry, *, age_s: float = 0.0, conflict: bool = False) -> None:
        """Suspect ``entry``, whose create is known to have left at least ``age_s`` ago.

        A conflict where names are known to be unique was not executed, so that nothing of it can still come.
        """
        harmless = conflict and self._policy.resend_is_safe
        wait = 0.0 if harmless else max(0.0, self._policy.settle_s - age_s)
        self._suspects[entry.name] = Suspect(entry, self._site.clock.monotonic() + wait, conflict=conflict)

    def forget(self, name: str) -> None:
        """The doubt about ``name`` is gone."""
        self._suspects.pop(name, None)

    def due_in_s(self) -> float:
        """Seconds until the next sweep may begin."""
        return max(0.0, due(list(self._suspects.values()), self._policy) - self._site.clock.monotonic())

    async def settle(self, sweep: Sweep) -> list[tuple[Suspect, Ruling]]:
        """Make durable what ``sweep`` says, and tell which suspects it resolved.

        A suspect whose algorithm another entry holds stays open, and stops no other; :attr:`refusal` tells of it.

        Raises:
            LedgerError: it could not be made durable.
            LedgerLockedError: the lease is lost.
        """
        ledger = self._site.ledger
        rulings = [
            (suspect, rule(suspect, sweep, self._policy, ledger.ledger_id)) for suspect in self._suspects.values()
        ]
        facts = [self._facts(suspect, ruling, sweep) for suspect, ruling in rulings]
        self._site.lease.check()
        try:
            await ledger.record([fact for one in facts for fact in one])
        except IntegrityError:
            rulings = [one for one, told in zip(rulings, facts, strict=True) if await self._accepted(told)]
        resolved = [(suspect, ruling) for suspect, ruling in rulings if self._take(suspect, ruling, sweep)]
        self._log.info("sweep.finished", complete=sweep.complete, suspects=len(rulings), resolved=len(resolved))
        return resolved

    def _facts(self, suspect: Suspect, ruling: Ruling, sweep: Sweep) -> tuple[Fact, ...]:
        if ruling.decision is Decision.ABSENT_ONCE:
            return (missed(suspect.entry, sweep.stamp),)
        return facts_of(suspect.entry, ruling)

    async def _accepted(self, facts: Sequence[Fact]) -> bool:
        """Whether ``facts`` of one suspect are durable; not when another entry holds its ARN."""
        try:
            await self._site.ledger.record(facts)
        except IntegrityError as error:
            self.refusal = self.refusal or error
            return False
        return True

    def _take(self, suspect: Suspect, ruling: Ruling, sweep: Sweep) -> bool:
        """Note a ruling; whether it resolves the suspect."""
        name = suspect.entry.name
        if ruling.decision is Decision.ABSENT_ONCE:
            self._suspects[name] = msgspec.structs.replace(suspect, looked=True, absent_at=sweep.began_at)
            return False
        if ruling.decision is Decision.UNKNOWN:
            self._suspects[name] = msgspec.structs.replace(suspect, looked=suspect.looked or sweep.complete)
            return False
        self.forget(name)
        return True

    async def sweep(self) -> Sweep:
        """List, and Get every algorithm that bears a suspect's name. May be cancelled at any point.

        Raises:
            CallError: List or Get is refused, which no repetition mends.
            IntegrityError: what was found lies in another account or Region.
        """
        began_at, stamp = self._site.clock.monotonic(), self._site.clock.stamp()
        listing = await self._survey.listing(lambda item: item.name in self._suspects)
        names = {item.arn: item.name for item in listing.items}
        details = await self._survey.details(list(names))
        unread = frozenset(names[arn] for arn in names.keys() - {one.arn for one in details.found})
        found: dict[str, list[Found]] = defaultdict(list)
        for one in details.found:
            if one.name not in unread:
                found[one.name].append(one)
        return Sweep(began_at, listing.complete, found, unread, stamp)
