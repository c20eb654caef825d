"""What to do with a definition, given what the ledger knows of its name. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import Entry, Event, Fact, Outcome, State
from provisioner.core.first_contact import MISSING, NAME_TAKEN, OTHER_LEDGER
from provisioner.core.verdict import is_denial

if TYPE_CHECKING:
    from provisioner.core.wanted import Wanted


class Action(StrEnum):
    """What the engine has to do."""

    CREATE = "create"
    RECONCILE = "reconcile"
    NOTHING = "nothing"


class Step(msgspec.Struct, frozen=True):
    """What to do with one definition, and why.

    Attributes:
        action: what the engine has to do.
        outcome: of the definition so far; PENDING for a create, AMBIGUOUS for a reconcile.
        reason: for people, one clause.
        facts: to be recorded before anything else.
    """

    action: Action
    outcome: Outcome
    reason: str
    facts: tuple[Fact, ...] = ()


UNCHANGED = Step(Action.NOTHING, Outcome.UNCHANGED, "it is registered")
"""The step of the daily case; one object, so that a million of them cost nothing."""

_CREATE_ANEW = {
    State.PARKED: "a quota was in the way last time",
    State.DELETED: "it was deleted",
    State.FAILED: "it failed and may be tried again",
}


def plan(target: str, row: Wanted, entry: Entry | None, *, retry_failed: bool) -> Step:
    """The step for ``row`` in ``target``, whose entry is ``entry``.

    A failed definition is tried again when it changed, when it failed because of permissions or of what
    existed in AWS (both change outside the manifest), or when ``retry_failed`` asks for it.
    """
    if entry is None:
        return Step(Action.CREATE, Outcome.PENDING, "it is not registered")
    if entry.unresolved:
        return Step(Action.RECONCILE, Outcome.AMBIGUOUS, "an earlier create of it had no reply")
    if entry.state is State.PLANNED:
        return Step(Action.CREATE, Outcome.PENDING, "it was planned, not sent")
    if entry.exists:
        return _compare(target, row, entry)
    same = (entry.digest, entry.tags_digest) == (row.digest, row.tags_digest)
    if entry.state is State.FAILED and same and not retry_failed and not _may_pass_now(entry.code):
        return Step(Action.NOTHING, Outcome.FAILED, f"it failed before: {entry.code} {entry.message}")
    return Step(Action.CREATE, Outcome.PENDING, _CREATE_ANEW[entry.state], (_replan(target, row, entry),))


def _compare(target: str, row: Wanted, entry: Entry) -> Step:
    if entry.state is State.CREATED and entry.digest == row.digest and entry.tags_digest == row.tags_digest:
        return UNCHANGED
    changed = [
        part
        for part, ours, theirs in (
            ("the definition", row.digest, entry.digest),
            ("the tags", row.tags_digest, entry.tags_digest),
        )
        if ours != theirs
    ]
    if changed:
        reason = f"{' and '.join(changed)} changed since it was created as {entry.arn}"
        drift = Fact(target, row.name, Event.DRIFT, code="drifted", message=reason)
        facts = () if entry.state is State.DRIFTED else (drift,)
        return Step(Action.NOTHING, Outcome.DRIFTED, reason, facts)
    restore = Fact(target, row.name, Event.RESTORE)
    return msgspec.structs.replace(UNCHANGED, facts=(restore,))


def _may_pass_now(code: str) -> bool:
    """Whether ``code`` depends on something outside the manifest: permissions, or what exists in AWS."""
    return is_denial(code) or code in {OTHER_LEDGER, NAME_TAKEN}


def _replan(target: str, row: Wanted, entry: Entry) -> Fact:
    # That it was only missing is kept: it may turn up again.
    code = MISSING if entry.code == MISSING else ""
    return Fact(target, row.name, Event.REPLAN, digest=row.digest, tags_digest=row.tags_digest, code=code)
