"""How long a fact waits for others to share its commit."""

from __future__ import annotations

import pytest

from provisioner.ledger.commit_wait import INTENT_S, LOOK_S, RESULT_S, CommitWait


@pytest.mark.parametrize(("targets", "waits_s"), [(1, 0.0), (7, 0.0), (8, RESULT_S), (1000, RESULT_S)])
def test_only_facts_of_many_targets_wait_for_each_other(targets: int, waits_s: float) -> None:
    """However many facts one target records, each is committed at once."""
    commit_wait = CommitWait(0.0)
    for number in range(1000):
        commit_wait.add(f"t{number % targets}")

    assert commit_wait.until(LOOK_S, awaited=False) == LOOK_S + waits_s


def test_an_intent_waits_only_if_another_was_committed_a_moment_ago() -> None:
    """A call waits for it; intents that come together share a commit all the same."""
    commit_wait = CommitWait(0.0)
    for number in range(8):
        commit_wait.add(f"t{number}")
    alone = commit_wait.until(LOOK_S, awaited=True)
    commit_wait.committed(LOOK_S)
    next_ones = [commit_wait.until(LOOK_S + later_s, awaited=True) for later_s in (0.2 * INTENT_S, 0.9 * INTENT_S)]

    assert alone == LOOK_S
    assert next_ones == [LOOK_S + INTENT_S] * 2
    assert commit_wait.until(LOOK_S + 2 * INTENT_S, awaited=True) == LOOK_S + 2 * INTENT_S


def test_nothing_waits_for_targets_that_have_ended() -> None:
    """Only the targets of the last moments count."""
    commit_wait = CommitWait(0.0)
    for number in range(8):
        commit_wait.add(f"t{number}")
    moments = [0.9 * LOOK_S, LOOK_S, 1.9 * LOOK_S, 2 * LOOK_S]
    waits = [commit_wait.until(now, awaited=False) > now for now in moments[:3]]
    commit_wait.add("t0")

    assert [*waits, commit_wait.until(moments[3], awaited=False) > moments[3]] == [False, True, True, False]
