"""``provisioner status``."""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click
import msgspec

from provisioner.cli import loop
from provisioner.cli.options import common, recommended, settings_of
from provisioner.cli.output import say, say_json
from provisioner.cli.selection import ledger_targets
from provisioner.commands.finding import TROUBLE
from provisioner.commands.runs import past_runs
from provisioner.core.entry import State
from provisioner.core.versions import DESTROYED, PRUNED, Fate, Role, fates
from provisioner.errors import printable_lines
from provisioner.ledger.location import locate
from provisioner.pacing.observed import Learned
from provisioner.report.summary import iso
from provisioner.report.text import FINISH_DESTROY, LIST_SUPERSEDED, counts_text, whole_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.config.settings import Settings
    from provisioner.ledger import Ledger

OPEN_SHOWN = 20
"""Most unanswered creates in the text form."""
RESUMED_NAMED = 3
"""Most paused targets that the command which ends the pauses names, rather than all that are shown."""


@click.command("status")
@common("config", "ledger", "target", "output")
def command(config: str | None, ledger: str | None, targets: tuple[str, ...], output: str) -> None:
    """Reads the ledger only, and can run while `apply` does."""
    settings = settings_of(config, ledger)
    status = loop.run(_status, settings, targets)
    complete = recommended()
    status["next"] = [complete.command(words) for words in status["next"]]
    if output == "json":
        say_json(json.dumps(status, ensure_ascii=False))
    else:
        say(printable_lines(_lines(status)))


async def _status(settings: Settings, targets: tuple[str, ...]) -> dict[str, Any]:
    location, keep = locate(settings.run.ledger), settings.lifecycle.keep
    async with location.read() as ledger:
        now = time.time()
        paused = {name: pause for name, pause in (await ledger.pauses()).items() if pause.until > now}
        counts = {**{name: {} for name in paused}, **await ledger.counts()}
        chosen = ledger_targets(counts, targets, settings.tags)
        open_ = [
            {"target": entry.target, "name": entry.name, "sent_at": iso(entry.sent.wall) if entry.sent else ""}
            async for entry in ledger.entries(states=(State.SENT, State.AMBIGUOUS))
            if entry.target in chosen
        ]
        runs = [
            {
                "run_id": run.record.run_id,
                "command": run.record.command,
                "started_at": iso(run.record.started_at),
                "status": run.status,
                "exit_code": run.record.exit_code,
            }
            for run in await past_runs(location, ledger, 5)
        ]
        shown = {name: await _target(ledger, name, counts[name], keep) for name in chosen}
        for name in shown.keys() & paused.keys():
            shown[name]["paused"] = {"until": paused[name].end, "reason": paused[name].reason}
        return {
            "ledger": location.name,
            "ledger_id": ledger.ledger_id,
            "targets": shown,
            "open": open_,
            "runs": runs,
            "next": [*_next(shown, held=await location.held()), *_resume(shown, targets)],
            "exit_code": 0,
        }


def _next(targets: Mapping[str, dict[str, Any]], *, held: bool) -> list[str]:
    """The words of commands that find out more, or do what is left; while a run is under way, it does the latter."""
    found = {
        state
        for target in targets.values()
        for counted in (target["states"], target["replacements"])
        for state, number in counted.items()
        if number
    }
    commands = ["reconcile"] if found & {State.SENT, State.AMBIGUOUS} and not held else []
    commands += ["list --by code"] if found & TROUBLE else []
    reasons = {reason for target in targets.values() for reason in target["to_delete"]}
    commands += [LIST_SUPERSEDED] if reasons else []
    commands += [FINISH_DESTROY] if reasons & {DESTROYED, PRUNED} and not held else []
    return commands


def _resume(targets: Mapping[str, dict[str, Any]], patterns: Sequence[str]) -> list[str]:
    """The words of the command that ends the pauses of ``targets``, which ``patterns`` have selected."""
    paused = [name for name, target in targets.items() if "paused" in target]
    named = paused if len(paused) <= RESUMED_NAMED else patterns or ["*"]
    return [f"resume {shlex.join(named)}"] if paused else []


async def _target(ledger: Ledger, name: str, counts: Mapping[State, int], keep: int) -> dict[str, Any]:
    kept = await ledger.learned(name, "create")
    learned = msgspec.json.decode(kept, type=Learned) if kept else None
    pace = None
    if learned:
        pace = {
            "limit_per_s": round(learned.rate, 3),
            "accepts": learned.accepts,
            "learned_at": iso(learned.learned_at),
        }
    superseded = fates(await ledger.versions(name, roles={Role.SUPERSEDED}), keep, adopted=False)
    fate_counts = Counter(fate for _, fate in superseded)
    replacements = Counter(entry.state.value for entry in (await ledger.incoming(name)).values())
    return {
        "states": {state.value: counts.get(state, 0) for state in State},
        "superseded": len(superseded),
        "superseded_kept": fate_counts[Fate.KEPT],
        "superseded_adopted": fate_counts[Fate.ADOPTED],
        "to_delete": dict(Counter(version.reason for version, fate in superseded if fate is Fate.TO_DELETE)),
        "replacements": dict(sorted(replacements.items())),
        "pace": pace,
    }


def _lines(status: dict[str, Any]) -> list[str]:
    lines = [f"ledger  {whole_path(status['ledger'])} ({status['ledger_id']})"]
    for name, target in status["targets"].items():
        states = counts_text(target["states"])
        if due := sum(target["to_delete"].values()):
            states += f", {due} superseded to delete"
        if target["superseded_kept"]:
            states += f", {target['superseded_kept']} superseded kept for a rollback"
        if target["superseded_adopted"]:
            states += f", {target['superseded_adopted']} superseded left because adopted"
        if target["replacements"]:
            states += f", replacements: {counts_text(target['replacements'])}"
        pace = target["pace"]
        limit = f", limit {pace['limit_per_s']}/s, learned from {pace['accepts']} creates" if pace else ""
        pause = target.get("paused")
        why = f": {pause['reason']}" if pause and pause["reason"] else ""
        paused = f", paused until {pause['until']}{why}" if pause else ""
        lines.append(f"target  {name}: {states or 'no entries'}{limit}{paused}")
    lines += [
        f"open    {entry['target']}: {entry['name']}, sent {entry['sent_at']}, no answer yet"
        for entry in status["open"][:OPEN_SHOWN]
    ]
    if len(status["open"]) > OPEN_SHOWN:
        lines.append(f"        and {len(status['open']) - OPEN_SHOWN} more")
    for run in status["runs"]:
        ended = run["status"] if run["exit_code"] is None else f"exit {run['exit_code']}"
        lines.append(f"run     {run['run_id']}: {run['command']}, {run['started_at']}, {ended}")
    lines += [f"next    {command}" for command in status["next"]]
    return lines
