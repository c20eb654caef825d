"""When a target should stop sending: the circuit breakers. Pure.

A batch must never be burnt to learn what three calls told. Each rule looks at replies in a row, since one reply of
another kind shows that the trouble is not everywhere:

* Refused for one role (``iam:PassRole``): after the first refusal the role is on probation, one create at a time; after
  three in a row it is blocked, and its other definitions stay planned. Five refusals in a row over any roles halt.
* Refused for everything (another 403, a credential or signature code): three in a row halt.
* No way to the endpoint: three in a row before any reply ever came means a wrong Region, host or network: halt. Once
  replies have come it is an outage: wait with full jitter, and halt after ``OUTAGE_S``.
* A 3xx or 4xx without error code and request id does not come from AWS at all: three in a row halt.
* Creates without a reply, or 5xx: each leaves an ambiguous entry behind, so ten in a row open the circuit: one probe
  at a time, further and further apart, and halt when the probes are used up.
"""

from __future__ import annotations

from collections import Counter

from provisioner.core.verdict import Loss, Reply, Verdict
from provisioner.engine.tally import Halt
from provisioner.errors import Reason

ROLE_REFUSALS = 3
"""Refusals in a row that block a role (the fault model's table)."""
REFUSALS = 5
"""Refusals in a row, over any roles, that halt the target: at most 5 wasted calls (the fault matrix)."""
SURE_REFUSALS = 3
"""The same where the refusal is not about a role."""
UNREACHABLE = 3
"""Failures to reach the endpoint that halt when it was never reached: within the first calls (the fault matrix)."""
OUTAGE_S = 120.0
"""How long an endpoint that did answer may be out of reach; longer, and a scheduler's next run is the better retry."""
DOUBTS = 10
"""Ambiguous replies in a row that open the circuit: at 14 % ambiguous replies that is chance once in 3e8 calls."""
PROBES = 6
"""Probes before an open circuit halts: 1 + 2 + 4 + 8 + 16 + 30 s."""
PROBE_MAX_S = 30.0
PERMITTED = frozenset({Verdict.CREATED, Verdict.REJECTED, Verdict.QUOTA})
"""Verdicts that show that the caller and the role are permitted."""


class Breaker:
    """Counts replies in a row and says what may still be sent.

    Attributes:
        halt: why the target must stop, None while it may go on.
    """

    def __init__(self, endpoint: str = "") -> None:
        self.halt: Halt | None = None
        self._endpoint = endpoint
        self._refused: Counter[str] = Counter()
        self._refusals = 0
        self._sure_refusals = 0
        self._strangers = 0
        self._doubts = 0
        self._unreached = 0
        self._unreached_since: float | None = None
        self._reached = False

    def told(self, role: str, reply: Reply, verdict: Verdict, now: float) -> None:
        """Take note of a reply to a create for ``role`` at ``now`` (monotonic seconds)."""
        if verdict is Verdict.NOT_CREATED and reply.loss is not None:
            self._unreachable(reply, now)
            return
        if reply.status:
            self._reached = True
        self._unreached, self._unreached_since = 0, None
        self._doubt(reply, verdict)
        self._stranger(reply)
        self._denial(role, reply, verdict)

    def blocks(self, role: str) -> bool:
        """Whether definitions with ``role`` are not to be sent in this run."""
        return self._refused[role] >= ROLE_REFUSALS

    def probation(self, role: str) -> str:
        """What must be probed one create at a time: the role, ``*`` for everything, "" for nothing."""
        if self._doubts >= DOUBTS:
            return "*"
        return role if self._refused[role] or self._refusals else ""

    def probe_delay_s(self) -> float:
        """How long the next probe of an open circuit waits; 0 when it is closed."""
        over = self._doubts - DOUBTS
        return min(PROBE_MAX_S, 2.0**over) if over >= 0 else 0.0

    def _denial(self, role: str, reply: Reply, verdict: Verdict) -> None:
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
            hint = "Check the credentials and `cleanrooms-ml:CreateConfiguredModelAlgorithm`, `iam:PassRole`; run again"
            self._trip(Reason.DENIED, f"every create is refused: {reply}. {hint}")

    def _unreachable(self, reply: Reply, now: float) -> None:
        if self._unreached_since is None:
            self._unreached_since = now
        if reply.loss is Loss.FILES:
            # This machine's own limit says nothing about the endpoint; files come free as other targets end.
            if now - self._unreached_since > OUTAGE_S:
                hint = "Raise the limit (`ulimit -n`), or lower --max-in-flight, and run again"
                self._trip(Reason.UNFINISHED, f"this machine had no file left for {OUTAGE_S:.0f} s: {reply}. {hint}")
            return
        self._unreached += 1
        if reply.loss is Loss.CREDENTIALS:
            if self._unreached >= UNREACHABLE:
                self._trip(Reason.DENIED, f"there are no usable credentials: {reply.message}")
        elif not self._reached and self._unreached >= UNREACHABLE:
            hint = "Check the Region, the endpoint URL and the network"
            self._trip(Reason.CONFIGURATION, f"{self._endpoint} cannot be reached: {reply}. {hint}")
        elif now - self._unreached_since > OUTAGE_S:
            self._trip(Reason.UNFINISHED, f"{self._endpoint} has been out of reach for {OUTAGE_S:.0f} s: {reply}")

    def _stranger(self, reply: Reply) -> None:
        strange = 300 <= reply.status < 500 and reply.status != 429 and not (reply.code or reply.request_id)  # noqa: PLR2004
        self._strangers = self._strangers + 1 if strange else 0
        if self._strangers >= UNREACHABLE:
            hint = "Check the endpoint URL and any proxy in between"
            self._trip(Reason.CONFIGURATION, f"{self._endpoint} does not answer like Clean Rooms ML: {reply}. {hint}")

    def _doubt(self, reply: Reply, verdict: Verdict) -> None:
        doubtful = verdict is Verdict.AMBIGUOUS and reply.status != 409  # noqa: PLR2004  a conflict is a sure answer
        self._doubts = self._doubts + 1 if doubtful else 0
        if self._doubts >= DOUBTS + PROBES:
            self._trip(Reason.UNFINISHED, f"{self._endpoint} answers no create any more: {reply}. Run again later")

    def _trip(self, code: Reason, what: str) -> None:
        if self.halt is None:
            self.halt = Halt(code, what)

    def __repr__(self) -> str:
        return f"Breaker(refusals={self._refusals} doubts={self._doubts} unreached={self._unreached} halt={self.halt})"


def is_about_role(reply: Reply) -> bool:
    """Whether a 403 is about the role of one definition rather than about the caller."""
    return not reply.concerns_credentials and "PassRole" in reply.message
