"""``apply``: registers the manifest in every target, side by side, with one ledger."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from provisioner.commands.confirmation import confirm
from provisioner.commands.drafts import Draft, draft, prune_refused, retired, wanted_again
from provisioner.commands.finished import RunRules, finished_before, keep_finished, keep_variables
from provisioner.commands.jobs import join, with_job, work_together
from provisioner.commands.manifests import LineProblems, once_per_rules, selected
from provisioner.commands.planfile import check, deleted
from provisioner.commands.session import session, with_manifests
from provisioner.commands.strays import strays_reported
from provisioner.core.versions import PRUNED, Role
from provisioner.engine.engine import Engine
from provisioner.engine.problems import ProblemLog
from provisioner.errors import ProvisionerError, Reason
from provisioner.ledger import RunRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from typing import BinaryIO

    from provisioner.commands.run import Run
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.ledger import Ledger
    from provisioner.ledger.jobs import Share
    from provisioner.ledger.lease import Leases
    from provisioner.manifest.reader import Manifest
    from provisioner.report.summary import Summary


async def apply(run: Run, *, stdin: BinaryIO | None = None) -> Summary:
    """Carry out ``run.order`` and return its summary, with the error if one ended the run.

    Args:
        run: a fresh run.
        stdin: read for ``-``.
    """
    try:
        run.order = with_job(run.order)
    except ProvisionerError as error:
        return run.summary(error=error)
    if run.order.job:
        return await _apply_together(run)
    plan = run.order.plan

    async def work(fleet: Fleet, manifests: dict[str, Manifest]) -> None:
        if plan is not None:
            await check(plan, fleet.ledger, manifests, run.run_id)
            run.command = plan.command
            await fleet.ledger.begin_run(RunRecord(run.run_id, run.command, run.started_at))
        await carry_out(run, fleet, manifests)

    async def write(manifests: dict[str, Manifest]) -> Summary:
        makes = plan is None or not plan.ledger_id
        return await session(run, "apply", partial(work, manifests=manifests), makes=makes)

    return await with_manifests(run, write, stdin=stdin, twice=run.order.reads_twice)


async def _apply_together(run: Run) -> Summary:
    """Be a worker of a job."""
    shares: list[Share] = []

    async def write(manifests: dict[str, Manifest]) -> Summary:
        async def enter(ledger: Ledger, leases: Leases) -> None:
            shares.append(await join(run, ledger, leases, next(iter(manifests.values()))))

        async def work(fleet: Fleet) -> None:
            await _share(run, shares[0], fleet, manifests)

        return await session(run, "apply", work, enter=enter)

    return await with_manifests(run, write, stdin=None, twice=run.order.reads_twice)


async def _share(run: Run, share: Share, fleet: Fleet, manifests: dict[str, Manifest]) -> None:
    """Register the manifests in the targets that this worker gets."""
    manifests = await selected(manifests, fleet.ledger, run)
    if run.order.strict and not await _all_valid(run, fleet.ledger, manifests):
        return
    # Workers do not know of each other what they have reported, so each problem has the target whose worker does.
    problems = LineProblems(manifests, once_per_rules(manifests))

    async def some(names: Collection[str], ended: Callable[[str], Awaitable[None]]) -> None:
        mine = {name: manifests[name] for name in names}
        drafts = await _confirmed(run, fleet, mine) if run.order.policy.deletes else {}
        if not run.stop.requested:
            await _register_all(run, fleet, mine, drafts, problems, ended)

    if not run.stop.requested:
        await work_together(run, share, some)
    note_changes(run)


async def carry_out(run: Run, fleet: Fleet, manifests: dict[str, Manifest]) -> None:
    """Register the manifests, one for each target, in ``fleet``.

    Raises:
        DeletionsRefusedError, UnconfirmedError: see ``commands/confirmation.py``; nothing was changed.
    """
    manifests = await selected(manifests, fleet.ledger, run)
    if run.order.strict and not await _all_valid(run, fleet.ledger, manifests):
        return
    drafts = await _confirmed(run, fleet, manifests) if run.order.policy.deletes else {}
    if run.stop.requested:
        return
    await _register_all(run, fleet, manifests, drafts, LineProblems(manifests))
    note_changes(run)


async def _register_all(
    run: Run,
    fleet: Fleet,
    manifests: dict[str, Manifest],
    drafts: dict[str, Draft],
    problems: LineProblems,
    then: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Register the manifest in each target of ``manifests``, and report the ``problems`` of its lines."""

    async def register(target: OpenTarget) -> None:
        made = drafts.get(target.name)
        async with strays_reported(run, target):
            await _register(run, target, manifests[target.name], made, problems)

    chosen = [target for target in run.order.targets if target.name in manifests]
    await fleet.each([target for target in chosen if not run.statistics[target.name].halt], register, then=then)


