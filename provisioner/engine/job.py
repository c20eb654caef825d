"""A definition on its way through the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.core.conclusion import History

if TYPE_CHECKING:
    from provisioner.core.entry import Entry
    from provisioner.manifest.reader import Row


class Job:
    """One definition for which something is to be sent.

    Attributes:
        row: the definition and where it stands in the manifest.
        name, role: of the definition.
        arn: the one that its entry had at the beginning of the run; "" if none. Its algorithm was deleted.
        attempts: made in this run.
        history: how they ended.
        entry: after the intent of the last attempt; None before the first.
    """

    __slots__ = ("arn", "attempts", "entry", "history", "name", "role", "row")

    def __init__(self, row: Row, arn: str = "") -> None:
        self.row = row
        self.arn = arn
        self.name = row.definition.name
        self.role = row.definition.role_arn
        self.attempts = 0
        self.history = History()
        self.entry: Entry | None = None
