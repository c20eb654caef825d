"""A table for people: aligned columns of any number of rows, in constant memory."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING

from provisioner.errors import MAX_LINE, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.cli.output import Write

MEASURED = 1000
"""Rows that decide how wide the columns are; a later row that needs more space is not aligned."""
GAP = "  "


def terminal_width() -> int | None:
    """The columns of the terminal that stdout is; None if it is none, because a program may read it."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class Table:
    """Aligns rows, and cuts lines to the terminal's width. Whatever could control a terminal is escaped.

    Args:
        write: takes the lines.
        head: of each column; the last column is not padded.
        width: of a line, None for any.
    """

    def __init__(self, write: Write, head: Sequence[str], width: int | None) -> None:
        self._write = write
        self._width = width
        self._waiting: list[Sequence[str]] = [head]
        self._widths: list[int] | None = None

    def add(self, row: Sequence[str]) -> None:
        """Add a row."""
        cells = [printable(cell, MAX_LINE) for cell in row]
        if self._widths is not None:
            self._line(cells, self._widths)
        else:
            self._waiting.append(cells)
            if len(self._waiting) > MEASURED:
                self._begin()

    def end(self) -> None:
        """Write what is left; a table without rows has no head either."""
        if self._widths is None and len(self._waiting) > 1:
            self._begin()

    def _begin(self) -> None:
        self._widths = [max(map(cells_of, column)) for column in zip(*self._waiting, strict=True)]
        for row in self._waiting:
            self._line(row, self._widths)
        self._waiting.clear()

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> None:
        *padded, last = row
        cells = [cell + " " * (width - cells_of(cell)) for cell, width in zip(padded, widths, strict=False)]
        self._write(cut(GAP.join([*cells, last]).rstrip(), self._width) + "\n")


def cells_of(text: str) -> int:
    """How many cells of a terminal ``text`` takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def cut(text: str, width: int | None) -> str:
    """``text`` in at most ``width`` cells, with an ellipsis where something is left out."""
    if width is None or cells_of(text) <= width:
        return text
    left = width - 1
    for place, character in enumerate(text):
        left -= _cells(character)
        if left < 0:
            return f"{text[:place]}…"
    return text


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
