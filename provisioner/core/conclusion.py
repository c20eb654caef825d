"""What follows from one attempt: the verdict, what the ledger records, the outcome, and the next step. Pure.

:func:`conclude` is the only place that decides. It takes the reply, the replies to earlier attempts of the same
definition in this run, and what is known of the service; the engine carries out what it returns.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from provisioner.core.entry import Event, Outcome
from provisioner.core.verdict import CONFLICT, SKEW_CODES, Reply, Verdict, is_about_role, judge

UNANSWERED_LIMIT = 3
"""How often a definition's create may stay unanswered and be sent again in one run. A service that drops
three creates of one definition is unlikely to answer a fourth; the next run is the better retry."""


class Next(StrEnum):
    """What the engine does with a definition after an attempt."""

    DONE = "done"
    RESEND = "resend"
    RESOLVE = "resolve"


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
_HARMLESS = Conclusion(Verdict.AMBIGUOUS, (Event.DOUBT, Event.ABSENT), Next.RESEND)


def conclude(reply: Reply, history: History, *, resend_is_safe: bool) -> Conclusion:
    """What follows from ``reply``.

    Args:
        reply: to the attempt.
        history: of the definition, this attempt not included.
        resend_is_safe: whether the service refuses a second algorithm of one name, or returns the ARN of the first.
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
    return _BY_VERDICT[verdict]
