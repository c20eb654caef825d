"""stdout, which carries results only."""

from __future__ import annotations

import os
import sys

from provisioner.errors import LedgerError


class UnwritableError(LedgerError):
    """Stdout cannot be written, as when it is a file on a full disk; the code is that of any I/O error."""


def say(text: str | bytes, *, end: str = "\n") -> None:
    """Write to stdout. A reader that went away (``| head``) is no error: what is left goes nowhere.

    Raises:
        UnwritableError: stdout cannot be written for another reason.
    """
    try:
        sys.stdout.write((text if isinstance(text, str) else text.decode()) + end)
        sys.stdout.flush()
    except BrokenPipeError:
        _to_nowhere()
    except OSError as error:
        _to_nowhere()
        raise UnwritableError("the result cannot be written to stdout", why=str(error.strerror)) from error


def _to_nowhere() -> None:
    """So that the final flush of the interpreter does not meet the trouble again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def open_standard_streams() -> None:
    """Give a process that was started with a closed stdin, stdout or stderr an empty one.

    Otherwise the first file that is opened takes its number, and is written to by whoever means stdout.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))
