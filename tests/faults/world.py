"""The endpoint without sockets and the engine without threads: whole runs in virtual time, replayable by a seed.

A :class:`World` is the embedded endpoint's own service and state. A request travels, arrives and takes effect whether
or not its sender is still alive; with a journal it outlives the process that sent it, so that a test can kill that
process. :func:`register` runs the real engine, with the real SQLite statements, against it.
"""

from __future__ import annotations

import asyncio
import heapq
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast
from urllib.parse import quote

import msgspec

from provisioner.aws import tagging, wire
from provisioner.aws.faces import SIGNATURE_AGE_S, Aws, CallError, Described, Listed, Page, TaggedPage
from provisioner.commands.drafts import draft_one, retired, wanted_again
from provisioner.commands.run import Order as Wish
from provisioner.commands.run import Run
from provisioner.commands.verify import Finding, differences
from provisioner.config.settings import LifecycleSettings, Settings
from provisioner.config.target import Target
from provisioner.core.entry import Entry, Fact, Stamp, State
from provisioner.core.ownership import read_tag
from provisioner.core.planner import TAGGING
from provisioner.core.verdict import BEFORE_FIRST_BYTE, Loss, Reply
from provisioner.core.versions import DESTROYED, PRUNED, REPLACED, Role
from provisioner.emulator import credentials
from provisioner.emulator.front import truth_of
from provisioner.emulator.service import Service
from provisioner.emulator.state import Accounts
from provisioner.emulator.wire import Call
from provisioner.engine.clock import Clock
from provisioner.engine.engine import Engine
from provisioner.engine.observer import Observer
from provisioner.engine.target import OpenTarget
from provisioner.ledger.requests import (
    AddProblems,
    BeginRun,
    EndRun,
    Forget,
    KeepSamples,
    Learn,
    Record,
    RenameTarget,
    SetFinished,
    SetPlace,
)
from provisioner.ledger.sqlite import reading
from provisioner.ledger.sqlite.database import connect, open_writer
from provisioner.ledger.sqlite.writing import Writing
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from provisioner.pacing.gate import Gate
from provisioner.pacing.pacer import PaceBounds, Pacer
from provisioner.report.statistics import Statistics
from tests.definition_lines import manifest_of
from tests.fakes import make_policy, whereabouts
from tests.faults.invariants import Older, check_nothing_due
from tests.virtual_time import run as run_virtually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from provisioner.core.pause import Pause
    from provisioner.core.place import Place
    from provisioner.core.policy import Policy
    from provisioner.core.problem import Problem
    from provisioner.core.recording import Key
    from provisioner.core.versions import Happening, Version
    from provisioner.emulator.behaviour import Behaviour
    from provisioner.emulator.front import Truth
    from provisioner.ledger import FinishedManifest, RunRecord
    from provisioner.ledger.requests import Request
    from provisioner.ledger.sqlite.database import Connection
    from provisioner.manifest.reader import Batch

TARGET = "default"
REGION = "us-east-1"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/access"
EPOCH = 1_790_000_000.0
"""Virtual time 0, seconds since the epoch."""
READ_TIMEOUT_S = 20.0
POLICY = make_policy(names="unknown", settle_s=360.0, list_lag_s=60.0)
"""What is built in."""
OTHER_ACCOUNT = "210987654321"
"""Of a second target, for a ledger has one target in an account and Region."""

CREATE_PATH = "/configured-model-algorithms"
SCRIPTED = {("POST", "c"): "script", ("DELETE", "c"): "delete_script", ("POST", "t"): "tag_script"}
"""The script of a mutating call, by its method and the first letter of its path; untagging has the one that is left."""


class Fate(NamedTuple):
    """What becomes of one mutating call.

    Attributes:
        outcome: one of the endpoint's faults, a :class:`Loss` when nothing leaves, "" for what its rate decides.
        there_s: seconds until it arrives.
        back_s: seconds until its reply, or its loss, is seen.
        late_s: seconds until it takes effect, where the outcome is late.
        held_s: seconds for which the process stands still before it leaves.
        proxy_status: of a page that something in between answers in place of the service, 0 for none.
    """

    outcome: str = "ok"
    there_s: float = 0.05
    back_s: float = 0.05
    late_s: float = 0.0
    held_s: float = 0.0
    proxy_status: int = 0


