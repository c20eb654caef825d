"""The guess of R at the end of the first climb, from how many of the calls in flight were accepted.

The first 429 says that the bucket is empty, not how large it was: each size gives another R, several times apart. The
calls in flight at that moment are a first measurement, if a coarse one: an empty bucket accepts R times their span of
them. So each candidate is weighed by how well it explains that number, and the guess is the mean of their logarithms.
"""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.pacing.tuning import Tuning

OUTLIER = 1.0e-6
"""Weight of a candidate that does not explain the calls in flight at all: where none does, all count alike."""


class Flight(msgspec.Struct, frozen=True):
    """The calls that started after the first throttled one, and before its reply.

    Attributes:
        sent, accepted: how many they were, and how many of them were accepted.
        span: seconds in which they started.
        displaced: calls that jitter moves past the throttled one, about.
    """

    sent: int
    accepted: int
    span: float
    displaced: float


def likely(tuning: Tuning, candidates: Iterable[float], flight: Flight, initial_rate: float) -> float:
    """The limit that the calls in flight make likely.

    One near the initial rate counts more than others, since that may be published.
    """
    variance = tuning.flight_variance + tuning.flight_jitter * flight.displaced
    total = weights = 0.0
    for limit in candidates:
        off = flight.accepted - min(limit * flight.span, flight.sent)
        weight = OUTLIER + exp(-off * off / (2.0 * variance))
        if abs(log(limit / initial_rate)) < tuning.initial_band:
            weight *= tuning.initial_weight
        total += weight * log(limit)
        weights += weight
    return exp(total / weights)
