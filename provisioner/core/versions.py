"""Versions: the algorithms that an entry had before its current one, and how a replacement takes its place. Pure.

A plain create needs one row of the ledger: the entry names the current algorithm. Further rows exist only where there
is more than one algorithm to account for:

* The *incoming* one is being created to replace the current one. It is an entry of its own beside the entry, with the
  same states, and it is proven by its own attempt id only. When it is confirmed, it becomes the entry, and the ARN that
  the entry had becomes a superseded version, in one commit.
* A *superseded* one is to be deleted, and says why: ``replaced``, ``pruned``, ``destroyed`` or ``duplicate``. No
  algorithm is deleted that is not recorded so before.
* A *deleted* one stays on record: List may show it for a while, and it is never recovered.

::

    (none) --supersede--> superseded --deleting--> superseded --gone--> deleted
                                     --keep--> superseded: AWS refuses to delete it for now
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import Entry, Event, Fact, Stamp, State
from provisioner.core.ownership import ADOPTED
from provisioner.errors import IllegalTransitionError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Role(StrEnum):
    """What a version is to its entry, apart from the current and the incoming one."""

    SUPERSEDED = "superseded"
    DELETED = "deleted"


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """An algorithm that an entry no longer names.

    Attributes:
        arn: unique in the ledger, current algorithms included.
        target, name: of its entry.
        role: see :class:`Role`.
        reason: why it is to be deleted.
        digest, tags_digest: of the definition that it was created from.
        attempt: that created it, or ``adopted-...``.
        deletion: id of the last attempt to delete it; "" before the first, and if all were certainly refused.
        sent: when that was recorded; before the first, when the create was. None where neither is known.
        updated_at: wall-clock time of the last change, seconds since the epoch.
        run_id: the run that made the last change.
        code, message: why it could not be deleted.
        request_id: of the last reply about it.
    """

    arn: str
    target: str
    name: str
    role: Role
    reason: str
    digest: str = ""
    tags_digest: str = ""
    attempt: str = ""
    deletion: str = ""
    sent: Stamp | None = None
    updated_at: float = 0.0
    run_id: str = ""
    code: str = ""
    message: str = ""
    request_id: str = ""

    @property
    def adopted(self) -> bool:
        """Whether it was taken over, so that this ledger did not create it."""
        return self.attempt.startswith(ADOPTED)

    def fact(self, event: Event, *, code: str = "", message: str = "", request_id: str = "") -> Fact:
        """The fact that ``event`` happens to this version."""
        return Fact(self.target, self.name, event, arn=self.arn, code=code, message=message, request_id=request_id)


_ROLES: dict[tuple[Role | None, Event], Role] = {
    (None, Event.SUPERSEDE): Role.SUPERSEDED,
    (Role.SUPERSEDED, Event.DELETING): Role.SUPERSEDED,
    (Role.SUPERSEDED, Event.KEEP): Role.SUPERSEDED,
    (Role.SUPERSEDED, Event.GONE): Role.DELETED,
}


def superseded(entry: Entry, reason: str, *, at: float, run_id: str) -> Version:
    """The version that the current algorithm of ``entry`` becomes."""
    return Version(
        arn=entry.arn,
        target=entry.target,
        name=entry.name,
        role=Role.SUPERSEDED,
        reason=reason,
        digest=entry.digest,
        tags_digest=entry.tags_digest,
        attempt=entry.attempt,
        sent=entry.sent,
        updated_at=at,
        run_id=run_id,
    )


def promoted(incoming: Entry) -> Entry:
    """The entry that a confirmed replacement becomes."""
    return msgspec.structs.replace(incoming, incoming=False)


def apply_to_version(version: Version | None, fact: Fact, *, at: float, run_id: str) -> Version:
    """The version after ``fact``; with ``supersede`` it begins.

    Raises:
        IllegalTransitionError: the fact does not follow from the version's role.
    """
    role = _ROLES.get((version.role if version else None, fact.event))
    if role is None or not fact.arn:
        raise IllegalTransitionError(f"version {version.role if version else 'unknown'}", fact.event)
    if version is None:
        version = Version(
            fact.arn, fact.target, fact.name, role, fact.code, fact.digest or "", attempt=fact.attempt or ""
        )
        return msgspec.structs.replace(version, message=fact.message, updated_at=at, run_id=run_id)
    return msgspec.structs.replace(
        version,
        role=role,
        deletion=version.deletion if fact.attempt is None else fact.attempt,
        sent=version.sent if fact.sent is None else fact.sent,
        updated_at=at,
        run_id=run_id,
        code=fact.code,
        message=fact.message,
        request_id=fact.request_id,
    )


class SameArnError(IntegrityError):
    """The reply to a replacement names the algorithm that was to be replaced, so nothing new was made.

    Args:
        arn: of that algorithm.
    """

    def __init__(self, arn: str) -> None:
        hint = "Names are unique here: use --replace-order delete-first"
        super().__init__("the service returned the existing algorithm instead of a new one", where=arn, hint=hint)


def check_unknown(arn: str, known: Version | None) -> None:
    """Make sure that ``arn``, which is to be the current one of an entry, is not an older version (``known``).

    Raises:
        IntegrityError: it is.
    """
    if known is not None:
        raise IntegrityError(
            f"a reply names an algorithm that the ledger has as {known.role} for {known.name!r}",
            where=f"target {known.target}",
            why=arn,
            hint="Nothing more is sent to this target. Compare the ledger with AWS: `provisioner verify`",
        )


class Happening(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event in the history of an entry; that of a plain create has none, since its entry says it all.

    Attributes:
        target, name: of the entry.
        at: wall-clock time, seconds since the epoch.
        run_id: the run that recorded it.
        event: what happened.
        arn: of the algorithm that it was about, "" if none.
        attempt: that it was about.
        code, message: the reason.
        request_id: of the reply.
    """

    target: str
    name: str
    at: float
    run_id: str
    event: str
    arn: str = ""
    attempt: str = ""
    code: str = ""
    message: str = ""
    request_id: str = ""


