"""The workers of a job on Ray, with a cluster in memory: who is started, what their deaths mean. In virtual time."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import structlog

from provisioner.commands.job_summary import Workers
from provisioner.commands.ray import AS_LONG_AS_IT_LIVES, RESTARTS, Crew, connected
from provisioner.commands.workers import Part, Worker
from provisioner.report.summary import JobPart
from tests.commands.test_jobs import run_with
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from provisioner.commands.run import Order, Run


LOST = -1


class RayError(Exception):
    """As Ray raises it."""


class Method:
    """A remote method."""

    def __init__(self, call: Callable[..., Awaitable[Part]]) -> None:
        self._call = call

    def options(self, *, max_task_retries: int) -> Method:
        """Called again when the actor has died, however often nobody could reach it meanwhile."""
        assert max_task_retries == AS_LONG_AS_IT_LIVES
        return self

    def remote(self, *given: str) -> Awaitable[Part]:
        """Call it."""
        return asyncio.ensure_future(self._call(*given))


class Actor:
    """A worker that dies some times after ten seconds each, and then works to the end.

    Args:
        cluster: where it lives.
        deaths: how often; :data:`LOST` for one that dies once and is not started again for as long as anybody waits.
    """

    def __init__(self, cluster: Cluster, deaths: int) -> None:
        self._cluster = cluster
        self._deaths = deaths
        self._lives = 0
        self._lost = False
        self._stopped = asyncio.Event()
        self.look = Method(self._look)
        self.work = Method(self._work)

    def _part(self, left: int) -> Part:
        run_id = f"{self._cluster.actors.index(self)}-{self._lives}"
        return Part(run_id=run_id, now=0.0, job=JobPart("j", 2, 2, left), statistics={})

    async def _look(self, stop: str = "") -> Part:
        await self._cluster.room.wait()
        if stop:
            self._stopped.set()
        if self._cluster.unavailable or self._lost:
            raise RayError("The actor is unavailable")
        return self._part(2)

    async def _work(self) -> Part:
        await self._cluster.room.wait()
        if self._deaths == LOST:
            await asyncio.sleep(5)
            self._lost = True
            await asyncio.Event().wait()
        while self._lives < self._deaths:
            await asyncio.sleep(10)
            self._cluster.unavailable = True
            await asyncio.sleep(3)
            self._cluster.unavailable = False
            if self._lives == RESTARTS:
                raise RayError("The actor\n\x1b[1mdied")
            self._lives += 1
        try:
            async with asyncio.timeout(self._cluster.lasts_s):
                await self._stopped.wait()
        except TimeoutError:
            return self._part(0)
        return self._part(1)


class Kind:
    """The class of the actors of ``cluster``."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def options(self, **given: Any) -> Kind:
        """How they are placed, and restarted."""
        assert given["max_restarts"] == RESTARTS
        return self

    def remote(self, order: Order) -> Actor:
        """The next one."""
        del order
        actors = self._cluster.actors
        actors.append(Actor(self._cluster, self._cluster.deaths[len(actors)]))
        return actors[-1]


class Cluster(ModuleType):
    """What is used of the library ``ray``.

    Args:
        deaths: of each actor.
        lasts_s: how long the work of one takes.
    """

    def __init__(self, *deaths: int, lasts_s: float = 10.0) -> None:
        super().__init__("ray")
        self.exceptions = ModuleType("exceptions")
        self.exceptions.RayError = RayError  # type: ignore[attr-defined]
        self.room = asyncio.Event()
        self.room.set()
        self.unavailable = False
        self.actors: list[Actor] = []
        self.killed: list[Actor] = []
        self.deaths = deaths
        self.lasts_s = lasts_s

    def remote(self, kind: type) -> Kind:
        """A class of actors."""
        assert kind is Worker
        return Kind(self)

    def kill(self, actor: Actor) -> None:
        """End it."""
        self.killed.append(actor)


async def crew_on(cluster: Cluster, run: Run | None = None) -> tuple[Crew, list[Any]]:
    """The workers at the end of their work, and what was logged of them."""
    run = run or run_with("a", "b")
    crew = Crew(run, run.order, cluster, len(cluster.deaths))
    with structlog.testing.capture_logs() as logs:
        await crew.work()
    return crew, [log for log in logs if log["event"].startswith("worker.")]


@virtual_time
async def test_a_worker_that_died_is_seen_again_as_another_run() -> None:
    """Ray restarts it; what the dead one had done is kept beside what the new one does."""
    crew, logs = await crew_on(cluster := Cluster(2, 0, lasts_s=60))

    assert sorted(crew.workers.parts) == ["0-0", "0-1", "0-2", "1-0"]
    assert [(log["event"], log["worker"]) for log in logs].count(("worker.died", 0)) == 2
    assert [log["why"] for log in logs if log["event"] == "worker.died"] == ["The actor is unavailable"] * 2
    assert (crew.workers.died, crew.workers.gone) == (2, [])
    assert cluster.killed == cluster.actors[::-1]


@virtual_time
async def test_a_worker_that_dies_again_and_again_is_given_up() -> None:
    """Ray restarts it three times; the others go on."""
    crew, logs = await crew_on(Cluster(RESTARTS + 1, 0, lasts_s=60))

    assert crew.workers.gone == ["The actor \\x1b[1mdied"]
    assert [log["event"] for log in logs].count("worker.died") == crew.workers.died == RESTARTS + 1


@virtual_time
async def test_a_job_that_is_finished_waits_for_no_dead_worker() -> None:
    """On a busy machine Ray may take minutes to start it again; that it died is logged and counted all the same."""
    crew, logs = await crew_on(cluster := Cluster(LOST, 0))

    assert asyncio.get_running_loop().time() < 15
    assert (crew.workers.died, crew.workers.gone) == (1, ["The actor is unavailable"])
    assert [(log["event"], log["worker"]) for log in logs][-1] == ("worker.died", 0)
    assert cluster.killed == cluster.actors[::-1]


@virtual_time
async def test_a_stop_reaches_all_workers_and_waits_for_none_without_a_place() -> None:
    """Those that work drain; a full cluster is not waited for."""
    run = run_with("a", "b")
    asyncio.get_running_loop().call_later(5, run.stop.request, "signal SIGTERM")
    crew, _ = await crew_on(Cluster(0, 0), run)
    drained_at = asyncio.get_running_loop().time()
    full = Cluster(0)
    full.room.clear()
    unplaced, _ = await crew_on(full, run)

    assert [part.job.left for part in crew.workers.parts.values() if part.job] == [1, 1]
    assert drained_at < 10
    assert (unplaced.workers, full.killed) == (Workers(number=1, unplaced=1), full.actors)


async def test_what_ray_prints_is_no_part_of_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    """Its threads print while the workers work, and it prints what it has held back when it is shut down.

    The result is printed by the main thread, or by one of its own after a second signal.
    """

    def prints(text: str) -> None:
        sys.stdout.write(text)

    ray = Cluster()
    ray.init = lambda *_, **__: prints("")  # type: ignore[attr-defined]
    ray.shutdown = lambda: prints("(raylet) Task failed\n")  # type: ignore[attr-defined]

    async with connected(ray, "head:1", 1):
        await anyio.to_thread.run_sync(prints, "(raylet) A worker died\n")
        prints("result\n")
        for name, text in (("ray_listen_error_messages", "(raylet) Another one\n"), ("last words", "interrupted\n")):
            thread = threading.Thread(target=prints, args=[text], name=name)
            thread.start()
            thread.join()

    assert capsys.readouterr().out == "result\ninterrupted\n"
