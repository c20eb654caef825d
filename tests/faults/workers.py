"""Campaign with several workers on one PostgreSQL ledger: real processes, real HTTP, a real server.

    python -m tests.faults.workers --scenarios 200 --seed 1              the campaign
    python -m tests.faults.workers --scenarios 1 --seed 7 --act stop     one of them again
    python -m tests.faults.workers --scenarios 20 --restarts             with a server that crashes again and again
    python -m tests.faults.workers --scenarios 20 --pooled               through PgBouncer

In each scenario two or four workers of one job register a manifest in a few targets. One of them is killed at a point,
or stopped there until another has taken over what it had, and then wakes up. At the end the job is finished by workers
to whom nothing happens, and what the endpoint holds is compared with the ledger. Terms are short: a lease expires after
three seconds, and the settle time is four.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import anyio
import msgspec
import psycopg
import structlog

from provisioner.aws.connection import Connection
from provisioner.commands import jobs
from provisioner.commands.apply import apply
from provisioner.commands.run import Order, Run, policy_of
from provisioner.config.settings import PaceSettings, ReconcileSettings, RunSettings, Settings
from provisioner.config.target import Target
from provisioner.core.entry import Event
from provisioner.emulator import DEFAULT_ACCOUNT, Behaviour, Emulator, credentials
from provisioner.emulator.endpoint import serve
from provisioner.emulator.front import Truth
from provisioner.ledger.location import locate
from provisioner.ledger.postgres.lease import PostgresLeases, TargetLease
from provisioner.ledger.postgres.store import PostgresLedger
from tests.faults.invariants import check_finished, check_invariants
from tests.faults.world import write_manifest
from tests.pgbouncer import through_pool
from tests.postgres import Ledger, fresh_ledger, own_server, restart_server, server_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from provisioner.core.entry import Entry, Fact

TTL_S, SETTLE, LIST_LAG = 3.0, "4s", "300ms"
REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "eu-west-2")
POINTS = ("before intent", "after intent", "before check", "after check", "at write", "after write", "before result")
"""Where something happens to a worker. From ``before check`` to ``at write`` lies what a lease is for: a worker that is
stopped there until somebody else has the target must not make anything twice when it wakes up."""
EXPECTED = {0, 6}
"""How a worker may end: everything is done, or another one has taken its targets."""
FINISHERS = 6
"""Workers after which a job has to be finished."""
LIMIT_S = 120.0


class Scenario(msgspec.Struct, frozen=True):
    """What a seed stands for.

    Attributes:
        seed: of everything.
        act: what happens to the first worker: ``kill`` or ``stop``.
        point, number: where, and at which time that it comes there.
        workers: that begin together.
        size: definitions.
        behaviour: of the endpoint.
    """

    seed: int
    act: str
    point: str
    number: int
    workers: int
    size: int
    behaviour: Behaviour


def scenario_of(seed: int, act: str = "") -> Scenario:
    """The scenario of a seed; every point comes up in each row of them."""
    random = Random(f"workers {seed}")  # noqa: S311  replayable
    behaviour = Behaviour(
        names=random.choice(["duplicates", "duplicates", "unique"]),
        latency=random.choice([0.01, 0.1]),
        lost_reply=random.choice([0.0, 0.1]),
        list_lag=random.choice([0.0, 0.2]),
    )
    return Scenario(
        seed=seed,
        act=act or random.choice(["kill", "stop"]),
        point=POINTS[seed % len(POINTS)],
        number=random.randint(1, 12),
        workers=random.choice([2, 2, 4]),
        size=random.randint(5, 12),
        behaviour=behaviour,
    )


class Site:
    """Where a scenario takes place.

    Args:
        ledger: of the job.
        endpoint: the URL of the endpoint.
        manifest: of the job.
    """

    def __init__(self, ledger: Ledger, endpoint: str, manifest: Path) -> None:
        self.ledger = ledger
        self.endpoint = endpoint
        self.manifest = manifest

    def order(self) -> Order:
        """What each worker is to do."""
        settings = Settings(
            run=RunSettings(ledger=self.ledger.url, read_timeout="1s", max_in_flight=4),
            pace=PaceSettings(initial_rate=100.0, max_rate=100.0),
            reconcile=ReconcileSettings(settle=SETTLE, list_lag=LIST_LAG),
            targets={region: Target(name=region, region=region) for region in REGIONS},
        ).with_endpoint(self.endpoint)
        return Order(
            sources=(str(self.manifest),),
            settings=settings,
            targets=settings.select(()),
            policy=policy_of(settings),
            job="j",
        )

    def truth(self) -> Truth:
        """What the endpoint holds."""
        with urlopen(f"{self.endpoint}/_emulator/truth", timeout=LIMIT_S) as reply:  # noqa: S310  our own process
            return msgspec.json.decode(reply.read(), type=Truth)

    def epochs(self) -> dict[str, int]:
        """How often each target was taken; empty while the server is away."""
        try:
            return {target: epoch for target, epoch, _ in self.ledger.execute("SELECT * FROM leases")}
        except psycopg.Error:
            return {}

    def left(self) -> int:
        """Targets without a result."""
        try:
            ((done,),) = self.ledger.execute("SELECT count(result) FROM job_targets")
        except psycopg.Error:
            return len(REGIONS)
        return len(REGIONS) - int(done)


# What a worker is.


class Hook:
    """Sends a signal to this process when a point is passed for the nth time."""

    def __init__(self, point: str, number: int, signal_number: int) -> None:
        self._point = point
        self._left = number
        self._signal = signal_number

    def __call__(self, point: str) -> None:
        """``point`` is passed."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), self._signal)


