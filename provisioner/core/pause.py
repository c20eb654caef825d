"""A pause: a target that nothing is sent to for a time."""

from __future__ import annotations

import datetime as dt
import shlex

import msgspec

LOOK_EVERY_S = 5.0
"""A run notices a pause within this time: it asks the ledger one short question for all targets together."""
RESUME = "provisioner resume"
"""The command that ends a pause, before the name of the target."""


class Pause(msgspec.Struct, frozen=True):
    """Why and until when nothing is sent to a target.

    Attributes:
        until: when it ends by itself, seconds since the epoch.
        since: when it was recorded.
        reason: for people, "" for none.
    """

    until: float
    since: float
    reason: str = ""

    @property
    def end(self) -> str:
        """When it ends, ISO 8601 in UTC."""
        return dt.datetime.fromtimestamp(self.until, dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

    @property
    def text(self) -> str:
        """For people."""
        return f"until {self.end}{f': {self.reason}' if self.reason else ''}"


def resume_hint(target: str) -> str:
    """What to type to end the pause of ``target``."""
    return f"`{RESUME} {shlex.quote(target)}` ends the pause"
