"""What to do with a definition, given what the ledger and the account have of its name. Pure.

``plan`` shows the steps that are made here, and ``apply`` carries them out: there is no other place that decides.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import Entry, Event, Fact, Outcome, State, apply
from provisioner.core.first_contact import CREATE, MISSING, NAME_TAKEN, OTHER_LEDGER, Choice, facts_of, is_ours, meet
from provisioner.core.sweep import NAMES_UNIQUE
from provisioner.core.verdict import is_denial

if TYPE_CHECKING:
    from provisioner.core.inventory import Found
    from provisioner.core.policy import Policy
    from provisioner.core.wanted import Wanted

TAGGING = "tagging"
"""Code of an entry whose tags are being changed, or may have been: the reply is outstanding."""
TAGS_REPEATED = "tags_repeated"
"""Code of an entry whose tags are as they should be, and were sent more than once: the first may still take effect."""
TAGS_REFUSED = "tags_refused"
"""Code of an entry whose tags AWS refused to change."""
TAGS_ADDED = "tags_added"
"""Code of an entry to whose algorithm others have added tags, which stay unless ``--own-tags`` is given."""
NOT_PLANNED = "not_planned"
"""Code of a definition that is left as it is, because a saved plan does not fit it any more."""


class Action(StrEnum):
    """What a step does."""

    CREATE = "create"
    RECOVER = "recover"
    ADOPT = "adopt"
    UPDATE = "update"
    REPLACE = "replace"
    RECREATE = "recreate"
    DRIFTED = "drifted"
    DELETE = "delete"
    ORPHANED = "orphaned"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    CONFLICT = "conflict"
    AMBIGUOUS = "ambiguous"
    OVER_QUOTA = "over_quota"


class Seen(msgspec.Struct, frozen=True):
    """What the account holds under a name, as far as a decision needs it.

    Attributes:
        missing: whether the algorithm that the entry names is proven to be gone.
        found: algorithms with this name, in any form of it, that neither an entry nor an older version names.
    """

    missing: bool = False
    found: tuple[Found, ...] = ()


NOTHING_SEEN = Seen()


class Situation(msgspec.Struct, frozen=True):
    """What a decision is made from, apart from the definition.

    Attributes:
        entry: of the name, None when there is none.
        incoming: the replacement of its algorithm that is under way or came to nothing.
        seen: what the account holds.
        still_there: whether the algorithm that the entry gave up exists, and no deletion of it is under way.
    """

    entry: Entry | None = None
    incoming: Entry | None = None
    seen: Seen = NOTHING_SEEN
    still_there: bool = False


class Step(msgspec.Struct, frozen=True):
    """What to do with one definition, and why.

    Attributes:
        action: what is done.
        outcome: of the definition so far; PENDING while something is to be sent.
        reason: for people, one clause.
        facts: to be recorded before anything else.
        entry: as it is after these facts; None when there is none.
        found: the algorithm that is recovered, adopted, or in the way.
        duplicates: further algorithms that the same ledger created under the name.
        code: of a definition that is refused or failed before.
        retag: whether its tags are to be changed besides.
    """

    action: Action
    outcome: Outcome
    reason: str
    facts: tuple[Fact, ...] = ()
    entry: Entry | None = None
    found: Found | None = None
    duplicates: tuple[Found, ...] = ()
    code: str = ""
    retag: bool = False


_CREATE_ANEW = {
    State.PLANNED: "it was planned, not sent",
    State.PARKED: "a quota was in the way last time",
    State.DELETED: "it was deleted",
    State.FAILED: "it failed and may be tried again",
}


class Planner:
    """Makes the steps of one target.

    Args:
        target: its name.
        policy: the rules of the run.
        ledger_id: of the ledger.
    """

    def __init__(self, target: str, policy: Policy, ledger_id: str) -> None:
        self._target = target
        self._policy = policy
        self._ledger_id = ledger_id

    def plan(self, row: Wanted, situation: Situation) -> Step:
        """The step for ``row``."""
        entry = situation.entry
        if entry is None:
            return self._create(row, situation, Action.CREATE, "it is not registered")
        if entry.unresolved:
            reason = "an earlier create of it had no reply"
            return Step(Action.AMBIGUOUS, Outcome.AMBIGUOUS, reason, entry=entry)
        if situation.incoming is not None and situation.incoming.unresolved:
            # Whatever the manifest says by now: it may take the place of the entry's algorithm.
            reason = "its replacement was sent and had no reply"
            return Step(Action.AMBIGUOUS, Outcome.AMBIGUOUS, reason, entry=situation.incoming)
        if entry.exists:
            return self._recreate(row, situation) if situation.seen.missing else self._compare(row, situation, entry)
        return self._begin(row, situation, entry)

    def _begin(self, row: Wanted, situation: Situation, entry: Entry) -> Step:
        """The step for a definition whose entry names no algorithm."""
        # A ledger that went back in time does not know that a later try succeeded.
        made = any(is_ours(one, row, self._ledger_id) for one in situation.seen.found)
        if entry.state is State.FAILED and not made and not self._may_try_again(entry, row):
            reason = f"it failed before: {entry.code}: {entry.message}"
            return Step(Action.FAILED, Outcome.FAILED, reason, entry=entry, code=entry.code)
        if situation.still_there:
            return self._take_back(row, situation, entry)
        return self._create(row, situation, Action.CREATE, _CREATE_ANEW[entry.state])

    def _take_back(self, row: Wanted, situation: Situation, entry: Entry) -> Step:
        """It was to be deleted, which did not happen, and the manifest has it again."""
        reinstate = (Fact(self._target, row.name, Event.REINSTATE, arn=entry.arn),)
        again = _after(entry, reinstate)
        assert again is not None  # noqa: S101  an entry stays one
        then = self._compare(row, Situation(again, situation.incoming, situation.seen), again)
        reason = f"{entry.arn} was to be deleted and is wanted again; {then.reason}"
        return msgspec.structs.replace(then, facts=(*reinstate, *then.facts), reason=reason)

    def _may_try_again(self, entry: Entry, row: Wanted) -> bool:
        """Whether a failed definition is tried again.

        It is when it changed, when it failed because of permissions or of what existed in AWS (both change outside the
        manifest), or when the policy asks for it.
        """
        changed = (entry.digest, entry.tags_digest) != (row.digest, row.tags_digest)
        passes = is_denial(entry.code) or entry.code in {OTHER_LEDGER, NAME_TAKEN}
        passes = passes or (entry.code == NAMES_UNIQUE and self._policy.delete_first)
        return changed or passes or self._policy.retry_failed

    def _recreate(self, row: Wanted, situation: Situation) -> Step:
        reason = "it is gone from AWS"
        gone = Fact(self._target, row.name, Event.DELETE, code=MISSING, message="it is gone from AWS")
        deleted = _after(situation.entry, [gone])
        step = self._create(row, msgspec.structs.replace(situation, entry=deleted), Action.RECREATE, reason)
        return msgspec.structs.replace(step, facts=(gone, *step.facts))

    def _create(self, row: Wanted, situation: Situation, action: Action, reason: str) -> Step:
        """A create, unless the account has an algorithm of the name."""
        entry, facts = situation.entry, self._planned_again(row, situation.entry)
        found = situation.seen.found
        # What is found is not recorded as deleted, except that a look at it showed that it is somebody else's.
        known = entry
        if entry is not None and any(one.arn == entry.arn for one in found):
            known = msgspec.structs.replace(entry, arn="")
        meeting = meet(row, known, found, self._policy, self._ledger_id) if found else CREATE
        if meeting.choice is Choice.CREATE:
            if entry is not None and entry.state is State.PARKED:
                facts = ()  # until its create is sent, it waits for the quota
            return Step(action, Outcome.PENDING, reason, facts, _after(entry, facts))
        planned = _after(entry, facts)
        taking = facts_of(self._target, row, planned, meeting)
        if meeting.choice is Choice.ADOPT and self._policy.ownership_tag:
            taking.append(unmarked(self._target, row.name))
        facts, entry = (*facts, *taking), _after(planned, taking)
        if meeting.choice is Choice.REFUSE or entry is None:
            return Step(
                Action.CONFLICT, Outcome.FAILED, meeting.message, facts, entry, meeting.found, code=meeting.code
            )
        recovered = meeting.choice is Choice.RECOVER
        arn = meeting.found.arn if meeting.found else ""
        reason = f"{arn} is this ledger's own" if recovered else f"{arn} has its name"
        taken = Step(
            Action.RECOVER if recovered else Action.ADOPT,
            Outcome.RECOVERED if recovered else Outcome.ADOPTED,
            reason,
            facts,
            entry,
            meeting.found,
            meeting.duplicates,
        )
        return self._then(taken, self._compare(row, Situation(entry), entry))

    def _begin_again(self, row: Wanted, incoming: Entry | None) -> tuple[Fact, ...]:
        """What lets a replacement be sent after an earlier one came to nothing."""
        facts = self._planned_again(row, incoming)
        return tuple(msgspec.structs.replace(fact, incoming=True) for fact in facts)

    def _planned_again(self, row: Wanted, entry: Entry | None) -> tuple[Fact, ...]:
        if entry is None or entry.state is State.PLANNED:
            return ()
        # That it was only missing is kept: it may turn up again.
        code = MISSING if entry.code == MISSING else ""
        replan = Fact(self._target, row.name, Event.REPLAN, row.digest, row.tags_digest, code=code)
        return (msgspec.structs.replace(replan, tag_keys=row.tag_keys),)

    def _then(self, first: Step, then: Step) -> Step:
        """``first``, and ``then`` what its algorithm needs besides."""
        if then.action in {Action.UNCHANGED, Action.UPDATE}:
            facts = (*first.facts, *then.facts)
            return msgspec.structs.replace(first, facts=facts, retag=then.action is Action.UPDATE)
        return msgspec.structs.replace(
            then,
            reason=f"{first.reason}; {then.reason}",
            facts=(*first.facts, *then.facts),
            found=first.found,
            duplicates=first.duplicates,
        )

    def _compare(self, row: Wanted, situation: Situation, entry: Entry) -> Step:
        if entry.digest != row.digest:
            return self._change(row, situation, entry)
        if self._tags_differ(row, entry):
            reason = "its tags changed" if entry.tags_digest != row.tags_digest else entry.message
            return Step(Action.UPDATE, Outcome.PENDING, reason, entry=entry)
        if entry.state is State.CREATED:
            return msgspec.structs.replace(_UNCHANGED, entry=entry)
        restore = (Fact(self._target, row.name, Event.RESTORE),)
        return msgspec.structs.replace(_UNCHANGED, facts=restore, entry=_after(entry, restore))

    def _change(self, row: Wanted, situation: Situation, entry: Entry) -> Step:
        """Only a new algorithm can express what changed."""
        incoming = situation.incoming
        if (made := self._made_before(row, situation, entry)) is not None:
            confirm = _recovered_replacement(self._target, row, made)
            promoted = _after(None, (msgspec.structs.replace(confirm, incoming=False),))
            reason = f"{made.arn} is its replacement"
            facts = (*self._begin_again(row, incoming), confirm)
            taken = Step(Action.RECOVER, Outcome.RECOVERED, reason, facts, promoted, found=made)
            return self._then(taken, self._compare(row, Situation(promoted), promoted)) if promoted else taken
        if self._policy.on_change == "replace":
            failed = incoming is not None and incoming.state is State.FAILED
            if incoming is not None and failed and not self._may_try_again(incoming, row):
                reason = f"its replacement failed before: {incoming.code}: {incoming.message}"
                return Step(Action.FAILED, Outcome.FAILED, reason, entry=entry, code=incoming.code)
            reason = f"it changed since {entry.arn} was created"
            parked = incoming is not None and incoming.state is State.PARKED
            again = () if self._policy.delete_first or parked else self._begin_again(row, incoming)
            return Step(Action.REPLACE, Outcome.PENDING, reason, again, entry=entry)
        drift = drifted(self._target, row.name, entry.arn)
        facts = () if entry.state is State.DRIFTED else (drift,)
        hint = f"{drift.message}; --on-change replace creates a new one and deletes this one"
        if entry.adopted:
            differs = f"the definition differs from {entry.arn}, which was taken over"
            hint = f"{differs}; --on-change replace creates a new one, and deletes this one only with --adopted"
        retag = self._tags_differ(row, entry)
        return Step(Action.DRIFTED, Outcome.DRIFTED, hint, facts, _after(entry, facts), retag=retag)

    def _tags_differ(self, row: Wanted, entry: Entry) -> bool:
        to_change = {TAGGING, TAGS_REFUSED} | ({TAGS_ADDED} if self._policy.own_tags else set())
        return entry.tags_digest != row.tags_digest or entry.code in to_change

    def _made_before(self, row: Wanted, situation: Situation, entry: Entry) -> Found | None:
        """The replacement, if this ledger made it and has lost it: a restored backup, a rolled-back volume."""
        ours = [
            (one, one.tag.digest)
            for one in sorted(situation.seen.found, key=lambda one: one.age_order)
            if one.name == row.name and one.tag and one.is_of(self._ledger_id) and one.tag.digest != entry.digest
        ]
        wanted = [one for one, digest in ours if digest == row.digest]
        # One that was made from yet another definition takes its place, too, and is replaced in its turn.
        return wanted[0] if wanted else ours[-1][0] if ours else None


def drifted(target: str, name: str, arn: str) -> Fact:
    """The fact that only a new algorithm can express what the definition of ``arn`` is by now."""
    reason = f"the definition changed since {arn} was created"
    return Fact(target, name, Event.DRIFT, code="drifted", message=reason)


def unmarked(target: str, name: str) -> Fact:
    """The fact that what was just taken over has yet to get this ledger's tag; whoever comes next writes it."""
    return Fact(target, name, Event.TAG, code=TAGGING, message="its ownership tag is to be written")


_UNCHANGED = Step(Action.UNCHANGED, Outcome.UNCHANGED, "it is registered")


def _recovered_replacement(target: str, row: Wanted, found: Found) -> Fact:
    digest = found.tag.digest if found.tag else found.digest
    return Fact(
        target,
        row.name,
        Event.CONFIRM,
        digest=digest,
        tags_digest=found.tags_digest,
        arn=found.arn,
        attempt=found.tag.attempt if found.tag else None,
        code="recovered",
        tag_keys=row.tag_keys if found.tags_digest == row.tags_digest else None,
        incoming=True,
    )


def _after(entry: Entry | None, facts: tuple[Fact, ...] | list[Fact]) -> Entry | None:
    """The entry as ``facts`` will leave it, but for the time and the run."""
    for fact in facts:
        entry = apply(entry, fact, at=entry.updated_at if entry else 0.0, run_id=entry.run_id if entry else "")
    return entry