_PLAIN = frozenset({Event.PLAN, Event.INTEND, Event.RELEASE, Event.REPLAN, Event.RESTORE, Event.TAG, Event.DELETING})


def happening(entry: Entry | None, fact: Fact, *, at: float, run_id: str) -> Happening | None:
    """What ``fact`` adds to the history; None for a plain create.

    Args:
        entry: that it is about, before it: the entry or its replacement; None for a new one, and for a version.
        fact: what happened.
        at: wall-clock time, seconds since the epoch.
        run_id: the run that records it.
    """
    if fact.event in _PLAIN:
        return None
    if fact.event is Event.CONFIRM and not (fact.code or fact.incoming or (entry and entry.state is State.AMBIGUOUS)):
        return None
    name = "replace" if fact.incoming and fact.event is Event.CONFIRM else fact.event.value
    arn = fact.arn or (entry.arn if entry else "")
    attempt = fact.attempt or (entry.attempt if entry else "")
    return Happening(fact.target, fact.name, at, run_id, name, arn, attempt, fact.code, fact.message, fact.request_id)


NOT_DELETED, FOREIGN = "not_deleted", "foreign"
"""Codes of versions that were looked at and not deleted: for now, and because they are not this ledger's own."""


def still_there(version: Version, *, settled: bool) -> bool:
    """Whether no deletion of ``version`` can have been executed, or can be yet.

    Args:
        version: superseded.
        settled: whether its last deletion was sent longer ago than the settle time, so that List shows what came of it.
    """
    return not version.deletion or settled


class Fate(StrEnum):
    """What a run that may delete does with a superseded version."""

    TO_DELETE = "to_delete"
    KEPT = "kept"
    """``--keep`` keeps it, for a rollback."""
    ADOPTED = "adopted"
    """It was taken over, so it stays unless ``--adopted`` is given."""


def fates(versions: Sequence[Version], keep: int, *, adopted: bool) -> list[tuple[Version, Fate]]:
    """What becomes of those of ``versions`` that are superseded.

    One with an unanswered deletion is never kept: it may be gone, and then there is nothing to go back to. Its deletion
    is sent again, which changes nothing if it is.

    Args:
        versions: of one target, the latest change first.
        keep: how many replaced ones of each name stay, the latest.
        adopted: whether those that were taken over may be deleted.
    """
    kept: Counter[str] = Counter()
    found = []
    for version in versions:
        if version.role is not Role.SUPERSEDED:
            continue
        fate = Fate.TO_DELETE
        if version.adopted and not adopted:
            fate = Fate.ADOPTED
        elif version.reason == REPLACED and not version.deletion and kept[version.name] < keep:
            kept[version.name] += 1
            fate = Fate.KEPT
        found.append((version, fate))
    return found


def to_delete(versions: Sequence[Version], keep: int, *, adopted: bool) -> list[Version]:
    """Which of ``versions`` a run that may delete is to delete; see :func:`fates`."""
    return [version for version, fate in fates(versions, keep, adopted=adopted) if fate is Fate.TO_DELETE]


REPLACED, PRUNED, DESTROYED, DUPLICATE = "replaced", "pruned", "destroyed", "duplicate"
"""Why a version is to be deleted."""