class Sent(msgspec.Struct, array_like=True):
    """A line of the journal: a mutating call on its way."""

    at: float
    outcome: str
    late_s: float
    body: str
    method: str = "POST"
    target: str = CREATE_PATH

    @property
    def script(self) -> str:
        """The endpoint's switch that decides on it."""
        return SCRIPTED.get((self.method, self.target[1]), "untag_script")


class World:
    """The endpoint, in virtual time (seconds since the epoch).

    Args:
        behaviour: its switches; chances stay unused, for fates are handed in.
        journal: where calls are kept that have left, so that they take effect although their sender dies.
        account: of all callers.
    """

    def __init__(self, behaviour: Behaviour, journal: Path | None = None, account: str = ACCOUNT) -> None:
        self.account = account
        self.behaviour = msgspec.structs.replace(behaviour, verify=False)
        self.service = Service(self.behaviour, Accounts(Random(f"ids {behaviour.seed}")))  # noqa: S311  replayable
        self.ended_at = EPOCH
        self._journal = journal
        self._arrivals: list[tuple[float, int, Sent]] = []
        self._count = 0
        self._results: dict[int, Any] = {}
        if journal is not None and journal.exists():
            for line in journal.read_bytes().splitlines():
                self._restore(line)

    def _restore(self, line: bytes) -> None:
        if line.startswith(b"["):
            self._arrive(msgspec.json.decode(line, type=Sent))
        else:
            self.ended_at = float(line)

    def note(self, line: bytes) -> None:
        """Add to the journal, in one write."""
        if self._journal is not None:
            with self._journal.open("ab", buffering=0) as file:
                file.write(line + b"\n")

    def send(self, now: float, body: bytes, fate: Fate, method: str = "POST", target: str = CREATE_PATH) -> int:
        """Let a create leave, or another mutating call; its number."""
        sent = Sent(now + fate.there_s, fate.outcome, fate.late_s, body.decode(), method, target)
        self.note(msgspec.json.encode(sent))
        return self._arrive(sent)

    def _arrive(self, sent: Sent) -> int:
        self._count += 1
        heapq.heappush(self._arrivals, (sent.at, self._count, sent))
        return self._count

    def advance(self, now: float) -> None:
        """Let everything happen that is due."""
        while self._arrivals and self._arrivals[0][0] <= now + 1e-5:
            at, number, sent = heapq.heappop(self._arrivals)
            script = (sent.outcome,) if sent.outcome else ()
            switches = {sent.script: script, "late_delay": sent.late_s}
            self.service.behaviour = msgspec.structs.replace(self.service.behaviour, **switches)
            call = Call(sent.method, sent.target, self.headers(), sent.body.encode())
            self._results[number] = self.service.handle(call, at)
        self.service.accounts.advance(now)

    def headers(self, service: str = "cleanrooms-ml") -> dict[str, str]:
        """Of a call: the scope of its signature says whose it is."""
        scope = f"{credentials(self.account).access_key_id}/20260923/{REGION}/{service}/aws4_request"
        signed = f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
        return {"authorization": f"AWS4-HMAC-SHA256 Credential={scope}, {signed}"}

    def result(self, number: int, now: float) -> Any:
        """How the service ended a call that has arrived."""
        self.advance(now)
        return self._results.pop(number)

    def read(self, call: Call, now: float) -> Any:
        """One List, Get or GetResources."""
        self.advance(now)
        return self.service.handle(call, now)

    def delete(self, arn: str, now: float) -> None:
        """Somebody else deletes an algorithm."""
        self.advance(now)
        self.service.accounts.target(self.account, REGION).delete(arn, now)

    @property
    def quiet(self) -> bool:
        """Whether nothing is on its way any more."""
        return not self._arrivals and not self.service.accounts.waiting

    @property
    def truth(self) -> Truth:
        """What it holds when everything that can still happen has happened."""
        self.advance(float("inf"))
        return truth_of(self.service)


