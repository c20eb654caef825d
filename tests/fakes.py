"""In-memory stand-ins for what lies at the edge: clock, ledger, lease, and an endpoint that keeps a truth.

They sleep on the loop's clock, so that under :mod:`tests.virtual_time` hours cost nothing and every run is the same.
Faults are a list: ``Endpoint([DROPPED, LOST])`` answers the next two creates so, and every later one as it should.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.aws.faces import Aws, CallError, Described, Listed, Page, Tagged, TaggedPage
from provisioner.commands.run import policy_of
from provisioner.config.settings import Settings
from provisioner.core.entry import Entry, Fact, Stamp, State
from provisioner.core.place import Place
from provisioner.core.recording import Changes
from provisioner.core.verdict import Loss, Reply
from provisioner.core.versions import Happening, Role, Version
from provisioner.engine.clock import Clock
from provisioner.engine.observer import Observer
from provisioner.engine.target import OpenTarget, Whereabouts
from provisioner.errors import LedgerError, LedgerLockedError, UnsureLeaseError
from provisioner.pacing.gate import Gate
from provisioner.pacing.pacer import PaceBounds, Pacer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from provisioner.core.pause import Pause
    from provisioner.core.policy import Policy
    from provisioner.core.problem import Problem
    from provisioner.ledger import FinishedManifest, Ledger, RunRecord

EPOCH_S = 1_795_000_000.0
"""Wall-clock time at which every virtual clock starts."""
LEDGER_ID = "00000000000000aa"
REGION = "us-east-1"
ACCOUNT_ID = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/access"
TAG = "provisioner:origin"


def now() -> float:
    """Seconds on the running loop's clock."""
    return asyncio.get_running_loop().time()


class FakeClock(Clock):
    """The loop's clock, with a wall clock that can jump and a machine that can be another one.

    Args:
        boot: the boot that stamps tell; "" is a machine that tells none.
        busy: whether the process uses all of its time, or next to nothing.
    """

    def __init__(self, boot: str = "boot-1", *, busy: bool = False) -> None:
        self.boot = boot
        self.jumped_s = 0.0
        self._busy = busy

    def monotonic(self) -> float:
        """The loop's time."""
        return now()

    def cpu(self) -> float:
        """What it has used."""
        return now() if self._busy else 0.0

    def wall(self) -> float:
        """Epoch seconds, with every jump so far."""
        return EPOCH_S + now() + self.jumped_s

    def stamp(self) -> Stamp:
        """Both, with the boot."""
        return Stamp(self.wall(), self.boot, now() if self.boot else 0.0)


class FakeLease:
    """The right to a ledger, which a test may take away by setting ``lost``, or put in doubt by ``unsure`` checks."""

    def __init__(self) -> None:
        self.lost = False
        self.unsure = 0

    def check(self) -> None:
        """Refuse when it is lost, or may be."""
        if self.unsure:
            self.unsure -= 1
            raise UnsureLeaseError("memory")
        if self.lost:
            raise LedgerLockedError("the ledger's lock is lost", where="memory")

    async def confirm(self) -> None:
        """Know whether it is lost."""
        self.unsure = 0
        self.check()


