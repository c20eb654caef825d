"""A run: its order, its state while it goes on, and its summary."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from provisioner.config.settings import ADOPT
from provisioner.core.policy import Policy
from provisioner.core.selection import Selection
from provisioner.engine.clock import Clock
from provisioner.engine.observer import Observer, Observers
from provisioner.engine.stop import Stop
from provisioner.errors import ConfigurationError, ProvisionerError, Reason, counted
from provisioner.ledger.location import printable_location
from provisioner.report.events import EventLog
from provisioner.report.recorder import Recorder
from provisioner.report.statistics import Statistics
from provisioner.report.summary import RunEnd, Summary, summarize

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioner.commands.planfile import PlanFile
    from provisioner.config.settings import Settings
    from provisioner.config.target import Target
    from provisioner.core.versions import Fate
    from provisioner.fleet.organizations import Listing
    from provisioner.report.summary import JobPart


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is to do.

    Attributes:
        sources: the manifest's paths, globs or ``-``.
        selection: what the run is about; its ``run`` is as somebody typed it.
        settings: the configuration.
        targets: those that were selected.
        policy: the rules.
        strict: send nothing if any line is invalid.
        yes: whether deletions are confirmed beforehand.
        detailed: whether the exit code says that there was something to do.
        plan: the saved plan that is carried out; None for none.
        lock_timeout_s: how long to wait for another run to release the ledger; None where nobody can ask for that.
        embedded: whether all targets use the embedded endpoint.
        patterns: by which the targets were selected; none for all.
        listing: what AWS Organizations answered, for the ledger to keep; None if it was not asked, or did not answer.
        job: of which the run is a worker; :data:`~provisioner.ledger.jobs.AUTO` for that of all who do the same, where
            it can be shared; "" for none.
    """

    sources: tuple[str, ...]
    settings: Settings
    targets: tuple[Target, ...]
    policy: Policy
    selection: Selection = Selection()
    strict: bool = False
    yes: bool = False
    detailed: bool = False
    plan: PlanFile | None = None
    lock_timeout_s: float | None = None
    embedded: bool = False
    patterns: tuple[str, ...] = ()
    listing: Listing | None = None
    job: str = ""

    @property
    def reads_twice(self) -> bool:
        """Whether ``apply`` reads the manifest before it registers it.

        To refuse it, to say what it would delete, or to know whether other workers have the same.
        """
        return self.strict or self.policy.deletes or bool(self.job)


def policy_of(settings: Settings) -> Policy:
    """The rules that the configuration sets; a command's options may change them.

    Raises:
        ConfigurationError: they contradict each other.
    """
    reconcile, lifecycle = settings.reconcile, settings.lifecycle
    if lifecycle.keep and lifecycle.replace_order == "delete-first":
        what = "`keep` and `replace_order = delete-first` contradict each other: what is deleted first cannot be kept"
        raise ConfigurationError(what, hint="Leave one of them out")
    return Policy(
        ownership_tag=reconcile.ownership_tag,
        settle_s=reconcile.settle_s,
        list_lag_s=reconcile.list_lag_s,
        names=reconcile.names,
        adopt=ADOPT,
        take_over="",
        retry_failed=False,
        wait=True,
        on_change=lifecycle.on_change,
        delete_first=lifecycle.replace_order == "delete-first",
        keep=lifecycle.keep,
        deletes=lifecycle.prune or lifecycle.on_change == "replace",
    )


def new_run_id(started_at: float) -> str:
    """The id of a run that starts at ``started_at``, seconds since the epoch; sortable by that."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(started_at))
    return f"{stamp}{int(started_at % 1 * 1000):03d}-{secrets.token_hex(3)}"


class Run:
    """A run: its state while it goes on, for progress, and its summary.

    Attributes:
        run_id: sortable by start.
        command: that the ledger records of it.
        stop: requests an early end.
        statistics: by target.
        recorder: of its samples.
        observers: by target; each includes the statistics and the recorder.
        superseded: what becomes of the superseded algorithms of its targets.
        found: findings of `verify`, by kind.
        reasons: why the command does not end with 0, in addition to those of the targets.
        ask: asks a person a question; None where there is none to ask.
        asking: whether a question is on the terminal, so that progress keeps away from it.
        error: the error that ended the run, None if none did.
        job: the part of a job that it had; None for a run of its own.
    """

    def __init__(self, order: Order, *, clock: Clock | None = None) -> None:
        self.order = order
        self.clock = clock or Clock()
        self.command = ""
        self.stop = Stop()
        self.started_at = self.clock.wall()
        self._began = self.clock.monotonic()
        self.run_id = new_run_id(self.started_at)
        self.statistics = {target.name: Statistics(target.name) for target in order.targets}
        self.recorder = Recorder([*self.statistics], self.clock.monotonic)
        self.observers = {
            name: Observers(statistics, EventLog(name, self.run_id, self.clock.monotonic), self.recorder.targets[name])
            for name, statistics in self.statistics.items()
        }
        self.superseded: Counter[Fate] = Counter()
        self.found: Counter[str] = Counter()
        self.reasons: set[Reason] = set()
        self.ask: Callable[[str], Awaitable[bool]] | None = None
        self.asking = False
        self.error: ProvisionerError | None = None
        self.job: JobPart | None = None

    def watch(self, observer_of: Callable[[Statistics], Observer]) -> None:
        """Have each target observed once more. Before the run begins."""
        for name, observers in self.observers.items():
            self.observers[name] = Observers(observers, observer_of(self.statistics[name]))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self.clock.monotonic() - self._began

    @property
    def settle_s(self) -> float:
        """How long the run waits for an unanswered create; 0.0 if it does not wait."""
        return self.order.policy.settle_s if self.order.policy.wait else 0.0

    def summary(self, *, error: ProvisionerError | None = None, interrupted: bool = False) -> Summary:
        """The summary of what was done so far.

        Args:
            error: what ended the run, if an error did.
            interrupted: whether a second signal did.
        """
        self.error = error or self.error
        reasons = self.reasons | ({error.reason} if error else set())
        if interrupted:
            reasons.add(Reason.INTERRUPTED)
        for statistics in self.statistics.values():
            statistics.stopped = self.stop.requested
            statistics.close()
        ending = RunEnd(
            run_id=self.run_id,
            ledger=printable_location(self.order.settings.run.ledger),
            started_at=self.started_at,
            elapsed_s=self.elapsed_s,
            superseded=self.superseded,
            found=self.found,
            stopped="; ".join(part for part in (self.stop.reason, self._bound()) if part),
            error=str(error) if error else None,
            shard=str(self.order.settings.shard or ""),
            reasons=frozenset(reasons),
            job=self.job,
        )
        return summarize(list(self.statistics.values()), ending)

    def _bound(self) -> str:
        """That the run has sent as many creates as it may, "" if it has not come to that."""
        beyond = sum(statistics.beyond for statistics in self.statistics.values())
        left = counted(beyond, "definition", "definitions")
        return f"--max-create {self.order.policy.max_create} reached; {left} left; run again" if beyond else ""
