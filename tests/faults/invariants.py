"""What must hold after every fault, checked against what the endpoint holds."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from provisioner.core.consistency import contradictions
from provisioner.core.entry import Outcome, State
from provisioner.core.first_contact import OTHER_LEDGER
from provisioner.core.ownership import read_tag
from provisioner.core.versions import Role, to_delete

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from provisioner.core.entry import Entry
    from provisioner.core.ownership import OwnershipTag
    from provisioner.core.policy import Policy
    from provisioner.core.versions import Version
    from provisioner.emulator import Algorithm, Truth
    from provisioner.report.statistics import Statistics

TAG = "provisioner:origin"


class Older(NamedTuple):
    """What there is besides the algorithms that entries name.

    Attributes:
        versions: what the ledger has as older versions, by ARN.
        incoming: the replacements that it has under way, by name.
        gone: ARNs that somebody else has deleted.
    """

    versions: Mapping[str, Version] = MappingProxyType({})
    incoming: Mapping[str, Entry] = MappingProxyType({})
    gone: Collection[str] = ()


NOTHING_OLDER = Older()


def tag_of(algorithm: Algorithm, ledger_id: str) -> OwnershipTag | None:
    """Our tag on ``algorithm``, None when it is another's."""
    tag = read_tag(algorithm.tags.get(TAG, ""))
    return tag if tag is not None and tag.ledger_id == ledger_id else None


def check_invariants(
    truth: Truth,
    entries: Mapping[str, Entry],
    ledger_id: str,
    *,
    statistics: Iterable[Statistics] = (),
    before: Collection[str] = (),
    older: Older = NOTHING_OLDER,
) -> None:
    """Check I1 to I4 and I8 of the fault model.

    I5 is checked where creates are sent, and so is I8 at the moment of each delete; I6 and I7 by the tests themselves.

    Args:
        truth: what the endpoint holds, of one account and Region.
        entries: what the ledger holds for it, by name.
        ledger_id: whose tags are ours.
        statistics: of runs that have ended.
        before: ARNs that existed before.
        older: what else there is to account for.
    """
    ours = [(one, tag) for one in truth.algorithms if (tag := tag_of(one, ledger_id))]
    for one, _ in ours:
        entry = entries.get(one.name)
        assert entry is not None, f"I1: {one.name} exists, and no intent of it was ever committed"
        assert entry.attempt, f"I1: {one.name} exists without an attempt"
    attempts = Counter(tag.attempt for _, tag in ours)
    assert not [attempt for attempt, count in attempts.items() if count > 1], "I2: one attempt made two algorithms"
    names = Counter(one.name for one, _ in ours if one.deleted_at is None and not _is_accounted_for(one, older))
    unanswered = {name for name, entry in older.incoming.items() if entry.unresolved}
    names.subtract(unanswered & names.keys())
    assert not [name for name, count in names.items() if count > 1], f"I2: made twice: {names.most_common(3)}"
    _check_existence(truth, entries, ledger_id, before, older)
    _check_records(entries, older)
    for one in truth.algorithms:
        if one.deleted_at is not None and one.arn not in older.gone:
            assert one.arn in older.versions, f"I8: {one.arn} was deleted, and the ledger does not say why"
            assert older.versions[one.arn].reason, f"I8: {one.arn} was deleted without a reason"
    for counts in statistics:
        assert sum(counts.outcomes.values()) == counts.valid, f"I4: {counts.outcomes} are not {counts.valid}"
        assert min(counts.outcomes.values(), default=0) >= 0, f"I4: {counts.outcomes}"


def _check_records(entries: Mapping[str, Entry], older: Older) -> None:
    """What `ledger check` looks for."""
    versions: dict[str, list[Version]] = {}
    for version in older.versions.values():
        versions.setdefault(version.name, []).append(version)
    for name in {*entries, *older.incoming, *versions}:
        found = contradictions(entries.get(name), older.incoming.get(name), versions.get(name, []))
        assert not found, f"the records of {name} contradict each other: {found}"


def _is_accounted_for(algorithm: Algorithm, older: Older) -> bool:
    """Whether it is an older version that is still to be deleted."""
    version = older.versions.get(algorithm.arn)
    return version is not None and version.role is Role.SUPERSEDED


