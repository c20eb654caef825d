"""Crash campaign: a run killed with SIGKILL at a numbered point, recovered by the next, compared with the truth.

    python -m tests.faults.crash --points 10000 --seed 1        the campaign
    python -m tests.faults.crash --points 10000 --second-day    that of updates, replacements and prunes

A point lies before and after every commit, before and after every send, and at every receive, of creates, changes of
tags and deletions. The process forks for
each run, so it has no threads; the ledger lies in memory (``/dev/shm``), since a killed process loses nothing that the
kernel has. A request that left takes effect although its sender is dead: the journal sees to that. Between two kills
the ledger may go back to a copy of its files, with or without the -wal, and a run with a second ledger may be killed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import structlog

from provisioner.core.entry import Outcome
from provisioner.emulator.behaviour import Behaviour
from tests.definition_lines import lines_of, manifest_of, named
from tests.fakes import make_policy
from tests.faults.invariants import TAG, check_finished_together, check_invariants, check_never_without
from tests.faults.world import (
    CREATE_PATH,
    EPOCH,
    ROLE,
    Copies,
    Fate,
    Order,
    World,
    entries_of,
    findings,
    handing,
    ledger_id_of,
    older_of,
    register,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.emulator import Algorithm, Truth
    from provisioner.report.statistics import Statistics
    from tests.faults.world import Ended

Names = Literal["unique", "duplicates", "same"]
Configured = Literal["unknown", "unique", "duplicates", "same"]
NAMES: tuple[Names, ...] = get_args(Names)
KILLS_PER_SCENARIO = 20
RUNS = 12
"""Runs after which a scenario has to be finished."""
LATE_S = 290.0
LAG_S = 55.0
"""With the time that a request travels, below the settle time of six minutes: the condition of the promise."""
TAGGING: dict[str, Any] = {"tagging_lag": LAG_S, "tagging_omissions": 0.3, "tagging_ghosts": 0.3}
"""The index of the tagging API at its worst: it is late, leaves out what exists, and shows what is gone."""
SETTLED_S = 400.0
"""After that everything that was sent has taken effect, and List shows it: the condition under which a ledger may go
back in time, or another one be used."""
FAULTS_OF_CHANGES = (
    "lost_reply",
    "late",
    "late_error",
    "hang",
    "reset_without_effect",
    "error",
    "error_without_effect",
    "cut_reply",
    "throttle",
    "refused",
    "lost_request",
)
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


def quiet() -> None:
    """A campaign prints its figures, not what each of its runs has to say."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


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


def in_a_fork(run: Callable[[], float], world: World) -> None:
    """Do ``run`` in a fork, which may die; if it does not, the true time that it returns is noted in the journal."""
    child = os.fork()
    if not child:
        try:
            world.note(repr(run()).encode())
        except BaseException:  # noqa: BLE001  whatever it is, the parent must hear of it
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    dead = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not dead and os.waitstatus_to_exitcode(status):
        message = "the run broke down"
        raise AssertionError(message)


def last_seen(world: World, ledger: Path, base: float) -> float:
    """When the ledger was last written or a request arrived, at least."""
    seen = [world.ended_at]
    if ledger.exists():
        older = older_of(ledger)
        seen += [entry.updated_at for entry in entries_of(ledger).values()]
        seen += [version.updated_at for version in older.versions.values()]
        seen += [entry.updated_at for entry in older.incoming.values()]
    return max(base, *seen)


