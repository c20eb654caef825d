"""The crash campaign: a sample by default, all of it as torture."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.faults import crash, crash_commands
from tests.faults.crash import KINDS, SecondDay
from tests.faults.loaded import LOADED

if TYPE_CHECKING:
    from collections.abc import Callable

POINTS = int(os.environ.get("PROVISIONER_KILL_POINTS", "10000"))


SCENARIOS = int(os.environ.get("PROVISIONER_KILLED_COMMANDS", "200"))


def started(campaign: Callable[..., str], *arguments: object) -> str:
    """Run a campaign in a process without threads, for it forks; its figures."""
    with ProcessPoolExecutor(1, mp_context=LOADED) as pool:
        return pool.submit(campaign, *arguments).result()


def test_kill_points() -> None:
    """Killed anywhere, a run is finished by the next: nothing lost, nothing twice, nothing left open."""
    assert " 0 lost, 0 twice, 0 unfinished" in started(crash.figures, 15, 1)


def test_kill_points_between_two_ledgers() -> None:
    """Where names are the same, a create that one ledger left is not answered with the algorithm of another."""
    assert " 0 lost, 0 twice, 0 unfinished" in started(crash.figures, 20, 218825)


@pytest.mark.torture
def test_kill_points_in_full() -> None:
    """The same at 10,000 points in all worlds of names; PROVISIONER_KILL_POINTS says at how many."""
    print(started(crash.figures, POINTS, Random().randrange(10**6)))  # noqa: S311, T201  the campaign's figures


@pytest.mark.parametrize("seed", range(len(KINDS)), ids=KINDS)
def test_kill_points_of_the_second_day(seed: int) -> None:
    """Killed anywhere, an update, a replacement or a prune ends with the manifest and what is foreign, nothing else."""
    assert " 0 lost, 0 twice, 0 unfinished" in started(crash.figures, 6, seed, SecondDay)


@pytest.mark.torture
def test_kill_points_of_the_second_day_in_full() -> None:
    """The same at 10,000 points."""
    seed = Random().randrange(10**6)  # noqa: S311  printed
    print(started(crash.figures, POINTS, seed, SecondDay))  # noqa: T201  the campaign's figures


def test_kill_points_of_other_commands() -> None:
    """Killed anywhere, destroy, adopt, forget and rename-target are finished by the same command, with 0."""
    figures = started(crash_commands.figures, 4, 0, 1)
    assert " 4 histories" in figures
    assert " 0 lost, 0 twice, 0 unfinished" in figures


@pytest.mark.torture
def test_kill_points_of_other_commands_in_full() -> None:
    """The same at every point of 200 scenarios; PROVISIONER_KILLED_COMMANDS says of how many."""
    seed = Random().randrange(10**6)  # noqa: S311  printed
    print(started(crash_commands.figures, SCENARIOS, seed))  # noqa: T201  the figures
