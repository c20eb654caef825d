"""``report``: what the page about a run, or about the fleet, shows. Needs neither AWS nor the lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.commands.finding import TROUBLE
from provisioner.commands.runs import past_run, past_runs
from provisioner.core.entry import State
from provisioner.pacing.observed import Learned
from provisioner.report.page import About, Entries, LedgerCounts, Made, Problems, fleet_page, run_page
from provisioner.report.samples import decoded
from provisioner.report.summary import parsed
from provisioner.report.text import whole_path

if TYPE_CHECKING:
    from collections.abc import Collection

    from provisioner.commands.run import Run
    from provisioner.commands.runs import PastRun
    from provisioner.ledger import Ledger
    from provisioner.ledger.location import Location
    from provisioner.report.summary import Summary

FIRST = TROUBLE | {State.SENT}
"""States of entries that a page lists before the others."""
RUNS = 100
"""Runs that the page about the fleet lists."""


class Contents(msgspec.Struct, frozen=True):
    """What a page shows.

    Attributes:
        run_id: of the run that it is about; "" for the fleet.
        page: see :mod:`provisioner.report.page`.
    """

    run_id: str
    page: dict[str, Any]


async def report_of_run(location: Location, ledger: Ledger, text: str, at: float) -> Contents:
    """The page about the run that ``text`` names, made at ``at``, seconds since the epoch.

    Raises:
        UsageError: there is no such run, or there are several.
    """
    run = await past_run(location, ledger, text)
    return await _about_run(
        ledger, await _about(ledger, run), Made(ledger=whole_path(location.name), ledger_id=ledger.ledger_id, at=at)
    )


async def report_of_fleet(location: Location, ledger: Ledger, at: float) -> Contents:
    """The page about everything that the ledger holds."""
    runs = [_without_samples(run) for run in await past_runs(location, ledger, RUNS)]
    counts = await _counts(ledger, None)
    entries = await _entries(ledger, counts, "")
    made = Made(ledger=whole_path(location.name), ledger_id=ledger.ledger_id, at=at)
    return Contents("", fleet_page(runs, counts, entries, made))


async def report_of(run: Run, summary: Summary, location: Location, ledger: Ledger | None) -> Contents:
    """The page about a run that has just ended with ``summary``, whether or not it came to a ledger."""
    now = run.clock.wall()
    about = About(
        run_id=run.run_id,
        command=run.command or "apply",
        started_at=run.started_at,
        ended_at=run.started_at + summary.elapsed_s,
        exit_code=summary.exit_code,
        status="ended",
        summary=summary,
        samples=run.recorder.samples(),
    )
    made = Made(ledger=whole_path(location.name), ledger_id=ledger.ledger_id if ledger else "", at=now)
    if ledger is not None:
        return await _about_run(ledger, about, made)
    nothing = LedgerCounts(states={}), Entries(run.run_id)
    return Contents(run.run_id, run_page(about, *nothing, _problems_in(summary), made))


async def _about_run(ledger: Ledger, about: About, made: Made) -> Contents:
    summary, samples = about.summary, about.samples
    targets = {*(summary.targets if summary else ()), *(samples.targets if samples else ())}
    counts = await _counts(ledger, targets or None)
    entries = await _entries(ledger, counts, about.run_id)
    problems = Problems()
    async for problem in ledger.problems(about.run_id):
        problems.add(problem)
    if summary and not problems.total:
        problems = _problems_in(summary)
    return Contents(about.run_id, run_page(about, counts, entries, problems, made))


def _problems_in(summary: Summary) -> Problems:
    """The problems that a summary has: the first ones, and how many there were."""
    problems = Problems()
    for problem in summary.problems:
        problems.add(problem)
    problems.total = summary.problems_total
    return problems


async def _about(ledger: Ledger, run: PastRun) -> About:
    samples = decoded(await ledger.samples(run.record.run_id))
    return msgspec.structs.replace(_without_samples(run), samples=samples)


def _without_samples(run: PastRun) -> About:
    record = run.record
    return About(
        run_id=record.run_id,
        command=record.command,
        started_at=record.started_at,
        ended_at=record.ended_at,
        exit_code=record.exit_code,
        status=run.status,
        summary=parsed(record.summary) if record.summary else None,
    )


async def _counts(ledger: Ledger, targets: Collection[str] | None) -> LedgerCounts:
    states = {name: states for name, states in (await ledger.counts()).items() if targets is None or name in targets}
    limits = {}
    for name in states:
        if kept := await ledger.learned(name, "create"):
            limits[name] = round(msgspec.json.decode(kept, type=Learned).rate, 3)
    return LedgerCounts(
        states=states, superseded=await ledger.superseded(), places=await ledger.places(), limits_per_s=limits
    )


async def _entries(ledger: Ledger, counts: LedgerCounts, run_id: str) -> Entries:
    """Those of the targets in ``counts``: where there are more than a page lists, those to look at come first."""
    entries = Entries(run_id)
    entries.total = sum(sum(states.values()) for states in counts.states.values())
    for states in (FIRST, frozenset(State) - FIRST):
        for target in sorted(counts.states):
            async for entry in ledger.entries(target=target, states=states):
                if not entries.add(entry):
                    return entries
    return entries