def check_never_without(truth: Truth, names: Collection[str]) -> None:
    """I9: once a name has an algorithm, it always has one."""
    for name in names:
        lives = [(one.created_at, one.deleted_at) for one in truth.algorithms if one.name == name]
        for _, end in lives:
            covered = end is None or any(since <= end and (until is None or until > end) for since, until in lives)
            assert covered, f"I9: {name} was without an algorithm at {end}: {lives}"


def _check_existence(
    truth: Truth, entries: Mapping[str, Entry], ledger_id: str, before: Collection[str], older: Older
) -> None:
    alive = {one.arn: one for one in truth.alive}
    for entry in entries.values():
        if entry.exists and entry.arn not in older.gone:
            one = alive.get(entry.arn)
            assert one is not None, f"I3: {entry.name} is {entry.state} as {entry.arn}, which does not exist"
            assert one.name == entry.name
            assert entry.arn in before or tag_of(one, ledger_id), f"I3: {entry.arn} is not ours"
    for one in truth.alive:
        replacement = older.incoming.get(one.name)
        if _is_accounted_for(one, older) or (replacement is not None and replacement.unresolved):
            continue
        if tag_of(one, ledger_id) and not (entry := entries[one.name]).unresolved:
            assert entry.arn == one.arn, f"I3: {one.arn} is ours, and its entry is {entry.state} {entry.arn}"


def check_nothing_due(versions: Iterable[Version], statistics: Statistics, policy: Policy) -> None:
    """A run that may delete, and that ends with 0, has deleted everything that it had to.

    Args:
        versions: the older ones of its target, after it.
        statistics: of it.
        policy: its rules.
    """
    if policy.deletes and not statistics.reasons():
        latest = sorted(versions, key=lambda one: -one.updated_at)
        left = to_delete(latest, policy.keep, adopted=policy.adopted)
        assert not left, f"the run ends with 0, and these are left: {left}"


def check_finished(truth: Truth, entries: Mapping[str, Entry], names: Collection[str]) -> None:
    """Every one of ``names`` is registered, once, and the ledger has its ARN: the export equals the truth."""
    assert {name: entries[name].arn for name in names} == {one.name: one.arn for one in truth.alive}
    assert len(truth.alive) == len(names)
    assert {entries[name].state for name in names} == {State.CREATED}


def check_account(truth: Truth, ledgers: Mapping[str, Mapping[str, Entry]], *, names_repeat: bool = False) -> None:
    """I10: I1 to I3 for the account, whichever of these ledgers were used in it, and however often they went back.

    Args:
        truth: what the endpoint holds, of one account and Region.
        ledgers: the entries of each, by its id.
        names_repeat: whether the configuration allows each ledger an algorithm of its own of one name.
    """
    owners = [read_tag(one.tags.get(TAG, "")) for one in truth.alive]
    made = Counter(
        (one.name, owner.ledger_id if owner and names_repeat else "")
        for one, owner in zip(truth.alive, owners, strict=True)
    )
    assert not [key for key, count in made.items() if count > 1], f"I10: made twice: {made.most_common(3)}"
    assert {owner.ledger_id for owner in owners if owner} <= set(ledgers), "I10: a ledger is missing here"
    for ledger_id, entries in ledgers.items():
        check_invariants(truth, entries, ledger_id, before=[one.arn for one in truth.alive if TAG not in one.tags])


def check_finished_together(
    truth: Truth, ledgers: Mapping[str, Mapping[str, Entry]], names: Collection[str], *, names_repeat: bool = False
) -> None:
    """Every one of ``names`` is registered, once; each ledger has it, or has refused it for the ledger that does."""
    check_account(truth, ledgers, names_repeat=names_repeat)
    assert {one.name for one in truth.alive} == set(names)
    for ledger_id, entries in ledgers.items():
        own = {one.name for one in truth.alive if tag_of(one, ledger_id) or TAG not in one.tags}
        states = {name: (entries[name].state, entries[name].code) for name in names}
        assert {name for name, (state, _) in states.items() if state is State.CREATED} == own
        assert {states[name] for name in set(names) - own} <= {(State.FAILED, OTHER_LEDGER)}


def outcomes_of(statistics: Statistics) -> dict[str, int]:
    """The outcomes that are not zero."""
    return {str(outcome): statistics.outcomes[outcome] for outcome in Outcome if statistics.outcomes[outcome]}
