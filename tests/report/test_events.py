"""Log events of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.report.events import EventLog

if TYPE_CHECKING:
    import pytest


def test_a_wait_without_a_known_end(caplog: pytest.LogCaptureFixture) -> None:
    """The event of a wait says how many seconds it takes, where that is known, and otherwise has no such key."""
    events = EventLog("default", lambda: 100.0)
    with caplog.at_level("INFO", "provisioner"):
        events.waiting_began("the settle time", 112.34)
        events.waiting_began("reading what the account holds", 0.0)

    assert caplog.messages == [
        "event='wait.began' target='default' what='the settle time' seconds=12.3",
        "event='wait.began' target='default' what='reading what the account holds'",
    ]
