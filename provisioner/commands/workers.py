"""A worker of a job that another process starts and watches.

Nothing here knows who does: ``ray.py``. What several of them did as one result is in ``job_summary.py``.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import anyio
import msgspec

from provisioner.commands.apply import apply
from provisioner.commands.jobs import check_order
from provisioner.commands.run import Order, Run
from provisioner.core.objects import is_object
from provisioner.errors import ProvisionerError, Reason, UsageError, printable
from provisioner.ledger.jobs import AUTO
from provisioner.ledger.location import has_password, locate, printable_location

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioner.report.statistics import Statistics
    from provisioner.report.summary import JobPart

UNWATCHED_S = 60.0
"""So long a worker goes on that nobody looks at, which is done every second."""


def order_of_workers(order: Order, job: str) -> Order:
    """The order that every worker gets, by default of a job called ``job``.

    Raises:
        UsageError: what is ordered cannot be shared by workers on other machines.
        ConfigurationError: the ledger's driver is not installed.
    """
    check_order(order)
    ledger = order.settings.run.ledger
    locate(ledger).jobs()
    if has_password(ledger):
        what = "the URL of the ledger has a password in it, or may have one, and would be sent to the workers"
        hint = "Leave it out of the URL, and set PGPASSFILE or PGPASSWORD on the nodes"
        raise UsageError(what, where=printable_location(ledger), hint=hint)
    run = msgspec.structs.replace(order.settings.run, deadline=None)  # who watches them ends them
    return msgspec.structs.replace(
        order,
        sources=tuple(source if is_object(source) else os.path.abspath(source) for source in order.sources),  # noqa: PTH100  a glob
        settings=msgspec.structs.replace(order.settings, run=run),
        job=job if order.job in {"", AUTO} else order.job,
    )


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has done so far.

    Attributes:
        run_id: of the worker.
        now: on its monotonic clock.
        job: see :class:`JobPart`; None as long as it has not joined.
        statistics: by target, of those that it has begun.
        error: the kind and the text of the error that ended it, None if none did.
    """

    run_id: str
    now: float
    job: JobPart | None
    statistics: dict[str, Statistics]
    error: tuple[Reason, str] | None = None


class BrokenWorkerError(ProvisionerError):
    """A bug, or a lack of memory, has ended a worker. The traceback is in its log.

    Args:
        error: that was raised.
    """

    reason = Reason.INTERNAL

    def __init__(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        hint = "Please report this, with the traceback from the worker's log (`ray logs`)"
        super().__init__(f"internal error in a worker: {type(error).__name__}", why=printable(str(error)), hint=hint)


class Worker:
    """One worker, in a process of its own.

    Args:
        order: see :func:`order_of_workers`.
        carry_out: what it does with a run of that order.
    """

    def __init__(self, order: Order, carry_out: Callable[[Run], Awaitable[object]] = apply) -> None:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        self._run = Run(order)
        self._carry_out = carry_out
        self._looked = anyio.Event()

    async def work(self) -> Part:
        """Do what ``apply --job`` does, to the end; drain when nobody looks at it any more."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._mind)
            try:
                await self._carry_out(self._run)
            except Exception as error:
                logging.getLogger(__name__).exception("internal error")
                self._run.summary(error=BrokenWorkerError(error))
            group.cancel_scope.cancel()
        return self._part()

    async def _mind(self) -> None:
        """Request a stop when nobody has looked for too long.

        Who watches it may be gone, or cut off from it with its part of the cluster: then nobody can stop it, and where
        it was taken for dead another one is in its place already.
        """
        watched = True
        while watched:
            self._looked = anyio.Event()
            with anyio.move_on_after(UNWATCHED_S) as waiting:
                await self._looked.wait()
            watched = not waiting.cancelled_caught
        self._run.stop.request(f"the command that started this worker has not been heard from for {UNWATCHED_S:.0f} s")

    async def look(self, stop: str = "") -> Part:
        """What it has done so far.

        Args:
            stop: why it is to drain, "" if it is not.
        """
        self._looked.set()
        if stop:
            self._run.stop.request(stop)
        return self._part()

    def _part(self) -> Part:
        run = self._run
        return Part(
            run_id=run.run_id,
            now=run.clock.monotonic(),
            job=run.job,
            statistics={name: one for name, one in run.statistics.items() if one.lines or one.region or one.halt},
            error=(run.error.reason, str(run.error)) if run.error else None,
        )
