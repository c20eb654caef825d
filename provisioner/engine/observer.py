"""The events of a target's run. The engine reports them; statistics and logs subscribe.

The engine reads nothing back: a subscriber that needs a number keeps it. So a subscriber can be added without a change
to the engine.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.pause import Pause  # noqa: TC001  msgspec reads these types at run time
from provisioner.core.verdict import Reply, Verdict  # noqa: TC001  msgspec reads these types at run time
from provisioner.errors import Reason  # noqa: TC001  the same

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.core.entry import Outcome
    from provisioner.core.problem import Problem
    from provisioner.core.versions import Version
    from provisioner.manifest.reader import Batch


class Stage(StrEnum):
    """How far a target has come in a run."""

    NOT_BEGUN = "not_begun"
    """The rules of ``[fleet]`` kept it from beginning."""
    UNOPENED = "unopened"
    """It could not be opened: configuration, credentials, its place."""
    BEGUN = "begun"


class Halt(msgspec.Struct, frozen=True):
    """Why a target sends nothing more in this run.

    Attributes:
        reason: what kind of halt it is.
        what: for people: what happened and what to do.
        pause: the pause of the target, if that is why.
        stage: how far it had come.
    """

    reason: Reason
    what: str
    pause: Pause | None = None
    stage: Stage = Stage.BEGUN


class Attempt(msgspec.Struct, frozen=True):
    """One call that may have left this machine, once its result is durable.

    Attributes:
        operation: ``create``, ``tag`` or ``delete``.
        name: the definition's.
        attempt: its id.
        number: how many were made for this definition in this run, with this one.
        verdict: what the reply means.
        reply: what the transport saw.
        seconds: from the start of the call to its reply.
    """

    operation: str
    name: str
    attempt: str
    number: int
    verdict: Verdict
    reply: Reply
    seconds: float


class Sample(msgspec.Struct, frozen=True):
    """The pace and concurrency of a target at one moment.

    Attributes:
        pace_per_s: creates a second that the pacer lets start.
        limit_per_s: the limit that it has measured; 0 while unknown.
        in_flight: creates under way.
        cap: creates that may be under way.
    """

    pace_per_s: float
    limit_per_s: float
    in_flight: int
    cap: int


class Observer:
    """Watches one target of a run.

    Every method is called on the event loop, in the order of events; it must be quick and must not raise. The bodies
    here do nothing, so a subclass defines only the events that it needs.
    """

    def target_opened(self, region: str, account_id: str) -> None:
        """The target's place is known, or known better: the account may come with the first ARN."""

    def batch_read(self, batch: Batch, size_bytes: int | None) -> None:
        """Some lines of the manifest were read; it has ``size_bytes`` in all, None when that is unknown."""

    def manifest_read(self) -> None:
        """The manifest was read to its end."""

    def outcome_changed(self, new: Outcome | None, old: Outcome | None = None, count: int = 1) -> None:
        """``count`` definitions changed their outcome from ``old`` to ``new``; None is no outcome yet."""

    def problem_found(self, problem: Problem) -> None:
        """A line or a definition has a problem, or is worth a notice."""

    def call_sent(self, kind: str) -> None:
        """A call is about to leave: ``create``, ``list``, ``get``, ``get_resources``, ``delete``."""

    def attempt_ended(self, attempt: Attempt) -> None:
        """The result of an attempt is durable."""

    def deletion_due(self) -> None:
        """A superseded version is about to be deleted."""

    def version_deleted(self, version: Version) -> None:
        """A superseded version has been deleted, durably."""

    def version_gone(self, version: Version) -> None:
        """A superseded version, which was to be deleted, was gone already; that is recorded."""

    def deletions_left(self, count: int) -> None:
        """The run was asked to stop, and leaves ``count`` deletions to the next one."""

    def bound_reached(self) -> None:
        """A create is left to the next run, because this one has sent as many as it may."""

    def throttling_began(self, pace_per_s: float) -> None:
        """A congestion epoch began: the first throttled call since the pacer last slowed down. The pace is now this."""

    def outage_began(self, operation: str, why: str) -> None:
        """The endpoint is out of reach, or no longer answers ``operation``, and the target waits for it."""

    def outage_ended(self, operation: str) -> None:
        """The endpoint has answered again."""

    def pace_published(self, rate_per_s: float | None) -> None:
        """Service Quotas was asked for the rate limit; None is no answer."""

    def read_failed(self, kind: str, where: str, why: str) -> None:
        """A List, Get or GetResources was given up."""

    def notice_found(self, notice: str) -> None:
        """The user should know ``notice`` about the target; it is not an error."""

    def waiting_began(self, what: str, until: float) -> None:
        """The run waits for ``what`` until ``until`` (monotonic; 0: as long as it takes)."""

    def waiting_changed(self, what: str) -> None:
        """The wait that began goes on, and has come to ``what``."""

    def waiting_ended(self) -> None:
        """The wait is over."""

    def sweep_ended(self, *, complete: bool, resolved: Mapping[str, int], left: int) -> None:
        """A sweep resolved entries, counted by decision, and left ``left`` unresolved."""

    def resolving_ended(self, left: int) -> None:
        """Resolving is over; ``left`` entries stay unresolved."""

    def target_paused(self, pause: Pause) -> None:
        """The target is paused. A command that only looks at it goes on; otherwise the target halts for that."""

    def target_halted(self, halt: Halt) -> None:
        """Nothing more is sent to this target in this run."""

    def stop_requested(self, reason: str, in_flight: int) -> None:
        """The run was asked to stop and drains; ``in_flight`` creates are awaited."""

    def sampled(self, sample: Sample) -> None:
        """A sample of the target, taken every second."""

    def target_closed(self) -> None:
        """Nothing more happens in the target."""


EVENTS = tuple(name for name in vars(Observer) if not name.startswith("_"))
"""The names of all events."""


class Observers(Observer):
    """Several observers as one. Every create passes here, so an observer is called only for events that it overrides.

    Args:
        observers: in the order in which they are called.
    """

    def __init__(self, *observers: Observer) -> None:
        self.observers = observers


def _forward(event: str) -> Callable[..., None]:
    """The method for ``event``. Who hears it is found out when the first comes: most of a target's events never do."""

    def first(self: Observers, *args: object, **kwargs: object) -> None:
        heard = [getattr(one, event) for one in self.observers if _hears(one, event)]
        call = heard[0] if len(heard) == 1 else _each(heard)
        setattr(self, event, call)
        call(*args, **kwargs)

    return first


for _event in EVENTS:
    setattr(Observers, _event, _forward(_event))


def _hears(observer: Observer, event: str) -> bool:
    return event in vars(observer) or getattr(type(observer), event) is not getattr(Observer, event)


def _each(heard: list[Callable[..., None]]) -> Callable[..., None]:
    def call(*args: object, **kwargs: object) -> None:
        for one in heard:
            one(*args, **kwargs)

    return call
