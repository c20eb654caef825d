"""The retry policy: which calls are sent again, how often, and after which wait. tenacity drives it.

A throttled call waits for the rate limiter: for the estimated time until its turn, and then in the gate's queue, which
is served before new calls. Everything else waits with exponential backoff and full jitter (Marc Brooker,
"Exponential Backoff And Jitter", 2015). SDK retries are off: no other layer sends anything again.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, retry_if_result, stop_after_attempt
from tenacity.wait import wait_base, wait_random_exponential

from provisioner.aws.faces import CallError
from provisioner.core.conclusion import Conclusion, Next
from provisioner.core.verdict import HOPELESS, INTERNAL_SERVER_ERROR, Loss, Reply, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from provisioner.engine.observer import Observer
    from provisioner.pacing.gate import Gate

BACKOFF_S = 0.5
"""Upper bound of the first wait; it doubles from attempt to attempt."""
CALL_BACKOFF_MAX_S = 30.0
"""Longest wait after a call that never reached AWS."""
READ_BACKOFF_MAX_S = 20.0
"""Longest wait between two attempts at one page or one Get."""
READ_ATTEMPTS = 8
"""Attempts at one page or one Get before it is given up: about a minute of waiting."""
REPEATED_READS = frozenset({Verdict.THROTTLED, Verdict.NOT_CREATED, Verdict.AMBIGUOUS})
"""Verdicts after which a read is sent again: reading twice changes nothing."""
T = TypeVar("T")


class _Backoff(wait_base):
    """tenacity's ``wait``: the time until the pacer's next turn after a throttle, backoff after anything else."""

    def __init__(self, gate: Gate, longest_s: float, throttled: Callable[[RetryCallState], bool]) -> None:
        self._gate = gate
        self._throttled = throttled
        self._jitter = wait_random_exponential(multiplier=BACKOFF_S, max=longest_s)

    def __call__(self, retry_state: RetryCallState) -> float:
        return self._gate.next_turn_in_s() if self._throttled(retry_state) else self._jitter(retry_state)


def _first_wait_s(gate: Gate, verdict: Verdict) -> float:
    """How long to wait after a first attempt with this verdict; most have no second one, so tenacity is not set up."""
    return gate.next_turn_in_s() if verdict is Verdict.THROTTLED else random.uniform(0.0, BACKOFF_S)  # noqa: S311  jitter


class Retries:
    """Sends a call again while its conclusion says so.

    Args:
        gate: of its operation.
        sleep: sleeps for some seconds, at most until the run ends.
    """

    def __init__(self, gate: Gate, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._gate = gate
        self._sleep = sleep

    async def __call__(self, first: Conclusion, attempt: Callable[[], Awaitable[Conclusion]]) -> Conclusion:
        """The conclusion of the last attempt, after one that ended with ``first``."""
        await self._sleep(_first_wait_s(self._gate, first.verdict))
        retrying = AsyncRetrying(
            retry=retry_if_result(_again),
            wait=_Backoff(self._gate, CALL_BACKOFF_MAX_S, _call_was_throttled),
            sleep=self._sleep,
        )
        return await retrying(attempt)


def _again(conclusion: Conclusion) -> bool:
    return conclusion.next is Next.RESEND


def _call_was_throttled(state: RetryCallState) -> bool:
    conclusion: Conclusion | None = state.outcome.result() if state.outcome else None
    return conclusion is not None and conclusion.verdict is Verdict.THROTTLED


async def read_again(gate: Gate, read: Callable[[], Awaitable[T]], final: Collection[Loss] = HOPELESS) -> T:
    """The result of ``read``, which is retried after transient errors.

    Args:
        gate: of the calls.
        read: one attempt.
        final: the losses after which there is no other attempt.

    Raises:
        CallError: of the last attempt.
    """
    try:
        # As a rule there is no other attempt, and setting up tenacity takes as long as a List.
        return await read()
    except CallError as error:
        if not _may_pass(final, error):
            raise
        verdict = judge(error.reply)
    await anyio.sleep(_first_wait_s(gate, verdict))
    retrying = AsyncRetrying(
        retry=retry_if_exception(partial(_may_pass, final)),
        stop=stop_after_attempt(READ_ATTEMPTS - 1),
        wait=_Backoff(gate, READ_BACKOFF_MAX_S, _read_was_throttled),
        reraise=True,
    )
    return await retrying(read)


def _may_pass(final: Collection[Loss], error: BaseException) -> bool:
    if not isinstance(error, CallError) or error.reply.is_strange or error.reply.loss in final:
        # A host that is not AWS gives no better answer to a second call.
        return False
    return judge(error.reply) in REPEATED_READS


def _read_was_throttled(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    return isinstance(error, CallError) and judge(error.reply) is Verdict.THROTTLED


def end_call(gate: Gate, started_at: float, reply: Reply, observer: Observer) -> None:
    """Report to ``gate`` how the call that started at ``started_at`` ended."""
    if judge(reply) is Verdict.THROTTLED:
        epochs = gate.epochs
        gate.throttled(started_at, reply.retry_after_s)
        if gate.epochs != epochs:
            observer.throttling_began(float(gate.statistics()["rate"]))
    elif reply.loss in {Loss.READ_TIMEOUT, Loss.CONNECT_TIMEOUT}:
        gate.timed_out(started_at)
    elif reply.loss is not None or reply.status >= INTERNAL_SERVER_ERROR:
        gate.dropped(started_at)
    else:
        gate.accepted(started_at)
