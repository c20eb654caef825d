"""Crash campaign of the other commands: destroy, adopt, forget and rename-target, killed at every numbered point.

    python -m tests.faults.crash_commands --scenarios 200 --seed 1

A command is killed with SIGKILL at one point after the other (see ``crash``), with calls that meet a fault. Then the
same command has to end with 0, and the account, the ledger and ``verify`` have to agree: nothing foreign is gone,
nothing is lost, nothing is there twice. Half of the scenarios go on with `apply` in place of a `destroy` that died. The
commands are the product's own, with their plan and their selection; the tagging API is late, omits and shows ghosts.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import Event, Fact, State
from provisioner.core.ownership import read_tag
from provisioner.core.versions import REPLACED, Role
from provisioner.emulator.behaviour import Behaviour
from tests.definition_lines import lines_of, named
from tests.fakes import make_policy
from tests.faults.commands import RENAMED, Command, rules_of, run
from tests.faults.crash import (
    FAULTS_OF_CHANGES,
    LAG_S,
    NAMES,
    SETTLED_S,
    TAGGING,
    Configured,
    Killer,
    Names,
    directory_files,
    handing_at_random,
    in_a_fork,
    last_seen,
    quiet,
    shown,
)
from tests.faults.invariants import TAG, check_invariants
from tests.faults.world import (
    EPOCH,
    TARGET,
    DirectLedger,
    Fate,
    Order,
    VirtualClock,
    World,
    entries_of,
    findings,
    handing,
    ledger_id_of,
    older_of,
    register,
)
from tests.virtual_time import run as run_virtually

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.emulator import Algorithm
    from tests.faults.commands import Done
    from tests.faults.world import Point

COMMANDS: tuple[Command, ...] = ("destroy", "adopt", "forget", "rename-target")
FOREIGN = 3
APPLIES = 4
"""Runs of `apply` after which what a `destroy` has left has to be as the manifest says."""


class Scenario(msgspec.Struct, frozen=True):
    """What a seed stands for.

    Attributes:
        seed: of everything.
        command: that is killed.
        names, configured: the world of names, and what the configuration says of it.
        size: definitions.
        faulty: share of changes that meet a fault while they may be killed.
        then: what follows the kill.
        theirs: how many of the definitions exist already, made by somebody else, and are adopted.
        keeps: whether the definitions have been replaced, and the older versions are kept.
        doubtful: whether a create is without an answer.
        adopted: whether the command may delete what was adopted.
        later: whether what follows may.
    """

    seed: int
    command: Command
    names: Names
    configured: Configured
    size: int
    faulty: float
    then: Command
    theirs: int
    keeps: bool
    doubtful: bool
    adopted: bool
    later: bool


def scenario_of(seed: int) -> Scenario:
    """The scenario of ``seed``: each command in turn."""
    random = Random(f"commands {seed}")  # noqa: S311  replayable
    command = COMMANDS[seed % len(COMMANDS)]
    names, size = random.choice(NAMES), random.randint(1, 4)
    then = "apply" if command == "destroy" and random.random() < 0.5 else command
    return Scenario(
        seed=seed,
        command=command,
        names=names,
        configured=random.choice(["unknown", names]),
        size=size,
        faulty=random.choice([0.0, 0.3, 0.6]),
        then=then,
        theirs=random.randint(1, size) if command == "adopt" else random.choice([0, 0, 1]),
        # A forgotten version that is alive is a duplicate from then on: that is what forget is asked for.
        keeps=names == "duplicates" and command in {"destroy", "rename-target"} and random.random() < 0.7,
        doubtful=command in {"destroy", "rename-target"} and random.random() < 0.3,
        adopted=(adopted := random.random() < 0.5),
        later=adopted and (command == then or random.random() < 0.5),
    )


class Commands:
    """One scenario: an account and a ledger with a past, and a command that is killed.

    Args:
        scenario: what it is about.
        directory: for manifest, ledger and journal.
    """

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario = scenario
        self.directory = directory
        self.manifest = directory / "m.jsonl"
        self.ledger = directory / "ledger.db"
        self.target = TARGET
        self.policy = make_policy(names=scenario.configured)
        self._random = Random(f"past {scenario.seed}")  # noqa: S311  replayable
        self._past()

    # What was before.

    def world(self) -> World:
        """The endpoint as the journal has it."""
        lag_s = Random(self.scenario.seed).choice([0.0, LAG_S])  # noqa: S311  replayable
        behaviour = Behaviour(names=self.scenario.names, list_lag=LAG_S, list_delete_lag=lag_s, **TAGGING)
        return World(behaviour, self.directory / "journal")

    def _past(self) -> None:
        scenario, world = self.scenario, self.world()
        names = [f"algorithm {number}" for number in range(scenario.size)]
        made = {f"foreign {number}": named(f"foreign {number}") for number in range(FOREIGN)}
        made |= {name: named(name, tags={"team": "ads"}) for name in names[: scenario.theirs]}
        for body in made.values():
            world.send(EPOCH - 5000.0, msgspec.json.encode(body), Fate(there_s=0.0))
        self.foreign = {one.arn for one in world.truth.alive if one.name.startswith("foreign ")}
        self.theirs = {one.arn for one in world.truth.alive} - self.foreign
        wanted = {name: made.get(name) or named(name, tags={"team": "ads"}) for name in names}
        self._write(wanted)
        if scenario.command != "adopt":
            wanted = self._registered(world, wanted)
        self.wanted = wanted
        self._files = {path: path.read_bytes() for path in directory_files(self.directory)}

    def _registered(self, world: World, wanted: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
        scenario = self.scenario
        adopting = msgspec.structs.replace(self.policy, adopt="same")
        order = Order(manifest=self.manifest, ledger=self.ledger, policy=adopting, base=EPOCH - 4000.0)
        register(world, order)
        if scenario.keeps:
            changed = {name: {**one, "description": "another"} for name, one in wanted.items()}
            # What was taken over is replaced as well; the older one stays theirs.
            wanted |= {name: one for name, one in changed.items() if self._random.random() < 0.7}
            self._write(wanted)
            order.policy = msgspec.structs.replace(adopting, on_change="replace", deletes=True, keep=1)
            order.base = EPOCH - 3000.0
            register(world, order)
        if scenario.doubtful:
            wanted["in doubt"] = named("in doubt")
            self._write(wanted)
            order.policy = msgspec.structs.replace(adopting, wait=False)
            order.hand = handing(self._random.choice(["lost_reply", "lost_request"]))
            order.base = EPOCH - 2000.0
            register(world, order)
        if scenario.command == "forget":
            self._record([Fact("other", name, Event.PLAN, digest="0" * 32, tags_digest="") for name in ("x", "y")])
        return wanted

    def _write(self, wanted: dict[str, dict[str, object]]) -> None:
        self.manifest.write_bytes(lines_of(*wanted.values()))

    def _record(self, facts: list[Fact]) -> None:
        async def record() -> None:
            ledger = DirectLedger(self.ledger, VirtualClock(EPOCH - 1000.0).wall)
            await ledger.record(facts)
            await ledger.close()

        run_virtually(record())

    def clear(self) -> None:
        """Go back to what was before."""
        self.target = TARGET
        for path in directory_files(self.directory):
            if path not in self._files:
                path.unlink()
        for path, content in self._files.items():
            path.write_bytes(content)

    # Commands.

    def run(self, command: Command, base: float, *, point: Point | None = None, fates: Random | None = None) -> Done:
        """One run of a command.

        Args:
            command: which one.
            base: when it begins, true time.
            point: see :class:`tests.faults.world.Point`.
            fates: of its changes; None for those that nothing befalls.
        """
        first = command == "apply" and self.scenario.names != "duplicates"
        may = self.scenario.adopted if command == self.scenario.command else self.scenario.later
        policy = msgspec.structs.replace(self.policy, adopted=may, delete_first=first)
        order = Order(manifest=self.manifest, ledger=self.ledger, policy=rules_of(command, policy), base=base)
        order.target, order.prune = self.target, command == "apply"
        if point is not None:
            order.point = point
        if fates is not None:
            order.change = self._hand(fates)
        return run(self.world(), command, order)

    def _hand(self, random: Random) -> Callable[[str], Fate]:
        faulty = self.scenario.faulty
        hands = {
            kind: handing_at_random(random, faulty, FAULTS_OF_CHANGES + (("conflict",) if kind == "delete" else ()))
            for kind in ("tag", "untag", "delete")
        }
        return lambda kind: hands[kind]()

    def count(self) -> int:
        """How many points the command has, when it is not killed."""
        killer = Killer(self.world())
        self.run(self.scenario.command, EPOCH, point=killer, fates=self._fates(0))
        return killer.count

    def _fates(self, number: int) -> Random:
        return Random(f"fates {self.scenario.seed} {number}")  # noqa: S311  replayable

    def killed(self, base: float, at: int, number: int) -> float:
        """Run the command in a fork that dies at point ``at``; a true time after its death."""
        command, fates = self.scenario.command, self._fates(number)

        def dying() -> float:
            return self.run(command, base, point=Killer(self.world(), at), fates=fates).at

        in_a_fork(dying, self.world())
        if command == "rename-target" and entries_of(self.ledger, RENAMED):
            return base + 1.0
        return last_seen(self.world(), self.ledger, base)

    # The end.

    def finish(self, base: float) -> None:
        """What follows the kill has to end with 0, and everything has to agree."""
        created = self.world().truth.count("create")
        done = self.run(self.scenario.then, base)
        for _ in range(APPLIES - 1 if self.scenario.then == "apply" else 0):
            if done.code == 0:
                break
            done = self.run("apply", done.at + SETTLED_S)
        assert done.code == 0, f"{self.scenario.then} ends with {done.code}: {done.summary}"
        if self.scenario.command == "rename-target":
            self.target = RENAMED
        after = {
            "destroy": self._check_destroyed,
            "apply": self._check_applied,
            "adopt": self._check_adopted,
            "forget": self._check_forgotten,
            "rename-target": self._check_renamed,
        }[self.scenario.then]
        after(created, done.at)

    def _check(self, at: float) -> dict[str, Algorithm]:
        """What holds whatever was done; what is alive and not foreign, by name."""
        truth = self.world().truth
        entries = entries_of(self.ledger, self.target)
        theirs = self.foreign | self.theirs
        older = older_of(self.ledger, target=self.target)
        check_invariants(truth, entries, ledger_id_of(self.ledger), before=theirs, older=older)
        alive = [one for one in truth.alive if one.arn not in self.foreign]
        assert self.foreign == {one.arn for one in truth.alive} - {one.arn for one in alive}, "a foreign one is gone"
        assert not [one.arn for one in truth.alive if one.arn in self.foreign and TAG in one.tags]
        for later in (at + 0.1, at + SETTLED_S):
            order = Order(
                manifest=self.manifest, ledger=self.ledger, policy=self.policy, base=later, target=self.target
            )
            assert findings(self.world(), order) == []
        versions = {arn for arn, one in older.versions.items() if one.role is Role.SUPERSEDED}
        current = [one for one in alive if one.arn not in versions]
        assert len(current) == len({one.name for one in current}), "twice"
        return {one.name: one for one in current}

    def _check_destroyed(self, _: int, at: float) -> None:
        stays = set() if self.scenario.adopted else self.theirs
        current = self._check(at)
        left = {one.arn for one in self.world().truth.alive} - self.foreign
        assert left == stays, f"left: {left - stays}, gone: {stays - left}"
        entries = entries_of(self.ledger)
        kept = {entry.arn for entry in entries.values() if entry.exists and entry.adopted}
        assert {one.arn for one in current.values()} == kept

    def _check_applied(self, _: int, at: float) -> None:
        current = self._check(at)
        assert {name: shown(one) for name, one in current.items()} == self.wanted
        older = older_of(self.ledger, target=self.target).versions.values()
        alive = {one.arn for one in self.world().truth.alive}
        left = [one for one in older if one.role is Role.SUPERSEDED and one.arn in alive]
        assert {one.reason for one in left if one.arn in self.theirs} <= {REPLACED}, f"left: {left}"
        assert {one.arn for one in left} <= self.theirs, f"left: {left}"
        again = self.run("apply", at + SETTLED_S)
        assert again.summary is not None
        assert (again.code, again.summary.outcomes["unchanged"]) == (0, len(self.wanted))

    def _check_adopted(self, created: int, at: float) -> None:
        current = self._check(at)
        truth = self.world().truth
        assert (truth.count("create"), truth.count("delete")) == (created, 0)
        assert {one.arn for one in current.values()} == self.theirs
        tags = {one.name: read_tag(one.tags.get(TAG, "")) for one in current.values()}
        entries = entries_of(self.ledger)
        for name, tag in tags.items():
            entry = entries[name]
            assert (entry.state, entry.adopted, entry.attempt) == (State.CREATED, True, tag and tag.attempt), tag
        self._then_apply(at)

    def _check_forgotten(self, created: int, at: float) -> None:
        assert not entries_of(self.ledger)
        assert not entries_of(self.ledger, "other")
        truth = self.world().truth
        assert (truth.count("create"), truth.count("delete"), truth.count("tag")) == (created, 0, self._tagged)
        self._then_apply(at)
        assert self.world().truth.count("create") == created

    def _check_renamed(self, created: int, at: float) -> None:
        assert not entries_of(self.ledger)
        assert self.world().truth.count("create") == created
        self._then_apply(at)

    def _then_apply(self, at: float) -> None:
        done = self.run("apply", at + SETTLED_S)
        assert done.code == 0, f"apply ends with {done.code}: {done.summary}"
        self._check_applied(0, done.at)

    @property
    def _tagged(self) -> int:
        return self.scenario.theirs


def explore(seed: int, directory: Path, kills: int = 0) -> Counter[str]:
    """Every kill point of one scenario, or ``kills`` of them; some with a second kill."""
    one = Commands(scenario_of(seed), directory)
    random = Random(f"kills {seed}")  # noqa: S311  replayable
    points = one.count()
    counts: Counter[str] = Counter()
    every = range(1, points + 1)
    for at in random.sample(every, min(kills, points)) if kills else every:
        one.clear()
        base = one.killed(EPOCH, at, at) + random.choice([0.0, 1.0, 100.0, 400.0])
        counts["kills"] += 1
        if again := random.random() < 0.3:
            base = one.killed(base, random.randint(1, points), points + at) + 1.0
            counts["kills"] += 1
        try:
            one.finish(base)
        except AssertionError as error:
            error.add_note(
                f"replay: --seed {seed} --scenarios 1 --kills {kills}; {one.scenario}; killed at {at}, again: {again}"
            )
            raise
        counts["histories"] += 1
        counts[f"{one.scenario.command}, then {one.scenario.then}"] += 1
    return counts


def campaign(scenarios: int, seed: int, kills: int = 0) -> Counter[str]:
    """So many scenarios from ``seed`` on, each killed at every point, or at ``kills`` of them."""
    counts: Counter[str] = Counter()
    for number in range(seed, seed + scenarios):
        directory = Path(tempfile.mkdtemp(prefix="crash-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))  # noqa: S108
        try:
            counts += explore(number, directory, kills)
            counts["scenarios"] += 1
        finally:
            shutil.rmtree(directory)
    return counts


def figures(scenarios: int, seed: int, kills: int = 0) -> str:
    """Run a campaign; what it counted. It forks, so that its process may have no threads."""
    quiet()
    began = time.perf_counter()
    counts = campaign(scenarios, seed, kills)
    took = time.perf_counter() - began
    counted = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    return f"crash campaign of commands, seed {seed}: {counted}; 0 lost, 0 twice, 0 unfinished; {took:.1f} s"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenarios", type=int, default=4)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--kills", type=int, default=0)
    given = parser.parse_args()
    print(figures(given.scenarios, given.seed, given.kills))  # noqa: T201


if __name__ == "__main__":
    main()
