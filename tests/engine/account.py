"""An account, its ledger, and runs over both, in virtual time. For tests of what happens from the second day on."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.core.entry import State
from provisioner.core.ownership import OwnershipTag, read_tag
from provisioner.core.versions import PRUNED, Role
from provisioner.engine.stop import Stop
from provisioner.errors import LedgerError
from provisioner.manifest.definition import Definition
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from provisioner.report.statistics import Statistics
from tests.definition_lines import lines_of, named
from tests.fakes import TAG, Algorithm, Endpoint, FakeClock, FakeLease, FakeLedger, make_policy, open_target
from tests.faults.world import UnthreadedEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.core.versions import Version
    from provisioner.engine.planning import Planned

REPLACE: dict[str, Any] = {"on_change": "replace", "deletes": True}
"""The policy of ``--on-change replace``."""


class Dying(FakeLedger):
    """A ledger whose process dies at a commit."""

    commits_left = 10_000

    async def record(self, facts: Any) -> None:
        """Record, or die before it."""
        if self.commits_left <= 0:
            raise LedgerError("killed")
        if facts:
            self.commits_left -= 1
        await super().record(facts)


class Account:
    """What exists, what is recorded, and runs that make them agree.

    Args:
        endpoint: the account.
        ledger: of all runs.

    Attributes:
        boot: of the machine on which the next run is.
    """

    def __init__(self, endpoint: Endpoint | None = None, ledger: FakeLedger | None = None) -> None:
        self.boot = "boot-1"
        self.endpoint = endpoint or Endpoint()
        self.ledger = ledger or FakeLedger()
        self.lease = FakeLease()
        self.stop = Stop()

    async def apply(
        self,
        *definitions: dict[str, Any],
        prune: Sequence[str] = (),
        spare: Sequence[str] = (),
        may_do: Callable[[Planned], bool] | None = None,
        **policy: Any,
    ) -> Statistics:
        """A run over ``definitions`` that prunes ``prune``, and leaves the ARNs of ``spare``, which are wanted.

        With ``may_do`` it carries out a saved plan.
        """
        statistics = Statistics("here")
        target = open_target(
            self.endpoint, self.ledger, clock=FakeClock(self.boot), lease=self.lease, observer=statistics
        )
        manifest = Manifest(["-"], Rules(ownership_tag=TAG), stdin=io.BytesIO(lines_of(*definitions)))
        retire = [self.ledger.table["here", name] for name in prune]
        engine = UnthreadedEngine(target, make_policy(**policy), self.stop, workers=4, may_do=may_do)
        await engine.run(manifest, retire=retire, why=PRUNED, spare=spare)
        statistics.superseded = (await self.ledger.superseded()).get("here", 0)
        statistics.close()
        return statistics

    def put(self, name: str, *, ledger_id: str = "", attempt: str = "old-1", **more: Any) -> Algorithm:
        """What somebody else made, or this ledger without a record of it."""
        definition = Definition.from_request(lines_of(named(name, **more)).strip()).canonical()
        tag = {TAG: str(OwnershipTag(ledger_id, definition.digest, attempt))} if ledger_id else {}
        return self.endpoint.put(definition.request(tag))

    def only(self, name: str) -> Algorithm:
        """The one algorithm of that name."""
        [one] = self.endpoint.named(name)
        return one

    def made_as(self, name: str) -> list[str]:
        """The descriptions of all algorithms of that name, sorted."""
        return sorted(msgspec.json.decode(one.body)["description"] for one in self.endpoint.named(name))

    def tags(self, name: str) -> dict[str, str]:
        """Its tags without the ownership tag."""
        return {key: value for key, value in self.only(name).tags.items() if key != TAG}

    def mark(self, name: str) -> OwnershipTag | None:
        """Its ownership tag."""
        return read_tag(self.only(name).tags.get(TAG, ""))

    def older(self, name: str, role: Role = Role.SUPERSEDED) -> list[Version]:
        """The older versions of an entry."""
        return [one for one in self.ledger.older.values() if one.name == name and one.role is role]

    def check(self) -> None:
        """The ledger says what is true: each entry that exists names an algorithm of its name, and no two the same."""
        held = [entry.arn for entry in self.ledger.table.values() if entry.exists]

        assert len(held) == len(set(held))
        assert not set(held) & self.ledger.older.keys()
        for (_, name), entry in self.ledger.table.items():
            if entry.state is State.CREATED:
                assert self.endpoint.algorithms[entry.arn].name == name


def counts(statistics: Statistics) -> dict[str, int]:
    """The outcomes that occur."""
    return {outcome.value: number for outcome, number in statistics.outcomes.items() if number}


def v(name: str, version: int = 1, **more: Any) -> dict[str, Any]:
    """A definition of that name: another number is a change that only a new algorithm can express."""
    return named(name, description=f"version {version}", **more)
