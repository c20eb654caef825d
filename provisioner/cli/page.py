"""A result for people on a terminal: long lines continue below their beginning, and what is wrong has a color.

Elsewhere a result is printed as it is: one line for each subject, which grep finds whole.
"""

from __future__ import annotations

import io
import os
import re
import sys
from typing import TYPE_CHECKING

from provisioner.cli.streams import draws
from provisioner.cli.table import cells_of, terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterator

NARROW = 60
"""Columns below which a line continues closer to the left."""
_WORD = re.compile(r"\s*(?:[^\s`]*`[^`]*`[^\s`]*|\S+)")
"""What is not broken, with the blanks before it: a word, or a command, which somebody copies."""
_LABEL = re.compile(r"[a-z][a-z ]{8}[a-z]{0,3} ")
"""What a line begins with that says what it is about; the longest is a finding of `verify`."""
_WHOLE = "next "
"""What a line begins with that consists of a command: the terminal itself wraps it, and copies it as one line."""
_STYLES = {
    "error": "bold red",
    "halted": "bold red",
    "problems": "bold red",
    "refused": "bold red",
    "stopped": "bold yellow",
    "next": "bold",
}
_GOOD = ("0", "10")
"""Exit codes with which nothing is wrong."""


def laid_out(text: str, width: int) -> str:
    """``text`` in lines of at most ``width`` cells, except for words and commands that are longer."""
    return "\n".join(part for line in text.split("\n") for part in _wrapped(line, width))


def _wrapped(line: str, width: int) -> Iterator[str]:
    if cells_of(line) <= width or line.startswith(_WHOLE):
        yield line
        return
    indent = " " * _indent(line, width)
    begun = line[: len(line) - len(line.lstrip())]
    empty = True
    for word in _WORD.findall(line):
        bare = word.lstrip()
        gap = word.removesuffix(bare)
        length = cells_of(bare)
        if not empty and cells_of(begun + gap) + length > width >= len(indent) + length:
            yield begun
            begun, gap = indent, ""
        begun += bare if empty else f"{gap}{bare}"
        empty = False
    yield begun


def _indent(line: str, width: int) -> int:
    """Where ``line`` goes on."""
    leading = len(line) - len(line.lstrip())
    if leading:
        return leading + 2
    return 10 if _LABEL.match(line) and width >= NARROW else 4


def colored(text: str) -> str:
    """``text`` with the escape sequences of a terminal's colors."""
    from rich.console import Console
    from rich.text import Text

    page = io.StringIO()
    console = Console(file=page, force_terminal=True, highlight=False)
    for line in text.split("\n"):
        styled = Text(line)
        label = line.split(" ", 1)[0]
        if style := _STYLES.get(label):
            styled.stylize(style, 0, len(label))
        elif label == "exit" and (code := re.match(r"exit +(\d+)", line)):
            styled.stylize("green" if code[1] in _GOOD else "red", 0, code.end())
        console.print(styled, soft_wrap=True)
    return page.getvalue().removesuffix("\n")


def shown(text: str) -> str:
    """``text`` as stdout takes it: laid out and colored for a terminal, as it is for anything else."""
    width = terminal_width()
    if width is None:
        return text
    text = laid_out(text, width)
    return colored(text) if draws(sys.stdout) and not os.environ.get("NO_COLOR") else text
