"""What is to be done in each target, found before any of it is done.

``plan`` shows it. ``apply`` needs it before it deletes anything, because the whole manifest has to be read first.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec

from provisioner.commands.finished import variables_refusal
from provisioner.core.entry import Entry, Event
from provisioner.core.planner import Action
from provisioner.core.problem import Problem
from provisioner.core.quota import Growth
from provisioner.core.versions import REPLACED, Role, to_delete
from provisioner.engine.observer import Observer
from provisioner.engine.planning import NEEDS_ACCOUNT, Planning
from provisioner.errors import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioner.commands.run import Run
    from provisioner.core.planner import Step
    from provisioner.core.policy import Policy
    from provisioner.engine.inventory import Contents
    from provisioner.engine.planning import Planned
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.manifest.reader import Manifest


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
        orphaned: entries whose definition left the manifest, and which stay; each with the reason.
        serial: the ledger's count of changes of the target.
        whole: whether manifest and account were read to their end.
        kept: by name, how many replaced versions are kept.
        unanswered: names that the manifest does not have, and whose replacement has no answer yet.
        undecided: how many entries would be pruned if their create or replacement had an answer.
        refusal: why nothing is pruned although it was asked for.
        contents: of the account, as it was read; None if it was not.
        over_quota: how many creates do not fit into the quota, as far as that is known.
    """

    target: str
    planned: list[Planned]
    unchanged: int = 0
    deletions: list[Deleted] = []
    orphaned: list[Deleted] = []
    serial: int = 0
    whole: bool = False
    kept: Counter[str] = msgspec.field(default_factory=Counter)
    unanswered: list[str] = []
    undecided: int = 0
    refusal: str = ""
    contents: Contents | None = None
    over_quota: int = 0

    @property
    def names(self) -> list[str]:
        """For which there is something to do."""
        return sorted({*(one.row.name for one in self.planned), *(one.name for one in self.deletions)})

    def counts(self) -> Counter[str]:
        """How many steps there are of each kind."""
        counts = Counter(one.step.action.value for one in self.planned)
        counts[Action.UNCHANGED.value] += self.unchanged
        counts[Action.DELETE.value] += len(self.deletions)
        counts[Action.ORPHANED.value] += len(self.orphaned)
        counts[Action.OVER_QUOTA.value] += self.over_quota
        return counts

    def creates(self, policy: Policy) -> list[Growth]:
        """What one run creates, replacements included."""
        steps = [one for one in self.planned if one.step.action in NEEDS_ACCOUNT][: policy.max_create or None]
        return [
            Growth(
                self._too_many(one.row.name, _superseded(one.step, policy), policy) if policy.deletes else 0,
                first=policy.delete_first and one.step.action is Action.REPLACE,
            )
            for one in steps
        ]

    def to_delete(self, policy: Policy) -> int:
        """How many algorithms are deleted at most, those that are replaced included."""
        if not policy.deletes:
            return 0
        superseded = [(one.row.name, _superseded(one.step, policy)) for one in self.planned]
        superseded += [(name, 1) for name in self.unanswered]
        return len(self.deletions) + sum(self._too_many(name, count, policy) for name, count in superseded)

    def _too_many(self, name: str, superseded: int, policy: Policy) -> int:
        """How many older versions of ``name`` are deleted once so many more are superseded."""
        return max(0, self.kept[name] + superseded - policy.keep) if superseded else 0


def _superseded(step: Step, policy: Policy) -> int:
    """How many algorithms of a name are superseded by ``step`` at most, of those that the run may delete."""
    entry = step.entry
    # A replacement that is recovered, now or when an unanswered one turns out to exist, is one as well.
    superseded = sum(fact.incoming and fact.event is Event.CONFIRM for fact in step.facts)
    superseded += step.action is Action.AMBIGUOUS and entry is not None and entry.incoming
    if step.action is Action.REPLACE and entry is not None:
        superseded += policy.adopted or not entry.adopted
    return superseded


SOURCES_NAMED = 3
"""Sources without definitions that a refusal names."""


async def draft(run: Run, fleet: Fleet, manifests: Mapping[str, Manifest]) -> dict[str, Draft]:
    """What is to be done, by target; a target that fails is halted, and has no draft. For a run that goes on to do it.

    Args:
        run: nothing of it is counted yet.
        fleet: of the run.
        manifests: by target; each can be read more than once.
    """
    drafts: dict[str, Draft] = {}

    async def one(target: OpenTarget) -> None:
        target.observer.waiting_began("planning", 0.0)
        try:
            drafts[target.name] = await draft_one(run, target, manifests[target.name], Observer(), offline=False)
        finally:
            target.observer.waiting_ended()

    await fleet.each([target for target in run.order.targets if target.name in manifests], one)
    return drafts


