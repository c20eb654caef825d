"""Problems on their way to people: into the ledger, the log and the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from provisioner.core.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.core.verdict import Reply
    from provisioner.engine.inventory import Found
    from provisioner.engine.tally import Tally
    from provisioner.ledger import Ledger
    from provisioner.manifest.reader import Row

log = structlog.get_logger()


class Reporter:
    """Tells the problems of one target."""

    def __init__(self, target: str, ledger: Ledger, tally: Tally) -> None:
        self._target = target
        self._ledger = ledger
        self._tally = tally

    async def lines(self, problems: Sequence[Problem]) -> None:
        """Tell what is wrong with lines of the manifest."""
        await self._tell(problems)

    async def row(self, row: Row, code: str, message: str) -> None:
        """Tell what became of a definition."""
        await self.rows([(row, code, message)])

    async def rows(self, told: Sequence[tuple[Row, str, str]]) -> None:
        """Tell what became of some definitions: a row, a code and a message each."""
        target = self._target
        await self._tell(
            [
                Problem(row.source, row.line, row.definition.name, code, message, target=target)
                for row, code, message in told
            ]
        )

    async def duplicate(self, kept: Found, other: Found) -> None:
        """Tell of a second algorithm of ours with one name; it is never deleted unasked."""
        message = f"{other.arn} is a second algorithm of this name and ours; {kept.arn} is kept"
        await self._tell([Problem("", 0, other.name, "duplicate", message, target=self._target)])

    async def _tell(self, records: Sequence[Problem]) -> None:
        for record in records:
            self._tally.problem(record)
            tell = log.info if record.severity == "problem" else log.debug
            tell("definition.reported", **msgspec.structs.asdict(record))
        await self._ledger.add_problems(records)


def quota_text(reply: Reply) -> str:
    """What a 402 says, with its quota's name and value where it tells them."""
    quota = f"{reply.quota_name or 'a service quota'}"
    value = f" of {reply.quota_value:g}" if reply.quota_value is not None else ""
    message = reply.message.rstrip(". ")
    return f"{quota}{value} is reached: {message}. Raise the quota, then run again"
