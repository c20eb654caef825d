"""The problems of one target's run: recorded in the ledger and reported to the observer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.core.problem import Problem
from provisioner.engine.strays import keep, known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.core.inventory import Found
    from provisioner.engine.observer import Observer
    from provisioner.ledger import Ledger
    from provisioner.manifest.reader import Row


class ProblemLog:
    """Records and reports the problems of one target."""

    def __init__(self, target: str, ledger: Ledger, observer: Observer) -> None:
        self._target = target
        self._ledger = ledger
        self._observer = observer
        self._strays: dict[str, Problem] = {}

    async def add(self, problems: Sequence[Problem]) -> None:
        """Report ``problems`` and record them with the run."""
        for problem in problems:
            self._observer.problem_found(problem)
        await self._ledger.add_problems(problems)

    async def add_rows(self, rows: Sequence[tuple[Row, str, str]]) -> None:
        """Report problems of definitions: a row, a code and a message each."""
        target = self._target
        await self.add(
            [Problem(row.source, row.line, row.name, code, message, target=target) for row, code, message in rows]
        )

    async def add_row(self, row: Row, code: str, message: str) -> None:
        """Report a problem of one definition."""
        await self.add_rows([(row, code, message)])

    async def add_duplicate(self, kept: Found, other: Found) -> None:
        """Report a duplicate that the ledger of ``kept`` created; only ``verify --prune-duplicates`` deletes it."""
        message = (
            f"{other.arn} is a duplicate that the same ledger created; {kept.arn} is kept. Run `provisioner verify`"
        )
        await self.add_strays({other.arn: Problem("", 0, other.name, "duplicate", message, target=self._target)})

    async def add_strays(self, found: Mapping[str, Problem]) -> None:
        """Report algorithms that no entry names, by ARN, in this run and in those that follow, until they are gone."""
        await self.add(list(found.values()))
        if found:
            self._strays |= found
            await keep(self._ledger, self._target, await known(self._ledger, self._target) | self._strays)
