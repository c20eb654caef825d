"""Output of commands: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from provisioner.cli.streams import priority
from provisioner.errors import LedgerError, ProvisionerError, printable_json
from provisioner.exit_codes import code_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterator

    Write = Callable[[str], object]


BLOCK = 64 * 1024
"""Characters of a long result that are written at a time: a system call for each line takes longer than the rest."""


class UnwritableError(LedgerError):
    """A result cannot be written, for example to a full disk. The exit code is that of other I/O errors (74)."""


def say(text: str | bytes, *, end: str = "\n") -> None:
    """Write a result to stdout.

    Raises:
        UnwritableError: stdout cannot be written, unless its reader has gone.
    """
    try:
        sys.stdout.write((text if isinstance(text, str) else text.decode()) + end)
        sys.stdout.flush()
    except OSError as error:
        raise UnwritableError("the result cannot be written to stdout", why=str(error.strerror)) from error


@contextmanager
def long_result() -> Iterator[Write]:
    """Write a long result to stdout: a function that takes any part of it, until the end of the block.

    Raises:
        UnwritableError: as for :func:`say`.
    """
    waiting: list[str] = []
    size = 0

    def flush() -> None:
        nonlocal size
        if waiting:
            text = "".join(waiting)
            waiting.clear()
            size = 0
            say(text, end="")

    def write(text: str) -> None:
        nonlocal size
        waiting.append(text)
        size += len(text)
        if size >= BLOCK:
            flush()

    # Not at an interrupt: the reader may have stopped reading, which is why somebody interrupts.
    try:
        yield write
    except ProvisionerError:
        flush()
        raise
    flush()


async def say_list(key: str, items: AsyncIterable[bytes], *, head: bytes = b"{}") -> None:
    """Write one JSON object to stdout whose ``key`` is a list that is written while it is read, and ``exit_code``.

    Args:
        key: of the list.
        items: the JSON of each.
        head: an object whose keys come before.

    Raises:
        ProvisionerError: the list cannot be read; the object has then what was read, the exit code and the error.
        UnwritableError: as for :func:`say`.
    """
    begun = printable_json(head.decode()).removesuffix("}")
    with long_result() as write:
        write(f"{begun}{', ' if len(begun) > 1 else ''}{json.dumps(key)}: [")
        separator = ""
        try:
            async for item in items:
                write(separator + printable_json(item.decode()))
                separator = ", "
        except ProvisionerError as error:
            end = {"exit_code": int(code_for([error.reason])), "error": str(error)}
            write(f"], {printable_json(json.dumps(end, ensure_ascii=False))[1:]}\n")
            raise
        write('], "exit_code": 0}\n')


def say_json(text: str | bytes, *, end: str = "\n") -> None:
    r"""Write JSON to stdout, with every character that could steer a terminal as ``\uXXXX``.

    Raises:
        UnwritableError: as for :func:`say`.
    """
    say(printable_json(text if isinstance(text, str) else text.decode()), end=end)


def talk(text: str, level: str = "info") -> None:
    """Write a message for people to stderr; the systemd journal keeps its first line at this level."""
    sys.stderr.write(f"{priority(sys.stderr, level)}{text}\n")
