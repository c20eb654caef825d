"""Hostile histories: runs that are lied to, refused, throttled, stopped and started again, until all is kind.

Each history is a dozen runs of the real engine in virtual time. After each of them the outcomes add up; each ends in
bounded time; and in the end everything exists once, or has failed for good with a reason.
"""

from __future__ import annotations

import asyncio
import os
import random as global_random
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

from provisioner.core.entry import Outcome, State
from provisioner.core.verdict import BEFORE_FIRST_BYTE
from provisioner.emulator.behaviour import FAULTS, Behaviour
from tests.fakes import make_policy
from tests.faults.crash import NAMES
from tests.faults.invariants import check_invariants
from tests.faults.world import EPOCH, Fate, Order, World, entries_of, ledger_id_of, register, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.engine.stop import Stop
    from tests.faults.crash import Names, Told
    from tests.faults.world import Ended, VirtualClock

COUNT = int(os.environ.get("PROVISIONER_HISTORIES", "1000"))
LIES = {"foreign_arn", "repeated_arn"}
"""What no client can see through: an ARN that is wrong and that nobody holds yet."""
KINDS = [*sorted(FAULTS.keys() - LIES - {"ok"}), *sorted(map(str, BEFORE_FIRST_BYTE)), "error:502", "error:503"]
HOSTILE_RUNS = 8
RUNS = 14
PATIENCE_S = 4 * 3600.0
"""A storm of 429s that does not end is stopped after that; nothing else lasts as long."""
DRAIN_S = 26.0


class History:
    """One history.

    Args:
        seed: of everything.
        path: a fresh directory.
    """

    def __init__(self, seed: int, path: Path) -> None:
        self.random = random = Random(seed)  # noqa: S311  replayable
        # Full jitter is drawn by tenacity, from the generator that all share.
        global_random.seed(seed)
        self.world_of_names: Names = random.choice(NAMES)
        self.told: Told = random.choice(("unknown", self.world_of_names))
        self.names = [f"algorithm {number}" for number in range(random.randint(1, 25))]
        self.manifest = write_manifest(path / "m.jsonl", self.names)
        self.ledger = path / "ledger.db"
        behaviour = Behaviour(
            names=self.world_of_names,
            list_lag=random.choice((0.0, 55.0)),
            read_error=random.choice((0.0, 0.0, 0.1, 0.4)),
            rate=random.choice((0.0, 0.0, 5.0)),
            seed=seed,
        )
        self.world = World(behaviour, path / "journal")
        self.at = EPOCH

    def fates(self, faulty: float) -> Callable[[], Fate]:
        """Fates of which a share are faults, of a few kinds."""
        random = self.random
        kinds = random.sample(KINDS, random.randint(1, 6))

        def hand() -> Fate:
            there, back = random.uniform(0.01, 2.0), random.uniform(0.01, 2.0)
            if random.random() >= faulty:
                return Fate("", there, back)
            return Fate(random.choice(kinds), there, back, random.uniform(0.0, 290.0), random.choice((0.0, 0.0, 100.0)))

        return hand

    def run(self, *, hostile: bool) -> Ended:
        """The next run, and what holds after any run."""
        random = self.random
        stop_at = random.choice((None, None, random.uniform(0.0, 5.0), random.uniform(0.0, 500.0)))
        stop_s = PATIENCE_S if stop_at is None or not hostile else stop_at
        policy = make_policy(names=self.told)
        if hostile:
            adopt = random.choice(("never", "same", "any"))
            policy = msgspec.structs.replace(policy, wait=random.random() < 0.8, adopt=adopt)
        else:
            service = self.world.service
            service.behaviour = msgspec.structs.replace(service.behaviour, read_error=0.0)

        async def act(stop: Stop, _: VirtualClock) -> None:
            await asyncio.sleep(stop_s)
            stop.request("enough")

        order = Order(
            manifest=self.manifest,
            ledger=self.ledger,
            policy=policy,
            hand=self.fates(random.choice((0.0, 0.1, 0.5, 1.0)) if hostile else 0.0),
            base=self.at,
            boot=random.choice(("one", "one", "another")),
            jump_s=random.choice((0.0, 0.0, 86_400.0, -86_400.0)),
            workers=random.choice((1, 4, 16)),
            act=act,
        )
        ended = register(self.world, order)
        assert ended.at - self.at <= stop_s + DRAIN_S + 100.0
        assert sum(ended.statistics.outcomes.values()) == ended.statistics.valid
        assert min(ended.statistics.outcomes.values(), default=0) >= 0
        self.at = ended.at + random.choice((0.0, 1.0, 30.0, 400.0))
        return ended

    def finish(self) -> None:
        """Let the world be kind, and compare with it."""
        for _ in range(HOSTILE_RUNS, RUNS):
            if self.run(hostile=False).statistics.outcomes[Outcome.UNCHANGED] == len(self.names):
                break
        truth, entries = self.world.truth, entries_of(self.ledger)
        assert {entry.state for entry in entries.values()} <= {State.CREATED, State.FAILED}
        assert all(entry.message for entry in entries.values() if entry.state is State.FAILED)
        check_invariants(truth, entries, ledger_id_of(self.ledger))


def check(seed: int, path: Path) -> None:
    """One history, from its hostile beginning to its kind end."""
    path.mkdir()
    history = History(seed, path)
    try:
        for _ in range(HOSTILE_RUNS):
            history.run(hostile=True)
        history.finish()
    except BaseException as error:
        error.add_note(f"replay: check({seed}, path)")
        raise


def test_hostile_histories(tmp_path: Path) -> None:
    """Whatever a dozen runs meet, their outcomes add up, they end, and the last one finds everything there once."""
    for seed in range(10):
        check(seed, tmp_path / str(seed))


@pytest.mark.torture
def test_hostile_histories_in_full(tmp_path: Path) -> None:
    """The same, 1,000 times; PROVISIONER_HISTORIES says how often."""
    first = Random().randrange(10**6)  # noqa: S311  printed
    for seed in range(first, first + COUNT):
        check(seed, tmp_path / str(seed))
    print(f"hostile histories, seed {first}: {COUNT}, all finished")  # noqa: T201  the campaign's figures
