"""``apply``: registers the manifest in every target, side by side, with one ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from provisioner.commands.finished import finished_before, keep_finished
from provisioner.commands.session import deadline, session
from provisioner.engine.engine import Engine
from provisioner.errors import ConfigurationError, ProvisionerError
from provisioner.manifest.parser import Rules, problems_of_defaults
from provisioner.manifest.reader import Manifest

if TYPE_CHECKING:
    from typing import BinaryIO

    from provisioner.commands.run import Order, Run
    from provisioner.config.settings import Settings, Target
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.ledger import Ledger
    from provisioner.report.summary import Summary


async def apply(run: Run, *, stdin: BinaryIO | None = None) -> Summary:
    """Carry out ``run.order`` and return its summary, with the error if one ended the run.

    Args:
        run: a fresh run.
        stdin: read for ``-``.
    """

    async def work(fleet: Fleet) -> None:
        if run.order.strict and not await _all_valid(run, fleet.ledger, manifests):
            return
        reporters = once_per_rules(manifests)

        async def register(target: OpenTarget) -> None:
            await _register(run, target, manifests[target.name], report_problems=target.name in reporters)

        await fleet.each(run.order.targets, register)

    manifests: dict[str, Manifest] = {}
    async with deadline(run):
        try:
            with run.stop.ends():
                manifests = await anyio.to_thread.run_sync(_manifests, run.order, stdin, abandon_on_cancel=True)
        except ProvisionerError as error:
            return run.summary(error=error)
        if not manifests:
            return run.summary()
    return await session(run, "apply", work)


def rules_for(settings: Settings, target: Target) -> Rules:
    """The rules for reading the manifest for ``target``.

    Raises:
        ConfigurationError: the defaults are invalid, whatever a line adds to them.
    """
    tag = settings.reconcile.ownership_tag
    _check_defaults("[defaults]", Rules(defaults=settings.defaults, ownership_tag=tag))
    _check_defaults(f"[targets.{target.name}.defaults]", Rules(defaults=target.defaults, ownership_tag=tag))
    return Rules(defaults=settings.defaults_for(target), ownership_tag=tag)


def _check_defaults(table: str, rules: Rules) -> None:
    if problems := problems_of_defaults(rules):
        what = problems[0].text
        if len(problems) > 1:
            what = f"{len(problems)} problems, the first: {what}"
        raise ConfigurationError(what, where=table)


def _manifests(order: Order, stdin: BinaryIO | None) -> dict[str, Manifest]:
    """The manifest by target. Each target reads its own, so that a slow one delays no other."""
    rules = {target.name: rules_for(order.settings, target) for target in order.targets}
    first = Manifest(order.sources, next(iter(rules.values())), stdin=stdin)
    if order.strict:
        # Both passes read one copy, because a file may change between them.
        first = first.spooled(files=True)
    elif len(rules) > 1:
        first = first.spooled()
    return {name: first.under(rule) for name, rule in rules.items()}


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
    valid = True
    for name, manifest in once_per_rules(manifests).items():
        observer, statistics = run.observers[name], run.statistics[name]
        batches = manifest.batches()
        while (batch := await anyio.to_thread.run_sync(next, batches, None, abandon_on_cancel=True)) is not None:
            observer.batch_read(batch, manifest.size_bytes)
            for problem in batch.problems:
                observer.problem_found(problem)
            await ledger.add_problems(batch.problems)
        observer.manifest_read()
        valid = valid and not statistics.invalid
    return valid


def once_per_rules(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    """One target for each set of rules: those with the same rules have the same problems."""
    seen: list[Rules] = []
    chosen = {}
    for name, manifest in manifests.items():
        if manifest.rules not in seen:
            seen.append(manifest.rules)
            chosen[name] = manifest
    return chosen


async def _register(run: Run, target: OpenTarget, manifest: Manifest, *, report_problems: bool) -> None:
    """Register the manifest in one target, unless it is known to be finished there."""
    statistics, ledger = run.statistics[target.name], target.ledger
    if (lines := await finished_before(ledger, manifest, target.name)) is not None:
        statistics.unchanged_all(lines)
        return
    engine = Engine(target, run.order.policy, run.stop, workers=run.order.settings.run.max_in_flight)
    fingerprint = await engine.run(manifest, report_problems=report_problems)
    await keep_finished(ledger, statistics, fingerprint)
