"""``plan``: what ``apply`` would do, and why. It makes no mutating call and writes no ledger."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec

from provisioner.commands.confirmation import refusal
from provisioner.commands.drafts import draft_one, prune_refused
from provisioner.commands.estimate import estimate_s
from provisioner.commands.manifests import LineProblems, selected
from provisioner.commands.organization import Moves, moves
from provisioner.commands.planfile import VERSION, PlanFile, PlannedTarget, step_text
from provisioner.commands.session import looking, with_manifests
from provisioner.core.difference import differences
from provisioner.core.entry import Outcome, State
from provisioner.core.planner import Action
from provisioner.core.quota import FAMILY, Quota, beyond
from provisioner.core.tags import may_remove
from provisioner.engine.inventory import Inventory, definition_of
from provisioner.engine.strays import known, left
from provisioner.errors import Reason, counted
from provisioner.ledger.unwritten import UnwrittenLedger
from provisioner.report.plan import Plan, PlanStep
from provisioner.report.summary import pause_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Any, BinaryIO

    from provisioner.commands.doctor import Examined
    from provisioner.commands.drafts import Draft
    from provisioner.commands.run import Run
    from provisioner.core.checks import Check
    from provisioner.core.difference import Change
    from provisioner.core.policy import Policy
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
        manifests = await selected(manifests, fleet.ledger, run)
        problems = LineProblems(manifests)

        async def one(target: OpenTarget) -> None:
            manifest, unreported = manifests[target.name], partial(problems.unreported, target.name)
            made = await draft_one(run, target, manifest, target.observer, offline=self._offline, unreported=unreported)
            self._drafts[target.name] = made
            strays = await known(target.ledger, target.name)
            if not self._offline:
                strays = await left(target, run.order.policy.ownership_tag, strays)
            for problem in (*prune_refused(made), *strays.values()):
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
                    None if run.order.selection.everything else made.names,
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
        refused = refusal(run, deletes, max((one.invalid for one in run.statistics.values()), default=0))
        reasons |= {refused.reason} if refused else set()
        reasons |= {one.halt.reason for one in run.statistics.values() if one.halt}
        reasons |= {Reason.AMBIGUOUS} if any(one.unknown for one in run.statistics.values()) else set()
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
            refused=refused.text if refused else "",
            halted={name: one.halt.what for name, one in run.statistics.items() if one.halt},
            paused={name: paused for name, one in run.statistics.items() if (paused := pause_of(one))},
            new=self._moves.new,
            gone=self._moves.gone,
            joined=self._moves.joined,
            left=self._moves.left,
            quotas=dict(sorted(self._over.items())),
        )
        return summary


async def _learned_quota(target: OpenTarget) -> Quota | None:
    """What AWS said of the quota when it refused a create, as long as something waits: it may be raised since."""
    waiting = [one async for one in target.ledger.entries(target=target.name, states={State.PARKED})]
    waiting += (await target.ledger.incoming(target.name)).values()
    if all(one.state is not State.PARKED for one in waiting):
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