async def draft_one(
    run: Run,
    target: OpenTarget,
    manifest: Manifest,
    observer: Observer,
    *,
    offline: bool,
    unreported: Callable[[Sequence[Problem]], Sequence[Problem]] = tuple,
) -> Draft:
    """What is to be done in one target. May be cancelled at any point.

    Args:
        run: of the command.
        target: which one.
        manifest: of the target.
        observer: of what is read.
        offline: by the ledger alone.
        unreported: those of the problems of lines that are reported.

    Raises:
        ProvisionerError: the account could not be read.
    """
    policy = run.order.policy
    planning = Planning(target, policy, offline=offline)
    made, names, invalid, elsewhere, empty = Draft(target.name, []), set[str](), 0, 0, list[str]()
    unselected = 0
    made.serial = await target.ledger.changes(target.name)
    batches = manifest.batches()
    with run.stop.ends():
        while (batch := await anyio.to_thread.run_sync(next, batches, None, abandon_on_cancel=True)) is not None:
            observer.batch_read(batch, manifest.size_bytes)
            for problem in unreported(batch.problems):
                observer.problem_found(problem)
            invalid, elsewhere = invalid + batch.invalid, elsewhere + batch.elsewhere
            unselected += batch.unselected
            empty += batch.empty
            names.update(row.name for row in batch.rows)
            planned, unchanged = await planning.plan(batch.rows)
            made.planned += planned
            made.unchanged += unchanged
        observer.manifest_read()
        made.whole, made.contents = planning.failure is None, planning.contents
    if planning.failure is not None:
        raise planning.failure
    if made.whole and not run.stop.requested:
        prune = run.order.settings.lifecycle.prune
        if prune:
            made.refusal = _refusal(len(names) + unselected, invalid, empty) or await variables_refusal(
                target.ledger, target.name, manifest, elsewhere
            )
        await _plan_deletions(target, policy, made, names, selects=manifest.selects, prunes=prune and not made.refusal)
    return made


def _refusal(valid: int, invalid: int, empty: Sequence[str]) -> str:
    """Why nothing is pruned by this manifest, "" if it may be.

    Args:
        valid: how many lines are, whether or not they are selected.
        invalid: how many lines are.
        empty: sources without a line: the program that writes one may have failed, and everything in it would go.
    """
    if not valid:
        return "nothing is pruned by a manifest without definitions; to delete everything, use `provisioner destroy`"
    if invalid:
        return f"nothing is pruned with {counted(invalid, 'invalid line', 'invalid lines')}; fix the manifest first"
    if empty:
        sources = ", ".join("standard input" if label == "-" else label for label in empty[:SOURCES_NAMED])
        more = f" and {len(empty) - SOURCES_NAMED} more" if len(empty) > SOURCES_NAMED else ""
        have, them = ("have", "them") if len(empty) > 1 else ("has", "it")
        what = f"nothing is pruned, because {sources}{more} {have} no definitions; restore {them}"
        return f"{what}, or leave {them} out if the algorithms are to be deleted, then run again"
    return ""


def prune_refused(made: Draft) -> list[Problem]:
    """The problem of a target in which nothing is pruned although it was asked for."""
    return [Problem("", 0, "", "prune_refused", made.refusal, target=made.target)] if made.refusal else []


async def _plan_deletions(
    target: OpenTarget,
    policy: Policy,
    made: Draft,
    names: set[str],
    *,
    selects: Callable[[str], bool] | None,
    prunes: bool,
) -> None:
    ledger = target.ledger
    if policy.deletes:
        again = wanted_again(made)
        superseded = await ledger.versions(target.name, roles={Role.SUPERSEDED})
        superseded = [one for one in superseded if selects is None or selects(one.name)]
        superseded = [one for one in superseded if one.arn not in again]
        versions = to_delete(superseded, policy.keep, adopted=policy.adopted)
        made.deletions += [Deleted(one.name, one.arn, f"it was {one.reason}") for one in versions]
        replaced = [one for one in superseded if one.reason == REPLACED and (policy.adopted or not one.adopted)]
        made.kept = Counter(one.name for one in replaced if one not in versions)
    unanswered = {name for name, one in (await ledger.incoming(target.name)).items() if one.unresolved}
    async for entry in ledger.entries(target=target.name):
        if entry.name in names or not (selects is None or selects(entry.name)):
            continue
        undecided = entry.unresolved or entry.name in unanswered
        made.undecided += prunes and undecided
        made.unanswered += [entry.name] if entry.exists and entry.name in unanswered else []
        if not entry.exists:
            continue
        why = "it left the manifest"
        if not prunes:
            stays = f"{why}, and nothing is pruned" if made.refusal else f"{why}; `apply --prune` deletes it"
            made.orphaned.append(Deleted(entry.name, entry.arn, stays))
        elif undecided:
            later = f"{why}; its replacement was sent and had no reply, so a later run deletes it"
            made.orphaned.append(Deleted(entry.name, entry.arn, later))
        elif entry.adopted and not policy.adopted:
            stays = f"{why}, and was adopted; `apply --prune --adopted` deletes it"
            made.orphaned.append(Deleted(entry.name, entry.arn, stays))
        else:
            made.deletions.append(Deleted(entry.name, entry.arn, why, entry))


def wanted_again(made: Draft) -> set[str]:
    """ARNs of algorithms that were to be deleted, and whose names the manifest has again."""
    facts = (fact for one in made.planned for fact in one.step.facts)
    return {fact.arn for fact in facts if fact.event is Event.REINSTATE and fact.arn}


def retired(made: Draft) -> Sequence[Entry]:
    """The entries whose algorithms are pruned."""
    return [one.entry for one in made.deletions if one.entry is not None]
