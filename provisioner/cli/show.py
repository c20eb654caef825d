"""``provisioner show``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli import loop, parameters
from provisioner.cli.options import common, settings_of
from provisioner.cli.output import say, say_json
from provisioner.cli.records import entry_record, event_record, reason_words, state_words, version_record
from provisioner.cli.selection import ledger_targets
from provisioner.commands.show import show
from provisioner.errors import printable_lines
from provisioner.ledger.location import locate
from provisioner.report.summary import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.commands.show import Shown
    from provisioner.core.entry import Entry
    from provisioner.core.place import Place
    from provisioner.core.versions import Happening, Version


@click.command("show")
@parameters.argument("name")
@common("config", "ledger", "target", "output")
def command(*, name: str, config: str | None, ledger: str | None, targets: tuple[str, ...], output: str) -> None:
    """NAME is exact, or the ARN of an algorithm that an entry has or had: also of one that was replaced or deleted.

    It shows the entry in every target that has it, the algorithms that it had before, a replacement that is under way
    or failed, and what happened besides its create. It reads the ledger only, and can run while `apply` does.

    JSON: {"entry", "replacement", "versions", "events", "exit_code"}; when several targets have NAME, {"entries":
    [...], "exit_code"} with an object of the first four keys for each. --target names one.
    """
    settings = settings_of(config, ledger)

    async def work() -> None:
        async with locate(settings.run.ledger).read() as opened:
            chosen = ledger_targets(await opened.counts(), targets, settings.tags) if targets else ()
            found = await show(opened, name, chosen)
            places = await opened.places()
        if output == "json":
            records = [_record(one) for one in found]
            shown = records[0] if len(records) == 1 else {"entries": records}
            say_json(json.dumps({**shown, "exit_code": 0}, ensure_ascii=False))
        else:
            say("\n\n".join(printable_lines(_lines(one, places)) for one in found))

    loop.run(work)


def _record(shown: Shown) -> dict[str, Any]:
    return {
        "entry": entry_record(shown.entry) if shown.entry else None,
        "replacement": entry_record(shown.replacement) if shown.replacement else None,
        "versions": [version_record(version) for version in shown.versions],
        "events": [event_record(event) for event in shown.events],
    }


def _lines(shown: Shown, places: Mapping[str, Place]) -> list[str]:
    place = places.get(shown.target)
    where = f" ({place.account_id or 'account unknown'} {place.region})" if place else ""
    lines = [f"name      {shown.name}", f"target    {shown.target}{where}"]
    lines += _entry_lines(shown.entry) if shown.entry else ["state     forgotten: only its history is left"]
    if shown.replacement:
        lines += ["", "replacement", *(f"  {line}" for line in _entry_lines(shown.replacement))]
    if shown.versions:
        lines += ["", "earlier algorithms", *(line for one in shown.versions for line in _version_lines(one))]
    if shown.events:
        lines += ["", "history", *map(_event_line, shown.events)]
    return lines


def _entry_lines(entry: Entry) -> list[str]:
    sent = f", sent {iso(entry.sent.wall)}" if entry.sent else ""
    facts = {
        "state": state_words(entry),
        "reason": reason_words(entry),
        "arn": entry.arn,
        "digest": entry.digest,
        "tags": f"{entry.tags_digest} (digest)" if entry.tags_digest else "",
        "attempt": f"{entry.attempt}{sent}" if entry.attempt else "",
        "request": entry.request_id,
        "changed": f"{iso(entry.updated_at)} by run {entry.run_id}",
    }
    return [f"{what:9s} {value}" for what, value in facts.items() if value]


def _version_lines(version: Version) -> list[str]:
    return [
        f"  {version.role}: {reason_words(version)}",
        f"    {version.arn}",
        f"    changed {iso(version.updated_at)} by run {version.run_id}",
    ]


def _event_line(event: Happening) -> str:
    reason = ": ".join(part for part in (event.code, event.message) if part)
    parts = [f"{event.event:9s}", event.arn, reason, f"(run {event.run_id})"]
    return f"  {iso(event.at)}  {'  '.join(part for part in parts if part)}"
