"""``provisioner runs``."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

import click
import msgspec

from provisioner.cli import loop, parameters
from provisioner.cli.options import common, recommended, settings_of
from provisioner.cli.output import long_result, say, say_json, say_list, talk
from provisioner.cli.page import shown
from provisioner.cli.table import Table, terminal_width
from provisioner.commands.runs import PastRun, exit_code_of, find_job, past_run, past_runs, past_runs_of, pauses_of
from provisioner.errors import UsageError, counted, printable_lines
from provisioner.exit_codes import ADVICE
from provisioner.ledger.location import locate
from provisioner.report.summary import iso, parsed
from provisioner.report.text import counts_text, found_text, one_line, past_text, problem_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from provisioner.core.pause import Pause
    from provisioner.core.problem import Problem
    from provisioner.ledger import Ledger
    from provisioner.ledger.jobs import JobRecord, TargetResult
    from provisioner.report.summary import Summary

MINUTE_S, HOUR_S = 60, 3600


@click.command("runs")
@parameters.argument("run", required=False)
@common("config", "ledger", "output")
@parameters.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="List this many runs at most; the ledger keeps 1000.",
)
@parameters.option("--job", metavar="ID", help="Show a job: its targets, and the runs that were its workers.")
def command(
    *, run: str | None, config: str | None, ledger: str | None, output: str, limit: int, job: str | None
) -> None:
    """Lists past runs, the latest first: start, command, duration, exit code, and what they did.

    With RUN, the id of a run, the beginning of its id, or `last`: its summary and all of its problems, which the ledger
    keeps for the last 20 runs. A run has died if it has no end and is not under way. It can run while `apply` does.

    With --job, what became of each target of a job that several workers share (`apply --job`), and of its workers.
    """
    if run is not None and job is not None:
        raise UsageError("a run and --job exclude each other", hint="Leave one of them out")
    settings = settings_of(config, ledger)

    async def work() -> None:
        location = locate(settings.run.ledger)
        if job is not None:
            record = await find_job(location, job)
            async with location.read() as opened:
                workers = await past_runs_of(location, opened, record.runs)
                pauses = await pauses_of(opened, record)
            _show_job(record, workers, pauses, output, location.name)
            return
        async with location.read() as opened:
            if run is None:
                _show_runs(await past_runs(location, opened, limit), output)
            elif output == "json":
                await _show_run_as_json(opened, await past_run(location, opened, run))
            else:
                await _show_run(opened, await past_run(location, opened, run), location.name)

    loop.run(work)


def _show_job(record: JobRecord, workers: list[PastRun], pauses: Mapping[str, Pause], output: str, place: str) -> None:
    code = exit_code_of(record)
    results = Counter(one.result or "open" for one in record.targets)
    outcomes = sum((Counter(one.outcomes) for one in record.targets), Counter[str]())
    if output == "json":
        whole = {
            "job": record.job,
            "began_at": iso(record.began_at),
            "status": "open" if results["open"] else "finished",
            "exit_code": code,
            "results": results,
            "outcomes": outcomes,
        }
        targets = [
            msgspec.to_builtins(one)
            | {"ended_at": one.ended_at and iso(one.ended_at)}
            | ({"paused": msgspec.to_builtins(pauses[one.target])} if one.target in pauses else {})
            for one in record.targets
        ]
        head = {"job": whole, "targets": targets, "runs": [_record(run) for run in workers], "exit_code": 0}
        say_json(msgspec.json.encode(head))
        return
    done = len(record.targets) - results["open"]
    number = counted(len(record.targets), "target", "targets")
    state = f"{done} of {number} finished" if results["open"] else f"{number}, all finished"
    lines = [
        f"ledger    {place}",
        f"job       {record.job}: began {iso(record.began_at)}, {state}",
        f"results   {counts_text(dict(results.most_common()))}",
        *([f"outcomes  {counts_text(outcomes)}"] if outcomes else []),
    ]
    say(printable_lines(lines))
    with long_result() as write:
        table = Table(write, ["TARGET", "RESULT", "EXIT", "RUN", "WHAT"], terminal_width())
        for one in sorted(record.targets, key=lambda one: (_PLACES.get(one.result, 0), one.target)):
            table.add(_row(one, pauses.get(one.target)))
        table.end()
    say("")
    _show_runs(workers, output)
    say(printable_lines([f"exit      {int(code)}: {ADVICE[code]}"]))


def _row(one: TargetResult, pause: Pause | None) -> list[str]:
    if pause is not None:
        resume = recommended().command(f"resume {shlex.quote(one.target)}")
        return [one.target, "paused", "", one.run_id, f"{pause.text}. `{resume}` ends the pause"]
    result = one.result or ("under way" if one.run_id else "waiting")
    code = "" if one.exit_code is None else str(one.exit_code)
    return [one.target, result, code, one.run_id, one.message or counts_text(one.outcomes)]


_PLACES = {"": 1, "done": 2}
"""In the table of a job: first what somebody has to look at, then what is open, then what is done."""


def _show_runs(runs: list[PastRun], output: str) -> None:
    if output == "json":
        say_json(msgspec.json.encode({"runs": [_record(run) for run in runs], "exit_code": 0}))
        return
    with long_result() as write:
        table = Table(write, ["RUN", "STARTED", "COMMAND", "TIME", "EXIT", "WHAT IT DID"], terminal_width())
        for run in runs:
            record, summary = run.record, parsed(run.record.summary)
            did = one_line(summary) if summary else ""
            table.add([record.run_id, iso(record.started_at), record.command, _duration(run), _end(run), did])
        table.end()
    if not runs:
        talk("no runs")


def _record(run: PastRun) -> dict[str, Any]:
    record, summary = run.record, parsed(run.record.summary)
    return {
        "run_id": record.run_id,
        "command": record.command,
        "status": run.status,
        "started_at": iso(record.started_at),
        "ended_at": None if record.ended_at is None else iso(record.ended_at),
        "elapsed_s": None if record.ended_at is None else round(record.ended_at - record.started_at, 3),
        "exit_code": record.exit_code,
        "outcomes": summary.outcomes if summary else {},
    }


def _duration(run: PastRun) -> str:
    if run.record.ended_at is None:
        return ""
    elapsed_s = run.record.ended_at - run.record.started_at
    if elapsed_s < MINUTE_S:
        return f"{elapsed_s:.1f} s"
    minutes, seconds = divmod(round(elapsed_s), MINUTE_S)
    hours, minutes = divmod(minutes, MINUTE_S)
    return f"{hours}h{minutes:02}m{seconds:02}s" if hours else f"{minutes}m{seconds:02}s"


def _end(run: PastRun) -> str:
    return run.status if run.record.exit_code is None else str(run.record.exit_code)


async def _show_run_as_json(ledger: Ledger, run: PastRun) -> None:
    async def problems() -> AsyncIterator[bytes]:
        async for problem in ledger.problems(run.record.run_id):
            yield msgspec.json.encode(problem)

    head = {"run": _record(run), "summary": msgspec.Raw(run.record.summary) if run.record.summary else None}
    await say_list("problems", problems(), head=msgspec.json.encode(head))


async def _show_run(ledger: Ledger, run: PastRun, place: str) -> None:
    record, summary = run.record, parsed(run.record.summary)
    end = "died: it has no end, and is not under way" if run.died else "still running"
    if record.ended_at is not None:
        end = f"ended {iso(record.ended_at)}, {_duration(run)}"
    say(printable_lines([f"run       {record.run_id}: {record.command}, began {iso(record.started_at)}, {end}"]))
    if summary:
        say(shown(_summary_text(record.command, msgspec.structs.replace(summary, ledger=place))))
    with long_result() as write:
        kept = 0
        async for problem in ledger.problems(record.run_id):
            if not kept:
                write("problems\n")
            write(printable_lines([_problem(problem)]) + "\n")
            kept += 1
        if summary and summary.problems_total and not kept:
            write(printable_lines(_lost(summary)) + "\n")


def _summary_text(command: str, summary: Summary) -> str:
    """The summary without its problems, which follow."""
    if command.partition(" ")[0] not in {"apply", "adopt"}:
        return found_text(summary, command=command, recommended=recommended())
    return past_text(summary, recommended())


def _problem(problem: Problem) -> str:
    notice = "  (notice)" if problem.severity == "notice" else ""
    target = f"  ({problem.target})" if problem.target else ""
    return problem_line(problem) + target + notice


def _lost(summary: Summary) -> list[str]:
    """What the summary has of problems that the ledger no longer has."""
    shown = f"the first {len(summary.problems)} of {summary.problems_total}"
    return [
        f"problems  {shown}: the ledger keeps all of them for the last 20 runs only",
        *map(_problem, summary.problems),
    ]
