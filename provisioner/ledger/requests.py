"""What a ledger is asked to write. A store turns requests that arrive together into one commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import INTENTS
from provisioner.core.place import Place  # noqa: TC001  msgspec reads these types at run time
from provisioner.core.problem import Problem  # noqa: TC001  msgspec reads these types at run time
from provisioner.errors import IntegrityError
from provisioner.ledger import FinishedManifest, RunRecord  # noqa: TC001  msgspec reads these types at run time
from provisioner.ledger.jobs import TargetResult  # noqa: TC001  msgspec reads these types at run time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.core.entry import Fact
    from provisioner.ledger.tables import Row

FACTS_PER_COMMIT = 256
"""A larger commit is hardly cheaper per fact, and everybody in it waits longer. A single request may be larger."""

KEPT_RUNS_WITH_PROBLEMS = 20
"""The interface's promise, for samples too."""

KEPT_RUNS = 1000
"""So that a job that runs every minute does not fill the disk with summaries: a thousand runs are most of a day of
such a job, and nearly three years of a nightly one."""


class Record(msgspec.Struct, frozen=True):
    """Make these facts durable: all of them or none."""

    facts: Sequence[Fact]


class BeginRun(msgspec.Struct, frozen=True):
    """Facts and problems from now on belong to this run."""

    run: RunRecord


class EndRun(msgspec.Struct, frozen=True):
    """Record how the run ended."""

    run: RunRecord


class AddProblems(msgspec.Struct, frozen=True):
    """Record these problems of the current run."""

    problems: Sequence[Problem]


class KeepSamples(msgspec.Struct, frozen=True):
    """Record the samples of the current run."""

    samples: bytes


class Learn(msgspec.Struct, frozen=True):
    """Record what a pacer learned."""

    target: str
    family: str
    state: bytes


class TakeIdentity(msgspec.Struct, frozen=True):
    """Take over the id of a lost ledger."""

    ledger_id: str


class SetFinished(msgspec.Struct, frozen=True):
    """Record the manifest that was finished last in a target."""

    target: str
    manifest: FinishedManifest


class DropFinished(msgspec.Struct, frozen=True):
    """Forget which manifests were finished."""


class SetPlace(msgspec.Struct, frozen=True):
    """Record where a target is."""

    target: str
    place: Place


class Forget(msgspec.Struct, frozen=True):
    """Remove entries and what belongs to them."""

    target: str
    names: Sequence[str]


class RenameTarget(msgspec.Struct, frozen=True):
    """Move everything of one target to another name."""

    old: str
    new: str


class FinishTarget(msgspec.Struct, frozen=True):
    """Record what became of a target in a job."""

    job: str
    result: TargetResult


class ReplaceRows(msgspec.Struct, frozen=True):
    """Put these rows in the place of those that a table has in a range of keys.

    Attributes:
        table: see :mod:`provisioner.ledger.tables`.
        after: the range begins behind this key; None for the beginning.
        upto: its last key; None for the end.
        rows: in the order of their keys.
    """

    table: str
    after: Row | None
    upto: Row | None
    rows: Sequence[Row]


Request = (
    Record
    | BeginRun
    | EndRun
    | AddProblems
    | KeepSamples
    | Learn
    | TakeIdentity
    | SetFinished
    | DropFinished
    | SetPlace
    | RenameTarget
    | Forget
    | FinishTarget
    | ReplaceRows
)


def place_taken(target: str) -> IntegrityError:
    """The answer to :class:`SetPlace` where another target is there."""
    return IntegrityError(f"the ledger has another target in the account and Region of {target!r}")


Answer = Exception | None
"""None: the request is durable. An exception: it changed nothing, for this reason."""


def targets_of(request: Request) -> set[str]:
    """The targets of which it changes something: whoever asks for it must hold their leases."""
    match request:
        case Record(facts):
            return {fact.target for fact in facts}
        case Learn(target=target) | SetFinished(target=target) | SetPlace(target=target) | Forget(target=target):
            return {target}
        case RenameTarget(old, new):
            return {old, new}
        case FinishTarget(result=result):
            return {result.target}
    return set()


def outdated(request: Request, epoch: Callable[[str], str]) -> str:
    """The target of an intent in ``request`` that was made under another epoch than the present one; "" for none."""
    if isinstance(request, Record):
        for fact in request.facts:
            if fact.event in INTENTS and fact.sent and fact.sent.epoch not in ("", epoch(fact.target)):
                return fact.target
    return ""


def weight(request: Request) -> int:
    """How many facts it counts as."""
    # No `match`: every fact passes here twice, and a class pattern takes three times as long.
    if isinstance(request, Record):
        return len(request.facts)
    return len(request.rows) if isinstance(request, ReplaceRows) else 1