def _install(hook: Callable[[str], None]) -> None:
    """Let this process, which ends with its run, pass the points of :data:`POINTS`."""
    record, check, exchange = PostgresLedger.record, TargetLease.check, Connection.exchange

    async def hooked_record(self: PostgresLedger, facts: Sequence[Fact]) -> None:
        intent = any(fact.event is Event.INTEND for fact in facts)
        hook("before intent" if intent else "before result")
        await record(self, facts)
        if intent:
            hook("after intent")

    def hooked_check(self: TargetLease) -> None:
        hook("before check")
        check(self)
        hook("after check")

    async def hooked_exchange(self: Connection, request: bytes, timeout_s: float) -> Any:
        create = request.startswith(b"POST /configured-model-algorithms")
        if create:
            hook("at write")
        reply = asyncio.ensure_future(exchange(self, request, timeout_s))
        await asyncio.sleep(0)
        if create:
            hook("after write")
        return await reply

    PostgresLedger.record = hooked_record  # type: ignore[assignment,method-assign]
    TargetLease.check = hooked_check  # type: ignore[method-assign]
    Connection.exchange = hooked_exchange  # type: ignore[method-assign]


def forked(work: Callable[[], int]) -> int:
    """A process that does ``work`` and ends with its code; its id."""
    if pid := os.fork():
        return pid
    try:
        code = work()
    except BaseException:  # noqa: BLE001  the process ends here
        traceback.print_exc()
        code = 99
    sys.stderr.flush()
    os._exit(code)


def worker(site: Site, hook: Callable[[str], None]) -> int:
    """Be one; the exit code."""
    (PostgresLeases.__init__.__kwdefaults__ or {})["ttl_s"] = TTL_S
    jobs.CLAIM_EVERY_S, jobs.WAIT_S = 0.05, 0.1
    _install(hook)
    run = Run(site.order())
    summary = anyio.run(apply, run, backend_options={"use_uvloop": True})
    if summary.error and summary.exit_code not in EXPECTED:
        print(f"{os.getpid()}: {summary.error}", file=sys.stderr)  # noqa: T201  the campaign's
    return summary.exit_code


# What happens to them.


def play(scenario: Scenario, site: Site, restart: Callable[[], None] | None) -> Counter[str]:
    """One scenario, to its end."""
    counts: Counter[str] = Counter({"scenarios": 1})
    number = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[scenario.act]
    hook = Hook(scenario.point, scenario.number, number)
    alive = {forked(lambda: worker(site, hook)): "hooked"}
    alive |= {forked(lambda: worker(site, _nothing)): "" for _ in range(scenario.workers - 1)}
    deadline, restart_at = time.monotonic() + LIMIT_S, time.monotonic() + 0.7
    stopped_at: dict[int, dict[str, int]] = {}
    while alive:
        assert time.monotonic() < deadline, f"they do not end: {alive}"
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            stopped_at[pid] = site.epochs()
            counts["stopped"] += 1
        elif pid:
            alive.pop(pid)
            killed = os.WIFSIGNALED(status)
            counts["killed" if killed else f"code {os.waitstatus_to_exitcode(status)}"] += 1
            assert killed or os.waitstatus_to_exitcode(status) in EXPECTED, f"{pid} ended with {status}"
        else:
            time.sleep(0.02)
        for one, epochs in list(stopped_at.items()):
            if (taken := _taken_over(epochs, site.epochs())) or not site.left() or len(alive) == 1:
                counts["woken after a takeover"] += taken
                os.kill(one, signal.SIGCONT)
                del stopped_at[one]
        if restart is not None and time.monotonic() > restart_at:
            restart()
            counts["restarts"] += 1
            restart_at = time.monotonic() + 1.5
    for _ in range(FINISHERS):
        if not site.left():
            break
        _, status = os.waitpid(forked(lambda: worker(site, _nothing)), 0)
        counts["finishers"] += 1
        time.sleep(0.5)
    assert not site.left(), "the job is not finished"
    return counts + _checked(scenario, site)


