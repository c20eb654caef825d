"""The crash campaign: a sample by default, all of it as torture."""

from __future__ import annotations

import os
import subprocess
import sys
from random import Random

import pytest

from tests.faults.crash import KINDS

POINTS = int(os.environ.get("PROVISIONER_KILL_POINTS", "10000"))


SCENARIOS = int(os.environ.get("PROVISIONER_KILLED_COMMANDS", "200"))


def started(module: str, seed: int, *more: str) -> str:
    """Run a campaign in a process without threads, for it forks; its figures."""
    command = [sys.executable, "-m", module, "--seed", str(seed), *more]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()


def campaign(points: int, seed: int, *more: str) -> str:
    """The campaign of `apply`."""
    return started("tests.faults.crash", seed, "--points", str(points), *more)


def test_kill_points() -> None:
    """Killed anywhere, a run is finished by the next: nothing lost, nothing twice, nothing left open."""
    assert " 0 lost, 0 twice, 0 unfinished" in campaign(15, 1)


def test_kill_points_between_two_ledgers() -> None:
    """Where names are the same, a create that one ledger left is not answered with the algorithm of another."""
    assert " 0 lost, 0 twice, 0 unfinished" in campaign(20, 218825)


@pytest.mark.torture
def test_kill_points_in_full() -> None:
    """The same at 10,000 points in all worlds of names; PROVISIONER_KILL_POINTS says at how many."""
    print(campaign(POINTS, Random().randrange(10**6)))  # noqa: S311, T201  the campaign's figures


@pytest.mark.parametrize("seed", range(len(KINDS)), ids=KINDS)
def test_kill_points_of_the_second_day(seed: int) -> None:
    """Killed anywhere, an update, a replacement or a prune ends with the manifest and what is foreign, nothing else."""
    assert " 0 lost, 0 twice, 0 unfinished" in campaign(6, seed, "--second-day")


@pytest.mark.torture
def test_kill_points_of_the_second_day_in_full() -> None:
    """The same at 10,000 points."""
    print(campaign(POINTS, Random().randrange(10**6), "--second-day"))  # noqa: S311, T201  the campaign's figures


def test_kill_points_of_other_commands() -> None:
    """Killed anywhere, destroy, adopt, forget and rename-target are finished by the same command, with 0."""
    figures = started("tests.faults.crash_commands", 0, "--scenarios", "4", "--kills", "1")
    assert " 4 histories" in figures
    assert " 0 lost, 0 twice, 0 unfinished" in figures


@pytest.mark.torture
def test_kill_points_of_other_commands_in_full() -> None:
    """The same at every point of 200 scenarios; PROVISIONER_KILLED_COMMANDS says of how many."""
    seed = Random().randrange(10**6)  # noqa: S311  printed
    print(started("tests.faults.crash_commands", seed, "--scenarios", str(SCENARIOS)))  # noqa: T201  the figures
