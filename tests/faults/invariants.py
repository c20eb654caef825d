"""What must hold after every fault, checked against what the endpoint holds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from provisioner.core.entry import Outcome, State
from provisioner.core.first_contact import OTHER_LEDGER
from provisioner.core.ownership import read_tag

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from provisioner.core.entry import Entry
    from provisioner.core.ownership import OwnershipTag
    from provisioner.emulator import Algorithm, Truth
    from provisioner.report.statistics import Statistics

TAG = "provisioner:origin"


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
    intents: Collection[str] | None = None,
) -> None:
    """Check I1 to I4 of the fault model; I5 is checked where creates are sent, I6 and I7 by the tests themselves.

    Args:
        truth: what the endpoint holds, of one account and Region.
        entries: what the ledger holds for it, by name.
        ledger_id: whose tags are ours.
        statistics: of runs that have ended.
        before: ARNs that existed before.
        intents: attempts that were committed, where a test has watched them.
    """
    ours = [(one, tag) for one in truth.alive if (tag := tag_of(one, ledger_id))]
    for one, tag in ours:
        entry = entries.get(one.name)
        assert entry is not None, f"I1: {one.name} exists, and no intent of it was ever committed"
        assert entry.attempt, f"I1: {one.name} exists without an attempt"
        assert intents is None or tag.attempt in intents, f"I1: {tag.attempt} was sent before it was committed"
    attempts = Counter(tag.attempt for _, tag in ours)
    assert not [attempt for attempt, count in attempts.items() if count > 1], "I2: one attempt made two algorithms"
    names = Counter(one.name for one, _ in ours)
    assert not [name for name, count in names.items() if count > 1], f"I2: made twice: {names.most_common(3)}"
    _check_existence(truth, entries, ledger_id, before)
    for counts in statistics:
        assert sum(counts.outcomes.values()) == counts.valid, f"I4: {counts.outcomes} are not {counts.valid}"
        assert min(counts.outcomes.values(), default=0) >= 0, f"I4: {counts.outcomes}"


def _check_existence(truth: Truth, entries: Mapping[str, Entry], ledger_id: str, before: Collection[str]) -> None:
    alive = {one.arn: one for one in truth.alive}
    for entry in entries.values():
        if entry.exists:
            one = alive.get(entry.arn)
            assert one is not None, f"I3: {entry.name} is {entry.state} as {entry.arn}, which does not exist"
            assert one.name == entry.name
            assert entry.arn in before or tag_of(one, ledger_id), f"I3: {entry.arn} is not ours"
    for one in truth.alive:
        if tag_of(one, ledger_id) and not (entry := entries[one.name]).unresolved:
            assert entry.arn == one.arn, f"I3: {one.arn} is ours, and its entry is {entry.state} {entry.arn}"


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
