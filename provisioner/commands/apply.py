"""``apply``: registers the manifest in every target, side by side, with one ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from provisioner.commands.finished import finished_before, keep_finished
from provisioner.commands.manifests import manifests_for, once_per_rules
from provisioner.commands.session import deadline, session
from provisioner.engine.engine import Engine
from provisioner.errors import ProvisionerError

if TYPE_CHECKING:
    from typing import BinaryIO

    from provisioner.commands.run import Order, Run
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.ledger import Ledger
    from provisioner.manifest.reader import Manifest
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


def _manifests(order: Order, stdin: BinaryIO | None) -> dict[str, Manifest]:
    # With --strict, both passes read one copy, because a file may change between them.
    return manifests_for(order.sources, order.settings, order.targets, stdin=stdin, copied=order.strict)


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


async def _register(run: Run, target: OpenTarget, manifest: Manifest, *, report_problems: bool) -> None:
    """Register the manifest in one target, unless it is known to be finished there."""
    statistics, ledger = run.statistics[target.name], target.ledger
    if (lines := await finished_before(ledger, manifest, target.name)) is not None:
        statistics.unchanged_all(lines)
        return
    engine = Engine(target, run.order.policy, run.stop, workers=run.order.settings.run.max_in_flight)
    fingerprint = await engine.run(manifest, report_problems=report_problems)
    await keep_finished(ledger, statistics, fingerprint)
