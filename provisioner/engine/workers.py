"""The worker pool: jobs in one list, and as many workers as the slots in flight can keep busy.

A list of its own, not a library's stream or queue: those wake a task for each job, which takes up to a sixth of a
create. A worker starts only when every other one has its slot, or has had it and is recording the result, and at a slow
pace only when none of them waits for its turn. So a target that needs four workers has five tasks, not 256; that keeps
many targets side by side cheap.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from provisioner.pacing.gate import Gate

T = TypeVar("T")
QUEUE = 64
"""Jobs that may wait for a worker when the next batch is planned: enough to hide its look-ups at thousands a second."""
SLOW_PER_S = 25.0
"""Up to this pace one worker that waits for its turn is enough: when it has it, there is time for another to come."""


class Workers(Generic[T]):
    """Does jobs, at most ``limit`` calls at once.

    Args:
        group: in which the workers run.
        gate: whose slots they take.
        limit: most workers at calls; as many again may record what came of theirs.
        work: does one job; it returns when the job has its outcome, and takes no slot by itself.
    """

    def __init__(self, group: TaskGroup, gate: Gate, limit: int, work: Callable[[T], Awaitable[None]]) -> None:
        self._group = group
        self._gate = gate
        self._limit = limit
        self._work = work
        self._workers = 0
        self._jobs: deque[T] = deque()
        self._open = 0
        # Made when somebody waits, and workers when there is a job: an event takes almost a kilobyte, a worker three.
        # Most targets change no tags and delete nothing.
        self._more: anyio.Event | None = None
        self._few: anyio.Event | None = None
        self._idle: anyio.Event | None = None
        gate.on_turn = self.fill_slots

    def add(self, job: T) -> None:
        """Queue ``job``."""
        self._open += 1
        self._jobs.append(job)
        self.fill_slots()
        if self._more is not None:
            self._more.set()

    @property
    def busy(self) -> bool:
        """Whether a job is not done yet."""
        return self._open > 0

    async def until_few_wait(self) -> None:
        """Wait until no more than :data:`QUEUE` jobs wait for a worker: memory stays the same for any manifest."""
        while len(self._jobs) > QUEUE:
            self._few = anyio.Event()
            await self._few.wait()

    async def until_idle(self) -> None:
        """Wait until every job is done."""
        while self._open:
            self._idle = anyio.Event()
            await self._idle.wait()

    def fill_slots(self) -> None:
        """A job came, or a worker has its slot or its turn, or left its slot: start another one if none is free."""
        gate = self._gate
        if not self._jobs or gate.holders < self._workers:
            return
        # As many again may have left their slot, to which another call is entitled while theirs is being recorded.
        recording = min(gate.holders - gate.in_flight, self._limit)
        enough = gate.rate <= SLOW_PER_S and gate.waits
        if self._workers < self._limit + recording and not enough:
            self._add_worker()

    def _add_worker(self) -> None:
        self._workers += 1
        self._group.start_soon(self._run)

    async def _run(self) -> None:
        while True:
            job = await self._next()
            try:
                await self._work(job)
            finally:
                self._open -= 1
                if not self._open and self._idle is not None:
                    self._idle.set()

    async def _next(self) -> T:
        while not self._jobs:
            if self._more is None or self._more.is_set():
                # An event cannot be cleared; all that waited for the old one have been woken.
                self._more = anyio.Event()
            await self._more.wait()
        job = self._jobs.popleft()
        if self._few is not None and len(self._jobs) == QUEUE:
            self._few.set()
        return job
