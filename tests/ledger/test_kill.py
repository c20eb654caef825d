"""kill -9 in the middle of recording: what was acknowledged is there."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from provisioner.core.entry import State
from tests.ledger.contract.facts import intend
from tests.ledger.contract.targets import HERE
from tests.ledger.opening import open_ledger
from tests.ledger.processes import RECORD, RENAME, line_of, running
from tests.ledger.workload import recovered

if TYPE_CHECKING:
    from pathlib import Path

SEED = int(os.environ.get("LEDGER_KILL_SEED", "20261123"))
KILLS = int(os.environ.get("LEDGER_KILLS", "100"))


def killed(path: Path, lines: int) -> dict[str, State]:
    """Let a process record until it has printed ``lines`` acknowledgements, kill it, and tell all it printed."""
    with running(RECORD, path) as process:
        printed = [line_of(process) for _ in range(lines)]
        process.kill()
        assert process.stdout is not None
        # communicate() would pass over what the lines before were buffered with.
        rest = process.stdout.read()
    # The last line may have been cut.
    whole = printed + rest.split("\n")[:-1]
    return {name: State(state) for name, state in (line.split(" ") for line in whole)}


def check(path: Path, lines: int) -> int:
    """How many entries had been acknowledged when the process was killed; all are there, at least as far along."""
    acknowledged = killed(path, lines)
    found = recovered(path)
    further = {State.SENT: {State.SENT, State.CREATED}, State.CREATED: {State.CREATED}}
    missing = [name for name, state in acknowledged.items() if found["default", name].state not in further[state]]

    assert missing == []
    # Each of the 20 that record may have had one more commit under way.
    assert len(found) <= len(acknowledged) + 20
    return len(acknowledged)


@pytest.mark.parametrize("lines", [1, 50, 2000])
def test_acknowledged_facts_survive_a_kill(tmp_path: Path, lines: int) -> None:
    """A sample: whatever a process said to be recorded is in the ledger after it was killed."""
    check(tmp_path / "l.db", lines)


async def test_a_killed_rename_leaves_the_old_name_or_the_new_one(tmp_path: Path) -> None:
    """A process that renames a target is killed before each of its statements in turn: no entry is left behind."""
    path = tmp_path / "l.db"
    async with open_ledger(str(path)) as ledger:
        await ledger.record([intend(name, target="old") for name in ("a", "b")])
        await ledger.set_place("old", HERE)
        await ledger.learn("old", "create", b"pace")
    statements, said = 0, ""
    while said != "renamed":
        async with open_ledger(str(path)) as ledger:
            found = (await ledger.counts(), await ledger.places(), await ledger.learned("old", "create"))
        assert found == ({"old": {State.SENT: 2}}, {"old": HERE}, b"pace")
        with running(RENAME, path, statements) as process:
            said = line_of(process)
        statements += 1
    async with open_ledger(str(path)) as ledger:
        found = (await ledger.counts(), await ledger.places(), await ledger.learned("new", "create"))

    assert found == ({"new": {State.SENT: 2}}, {"new": HERE}, b"pace")
    assert statements > 10


@pytest.mark.torture
def test_acknowledged_facts_survive_many_kills(tmp_path: Path) -> None:
    """The campaign: LEDGER_KILLS processes (100), each killed after a drawn number of acknowledgements."""
    draw = random.Random(SEED)  # noqa: S311  to be repeated
    entries = sum(check(tmp_path / f"{number}.db", int(10 ** draw.uniform(0, 3.5))) for number in range(KILLS))
    print(f"\nkill -9: {KILLS} processes, seed {SEED}: {entries} acknowledged entries, none lost")  # noqa: T201
