"""The rule of a sweep: what one reading of the inventory proves about unresolved entries. Pure.

An unanswered create can still take effect until its signature is too old to be accepted, and its algorithm can stay out
of List for a while longer. The settle time bounds both. So:

* Presence may be proven at any time: an algorithm with this ledger's tag is its own, whenever it is seen.
* Absence takes two complete sweeps of List: the first begins when the settle time of the last unresolved create has
  passed, the second at least the List lag later. A sweep that breaks off, or a Get that fails, proves no absence.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import Entry, Event, Fact, Stamp
from provisioner.core.first_contact import Choice, confirmed, meet_foreign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.core.inventory import Found
    from provisioner.core.policy import Policy

SKEW_S = 300.0
"""How far the server's clock may differ from this machine's: SigV4 tolerates five minutes."""


NAMES_UNIQUE = "names_unique"
"""Code of a replacement that the service refuses because the old algorithm has the name."""
DELETE_FIRST = (
    "the service allows one algorithm per name, so the new one cannot be created beside the old one; "
    "--replace-order delete-first deletes the old one first, and the name is without an algorithm for a moment"
)


class Unresolved(msgspec.Struct, frozen=True):
    """An entry whose algorithm may or may not exist.

    Attributes:
        entry: as the ledger has it; its digest is that of the definition that was sent.
        settled_at: monotonic time at which its settle time has passed; a sweep that begins earlier proves no absence.
        conflict: whether the last reply was a 409, which an early sweep may explain.
        early: whether an early sweep may find it for another reason: its create was answered, by whatever reply.
        looked: whether that early sweep was made.
        absent_at: when the first of the two sweeps that prove absence began; None before.
    """

    entry: Entry
    settled_at: float
    conflict: bool = False
    early: bool = False
    looked: bool = False
    absent_at: float | None = None


class Decision(StrEnum):
    """What a sweep proves about an unresolved entry."""

    RECOVERED = "recovered"
    ADOPT = "adopt"
    TAKEN = "taken"
    ABSENT = "absent"
    ABSENT_ONCE = "absent_once"
    UNKNOWN = "unknown"


class Ruling(msgspec.Struct, frozen=True):
    """A decision.

    Attributes:
        decision: see :class:`Decision`.
        found: the algorithm that it is about, None for none.
        duplicates: further algorithms that the same ledger created under the name.
        code, message: why the definition is refused, if its name is taken.
    """

    decision: Decision
    found: Found | None = None
    duplicates: tuple[Found, ...] = ()
    code: str = ""
    message: str = ""


class Sweep(msgspec.Struct, frozen=True):
    """What one sweep saw.

    Attributes:
        began_at: monotonic.
        complete: whether every page of List was read.
        found: what Get returned, by name in AWS; what the ledger names already, as current or older, is left out.
        unread: names of algorithms that List shows and Get could not read or did not know.
        stamp: when it began, comparable by later processes.
    """

    began_at: float
    complete: bool
    found: dict[str, list[Found]]
    unread: frozenset[str] = frozenset()
    stamp: Stamp | None = None

    def by_attempt(self, attempt: str) -> list[Found]:
        """What ``attempt`` made, under any name: the service may keep another form of the name."""
        return [one for many in self.found.values() for one in many if one.tag and one.tag.attempt == attempt]


def rule(unresolved: Unresolved, sweep: Sweep, policy: Policy, ledger_id: str) -> Ruling:
    """What ``sweep`` proves about ``unresolved``: the core of the exactly-once promise."""
    entry = unresolved.entry
    if entry.incoming:
        return _rule_replacement(unresolved, sweep, policy, ledger_id)
    # An unresolved entry with an ARN was created before, and that algorithm was deleted: List and Get may lag.
    seen = (one for one in sweep.found.get(entry.name, ()) if not entry.arn or one.arn != entry.arn)
    named = sorted(seen, key=lambda one: one.age_order)
    ours = [one for one in named if _is_ours(one, entry, policy, ledger_id)]
    ours = ours or [one for one in sweep.by_attempt(entry.attempt) if entry.attempt and one.is_of(ledger_id)]
    if ours:
        return Ruling(Decision.RECOVERED, ours[0], tuple(ours[1:]))
    whole = sweep.complete and entry.name not in sweep.unread
    settled = whole and sweep.began_at >= unresolved.settled_at
    # Names may repeat, so another's algorithm does not prove that ours cannot take effect any more.
    if named and (settled or (whole and unresolved.conflict)) and (foreign := _foreign(unresolved, named, policy)):
        return foreign
    return _absence(unresolved, sweep, policy, settled=settled)


def _rule_replacement(unresolved: Unresolved, sweep: Sweep, policy: Policy, ledger_id: str) -> Ruling:
    """A replacement is proven by its own attempt alone: the one that it replaces has the name and the ledger too.

    Only when that attempt is proven absent, what this ledger made and has lost, because it went back in time, takes its
    place.
    """
    entry = unresolved.entry
    found = sweep.by_attempt(entry.attempt)
    if not policy.ownership_tag:
        # Then it is proven by what the old one differs in: its definition, and its time.
        untagged = (one for one in sweep.found.get(entry.name, ()) if one.tag is None)
        found += [one for one in untagged if _is_ours(one, entry, policy, "")]
    made = sorted(found, key=lambda one: one.age_order)
    if made:
        return Ruling(Decision.RECOVERED, made[0], tuple(made[1:]))
    whole = sweep.complete and entry.name not in sweep.unread
    if whole and unresolved.conflict:
        # What it was to replace is what is in the way.
        return Ruling(Decision.TAKEN, code=NAMES_UNIQUE, message=DELETE_FIRST)
    settled = whole and sweep.began_at >= unresolved.settled_at
    ruling = _absence(unresolved, sweep, policy, settled=settled)
    lost = sorted(
        (one for one in sweep.found.get(entry.name, ()) if one.is_of(ledger_id)), key=lambda one: one.age_order
    )
    if ruling.decision is Decision.ABSENT and lost:
        return Ruling(
            Decision.RECOVERED, next((one for one in lost if one.tag and one.tag.digest == entry.digest), lost[-1])
        )
    return ruling


def _absence(unresolved: Unresolved, sweep: Sweep, policy: Policy, *, settled: bool) -> Ruling:
    if not settled:
        return Ruling(Decision.UNKNOWN)
    if unresolved.absent_at is None:
        return Ruling(Decision.ABSENT_ONCE)
    again = sweep.began_at >= unresolved.absent_at + policy.list_lag_s
    return Ruling(Decision.ABSENT if again else Decision.UNKNOWN)


def _is_ours(found: Found, entry: Entry, policy: Policy, ledger_id: str) -> bool:
    """By the tag, if it has one; where tags are switched off, by name, definition and time."""
    if policy.ownership_tag or found.tag is not None:
        return found.is_of(ledger_id)
    made_since = entry.sent is not None and found.created_at >= entry.sent.wall - SKEW_S
    return found.digest == entry.digest and made_since


def _foreign(unresolved: Unresolved, named: list[Found], policy: Policy) -> Ruling | None:
    """The decision of first contact; None where another's algorithm is not in the way."""
    meeting = meet_foreign(unresolved.entry, named, policy, conflict=unresolved.conflict)
    if meeting.choice is Choice.CREATE:
        return None
    decision = Decision.ADOPT if meeting.choice is Choice.ADOPT else Decision.TAKEN
    return Ruling(decision, meeting.found, meeting.duplicates, meeting.code, meeting.message)


