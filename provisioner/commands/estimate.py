"""How long the creates of a plan take at what is known of the pace."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from provisioner.core.hours import takes_s

if TYPE_CHECKING:
    from provisioner.commands.run import Run
    from provisioner.pacing.gate import Gate


def estimate_s(run: Run, creates: Gate, calls: int) -> float:
    """Seconds that so many calls take from now on, with the shares of the hours ahead."""
    pace, gate = run.order.settings.pace, creates.statistics()
    limit, now = float(gate["limit"]), float(gate["rate"])
    if not pace.hours or not limit:
        return calls / now if now else 0.0
    most = pace.max_rate or inf
    return takes_s(calls, run.clock.wall(), pace.hours, lambda share: min(share * limit, most))
