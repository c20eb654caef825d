"""Latencies as a histogram that can be merged: few numbers, whatever was measured. Pure.

The cells grow by a sixteenth of an octave, as in HdrHistogram and DDSketch, so that a percentile is exact to 2.2 % of
itself from a microsecond to an hour, and two histograms are merged without a loss by adding their cells.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PER_OCTAVE = 16
SHORTEST_S = 1e-6
"""Nothing that is measured is shorter; the logarithm of 0 does not exist."""


def cell_of(seconds: float) -> int:
    """The cell that a latency is counted in."""
    return math.ceil(math.log2(max(seconds, SHORTEST_S)) * PER_OCTAVE)


def percentile(cells: Mapping[int, int], share: float) -> float | None:
    """The latency, in seconds, that ``share`` of those in ``cells`` do not exceed; None if there are none."""
    rank, seen = math.ceil(share * sum(cells.values())), 0
    for cell in sorted(cells):
        seen += cells[cell]
        if seen >= rank:
            return float(2 ** ((cell - 0.5) / PER_OCTAVE))
    return None


def merge(into: dict[int, int], cells: Mapping[int, int]) -> None:
    """Add ``cells`` to those of another histogram."""
    for cell, number in cells.items():
        into[cell] = into.get(cell, 0) + number
