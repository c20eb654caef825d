r"""Entries of the ledger: their states, and the only ways from one state to the next. Pure.

The whole of "none lost, none twice" stands on three orders of durability, and each is one edge here:

1. ``sent`` is committed before the first byte of a create leaves. So whatever dies, each algorithm that may exist
   has an entry that says so.
2. A result is committed before it is counted, printed or exported. So nothing that was reported is ever taken back.
3. The verdict of a sweep is committed before a resend. So a resend is only ever made from ``planned``.

A create without a reply is the hard case: it may or may not have taken effect. Its entry stays ``sent`` if the process
dies, and becomes ``ambiguous`` if the process sees the loss; both mean "an algorithm may exist", and neither has an
edge to ``sent``. Only a sweep of List resolves them: found with this ledger's tag (``created``), found but foreign
(``created`` by adoption, or ``failed``), or absent in two sweeps after the settle time (``planned``).

::

    planned --intend--> sent --confirm--> created --drift--> drifted --restore--> created
       ^                 | \--reject--> failed --replan--> planned
       |---- release ----|  \--park---> parked --intend--> sent: until it is sent again it stays parked
       |                 \--doubt--> ambiguous --confirm--> created
       |---------------- absent ---------|        --reject--> failed
                                         |        --miss--> ambiguous: absent in the first of two sweeps
    created, drifted --delete--> deleted --replan--> planned: it is gone from AWS
    created, drifted --retire--> deleted: it is to be deleted, and its ARN becomes a superseded version
    deleted --reinstate--> drifted: it could not be deleted, so it is the current one again
    created, drifted --tag--> drifted --update--> created: its tags are changed in place
    planned --confirm--> created, planned --reject--> failed: first contact found an algorithm of the name, which is
    recovered, adopted or refused; nothing is sent. parked --replan--> planned comes before these.
    created --replan--> planned: the entry gives up its ARN; no command does that yet.
    created, drifted, failed, parked, planned --question--> ambiguous: the reply that it follows from may be another's.

While an algorithm is being replaced, its entry stays as it is, and a second one, marked as ``incoming``, goes the way
of a new definition beside it, by the same transitions. What happens when it is confirmed, and what becomes of the ARNs
that an entry gives up, stands in :mod:`provisioner.core.versions`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from provisioner.core.ownership import ADOPTED
from provisioner.errors import IllegalTransitionError


class State(StrEnum):
    """The state of an entry."""

    PLANNED = "planned"
    SENT = "sent"
    CREATED = "created"
    FAILED = "failed"
    PARKED = "parked"
    AMBIGUOUS = "ambiguous"
    DRIFTED = "drifted"
    DELETED = "deleted"


class Outcome(StrEnum):
    """What became of a definition in a run."""

    CREATED = "created"
    RECOVERED = "recovered"
    ADOPTED = "adopted"
    UNCHANGED = "unchanged"
    UPDATED = "updated"
    REPLACED = "replaced"
    DRIFTED = "drifted"
    FAILED = "failed"
    PARKED = "parked"
    AMBIGUOUS = "ambiguous"
    PENDING = "pending"


class Event(StrEnum):
    """What can happen to an entry."""

    PLAN = "plan"
    INTEND = "intend"
    CONFIRM = "confirm"
    RELEASE = "release"
    REJECT = "reject"
    PARK = "park"
    DOUBT = "doubt"
    MISS = "miss"
    ABSENT = "absent"
    REPLAN = "replan"
    DRIFT = "drift"
    RESTORE = "restore"
    TAG = "tag"
    UPDATE = "update"
    DELETE = "delete"
    RETIRE = "retire"
    REINSTATE = "reinstate"
    QUESTION = "question"

    SUPERSEDE = "supersede"
    DELETING = "deleting"
    KEEP = "keep"
    GONE = "gone"


VERSION_EVENTS = frozenset({Event.SUPERSEDE, Event.DELETING, Event.KEEP, Event.GONE})
"""Events of a version, not of an entry: see :mod:`provisioner.core.versions`."""

INTENTS = frozenset({Event.INTEND, Event.TAG, Event.DELETING})
"""Events after which a call may leave."""

_EXISTING = (State.CREATED, State.DRIFTED)
_UNRESOLVED = (State.SENT, State.AMBIGUOUS)
_TRANSITIONS: dict[tuple[State | None, Event], State] = {
    (None, Event.PLAN): State.PLANNED,
    (State.PLANNED, Event.PLAN): State.PLANNED,
    (None, Event.INTEND): State.SENT,
    (State.PLANNED, Event.INTEND): State.SENT,
    (State.PARKED, Event.INTEND): State.SENT,
    (None, Event.CONFIRM): State.CREATED,
    (State.PLANNED, Event.CONFIRM): State.CREATED,
    (State.PLANNED, Event.REJECT): State.FAILED,
    (State.SENT, Event.CONFIRM): State.CREATED,
    (State.SENT, Event.RELEASE): State.PLANNED,
    (State.SENT, Event.REJECT): State.FAILED,
    (State.SENT, Event.PARK): State.PARKED,
    (State.SENT, Event.DOUBT): State.AMBIGUOUS,
    (State.SENT, Event.ABSENT): State.PLANNED,
    (State.AMBIGUOUS, Event.MISS): State.AMBIGUOUS,
    (State.AMBIGUOUS, Event.CONFIRM): State.CREATED,
    (State.AMBIGUOUS, Event.REJECT): State.FAILED,
    (State.AMBIGUOUS, Event.ABSENT): State.PLANNED,
    (State.FAILED, Event.REPLAN): State.PLANNED,
    (State.PARKED, Event.REPLAN): State.PLANNED,
    (State.DELETED, Event.REPLAN): State.PLANNED,
    (State.CREATED, Event.REPLAN): State.PLANNED,
    (State.CREATED, Event.DRIFT): State.DRIFTED,
    (State.DRIFTED, Event.DRIFT): State.DRIFTED,
    (State.DRIFTED, Event.RESTORE): State.CREATED,
    (State.CREATED, Event.TAG): State.DRIFTED,
    (State.DRIFTED, Event.TAG): State.DRIFTED,
    (State.DRIFTED, Event.UPDATE): State.CREATED,
    (State.CREATED, Event.RETIRE): State.DELETED,
    (State.DRIFTED, Event.RETIRE): State.DELETED,
    (State.DELETED, Event.REINSTATE): State.DRIFTED,
    (State.CREATED, Event.QUESTION): State.AMBIGUOUS,
    (State.DRIFTED, Event.QUESTION): State.AMBIGUOUS,
    (State.FAILED, Event.QUESTION): State.AMBIGUOUS,
    (State.PARKED, Event.QUESTION): State.AMBIGUOUS,
    (State.PLANNED, Event.QUESTION): State.AMBIGUOUS,
    (State.CREATED, Event.DELETE): State.DELETED,
    (State.DRIFTED, Event.DELETE): State.DELETED,
}


def advance(state: State | None, event: Event) -> State:
    """The state that follows ``state`` (None: no entry yet) by ``event``.

    Raises:
        IllegalTransitionError: the event does not follow from the state.
    """
    try:
        return _TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransitionError(str(state), event) from None


def sources(event: Event) -> frozenset[State | None]:
    """The states from which ``event`` may happen; None stands for "no entry yet"."""
    return frozenset(state for state, known in _TRANSITIONS if known is event)


class Stamp(msgspec.Struct, frozen=True, omit_defaults=True):
    """A moment on two clocks, so that a jump of the wall clock never shortens a wait.

    In an entry's ``sent``, ``wall`` is the time of the intent. ``boot`` and ``ticks`` are the latest moment at which
    the create can have left. That is the intent, as long as nothing else is known, and for an ambiguous create the
    moment when its loss was recorded, because a process may have been suspended between intent and send.

    Attributes:
        wall: seconds since the epoch.
        boot: the boot of the machine that took the stamp ("" when unknown).
        ticks: seconds since that boot, suspended time included (CLOCK_BOOTTIME).
        missed: in ``sent``, the start of the first sweep that proved absence; None before. The next attempt has a stamp
            of its own.
        settle_s: in ``missed``, the settle time that had passed when that sweep began.
        epoch: in ``sent``, of the lease under which the intent was recorded: one of an older epoch was interrupted.
    """

    wall: float
    boot: str = ""
    ticks: float = 0.0
    missed: Stamp | None = None
    settle_s: float = 0.0
    epoch: str = ""

    def age_s(self, now: Stamp) -> float:
        """Seconds that have certainly passed from this stamp to ``now``: 0 across boots or machines."""
        return max(0.0, now.ticks - self.ticks) if self.boot and self.boot == now.boot else 0.0

    def until(self, now: Stamp) -> Stamp:
        """This moment, which may have lasted until ``now``."""
        return Stamp(self.wall, now.boot, now.ticks, epoch=self.epoch)


def may_lag(sent: Stamp | None, updated_at: float, now: Stamp, settle_s: float) -> bool:
    """Whether an algorithm is so new that List and Get may not show it yet, so that their silence proves nothing.

    Args:
        sent: when the last attempt for it was committed, None for what was read when it was recorded.
        updated_at: wall-clock time of the last change of its record, for one without such a stamp. Where there is one,
            a later change makes no algorithm new.
        now: the present.
        settle_s: the settle time.
    """
    if sent is not None and sent.boot and sent.boot == now.boot:
        return sent.age_s(now) <= settle_s
    # Of another boot or machine, or of one that tells none.
    return now.wall - (updated_at if sent is None else sent.wall) <= settle_s


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of the ledger, keyed by (target, name).

    Attributes:
        target: the target's name.
        name: the algorithm's name.
        state: see the head of this module.
        digest: of the definition without tags, as last planned or created (hex).
        tags_digest: of the tags (hex).
        arn: of the algorithm; "" until created.
        attempt: id of the last attempt; "" before the first.
        sent: when the last attempt was committed; None before the first.
        updated_at: wall-clock time of the last change, seconds since the epoch.
        run_id: the run that made the last change.
        code: of the last error; of a created entry "recovered", "adopted" or "rebuilt" if its ARN is not from a reply.
        message: of the last error.
        tag_keys: of the tags that this ledger set, sorted, comma-separated; the service allows no comma in a key.
        request_id: of the reply that led here; "" if none did.
        incoming: whether this is the replacement of the entry of that name, and not the entry itself.
    """

    target: str
    name: str
    state: State
    digest: str
    tags_digest: str
    arn: str = ""
    attempt: str = ""
    sent: Stamp | None = None
    updated_at: float = 0.0
    run_id: str = ""
    code: str = ""
    message: str = ""
    tag_keys: str = ""
    request_id: str = ""
    incoming: bool = False

    @property
    def exists(self) -> bool:
        """Whether the algorithm is known to exist."""
        return self.state in _EXISTING

    @property
    def unresolved(self) -> bool:
        """Whether an algorithm may exist that the ledger cannot name."""
        return self.state in _UNRESOLVED

    @property
    def adopted(self) -> bool:
        """Whether its algorithm was taken over, so that this ledger did not create it."""
        return self.attempt.startswith(ADOPTED)

    def fact(self, event: Event, *, code: str = "", message: str = "", sent: Stamp | None = None) -> Fact:
        """The fact that ``event`` happens to this entry, as long as its last attempt is the same."""
        return Fact(
            self.target,
            self.name,
            event,
            sent=sent,
            code=code,
            message=message,
            after=self.attempt,
            incoming=self.incoming,
        )


