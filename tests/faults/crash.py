"""Crash campaign: a run killed with SIGKILL at a numbered point, recovered by the next, compared with the truth.

    python -m tests.faults.crash --points 10000 --seed 1        the campaign
    python -m tests.faults.crash --at "after send" --directory D  one run that dies at that point

A point lies before and after every commit, before and after every send, and at every receive. The process forks for
each run, so it has no threads; the ledger lies in memory (``/dev/shm``), since a killed process loses nothing that the
kernel has. A request that left takes effect although its sender is dead: the journal sees to that. Between two kills
the ledger may go back to a copy of its files, with or without the -wal, and a run with a second ledger may be killed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Literal, get_args

import msgspec
import structlog

from provisioner.core.entry import Outcome
from provisioner.emulator.behaviour import Behaviour
from tests.fakes import make_policy
from tests.faults.invariants import TAG, check_finished_together, check_invariants
from tests.faults.world import (
    EPOCH,
    Copies,
    Fate,
    Order,
    World,
    entries_of,
    handing,
    ledger_id_of,
    register,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.report.statistics import Statistics
    from tests.faults.world import Ended

Names = Literal["unique", "duplicates", "same"]
Configured = Literal["unknown", "unique", "duplicates", "same"]
NAMES: tuple[Names, ...] = get_args(Names)
KILLS_PER_SCENARIO = 20
RUNS = 12
"""Runs after which a scenario has to be finished."""
SETTLED_S = 400.0
"""After that everything that was sent has taken effect, and List shows it: the condition under which a ledger may go
back in time, or another one be used."""
LATE_S = 290.0
LAG_S = 55.0
"""With the time that a request travels, below the settle time of six minutes: the condition of the promise."""
FAULTS = (
    "lost_reply",
    "late",
    "late_error",
    "hang",
    "reset",
    "reset_without_effect",
    "error",
    "error_without_effect",
    "truncated",
    "no_arn",
    "cut_reply",
    "throttle",
    "hang_without_effect",
    "refused",
    "lost_request",
)


class Scenario(msgspec.Struct, frozen=True):
    """What a seed stands for.

    Attributes:
        seed: of everything.
        names: the world of names.
        configured: what the configuration says of it.
        size: definitions.
        faulty: share of creates that meet a fault.
        tag: the ownership tag, "" for none.
    """

    seed: int
    names: Names
    configured: Configured
    size: int
    faulty: float
    tag: str = TAG


def scenario_of(seed: int) -> Scenario:
    """The scenario of ``seed``: each world of names in turn, configured or not."""
    random = Random(seed)  # noqa: S311  replayable
    names = NAMES[seed % len(NAMES)]
    configured: Configured = random.choice(["unknown", names])
    size, faulty = random.randint(1, 8), random.choice([0.0, 0.3, 0.6])
    return Scenario(seed, names, configured, size, faulty, tag=random.choice([TAG, TAG, TAG, ""]))


class Killer:
    """Counts the points of a run, and dies at one of them.

    Args:
        world: keeps the time of death.
        now: true time.
        at: the number of that point, 0 for none.
        named: only points of this name count, "" for all.
    """

    def __init__(self, world: World, at: int = 0, named: str = "") -> None:
        self.count = 0
        self._world = world
        self._at = at
        self._named = named

    def __call__(self, name: str) -> None:
        """Pass a point, or die."""
        self.count += not self._named or name == self._named
        if self._at and self.count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


class Campaign:
    """One scenario, in a directory of its own.

    Args:
        scenario: what it is about.
        directory: for manifest, ledger and journal.
    """

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario = scenario
        self.directory = directory
        self.names = [f"algorithm {number}" for number in range(scenario.size)]
        self.manifest = write_manifest(directory / "m.jsonl", self.names)
        self.ledgers = directory / "ledger.db", directory / "second.db"
        self.ledger = self.ledgers[0]
        self.journal = directory / "journal"
        self.policy = make_policy(names=scenario.configured, ownership_tag=scenario.tag)

    def world(self) -> World:
        """The endpoint as the journal has it."""
        return World(Behaviour(names=self.scenario.names, list_lag=LAG_S), self.journal)

    def clear(self) -> None:
        """Forget what happened."""
        self.ledger = self.ledgers[0]
        for path in self.directory.iterdir():
            if path != self.manifest:
                path.unlink()

    def run(self, number: int, base: float, kill_at: int = 0, named: str = "") -> tuple[Ended, int]:
        """Run ``number``, here; what it did, and how many points it passed."""
        random = Random(f"{self.scenario.seed} {number}")  # noqa: S311  replayable
        world = self.world()
        killer = Killer(world, kill_at, named)
        order = Order(
            manifest=self.manifest,
            ledger=self.ledger,
            policy=self.policy,
            hand=handing_at_random(random, self.scenario.faulty if number < RUNS // 2 else 0.0),
            base=base,
            point=killer,
        )
        return register(world, order), killer.count

    def killed(self, number: int, base: float, kill_at: int) -> float:
        """Run ``number`` in a fork that dies at a point; a true time after its death."""
        child = os.fork()
        if not child:
            self._child(number, base, kill_at)
        _, status = os.waitpid(child, 0)
        dead = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not dead and os.waitstatus_to_exitcode(status):
            message = "the run broke down"
            raise AssertionError(message)
        return self.last_seen(base)

    def _child(self, number: int, base: float, kill_at: int) -> None:
        try:
            ended, _ = self.run(number, base, kill_at)
            self.world().note(repr(ended.at).encode())
        except BaseException:  # noqa: BLE001  whatever it is, the parent must hear of it
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def last_seen(self, base: float) -> float:
        """When the ledger was last written or a request arrived, at least."""
        entries = entries_of(self.ledger).values() if self.ledger.exists() else ()
        seen = [entry.updated_at for entry in entries]
        return max([base, self.world().ended_at, *seen])

    def finish(self, first: int, base: float) -> int:
        """Run until everything is done, with each ledger that was used, and compare; how many algorithms recovered."""
        recovered = 0
        for ledger in self.ledgers:
            if ledger.exists():
                self.ledger = ledger
                statistics, base = self._finish(first, base)
                recovered += sum(one.outcomes[Outcome.RECOVERED] for one in statistics)
                base += SETTLED_S
        ledgers = {ledger_id_of(ledger): entries_of(ledger) for ledger in self.ledgers if ledger.exists()}
        names_repeat = self.scenario.configured == "duplicates"
        check_finished_together(self.world().truth, ledgers, self.names, names_repeat=names_repeat)
        return recovered

    def _finish(self, first: int, base: float) -> tuple[list[Statistics], float]:
        statistics = []
        for number in range(first, RUNS):
            ended, _ = self.run(number, base)
            statistics.append(ended.statistics)
            base = ended.at + 1.0
            if ended.statistics.outcomes[Outcome.AMBIGUOUS] + ended.statistics.outcomes[Outcome.PENDING] == 0:
                break
        truth, entries = self.world().truth, entries_of(self.ledger)
        untagged = () if self.scenario.tag else [one.arn for one in truth.alive]
        check_invariants(truth, entries, ledger_id_of(self.ledger), statistics=statistics, before=untagged)
        before = truth.count("create")
        ended, _ = self.run(RUNS, base)
        assert ended.statistics.calls["create"] == 0, "I6: a finished job sent a create"
        assert self.world().truth.count("create") == before
        return statistics, ended.at


def handing_at_random(random: Random, faulty: float) -> Callable[[], Fate]:
    """Fates by chance."""

    def hand() -> Fate:
        there, back = random.uniform(0.01, 2.0), random.uniform(0.01, 2.0)
        if random.random() >= faulty:
            return Fate("ok", there, back)
        return Fate(random.choice(FAULTS), there, back, random.uniform(0.0, LATE_S))

    return hand


def explore(seed: int, kills: int, directory: Path) -> Counter[str]:
    """``kills`` kill points of one scenario."""
    campaign = Campaign(scenario_of(seed), directory)
    random = Random(f"kills {seed}")  # noqa: S311  replayable
    _, points = campaign.run(0, EPOCH)
    counts: Counter[str] = Counter()
    for _ in range(kills):
        campaign.clear()
        at = random.randint(1, points)
        base = campaign.killed(0, EPOCH, at) + random.choice([0.0, 1.0, 200.0, 400.0])
        counts["kills"] += 1
        first = 1
        copies, move = Copies(campaign.ledger), random.choice(("", "", "", "back", "second"))
        copies.take(wal=random.random() < 0.5)
        if move == "second":
            campaign.ledger = campaign.ledgers[1]
            base += SETTLED_S
        if move or random.random() < 0.3:
            base = campaign.killed(1, base, random.randint(1, points)) + random.choice([0.0, 100.0])
            counts["kills"] += 1
            first = 2
        if move:
            base += SETTLED_S
            counts[move] += 1
        if move == "back" and len(copies):
            copies.put_back(0)
        try:
            counts["algorithms recovered"] += campaign.finish(first, base)
        except AssertionError as error:
            error.add_note(f"replay: --seed {seed} --points {kills}; {campaign.scenario}; killed at {at} of {points}")
            raise
        counts["histories"] += 1
        counts[campaign.scenario.names] += 1
    return counts


def campaign(points: int, seed: int) -> Counter[str]:
    """At least ``points`` kill points from ``seed`` on, in every world of names."""
    counts: Counter[str] = Counter()
    directory = Path(tempfile.mkdtemp(prefix="crash-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))  # noqa: S108
    try:
        while counts["kills"] < points:
            counts += explore(seed, min(KILLS_PER_SCENARIO, points), directory)
            counts["scenarios"] += 1
            seed += 1
            for path in directory.iterdir():
                path.unlink()
    finally:
        shutil.rmtree(directory)
    return counts


def die_at(directory: Path, named: str, nth: int, outcome: str) -> None:
    """One run of one definition in an ordinary world that dies at the ``nth`` point of a name."""
    one = Campaign(Scenario(0, "duplicates", "unknown", 1, 0.0), directory)
    world = one.world()
    killer = Killer(world, nth, named)
    register(world, Order(manifest=one.manifest, ledger=one.ledger, hand=handing(outcome), point=killer))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--at", default="")
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--outcome", default="ok")
    parser.add_argument("--directory", type=Path)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    if given.at:
        die_at(given.directory, given.at, given.nth, given.outcome)
        sys.exit("the point was never reached")
    began = time.perf_counter()
    counts = campaign(given.points, given.seed)
    took = time.perf_counter() - began
    figures = ", ".join(f"{count} {what}" for what, count in counts.items())
    print(f"crash campaign, seed {given.seed}: {figures}; 0 lost, 0 twice, 0 unfinished; {took:.1f} s")  # noqa: T201


if __name__ == "__main__":
    main()
