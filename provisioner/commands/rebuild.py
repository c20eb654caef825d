"""``rebuild``: makes a new ledger in place of a lost one, from the ownership tags in AWS."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from provisioner.commands.session import session
from provisioner.core.first_contact import confirmed, current
from provisioner.engine.inventory import IncompleteListError, Inventory
from provisioner.engine.problems import ProblemLog
from provisioner.errors import ProvisionerError, Reason, UsageError, counted

if TYPE_CHECKING:
    from provisioner.commands.run import Run
    from provisioner.core.inventory import Found
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.ledger import Ledger
    from provisioner.report.summary import Summary

RECORDED_AT_ONCE = 256
"""Entries in one commit."""


class IncompleteError(ProvisionerError):
    """AWS could not be read to the end: a new ledger would lack entries."""

    reason = Reason.UNFINISHED

    def __init__(self, target: str) -> None:
        super().__init__("AWS could not be read to the end, so no ledger was made", where=target, hint="Run again")


async def rebuild(run: Run, ledger_id: str) -> Summary:
    """Make a new ledger from the algorithms that carry the ownership tag of a lost one.

    The ledger appears under its name only after every selected target was read to its end.

    Args:
        run: its ledger must not exist yet.
        ledger_id: of the lost ledger; "" makes nothing and reports which ledgers the tags name.
    """
    whole = False

    async def work(fleet: Fleet) -> None:
        nonlocal whole
        tagged: dict[str, list[Found]] = {}

        async def read(target: OpenTarget) -> None:
            tagged[target.name] = await _tagged(run, target, ledger_id)

        await fleet.each(run.order.targets, read, looks=True)
        if any(one.halt for one in run.statistics.values()) or run.stop.requested:
            return
        _check_choice(tagged, ledger_id)
        await fleet.ledger.take_identity(ledger_id)
        for target, found in tagged.items():
            await _restore(run, fleet.ledger, target, [one for one in found if one.is_of(ledger_id)])
        # A run that is asked to stop ends with 75, "run again", which must find no ledger.
        whole = not run.stop.requested

    return await session(run, "rebuild", work, built=lambda: whole)


async def _tagged(run: Run, target: OpenTarget, ledger_id: str) -> list[Found]:
    """Every algorithm in the target that has an ownership tag, of any ledger.

    Of several that ``ledger_id`` has made under one name an entry names one, so that they exist is asked of Get.
    """
    inventory = Inventory(target, run.order.policy.ownership_tag)
    account = await inventory.account()
    if not account.listing.complete:
        raise IncompleteListError(target.name, account.listing.failure)
    ours = [one for one in account.tagged.values() if one.is_of(ledger_id)]
    names = Counter(item.name for item in account.listing.items)
    repeated = {one.arn for one in ours if names[one.name] > 1}
    account = await inventory.prove(account, account.untagged | repeated)
    details = account.details
    # If List shows what Get does not know, one of them lags: it must not be left out.
    if details.unread or details.gone:
        raise IncompleteError(target.name)
    return [one for one in details.found if one.tag]


def _check_choice(tagged: dict[str, list[Found]], ledger_id: str) -> None:
    """Make sure that a ledger was chosen and the tags name it: taking over another team's must be a decision.

    Raises:
        UsageError: the tags do not name it, or none was chosen.
    """
    counts: dict[str, int] = defaultdict(int)
    for found in tagged.values():
        for one in found:
            if one.tag:
                counts[one.tag.ledger_id] += 1
    if not counts:
        hint = "Check the Region and the account"
        raise UsageError("no algorithm has an ownership tag", hint=hint)
    if ledger_id not in counts:
        named = ", ".join(
            f"{ledger} ({counted(number, 'algorithm', 'algorithms')})" for ledger, number in sorted(counts.items())
        )
        what = f"no algorithm has the tag of ledger {ledger_id}" if ledger_id else "which ledger is to be rebuilt?"
        # Of several none is suggested: who copies the line must not take over another team's.
        hint = f"If one of them is yours, choose it: --ledger-id {'ID' if len(counts) > 1 else min(counts)}"
        raise UsageError(what, why=f"the tags name {named}", hint=hint)


async def _restore(run: Run, ledger: Ledger, target: str, found: list[Found]) -> None:
    """Record one entry for each name, and every duplicate as a problem."""
    by_name: dict[str, list[Found]] = defaultdict(list)
    for one in sorted(found, key=lambda one: one.age_order):
        by_name[one.name].append(one)
    kept = {name: current(same) for name, same in by_name.items()}
    facts = [
        confirmed(target, name, one, "rebuilt", attempt=one.tag.attempt if one.tag else None)
        for name, one in kept.items()
    ]
    for start in range(0, len(facts), RECORDED_AT_ONCE):
        await ledger.record(facts[start : start + RECORDED_AT_ONCE])
    run.statistics[target].resolved["rebuilt"] += len(facts)
    problems = ProblemLog(target, ledger, run.observers[target])
    for name, same in by_name.items():
        for one in same:
            if one is not kept[name]:
                await problems.add_duplicate(kept[name], one)
