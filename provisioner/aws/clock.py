"""The server's clock, as far as it differs from this machine's."""

from __future__ import annotations

from provisioner.aws.wire import http_date

SKEW_S = 60.0
"""A difference beyond this is corrected. The service accepts 300 s (AWS General Reference, Signature Version 4)."""


class ServerClock:
    """What is known of the server's clock; one for all calls to a target.

    Attributes:
        offset_s: seconds that it is ahead of this machine's; signatures carry the time that it shows.
    """

    def __init__(self) -> None:
        self.offset_s = 0.0

    def learn(self, date: str, now: float) -> None:
        """Follow the server's clock, because it refused a signature that may have been made by a wrong one.

        Args:
            date: the Date header of the refusal, "" for none.
            now: seconds since the epoch, by this machine's clock.
        """
        server = http_date(date)
        if server is not None and abs(server - now - self.offset_s) > SKEW_S:
            self.offset_s = server - now
