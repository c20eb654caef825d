"""The only table from a reason to an exit code, and to the advice for people."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from provisioner.errors import Reason, heaviest

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """Exit codes of the command line. The numbers are a contract."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    FAILED = 3
    QUOTA = 4
    AMBIGUOUS = 5
    LOCKED = 6
    CHANGED = 10
    INVALID = 65
    LEDGER = 74
    UNFINISHED = 75
    DENIED = 77
    CONFIGURATION = 78
    INTERRUPTED = 130


_CODES = {reason: ExitCode[reason.name] for reason in Reason}

ADVICE = {
    ExitCode.DONE: "done",
    ExitCode.INTERNAL: "an internal error: please report it",
    ExitCode.USAGE: "the command is wrong: fix it",
    ExitCode.FAILED: "some definitions failed or drifted: look at them",
    ExitCode.QUOTA: "a service quota is reached: raise it, then run again",
    ExitCode.AMBIGUOUS: "creates are unresolved, or algorithms unrecorded: run again later, or `provisioner verify`",
    ExitCode.LOCKED: "another run holds the ledger: run again when it has ended",
    ExitCode.CHANGED: "nothing failed, and there is something to do, or something was changed",
    ExitCode.INVALID: "the manifest has invalid lines: fix them, then run again",
    ExitCode.LEDGER: "the ledger cannot be used: fix the cause, then run again",
    ExitCode.UNFINISHED: "stopped early with work left: run again",
    ExitCode.DENIED: "credentials or permissions are missing: fix them, then run again",
    ExitCode.CONFIGURATION: "the configuration is wrong: fix it, then run again",
    ExitCode.INTERRUPTED: "interrupted: run again",
}
"""What to do about each code, one clause."""


def code_for(reasons: Iterable[Reason]) -> ExitCode:
    """The exit code of a command that ended for ``reasons``; DONE when there is none."""
    reason = heaviest(reasons)
    return ExitCode.DONE if reason is None else _CODES[reason]


def reason_for(code: int) -> Reason:
    """The reason for which a command ended with ``code``, which is not DONE."""
    return Reason[ExitCode(code).name]
