"""Finds entries and runs in a ledger. Needs neither AWS nor the lease, so a run may be under way."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import State
from provisioner.core.versions import Fate, Role, Version, fates
from provisioner.errors import UsageError
from provisioner.report.causes import key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from provisioner.core.entry import Entry
    from provisioner.core.selection import Selection
    from provisioner.ledger import Ledger, RunRecord

TROUBLE = frozenset({State.FAILED, State.PARKED, State.AMBIGUOUS, State.DRIFTED})
"""States that somebody has to look at."""
EXAMPLES = 3
"""Entries that are named for each cause."""

LAST = "last"
"""Stands for the latest run."""
LOOKED_BACK = 100
"""Runs among which it is looked for."""

_RUN_ID = re.compile(r"[0-9]{8}T[0-9]{9}-[0-9a-f]{6}")


async def selected(ledger: Ledger, selection: Selection) -> AsyncIterator[Entry]:
    """The entries that ``selection`` matches, in order of (target, name), streamed."""
    targets: list[str] | list[None] = sorted(selection.targets) or [None]
    for target in targets:
        async for entry in ledger.entries(target=target, states=selection.entry_states):
            if selection.matches(entry):
                yield entry


async def everything(ledger: Ledger, selection: Selection) -> AsyncIterator[Entry | Version]:
    """All that ``selection`` matches, streamed.

    By target: its entries, then replacements of entries that are under way or came to nothing, then superseded
    versions, where these are asked for.
    """
    for target in sorted(selection.targets or {*await ledger.counts(), *await ledger.superseded()}):
        async for entry in ledger.entries(target=target, states=selection.entry_states):
            if selection.matches(entry):
                yield entry
        for _, replacement in sorted((await ledger.incoming(target)).items()):
            if selection.matches(replacement):
                yield replacement
        if selection.superseded:
            for version in await ledger.versions(target, roles={Role.SUPERSEDED}):
                if selection.matches(version):
                    yield version


async def fates_of(ledger: Ledger, targets: Iterable[str], keep: int, *, adopted: bool) -> Counter[Fate]:
    """What becomes of the superseded algorithms of ``targets`` in a run that may delete; see :func:`fates`."""
    counts = await ledger.superseded()
    found: Counter[Fate] = Counter()
    for target in targets:
        if counts.get(target):
            versions = await ledger.versions(target, roles={Role.SUPERSEDED})
            found.update(fate for _, fate in fates(versions, keep, adopted=adopted))
    return found


async def names_of(
    ledger: Ledger, selection: Selection, target: str, *, own: str, asking: str = ""
) -> Callable[[str], bool] | None:
    """The test of whether a name is selected in ``target``, by what the ledger has now; None if every name is.

    Args:
        ledger: which records what is selected by state, run, time or code.
        selection: its ``run`` is as the user typed it.
        target: its name.
        own: as for :func:`find_run`.
        asking: the same.

    Raises:
        UsageError: there is no such run.
    """
    if selection.everything:
        return None
    if not selection.by_record:
        return selection.names_match
    run = await find_run_id(ledger, selection.run, own=own, asking=asking) if selection.run else ""
    here = msgspec.structs.replace(selection, run=run, targets=frozenset({target}))
    return {one.name async for one in everything(ledger, here)}.__contains__


class Example(msgspec.Struct, frozen=True):
    """An entry among those of a cause."""

    target: str
    name: str
    message: str


class Cause(msgspec.Struct):
    """Entries of one state that have the same code.

    Attributes:
        state: of the entries, or the role of older versions.
        code: of their last error.
        count: how many there are.
        examples: the first of them.
    """

    state: str
    code: str
    count: int = 0
    examples: list[Example] = []

    @property
    def message(self) -> str:
        """That of the first example, without its ARN if the others have other messages."""
        first = self.examples[0].message
        alike = all(example.message == first for example in self.examples)
        return first if alike else key_of(self.code, first)[1]


async def causes(ledger: Ledger, selection: Selection) -> list[Cause]:
    """What ``selection`` matches by state and code, the most frequent first; without states, :data:`TROUBLE`."""
    if not selection.states:
        selection = msgspec.structs.replace(selection, states=TROUBLE)
    found: dict[tuple[str, str], Cause] = {}
    async for one in everything(ledger, selection):
        state = str(one.role if isinstance(one, Version) else one.state)
        cause = found.setdefault((state, one.code), Cause(state, one.code))
        cause.count += 1
        if len(cause.examples) < EXAMPLES:
            cause.examples.append(Example(one.target, one.name, one.message))
    return sorted(found.values(), key=lambda cause: (-cause.count, cause.state, cause.code))


async def find_run(ledger: Ledger, text: str, *, asking: str = "", own: str = "") -> RunRecord:
    """The run that ``text`` names: its id, the beginning of its id, or ``last``.

    Args:
        ledger: that has it.
        text: to look for.
        asking: the command that asks. Runs of its own are not the last one, so that the next finishes what one that
            died has begun.
        own: the id of the run that asks: it has begun already, and is never the one that is meant.

    Raises:
        UsageError: there is none, or there are several.
    """
    known = await ledger.runs(3, prefix=text) if text != LAST else await ledger.runs(LOOKED_BACK)
    found = [run for run in known if run.run_id != own]
    if text == LAST:
        found = [run for run in found if run.command != asking][:1]
    if not found:
        what = "the ledger has no runs" if text == LAST else f"the ledger has no run {text!r}"
        raise UsageError(what, hint="`provisioner runs` lists those that it has")
    if len(found) > 1:
        raise UsageError(
            f"several runs begin with {text!r}, such as {found[0].run_id} and {found[1].run_id}",
            hint="Type more of it, or `last`",
        )
    return found[0]


async def find_run_id(ledger: Ledger, text: str, *, asking: str = "", own: str = "") -> str:
    """The id of the run that ``text`` names, as for :func:`find_run`; a whole id may be of a run that is not kept.

    Raises:
        UsageError: as :func:`find_run`.
    """
    return text if _RUN_ID.fullmatch(text) else (await find_run(ledger, text, asking=asking, own=own)).run_id
