"""First contact: what to do with a definition that is to be created while AWS has an algorithm of its name. Pure.

A new ledger may meet an old account, and a ledger may have gone back in time (a restored backup, a rolled-back volume,
a copy on another machine). So before anything is created, what exists under its name is examined. A name is an identity
within a target: a second algorithm of one name is made only where the configuration says that names may repeat.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import Event, Fact
from provisioner.core.ownership import adopted_attempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.core.entry import Entry
    from provisioner.core.inventory import Found
    from provisioner.core.policy import Policy
    from provisioner.core.wanted import Wanted

OTHER_LEDGER, NAME_TAKEN = "other_ledger", "name_taken"
"""Codes of refused definitions. Each run decides anew, because the account or the options may have changed."""
MISSING = "missing"
"""Code of an entry that was marked as deleted because AWS did not show its algorithm; not by a delete of ours."""


class Choice(StrEnum):
    """What to do with a definition."""

    CREATE = "create"
    RECOVER = "recover"
    ADOPT = "adopt"
    REFUSE = "refuse"


class Meeting(msgspec.Struct, frozen=True):
    """A choice, its algorithm and its reason.

    Attributes:
        choice: see :class:`Choice`.
        found: the algorithm that it is about, None for a create.
        code, message: why it is refused.
        duplicates: further algorithms that the same ledger created under the name.
    """

    choice: Choice
    found: Found | None = None
    code: str = ""
    message: str = ""
    duplicates: tuple[Found, ...] = ()


CREATE = Meeting(Choice.CREATE)


def meet(wanted: Wanted, entry: Entry | None, found: Sequence[Found], policy: Policy, ledger_id: str) -> Meeting:
    """What to do with ``wanted``.

    Args:
        wanted: the definition that is to be created.
        entry: of its name, None when the ledger has none.
        found: what exists under its name in any form of it (see :func:`provisioner.core.names.folded`).
        policy: the rules of the run.
        ledger_id: of this ledger.
    """
    # The entry's own ARN has been recorded as deleted, and List may lag: it is never recovered. What was only marked as
    # missing, on evidence that turns out to be wrong, is.
    deleted = entry.arn if entry is not None and entry.code != MISSING else ""
    others = sorted((one for one in found if one.arn != deleted), key=lambda one: one.age_order)
    ours = [one for one in others if is_ours(one, wanted, ledger_id)]
    if ours:
        kept = current(ours)
        return Meeting(Choice.RECOVER, kept, duplicates=tuple(one for one in ours if one is not kept))
    foreign = [one for one in others if one.name == wanted.name]
    return meet_foreign(wanted, foreign, policy) if foreign else CREATE


def is_ours(found: Found, wanted: Wanted, ledger_id: str) -> bool:
    """The tag names this ledger; under another form of the name its digest, which covers the name, agrees too."""
    if not found.is_of(ledger_id) or found.tag is None:
        return False
    return found.name == wanted.name or found.tag.digest == wanted.digest


def meet_foreign(wanted: Wanted, foreign: Sequence[Found], policy: Policy, *, conflict: bool = False) -> Meeting:
    """What to do with ``wanted`` if its name belongs to algorithms that this ledger did not create.

    Args:
        wanted: the definition, or the entry of an unanswered create that made none of them.
        foreign: at least one; the oldest first.
        policy: the rules of the run.
        conflict: whether the service has just refused the name with 409, whatever the configuration says about names.
    """
    taken_over = [one for one in foreign if one.tag and one.tag.ledger_id == policy.take_over]
    if taken_over:
        kept = current(taken_over)
        return Meeting(Choice.ADOPT, kept, duplicates=tuple(one for one in taken_over if one is not kept))
    names_repeat = policy.names == "duplicates" and not conflict
    tagged = [one for one in foreign if one.tag]
    # Whoever takes a ledger over does not want a second algorithm beside that of yet another ledger.
    if tagged and (policy.take_over or not names_repeat):
        return _refused(tagged[0])
    untagged = [one for one in foreign if one.tag is None]
    same = [one for one in untagged if one.digest == wanted.digest]
    one = same if len(same) == 1 else untagged
    if untagged and (policy.adopt == "any" or (policy.adopt == "same" and same)):
        return Meeting(Choice.ADOPT, one[0]) if len(one) == 1 else _undecided(one)
    if names_repeat:
        return CREATE
    return _refused(foreign[0]) if tagged or len(one) == 1 else _undecided(one)


def _refused(found: Found) -> Meeting:
    """The name belongs to ``found``, which is not to be taken over."""
    if found.tag is not None:
        ledger = found.tag.ledger_id
        message = (
            f"{found.arn} has this name, and ledger {ledger} created it. Apply with that ledger; or, if it is lost, "
            f"restore it with `provisioner rebuild --ledger new.db --ledger-id {ledger}`; or take its algorithms over "
            f"with --take-over {ledger}"
        )
        return Meeting(Choice.REFUSE, found, OTHER_LEDGER, message)
    message = (
        f"{found.arn} has this name, and no ledger created it. Take it over with --adopt any (or --adopt same, where "
        "the definitions agree), or rename the definition"
    )
    return Meeting(Choice.REFUSE, found, NAME_TAKEN, message)


def _undecided(several: Sequence[Found]) -> Meeting:
    """Which of ``several`` belongs to the definition is not guessed: the others would be left behind unseen."""
    arns = ", ".join(one.arn for one in several)
    message = (
        f"{len(several)} algorithms have this name, and no ledger created them. Delete all but one of {arns}, or "
        "rename the definition"
    )
    return Meeting(Choice.REFUSE, several[0], NAME_TAKEN, message)


def current(same: Sequence[Found]) -> Found:
    """Of several algorithms of one name and ledger, the one that the entry is to name.

    Of equal definitions the oldest: the others are duplicates of it. Of different ones the newest: it has replaced the
    others.

    Args:
        same: sorted, the oldest first.
    """
    digests = {one.tag.digest for one in same if one.tag}
    return same[0] if len(digests) == 1 else same[-1]


def facts_of(target: str, row: Wanted, entry: Entry | None, meeting: Meeting) -> list[Fact]:
    """What makes ``meeting`` durable; ``entry`` is the one of its name, None when there is none."""
    found = meeting.found
    if meeting.choice is Choice.CREATE or found is None:
        return []
    if meeting.choice is Choice.REFUSE:
        plan = Fact(target, row.name, Event.PLAN, digest=row.digest, tags_digest=row.tags_digest)
        refuse = Fact(target, row.name, Event.REJECT, code=meeting.code, message=meeting.message)
        return [plan, refuse]
    recovered = meeting.choice is Choice.RECOVER
    code = "recovered" if recovered else "adopted"
    attempt = found.tag.attempt if recovered and found.tag else None
    confirm = confirmed(target, row.name, found, code, attempt=attempt, after=entry.attempt if entry else None)
    # Then they are the tags of the definition, as this ledger set them.
    same_tags = recovered and found.tags_digest == row.tags_digest
    return [msgspec.structs.replace(confirm, tag_keys=row.tag_keys) if same_tags else confirm]


def confirmed(
    target: str, name: str, found: Found, code: str, *, attempt: str | None = None, after: str | None = None
) -> Fact:
    """The fact that ``found`` is the algorithm of an entry.

    Args:
        target: of the entry.
        name: of the entry; the service may keep another form of it.
        found: the algorithm.
        code: "recovered" or "rebuilt" if its tag says so, otherwise "adopted".
        attempt: the one that made it, where the entry has another or none; what is adopted gets a mark of its own.
        after: the attempt that the entry must have.
    """
    # Only tags can change after a create, so the digest in our tag is that of what was sent, even if Get returns the
    # definition in another form.
    tag = None if code == "adopted" else found.tag
    return Fact(
        target,
        name,
        Event.CONFIRM,
        digest=tag.digest if tag else found.digest,
        tags_digest=found.tags_digest,
        arn=found.arn,
        attempt=adopted_attempt(found.arn) if code == "adopted" else attempt,
        code=code,
        after=after,
    )
