"""A network that fails at every byte: what is reported of a create must be true, whichever byte was the last."""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest

from provisioner import aws
from provisioner.commands.apply import apply
from provisioner.commands.run import Order, Run
from provisioner.config.settings import ReconcileSettings, RunSettings, Settings
from provisioner.config.target import Target
from provisioner.core.verdict import Verdict, judge
from provisioner.emulator import DEFAULT_ACCOUNT, Behaviour, Emulator, credentials
from tests.aws.server import allowed
from tests.fakes import make_policy
from tests.faults.invariants import check_finished, check_invariants
from tests.faults.network import Cut, Proxy
from tests.faults.world import ROLE, entries_of, ledger_id_of, write_manifest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from provisioner.aws import Creates
    from provisioner.core.verdict import Reply

BODY = msgspec.json.encode({"name": "x", "roleArn": ROLE, "tags": {"team": "ads"}})
LIMITS = aws.Limits(max_connections=8, connect_timeout_s=5.0, read_timeout_s=2.0)
HOWS: tuple[Literal["close", "reset"], ...] = ("close", "reset")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded endpoint's credentials, and no other."""
    for name, value in credentials(DEFAULT_ACCOUNT).environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


class Line:
    """A transport, the proxy that its connections pass through, and the endpoint behind it."""

    def __init__(self, creates: Creates, proxy: Proxy, emulator: Emulator) -> None:
        self.creates = creates
        self.proxy = proxy
        self.emulator = emulator
        self.cut = Cut()

    async def create(self, cut: Cut) -> tuple[Reply, bool]:
        """One create whose connection meets ``cut``: what is reported of it, and whether it made an algorithm."""
        self.cut = cut
        before = len(self.emulator.truth.alive)
        reply = await self.creates.create(BODY, allowed)
        return reply, len(self.emulator.truth.alive) > before


@asynccontextmanager
async def a_line(*, direct: bool) -> AsyncIterator[Line]:
    """A line to an endpoint of its own."""
    async with Emulator(Behaviour(names="duplicates")) as emulator, Proxy(_port(emulator), lambda: line.cut) as proxy:
        target = Target(region="us-east-1", endpoint_url=proxy.url)
        async with aws.connect(target, LIMITS, direct=direct) as calls:
            line = Line(calls.creates, proxy, emulator)
            yield line


def _port(emulator: Emulator) -> int:
    return int(emulator.url.rsplit(":", 1)[1])


async def check_offsets(line: Line, where: Literal["request", "reply"], how: Any, offsets: list[int]) -> int:
    """Cut at each of ``offsets``, and check that what is reported is true; how many were tried."""
    for at in offsets:
        reply, made = await line.create(Cut(where, at, how))
        verdict = judge(reply)
        assert verdict in {Verdict.AMBIGUOUS, Verdict.CREATED}, f"{where} cut at {at}: {reply}"
        assert made == (where == "reply"), f"{where} cut at {at}: {reply}"
        if verdict is Verdict.CREATED:
            assert reply.arn == line.emulator.truth.alive[-1].arn
    return len(offsets)


async def lengths(line: Line) -> dict[str, int]:
    """Bytes of the request and of the reply."""
    reply, made = await line.create(Cut(delay_s=0.001))
    assert made
    assert judge(reply) is Verdict.CREATED
    # The connection is closed, so that each cut meets a fresh one.
    found = dict(line.proxy.passed)
    await line.create(Cut())
    return found


def sample(length: int, count: int, random: Random) -> list[int]:
    """Some offsets, the first and the last among them."""
    return sorted({1, length - 1, *(random.randrange(1, length) for _ in range(count))})


@asynccontextmanager
async def fresh(*, direct: bool) -> AsyncIterator[tuple[Line, dict[str, int]]]:
    """A line whose every create has a connection of its own, and the lengths of request and reply."""
    async with a_line(direct=direct) as line:
        found = await lengths(line)
        create = line.creates.create

        async def alone(body: bytes, may_send: Callable[[], None]) -> Reply:
            reply = await create(body, may_send)
            for task in set(line.proxy._tasks):
                task.cancel()
            return reply

        line.creates = type("Alone", (), {"create": staticmethod(alone)})()
        await line.create(Cut())
        yield line, found


@pytest.mark.parametrize("direct", [True, False])
async def test_cut_at_any_byte(direct: bool) -> None:  # noqa: FBT001  a table
    """A cut in the request makes nothing and is in doubt; one in the reply is in doubt, or created with its ARN."""
    random = Random(1)  # noqa: S311  replayable
    async with fresh(direct=direct) as (line, found):
        for how in HOWS:
            await check_offsets(line, "request", how, sample(found["request"], 6, random))
            await check_offsets(line, "reply", how, sample(found["reply"], 6, random))


@pytest.mark.torture
@pytest.mark.parametrize("direct", [True, False])
async def test_cut_at_every_byte(direct: bool) -> None:  # noqa: FBT001  a table
    """The same at every offset of a request and of a reply."""
    tried = 0
    async with fresh(direct=direct) as (line, found):
        for how in HOWS:
            tried += await check_offsets(line, "request", how, list(range(1, found["request"])))
            tried += await check_offsets(line, "reply", how, list(range(1, found["reply"])))
    print(f"network, direct={direct}: cut at {tried} offsets, {found}")  # noqa: T201  the campaign's figures


@pytest.mark.parametrize("direct", [True, False])
async def test_a_line_that_slices_and_delays(direct: bool) -> None:  # noqa: FBT001  a table
    """A reply that comes byte by byte is read whole."""
    async with a_line(direct=direct) as line:
        reply, made = await line.create(Cut(slice_bytes=7, delay_s=0.0005))

        assert made
        assert judge(reply) is Verdict.CREATED


def failing(random: Random, share: float, left: int) -> Callable[[], Cut]:
    """Connections of which a share is cut, ``left`` of them at most."""
    cuts = [left]

    def plan() -> Cut:
        if random.random() >= share or not cuts[0]:
            return Cut()
        cuts[0] -= 1
        return Cut(random.choice(("request", "reply")), random.randrange(1, 1200), random.choice(HOWS))

    return plan


async def test_a_run_over_a_line_that_fails(tmp_path: Path) -> None:
    """A whole run over such a line ends with everything once, and the ledger equal to the truth."""
    names = [f"algorithm {number}" for number in range(30)]
    manifest = write_manifest(tmp_path / "m.jsonl", names)
    plan = failing(Random(3), 0.5, 12)  # noqa: S311  replayable
    async with Emulator(Behaviour(names="duplicates")) as emulator, Proxy(_port(emulator), plan) as proxy:
        settings = Settings(
            run=RunSettings(ledger=str(tmp_path / "ledger.db"), read_timeout="2s", max_in_flight=8),
            reconcile=ReconcileSettings(settle="500ms", list_lag="100ms"),
            targets={"default": Target(region="us-east-1", endpoint_url=proxy.url)},
        )
        policy = make_policy(settle_s=0.5, list_lag_s=0.1)
        order = Order(sources=(str(manifest),), settings=settings, targets=settings.select(()), policy=policy)
        for _ in range(4):
            summary = await apply(Run(order))
            if summary.exit_code == 0:
                break

        entries = entries_of(tmp_path / "ledger.db")
        check_invariants(emulator.truth, entries, ledger_id_of(tmp_path / "ledger.db"))
        check_finished(emulator.truth, entries, names)
