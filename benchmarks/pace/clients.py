"""The baselines: other rate limiters, each with the interface of the pacer.

Each follows its own rule alone: a throttled call goes back to the queue at once, without the exponential backoff and
the retry quota that real clients add.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from botocore.retries.adaptive import ClientRateLimiter, RateClocker
from botocore.retries.bucket import TokenBucket
from botocore.retries.throttling import CubicCalculator

if TYPE_CHECKING:
    import random


class Fixed:
    """A constant rate, as set by hand."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._turn = -1.0e6

    def peek(self, now: float) -> float:
        """One interval after the last turn."""
        del now
        return self._turn + 1.0 / self.rate

    def start(self, now: float) -> None:
        """The turn is taken."""
        self._turn = now

    def accepted(self, started_at: float, now: float) -> None:
        """Nothing is learned."""

    def throttled(self, started_at: float, now: float, advice_s: float | None = None) -> None:
        """Nothing is learned."""

    def dropped(self, started_at: float, now: float) -> None:
        """Nothing is learned."""


class Aimd(Fixed):
    """Additive increase of 1/s every second, multiplicative decrease once for each epoch."""

    def __init__(self, rate: float, factor: float) -> None:
        super().__init__(rate)
        self._factor = factor
        self._cut_at = -1.0
        self._grown_at = 0.0

    def accepted(self, started_at: float, now: float) -> None:
        """Grow by the time that has passed."""
        del started_at
        self.rate += now - self._grown_at
        self._grown_at = now

    def throttled(self, started_at: float, now: float, advice_s: float | None = None) -> None:
        """Cut, unless the call is older than the last cut."""
        del advice_s
        self._grown_at = now
        if started_at > self._cut_at:
            self._cut_at = now
            self.rate = max(0.2, self.rate * self._factor)


class GoogleSre(Fixed):
    """Client-side throttling of the SRE book, chapter 21.

    Refuses locally with probability max(0, (requests - K accepts) / (requests + 1)). Requests count what the
    application asks for, refused or not, over two minutes.
    """

    WINDOW_S = 120
    TICK_S = 0.00025

    def __init__(self, rng: random.Random, k: float = 2.0) -> None:
        super().__init__(1.0 / self.TICK_S)
        self._k = k
        self._rng = rng
        self._buckets: deque[tuple[int, list[float]]] = deque()
        self._requests = 0.0
        self._accepts = 0.0
        self._next = 0.0

    def peek(self, now: float) -> float:
        """When the lottery next lets a call through."""
        del now
        return self._next

    def start(self, now: float) -> None:
        """Draw how many requests are refused before the next one passes."""
        refuse = max(0.0, (self._requests - self._k * self._accepts) / (self._requests + 1.0))
        tries = 1 + (int(math.log(1.0 - self._rng.random()) / math.log(refuse)) if refuse > 0.0 else 0)
        tries = min(tries, 1000)
        self._count(now, 0, float(tries))
        self._next = now + tries * self.TICK_S

    def accepted(self, started_at: float, now: float) -> None:
        """One accept."""
        del started_at
        self._count(now, 1, 1.0)

    def _count(self, now: float, column: int, amount: float) -> None:
        second = int(now)
        if not self._buckets or self._buckets[-1][0] != second:
            self._buckets.append((second, [0.0, 0.0]))
            while self._buckets[0][0] <= second - self.WINDOW_S:
                _, (requests, accepts) = self._buckets.popleft()
                self._requests -= requests
                self._accepts -= accepts
        self._buckets[-1][1][column] += amount
        if column:
            self._accepts += amount
        else:
            self._requests += amount


class _Clock:
    """The clock that botocore's classes read."""

    def __init__(self) -> None:
        self.now = 0.0

    def current_time(self) -> float:
        """Seconds."""
        return self.now


class _Detector:
    """Passes the simulated reply on to botocore's limiter."""

    def is_throttling_error(self, *, throttled: bool) -> bool:
        """The argument."""
        return throttled