class Campaign:
    """One scenario: a manifest is registered for the first time, in a directory of its own.

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
        world = self.world()
        killer = Killer(world, kill_at, named)
        order = self.order(number)
        order.base, order.point = base, killer
        return register(world, order), killer.count

    def order(self, number: int) -> Order:
        """What run ``number`` is asked to do."""
        random = Random(f"{self.scenario.seed} {number}")  # noqa: S311  replayable
        return Order(
            manifest=self.manifest,
            ledger=self.ledger,
            policy=self.policy,
            hand=handing_at_random(random, self.scenario.faulty if number < RUNS // 2 else 0.0),
        )

    def killed(self, number: int, base: float, kill_at: int) -> float:
        """Run ``number`` in a fork that dies at a point; a true time after its death."""
        in_a_fork(lambda: self.run(number, base, kill_at)[0].at, self.world())
        return last_seen(self.world(), self.ledger, base)

    def finish(self, first: int, base: float, *, back: bool = False) -> int:
        """Run until everything is done, with each ledger that was used, and compare; how many algorithms recovered.

        Args:
            first: number of the next run.
            base: when it begins.
            back: whether the ledger has gone back in time, so that it does not know of everything that was done.
        """
        del back
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


Kind = Literal["update", "replace", "delete-first", "prune", "everything"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CHANGES: dict[Kind, tuple[str, ...]] = {
    "update": ("tags",),
    "replace": ("definition", "both"),
    "delete-first": ("definition", "both"),
    "prune": ("gone",),
    "everything": ("tags", "definition", "both", "gone", "deleted"),
}
"""What may happen to a definition on the second day, besides nothing."""
FOREIGN = 2


class SecondDay(Campaign):
    """Another scenario: the manifest has been registered, has changed, and is applied once more.

    Args:
        scenario: what it is about.
        directory: for manifest, ledger and journal.
    """

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        random = Random(f"second day {scenario.seed}")  # noqa: S311  replayable
        self.kind = KINDS[scenario.seed % len(KINDS)]
        first = self.kind == "delete-first" or (self.kind == "everything" and random.random() < 0.5)
        if self.kind in {"replace", "everything"} and not first:
            # Elsewhere the service refuses a second algorithm of one name.
            scenario = msgspec.structs.replace(scenario, names="duplicates", configured="unknown")
        scenario = msgspec.structs.replace(scenario, tag=TAG)
        super().__init__(scenario, directory)
        self.list_delete_lag = random.choice([0.0, LAG_S])
        self.policy = make_policy(names=scenario.configured, on_change="replace", deletes=True, delete_first=first)
        self.gone: list[str] = []
        self.manifest.write_bytes(manifest_of(*self.names))
        self._register(random)

    def _register(self, random: Random) -> None:
        world = self.world()
        for number in range(FOREIGN):
            body = msgspec.json.encode({"name": f"foreign {number}", "roleArn": ROLE})
            world.send(EPOCH - 2000.0, body, Fate(there_s=0.0))
        register(world, Order(manifest=self.manifest, ledger=self.ledger, policy=self.policy, base=EPOCH - 1000.0))
        self.foreign = {one.arn for one in world.truth.alive if TAG not in one.tags}
        happens = {name: random.choice(["", *CHANGES[self.kind]]) for name in self.names}
        happens[self.names[0]] = happens[self.names[0]] or CHANGES[self.kind][0]
        for one in world.truth.alive:
            if happens.get(one.name) == "deleted":
                self.gone.append(one.arn)
                world.send(
                    EPOCH - 500.0, b"", Fate(there_s=0.0), "DELETE", f"{CREATE_PATH}/{one.arn.replace('/', '%2F')}"
                )
        self.wanted = {
            name: named(
                name,
                **{"description": "another"} if what in {"definition", "both"} else {},
                **{"tags": {"team": "ads"}} if what in {"tags", "both"} else {},
            )
            for name, what in happens.items()
            if what != "gone"
        }
        # A manifest without definitions prunes nothing.
        self.wanted |= {name: named(name) for name in ("new 0", "new 1")[: random.randint(not self.wanted, 2)]}
        self._first_day = {path: path.read_bytes() for path in directory_files(self.directory)}
        self.names = list(self.wanted)
        self.manifest.write_bytes(lines_of(*self.wanted.values()))

    def world(self) -> World:
        """The endpoint as the journal has it."""
        lag_s = getattr(self, "list_delete_lag", 0.0)
        return World(
            Behaviour(names=self.scenario.names, list_lag=LAG_S, list_delete_lag=lag_s, **TAGGING), self.journal
        )

    def clear(self) -> None:
        """Go back to the end of the first day."""
        super().clear()
        for path, content in self._first_day.items():
            if path != self.manifest:
                path.write_bytes(content)

    def order(self, number: int) -> Order:
        """What run ``number`` is asked to do."""
        order = super().order(number)
        faulty = self.scenario.faulty if number < RUNS // 2 else 0.0
        random = Random(f"changes {self.scenario.seed} {number}")  # noqa: S311  replayable
        hands = {
            kind: handing_at_random(random, faulty, FAULTS_OF_CHANGES + (("conflict",) if kind == "delete" else ()))
            for kind in ("tag", "untag", "delete")
        }
        order.change, order.prune = lambda kind: hands[kind](), True
        return order

    def finish(self, first: int, base: float, *, back: bool = False) -> int:
        """Run until nothing is left to do; then AWS has the manifest and the foreign ones, and nothing else."""
        statistics = []
        for number in range(first, RUNS + 1):
            ended, _ = self.run(number, base)
            statistics.append(ended.statistics)
            base = ended.at + (SETTLED_S if number > RUNS // 2 else 1.0)
            if not {"create", "tag", "delete"} & ended.statistics.calls.keys() and not ended.statistics.reasons():
                break
        else:
            raise AssertionError(f"unfinished: {statistics[-1]} {statistics[-1].problems}")
        truth = self.world().truth
        unknown = {one.arn for one in truth.algorithms if one.deleted_at is not None} if back else set()
        check_invariants(
            truth,
            entries_of(self.ledger),
            ledger_id_of(self.ledger),
            statistics=statistics,
            older=older_of(self.ledger, {*self.gone, *unknown}),
        )
        if not self.policy.delete_first:
            check_never_without(truth, [name for name in self.names if name not in self._deleted(truth)])
        assert self.foreign == {one.arn for one in truth.alive if TAG not in one.tags}, "a foreign one is gone"
        made = {one.name: one for one in truth.alive if TAG in one.tags}
        assert len(made) == len(truth.alive) - FOREIGN, "twice"
        assert {name: shown(one) for name, one in made.items()} == self.wanted
        order = self.order(RUNS)
        order.base = base
        assert findings(self.world(), order) == []
        return sum(one.outcomes[Outcome.RECOVERED] for one in statistics)

    def _deleted(self, truth: Truth) -> set[str]:
        return {one.name for one in truth.algorithms if one.arn in self.gone}


def directory_files(directory: Path) -> list[Path]:
    """The files in ``directory``."""
    return [path for path in directory.iterdir() if path.is_file()]


def shown(algorithm: Algorithm) -> dict[str, Any]:
    """An algorithm as a manifest would have it."""
    tags = {key: value for key, value in algorithm.tags.items() if key != TAG}
    return {**algorithm.request, "tags": tags} if tags else {k: v for k, v in algorithm.request.items() if k != "tags"}


def handing_at_random(random: Random, faulty: float, faults: Sequence[str] = FAULTS) -> Callable[[], Fate]:
    """Fates by chance."""

    def hand() -> Fate:
        there, back = random.uniform(0.01, 2.0), random.uniform(0.01, 2.0)
        if random.random() >= faulty:
            return Fate("ok", there, back)
        return Fate(random.choice(faults), there, back, random.uniform(0.0, LATE_S))

    return hand


def explore(seed: int, kills: int, directory: Path, day: type[Campaign] = Campaign) -> Counter[str]:
    """``kills`` kill points of one scenario."""
    campaign = day(scenario_of(seed), directory)
    moves = ("", "", "", "back", "second") if day is Campaign else ("", "", "", "back")
    random = Random(f"kills {seed}")  # noqa: S311  replayable
    campaign.clear()
    _, points = campaign.run(0, EPOCH)
    counts: Counter[str] = Counter()
    for _ in range(kills):
        campaign.clear()
        at = random.randint(1, points)
        base = campaign.killed(0, EPOCH, at) + random.choice([0.0, 1.0, 200.0, 400.0])
        counts["kills"] += 1
        first = 1
        copies, move = Copies(campaign.ledger), random.choice(moves)
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
            counts["algorithms recovered"] += campaign.finish(first, base, back=move == "back")
        except AssertionError as error:
            error.add_note(f"replay: --seed {seed} --points {kills}; {campaign.scenario}; killed at {at} of {points}")
            raise
        counts["histories"] += 1
        counts[campaign.kind if isinstance(campaign, SecondDay) else campaign.scenario.names] += 1
    return counts


def campaign(points: int, seed: int, day: type[Campaign] = Campaign) -> Counter[str]:
    """At least ``points`` kill points from ``seed`` on, in every world of names."""
    quiet()
    counts: Counter[str] = Counter()
    directory = Path(tempfile.mkdtemp(prefix="crash-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))  # noqa: S108
    try:
        while counts["kills"] < points:
            counts += explore(seed, min(KILLS_PER_SCENARIO, points), directory, day)
            counts["scenarios"] += 1
            seed += 1
            for path in directory.iterdir():
                path.unlink()
    finally:
        shutil.rmtree(directory)
    return counts


def die_at(directory: Path, named: str, nth: int) -> None:
    """One run of one definition in an ordinary world that dies at the ``nth`` point of a name, if there is one."""
    quiet()
    one = Campaign(Scenario(0, "duplicates", "unknown", 1, 0.0), directory)
    world = one.world()
    killer = Killer(world, nth, named)
    register(world, Order(manifest=one.manifest, ledger=one.ledger, hand=handing("ok"), point=killer))


def figures(points: int, seed: int, day: type[Campaign] = Campaign) -> str:
    """Run a campaign; what it counted. It forks, so that its process may have no threads."""
    began = time.perf_counter()
    counts = campaign(points, seed, day)
    took = time.perf_counter() - began
    counted = ", ".join(f"{count} {what}" for what, count in counts.items())
    what = "crash campaign of the second day" if day is SecondDay else "crash campaign"
    return f"{what}, seed {seed}: {counted}; 0 lost, 0 twice, 0 unfinished; {took:.1f} s"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--second-day", action="store_true")
    given = parser.parse_args()
    print(figures(given.points, given.seed, SecondDay if given.second_day else Campaign))  # noqa: T201


if __name__ == "__main__":
    main()
