"""Finds entries and runs in a ledger. Needs neither AWS nor the lease, so a run may be under way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provisioner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioner.core.entry import Entry
    from provisioner.core.selection import Selection
    from provisioner.ledger import Ledger, RunRecord

LAST = "last"
"""Stands for the latest run."""

_RUN_ID = re.compile(r"[0-9]{8}T[0-9]{9}-[0-9a-f]{6}")


async def selected(ledger: Ledger, selection: Selection) -> AsyncIterator[Entry]:
    """The entries that ``selection`` matches, in order of (target, name), streamed."""
    targets: list[str] | list[None] = sorted(selection.targets) or [None]
    for target in targets:
        async for entry in ledger.entries(target=target, states=selection.entry_states):
            if selection.matches(entry):
                yield entry


async def find_run(ledger: Ledger, text: str) -> RunRecord:
    """The run that ``text`` names: its id, the beginning of its id, or ``last``.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = await ledger.runs(1) if text == LAST else await ledger.runs(2, prefix=text)
    if not found:
        what = "the ledger has no runs" if text == LAST else f"the ledger has no run {text!r}"
        raise UsageError(what, hint="`provisioner runs` lists those that it has")
    if len(found) > 1:
        raise UsageError(
            f"several runs begin with {text!r}, such as {found[0].run_id} and {found[1].run_id}",
            hint="Type more of it, or `last`",
        )
    return found[0]


async def find_run_id(ledger: Ledger, text: str) -> str:
    """The id of the run that ``text`` names, as for :func:`find_run`; a whole id may be of a run that is not kept.

    Raises:
        UsageError: as :func:`find_run`.
    """
    return text if _RUN_ID.fullmatch(text) else (await find_run(ledger, text)).run_id
