"""A run of ``apply``: lock, ledger, targets, summary."""

from __future__ import annotations

import secrets
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec
import structlog

from provisioner import aws
from provisioner.clock import Clock
from provisioner.definition import Rules
from provisioner.engine import Engine, problem_record
from provisioner.entry import Outcome
from provisioner.errors import ExitCode, IntegrityError, LedgerError, LedgerLockedError, ProvisionerError
from provisioner.gate import Gate
from provisioner.ledger import Run as LedgerRun
from provisioner.ledger.lock import RunLock
from provisioner.ledger.open import open_ledger
from provisioner.manifest import Manifest
from provisioner.pace import Learned, Pacer
from provisioner.pace import Policy as PacePolicy
from provisioner.report.summary import Ending, Summary, summarize
from provisioner.site import Policy, Site
from provisioner.stop import Stop
from provisioner.tally import Halt, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import BinaryIO

    from provisioner.ledger import Ledger
    from provisioner.settings import Settings, Target

LEARN_EVERY_S = 10.0
"""How often a run keeps what its pacers learned, so that a killed run does not forget it."""

log = structlog.get_logger()
_learned = msgspec.json.Decoder(Learned)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of ``apply`` is asked for.

    Attributes:
        sources: the manifest's paths, globs or ``-``.
        settings: the configuration.
        targets: those that were selected.
        policy: see :class:`provisioner.site.Policy`.
        strict: send nothing at all when any line is invalid.
        lock_timeout_s: how long to wait for another run to let go of the ledger.
    """

    sources: tuple[str, ...]
    settings: Settings
    targets: tuple[Target, ...]
    policy: Policy
    strict: bool = False
    lock_timeout_s: float = 0.0


class Run:
    """A run: what progress shows while it goes on, and what the summary tells at its end.

    Attributes:
        run_id: sortable by start.
        stop: ask it to end the run early.
        tallies: by target.
        gates: of the targets that are connected, by target.
    """

    def __init__(self, order: Order, *, clock: Clock | None = None) -> None:
        self.order = order
        self.clock = clock or Clock()
        self.stop = Stop()
        self.tallies = {target.name: Tally(target.name) for target in order.targets}
        self.gates: dict[str, Gate] = {}
        self.started_at = self.clock.wall()
        self._began = self.clock.monotonic()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self.started_at))
        self.run_id = f"{stamp}-{secrets.token_hex(3)}"

    def summary(self, *, error: ProvisionerError | None = None, exit_code: ExitCode = ExitCode.DONE) -> Summary:
        """What was done so far; ``error`` is what ended the run, if one did."""
        for name, gate in self.gates.items():
            self.tallies[name].pace_per_s = float(gate.statistics()["rate"])
        ending = Ending(
            run_id=self.run_id,
            ledger=self.order.settings.run.ledger,
            started_at=self.started_at,
            elapsed_s=self.clock.monotonic() - self._began,
            stopped=self.stop.reason,
            error=str(error) if error else None,
            exit_code=error.exit_code if error else exit_code,
        )
        return summarize(list(self.tallies.values()), ending)


async def apply(run: Run, *, stdin: BinaryIO | None = None) -> Summary:
    """Carry out ``run.order``, and tell how it went; errors of ours end in the summary, never in the air.

    Args:
        run: a fresh run.
        stdin: what ``-`` reads.
    """
    order = run.order
    try:
        manifests = await anyio.to_thread.run_sync(_manifests, order, stdin)
        async with AsyncExitStack() as stack:
            path = Path(order.settings.run.ledger)
            lease = await stack.enter_async_context(RunLock(path, order.lock_timeout_s))
            ledger = await stack.enter_async_context(open_ledger(str(path)))
            await ledger.begin_run(LedgerRun(run.run_id, "apply", run.started_at))
            if not order.strict or await _all_valid(run, ledger, manifests):
                await _targets(run, ledger, lease, manifests)
            summary = run.summary()
            ended = LedgerRun(
                run.run_id,
                "apply",
                run.started_at,
                run.clock.wall(),
                summary.exit_code,
                summary.json(),
            )
            await ledger.end_run(ended)
            return summary
    except ProvisionerError as error:
        return run.summary(error=error)
    except BaseExceptionGroup as group:
        return run.summary(error=first_error(group))


def first_error(group: BaseExceptionGroup[BaseException]) -> ProvisionerError:
    """The one error of ours that a group stands for.

    Raises:
        BaseException: there is something else in it, a bug as a rule.
    """
    found: ProvisionerError | None = None
    for error in _leaves(group):
        if not isinstance(error, ProvisionerError):
            raise error
        found = found or error
    if found is None:
        raise group
    return found


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def rules_for(settings: Settings, target: Target) -> Rules:
    """By which rules the manifest is read for ``target``."""
    return Rules(defaults=settings.defaults_for(target), ownership_tag=settings.reconcile.ownership_tag)


def _manifests(order: Order, stdin: BinaryIO | None) -> dict[str, Manifest]:
    """The manifest as each target reads it: on its own, so that a slow target holds up no other."""
    rules = {target.name: rules_for(order.settings, target) for target in order.targets}
    first = Manifest(order.sources, next(iter(rules.values())), stdin=stdin)
    if not first.repeatable and (order.strict or len(rules) > 1):
        first = first.spooled()
    return {name: first.under(rule) for name, rule in rules.items()}


async def _all_valid(run: Run, ledger: Ledger, manifests: dict[str, Manifest]) -> bool:
    """Read everything before anything is sent; with a problem anywhere, nothing is."""
    valid = True
    for name, manifest in _once_per_rules(manifests).items():
        tally = run.tallies[name]
        batches = manifest.batches()
        while (batch := await anyio.to_thread.run_sync(next, batches, None)) is not None:
            tally.read(batch, manifest.size_bytes)
            records = [problem_record(problem) for problem in batch.problems]
            for record in records:
                tally.problem(record)
            await ledger.add_problems(records)
        valid = valid and not tally.invalid
    for tally in run.tallies.values():
        if valid:
            tally.lines = tally.valid = tally.invalid = tally.repeated = 0
        else:
            tally.outcomes[Outcome.PENDING] = tally.valid
    return valid


def _once_per_rules(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    """One of the targets that read the manifest by the same rules: its problems are those of all."""
    seen: list[Rules] = []
    chosen = {}
    for name, manifest in manifests.items():
        if manifest.rules not in seen:
            seen.append(manifest.rules)
            chosen[name] = manifest
    return chosen


async def _targets(run: Run, ledger: Ledger, lease: RunLock, manifests: dict[str, Manifest]) -> None:
    reporters = _once_per_rules(manifests)
    async with anyio.create_task_group() as background:
        background.start_soon(_watch_deadline, run)
        async with anyio.create_task_group() as targets:
            for target in run.order.targets:
                name = target.name
                targets.start_soon(_target, run, ledger, lease, target, manifests[name], name in reporters)
        background.cancel_scope.cancel()


async def _watch_deadline(run: Run) -> None:
    deadline_s = run.order.settings.run.deadline_s
    if deadline_s is not None:
        await anyio.sleep(deadline_s)
        run.stop.request(f"the deadline of {run.order.settings.run.deadline} is over")


async def _target(
    run: Run,
    ledger: Ledger,
    lease: RunLock,
    target: Target,
    manifest: Manifest,
    reports: bool,  # noqa: FBT001  start_soon passes by position
) -> None:
    """One target from connection to the end; what goes wrong with it alone halts it alone."""
    tally, settings = run.tallies[target.name], run.order.settings
    try:
        async with aws.connect(
            target,
            max_connections=settings.run.max_in_flight,
            read_timeout_s=settings.run.read_timeout_s,
        ) as calls:
            tally.region = calls.region
            for notice in calls.notices:
                log.warning("target.notice", target=target.name, notice=notice)
            if target.account_id:
                tally.account_id = await _guard_account(calls, target)
            creates, save = await _creates_gate(run, ledger, target)
            site = Site(
                target=target.name,
                account_id=target.account_id,
                ledger=ledger,
                lease=lease,
                aws=calls,
                creates=creates,
                reads=_reads_gate(run, settings.run.max_in_flight),
                clock=run.clock,
            )
            engine = Engine(site, run.order.policy, tally, run.stop, workers=settings.run.max_in_flight)
            async with anyio.create_task_group() as group:
                group.start_soon(save)
                await engine.run(manifest, report_problems=reports)
                group.cancel_scope.cancel()
    except (LedgerError, LedgerLockedError):
        raise
    except ProvisionerError as error:
        log.error("target.halted", target=target.name, why=str(error))  # noqa: TRY400  users see no traceback
        tally.halt = tally.halt or Halt(error.exit_code, str(error))


async def _guard_account(calls: aws.Aws, target: Target) -> str:
    """Refuse to run against any other account than the configured one."""
    account_id = await calls.control.caller_account()
    if account_id != target.account_id:
        why = f"the credentials are of account {account_id}, the configuration says {target.account_id}"
        raise IntegrityError("this is the wrong account", where=target.name, why=why)
    return account_id


async def _creates_gate(
    run: Run, ledger: Ledger, target: Target
) -> tuple[Gate, Callable[[], Coroutine[None, None, None]]]:
    """The gate before creates, warm from what an earlier run learned, and a task that keeps what this one learns."""
    settings, clock = run.order.settings, run.clock
    policy = PacePolicy(settings.pace.initial_rate, settings.pace.max_rate, settings.pace.share)
    kept = await ledger.learned(target.name, "create")
    learned = _learned.decode(kept) if kept else None
    pacer = Pacer(policy, clock.monotonic(), learned, clock.wall())
    gate = Gate(pacer, max_in_flight=settings.run.max_in_flight, clock=clock.monotonic)
    run.gates[target.name] = gate

    async def save() -> None:
        try:
            while True:
                await anyio.sleep(LEARN_EVERY_S)
                await keep()
        finally:
            with anyio.CancelScope(shield=True):
                await keep()

    async def keep() -> None:
        if (state := pacer.learned(clock.wall())) is not None:
            await ledger.learn(target.name, "create", msgspec.json.encode(state))

    return gate, save


def _reads_gate(run: Run, max_in_flight: int) -> Gate:
    pacer = Pacer(PacePolicy(), run.clock.monotonic())
    return Gate(pacer, max_in_flight=max_in_flight, clock=run.clock.monotonic)