class VirtualClock(Clock):
    """The clock of a run in virtual time.

    Args:
        base: the true time at which the loop began.
        boot: of the machine.

    Attributes:
        jump: seconds that the wall clock is ahead of the truth.
    """

    def __init__(self, base: float, boot: str = "boot") -> None:
        self._base = base
        self._boot = boot
        self._loop = asyncio.get_running_loop()
        self.jump = 0.0

    def monotonic(self) -> float:
        """Seconds since the loop began."""
        return self._loop.time()

    def true(self) -> float:
        """The time by the endpoint's clock."""
        return self._base + self._loop.time()

    def wall(self) -> float:
        """What this machine takes for the time."""
        return self.true() + self.jump

    def stamp(self) -> Stamp:
        """Now."""
        return Stamp(self.wall(), self._boot, self.true())


class Point(Protocol):
    """Called at each numbered point of a run: around every commit, every send and every receive."""

    def __call__(self, name: str) -> None:
        """Pass, or never return."""
        ...


def passing(name: str) -> None:
    """A point at which nothing happens."""
    del name


class Courier:
    """Carries mutating calls in virtual time, each to its fate, and past the numbered points.

    Args:
        world: where they go.
        clock: of the run.
        point: see :class:`Point`.

    Attributes:
        under_way: how many are on their way.
        most: of these at any moment.
    """

    def __init__(self, world: World, clock: VirtualClock, point: Point = passing) -> None:
        self._world = world
        self._clock = clock
        self._point = point
        self.under_way = 0
        self.most = 0

    async def carry(
        self, fate: Fate, may_send: Callable[[], None], body: bytes, method: str = "POST", target: str = CREATE_PATH
    ) -> Reply:
        """Send one call. A process that stands still before it leaves signs and asks again, as the transports do."""
        if fate.outcome in list(BEFORE_FIRST_BYTE):
            await asyncio.sleep(fate.back_s)
            return Reply(loss=Loss(fate.outcome))
        may_send()
        await asyncio.sleep(fate.held_s)
        if fate.held_s > SIGNATURE_AGE_S:
            may_send()
        self._point("before send")
        number = self._world.send(self._clock.true(), body, fate, method, target)
        self._point("after send")
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(fate.there_s)
            reply = await self._reply(self._world.result(number, self._clock.true()), fate)
        finally:
            self.under_way -= 1
        self._point("receive")
        return reply

    async def _reply(self, result: Any, fate: Fate) -> Reply:
        if result.ending == "hang":
            await asyncio.sleep(READ_TIMEOUT_S)
            return Reply(loss=Loss.READ_TIMEOUT)
        await asyncio.sleep(fate.back_s)
        if fate.proxy_status:
            return wire.read(fate.proxy_status, {"content-type": "text/html"}, b"<html>no</html>", EPOCH)
        if result.ending in {"close", "cut"}:
            return Reply(loss=Loss.CLOSED)
        return Reply(loss=Loss.RESET) if result.ending == "reset" else seen(result)


class WorldCreates:
    """Creates in virtual time; checks of each that its intent is durable.

    Args:
        courier: carries them.
        hand: the fate of the next create.
        intents: the committed entry of a name, and its committed replacement.
    """

    def __init__(self, courier: Courier, hand: Callable[[], Fate], intents: Callable[[str], Sequence[Entry]]) -> None:
        self._courier = courier
        self._hand = hand
        self._intents = intents

    async def create(self, body: bytes, may_send: Callable[[], None]) -> Reply:
        """Send one create."""
        self._check_intent(body)
        return await self._courier.carry(self._hand(), may_send, body)

    def _check_intent(self, body: bytes) -> None:
        request = msgspec.json.decode(body)
        entries = self._intents(request["name"])
        tag = read_tag(request.get("tags", {}).get("provisioner:origin", ""))
        sent = [entry.attempt for entry in entries if entry.state is State.SENT]
        assert sent, f"I1: {entries} were not durable before the create left"
        assert tag is None or [tag.attempt] == sent


def seen(result: Any) -> Reply:
    """A reply off the wire."""
    headers = {"x-amzn-requestid": "1", **{name.lower(): value for name, value in result.response.headers.items()}}
    return wire.read(result.response.status, headers, result.response.body, EPOCH)


