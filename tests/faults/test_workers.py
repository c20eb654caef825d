"""The campaign with several workers: a sample by default, all of it as torture."""

from __future__ import annotations

import os
import subprocess
import sys
from random import Random

import pytest

from tests.faults.workers import POINTS
from tests.postgres import server_url

SCENARIOS = int(os.environ.get("PROVISIONER_WORKER_SCENARIOS", "200"))
BEFORE_INTENT = 2 * len(POINTS) + POINTS.index("before intent")
"""The seed of a scenario with names that repeat, so that a second create makes a second algorithm."""
UNHARMED = " 0 lost, 0 twice, 0 unfinished"


def campaign(scenarios: int, seed: int, *more: str) -> str:
    """So many scenarios from ``seed`` on, in a process without threads, for it forks; their figures."""
    command = [sys.executable, "-m", "tests.faults.workers", "--seed", str(seed), "--scenarios", str(scenarios)]
    done = subprocess.run([*command, "--server", server_url(), *more], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()


def test_a_worker_that_wakes_up_makes_nothing_twice() -> None:
    """One is stopped between the check of its lease and the send until another has its targets, and wakes up then."""
    assert UNHARMED in campaign(1, POINTS.index("after check"), "--act", "stop")


@pytest.mark.torture
def test_a_worker_that_wakes_up_before_its_intent_records_nothing() -> None:
    """One of four is stopped before an intent until others have its targets: its commit is refused when it wakes up."""
    assert UNHARMED in campaign(1, BEFORE_INTENT, "--act", "stop")


@pytest.mark.torture
@pytest.mark.parametrize("act", ["kill", "stop"])
def test_workers_in_full(act: str) -> None:
    """At every point, with two and four workers; PROVISIONER_WORKER_SCENARIOS says how often."""
    print(campaign(SCENARIOS, Random().randrange(10**6), "--act", act))  # noqa: S311, T201  the campaign's figures


@pytest.mark.torture
def test_workers_behind_a_pool() -> None:
    """Each transaction may get another connection: PgBouncer in transaction mode."""
    print(campaign(SCENARIOS // 10, Random().randrange(10**6), "--pooled"))  # noqa: S311, T201  the campaign's figures


@pytest.mark.torture
def test_workers_of_a_server_that_restarts() -> None:
    """The server crashes and comes back, again and again, while creates run."""
    print(campaign(SCENARIOS // 10, Random().randrange(10**6), "--restarts"))  # noqa: S311, T201  the campaign's figures
