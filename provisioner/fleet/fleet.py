"""The targets of a run: opens them side by side, and contains the failure of one."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import anyio
import msgspec

from provisioner import aws
from provisioner.config.settings import PaceSettings
from provisioner.core.place import Place
from provisioner.engine.ending import paused
from provisioner.engine.observer import Halt, Sample, Stage
from provisioner.engine.stop import Stop
from provisioner.engine.target import OpenTarget, Whereabouts
from provisioner.errors import IntegrityError, LedgerError, LedgerLockedError, ProvisionerError, Reason, first_error
from provisioner.fleet.pauses import Pauses
from provisioner.fleet.places import Places, kind_of
from provisioner.fleet.waves import Waves
from provisioner.ledger.lease import OvertakenError
from provisioner.pacing.beats import Beats
from provisioner.pacing.gate import Gate
from provisioner.pacing.observed import Learned
from provisioner.pacing.pacer import PaceBounds, Pacer
from provisioner.pacing.starts import Starts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from provisioner.config.settings import Settings
    from provisioner.config.target import Target
    from provisioner.engine.clock import Clock
    from provisioner.engine.observer import Observer
    from provisioner.ledger import Ledger
    from provisioner.ledger.lease import Leases

CONNECT_TIMEOUT_S = 3.0
"""Time-out of a connection. Together with the 20 s for a reply it stays below the 24 s of a drain."""
SAMPLE_EVERY_S = 1.0
"""How often observers get a sample: often enough for a progress bar."""
AT_ONCE = 4
"""Targets that begin together. Opening one takes some 3 ms of CPU, so those that are open wait no longer than this."""
SPREAD_S = 0.005
"""At least so long after them the next ones begin; on a busy event loop later, by as much as it is late."""
LEARN_EVERY = 10
"""Samples after which a run saves what its pacers learned, so that a killed run loses little of it."""
_learned = msgspec.json.Decoder(Learned)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the targets of a run share.

    Attributes:
        settings: the configuration.
        ledger, leases: of the run.
        clock: of the run.
        observers: by target.
        places: where the targets are.
        sharing: what they share at AWS; None where each is on its own.
        starts: places for calls whose intents are on their way to the ledger.
        beats: at which slow targets take their turns.
        stop: of the run; no target begins after it.
        failed: whether something has gone wrong with the target of this name.
        embedded: whether all targets use the embedded endpoint.
    """

    settings: Settings
    ledger: Ledger
    leases: Leases
    clock: Clock
    observers: Mapping[str, Observer]
    places: Places
    sharing: aws.Sharing | None = None
    starts: Starts = field(default_factory=Starts)
    beats: Beats = field(default_factory=Beats)
    stop: Stop = field(default_factory=Stop)
    failed: Callable[[str], bool] = lambda _: False
    embedded: bool = False

    async def each(
        self,
        targets: Iterable[Target],
        work: Callable[[OpenTarget], Awaitable[None]],
        *,
        looks: bool = False,
        then: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """Open every target and do ``work`` with it, side by side. One that fails halts alone.

        They begin in order, one after another rather than at once, so that the event loop never stands still: the first
        one is at work while the thousandth waits. The rules of ``[fleet]`` may keep the last ones from beginning.

        Nothing is sent to a target that is paused, and nothing more to one that is paused meanwhile.

        Args:
            targets: of the fleet.
            work: is done with each.
            looks: whether it changes nothing, and so is done with targets that are paused, too.
            then: is called with the name of each target that has begun, when it has ended, however it did.

        Raises:
            LedgerError: the ledger cannot be read or written.
            LedgerLockedError: the ledger was taken over. One target that was is halted alone.
        """

        async def one(target: Target) -> None:
            if (pause := pauses.of(target.name)) is not None:
                if not looks:
                    self.observers[target.name].target_halted(paused(target.name, pause))
                    return
                self.observers[target.name].target_paused(pause)
            begun = False
            try:
                async with self.open(target) as opened:
                    begun = True
                    await work(opened if looks else replace(opened, paused=partial(pauses.wait, target.name)))
            except (ProvisionerError, BaseExceptionGroup) as error:
                self._halt(target.name, error, Stage.BEGUN if begun else Stage.UNOPENED)

        async def whole(target: Target) -> None:
            await one(target)
            if then is not None:
                await then(target.name)

        pauses = Pauses(self.ledger, self.clock)
        await pauses.look()
        waves = Waves(list(targets), self.settings.fleet)
        async with anyio.create_task_group() as watching:
            watching.start_soon(pauses.keep_looking)
            await self._begin(waves, whole)
            watching.cancel_scope.cancel()
        if waves.refusal:
            for target in waves.waiting:
                what = f"{waves.refusal}, so no other target begins. Look at those that failed, then run again"
                self.observers[target.name].target_halted(Halt(Reason.UNFINISHED, what, stage=Stage.NOT_BEGUN))

    async def _begin(self, waves: Waves, one: Callable[[Target], Awaitable[None]]) -> None:
        """Do ``one`` for each target as ``waves`` lets it begin, until all that have begun have ended."""
        ended = anyio.Event()

        async def begun(target: Target) -> None:
            nonlocal ended
            await one(target)
            waves.end(failed=self.failed(target.name))
            ended.set()
            ended = anyio.Event()

        async with anyio.create_task_group() as group:
            while waves.waiting and not (waves.refusal or self.stop.requested):
                for target in islice(iter(waves.next, None), AT_ONCE):
                    group.start_soon(begun, target)
                if waves.may_begin:
                    await anyio.sleep(SPREAD_S)
                elif waves.waiting:
                    await ended.wait()

    @asynccontextmanager
    async def open(self, target: Target) -> AsyncIterator[OpenTarget]:
        """Connect to ``target``; at the end, save what its pacer learned.

        Raises:
            ConfigurationError: its configuration is wrong, it has moved, or another target is in its place.
            CredentialsError: there are no usable credentials.
            IntegrityError: the credentials are of another account than the configured one.
        """
        observer, run = self.observers[target.name], self.settings.run
        limits = aws.Limits(
            max_connections=run.max_in_flight,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            read_timeout_s=run.read_timeout_s,
        )
        unlearned = partial(unlearned_gate, run.max_in_flight, self.clock.monotonic, self.beats)
        async with aws.connect(target, limits, self.sharing) as calls:
            for notice in calls.notices:
                observer.notice_found(notice)
            place = await self._claim(target, calls)
            pacer = await self._pacer(target, calls)
            opened = OpenTarget(
                name=target.name,
                place=Whereabouts(
                    place,
                    observer,
                    lambda place: self.places.claim(target.name, place),
                    checked=bool(target.account_id or calls.account_id),
                ),
                ledger=self.ledger,
                lease=self.leases.of(target.name),
                aws=calls,
                creates=Gate(
                    pacer,
                    max_in_flight=run.max_in_flight,
                    clock=self.clock.monotonic,
                    starts=self.starts,
                    beats=self.beats,
                ),
                tags=unlearned(self.starts),
                deletes=unlearned(self.starts),
                reads=unlearned(),
                tagging=unlearned(),
                clock=self.clock,
                observer=observer,
            )
            async with self._sampling(opened, pacer):
                yield opened

    def _halt(self, target: str, error: ProvisionerError | BaseExceptionGroup[BaseException], stage: Stage) -> None:
        """What goes wrong with one target alone halts it alone; what goes wrong with the ledger ends the run."""
        cause = first_error(error)
        of_one = isinstance(cause, OvertakenError) and bool(cause.target)
        if isinstance(cause, LedgerError | LedgerLockedError) and not of_one:
            raise cause from error
        self.observers[target].target_halted(Halt(cause.reason, str(cause), stage=stage))

    async def _claim(self, target: Target, calls: aws.Aws) -> Place:
        account_id = target.account_id or calls.account_id
        if target.account_id:
            found = await calls.control.caller_account()
            if found != target.account_id:
                why = f"the credentials belong to account {found}, the configuration says {target.account_id}"
                raise IntegrityError("this is the wrong account", where=target.name, why=why)
        kind = kind_of(target, embedded=self.embedded)
        claimed = await self.places.claim(target.name, Place(kind, calls.region, account_id))
        if claimed.account_id and not account_id:
            notice = f"the credentials are not checked against account {claimed.account_id}, which the ledger has"
            hint = "set account_id in the target's configuration to have them checked"
            self.observers[target.name].notice_found(f"{notice}: {hint}")
        return claimed

    async def _pacer(self, target: Target, calls: aws.Aws) -> Pacer:
        """The pacer of creates, warm from what an earlier run learned."""
        pace = self.settings.pace
        kept = await self.ledger.learned(target.name, "create")
        learned = _learned.decode(kept) if kept else None
        published = None
        if pace.service_quotas and learned is None and not target.endpoint_url:
            published = await calls.control.published_rate()
            self.observers[target.name].pace_published(published)
        if published:
            pace = msgspec.structs.replace(pace, initial_rate=published)
        wall = self.clock.wall()
        return Pacer(_bounds(pace, wall), self.clock.monotonic(), learned, wall)

    @asynccontextmanager
    async def _sampling(self, target: OpenTarget, pacer: Pacer) -> AsyncIterator[None]:
        """Sample the target, follow the time of day, and keep what its pacer learns, now and then and at the end."""

        def sample() -> None:
            gate = target.creates
            target.observer.sampled(Sample(pacer.rate, pacer.limit, gate.in_flight, gate.cap))

        async def keep() -> None:
            if (state := pacer.learned(self.clock.wall())) is not None:
                await self.ledger.learn(target.name, "create", msgspec.json.encode(state))

        async def sample_on() -> None:
            while True:
                for _ in range(LEARN_EVERY):
                    target.creates.use(self.settings.pace.share_at(self.clock.wall()))
                    sample()
                    await anyio.sleep(SAMPLE_EVERY_S)
                await keep()

        async with anyio.create_task_group() as group:
            group.start_soon(sample_on)
            try:
                yield
            finally:
                sample()
                target.observer.target_closed()
                group.cancel_scope.cancel()
        await keep()


def unlearned_gate(
    max_in_flight: int, monotonic: Callable[[], float], beats: Beats | None = None, starts: Starts | None = None
) -> Gate:
    """A gate before calls whose pace nobody configures or keeps: it begins with the default one."""
    pacer = Pacer(_bounds(PaceSettings(), 0.0), monotonic())
    return Gate(pacer, max_in_flight=max_in_flight, clock=monotonic, starts=starts, beats=beats)


def _bounds(pace: PaceSettings, wall: float) -> PaceBounds:
    return PaceBounds(initial_rate=pace.initial_rate, max_rate=pace.max_rate, share=pace.share_at(wall))