class WorldControl:
    """List and Get, deletions and changes of tags in virtual time; checks of each change that it may leave.

    Args:
        world: where they go.
        clock: of the run.
        courier: carries the changes.
        hand: the fate of the next change of a kind: delete, tag or untag.
        ledger: of the run.
        order: of the run.
    """

    def __init__(
        self,
        world: World,
        clock: VirtualClock,
        courier: Courier,
        hand: Callable[[str], Fate],
        ledger: DirectLedger,
        order: Order,
    ) -> None:
        self._world = world
        self._clock = clock
        self._courier = courier
        self._hand = hand
        self._ledger = ledger
        self._order = order

    async def list_algorithms(self, next_token: str = "", page_size: int = 100) -> Page:
        """One page."""
        query = f"?maxResults={page_size}" + (f"&nextToken={next_token}" if next_token else "")
        answer = await self._ask("List", f"/configured-model-algorithms{query}")
        rows = answer["configuredModelAlgorithms"]
        items = (Listed(row["configuredModelAlgorithmArn"], row["name"], "", _time(row)) for row in rows)
        return Page(tuple(items), answer.get("nextToken", ""))

    async def get_algorithm(self, arn: str) -> Described:
        """One algorithm."""
        answer = await self._ask("Get", f"/configured-model-algorithms/{arn.replace('/', '%2F')}")
        reported = {"configuredModelAlgorithmArn", "createTime", "updateTime", "tags"}
        body = msgspec.json.encode({key: value for key, value in answer.items() if key not in reported})
        return Described(arn, answer["name"], body, answer["tags"], _time(answer), _time(answer))

    async def tagged(self, next_token: str = "") -> TaggedPage:
        """One page of what the tagging API shows."""
        body = msgspec.json.encode(tagging.params(next_token))
        operation = f"ResourceGroupsTaggingAPI_20170126.{tagging.OPERATION}"
        headers = {**self._world.headers("tagging"), "x-amz-target": operation}
        return tagging.page(await self._answer("GetResources", Call("POST", "/", headers, body)))

    async def delete_algorithm(self, arn: str, may_send: Callable[[], None]) -> Reply:
        """Delete one."""
        self._check_deletion(arn)
        return await self._change(
            "delete", may_send, "DELETE", f"/configured-model-algorithms/{arn.replace('/', '%2F')}"
        )

    async def tag_algorithm(self, arn: str, tags: Mapping[str, str], may_send: Callable[[], None]) -> Reply:
        """Set tags."""
        self._check_tagging(arn)
        body = msgspec.json.encode({"tags": dict(tags)})
        return await self._change("tag", may_send, "POST", f"/tags/{arn.replace('/', '%2F')}", body)

    async def untag_algorithm(self, arn: str, keys: Sequence[str], may_send: Callable[[], None]) -> Reply:
        """Remove tags."""
        self._check_tagging(arn)
        query = "&".join(f"tagKeys={quote(key, safe='')}" for key in keys)
        return await self._change("untag", may_send, "DELETE", f"/tags/{arn.replace('/', '%2F')}?{query}")

    async def _change(
        self, kind: str, may_send: Callable[[], None], method: str, target: str, body: bytes = b""
    ) -> Reply:
        return await self._courier.carry(self._hand(kind), may_send, body, method, target)

    def _check_deletion(self, arn: str) -> None:
        """I8 and I9, at the last moment at which they can be kept."""
        version, policy = self._ledger.version(arn), self._order.policy
        assert version is not None, f"I8: {arn} is deleted, and the ledger does not say why"
        assert version.role is Role.SUPERSEDED, f"I8: {version} is deleted"
        assert version.reason, f"I8: {version} is deleted without a reason"
        assert version.deletion, f"I8: {version} is deleted before its intent is durable"
        assert self._ledger.holder(arn) is None, f"I8: {arn} is deleted, and {self._ledger.holder(arn)} names it"
        alive = {one.arn: one for one in truth_of(self._world.service).alive}
        tag = read_tag(alive[arn].tags.get(policy.ownership_tag, "")) if arn in alive else None
        ours = tag is not None and tag.ledger_id == self._ledger.ledger_id
        assert arn not in alive or ours or policy.adopted or not policy.ownership_tag, f"I8: {arn} is not ours: {tag}"
        if version.reason == REPLACED and not policy.delete_first:
            entry = self._ledger.known(version.target, version.name)
            # What replaced it may have been given up in its turn, by a prune or a destroy.
            given_up = self._ledger.reasons(version.target, version.name) & {PRUNED, DESTROYED}
            assert entry.exists or given_up, f"I9: {arn} is deleted, and its entry is {entry.state}"

    def _check_tagging(self, arn: str) -> None:
        key = self._ledger.holder(arn)
        assert key is not None, f"{arn} is tagged, and no entry names it"
        entry = self._ledger.known(*key)
        assert entry.code == TAGGING, f"{entry} was not durable before its tags were changed"

    async def published_rate(self) -> float | None:
        """See the interface: nothing is published."""
        return None

    async def caller_account(self) -> str:
        """The account."""
        return self._world.account

    async def _ask(self, operation: str, target: str) -> dict[str, Any]:
        return await self._answer(operation, Call("GET", target, self._world.headers()))

    async def _answer(self, operation: str, call: Call) -> dict[str, Any]:
        await asyncio.sleep(0.05)
        result = self._world.read(call, self._clock.true())
        reply = seen(result)
        if result.ending != "answer":
            raise CallError(operation, Reply(loss=Loss.CLOSED))
        if reply.status != 200:
            raise CallError(operation, reply)
        answer: dict[str, Any] = msgspec.json.decode(result.response.body)
        return answer


