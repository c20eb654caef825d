"""Errors that reach a user: each says what happened, where, why, and what to do next.

Every error derives from :class:`ProvisionerError` and carries its :class:`Reason`; ``exit_codes.py`` has the exit code
for each. The command line prints ``str(error)`` and nothing else: no traceback reaches a user.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DISTRIBUTION = "cleanrooms-provisioner"
"""The distribution's name for `pip install`. On the registry ``provisioner`` is another project."""


class Reason(StrEnum):
    """Why a run, or a target, does not end with 0. Of several, the first in this order decides."""

    INTERRUPTED = "interrupted"
    INTERNAL = "internal"
    USAGE = "usage"
    CONFIGURATION = "configuration"
    LEDGER = "ledger"
    LOCKED = "locked"
    DENIED = "denied"
    QUOTA = "quota"
    UNFINISHED = "unfinished"
    AMBIGUOUS = "ambiguous"
    INVALID = "invalid"
    FAILED = "failed"
    CHANGED = "changed"


MAX_LINE = 4000
"""Most characters in a line of a text result: enough for an error with all its parts."""
_WEIGHT = {reason: place for place, reason in enumerate(Reason)}


def heaviest(reasons: Iterable[Reason]) -> Reason | None:
    """The first of ``reasons`` in the order of :class:`Reason`; None when there is none."""
    return min(reasons, key=_WEIGHT.__getitem__, default=None)


def printable(text: str, limit: int = 500) -> str:
    """``text`` from outside, made safe to print: control characters escaped, length bounded."""
    escaped = text
    if not text.isprintable():
        escaped = "".join(
            c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text
        )
    return escaped if len(escaped) <= limit else f"{escaped[:limit]}…"


def counted(number: int, one: str, many: str) -> str:
    """``number`` with its noun, which is ``one`` or ``many``."""
    return f"{number} {one if number == 1 else many}"


def printable_lines(lines: Iterable[str]) -> str:
    """A text result: each line printable and cut to a maximum length."""
    return "\n".join(printable(line, MAX_LINE) for line in lines)


def printable_json(text: str) -> str:
    r"""The same JSON as ``text``, with every character that could steer a terminal as ``\uXXXX``."""
    if text.isprintable():
        return text
    import json

    # Of what is not printable, only line feeds occur outside strings: msgspec and json escape control characters.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


class ProvisionerError(Exception):
    """The base of all errors of this package.

    Args:
        what: what happened, one sentence without a full stop.
        where: the file, line, URL, target or name that it is about.
        why: the cause, as the layer below reported it.
        hint: what to do next.
    """

    reason = Reason.INTERNAL

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        text = f"{printable(self.where)}: " if self.where else ""
        text += printable(self.what, 2000)
        if self.why:
            text += f": {printable(self.why, 2000)}"
        if self.hint:
            text = text.rstrip(". ")
            text += f"{'' if text.endswith('?') else '.'} {printable(self.hint, 2000)}"
        return text


class UsageError(ProvisionerError):
    """The command line is wrong: a missing manifest, options that exclude each other."""

    reason = Reason.USAGE


class ConfigurationError(ProvisionerError):
    """The configuration is wrong, or names an endpoint, account or place that cannot be right."""

    reason = Reason.CONFIGURATION


class ManifestError(UsageError):
    """A manifest cannot be opened or its name matches nothing."""


class ManifestChangedError(ManifestError):
    """A manifest was replaced or written while it was read: what was read may be a part of it.

    Args:
        where: its name.
    """

    def __init__(self, where: str) -> None:
        hint = "Write it under another name and rename it when it is whole, then run again"
        super().__init__("the manifest changed while it was read", where=where, hint=hint)


class LedgerError(ProvisionerError):
    """The ledger cannot be opened, read or written. Nothing that was acknowledged is lost."""

    reason = Reason.LEDGER


class LedgerLockedError(ProvisionerError):
    """Another run holds the ledger."""

    reason = Reason.LOCKED


class UnsureLeaseError(LedgerError):
    """A lease was not renewed in time, so that another run may have taken it: nothing is sent until that is known.

    Args:
        where: of the ledger.
    """

    def __init__(self, where: str) -> None:
        super().__init__(
            "the lease on the ledger was not renewed in time, so nothing more is sent",
            where=where,
            why="this process was suspended, or the database did not answer",
            hint="Run again when the database answers",
        )


class CredentialsError(ProvisionerError):
    """Credentials are missing, expired, or lack a permission that the run needs."""

    reason = Reason.DENIED


class OutageError(ProvisionerError):
    """A service that the run needs besides Clean Rooms ML does not answer; trying again may help."""

    reason = Reason.UNFINISHED


class IntegrityError(ProvisionerError):
    """A reply contradicts the ledger: an ARN of another account or Region, or one that another entry holds."""

    reason = Reason.DENIED


class IllegalTransitionError(ProvisionerError):
    """A fact does not follow from the state of its entry: a bug, or two writers on one ledger.

    Args:
        state: the state that the entry is in.
        fact: the event that does not follow.
    """

    def __init__(self, state: str, fact: str) -> None:
        super().__init__(f"the fact {fact!r} does not follow from the state {state!r}", hint="Please report this")
        self.state = state
        self.fact = fact


def first_error(error: BaseException) -> ProvisionerError:
    """The error that decides the exit code, of ``error`` or of the group that it is.

    Raises:
        BaseException: it contains an error of another kind, usually a bug.
    """
    leaves = list(_leaves(error))
    for leaf in leaves:
        if not isinstance(leaf, ProvisionerError):
            raise leaf
    ours = [leaf for leaf in leaves if isinstance(leaf, ProvisionerError)]
    return min(ours, key=lambda one: _WEIGHT[one.reason])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
