"""``apply --engine ray``: the workers of a job as actors on a cluster of Ray.

Ray decides where a worker runs, and starts it again when it has died; the ledger decides what it does. An actor is a
worker like any other (``workers.py``). This process sends nothing to AWS: it starts the workers, looks at what they do,
passes on why they are to stop, and makes one result of theirs (``job_summary.py``).
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import asynccontextmanager, redirect_stdout, suppress
from functools import partial
from io import TextIOBase
from typing import TYPE_CHECKING, Any, TextIO

import anyio
import anyio.to_thread

from provisioner.commands.job_summary import Workers, whole
from provisioner.commands.session import deadline
from provisioner.commands.workers import Worker, order_of_workers
from provisioner.engine.stop import DRAIN_S, Stop
from provisioner.errors import DISTRIBUTION, ConfigurationError, ProvisionerError, UsageError, printable
from provisioner.report.events import worker_began, worker_died

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    from provisioner.commands.run import Order, Run
    from provisioner.commands.workers import Part
    from provisioner.report.summary import Summary

LOCAL = "local"
"""The address of a cluster that is started on this machine, and ends with the run."""
RESTARTS = 3
"""How often a worker that died is started again: what ends it each time will not pass by itself."""
AS_LONG_AS_IT_LIVES = -1
"""How often Ray calls a worker again that it could not reach. A number would be used up in the seconds until it has
noticed that the worker's node is lost, or that the worker has died on a machine that is busy; the restarts are counted.
"""
CONNECT_S = 10.0
"""How long the head of a cluster may take to accept a connection."""
RAYS = ("ray_", "AnyIO worker")
"""What the names of the threads begin with in which Ray prints: its own, and those that start and end it."""
LOOK_EVERY_S = 1.0
"""Between two looks at a worker."""


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
        await _reach(address)
        ray = _library()
    except ProvisionerError as error:
        return run.summary(error=error)
    async with deadline(run):
        crew = Crew(run, order, ray, workers)
        try:
            with run.stop.ends(DRAIN_S):
                async with connected(ray, address, workers):
                    await crew.work()
            return await whole(run, order.job, crew.workers)
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
async def connected(ray: ModuleType, address: str, workers: int) -> AsyncIterator[None]:
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
    with redirect_stdout(_ResultOnly(sys.stdout)):
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(ray.shutdown)


class _ResultOnly(TextIOBase):
    """Stdout without what Ray prints there of workers that died, in its threads and at its end: the log has it.

    Args:
        stdout: the real one.
    """

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout

    def write(self, text: str) -> int:
        """Write what no thread of Ray's prints: a result may come from any other, after a second signal."""
        return len(text) if threading.current_thread().name.startswith(RAYS) else self._stdout.write(text)

    def flush(self) -> None:
        """Write what waits."""
        self._stdout.flush()


async def _reach(address: str) -> None:
    """Make sure that the head at ``address`` answers, if that names one; Ray itself would try for minutes.

    Raises:
        ConfigurationError: it does not.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    with anyio.move_on_after(CONNECT_S), suppress(OSError):
        async with await anyio.connect_tcp(host.rpartition("/")[2].strip("[]"), int(port)):
            return
    raise _unusable(address, "it does not answer")


def _unusable(address: str, why: str) -> ConfigurationError:
    hint = "Check with `ray status`; the versions of Ray and Python must be those of the cluster"
    return ConfigurationError("Ray cannot be used", where=address, why=printable(why), hint=hint)


class Crew:
    """The workers of a job: actors, which Ray restarts when they die; a restarted one does its work again.

    Args:
        run: of this process.
        order: of each worker.
        ray: the library.
        number: how many there are at a time.
    """

    def __init__(self, run: Run, order: Order, ray: ModuleType, number: int) -> None:
        self._run = run
        self._order = order
        self._error = ray.exceptions.RayError
        self._kill = ray.kill
        options = {"num_cpus": 1, "scheduling_strategy": "SPREAD", "max_restarts": RESTARTS}
        self._actors = ray.remote(Worker).options(**options)
        self._over = Stop()
        self.workers = Workers(number=number)

    async def work(self) -> None:
        """Have the workers work until the job is finished, or nothing more can be done."""
        async with anyio.create_task_group() as group:
            for number in range(self.workers.number):
                group.start_soon(self._live, number)

    async def _live(self, number: int) -> None:
        actor = self._actors.remote(self._order)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, number, actor, group.cancel_scope)
                try:
                    part = await actor.work.options(max_task_retries=AS_LONG_AS_IT_LIVES).remote()
                except self._error as error:
                    self._gone(number, _why(error))
                else:
                    self._note(part)
                    if part.job is not None and not part.job.left:
                        self._over.request("the job is finished")
                group.cancel_scope.cancel()
        finally:
            self._kill(actor)

    async def _watch(self, number: int, actor: Any, life: anyio.CancelScope) -> None:  # noqa: ANN401  Ray's handle
        """Look at what a worker does, and pass on why it is to stop.

        It ends the worker's ``life`` if that has no place when it is to stop, or is dead when the job is finished.
        """
        stop, run_id, why, part = self._run.stop, "", "", None
        with stop.ends(), self._over.ends(), suppress(self._error):  # the cluster may have no room for it
            part = await actor.look.remote()
        if part is None and (stop.requested or self._over.requested):
            self.workers.unplaced += 1
            life.cancel()
        while True:
            if part is not None:
                if run_id and part.run_id != run_id:
                    self._died(number, why)
                if part.run_id != run_id:
                    worker_began(number, self._order.job, part.run_id)
                run_id, why = part.run_id, ""
                self._note(part)
            await (anyio.sleep if stop.requested else stop.pause)(LOOK_EVERY_S)
            try:
                part = await actor.look.remote(stop.reason)
            except self._error as error:
                if part is None and self._over.requested:  # the second time: it is not waited for
                    self._gone(number, why)
                    life.cancel()
                part, why = None, why or _why(error)

    def _note(self, part: Part) -> None:
        ahead = self._run.clock.monotonic() - part.now
        for name, statistics in part.statistics.items():
            statistics.waiting_until += ahead
            self._run.statistics[name] = statistics
        self.workers.parts[part.run_id] = part

    def _died(self, number: int, why: str) -> None:
        worker_died(number, self._order.job, why)
        self.workers.died += 1

    def _gone(self, number: int, why: str) -> None:
        self._died(number, why)
        self.workers.gone.append(why)


def _why(error: Exception) -> str:
    """What Ray says of the end of a worker, in one line."""
    return printable(" ".join(str(error).split()))
