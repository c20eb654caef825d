"""A definition that is to be created, and what its attempts have met in this run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.core.verdict import Verdict
    from provisioner.manifest.reader import Row


class Job:
    """One definition on its way.

    Attributes:
        row: the definition and where it stands in the manifest.
        name, role: of the definition.
        verdict: of the last attempt.
        doubts: how many attempts ended in doubt.
        expiries: how many attempts met expired credentials.
        skewed: whether one was refused for the clock.
    """

    __slots__ = ("doubts", "expiries", "name", "role", "row", "skewed", "verdict")

    def __init__(self, row: Row) -> None:
        self.row = row
        self.name = row.definition.name
        self.role = row.definition.role_arn
        self.verdict: Verdict | None = None
        self.doubts = 0
        self.expiries = 0
        self.skewed = False
