"""``apply --engine ray``: the workers of a job as actors on a cluster of Ray.

Ray decides where a worker runs, and tells when it has died; the ledger decides what it does. An actor is a worker like
any other (see ``workers.py``). This process sends nothing to AWS: it starts them, starts them again when they die,
passes on why they are to stop, and makes one result of theirs.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import asynccontextmanager, redirect_stdout
from functools import partial
from io import TextIOBase
from typing import TYPE_CHECKING, Any, TextIO

import anyio
import anyio.to_thread

from provisioner.commands.apply import note_changes
from provisioner.commands.finding import fates_of
from provisioner.commands.runs import exit_code_of
from provisioner.commands.session import CLOSED_BY_S, deadline
from provisioner.commands.workers import Worker, order_of_workers, together
from provisioner.engine.stop import DRAIN_S, Stop
from provisioner.errors import (
    DISTRIBUTION,
    ConfigurationError,
    LedgerError,
    ProvisionerError,
    Reason,
    UsageError,
    heaviest,
    printable,
)
from provisioner.ledger.location import locate
from provisioner.report.events import worker_began, worker_died
from provisioner.report.summary import JobPart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import ModuleType

    from provisioner.commands.run import Order, Run
    from provisioner.commands.workers import Part
    from provisioner.report.summary import Summary

LOCAL = "local"
"""The address of a cluster that is started on this machine, and ends with the run."""
RESTARTS = 3
"""How often a worker that died is started again: what ends it each time will not pass by itself."""
CONNECT_S = 10.0
"""How long the head of a cluster may take to accept a connection."""
LOOK_EVERY_S = 1.0
"""Between two looks at a worker, and before it is started again."""


class WorkersError(ProvisionerError):
    """What ended the workers of a job before it was finished.

    Args:
        reason: the kind of the error.
        what: for people.
    """

    def __init__(self, reason: Reason, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.reason = reason


async def apply_on_ray(run: Run, *, workers: int, address: str = "") -> Summary:
    """Carry out ``run.order`` with so many workers; the summary is that of all.

    Args:
        run: a fresh run, which is not recorded in the ledger: its workers are.
        workers: how many.
        address: of the cluster; "" is what Ray's own variable names, or else this machine.
    """
    try:
        order = order_of_workers(run.order, f"ray-{run.run_id}")
        address = address or os.environ.get("RAY_ADDRESS") or LOCAL
        if order.embedded and address != LOCAL:
            what = "the embedded endpoint answers on this machine only, and the workers run on others"
            raise UsageError(what, where=address, hint="Leave out --local or --ray-address")
        host, _, port = address.rpartition(":")
        if host and port.isdecimal() and not await _answers(host, int(port)):
            raise _unusable(address, "it does not answer")
        ray = _library()
    except ProvisionerError as error:
        return run.summary(error=error)
    async with deadline(run):
        crew = _Crew(run, order, ray)
        try:
            with run.stop.ends(DRAIN_S):
                async with _cluster(ray, address, workers):
                    await crew.work(workers)
            return await _whole(run, crew, workers)
        except ProvisionerError as error:
            return run.summary(error=error)


def _library() -> ModuleType:
    # Read when Ray is loaded. Nothing is sent to its makers that nobody asked for; and SIGTERM is no failure, of which
    # its own handler, below Python's, would print the stack.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        what = "`--engine ray` needs the extra `ray`, which is not installed"
        raise ConfigurationError(what, hint=f"Install it: pip install '{DISTRIBUTION}[ray,postgres]'") from error
    return ray


@asynccontextmanager
async def _cluster(ray: ModuleType, address: str, workers: int) -> AsyncIterator[None]:
    """Use the cluster at ``address``.

    Raises:
        ConfigurationError: there is none, or it cannot be used.
    """
    own = {"num_cpus": workers, "include_dashboard": False} if address == LOCAL else {}
    logging.getLogger("ray").setLevel(logging.ERROR)
    begin = partial(ray.init, address, log_to_driver=False, configure_logging=False, **own)
    try:
        # In a thread, because it takes seconds, and replaces the handlers of signals in the main one.
        await anyio.to_thread.run_sync(begin, abandon_on_cancel=True)
    except Exception as error:
        raise _unusable(address, str(error).strip().partition("\n")[0]) from error
    try:
        with redirect_stdout(_ResultOnly(sys.stdout)):
            yield
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(ray.shutdown)


class _ResultOnly(TextIOBase):
    """Stdout without what a thread of Ray prints there about workers that died: the log has it.

    Args:
        stdout: the real one.
    """

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout

    def write(self, text: str) -> int:
        """Write the text of others."""
        return len(text) if threading.current_thread().name.startswith("ray_") else self._stdout.write(text)

    def flush(self) -> None:
        """Write what waits."""
        self._stdout.flush()


async def _answers(host: str, port: int) -> bool:
    """Whether anything does; Ray itself would try for minutes."""
    with anyio.move_on_after(CONNECT_S):
        try:
            async with await anyio.connect_tcp(host.rpartition("/")[2].strip("[]"), port):
                return True
        except OSError:
            pass
    return False


def _unusable(address: str, why: str) -> ConfigurationError:
    hint = "Check with `ray status`; the versions of Ray and Python must be those of the cluster"
    return ConfigurationError("Ray cannot be used", where=address, why=printable(why), hint=hint)


class _Crew:
    """The workers of a job.

    Attributes:
        parts: what each of them has done, by run; the first that began first.
        failures: why workers are not started again.
    """

    def __init__(self, run: Run, order: Order, ray: ModuleType) -> None:
        self._run = run
        self._order = order
        self._ray = ray
        self._over = Stop()
        self.parts: dict[str, Part] = {}
        self.failures: list[str] = []

    @property
    def job(self) -> str:
        """The id of the job."""
        return self._order.job

    async def work(self, workers: int) -> None:
        """Have so many workers work until the job is finished, or nothing more can be done."""
        async with anyio.create_task_group() as group:
            for number in range(workers):
                group.start_soon(self._keep, number)

    async def _keep(self, number: int) -> None:
        """Start a worker, and another one in its place if it dies."""
        for _ in range(1 + RESTARTS):
            why = await self._life(number)
            if not why or self._run.stop.requested:
                return
            worker_died(number, self.job, why)
            await self._run.stop.pause(LOOK_EVERY_S)
        self.failures.append(why)

    async def _life(self, number: int) -> str:
        """Start a worker, and wait for its end; why it died, "" if it did not."""
        actor = self._ray.remote(Worker).options(num_cpus=1, scheduling_strategy="SPREAD").remote(self._order)
        try:
            placed = None
            with self._run.stop.ends(), self._over.ends():  # the cluster may have no room for it
                placed = await actor.look.remote()
            if placed is not None:
                worker_began(number, self.job, placed.run_id)
                return await self._working(actor)
        except self._ray.exceptions.RayError as error:
            return _why(error)
        finally:
            self._ray.kill(actor)
        return ""

    async def _working(self, actor: Any) -> str:  # noqa: ANN401  Ray's handle
        part, why = None, ""
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, actor)
            try:
                part = await actor.work.remote()
            except self._ray.exceptions.RayError as error:
                why = _why(error)
            group.cancel_scope.cancel()
        if part is not None:
            self._note(part)
            if part.job is not None and not part.job.left:
                self._over.request("the job is finished")
        return why

    async def _watch(self, actor: Any) -> None:  # noqa: ANN401  Ray's handle
        """Look at what a worker does, and pass on why it is to stop."""
        stop = self._run.stop
        while True:
            await (anyio.sleep if stop.requested else stop.pause)(LOOK_EVERY_S)
            try:
                self._note(await actor.look.remote(stop.reason))
            except self._ray.exceptions.RayError:
                return  # its work ends the same way

    def _note(self, part: Part) -> None:
        ahead = self._run.clock.monotonic() - part.now
        for name, statistics in part.statistics.items():
            statistics.waiting_until += ahead
            self._run.statistics[name] = statistics
        self.parts[part.run_id] = part


def _why(error: Exception) -> str:
    """What Ray says of the end of a worker, in one line."""
    return printable(" ".join(str(error).split()))


async def _whole(run: Run, crew: _Crew, workers: int) -> Summary:
    """The summary of what all workers did, in place of those of their own."""
    record, error = None, None
    try:
        with run.stop.ends_by(CLOSED_BY_S):
            location = locate(run.order.settings.run.ledger)
            record = await location.jobs().find(crew.job)
            async with location.read() as ledger:
                policy = run.order.policy
                run.superseded = await fates_of(ledger, run.statistics, policy.keep, adopted=policy.adopted)
    except LedgerError as raised:
        error = raised
    parts = [*crew.parts.values()]
    run.statistics = together([*run.statistics], parts, record)
    note_changes(run)
    left = sum(not one.result for one in record.targets) if record else len(run.statistics)
    opened = max((part.job.open for part in parts if part.job), default=len(run.statistics))
    if record is not None:
        run.job = JobPart(crew.job, len(run.statistics), opened, left, workers)
        if code := exit_code_of(record):
            run.reasons.add(Reason[code.name])
    return run.summary(error=error or (ended_by(parts, crew.failures) if left else None))


def ended_by(parts: Sequence[Part], failures: Sequence[str]) -> ProvisionerError | None:
    """The error that counts most, of those that ended the workers of a job that is not finished; None if none did.

    Args:
        parts: of the workers.
        failures: why workers that died are not started again.
    """
    errors = dict(reversed([part.error for part in parts if part.error]))
    if reason := heaviest(errors):
        return WorkersError(reason, errors[reason])
    if failures:
        hint = "See `ray logs`, then run again with the same --job to go on"
        return WorkersError(Reason.UNFINISHED, f"a worker died {1 + RESTARTS} times", why=failures[0], hint=hint)
    return None
