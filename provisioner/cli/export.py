"""``provisioner export``."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import anyio
import click
import msgspec

from provisioner.cli.options import common, settings_of
from provisioner.cli.output import say, say_json
from provisioner.cli.selection import Selecting, selection
from provisioner.commands.finding import selected
from provisioner.core.entry import State
from provisioner.errors import printable
from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from provisioner.core.entry import Entry

FIELDS = ("target", "name", "arn", "state")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins with one of these for a formula (OWASP, "CSV Injection")."""

MAX_CELL = 32_767
"""Most characters in a cell of a spreadsheet; names and ARNs are far shorter."""


@click.command("export")
@common("config", "ledger", "target")
@selection()
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "json", "csv"]),
    default="jsonl",
    show_default=True,
    help="json: one object that maps names to ARNs, grouped by target if there are several.",
)
def command(config: str | None, ledger: str | None, form: str, **given: Any) -> None:  # noqa: ANN401  typed by Selecting
    r"""Prints entries that are created or drifted, sorted by target and name. It can run while `apply` does.

    With --state it prints those in that state instead.

    In JSON every name is exact; characters that could control a terminal are written as \uXXXX. CSV is for people and
    spreadsheets: such characters are escaped there too, and a value that a spreadsheet would run as a formula begins
    with an apostrophe.
    """
    settings = settings_of(config, ledger)
    anyio.run(_export, settings.run.ledger, Selecting(**given), form)


async def _export(ledger: str, selecting: Selecting, form: str) -> None:
    write = _WRITERS[form]()
    async with locate(ledger).read() as opened:
        chosen = await selecting.of(opened)
        if not chosen.states:
            chosen = msgspec.structs.replace(chosen, states=frozenset({State.CREATED, State.DRIFTED}))
        async for entry in selected(opened, chosen):
            write.add(entry)
    write.end()


def _row(entry: Entry) -> dict[str, str]:
    return {"target": entry.target, "name": entry.name, "arn": entry.arn, "state": entry.state.value}


def _cell(value: str) -> str:
    """``value`` for a spreadsheet or a person, without formulas and terminal control characters."""
    return printable(f"'{value}" if value.startswith(FORMULA) else value, MAX_CELL)


class _Jsonl:
    def add(self, entry: Entry) -> None:
        say_json(json.dumps(_row(entry), ensure_ascii=False))

    def end(self) -> None:
        pass


class _Json:
    def __init__(self) -> None:
        self._found: dict[str, dict[str, str]] = {}

    def add(self, entry: Entry) -> None:
        self._found.setdefault(entry.target, {})[entry.name] = entry.arn

    def end(self) -> None:
        only = next(iter(self._found.values()), {})
        shown: dict[str, Any] = self._found if len(self._found) > 1 else only
        say_json(json.dumps(shown, ensure_ascii=False, indent=2))


class _Csv:
    def __init__(self) -> None:
        self._write(FIELDS)

    def _write(self, cells: tuple[str, ...]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(cells)
        say(line.getvalue())

    def add(self, entry: Entry) -> None:
        self._write(tuple(_cell(value) for value in _row(entry).values()))

    def end(self) -> None:
        pass


_WRITERS: dict[str, type[_Jsonl | _Json | _Csv]] = {"jsonl": _Jsonl, "json": _Json, "csv": _Csv}