def _time(row: dict[str, Any]) -> float:
    return datetime.fromisoformat(row["createTime"]).timestamp()


class DirectLedger:
    """The SQLite store's own statements, without its threads, so that virtual time holds and every commit is a point.

    Args:
        path: of the file.
        now: the wall clock.
        point: see :class:`Point`.
        beside: of the same run, for another target: a run is one writer.
    """

    def __init__(
        self, path: Path, now: Callable[[], float], point: Point = passing, beside: DirectLedger | None = None
    ) -> None:
        self._writer = None if beside else open_writer(path, connect)
        self._reader: Connection = connect(path, "ro")
        self._writing: Writing = beside._writing if beside else Writing(cast("Connection", self._writer), now)
        self._point = point
        self._learned: dict[str, bytes] = {}
        self.facts: list[Fact] = []

    @property
    def ledger_id(self) -> str:
        """Names this ledger."""
        return reading.ledger_id(self._reader)

    def epoch(self, target: str) -> str:
        """See the interface."""
        del target
        return self._writing.epoch

    async def look_up(self, target: str, names: Sequence[str]) -> dict[str, Entry]:
        """See the interface."""
        return reading.entries_by_name(self._reader, target, names)

    async def registered(self, target: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """See the interface."""
        return reading.digests_by_name(self._reader, target, names)

    def known(self, target: str, name: str) -> Entry:
        """An entry as everybody would see it now."""
        return reading.entries_by_name(self._reader, target, [name])[name]

    def intents(self, target: str, name: str) -> list[Entry]:
        """The same, and its replacement if there is one."""
        replacement = reading.incoming(self._reader, target).get(name)
        return [self.known(target, name), *([replacement] if replacement else [])]

    def version(self, arn: str) -> Version | None:
        """An older version as everybody would see it now."""
        return reading.versions_by_arn(self._reader, [arn]).get(arn)

    def reasons(self, target: str, name: str) -> set[str]:
        """Why the older versions of a name were given up."""
        return {one.reason for one in reading.versions(self._reader, target, [name], None)}

    def holder(self, arn: str) -> Key | None:
        """Which entry names an algorithm."""
        return reading.stored(self._reader, (), [arn]).holders.get(arn)

    async def record(self, facts: Sequence[Fact]) -> None:
        """See the interface."""
        if facts:
            self._commit(Record(facts))
            self.facts += facts
            await asyncio.sleep(0.0005)

    async def entries(
        self, *, target: str | None = None, states: Collection[State] | None = None
    ) -> AsyncIterator[Entry]:
        """See the interface."""
        for each in reading.targets(self._reader) if target is None else [target]:
            for entry in reading.page(self._reader, each, None, states, 1_000_000):
                yield entry

    async def counts(self) -> Mapping[str, Mapping[State, int]]:
        """See the interface."""
        return reading.counts(self._reader)

    async def incoming(self, target: str) -> dict[str, Entry]:
        """See the interface."""
        return reading.incoming(self._reader, target)

    async def versions(
        self, target: str, *, names: Sequence[str] | None = None, roles: Collection[Role] | None = None
    ) -> list[Version]:
        """See the interface."""
        return reading.versions(self._reader, target, names, roles)

    async def superseded(self) -> Mapping[str, int]:
        """See the interface."""
        return reading.superseded(self._reader)

    async def history(self, target: str, name: str) -> list[Happening]:
        """See the interface."""
        return reading.history(self._reader, target, name)

    async def named(self, arn: str) -> list[tuple[str, str]]:
        """See the interface."""
        return reading.named(self._reader, arn)

    async def forget(self, target: str, names: Sequence[str]) -> None:
        """See the interface."""
        self._commit(Forget(target, names))

    async def begin_run(self, run: RunRecord) -> None:
        """See the interface."""
        self._commit(BeginRun(run))

    async def end_run(self, run: RunRecord) -> None:
        """See the interface."""
        self._commit(EndRun(run))

    async def runs(self, limit: int = 10, *, prefix: str = "") -> list[RunRecord]:
        """See the interface."""
        return reading.runs(self._reader, limit, prefix)

    async def add_problems(self, problems: Sequence[Problem]) -> None:
        """See the interface."""
        if problems:
            self._commit(AddProblems(problems))

    async def problems(self, run_id: str) -> AsyncIterator[Problem]:
        """See the interface."""
        for _, problem in reading.problems(self._reader, run_id, 0, 1_000_000):
            yield problem

    async def keep_samples(self, samples: bytes) -> None:
        """See the interface."""
        self._commit(KeepSamples(samples))

    async def samples(self, run_id: str) -> bytes:
        """See the interface."""
        return reading.samples(self._reader, run_id)

    async def learned(self, target: str, family: str) -> bytes | None:
        """See the interface."""
        return reading.learned(self._reader, target, family)

    async def learn(self, target: str, family: str, state: bytes) -> None:
        """See the interface."""
        self._commit(Learn(target, family, state))

    async def finished(self, target: str) -> FinishedManifest | None:
        """See the interface."""
        return reading.finished(self._reader, target)

    async def set_finished(self, target: str, manifest: FinishedManifest) -> None:
        """See the interface."""
        self._commit(SetFinished(target, manifest))

    async def places(self) -> Mapping[str, Place]:
        """See the interface."""
        return reading.places(self._reader)

    async def set_place(self, target: str, place: Place) -> None:
        """See the interface."""
        self._commit(SetPlace(target, place))

    async def pauses(self) -> Mapping[str, Pause]:
        """See the interface."""
        return {}

    async def rename_target(self, old: str, new: str) -> None:
        """See the interface."""
        self._commit(RenameTarget(old, new))

    async def changes(self, target: str) -> int:
        """What the ledger counts."""
        return reading.changes(self._reader, target)

    async def take_identity(self, ledger_id: str) -> None:
        """Nobody rebuilds here."""
        raise NotImplementedError(ledger_id)

    async def close(self) -> None:
        """See the interface."""
        self._reader.close()
        if self._writer is not None:
            self._writer.close()

    def _commit(self, request: Request) -> None:
        self._point("before commit")
        answer = self._writing.commit([request])[0]
        self._point("after commit")
        if answer is not None:
            raise answer


class Held:
    """A lease that is never lost."""

    def check(self) -> None:
        """All is well."""

    async def confirm(self) -> None:
        """All is well."""


class UnthreadedEngine(Engine):
    """Reads the manifest where it stands."""

    async def _next(self, batches: Iterator[Batch]) -> Batch | None:
        return next(batches, None)


@dataclass(kw_only=True)
class Order:
    """A run to be made.

    Attributes:
        manifest, ledger: paths.
        policy: its rules.
        hand: the fate of the next create.
        change: the fate of the next change of a kind: delete, tag or untag.
        base: when it begins, true time.
        boot: of the machine.
        jump_s: by which its wall clock is wrong from the start.
        point: see :class:`Point`.
        workers: creates under way at most.
        target: its name.
        lease: the right to the ledger.
        refresh: what asking for fresh credentials answers.
        control: see :class:`WorldControl`.
        prune: whether what is in the ledger and not in the manifest is deleted.
        wrap: puts something between the engine and the ledger.
        act: what happens beside the run, with its stop and its clock.
    """

    manifest: Path
    ledger: Path
    policy: Policy = POLICY
    hand: Any = Fate
    change: Any = None
    base: float = EPOCH
    boot: str = "boot"
    jump_s: float = 0.0
    point: Any = passing
    workers: int = 4
    target: str = TARGET
    lease: Any = None
    refresh: Any = None
    control: Any = WorldControl
    prune: bool = False
    wrap: Any = None
    act: Any = None


class Ended(NamedTuple):
    """How a run ended: its counts, its facts, the most creates under way, and when (true time)."""

    statistics: Statistics
    facts: list[Fact]
    most: int
    at: float


def register(world: World, order: Order) -> Ended:
    """One run of the engine over ``order.manifest``, in virtual time."""
    return run_virtually(_register(world, order))


def register_together(*runs: tuple[World, Order]) -> list[Ended]:
    """The targets of one run side by side on one loop, each in a world of its own, all over one ledger."""

    async def together() -> list[Ended]:
        first = runs[0][1]
        shared = DirectLedger(first.ledger, VirtualClock(first.base, first.boot).wall)
        try:
            return await asyncio.gather(*(_register(world, order, shared) for world, order in runs))
        finally:
            await shared.close()

    return run_virtually(together())


async def _register(world: World, order: Order, beside: DirectLedger | None = None) -> Ended:
    clock = VirtualClock(order.base, order.boot)
    clock.jump = order.jump_s
    ledger = DirectLedger(order.ledger, clock.wall, order.point, beside)
    courier, run = Courier(world, clock, order.point), Run(wish_of(order), clock=clock)
    statistics, stop = run.statistics[order.target], run.stop
    target = opened(world, order, clock, ledger, courier, statistics)
    engine = UnthreadedEngine(target, order.policy, stop, workers=order.workers)
    beside = asyncio.ensure_future(order.act(stop, clock)) if order.act else None
    manifest = Manifest([str(order.manifest)], Rules(ownership_tag=order.policy.ownership_tag))
    try:
        # What the command does before it changes anything.
        made = await draft_one(run, target, manifest, Observer(), offline=False) if order.prune else None
        retire, spare = (retired(made), wanted_again(made)) if made else ((), ())
        await engine.run(manifest, retire=retire, why=PRUNED, spare=spare)
        statistics.stopped = stop.requested
        statistics.close()
        check_nothing_due(await ledger.versions(order.target), statistics, order.policy)
    finally:
        if beside is not None:
            beside.cancel()
        await ledger.close()
    assert courier.most <= order.workers
    return Ended(statistics, ledger.facts, courier.most, clock.true())


def findings(world: World, order: Order) -> list[Finding]:
    """What ``verify`` finds."""

    async def verify() -> list[Finding]:
        clock = VirtualClock(order.base)
        ledger = DirectLedger(order.ledger, clock.wall)
        target = opened(world, order, clock, ledger, Courier(world, clock), Statistics(order.target))
        try:
            return await differences(target, order.policy.ownership_tag)
        finally:
            await ledger.close()

    return run_virtually(verify())


def wish_of(order: Order) -> Wish:
    """``order`` as a command has it."""
    return Wish(
        sources=(str(order.manifest),),
        settings=Settings(lifecycle=LifecycleSettings(prune=order.prune)),
        targets=(Target(name=order.target),),
        policy=order.policy,
        yes=True,
    )


def opened(
    world: World, order: Order, clock: VirtualClock, ledger: DirectLedger, courier: Courier, observer: Observer
) -> OpenTarget:
    """The target of ``order``, whose creates ``courier`` carries."""
    used = order.wrap(ledger) if order.wrap else ledger
    changes = Courier(world, clock, order.point)
    return OpenTarget(
        name=order.target,
        place=whereabouts(observer, used, order.target),
        ledger=used,
        lease=order.lease or Held(),
        aws=Aws(
            creates=WorldCreates(courier, order.hand, partial(ledger.intents, order.target)),
            control=order.control(world, clock, changes, order.change or _obeyed, ledger, order),
            region=REGION,
            endpoint="world",
            has_tagging=True,
            notices=(),
            refresh_credentials=order.refresh or _refreshed,
        ),
        creates=_gate(clock, order.workers),
        tags=_gate(clock, order.workers),
        deletes=_gate(clock, order.workers),
        reads=_gate(clock, order.workers),
        tagging=_gate(clock, order.workers),
        clock=clock,
        observer=observer,
    )


def _obeyed(kind: str) -> Fate:
    """The fate of a change that nothing befalls."""
    del kind
    return Fate()


async def _refreshed() -> bool:
    return True


def _gate(clock: Clock, workers: int) -> Gate:
    bounds = PaceBounds(initial_rate=50.0, max_rate=0.0, share=1.0)
    return Gate(Pacer(bounds, clock.monotonic()), max_in_flight=workers, clock=clock.monotonic)


def entries_of(path: Path, target: str = TARGET) -> dict[str, Entry]:
    """Everything that the ledger at ``path`` holds for ``target``, by name."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return {entry.name: entry for entry in reading.page(connection, target, None, None, 1_000_000)}
    finally:
        connection.close()


def older_of(path: Path, gone: Collection[str] = (), target: str = TARGET) -> Older:
    """What the ledger at ``path`` holds besides its entries; ``gone`` is what somebody else has deleted."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        versions = reading.versions(connection, target, None, None)
        return Older({version.arn: version for version in versions}, reading.incoming(connection, target), gone)
    finally:
        connection.close()


def ledger_id_of(path: Path) -> str:
    """The id of the ledger at ``path``."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return reading.ledger_id(connection)
    finally:
        connection.close()


_SCHEMA_COOKIE = slice(40, 44)
"""Of the header of an SQLite file: zero as long as it has no table (sqlite.org/fileformat.html, 1.3)."""


class Copies:
    """Copies of a ledger, with or without its -wal, that can be put back.

    Args:
        ledger: the path of its file.
    """

    def __init__(self, ledger: Path) -> None:
        self._files = ledger, ledger.with_name(f"{ledger.name}-wal"), ledger.with_name(f"{ledger.name}-shm")
        self._kept: list[list[bytes]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, *, wal: bool) -> None:
        """Copy the ledger as it is now, while a run is under way or not. One that is not there is not copied."""
        files = self._files[: 2 if wal else 1]
        kept = [path.read_bytes() for path in files if path.exists()]
        # Without its -wal, a ledger that has just been made has no table, and is no ledger.
        if kept and (wal or kept[0][_SCHEMA_COOKIE] != bytes(4)):
            self._kept.append(kept)

    def put_back(self, number: int) -> None:
        """Put a copy in the place of the ledger."""
        for path in self._files:
            path.unlink(missing_ok=True)
        for path, content in zip(self._files, self._kept[number], strict=False):
            path.write_bytes(content)


def write_manifest(path: Path, names: Sequence[str], **more: object) -> Path:
    """A manifest with a definition for each of ``names``."""
    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/algorithm:1"
    path.write_bytes(manifest_of(*names, **{"inferenceContainerConfig": {"imageUri": image}} | more))
    return path


def handing(*outcomes: str | Fate, then: str = "ok") -> Callable[[], Fate]:
    """These fates in this order, then ``then`` for ever."""
    left = list(outcomes)

    def hand() -> Fate:
        one = left.pop(0) if left else then
        return one if isinstance(one, Fate) else Fate(one)

    return hand
