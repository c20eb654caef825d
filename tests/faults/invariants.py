"""What must hold after every fault, checked against what the endpoint holds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from provisioner.core.entry import Outcome, State
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
    """Every one of ``names`` is registered, once, and the ledger tells its ARN: the export equals the truth."""
    assert {name: entries[name].arn for name in names} == {one.name: one.arn for one in truth.alive}
    assert len(truth.alive) == len(names)
    assert {entries[name].state for name in names} == {State.CREATED}


def told(statistics: Statistics) -> dict[str, int]:
    """The outcomes that are not zero."""
    return {str(outcome): statistics.outcomes[outcome] for outcome in Outcome if statistics.outcomes[outcome]}
