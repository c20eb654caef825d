"""The circuit breaker of a target: when it sends one create at a time, and when it stops sending. Pure.

A whole batch must not fail to learn what three calls show. Each rule counts replies in a row, since one reply of
another kind shows that the failure is not general:

* Refused for one role (``iam:PassRole``): after the first refusal the role is on probation, one create at a time; after
  three in a row it is blocked, and its other definitions stay planned. Five refusals in a row over any roles halt.
* Refused for everything (another 403, a credential or signature code): three in a row halt.
* Endpoint out of reach: three in a row before the first reply halt. A host that does not exist, a certificate that is
  not trusted and a proxy that refuses are a wrong configuration, anything else an outage. After the first reply it is
  always an outage: wait with full jitter, and halt after ``OUTAGE_S``.
* A 3xx or 4xx without error code and request id does not come from AWS at all: three in a row halt.
* Creates without a reply, or 5xx: each leaves an ambiguous entry behind, so ten in a row open the circuit: one probe
  at a time, further and further apart, and halt when the probes are used up.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from provisioner.core.roles import pass_role_hint
from provisioner.core.verdict import (
    CONFLICT,
    MULTIPLE_CHOICES,
    Loss,
    Reply,
    Verdict,
    is_about_role,
)
from provisioner.engine.observer import Halt
from provisioner.errors import Reason

ROLE_REFUSALS = 3
"""Refusals in a row that block a role."""
REFUSALS = 5
"""Refusals in a row, over any roles, that halt the target: at most 5 wasted calls."""
SURE_REFUSALS = 3
"""The same where the refusal is not about a role."""
UNREACHABLE = 3
"""Failures in a row that halt a target whose endpoint was never reached."""
OUTAGE_S = 120.0
"""How long an endpoint that has answered may be out of reach; after that a scheduler's next run is the better retry."""
UNANSWERED = 10
"""Ambiguous replies in a row that open the circuit: at 14 % ambiguous replies that is chance once in 3e8 calls."""
PROBES = 6
"""Probes before an open circuit halts: 1 + 2 + 4 + 8 + 16 + 30 s."""
PROBE_MAX_S = 30.0
PERMITTED = frozenset({Verdict.CREATED, Verdict.DONE, Verdict.REJECTED, Verdict.QUOTA})
"""Verdicts that prove that the caller and the role are permitted."""


_PERMISSIONS = {
    "create": "cleanrooms-ml:CreateConfiguredModelAlgorithm and iam:PassRole",
    "tag": "cleanrooms-ml:TagResource and cleanrooms-ml:UntagResource",
    "delete": "cleanrooms-ml:DeleteConfiguredModelAlgorithm",
}


class Admission(StrEnum):
    """How a create may be sent now."""

    FREE = "free"
    """Concurrently with others."""
    ROLE_PROBE = "role_probe"
    """One at a time for its role, which was refused before."""
    PROBE = "probe"
    """One at a time for the whole target, after a wait: the circuit is open."""
    BLOCKED = "blocked"
    """Not in this run: its role is refused."""


