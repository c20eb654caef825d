"""A ledger with something of everything, made without AWS, for the commands that only read it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from provisioner.core.entry import Event, Fact, Stamp
from provisioner.core.place import Place
from provisioner.core.problem import Problem
from provisioner.ledger import RunRecord
from provisioner.report.summary import ManifestCounts, Summary
from tests.ledger.contract.facts import AT, Clock, arn, confirm
from tests.ledger.opening import open_ledger

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.ledger import Ledger

FIRST, SECOND, DIED = "20260921T141320125-aaaaaa", "20260921T151320125-aabbbb", "20260921T161320125-cccccc"
"""Runs, an hour apart: what each did is in :func:`fill`."""
HOSTILE = "=cmd|'/C calc'!A0 \"${x}\" %{y} \x1b[31mred \u202eltr"
"""A name that is a formula, a template, a terminal escape and a change of the direction of writing."""


def intend(name: str, attempt: str = "a1", target: str = "east", *, incoming: bool = False) -> Fact:
    """A create is about to be sent."""
    sent = Stamp(AT, "boot", 17.25)
    return Fact(target, name, Event.INTEND, "d" * 64, "t" * 64, attempt=attempt, sent=sent, incoming=incoming)


def reject(name: str, code: str, message: str, event: Event = Event.REJECT) -> list[Fact]:
    """A create that was sent and refused."""
    return [intend(name), Fact("east", name, event, code=code, message=message, request_id=f"req-{name}")]


async def fill(ledger: Ledger, clock: Clock) -> None:
    """Three runs: a first apply, a second with replacements, and one that died."""
    await ledger.set_place("east", Place("aws", "us-east-1", "123456789012"))
    await ledger.begin_run(RunRecord(FIRST, "apply", clock.at))
    await ledger.record(
        [
            intend("plain"),
            Fact("east", "plain", Event.CONFIRM, arn=arn(1), request_id="req-plain"),
            intend("found"),
            Fact("east", "found", Event.DOUBT, code="read_timeout", message="no reply in 20 s"),
            Fact("east", "found", Event.CONFIRM, arn=arn(2), code="recovered"),
            Fact("east", "taken", Event.CONFIRM, "d" * 64, "t" * 64, arn(3), attempt="adopted-1", code="adopted"),
            *(fact for n in range(5) for fact in reject(f"bad {n}", "ValidationException", f"role {n} is wrong")),
            *reject("full", "ServiceQuotaExceededException", "1000 are there", Event.PARK),
            *reject("lost", "read_timeout", "no reply in 20 s", Event.DOUBT),
            intend("moved"),
            confirm("moved", 4, "east"),
            intend("moved two"),
            confirm("moved two", 5, "east"),
            intend("plain", target="west"),
            confirm("plain", 6, "west"),
            intend(HOSTILE, target="west"),
            confirm(HOSTILE, 7, "west"),
        ]
    )
    await ledger.add_problems(
        [
            Problem("m.jsonl", n + 1, f"bad {n}", "ValidationException", f"role {n} is wrong", target="east")
            for n in range(5)
        ]
    )
    await end(ledger, FIRST, clock, 3, {"created": 8, "failed": 5, "parked": 1, "ambiguous": 1})
    clock.at += 3600
    await ledger.begin_run(RunRecord(SECOND, "apply", clock.at))
    await ledger.record(
        [
            intend("moved", "a2", incoming=True),
            Fact("east", "moved", Event.CONFIRM, arn=arn(8), incoming=True, request_id="req-moved"),
            Fact("east", "moved", Event.DELETING, arn=arn(4), attempt="x1"),
            Fact(
                "east",
                "moved",
                Event.KEEP,
                arn=arn(4),
                attempt="",  # a certain refusal
                code="ConflictException",
                message="an association uses it",
            ),
            intend("moved two", "a2", incoming=True),
            Fact("east", "moved two", Event.REJECT, code="ValidationException", message="no such image", incoming=True),
            Fact("east", "taken", Event.DRIFT, code="drifted", message="roleArn differs"),
        ]
    )
    await end(ledger, SECOND, clock, 3, {"replaced": 1, "failed": 1, "drifted": 1, "unchanged": 5})
    clock.at += 3600
    await ledger.begin_run(RunRecord(DIED, "verify", clock.at))


async def end(ledger: Ledger, run_id: str, clock: Clock, exit_code: int, outcomes: dict[str, int]) -> None:
    """End a run after 41.5 seconds."""
    summary = Summary(
        run_id=run_id,
        exit_code=exit_code,
        elapsed_s=41.5,
        started_at="2026-09-21T14:13:20.125Z",
        ledger="ledger.db",
        manifest=ManifestCounts(15, 15, 0),
        outcomes=outcomes,
        calls={"create": 15, "throttled": 1, "list": 2, "get": 0, "delete": 0},
        targets={},
        problems=[],
        problems_total=5,
    )
    await ledger.end_run(RunRecord(run_id, "apply", clock.at, clock.at + 41.5, exit_code, summary.json()))


def make(path: Path) -> None:
    """Make the ledger at ``path``."""

    async def work() -> None:
        clock = Clock()
        async with open_ledger(str(path), now=clock) as ledger:
            await fill(ledger, clock)

    asyncio.run(work())


def multiply(path: Path, count: int) -> None:
    """Add ``count`` created entries to the ledger at ``path``, called n0000 and so on."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO entries SELECT target, ?, state, digest, tags_digest, ?, attempt, sent, updated_at, run_id,"
            " code, message, tag_keys, request_id FROM entries WHERE name = 'found'",
            [(f"n{number:04}", f"arn:{number}") for number in range(count)],
        )


def names(stdout: str) -> list[str]:
    """The names in lines of JSON."""
    return [json.loads(line)["name"] for line in stdout.splitlines()]
