"""What follows from one attempt: the verdict, what the ledger records, the outcome, and the next step. Pure.

:func:`conclude` is the only place that decides. It takes the reply, the replies to earlier attempts of the same
definition in this run, and what is known of the service; the engine carries out what it returns.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from provisioner.core.entry import Event, Outcome
from provisioner.core.verdict import (
    CONFLICT,
    MULTIPLE_CHOICES,
    OK,
    SKEW_CODES,
    Reply,
    Verdict,
    is_about_role,
    is_gone,
    judge,
)

UNANSWERED_LIMIT = 3
"""How often a definition's create may stay unanswered and be sent again in one run. A service that drops
three creates of one definition is unlikely to answer a fourth; the next run is the better retry."""


class Next(StrEnum):
    """What the engine does with a definition after an attempt."""

    DONE = "done"
    RESEND = "resend"
    RESOLVE = "resolve"
    WAIT = "wait"
    """Send it again when an older version has been deleted: the quota is full."""


class History(msgspec.Struct):
    """How the attempts of one definition ended in this run.

    Attributes:
        unanswered: how many ended ambiguous.
        expired: how many were refused for expired credentials.
        clock_refused: whether one was refused for the time in its signature.
        conflict: whether the last one was answered 409.
    """

    unanswered: int = 0
    expired: int = 0
    clock_refused: bool = False
    conflict: bool = False

    def add(self, reply: Reply, verdict: Verdict) -> None:
        """Count one more attempt."""
        self.unanswered += verdict is Verdict.AMBIGUOUS
        self.expired += reply.expired
        self.conflict = reply.status == CONFLICT
        self.clock_refused = self.clock_refused or reply.code in SKEW_CODES


class Conclusion(msgspec.Struct, frozen=True):
    """What follows from an attempt.

    Attributes:
        verdict: what the reply means.
        events: what happens to the entry, in this order, in one commit.
        next: what to do with the definition.
        outcome: of the definition; None while it is to be sent again.
    """

    verdict: Verdict
    events: tuple[Event, ...]
    next: Next
    outcome: Outcome | None = None


_RELEASED = (Event.RELEASE,)
_BY_VERDICT = {
    Verdict.CREATED: Conclusion(Verdict.CREATED, (Event.CONFIRM,), Next.DONE, Outcome.CREATED),
    Verdict.THROTTLED: Conclusion(Verdict.THROTTLED, _RELEASED, Next.RESEND),
    Verdict.NOT_CREATED: Conclusion(Verdict.NOT_CREATED, _RELEASED, Next.RESEND),
    Verdict.REJECTED: Conclusion(Verdict.REJECTED, (Event.REJECT,), Next.DONE, Outcome.FAILED),
    Verdict.QUOTA: Conclusion(Verdict.QUOTA, (Event.PARK,), Next.DONE, Outcome.PARKED),
    Verdict.DENIED: Conclusion(Verdict.DENIED, _RELEASED, Next.DONE, Outcome.PENDING),
    Verdict.AMBIGUOUS: Conclusion(Verdict.AMBIGUOUS, (Event.DOUBT,), Next.RESOLVE, Outcome.AMBIGUOUS),
}
_ROLE_DENIED = Conclusion(Verdict.DENIED, (Event.REJECT,), Next.DONE, Outcome.FAILED)
_FULL = Conclusion(Verdict.QUOTA, _RELEASED, Next.WAIT)
_HARMLESS = Conclusion(Verdict.AMBIGUOUS, (Event.DOUBT, Event.ABSENT), Next.RESEND)


def conclude(reply: Reply, history: History, *, resend_is_safe: bool, room_comes: bool = False) -> Conclusion:
    """What follows from ``reply``.

    Args:
        reply: to the attempt.
        history: of the definition, this attempt not included.
        resend_is_safe: whether the service refuses a second algorithm of one name, or returns the ARN of the first.
        room_comes: whether algorithms are being deleted, so that a full quota will not stay full.
    """
    if reply.code in SKEW_CODES and not history.clock_refused:
        # The transport has corrected its clock by this reply, so the next signature has the right time. If that one is
        # refused as well, the credentials are wrong.
        return _BY_VERDICT[Verdict.NOT_CREATED]
    verdict = judge(reply)
    if verdict is Verdict.AMBIGUOUS and resend_is_safe and reply.status != CONFLICT:
        return _HARMLESS if history.unanswered < UNANSWERED_LIMIT else _BY_VERDICT[verdict]
    if verdict is Verdict.DENIED and is_about_role(reply):
        return _ROLE_DENIED
    if verdict is Verdict.QUOTA and room_comes:
        return _FULL
    return _BY_VERDICT[verdict]


_DELETED = Conclusion(Verdict.DONE, (Event.GONE,), Next.DONE)
_NOT_DELETED = Conclusion(Verdict.REJECTED, (Event.KEEP,), Next.DONE)
_DELETE_DENIED = Conclusion(Verdict.DENIED, (Event.KEEP,), Next.DONE)
_DELETE_LOST = Conclusion(Verdict.AMBIGUOUS, (Event.KEEP,), Next.DONE)
_TAGGED = Conclusion(Verdict.DONE, (Event.UPDATE,), Next.DONE, Outcome.UPDATED)
_TAGS_REFUSED = Conclusion(Verdict.REJECTED, (Event.DRIFT,), Next.DONE, Outcome.FAILED)
_TAGS_DENIED = Conclusion(Verdict.DENIED, (), Next.DONE, Outcome.PENDING)
_TAGS_GONE = Conclusion(Verdict.REJECTED, (), Next.DONE, Outcome.PENDING)
_TAGS_LOST = Conclusion(Verdict.AMBIGUOUS, (), Next.DONE, Outcome.AMBIGUOUS)


def conclude_delete(reply: Reply, history: History) -> Conclusion:
    """What follows from the reply to a delete, which may always be sent again: deleting twice changes nothing.

    An algorithm on which an association depends (409) stays, and so does one whose deletion is refused or unanswered;
    the next run tries again.
    """
    if is_gone(reply):
        return _DELETED
    by_verdict = {Verdict.REJECTED: _NOT_DELETED, Verdict.QUOTA: _NOT_DELETED, Verdict.DENIED: _DELETE_DENIED}
    return _conclude_repeatable(reply, history, _DELETED, by_verdict, _DELETE_LOST)


def conclude_tags(reply: Reply, history: History) -> Conclusion:
    """What follows from the reply to a change of tags, which may be sent again as it is.

    Of an algorithm that is gone there are no tags to change; the next run finds that out and creates it again.
    """
    if is_gone(reply):
        return _TAGS_GONE
    by_verdict = {Verdict.REJECTED: _TAGS_REFUSED, Verdict.QUOTA: _TAGS_REFUSED, Verdict.DENIED: _TAGS_DENIED}
    return _conclude_repeatable(reply, history, _TAGGED, by_verdict, _TAGS_LOST)


def _conclude_repeatable(
    reply: Reply, history: History, done: Conclusion, by_verdict: dict[Verdict, Conclusion], lost: Conclusion
) -> Conclusion:
    if reply.loss is None and OK <= reply.status < MULTIPLE_CHOICES:
        return done
    if reply.code in SKEW_CODES and not history.clock_refused:
        return _REPEAT[Verdict.NOT_CREATED]
    # The service answers 404 with another code, or none, from something in between: then nothing is known. A 409 is a
    # certain answer here.
    verdict = Verdict.REJECTED if reply.status == CONFLICT and reply.code else judge(reply)
    if verdict is Verdict.AMBIGUOUS and history.unanswered >= UNANSWERED_LIMIT:
        return lost
    return by_verdict.get(verdict) or _REPEAT[verdict]


_REPEAT = {
    verdict: Conclusion(verdict, (), Next.RESEND)
    for verdict in (Verdict.THROTTLED, Verdict.NOT_CREATED, Verdict.AMBIGUOUS)
}
