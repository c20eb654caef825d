"""How long a fact waits for others to share its commit."""

from __future__ import annotations

import pytest

from provisioner.ledger.commit_wait import LOOK_S, WAIT_S, CommitWait


@pytest.mark.parametrize(("targets", "waits_s"), [(1, 0.0), (7, 0.0), (8, WAIT_S), (1000, WAIT_S)])
def test_only_facts_of_many_targets_wait_for_each_other(targets: int, waits_s: float) -> None:
    """However many facts one target records, each is committed at once."""
    commit_wait = CommitWait(0.0)
    for number in range(1000):
        commit_wait.add(f"t{number % targets}")

    assert commit_wait.wait_s(LOOK_S) == waits_s


def test_nothing_waits_for_targets_that_have_ended() -> None:
    """Only the targets of the last moments count."""
    commit_wait = CommitWait(0.0)
    for number in range(8):
        commit_wait.add(f"t{number}")
    waits_s = [commit_wait.wait_s(0.9 * LOOK_S), commit_wait.wait_s(LOOK_S), commit_wait.wait_s(1.9 * LOOK_S)]
    commit_wait.add("t0")

    assert [*waits_s, commit_wait.wait_s(2 * LOOK_S)] == [0.0, WAIT_S, WAIT_S, 0.0]
