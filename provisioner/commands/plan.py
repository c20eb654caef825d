"""``plan``: what ``apply`` would do, and why. It makes no mutating call and writes no ledger.

``apply`` makes the same plan before it deletes anything, because a deletion needs the whole manifest to be read first.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec

from provisioner.core.entry import Entry, Outcome
from provisioner.core.planner import Action
from provisioner.core.versions import to_delete
from provisioner.engine.planning import Planning
from provisioner.errors import ProvisionerError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.commands.run import Run
    from provisioner.core.policy import Policy
    from provisioner.engine.planning import Planned
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.manifest.reader import Manifest

TO_DO = frozenset(
    {
        Action.CREATE,
        Action.RECOVER,
        Action.ADOPT,
        Action.UPDATE,
        Action.REPLACE,
        Action.RECREATE,
        Action.DELETE,
    }
)
"""Actions with which ``apply`` changes something."""


class Deleted(msgspec.Struct, frozen=True):
    """An algorithm that is to be deleted, or would be if it were asked for.

    Attributes:
        name, arn: of the algorithm.
        reason: why.
        entry: that names it; None for an older version, which is recorded as superseded already.
    """

    name: str
    arn: str
    reason: str
    entry: Entry | None = None


class Draft(msgspec.Struct):
    """What is to be done in one target.

    Attributes:
        target: its name.
        planned: the steps of definitions, but for those that are registered.
        unchanged: how many definitions are registered.
        deletions: what is to be deleted besides what is replaced.
        orphaned: entries whose definition left the manifest, and which stay.
        serial: the ledger's count of changes of the target.
        whole: whether manifest and account were read to their end.
        prunes: whether what left the manifest is deleted.
        refusal: why nothing is pruned although it was asked for.
    """

    target: str
    planned: list[Planned]
    unchanged: int = 0
    deletions: list[Deleted] = []
    orphaned: list[Entry] = []
    serial: int = 0
    whole: bool = False
    refusal: str = ""

    def counts(self) -> Counter[str]:
        """How many steps there are of each kind."""
        counts = Counter(one.step.action.value for one in self.planned)
        counts[Action.UNCHANGED.value] += self.unchanged
        counts[Action.DELETE.value] += len(self.deletions)
        counts[Action.ORPHANED.value] += len(self.orphaned)
        return counts

    def to_delete(self, policy: Policy) -> int:
        """How many algorithms are deleted, those that are replaced included."""
        replaced = 0 if policy.keep else sum(one.step.action is Action.REPLACE for one in self.planned)
        return len(self.deletions) + replaced


async def draft(run: Run, fleet: Fleet, manifests: Mapping[str, Manifest], *, offline: bool = False) -> dict[str, Draft]:
    """What is to be done, by target; a target that fails is halted, and has no draft.

    Args:
        run: its statistics count the lines of the manifest.
        fleet: of the run.
        manifests: by target; each can be read more than once if it is to be applied afterwards.
        offline: plan by the ledger alone.
    """
    drafts: dict[str, Draft] = {}

    async def one(target: OpenTarget) -> None:
        drafts[target.name] = await _draft(run, target, manifests[target.name], offline=offline)

    await fleet.each(run.order.targets, one)
    return drafts


async def _draft(run: Run, target: OpenTarget, manifest: Manifest, *, offline: bool) -> Draft:
    policy, observer = run.order.policy, target.observer
    planning = Planning(target, policy, offline=offline)
    made, names, invalid = Draft(target.name, []), set[str](), 0
    made.serial = await target.ledger.changes(target.name)
    batches = manifest.batches()
    with run.stop.ends():
        while (batch := await anyio.to_thread.run_sync(next, batches, None, abandon_on_cancel=True)) is not None:
            observer.batch_read(batch, manifest.size_bytes)
            for problem in batch.problems:
                observer.problem_found(problem)
            invalid += batch.invalid
            names.update(row.name for row in batch.rows)
            planned, unchanged = await planning.plan(batch.rows)
            made.planned += planned
            made.unchanged += unchanged
        observer.manifest_read()
        made.whole = planning.failure is None
    if planning.failure is not None:
        raise planning.failure
    if made.whole:
        refusal = _refusal(names, invalid) if run.order.settings.lifecycle.prune else ""
        await _plan_deletions(target, policy, made, names, prunes=run.order.settings.lifecycle.prune and not refusal)
        made.refusal = refusal
    return made


def _refusal(names: set[str], invalid: int) -> str:
    """Why nothing is pruned by this manifest, "" if it may be."""
    if not names:
        return "nothing is pruned by a manifest without definitions; to delete everything, use `provisioner destroy`"
    if invalid:
        return f"nothing is pruned, because {invalid} lines of the manifest are invalid; fix them, then run again"
    return ""


async def _plan_deletions(
    target: OpenTarget, policy: Policy, made: Draft, names: set[str], *, prunes: bool
) -> None:
    ledger = target.ledger
    if policy.deletes:
        versions = to_delete(await ledger.versions(target.name), policy.keep, adopted=policy.adopted)
        made.deletions += [Deleted(one.name, one.arn, f"it was {one.reason}") for one in versions]
    async for entry in ledger.entries(target=target.name):
        if not entry.exists or entry.name in names:
            continue
        if prunes and (policy.adopted or not entry.adopted):
            made.deletions.append(Deleted(entry.name, entry.arn, "it left the manifest", entry))
        else:
            made.orphaned.append(entry)


class DeletionsRefusedError(ProvisionerError):
    """More would be deleted than is allowed; nothing was."""

    reason = Reason.FAILED


class UnconfirmedError(ProvisionerError):
    """Nobody confirmed that algorithms may be deleted."""

    reason = Reason.USAGE


async def confirm(run: Run, count: int, why: str) -> None:
    """Make sure that ``count`` algorithms may be deleted.

    Args:
        run: with its bounds, and whom to ask.
        count: how many.
        why: for the question.

    Raises:
        DeletionsRefusedError: they are more than ``max_delete``.
        UnconfirmedError: nobody says yes.
    """
    most = run.order.settings.lifecycle.max_delete
    if most and count > most:
        what = f"{count} algorithms would be deleted, and max_delete is {most}; nothing was deleted"
        raise DeletionsRefusedError(what, hint="Look at `provisioner plan`, then raise --max-delete")
    if not count or run.order.yes:
        return
    if run.ask is None:
        raise UnconfirmedError(f"{count} algorithms would be deleted ({why})", hint="Confirm it with --yes")
    if not await run.ask(f"Delete {count} algorithms ({why})?"):
        raise UnconfirmedError("nothing was deleted or changed", hint="You answered no")


def retired(made: Draft) -> Sequence[Entry]:
    """The entries whose algorithms are pruned."""
    return [one.entry for one in made.deletions if one.entry is not None]


def outcome_reasons(drafts: Mapping[str, Draft], *, detailed: bool) -> set[Reason]:
    """Why ``plan`` does not end with 0."""
    reasons: set[Reason] = set()
    for made in drafts.values():
        outcomes = {one.step.outcome for one in made.planned}
        if outcomes & {Outcome.FAILED, Outcome.DRIFTED} or made.refusal:
            reasons.add(Reason.FAILED)
        if Outcome.AMBIGUOUS in outcomes:
            reasons.add(Reason.AMBIGUOUS)
        if detailed and (made.deletions or any(one.step.action in TO_DO for one in made.planned)):
            reasons.add(Reason.CHANGED)
    return reasons

