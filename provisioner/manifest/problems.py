"""What is wrong with one line, while its source and number are not known yet, and the error that carries it."""

from __future__ import annotations

from msgspec import Struct

from provisioner.core.problem import Problem
from provisioner.errors import ProvisionerError, Reason, printable

NAME_SHOWN = 128
"""Characters of a name in a problem; a valid name has 63 at most."""


class LineProblem(Struct, frozen=True):
    """One thing that is wrong with a line, or with the bytes of it.

    Args:
        column: where, in characters, from 1; also 1 where the line as a whole is meant.
        path: the value that it is about, such as ``trainingContainerConfig.imageUri`` or ``tags["aws:x"]``; empty for
            the line as a whole.
        code: what kind of problem it is; stable, for programs.
        message: what is wrong, why, and what to do, for people; safe to print.
    """

    column: int
    path: str
    code: str
    message: str

    @property
    def text(self) -> str:
        """The message, with the path before it where there is one."""
        return f"{self.path}: {self.message}" if self.path else self.message

    def at(self, source: str, line: int, name: str = "") -> Problem:
        """The same problem for people and programs outside this package.

        Args:
            source: label of the source; safe to print.
            line: from 1.
            name: of the definition, as far as it could be read; it is made safe to print here.
        """
        return Problem(source, line, printable(name, NAME_SHOWN), self.code, self.text, column=self.column)


class InvalidDefinitionError(ProvisionerError):
    """A line is no valid definition.

    Args:
        problems: everything that is wrong with it, by column; at least one.
        name: the definition's name, as far as it could be read; not safe to print.
    """

    reason = Reason.INVALID

    def __init__(self, problems: tuple[LineProblem, ...], name: str) -> None:
        first, more = problems[0], len(problems) - 1
        super().__init__(
            first.text,
            where=f"column {first.column}" + (f", name {name}" if name else ""),
            hint=f"This line has {more} more problem{'s' if more > 1 else ''}" if more else "",
        )
        self.problems = problems
        self.name = name