def due_at(unresolved: Sequence[Unresolved], policy: Policy) -> float:
    """When the next sweep may begin (monotonic): at once where an early one may help, else when all are due."""
    if any((one.conflict or one.early) and not one.looked for one in unresolved):
        return 0.0
    return max(one.settled_at if one.absent_at is None else one.absent_at + policy.list_lag_s for one in unresolved)


def facts_of(entry: Entry, ruling: Ruling) -> tuple[Fact, ...]:
    """The facts that make ``ruling`` durable; none while the entry stays unresolved."""
    found = ruling.found
    if ruling.decision is Decision.ABSENT:
        return (entry.fact(Event.ABSENT, message="proven absent twice"),)
    if ruling.decision is Decision.TAKEN:
        return (entry.fact(Event.REJECT, code=ruling.code, message=ruling.message),)
    if found is None:
        return ()
    recovered = ruling.decision is Decision.RECOVERED
    code = "recovered" if recovered else "adopted"
    # Another attempt of this ledger may have made it; by its own attempt its tag is known again before it is deleted.
    attempt = found.tag.attempt if recovered and found.tag else None
    confirm = confirmed(entry.target, entry.name, found, code, attempt=attempt, after=entry.attempt)
    return (msgspec.structs.replace(confirm, incoming=True) if entry.incoming else confirm,)


def interrupted(entry: Entry, now: Stamp) -> Fact:
    """The fact that an earlier run left ``entry`` as sent; its create may have left at any time until ``now``."""
    message = "the run that sent it ended before its reply came"
    sent = entry.sent and entry.sent.until(now)
    return entry.fact(Event.DOUBT, sent=sent, code="interrupted", message=message)


def missed(entry: Entry, began: Stamp | None, settle_s: float) -> Fact:
    """The fact that a sweep did not find ``entry``: the first half of a proof of absence.

    Args:
        entry: its settle time had passed when the sweep began.
        began: when that was.
        settle_s: the settle time that had passed by then.
    """
    began = None if began is None else msgspec.structs.replace(began, settle_s=settle_s)
    sent = msgspec.structs.replace(entry.sent or Stamp(0.0), missed=began)
    message = "the first sweep did not find it; a second one, after the List lag, decides"
    return entry.fact(Event.MISS, sent=sent, code="missed", message=message)
