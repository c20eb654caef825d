"""What is wrong with a line of a manifest, or with a definition in a run."""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["problem", "notice"]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem or a notice about a line or a definition; every field is safe to print.

    Attributes:
        source: the manifest; "" when the problem is not about a line.
        line: counted from 1, 0 when unknown.
        name: the definition's name, "" when it could not be read.
        code: what kind of problem it is; stable, for programs.
        message: what, where in the definition, why and what to do, for people.
        column: in characters, from 1; 1 also for a problem of the whole line. 0 when unknown.
        target: "" when it concerns every target.
        severity: ``problem``, or ``notice`` for a remark about a line that is used all the same.
    """

    source: str
    line: int
    name: str
    code: str
    message: str
    column: int = 0
    target: str = ""
    severity: Severity = "problem"

    @property
    def where(self) -> str:
        """``file:line:column:``, and the name where it is known."""
        name = f' name "{self.name}":' if self.name else ""
        return f"{self.source}:{self.line}:{self.column}:{name}"

    def __str__(self) -> str:
        return f"{self.where} {self.message}"
