"""``plan``: what ``apply`` would do, and why. It makes no mutating call and writes no ledger.

``apply`` makes the same plan before it deletes anything, because a deletion needs the whole manifest to be read first.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec

from provisioner.commands.estimate import estimate_s
from provisioner.commands.finished import variables_refusal
from provisioner.commands.manifests import once_per_rules
from provisioner.commands.organization import Moves, moves
from provisioner.commands.planfile import VERSION, PlanFile, PlannedTarget, step_text
from provisioner.commands.session import looking, with_manifests
from provisioner.core.difference import differences
from provisioner.core.entry import Entry, Event, Outcome, State
from provisioner.core.planner import Action
from provisioner.core.problem import Problem
from provisioner.core.quota import FAMILY, Growth, Quota, beyond
from provisioner.core.tags import may_remove
from provisioner.core.versions import REPLACED, Role, to_delete
from provisioner.engine.inventory import Inventory, definition_of
from provisioner.engine.observer import Observer
from provisioner.engine.planning import NEEDS_ACCOUNT, Planning
from provisioner.errors import ProvisionerError, Reason, counted
from provisioner.ledger.unwritten import UnwrittenLedger
from provisioner.report.plan import Plan, PlanStep
from provisioner.report.summary import pause_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Any, BinaryIO

    from provisioner.commands.doctor import Examined
    from provisioner.commands.run import Run
    from provisioner.core.checks import Check
    from provisioner.core.difference import Change
    from provisioner.core.planner import Step
    from provisioner.core.policy import Policy
    from provisioner.engine.inventory import Contents
    from provisioner.engine.planning import Planned
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.manifest.reader import Manifest
    from provisioner.report.summary import Summary

    Preflight = Callable[[Mapping[str, Manifest]], Awaitable[dict[str, Examined]]]

TO_DO = frozenset(
    {Action.CREATE, Action.RECOVER, Action.ADOPT, Action.UPDATE, Action.REPLACE, Action.RECREATE, Action.DELETE}
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
            drafts[target.name] = await _draft(
                run, target, manifests[target.name], Observer(), offline=False, reports=False
            )
        finally:
            target.observer.waiting_ended()

    await fleet.each([target for target in run.order.targets if target.name in manifests], one)
    return drafts


async def _draft(
    run: Run, target: OpenTarget, manifest: Manifest, observer: Observer, *, offline: bool, reports: bool = True
) -> Draft:
    policy = run.order.policy
    planning = Planning(target, policy, offline=offline)
    made, names, invalid, elsewhere, empty = Draft(target.name, []), set[str](), 0, 0, list[str]()
    made.serial = await target.ledger.changes(target.name)
    batches = manifest.batches()
    with run.stop.ends():
        while (batch := await anyio.to_thread.run_sync(next, batches, None, abandon_on_cancel=True)) is not None:
            observer.batch_read(batch, manifest.size_bytes)
            for problem in batch.problems if reports else ():
                observer.problem_found(problem)
            invalid, elsewhere = invalid + batch.invalid, elsewhere + batch.elsewhere
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
            made.refusal = _refusal(names, invalid, empty) or await variables_refusal(
                target.ledger, target.name, manifest, elsewhere
            )
        await _plan_deletions(target, policy, made, names, prunes=prune and not made.refusal)
    return made


def _refusal(names: set[str], invalid: int, empty: Sequence[str]) -> str:
    """Why nothing is pruned by this manifest, "" if it may be.

    Args:
        names: of its definitions.
        invalid: how many lines are.
        empty: sources without a line: the program that writes one may have failed, and everything in it would go.
    """
    if not names:
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


async def _plan_deletions(target: OpenTarget, policy: Policy, made: Draft, names: set[str], *, prunes: bool) -> None:
    ledger = target.ledger
    if policy.deletes:
        again = wanted_again(made)
        superseded = await ledger.versions(target.name, roles={Role.SUPERSEDED})
        superseded = [one for one in superseded if one.arn not in again]
        versions = to_delete(superseded, policy.keep, adopted=policy.adopted)
        made.deletions += [Deleted(one.name, one.arn, f"it was {one.reason}") for one in versions]
        replaced = [one for one in superseded if one.reason == REPLACED and (policy.adopted or not one.adopted)]
        made.kept = Counter(one.name for one in replaced if one not in versions)
    unanswered = {name for name, one in (await ledger.incoming(target.name)).items() if one.unresolved}
    async for entry in ledger.entries(target=target.name):
        if entry.name in names:
            continue
        undecided = entry.unresolved or entry.name in unanswered
        made.undecided += prunes and undecided
        made.unanswered += [entry.name] if entry.exists and entry.name in unanswered else []
        if not entry.exists:
            continue
        why = "it left the manifest"
        if not prunes:
            stays = f"{why}, and nothing is pruned" if made.refusal else f"{why}; --prune deletes it"
            made.orphaned.append(Deleted(entry.name, entry.arn, stays))
        elif undecided:
            later = f"{why}; its replacement was sent and had no reply, so a later run deletes it"
            made.orphaned.append(Deleted(entry.name, entry.arn, later))
        elif entry.adopted and not policy.adopted:
            made.orphaned.append(Deleted(entry.name, entry.arn, f"{why}, and was taken over; --adopted deletes it"))
        else:
            made.deletions.append(Deleted(entry.name, entry.arn, why, entry))


class DeletionsRefusedError(ProvisionerError):
    """More would be deleted than is allowed; nothing was."""

    reason = Reason.FAILED


class UnconfirmedError(ProvisionerError):
    """Nobody confirmed that algorithms may be deleted."""

    reason = Reason.USAGE


def _too_many(run: Run, count: int) -> str:
    """Why ``count`` algorithms may not be deleted, whoever confirms it; "" if they may."""
    most = run.order.settings.lifecycle.max_delete
    algorithms = counted(count, "algorithm", "algorithms")
    return f"{algorithms} would be deleted, and --max-delete is {most}" if most and count > most else ""


async def confirm(run: Run, count: int, why: str, *, look: str = "`provisioner plan`") -> None:
    """Make sure that ``count`` algorithms may be deleted. When the answer is no, the run is stopped.

    Args:
        run: with its bounds, and whom to ask.
        count: how many.
        why: for the question, "" for no reason.
        look: what shows them.

    Raises:
        DeletionsRefusedError: they are more than ``--max-delete`` allows.
        UnconfirmedError: there is nobody to ask.
    """
    if too_many := _too_many(run, count):
        raise DeletionsRefusedError(f"{too_many}; nothing was deleted", hint=f"Look at {look}, then raise --max-delete")
    if not count or run.order.yes:
        return
    what = counted(count, "algorithm", "algorithms") + (f" ({why})" if why else "")
    if run.ask is None:
        hint = f"Look at {look}, then confirm with --yes"
        raise UnconfirmedError(f"{what} would be deleted in {_places(run)}; nothing was", hint=hint)
    if not await run.ask(f"Delete {what} in {_places(run)}?"):
        run.stop.request("nothing was done, because the deletion was not confirmed")


PLACES_NAMED = 3
"""Targets that a question names."""


def _places(run: Run) -> str:
    """Where the run deletes."""
    places = [
        f"{name} ({place})" if (place := f"{one.account_id} {one.region}".strip()) else name
        for name, one in run.statistics.items()
        if not one.halt
    ]
    more = [f"{len(places) - PLACES_NAMED} more targets"] if len(places) > PLACES_NAMED else []
    return ", ".join(places[:PLACES_NAMED] + more)


SHOWN = [
    Action.CREATE,
    Action.RECREATE,
    Action.RECOVER,
    Action.ADOPT,
    Action.UPDATE,
    Action.REPLACE,
    Action.DELETE,
    Action.DRIFTED,
    Action.ORPHANED,
    Action.CONFLICT,
    Action.FAILED,
    Action.AMBIGUOUS,
]
"""The order of steps: what is done first, then what is in the way."""
COUNTED = [
    Action.CREATE,
    Action.RECOVER,
    Action.ADOPT,
    Action.UPDATE,
    Action.REPLACE,
    Action.DRIFTED,
    Action.DELETE,
    Action.RECREATE,
    Action.ORPHANED,
    Action.UNCHANGED,
    Action.FAILED,
    Action.CONFLICT,
    Action.AMBIGUOUS,
    Action.OVER_QUOTA,
]
"""The order of counts."""
PATHS_NAMED = 3
"""Paths that the reason of a step names; its changes have all."""
WITH_CHANGES = frozenset({Action.UPDATE, Action.REPLACE, Action.DRIFTED})


class PlanCommand:
    """Makes the plan that ``provisioner plan`` prints.

    Args:
        run: of the command; its summary gets the plan's exit code.
        offline: plan by the ledger alone.
        preflight: looks first at what the manifests need, by target; None for no such look.

    Attributes:
        checks: what was found by that.
        made: the plan; None until it is made.
        saved: the same, as ``apply --plan`` takes it; None if the plan has not read everything, or is refused.
    """

    def __init__(self, run: Run, *, offline: bool, preflight: Preflight | None = None) -> None:
        self.checks: list[Check] = []
        self.made: Plan | None = None
        self.saved: PlanFile | None = None
        self._run = run
        self._offline = offline
        self._preflight = preflight
        self._quotas: dict[str, Quota] = {}
        self._over: dict[str, str] = {}
        self._drafts: dict[str, Draft] = {}
        self._steps: list[PlanStep] = []
        self._estimates = [0.0]
        self._ledger_id = ""
        self._moves = Moves()

    async def plan(self, stdin: BinaryIO | None = None) -> Summary:
        """Make the plan; the summary has the exit code, and the error if one ended it."""
        run = self._run

        async def look(manifests: dict[str, Manifest]) -> Summary:
            summary = self.finish(await looking(run, partial(self.make, manifests=manifests)))
            whole = len(self._drafts) == len(manifests) and not (self._offline or run.error or run.stop.requested)
            refused = self.made is not None and self.made.refused
            if whole and not refused and all(manifest.repeatable for manifest in manifests.values()):
                self.saved = await anyio.to_thread.run_sync(self._save, manifests)
            return summary

        return await with_manifests(run, look, stdin=stdin, twice=run.order.reads_twice or self._preflight is not None)

    async def make(self, fleet: Fleet, manifests: Mapping[str, Manifest]) -> None:
        """Plan every target of ``fleet``."""
        run = self._run
        reporters = once_per_rules(manifests)

        async def one(target: OpenTarget) -> None:
            manifest, reports = manifests[target.name], target.name in reporters
            made = await _draft(run, target, manifest, target.observer, offline=self._offline, reports=reports)
            self._drafts[target.name] = made
            for problem in prune_refused(made):
                target.observer.problem_found(problem)
            await self._compare_with_quota(target, made)
            await self._show(target, made)

        if self._preflight is not None:
            await self._look_first(self._preflight, manifests)
        ledger = fleet.ledger
        self._ledger_id = "" if isinstance(ledger, UnwrittenLedger) and not ledger.exists else ledger.ledger_id
        self._moves = await moves(ledger, run.order)
        await fleet.each(run.order.targets, one, looks=True)

    async def _look_first(self, preflight: Preflight, manifests: Mapping[str, Manifest]) -> None:
        for target, found in (await preflight(manifests)).items():
            self.checks += found.checks
            if found.quota is not None:
                self._quotas[target] = Quota(found.quota)

    async def _compare_with_quota(self, target: OpenTarget, made: Draft) -> None:
        """Find out how many creates do not fit, if it is known how many algorithms may exist."""
        policy = self._run.order.policy
        quota = self._quotas.get(target.name) or await _learned_quota(target)
        if quota is None or made.contents is None:
            return
        held = len(made.contents.arns)
        deleted = len(made.deletions) if policy.deletes else 0
        creates = made.creates(policy)
        made.over_quota = beyond(creates, int(quota.value) - held + deleted)
        if made.over_quota:
            what = counted(len(creates), "create", "creates")
            exist = counted(held, "algorithm exists", "algorithms exist")
            text = (
                f"{made.over_quota} of {what} will not fit: {exist}, and the quota is {quota.value:g} ({quota.source})"
            )
            self._over[target.name] = text

    def _save(self, manifests: Mapping[str, Manifest]) -> PlanFile:
        run = self._run
        return PlanFile(
            version=VERSION,
            plan_id=run.run_id,
            ledger_id=self._ledger_id,
            sources=run.order.sources,
            strict=run.order.strict,
            policy=run.order.policy,
            lifecycle=run.order.settings.lifecycle,
            targets={
                name: PlannedTarget(
                    made.serial,
                    manifests[name].fingerprint(),
                    {one.row.name: step_text(one.step) for one in made.planned},
                    {one.name: one.arn for one in made.deletions if one.entry is not None},
                )
                for name, made in self._drafts.items()
            },
        )

    async def _show(self, target: OpenTarget, made: Draft) -> None:
        changes = {} if self._offline else await self._changes(target, made)
        for one in made.planned:
            step = one.step
            if step.action is Action.UNCHANGED:  # only its entry changes
                continue
            arn = step.found.arn if step.found else step.entry.arn if step.entry and step.entry.exists else ""
            changed = changes.get(one.row.name, [])
            reason = _changed(changed) if changed and step.action in WITH_CHANGES else step.reason
            self._steps.append(PlanStep(target.name, one.row.name, step.action.value, reason, changed, arn))
        for each in made.deletions:
            self._steps.append(PlanStep(target.name, each.name, Action.DELETE.value, each.reason, arn=each.arn))
        for each in made.orphaned:
            self._steps.append(PlanStep(target.name, each.name, Action.ORPHANED.value, each.reason, arn=each.arn))
        counts = made.counts()
        creates = counts[Action.CREATE] + counts[Action.RECREATE] + counts[Action.REPLACE]
        slowest = max(creates, counts[Action.UPDATE], made.to_delete(self._run.order.policy))
        self._estimates.append(estimate_s(self._run, target.creates, slowest))

    async def _changes(self, target: OpenTarget, made: Draft) -> dict[str, list[Change]]:
        """What differs, by name; the ledger keeps digests, so the old values come from Get."""
        changed = {
            one.step.entry.arn: one
            for one in made.planned
            if one.step.entry and one.step.entry.exists and (one.step.action in WITH_CHANGES or one.step.retag)
        }
        tag = self._run.order.policy.ownership_tag
        read = await Inventory(target, tag).descriptions(list(changed))
        before = {one.arn: definition_of(one, tag) for one in read.found}
        policy = self._run.order.policy
        return {one.row.name: _differences(before[arn], one, policy) for arn, one in changed.items() if arn in before}

    def finish(self, summary: Summary) -> Summary:
        """Put the plan together; the summary with its exit code."""
        run = self._run
        drafts = list(self._drafts.values())
        counts = sum((made.counts() for made in drafts), Counter[str]())
        reasons = outcome_reasons(self._drafts, detailed=run.order.detailed)
        deletes = sum(made.to_delete(run.order.policy) for made in drafts)
        refused = _too_many(run, deletes)
        reasons |= {DeletionsRefusedError.reason} if refused else set()
        reasons |= {one.halt.reason for one in run.statistics.values() if one.halt}
        reasons |= {Reason.INVALID} if any(one.invalid for one in run.statistics.values()) else set()
        reasons |= {Reason.UNFINISHED} if run.stop.requested else set()
        reasons |= {run.error.reason} if run.error else set()
        reasons |= {check.reason for check in self.checks if check.reason}
        order = {action.value: place for place, action in enumerate(SHOWN)}
        summary = summary.ending(reasons)
        self.made = Plan(
            plan_id=run.run_id,
            ledger_id=self._ledger_id,
            serial=sum(made.serial for made in drafts),
            exit_code=summary.exit_code,
            counts={action.value: counts[action.value] for action in COUNTED},
            steps=sorted(self._steps, key=lambda step: (order[step.action], step.target, step.name)),
            calls={kind: number for kind, number in summary.calls.items() if kind in {"list", "get", "get_resources"}},
            estimate_s=round(max(self._estimates), 1),
            problems=summary.problems,
            problems_total=summary.problems_total,
            offline=self._offline,
            deletes=deletes,
            refused=refused,
            halted={name: one.halt.what for name, one in run.statistics.items() if one.halt},
            paused={name: paused for name, one in run.statistics.items() if (paused := pause_of(one))},
            new=self._moves.new,
            gone=self._moves.gone,
            quotas=dict(sorted(self._over.items())),
        )
        return summary


async def _learned_quota(target: OpenTarget) -> Quota | None:
    """What AWS said of the quota when it refused a create, as long as something waits: it may be raised since."""
    waiting = (await target.ledger.counts()).get(target.name, {}).get(State.PARKED, 0)
    incoming = await target.ledger.incoming(target.name)
    if not waiting and all(one.state is not State.PARKED for one in incoming.values()):
        return None
    said = await target.ledger.learned(target.name, FAMILY)
    return msgspec.json.decode(said, type=Quota) if said else None


def _differences(before: dict[str, Any], planned: Planned, policy: Policy) -> list[Change]:
    """What ``planned`` changes; tags of others stay with an algorithm, and are gone with one that is replaced."""
    wanted, entry = msgspec.to_builtins(planned.row.definition), planned.step.entry
    if entry is not None and planned.step.action is not Action.REPLACE:
        named = planned.row.definition.tags
        tags = {
            key: value for key, value in before["tags"].items() if key in named or may_remove(key, value, entry, policy)
        }
        before = before | {"tags": tags}
    return differences(before, wanted)


def _changed(changes: Sequence[Change]) -> str:
    """Which paths changed, the first of them."""
    paths = list(dict.fromkeys(change.path for change in changes))
    more = f" and {len(paths) - PATHS_NAMED} more" if len(paths) > PATHS_NAMED else ""
    return f"{', '.join(paths[:PATHS_NAMED])}{more} changed"


def wanted_again(made: Draft) -> set[str]:
    """ARNs of algorithms that were to be deleted, and whose names the manifest has again."""
    facts = (fact for one in made.planned for fact in one.step.facts)
    return {fact.arn for fact in facts if fact.event is Event.REINSTATE and fact.arn}


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
        if made.over_quota:
            reasons.add(Reason.QUOTA)
        if Outcome.AMBIGUOUS in outcomes or made.undecided:
            reasons.add(Reason.AMBIGUOUS)
        if detailed and (made.deletions or any(one.step.action in TO_DO for one in made.planned)):
            reasons.add(Reason.CHANGED)
    return reasons
