"""Hostile histories: runs that are lied to, refused, throttled, stopped and started again, until all is kind.

Each history is a dozen runs of the real engine in virtual time. Between them the ledger may go back to a copy, taken at
any moment and with or without its -wal, and a second ledger may be used. After each run the outcomes add up; each ends
in bounded time; and in the end everything exists once, or has failed for good with a reason.
"""

from __future__ import annotations

import asyncio
import os
import random as global_random
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

from provisioner.core.entry import Outcome, State
from provisioner.core.verdict import BEFORE_FIRST_BYTE
from provisioner.emulator.behaviour import FAULTS, Behaviour
from tests.fakes import make_policy
from tests.faults.crash import NAMES
from tests.faults.invariants import check_account
from tests.faults.world import EPOCH, Copies, Fate, Order, World, entries_of, ledger_id_of, register, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.engine.stop import Stop
    from tests.faults.crash import Configured, Names
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
SETTLED_S = 400.0
"""After that everything that was sent has taken effect, and List shows it: the condition under which a ledger may go
back in time, or another one be used."""


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
        self.configured: Configured = random.choice(("unknown", self.world_of_names))
        self.names = [f"algorithm {number}" for number in range(random.randint(1, 25))]
        self.manifest = write_manifest(path / "m.jsonl", self.names)
        self.ledgers = path / "ledger.db", path / "second.db"
        self.ledger = self.ledgers[0]
        self.copies = {ledger: Copies(ledger) for ledger in self.ledgers}
        self.recovered = 0
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
        policy = make_policy(names=self.configured)
        if hostile:
            adopt = random.choice(("never", "same", "any"))
            policy = msgspec.structs.replace(policy, wait=random.random() < 0.8, adopt=adopt)
        else:
            service = self.world.service
            service.behaviour = msgspec.structs.replace(service.behaviour, read_error=0.0)

        copies = self.copies[self.ledger]
        copied, wal = len(copies), random.random() < 0.5
        copy_s = random.uniform(0.0, min(stop_s, 20.0))

        async def act(stop: Stop, _: VirtualClock) -> None:
            await asyncio.sleep(copy_s)
            copies.take(wal=wal)
            await asyncio.sleep(stop_s - copy_s)
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
        if len(copies) == copied:
            copies.take(wal=wal)
        self.recovered += ended.statistics.outcomes[Outcome.RECOVERED]
        self.at = ended.at + random.choice((0.0, 1.0, 30.0, 400.0))
        return ended

    def move(self) -> str:
        """Between two runs: the ledger goes back in time, the other ledger is used, or nothing happens."""
        random, copies = self.random, self.copies[self.ledger]
        move = random.choice(("", "", "back", "other"))
        if move:
            self.at += SETTLED_S
        if move == "back":
            copies.put_back(random.randrange(len(copies)))
        elif move == "other":
            self.use_other_ledger()
        return move

    def use_other_ledger(self) -> None:
        """The next runs use the other ledger."""
        self.ledger = next(ledger for ledger in self.ledgers if ledger != self.ledger)

    def finish(self) -> None:
        """Let the world be kind, with each ledger that was used, and compare with it."""
        self._finish()
        self.use_other_ledger()
        if self.ledger.exists():
            self.at += SETTLED_S
            self._finish()
        ledgers = {ledger_id_of(ledger): entries_of(ledger) for ledger in self.ledgers if ledger.exists()}
        for entry in (entry for entries in ledgers.values() for entry in entries.values()):
            assert entry.state in {State.CREATED, State.FAILED}
            assert entry.message or entry.state is State.CREATED
        check_account(self.world.truth, ledgers, names_repeat=self.configured == "duplicates")

    def _finish(self) -> None:
        for _ in range(HOSTILE_RUNS, RUNS):
            outcomes = self.run(hostile=False).statistics.outcomes
            if outcomes[Outcome.UNCHANGED] + outcomes[Outcome.FAILED] == len(self.names):
                break


def check(seed: int, path: Path) -> Counter[str]:
    """One history, from its hostile beginning to its kind end; how often a ledger went back, was another, recovered."""
    path.mkdir()
    history = History(seed, path)
    counts: Counter[str] = Counter()
    try:
        for _ in range(HOSTILE_RUNS):
            history.run(hostile=True)
            counts[history.move()] += 1
        history.finish()
    except BaseException as error:
        error.add_note(f"replay: check({seed}, path)")
        raise
    return counts + Counter(recovered=history.recovered)


def test_hostile_histories(tmp_path: Path) -> None:
    """Whatever a dozen runs meet, their outcomes add up, they end, and the last one finds everything there once."""
    counts = sum((check(seed, tmp_path / str(seed)) for seed in range(10)), Counter[str]())

    assert counts["back"] > 5
    assert counts["other"] > 5
    assert counts["recovered"] > 10


@pytest.mark.torture
def test_hostile_histories_in_full(tmp_path: Path) -> None:
    """The same, 1,000 times; PROVISIONER_HISTORIES says how often."""
    first = Random().randrange(10**6)  # noqa: S311  printed
    counts: Counter[str] = Counter()
    for seed in range(first, first + COUNT):
        counts += check(seed, tmp_path / str(seed))
    moves = f"{counts['back']} times a ledger went back, {counts['other']} times the other one was used"
    found = f"{counts['recovered']} algorithms recovered"
    print(f"hostile histories, seed {first}: {COUNT}, all finished; {moves}; {found}")  # noqa: T201  its figures