def note_changes(run: Run) -> None:
    """Have the exit code say that something was changed, if that is wanted."""
    if run.order.detailed and any(one.changed for one in run.statistics.values()):
        run.reasons.add(Reason.CHANGED)


async def _confirmed(run: Run, fleet: Fleet, manifests: dict[str, Manifest]) -> dict[str, Draft]:
    """What is to be done, after somebody has confirmed what is to be deleted.

    Raises:
        DeletionsRefusedError: that is more than the bound.
        UnconfirmedError: nobody has.
    """
    drafts = await draft(run, fleet, manifests)
    if run.stop.requested:
        return {}
    for made in drafts.values():
        if refused := prune_refused(made):
            await ProblemLog(made.target, fleet.ledger, run.observers[made.target]).add(refused)
            run.statistics[made.target].unpruned = True
        run.statistics[made.target].undecided = bool(made.undecided)
    policy = run.order.policy
    pruned = sum(len(retired(made)) for made in drafts.values())
    count = sum(made.to_delete(policy) for made in drafts.values())
    why = [f"{pruned} left the manifest"] if pruned else []
    why += [f"{count - pruned} replaced"] if count > pruned else []
    await confirm(run, count, ", ".join(why))
    return drafts


async def _all_valid(run: Run, ledger: Ledger, manifests: dict[str, Manifest]) -> bool:
    """Whether every line is valid for every target, read before anything is sent."""
    valid = False
    with run.stop.ends():
        valid = await _check(run, ledger, manifests)
    if valid:
        for statistics in run.statistics.values():
            statistics.read_again()
    return valid


async def _check(run: Run, ledger: Ledger, manifests: dict[str, Manifest]) -> bool:
    valid, problems = True, LineProblems(manifests)
    for name, manifest in once_per_rules(manifests).items():
        observer, statistics = run.observers[name], run.statistics[name]
        batches = manifest.for_target(None).batches()
        while (batch := await anyio.to_thread.run_sync(next, batches, None, abandon_on_cancel=True)) is not None:
            observer.batch_read(batch, manifest.size_bytes)
            found = problems.unreported(name, batch.problems)
            for problem in found:
                observer.problem_found(problem)
            await ledger.add_problems(found)
        observer.manifest_read()
        valid = valid and not statistics.invalid
    return valid


async def _register(
    run: Run, target: OpenTarget, manifest: Manifest, made: Draft | None, problems: LineProblems
) -> None:
    """Register the manifest in one target, unless it is known to be finished there, or ``made`` has something to do."""
    statistics, ledger = run.statistics[target.name], target.ledger
    rules = RunRules(run.order.settings.lifecycle, own_tags=run.order.policy.own_tags)
    plan = run.order.plan
    whole = manifest.selects is None
    nothing_known = whole and plan is None and (made is None or not (made.planned or made.deletions))
    if nothing_known and (lines := await finished_before(ledger, manifest, target.name, rules)) is not None:
        statistics.unchanged_all(lines)
        return
    retire, spare = (retired(made), wanted_again(made)) if made else ([], set[str]())
    if plan is not None:
        planned = set(deleted(plan, target.name))
        retire = [entry for entry in retire if entry.arn in planned]
    engine = Engine(
        target,
        run.order.policy,
        run.stop,
        workers=run.order.settings.run.max_in_flight,
        may_do=partial(plan.may_do, target.name) if plan else None,
        contents=made.contents if made else None,
    )
    unreported = partial(problems.unreported, target.name)
    fingerprint = await engine.run(
        manifest, unreported=unreported, retire=retire, why=PRUNED, only=manifest.selects, spare=spare
    )
    statistics.superseded = len(await ledger.versions(target.name, roles={Role.SUPERSEDED}))
    if fingerprint and whole:
        await keep_variables(ledger, target.name, manifest)
        await keep_finished(ledger, statistics, fingerprint, rules)