class Breaker:
    """Counts replies in a row and decides what may still be sent.

    Args:
        endpoint: for messages.
        operation: ``create``, ``tag`` or ``delete``; each has a breaker of its own.

    Attributes:
        halt: why the target must halt, None while it may go on.
    """

    def __init__(self, endpoint: str = "", operation: str = "create") -> None:
        self.halt: Halt | None = None
        self._endpoint = endpoint
        self._operation = operation
        self._refused: Counter[str] = Counter()
        self._refusals = 0
        self._sure_refusals = 0
        self._strangers = 0
        self._unanswered = 0
        self._unreached = 0
        self._unreached_since: float | None = None
        self._reached = False

    def record(self, role: str, reply: Reply, verdict: Verdict, now: float) -> None:
        """Count a reply to a create for ``role`` at ``now`` (monotonic seconds)."""
        if verdict is Verdict.NOT_CREATED and reply.loss is not None:
            self._count_unreached(reply, now)
            return
        if reply.status:
            self._reached = True
        self._unreached, self._unreached_since = 0, None
        self._count_unanswered(reply, verdict)
        self._count_stranger(reply)
        self._count_denial(role, reply, verdict)

    def admission(self, role: str) -> Admission:
        """How a create for ``role`` may be sent now."""
        if not (self._refused or self._refusals or self._unanswered):
            return Admission.FREE
        if self._refused[role] >= ROLE_REFUSALS:
            return Admission.BLOCKED
        if self._unanswered >= UNANSWERED:
            return Admission.PROBE
        return Admission.ROLE_PROBE if self._refused[role] or self._refusals else Admission.FREE

    @property
    def outage(self) -> bool:
        """Whether the endpoint is out of reach, or leaves one operation after another without an answer."""
        return self._unreached >= UNREACHABLE or self._unanswered >= UNANSWERED

    def probe_delay_s(self) -> float:
        """How long the next probe of an open circuit waits; 0 when it is closed."""
        over = self._unanswered - UNANSWERED
        return min(PROBE_MAX_S, 2.0**over) if over >= 0 else 0.0

    def _count_denial(self, role: str, reply: Reply, verdict: Verdict) -> None:
        if verdict is not Verdict.DENIED:
            if verdict in PERMITTED:
                self._refused.pop(role, None)
                self._refusals = self._sure_refusals = 0
            return
        self._refusals += 1
        if is_about_role(reply):
            self._refused[role] += 1
        else:
            self._sure_refusals += 1
        if self._refusals >= REFUSALS or self._sure_refusals >= SURE_REFUSALS:
            hint = f"Check credentials, {_PERMISSIONS[self._operation]}"
            if is_about_role(reply):
                hint = pass_role_hint(role)
            self._trip(Reason.DENIED, f"every {self._operation} is refused: {reply}. {hint}, then run again")

    def _count_unreached(self, reply: Reply, now: float) -> None:
        if self._unreached_since is None:
            self._unreached_since = now
        if reply.loss is Loss.FILES:
            # This machine's own limit says nothing about the endpoint; files become free as other targets end.
            if now - self._unreached_since > OUTAGE_S:
                hint = "Raise the limit (`ulimit -n`), or lower --max-in-flight, then run again"
                self._trip(Reason.UNFINISHED, f"no file descriptor was free for {OUTAGE_S:.0f} s: {reply}. {hint}")
            return
        self._unreached += 1
        if reply.loss is Loss.CREDENTIALS:
            if self._unreached >= UNREACHABLE:
                self._trip(Reason.DENIED, f"there are no usable credentials: {reply.message}")
        elif not self._reached and self._unreached >= UNREACHABLE:
            # What is configured wrongly stays wrong; everything else may work in a scheduler's next run.
            wrong = reply.is_hopeless
            hint = (
                "Check the Region, the endpoint URL, certificates and any proxy"
                if wrong
                else "Check the network, then run again"
            )
            reason = Reason.CONFIGURATION if wrong else Reason.UNFINISHED
            self._trip(reason, f"{self._endpoint} cannot be reached: {reply}. {hint}")
        elif now - self._unreached_since > OUTAGE_S:
            what = f"{self._endpoint} has been out of reach for {OUTAGE_S:.0f} s: {reply}. Run again"
            self._trip(Reason.UNFINISHED, what)

    def _count_stranger(self, reply: Reply) -> None:
        strange = reply.is_strange and reply.status >= MULTIPLE_CHOICES
        self._strangers = self._strangers + 1 if strange else 0
        if self._strangers >= UNREACHABLE:
            hint = "Check the endpoint URL and any proxy in between"
            what = f"{self._endpoint} does not answer like Clean Rooms ML: {reply}. {hint}"
            self._trip(Reason.CONFIGURATION, what)

    def _count_unanswered(self, reply: Reply, verdict: Verdict) -> None:
        # A 409 is ambiguous for its definition, but it is an answer: the service is up.
        unanswered = verdict is Verdict.AMBIGUOUS and reply.status != CONFLICT
        self._unanswered = self._unanswered + 1 if unanswered else 0
        if self._unanswered >= UNANSWERED + PROBES:
            self._trip(
                Reason.UNFINISHED, f"{self._endpoint} no longer answers a {self._operation}: {reply}. Run again later"
            )

    def _trip(self, reason: Reason, what: str) -> None:
        if self.halt is None:
            self.halt = Halt(reason, what)

    def __repr__(self) -> str:
        counts = f"refusals={self._refusals} unanswered={self._unanswered} unreached={self._unreached}"
        return f"Breaker({counts} halt={self.halt})"