class BotocoreAdaptive:
    """The SDK's adaptive mode, from the installed library's own classes, with the clock injected.

    Built as ``botocore.retries.adaptive.register_retry_handler`` does.
    """

    def __init__(self) -> None:
        self._clock = _Clock()
        self._bucket = TokenBucket(max_rate=1, clock=self._clock)
        self._limiter = ClientRateLimiter(
            rate_adjustor=CubicCalculator(starting_max_rate=0, start_time=0.0),
            rate_clocker=RateClocker(self._clock),
            token_bucket=self._bucket,
            throttling_detector=_Detector(),
            clock=self._clock,
        )

    @property
    def rate(self) -> float:
        """The bucket's fill rate."""
        return float(self._bucket.max_rate)

    def peek(self, now: float) -> float:
        """When the bucket will hold a token; at once until the first throttle, as the SDK does."""
        if not self._limiter._enabled:  # noqa: SLF001 - the class has no public way
            return now
        self._clock.now = now
        self._bucket._refill()  # noqa: SLF001 - acquire() would sleep
        return now + max(0.0, float(self._bucket._sleep_amount(1)))  # noqa: SLF001 - the same

    def start(self, now: float) -> None:
        """Take the token."""
        self._clock.now = now + 1.0e-9
        self._limiter.on_sending_request(request=None)

    def accepted(self, started_at: float, now: float) -> None:
        """A success."""
        del started_at
        self._clock.now = now
        self._limiter.on_receiving_response(throttled=False)

    def throttled(self, started_at: float, now: float, advice_s: float | None = None) -> None:
        """A throttle."""
        del started_at, advice_s
        self._clock.now = now
        self._limiter.on_receiving_response(throttled=True)

    def dropped(self, started_at: float, now: float) -> None:
        """Not a throttle: the SDK takes it for a success."""
        self.accepted(started_at, now)


class Reference(Fixed):
    """Measure, then staircase: the best that was known before, built from its description."""

    TAU = 0.002
    GAIN = 0.01

    def __init__(self, rate: float, remembered: float = 0.0) -> None:
        super().__init__(0.9 * remembered if remembered else rate)
        self._phase = "start"
        self._cut_at = -1.0
        self._round_trip = 0.1
        self._epoch_at = 0.0
        self._accepts = 0
        self._base = self.rate
        self._dip = 0
        self._step_at = 0.0
        self._step = 0
        self._recent: deque[bool] = deque(maxlen=20)

    def accepted(self, started_at: float, now: float) -> None:
        """Grow as the phase says."""
        self._round_trip += 0.1 * (now - started_at - self._round_trip)
        self._recent.append(True)
        self._accepts += 1
        if self._phase == "hold":
            self._hold()
            return
        self._step += 1
        if self._step >= 4 and now - self._step_at >= max(0.5, 1.5 * self._round_trip):
            self._base *= {"start": 2.0, "search": 1.1, "surge": 1.08}[self._phase]
            self._stepped(now)
        self.rate = self._base

    def _hold(self) -> None:
        self._base *= math.exp(self.GAIN * self.TAU / (1.0 - self.TAU))
        self._dip = max(0, self._dip - 1)
        self.rate = self._base * (0.9 if self._dip else 1.0)
        if self._accepts > 800:
            self._phase = "surge"

    def _stepped(self, now: float) -> None:
        self._step, self._step_at = 0, now

    def throttled(self, started_at: float, now: float, advice_s: float | None = None) -> None:
        """One cut for each epoch; a collapse of the acceptance is a fall of the limit."""
        del advice_s
        self._recent.append(False)
        if started_at < self._cut_at:
            return
        ratio = sum(self._recent) / len(self._recent)
        if self._phase == "start":
            self._base *= 0.5
            self._phase = "search"
        elif len(self._recent) == 20 and ratio < 0.85:
            self._base *= max(0.5, ratio)
            self._recent.clear()
        elif self._phase == "hold":
            measured = self._accepts / max(now - self._epoch_at, 1.0e-6)
            self._base = measured if self._accepts >= 150 else self._base * math.exp(-self.GAIN)
        elif self._accepts >= 12:
            self._base = self._accepts / max(now - self._epoch_at, 1.0e-6)
            self._phase = "hold"
        else:
            self._base *= 0.6
            self._phase = "search"
        self._base = max(0.2, self._base)
        self._dip = 27
        self.rate = self._base * (0.9 if self._phase == "hold" else 1.0)
        self._cut_at = self._epoch_at = now
        self._accepts = 0
        self._stepped(now)