class Fact(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event of one entry, to be made durable. Fields left out keep the entry's value.

    Attributes:
        target, name: the entry's key.
        event: what happened.
        digest, tags_digest: of the definition, with the events that begin an entry (plan, intend, confirm, replan).
        arn: with confirm; "" with question.
        attempt, sent: with intend; sent also with doubt and miss.
        code, message: the reason, with reject, park, doubt, release, drift; with confirm how the ARN was found.
        after: the attempt that the event is about; if given, the fact is refused once there is a newer attempt.
        tag_keys: with the events that begin an entry, and with tag and update.
        request_id: of the reply that it follows from.
        incoming: whether it is about the replacement of the entry.
    """

    target: str
    name: str
    event: Event
    digest: str | None = None
    tags_digest: str | None = None
    arn: str | None = None
    attempt: str | None = None
    sent: Stamp | None = None
    code: str = ""
    message: str = ""
    after: str | None = None
    tag_keys: str | None = None
    request_id: str = ""
    incoming: bool = False


def apply(entry: Entry | None, fact: Fact, *, at: float, run_id: str) -> Entry:
    """The entry after ``fact``: the reference implementation that every ledger store is tested against.

    Args:
        entry: the entry before, None when there is none.
        fact: what happened.
        at: wall-clock time, seconds since the epoch.
        run_id: the run that records it.

    Raises:
        IllegalTransitionError: the fact does not follow from the entry's state, or is about an older attempt.
    """
    state = advance(entry.state if entry else None, fact.event)
    if entry is None:
        entry = Entry(fact.target, fact.name, state, digest="", tags_digest="", incoming=fact.incoming)
    if fact.after is not None and fact.after != entry.attempt:
        raise IllegalTransitionError(f"{entry.state} (attempt {entry.attempt})", f"{fact.event} (of {fact.after})")
    return Entry(
        target=entry.target,
        name=entry.name,
        state=state,
        digest=entry.digest if fact.digest is None else fact.digest,
        tags_digest=entry.tags_digest if fact.tags_digest is None else fact.tags_digest,
        arn=entry.arn if fact.arn is None else fact.arn,
        attempt=entry.attempt if fact.attempt is None else fact.attempt,
        sent=entry.sent if fact.sent is None else fact.sent,
        updated_at=at,
        run_id=run_id,
        code=fact.code,
        message=fact.message,
        tag_keys=entry.tag_keys if fact.tag_keys is None else fact.tag_keys,
        request_id=fact.request_id,
        incoming=entry.incoming,
    )