class FakeLedger:
    """Entries in memory, by the rules of :mod:`provisioner.core.recording`: they prove every transition.

    Args:
        entries: what is there from the start.

    Attributes:
        table: the entries by (target, name).
        commits: the facts of each commit, in order, with its time.
        broken: set it, and every call fails from then on.
    """

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.ledger_id = LEDGER_ID
        self.table = {(entry.target, entry.name): entry for entry in entries}
        self.replacements: dict[tuple[str, str], Entry] = {}
        self.older: dict[str, Version] = {}
        self.happenings: list[Happening] = []
        self.commits: list[tuple[float, tuple[Fact, ...]]] = []
        self.kept_problems: list[Problem] = []
        self.kept_samples: dict[str, bytes] = {}
        self.kept_runs: list[RunRecord] = []
        self.paces: dict[tuple[str, str], bytes] = {}
        self.kept_places: dict[str, Place] = {}
        self.kept_finished: dict[str, FinishedManifest] = {}
        self.kept_pauses: dict[str, Pause] = {}
        self.broken = False
        self._renames = Counter[str]()
        self._run_id = ""

    @property
    def facts(self) -> list[Fact]:
        """All facts, in order."""
        return [fact for _, facts in self.commits for fact in facts]

    def epoch(self, target: str) -> str:
        """See :meth:`provisioner.ledger.Ledger.epoch`."""
        return f"1-{target}"

    def state(self, name: str, target: str = "here") -> State | None:
        """The state of an entry, None when there is none."""
        entry = self.table.get((target, name))
        return entry.state if entry else None

    def _check(self) -> None:
        if self.broken:
            raise LedgerError("the ledger cannot be written", where="memory", why="disk full")

    async def look_up(self, target: str, names: Sequence[str]) -> dict[str, Entry]:
        """See the interface."""
        self._check()
        return {name: self.table[target, name] for name in names if (target, name) in self.table}

    async def registered(self, target: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """See the interface."""
        found = await self.look_up(target, names)
        return {
            name: (entry.digest + entry.tags_digest, entry.arn)
            for name, entry in found.items()
            if entry.state is State.CREATED
        }

    async def record(self, facts: Sequence[Fact]) -> None:
        """See the interface: all or none, durable on return."""
        self._check()
        await asyncio.sleep(0)
        self._check()
        changes = Changes(self, at=EPOCH_S + now(), run_id=self._run_id)
        for fact in facts:
            changes.apply(fact)
        self.table = self.table | changes.entries
        replacements = {**self.replacements, **changes.incoming}
        self.replacements = {key: entry for key, entry in replacements.items() if entry is not None}
        older = {**self.older, **changes.versions}
        self.older = {arn: version for arn, version in older.items() if version is not None}
        self.happenings += changes.history
        if facts:
            self.commits.append((now(), tuple(facts)))

    def entry(self, key: tuple[str, str]) -> Entry | None:
        """See :class:`provisioner.core.recording.Known`."""
        return self.table.get(key)

    def replacement(self, key: tuple[str, str]) -> Entry | None:
        """The same."""
        return self.replacements.get(key)

    def version(self, arn: str) -> Version | None:
        """The same."""
        return self.older.get(arn)

    def holder(self, arn: str) -> tuple[str, str] | None:
        """The same."""
        return next((key for key, entry in self.table.items() if entry.exists and entry.arn == arn), None)

    async def incoming(self, target: str) -> dict[str, Entry]:
        """See the interface."""
        return {name: entry for (of, name), entry in self.replacements.items() if of == target}

    async def versions(
        self, target: str, *, names: Sequence[str] | None = None, roles: Collection[Role] | None = None
    ) -> list[Version]:
        """See the interface."""
        return [
            one
            for one in sorted(self.older.values(), key=lambda one: (-one.updated_at, one.arn))
            if one.target == target and (names is None or one.name in names) and (roles is None or one.role in roles)
        ]

    async def superseded(self) -> Mapping[str, int]:
        """See the interface."""
        return Counter(one.target for one in self.older.values() if one.role is Role.SUPERSEDED)

    async def history(self, target: str, name: str) -> list[Happening]:
        """See the interface."""
        return [one for one in self.happenings if (one.target, one.name) == (target, name)]

    async def named(self, arn: str) -> list[tuple[str, str]]:
        """See the interface."""
        entries = {(entry.target, entry.name) for entry in self.table.values() if entry.arn == arn}
        older: list[Version | Happening] = [*self.older.values(), *self.happenings]
        return sorted(entries | {(one.target, one.name) for one in older if one.arn == arn})

    async def forget(self, target: str, names: Sequence[str]) -> None:
        """See the interface."""
        for name in names:
            self.table.pop((target, name), None)
            self.replacements.pop((target, name), None)
        self.older = {arn: one for arn, one in self.older.items() if one.target != target or one.name not in names}

    async def entries(
        self, *, target: str | None = None, states: Collection[State] | None = None
    ) -> AsyncIterator[Entry]:
        """See the interface."""
        self._check()
        for _, entry in sorted(self.table.items()):
            if target in (None, entry.target) and (states is None or entry.state in states):
                yield entry

    async def counts(self) -> dict[str, dict[State, int]]:
        """See the interface."""
        found: dict[str, Counter[State]] = {}
        for entry in self.table.values():
            found.setdefault(entry.target, Counter())[entry.state] += 1
        return {target: dict(states) for target, states in found.items()}

    async def take_identity(self, ledger_id: str) -> None:
        """See the interface."""
        self._check()
        self.ledger_id = ledger_id

    async def changes(self, target: str) -> int:
        """See the interface."""
        commits = sum(any(fact.target == target for fact in facts) for _, facts in self.commits)
        return commits + self._renames[target]

    async def begin_run(self, run: RunRecord) -> None:
        """See the interface."""
        self._check()
        self._run_id = run.run_id
        self.kept_runs.append(run)

    async def end_run(self, run: RunRecord) -> None:
        """See the interface."""
        self._check()
        self.kept_runs[-1] = run

    async def runs(self, limit: int = 10, *, prefix: str = "") -> list[RunRecord]:
        """See the interface."""
        return [run for run in self.kept_runs[::-1] if run.run_id.startswith(prefix)][:limit]

    async def add_problems(self, problems: Sequence[Problem]) -> None:
        """See the interface."""
        self._check()
        self.kept_problems += problems

    async def problems(self, run_id: str) -> AsyncIterator[Problem]:
        """See the interface; it knows of one run."""
        del run_id
        for problem in self.kept_problems:
            yield problem

    async def keep_samples(self, samples: bytes) -> None:
        """See the interface."""
        self.kept_samples[self._run_id] = samples

    async def samples(self, run_id: str) -> bytes:
        """See the interface."""
        return self.kept_samples.get(run_id, b"")

    async def learned(self, target: str, family: str) -> bytes | None:
        """See the interface."""
        return self.paces.get((target, family))

    async def learn(self, target: str, family: str, state: bytes) -> None:
        """See the interface."""
        self.paces[target, family] = state

    async def finished(self, target: str) -> FinishedManifest | None:
        """See the interface."""
        return self.kept_finished.get(target)

    async def set_finished(self, target: str, manifest: FinishedManifest) -> None:
        """See the interface."""
        self._check()
        self.kept_finished[target] = manifest

    async def places(self) -> dict[str, Place]:
        """See the interface."""
        return dict(self.kept_places)

    async def set_place(self, target: str, place: Place) -> None:
        """See the interface."""
        self._check()
        self.kept_places[target] = place

    async def pauses(self) -> Mapping[str, Pause]:
        """See the interface."""
        self._check()
        return dict(self.kept_pauses)

    async def rename_target(self, old: str, new: str) -> None:
        """See the interface; every finished manifest is forgotten."""
        self._check()
        known = {entry.target for entry in self.table.values()}
        if new in known or old not in known | self.kept_places.keys():
            raise LedgerError("the target cannot be renamed", where="memory", why=f"{old!r} to {new!r}")
        self._renames[new] += 1 + await self.changes(old)
        self._renames[old] += 1
        self.table = {
            (new if target == old else target, name): msgspec.structs.replace(entry, target=new)
            if target == old
            else entry
            for (target, name), entry in self.table.items()
        }
        self.paces = {(new if target == old else target, family): s for (target, family), s in self.paces.items()}
        self.kept_finished.clear()
        if old in self.kept_places:
            self.kept_places[new] = self.kept_places.pop(old)

    async def close(self) -> None:
        """See the interface."""


class Act(msgspec.Struct, frozen=True):
    """What the endpoint does with one create.

    Attributes:
        reply: what the caller sees; None is the answer that is due.
        effect_s: when the algorithm comes to be, in seconds from the arrival; None: never.
        after_s: when the caller sees the reply.
    """

    reply: Reply | None = None
    effect_s: float | None = None
    after_s: float = 0.05


NO_REPLY = Reply(loss=Loss.READ_TIMEOUT, message="no reply in time")
CREATED = Act(effect_s=0.0)
LOST = Act(NO_REPLY, effect_s=0.0, after_s=20.0)
DROPPED = Act(NO_REPLY, after_s=20.0)
DENIED = Act(Reply(status=403, code="AccessDeniedException", message="not authorized", request_id="r"))
CONFLICT = Act(Reply(status=409, code="ConflictException", message="an association depends on it", request_id="r"))
QUOTA = Act(Reply(status=402, code="ServiceQuotaExceededException", request_id="r", quota_name="L", quota_value=5.0))


class Algorithm(msgspec.Struct, frozen=True):
    """A truth: what the endpoint holds. ``since`` is the loop's time of its beginning."""

    arn: str
    name: str
    body: bytes
    tags: dict[str, str]
    since: float


async def no_others() -> bool:
    """The answer to whoever asks for fresh credentials."""
    return False


class Endpoint:
    """Both faces of one target, over one truth, where several algorithms may have one name.

    Args:
        acts: what becomes of the next creates, in order.
        list_lag_s: how long a new algorithm is missing from List.
        page_size: rows of a page.
        names: what a second create of a name does: "duplicates" makes another one, "unique" is a 409, "same" returns
            the first one.
        quota: algorithms that may exist at once; 0 for any number.
        latency_s: how long a call takes for which no act says otherwise.
        first: number of the first ARN, for several endpoints of one account.

    Attributes:
        algorithms: the truth by ARN; some may not have begun yet.
        index: what GetResources shows by ARN, in place of the truth's tags; None: it shows no such algorithm.
        hidden: ARNs that List does not show.
        has_tagging: whether GetResources may be called.
        list_failures, get_failures, tagging_failures: what the next calls of each kind fail with; None lets one pass.
        changes: what becomes of the next deletions and changes of tags.
        calls: kind and time of every call.
    """

    def __init__(  # noqa: PLR0913  what a fake can be told
        self,
        acts: Sequence[Act] = (),
        *,
        list_lag_s: float = 0.0,
        page_size: int = 100,
        names: str = "duplicates",
        quota: int = 0,
        latency_s: float = 0.05,
        first: int = 0,
    ) -> None:
        self.latency_s = latency_s
        self.names = names
        self.quota = quota
        self.acts = list(acts)
        self.changes: list[Act] = []
        self.algorithms: dict[str, Algorithm] = {}
        self.list_failures: list[Reply | None] = []
        self.get_failures: list[Reply | None] = []
        self.tagging_failures: list[Reply | None] = []
        self.index: dict[str, dict[str, str] | None] = {}
        self.hidden: set[str] = set()
        self.has_tagging = False
        self.calls: list[tuple[str, float]] = []
        self._made = first
        self._list_lag_s = list_lag_s
        self._page_size = page_size

    def aws(self) -> Aws:
        """The open target."""
        return Aws(
            creates=self,
            control=self,
            region=REGION,
            endpoint="https://endpoint",
            has_tagging=self.has_tagging,
            notices=(),
            refresh_credentials=no_others,
        )

    def count(self, kind: str) -> int:
        """How many calls of a kind there were."""
        return sum(kind == called for called, _ in self.calls)

    def named(self, name: str) -> list[Algorithm]:
        """The algorithms of that name, the oldest first, also those that have yet to begin."""
        found = [one for one in self.algorithms.values() if one.name == name]
        return sorted(found, key=lambda one: one.since)

    def put(self, body: bytes, *, since: float = 0.0) -> Algorithm:
        """Hold an algorithm as a create with ``body`` makes it."""
        read: dict[str, Any] = msgspec.json.decode(body)
        tags = read.pop("tags", {})
        id_ = f"{self._made:04d}"
        self._made += 1
        arn = f"arn:aws:cleanrooms-ml:{REGION}:{ACCOUNT_ID}:configured-model-algorithm/{id_}"
        made = Algorithm(arn, read["name"], msgspec.json.encode(read), tags, since)
        self.algorithms[arn] = made
        return made

    async def create(self, body: bytes, may_send: Callable[[], None]) -> Reply:
        """See the interface."""
        may_send()
        self.calls.append(("create", now()))
        act = self.acts.pop(0) if self.acts else Act(effect_s=0.0, after_s=self.latency_s)
        due = Reply(status=200, request_id="r") if act.effect_s is None else self._created(body, act.effect_s)
        await asyncio.sleep(act.after_s)
        return act.reply or due

    def _created(self, body: bytes, effect_s: float) -> Reply:
        namesakes = self.named(msgspec.json.decode(body)["name"])
        if namesakes and self.names == "unique":
            return Reply(status=409, code="ConflictException", message="the name is taken", request_id="r")
        if namesakes and self.names == "same":
            return Reply(status=200, arn=namesakes[0].arn, request_id="r")
        if self.quota and len(self.algorithms) >= self.quota:
            return Reply(
                status=402, code="ServiceQuotaExceededException", request_id="r", quota_value=float(self.quota)
            )
        return Reply(status=200, arn=self.put(body, since=now() + effect_s).arn, request_id="r")

    async def list_algorithms(self, next_token: str = "", page_size: int = 100) -> Page:
        """See the interface. The order is not that of creation."""
        await self._read("list", self.list_failures, "ListConfiguredModelAlgorithms", next_token)
        seen = sorted(
            (
                one
                for one in self.algorithms.values()
                if one.since + self._list_lag_s <= now() and one.arn not in self.hidden
            ),
            key=lambda one: one.arn,
            reverse=True,
        )
        start, size = int(next_token or 0), min(page_size, self._page_size)
        items = tuple(Listed(one.arn, one.name, created_at=EPOCH_S + one.since) for one in seen[start : start + size])
        return Page(items, str(start + size) if start + size < len(seen) else "")

    async def tagged(self, next_token: str = "") -> TaggedPage:
        """See the interface. What is not in the index leaves its page one shorter."""
        await self._read("get_resources", self.tagging_failures, "GetResources", next_token)
        truth = {arn: one.tags for arn, one in self.algorithms.items() if one.since <= now() and one.tags}
        seen = list((truth | self.index).items())
        start, end = int(next_token or 0), int(next_token or 0) + self._page_size
        items = tuple(Tagged(arn, dict(tags)) for arn, tags in seen[start:end] if tags is not None)
        return TaggedPage(items, str(end) if end < len(seen) else "")

    async def get_algorithm(self, arn: str) -> Described:
        """See the interface."""
        await self._read("get", self.get_failures, "GetConfiguredModelAlgorithm", arn)
        one = self._existing("GetConfiguredModelAlgorithm", arn)
        return Described(one.arn, one.name, one.body, one.tags, created_at=EPOCH_S + one.since)

    async def delete_algorithm(self, arn: str, may_send: Callable[[], None]) -> Reply:
        """See the interface."""
        return await self._change("delete", arn, may_send, lambda one: self.algorithms.pop(one.arn))

    async def tag_algorithm(self, arn: str, tags: Mapping[str, str], may_send: Callable[[], None]) -> Reply:
        """See the interface."""
        return await self._change("tag", arn, may_send, lambda one: one.tags.update(tags))

    async def untag_algorithm(self, arn: str, keys: Sequence[str], may_send: Callable[[], None]) -> Reply:
        """See the interface."""
        return await self._change("untag", arn, may_send, lambda one: [one.tags.pop(key, None) for key in keys])

    async def _change(
        self, kind: str, arn: str, may_send: Callable[[], None], do: Callable[[Algorithm], object]
    ) -> Reply:
        may_send()
        self.calls.append((kind, now()))
        act = self.changes.pop(0) if self.changes else Act(effect_s=0.0, after_s=self.latency_s)
        try:
            if act.effect_s is not None:
                do(self._existing(kind, arn))
            due = Reply(status=200, request_id="r")
        except CallError as error:
            due = error.reply
        await asyncio.sleep(act.after_s)
        return due if act.reply is None else act.reply

    async def published_rate(self) -> float | None:
        """See the interface: nothing is published."""
        return None

    async def caller_account(self) -> str:
        """See the interface."""
        return ACCOUNT_ID

    async def _read(self, kind: str, failures: list[Reply | None], operation: str, where: str) -> None:
        self.calls.append((kind, now()))
        await asyncio.sleep(self.latency_s)
        if failures and (failure := failures.pop(0)) is not None:
            raise CallError(operation, failure, where)

    def _existing(self, operation: str, arn: str) -> Algorithm:
        one = self.algorithms.get(arn)
        if one is None or one.since > now():
            raise CallError(operation, Reply(status=404, code="ResourceNotFoundException", request_id="r"), arn)
        return one


def make_policy(**changes: Any) -> Policy:
    """The policy of a run without configuration or options, with ``changes``."""
    return msgspec.structs.replace(policy_of(Settings()), **changes)


def gate(rate: float = 1000.0) -> Gate:
    """A gate that hardly waits; to be made while the loop runs."""
    bounds = PaceBounds(initial_rate=rate, max_rate=0.0, share=1.0)
    return Gate(Pacer(bounds, now()), max_in_flight=256, clock=now)


def open_target(
    endpoint: Endpoint,
    ledger: FakeLedger,
    *,
    clock: FakeClock | None = None,
    lease: FakeLease | None = None,
    observer: Observer | None = None,
) -> OpenTarget:
    """The target ``here`` over fakes; to be made while the loop runs."""
    observer = observer or Observer()
    return OpenTarget(
        name="here",
        place=whereabouts(observer, ledger),
        ledger=ledger,
        lease=lease or FakeLease(),
        aws=endpoint.aws(),
        creates=gate(),
        tags=gate(),
        deletes=gate(),
        reads=gate(),
        tagging=gate(),
        clock=clock or FakeClock(),
        observer=observer,
    )


def whereabouts(
    observer: Observer, ledger: Ledger, target: str = "here", account_id: str = "", *, checked: bool = True
) -> Whereabouts:
    """A place whose account is not known yet, unless it is given."""

    async def claim(place: Place) -> None:
        await ledger.set_place(target, place)

    return Whereabouts(Place("aws", REGION, account_id), observer, claim, checked=checked)
