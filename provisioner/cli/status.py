"""``provisioner status``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import click
import msgspec

from provisioner.cli.options import common, known_targets, settings_of
from provisioner.cli.output import say, say_json
from provisioner.core.entry import State
from provisioner.errors import printable_lines
from provisioner.ledger.location import locate
from provisioner.pacing.observed import Learned
from provisioner.report.summary import iso

if TYPE_CHECKING:
    from provisioner.ledger import Ledger

OPEN_SHOWN = 20
"""Most unanswered creates in the text form."""


@click.command("status")
@common("config", "ledger", "target", "output")
def command(config: str | None, ledger: str | None, targets: tuple[str, ...], output: str) -> None:
    """Reads the ledger only, and can run while `apply` does."""
    settings = settings_of(config, ledger)
    status = anyio.run(_status, settings.run.ledger, targets)
    if output == "json":
        say_json(json.dumps(status, ensure_ascii=False))
    else:
        say(printable_lines(_lines(status)))


async def _status(where: str, targets: tuple[str, ...]) -> dict[str, Any]:
    location = locate(where)
    async with location.read() as ledger:
        counts = await ledger.counts()
        known_targets(targets, counts)
        chosen = [name for name in counts if not targets or name in targets]
        open_ = [
            {"target": entry.target, "name": entry.name, "sent_at": iso(entry.sent.wall) if entry.sent else ""}
            async for entry in ledger.entries(states=(State.SENT, State.AMBIGUOUS))
            if entry.target in chosen
        ]
        runs = [
            {
                "run_id": run.run_id,
                "command": run.command,
                "started_at": iso(run.started_at),
                "exit_code": run.exit_code,
            }
            for run in await ledger.runs(limit=5)
        ]
        return {
            "ledger": location.name,
            "ledger_id": ledger.ledger_id,
            "targets": {name: await _target(ledger, name, counts[name]) for name in chosen},
            "open": open_,
            "runs": runs,
        }


async def _target(ledger: Ledger, name: str, counts: Any) -> dict[str, Any]:  # noqa: ANN401  a mapping by state
    kept = await ledger.learned(name, "create")
    learned = msgspec.json.decode(kept, type=Learned) if kept else None
    pace = None
    if learned:
        pace = {
            "limit_per_s": round(learned.rate, 3),
            "accepts": learned.accepts,
            "learned_at": iso(learned.learned_at),
        }
    return {"states": {state.value: counts.get(state, 0) for state in State}, "pace": pace}


def _lines(status: dict[str, Any]) -> list[str]:
    lines = [f"ledger  {status['ledger']} ({status['ledger_id']})"]
    for name, target in status["targets"].items():
        states = ", ".join(f"{number} {state}" for state, number in target["states"].items() if number)
        pace = target["pace"]
        limit = f", limit {pace['limit_per_s']}/s, learned from {pace['accepts']} creates" if pace else ""
        lines.append(f"target  {name}: {states or 'no entries'}{limit}")
    lines += [
        f"open    {entry['target']}: {entry['name']}, sent {entry['sent_at']}, no answer yet"
        for entry in status["open"][:OPEN_SHOWN]
    ]
    if len(status["open"]) > OPEN_SHOWN:
        lines.append(f"        and {len(status['open']) - OPEN_SHOWN} more")
    for run in status["runs"]:
        ended = "not finished" if run["exit_code"] is None else f"exit {run['exit_code']}"
        lines.append(f"run     {run['run_id']}: {run['command']}, {run['started_at']}, {ended}")
    return lines
