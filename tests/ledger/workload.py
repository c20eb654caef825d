"""A run that writes to a ledger, and what the ledger may hold when it was cut off. For tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from provisioner.core.entry import Entry, Event, Fact, Stamp, State, advance
from provisioner.core.problem import Problem
from provisioner.errors import IllegalTransitionError
from provisioner.ledger import RunRecord
from provisioner.ledger.sqlite import reading
from provisioner.ledger.sqlite.database import connect, open_writer
from tests.ledger.contract.facts import AT, arn
from tests.ledger.contract.reference import Reference

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.ledger import Ledger

Entries = dict[tuple[str, str], Entry]

_EVENTS = (
    [Event.INTEND] * 4 + [Event.CONFIRM] * 4 + [Event.RELEASE, Event.DOUBT, Event.ABSENT, Event.REJECT, Event.REPLAN]
)


class History:
    """A run's records and the states that they lead through.

    Args:
        draw: chooses what happens.
        start: what the ledger holds before.

    Attributes:
        states: what the ledger holds after each record, the start first.
        acknowledged: the index of the last state that the ledger said to be durable.
    """

    def __init__(self, draw: random.Random, start: Entries) -> None:
        self._draw = draw
        self._reference = Reference()
        self._reference.entries = start
        self._arns = draw.randrange(1 << 64)
        self.states = [start]
        self.acknowledged = 0

    async def run(self, ledger: Ledger, records: int, acknowledge: Callable[[str], None]) -> None:
        """Write to ``ledger``, and tell ``acknowledge`` the index of each state that it says to be durable."""
        await ledger.begin_run(RunRecord("run-1", "apply", AT))
        for number in range(records):
            facts = self._facts()
            self._reference.record(facts, AT, "run-1")
            self.states.append(self._reference.entries)
            await ledger.record(facts)
            self.acknowledged = len(self.states) - 1
            acknowledge(str(self.acknowledged))
            if number % 10 == 0:
                await ledger.learn("default", "create", b"%d" % number)
                await ledger.add_problems([Problem("m", number, "n", "invalid", "x" * 100)])

    def allows(self, found: Entries, acknowledged: int) -> bool:
        """Whether a ledger may hold ``found`` when it had acknowledged that state: nothing less, nothing made up."""
        return any(found == state for state in self.states[acknowledged:])

    def _facts(self) -> list[Fact]:
        states: dict[str, State | None] = {}
        facts: list[Fact] = []
        for _ in range(self._draw.choice([1, 1, 2, 5, 20])):
            name = f"algorithm-{self._draw.randrange(60)}"
            before = self._reference.entries.get(("default", name))
            event = self._draw.choice(_EVENTS)
            with contextlib.suppress(IllegalTransitionError):
                states[name] = advance(states.get(name, before.state if before else None), event)
                facts.append(self._fact(name, event))
        return facts or [Fact("default", "algorithm-x", Event.PLAN, digest="d" * 64)]

    def _fact(self, name: str, event: Event) -> Fact:
        self._arns += 1
        if event is Event.CONFIRM:
            return Fact("default", name, event, arn=arn(self._arns * 0x9E3779B97F4A7C15 % (1 << 128)))
        if event is Event.INTEND:
            message = "x" * self._draw.choice([20, 600, 3000])
            return Fact(
                "default",
                name,
                event,
                digest="d" * 64,
                tags_digest="t" * 64,
                attempt=f"a{self._arns}",
                sent=Stamp(AT, "boot", 1.5),
                message=message,
            )
        return Fact("default", name, event, code="code", message="m" * self._draw.choice([0, 200]))


def recovered(path: Path) -> Entries:
    """What the ledger at ``path`` holds after everything that was left behind; it must be sound and writable."""
    connection = open_writer(path, connect)
    with contextlib.closing(connection):
        [[finding]] = connection.execute("PRAGMA integrity_check").fetchall()
        assert finding == "ok"

        return {
            (target, entry.name): entry
            for target in reading.targets(connection)
            for entry in reading.page(connection, target, None, None, 10_000)
        }
