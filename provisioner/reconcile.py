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
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential
from tenacity.wait import wait_base

from provisioner.aws.faces import CallError
from provisioner.definition import Definition
from provisioner.entry import Entry, Event, Fact, State
from provisioner.ownership import Mark, check_place, read_mark
from provisioner.verdict import Loss, Reply, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from provisioner.aws.faces import Described
    from provisioner.gate import Gate
    from provisioner.site import Policy, Site
    from provisioner.tally import Tally

SKEW_S = 300.0
"""How far the server's clock may differ from ours: SigV4 tolerates five minutes."""
READ_ATTEMPTS = 8
"""Attempts at one page or one Get before a sweep is given up as incomplete."""
RETRY_MAX_S = 20.0
"""Longest wait between them; full jitter (Brooker, "Exponential Backoff And Jitter")."""

T = TypeVar("T")

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


class Found(msgspec.Struct, frozen=True):
    """An algorithm that bears a suspect's name.

    Attributes:
        arn, created_at: of the algorithm.
        mark: our mark, None when it bears none.
        digest: of its definition without tags.
        tags_digest: of its tags without the ownership tag.
    """

    arn: str
    created_at: float
    mark: Mark | None
    digest: str
    tags_digest: str


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
        unread: names for which a Get failed.
    """

    began_at: float
    complete: bool
    found: dict[str, list[Found]]
    unread: frozenset[str] = frozenset()


def rule(suspect: Suspect, sweep: Sweep, policy: Policy, ledger_id: str) -> Ruling:
    """What ``sweep`` says of ``suspect``. Pure: the heart of the promise."""
    found = sorted(sweep.found.get(suspect.entry.name, ()), key=lambda one: (one.created_at, one.arn))
    ours = [one for one in found if _is_ours(one, suspect.entry, policy, ledger_id)]
    if ours:
        return Ruling(Decision.OURS, ours[0], tuple(ours[1:]))
    if found and not (policy.names == "duplicates" and not suspect.conflict and policy.adopt == "never"):
        return _foreign(suspect.entry, found, policy)
    if not sweep.complete or suspect.entry.name in sweep.unread or sweep.began_at < suspect.settled_at:
        return Ruling(Decision.UNKNOWN)
    if suspect.absent_at is None:
        return Ruling(Decision.ABSENT_ONCE)
    again = sweep.began_at >= suspect.absent_at + policy.list_lag_s
    return Ruling(Decision.ABSENT if again else Decision.UNKNOWN)


def _is_ours(found: Found, entry: Entry, policy: Policy, ledger_id: str) -> bool:
    """By the tag; where tags are switched off by name, definition and time."""
    if policy.ownership_tag:
        return found.mark is not None and found.mark.ledger_id == ledger_id
    made_since = entry.sent is not None and found.created_at >= entry.sent.wall - SKEW_S
    return found.digest == entry.digest and made_since


def _foreign(entry: Entry, found: list[Found], policy: Policy) -> Ruling:
    same = [one for one in found if one.digest == entry.digest]
    if policy.adopt == "any" or (policy.adopt == "same" and same):
        return Ruling(Decision.ADOPT, (same or found)[0])
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
    confirm = Fact(
        entry.target,
        entry.name,
        Event.CONFIRM,
        arn=found.arn,
        digest=found.digest,
        tags_digest=found.tags_digest,
        code="adopted",
        after=entry.attempt,
    )
    return (confirm,)


def described(algorithm: Described, ownership_tag: str) -> Found:
    """What Get told, in the terms of a ruling."""
    tags = {key: value for key, value in algorithm.tags.items() if not key.lower().startswith("aws:")}
    mark = read_mark(tags.pop(ownership_tag, "")) if ownership_tag else None
    definition = Definition.from_request(algorithm.body)
    return Found(
        arn=algorithm.arn,
        created_at=algorithm.created_at,
        mark=mark,
        digest=definition.digest,
        tags_digest=Definition.digest_of_tags(tags),
    )


class Reconciler:
    """Keeps the suspects of one target and resolves them by sweeps."""

    def __init__(self, site: Site, policy: Policy, tally: Tally) -> None:
        self._site = site
        self._policy = policy
        self._tally = tally
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
        interrupted = [entry for entry in found if entry.state is State.SENT]
        message = "the run that sent it ended before its reply came"
        await self._site.ledger.record(
            [
                Fact(entry.target, entry.name, Event.DOUBT, code="interrupted", message=message, after=entry.attempt)
                for entry in interrupted
            ],
        )
        now = self._site.clock.stamp()
        for entry in found:
            self.add(entry, age_s=entry.sent.age_s(now) if entry.sent else 0.0)

    def add(self, entry: Entry, *, age_s: float = 0.0, conflict: bool = False) -> None:
        """Suspect ``entry``, whose create is known to be at least ``age_s`` old."""
        wait = 0.0 if self._policy.resend_is_safe else max(0.0, self._policy.settle_s - age_s)
        self._suspects[entry.name] = Suspect(entry, self._site.clock.monotonic() + wait, conflict=conflict)

    def forget(self, name: str) -> None:
        """The doubt about ``name`` is gone."""
        self._suspects.pop(name, None)

    def due_in_s(self) -> float:
        """Seconds until the next sweep may begin."""
        return max(0.0, due(list(self._suspects.values()), self._policy) - self._site.clock.monotonic())

    async def settle(self, sweep: Sweep) -> list[tuple[Suspect, Ruling]]:
        """Make durable what ``sweep`` says, and tell which suspects it resolved.

        Raises:
            LedgerError: it could not be made durable.
            LedgerLockedError: the lease is lost.
        """
        ledger = self._site.ledger
        rulings = [
            (suspect, rule(suspect, sweep, self._policy, ledger.ledger_id)) for suspect in self._suspects.values()
        ]
        facts = [fact for suspect, ruling in rulings for fact in facts_of(suspect.entry, ruling)]
        self._site.lease.check()
        await ledger.record(facts)
        resolved = [(suspect, ruling) for suspect, ruling in rulings if self._take(suspect, ruling, sweep)]
        self._log.info("sweep.finished", complete=sweep.complete, suspects=len(rulings), resolved=len(resolved))
        for suspect, ruling in resolved:
            for duplicate in ruling.duplicates:
                self._log.error("duplicate.found", name=suspect.entry.name, kept=ruling.found, other=duplicate.arn)
        return resolved

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
        """Page through List and Get every algorithm that bears a suspect's name. May be cancelled at any point.

        Raises:
            CallError: List or Get is refused, which no repetition mends.
            IntegrityError: what was found lies in another account or Region.
        """
        began_at = self._site.clock.monotonic()
        candidates: dict[str, list[str]] = defaultdict(list)
        complete = True
        token, seen = "", set[str]()
        while True:
            try:
                page = await self._read("list", self._site.aws.control.list_algorithms, token)
            except CallError as error:
                self._refuse_final(error)
                self._log.warning("sweep.broke_off", why=str(error))
                complete = False
                break
            for item in page.items:
                if item.name in self._suspects:
                    candidates[item.name].append(item.arn)
            token = page.next_token
            if not token or token in seen:
                complete = complete and not token
                break
            seen.add(token)
        found, unread = await self._describe(candidates)
        return Sweep(began_at, complete, found, unread)

    async def _describe(self, candidates: dict[str, list[str]]) -> tuple[dict[str, list[Found]], frozenset[str]]:
        found: dict[str, list[Found]] = {}
        unread = set[str]()
        for name, arns in candidates.items():
            for arn in dict.fromkeys(arns):
                check_place(
                    arn, region=self._site.aws.region, account_id=self._site.account_id or self._tally.account_id
                )
                try:
                    algorithm = await self._read("get", self._site.aws.control.get_algorithm, arn)
                except CallError as error:
                    if error.reply.status == 404:  # noqa: PLR2004  Not Found: deleted since it was listed
                        continue
                    self._refuse_final(error)
                    self._log.warning("get.failed", why=str(error))
                    unread.add(name)
                else:
                    found.setdefault(name, []).append(described(algorithm, self._policy.ownership_tag))
        return {name: all_ for name, all_ in found.items() if name not in unread}, frozenset(unread)

    def _refuse_final(self, error: CallError) -> None:
        if judge(error.reply) is Verdict.DENIED:
            raise error

    async def _read(self, kind: str, call: Callable[[str], Awaitable[T]], argument: str) -> T:
        """One read call at the pacer's turn, tried again while that may help.

        Raises:
            CallError: it did not help.
        """
        gate = self._site.reads

        async def attempt() -> T:
            started_at = await gate.turn()
            self._tally.calls[kind] += 1
            try:
                result = await call(argument)
            except CallError as error:
                tell(gate, started_at, error.reply)
                raise
            gate.accepted(started_at)
            return result

        async with gate.slot():
            retrying = AsyncRetrying(
                retry=retry_if_exception(_may_pass),
                stop=stop_after_attempt(READ_ATTEMPTS),
                wait=_Wait(gate),
                reraise=True,
            )
            return await retrying(attempt)


def tell(gate: Gate, started_at: float, reply: Reply) -> None:
    """Tell a gate how a call ended."""
    if judge(reply) is Verdict.THROTTLED:
        gate.throttled(started_at, reply.retry_after_s)
    elif reply.loss in {Loss.READ_TIMEOUT, Loss.CONNECT_TIMEOUT}:
        gate.timed_out(started_at)
    elif reply.loss is not None or reply.status >= 500:  # noqa: PLR2004  5xx
        gate.dropped(started_at)
    else:
        gate.accepted(started_at)


def _may_pass(error: BaseException) -> bool:
    """Whether a failed read may succeed when it is tried again."""
    again = {Verdict.THROTTLED, Verdict.NOT_CREATED, Verdict.AMBIGUOUS}
    return isinstance(error, CallError) and judge(error.reply) in again


class _Wait(wait_base):
    """The pacer's next turn after a throttle, full jitter after anything else."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._jitter = wait_random_exponential(multiplier=0.5, max=RETRY_MAX_S)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        throttled = isinstance(error, CallError) and judge(error.reply) is Verdict.THROTTLED
        return self._gate.wait(retry_state) if throttled else self._jitter(retry_state)