def _taken_over(before: dict[str, int], now: dict[str, int]) -> bool:
    return any(now.get(target, epoch) > epoch for target, epoch in before.items())


def _checked(scenario: Scenario, site: Site) -> Counter[str]:
    """Compare the endpoint with the ledger."""
    truth, names = site.truth(), [f"algorithm {number}" for number in range(scenario.size)]
    identity, entries = asyncio.run(_read(site))
    for region in REGIONS:
        here = msgspec.structs.replace(truth, algorithms=[one for one in truth.algorithms if one.region == region])
        check_invariants(here, entries.get(region, {}), identity)
        check_finished(here, entries.get(region, {}), names)
        _check_epochs(entries.get(region, {}), site.epochs()[region])
    return Counter({"algorithms": len(truth.alive)})


def _check_epochs(entries: Mapping[str, Entry], taken: int) -> None:
    """The intent of each entry was recorded under one of the leases that its target has had."""
    for name, entry in entries.items():
        counter = int(entry.sent.epoch.partition("-")[0]) if entry.sent else 0
        assert 1 <= counter <= taken, f"{name}: {entry.sent} of {taken}"


async def _read(site: Site) -> tuple[str, dict[str, dict[str, Entry]]]:
    entries: dict[str, dict[str, Entry]] = {}
    async with locate(site.ledger.url).read() as ledger:
        async for entry in ledger.entries():
            entries.setdefault(entry.target, {})[entry.name] = entry
        return ledger.ledger_id, entries


def _nothing(_: str) -> None:
    """Nothing happens here."""


@contextmanager
def endpoint_of(behaviour: Behaviour) -> Iterator[str]:
    """The URL of an endpoint in a process of its own."""
    reader, writer = os.pipe()

    def announce(emulator: Emulator) -> None:
        os.write(writer, emulator.url.encode())
        os.close(writer)

    def work() -> int:
        os.close(reader)
        serve(Emulator(behaviour), announce)
        return 0

    pid = forked(work)
    os.close(writer)
    try:
        with os.fdopen(reader) as pipe:
            yield pipe.read()
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def run(scenario: Scenario, server: str, *, restarts: bool, pooled: bool) -> Counter[str]:
    """One scenario with everything that it needs."""
    own = own_server() if restarts else None
    try:
        with tempfile.TemporaryDirectory() as folder, endpoint_of(scenario.behaviour) as url:
            manifest = write_manifest(Path(folder) / "m.jsonl", [f"algorithm {n}" for n in range(scenario.size)])
            ledger = fresh_ledger(own.get_uri() if own else server)
            site = Site(through_pool(ledger) if pooled else ledger, url, manifest)
            return play(scenario, site, partial(restart_server, own) if own else None)
    except BaseException as error:
        error.add_note(f"replay: --seed {scenario.seed} --scenarios 1; {scenario}")
        raise
    finally:
        if own is not None:
            own.cleanup()


def campaign(scenarios: Sequence[Scenario], server: str, *, restarts: bool, pooled: bool, at_once: int) -> Counter[str]:
    """So many scenarios at once, each in a process of its own."""
    counts: Counter[str] = Counter()
    running: dict[int, int] = {}
    waiting = list(scenarios)
    if pooled:
        through_pool(fresh_ledger(server))  # one pool for all of them
    while running or waiting:
        if waiting and len(running) < at_once:
            scenario = waiting.pop(0)
            reader, writer = os.pipe()

            def work(scenario: Scenario = scenario, writer: int = writer) -> int:
                os.write(writer, msgspec.json.encode(run(scenario, server, restarts=restarts, pooled=pooled)))
                return 0

            running[forked(work)] = reader
            os.close(writer)
            continue
        pid, status = os.wait()
        with os.fdopen(running.pop(pid), "rb") as pipe:
            told = pipe.read()
        assert not status, "a scenario failed: see above"
        counts += Counter(msgspec.json.decode(told, type=dict[str, int]))
    return counts


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenarios", type=int, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--act", choices=["kill", "stop"], default="")
    parser.add_argument("--server", help="the URL of a database; by default a server is started")
    parser.add_argument("--restarts", action="store_true")
    parser.add_argument("--pooled", action="store_true")
    parser.add_argument("--at-once", type=int, default=4)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    os.environ.update(credentials(DEFAULT_ACCOUNT).environment())
    os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, AWS_REGION="us-east-1")
    began = time.perf_counter()
    scenarios = [scenario_of(seed, given.act) for seed in range(given.seed, given.seed + given.scenarios)]
    counts = campaign(
        scenarios,
        given.server or server_url(),
        restarts=given.restarts,
        pooled=given.pooled,
        at_once=given.at_once,
    )
    figures = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    took = time.perf_counter() - began
    print(f"workers, seed {given.seed}: {figures}; 0 lost, 0 twice, 0 unfinished; {took:.1f} s")  # noqa: T201


if __name__ == "__main__":
    main()
