"""A run: what it was asked for, what it has done so far, and its summary."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import msgspec

from provisioner.engine.clock import Clock
from provisioner.engine.stop import Stop
from provisioner.engine.tally import Tally
from provisioner.errors import ConfigurationError, ProvisionerError, Reason
from provisioner.ledger.location import printable_location
from provisioner.report.summary import Ending, Summary, summarize

if TYPE_CHECKING:
    from provisioner.config.settings import Settings, Target
    from provisioner.engine.site import Policy
    from provisioner.pacing.gate import Gate


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of ``apply`` is asked for.

    Attributes:
        sources: the manifest's paths, globs or ``-``.
        settings: the configuration.
        targets: those that were selected.
        policy: see :class:`provisioner.engine.site.Policy`.
        strict: send nothing at all when any line is invalid.
        lock_timeout_s: how long to wait for another run to let go of the ledger.
    """

    sources: tuple[str, ...]
    settings: Settings
    targets: tuple[Target, ...]
    policy: Policy
    strict: bool = False
    lock_timeout_s: float = 0.0


class Places:
    """Where the targets of a run are. Two targets in one place would make every algorithm twice."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], dict[str, str]] = {}

    def take(self, target: str, *, endpoint: str, region: str, account_id: str) -> None:
        """Note that ``target`` is there.

        Args:
            target: its name.
            endpoint: of Clean Rooms ML.
            region: of the target.
            account_id: "" when it is not known.

        Raises:
            ConfigurationError: another target is in the same place, or may be.
        """
        here = self._taken.setdefault((endpoint, region), {})
        for name, account in here.items():
            if name != target and (not account or not account_id or account == account_id):
                self._refuse(
                    target, name, f"{region}, account {account_id or account or 'unknown'}", account_id, account
                )
        here[target] = account_id or here.get(target, "")

    def _refuse(self, target: str, other: str, place: str, *accounts: str) -> None:
        if all(accounts):
            hint = "Remove one of them, or select one with --target"
            what = f"the targets {other!r} and {target!r} are the same account and Region"
        else:
            hint = "Set account_id in the configuration of both, or select one with --target"
            what = f"the targets {other!r} and {target!r} may be the same account and Region"
        raise ConfigurationError(what, where=target, why=place, hint=hint)


class Run:
    """A run: what progress shows while it goes on, and what the summary tells at its end.

    Attributes:
        run_id: sortable by start.
        stop: ask it to end the run early.
        tallies: by target.
        gates: of the targets that are connected, by target.
        places: of the targets that were opened so far.
        reasons: why the command does not end as asked, beside what the targets count.
    """

    def __init__(self, order: Order, *, clock: Clock | None = None) -> None:
        self.order = order
        self.clock = clock or Clock()
        self.stop = Stop()
        self.tallies = {target.name: Tally(target.name) for target in order.targets}
        self.gates: dict[str, Gate] = {}
        self.places = Places()
        self.reasons: set[Reason] = set()
        self.started_at = self.clock.wall()
        self._began = self.clock.monotonic()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self.started_at))
        self.run_id = f"{stamp}{int(self.started_at % 1 * 1000):03d}-{secrets.token_hex(3)}"

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self.clock.monotonic() - self._began

    def summary(self, *, error: ProvisionerError | None = None, interrupted: bool = False) -> Summary:
        """What was done so far; ``error`` is what ended the run, if one did."""
        if interrupted:
            self.reasons.add(Reason.INTERRUPTED)
        for name, gate in self.gates.items():
            self.tallies[name].pace_per_s = float(gate.statistics()["rate"])
        for tally in self.tallies.values():
            tally.stopped = tally.stopped or self.stop.requested
            tally.close()
        ending = Ending(
            run_id=self.run_id,
            ledger=printable_location(self.order.settings.run.ledger),
            started_at=self.started_at,
            elapsed_s=self.elapsed_s,
            stopped=self.stop.reason,
            error=str(error) if error else None,
            reasons=frozenset(self.reasons | ({error.reason} if error else set())),
        )
        return summarize(list(self.tallies.values()), ending)
