"""Output of commands: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys

from provisioner.errors import LedgerError, printable_json


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


def say_json(text: str | bytes, *, end: str = "\n") -> None:
    r"""Write JSON to stdout, with every character that could steer a terminal as ``\uXXXX``.

    Raises:
        UnwritableError: as for :func:`say`.
    """
    say(printable_json(text if isinstance(text, str) else text.decode()), end=end)


def talk(text: str) -> None:
    """Write a message for people to stderr."""
    sys.stderr.write(f"{text}\n")
