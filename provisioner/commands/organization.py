"""The targets that AWS Organizations names, for commands that call AWS and for those that do not; what has changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from provisioner.core import checks
from provisioner.core.targets import choose
from provisioner.fleet.organizations import Listing, OutOfReachError, ask, kept
from provisioner.ledger.location import locate
from provisioner.report.events import organization_asked

if TYPE_CHECKING:
    from provisioner.commands.run import Order
    from provisioner.config.settings import Settings
    from provisioner.core.checks import Check
    from provisioner.ledger import Ledger


class Asked(msgspec.Struct, frozen=True):
    """What came of asking Organizations.

    Attributes:
        settings: with its targets.
        listing: the answer; None if the configuration does not ask.
        failure: why it is an earlier answer, "" if it is not.
    """

    settings: Settings
    listing: Listing | None = None
    failure: str = ""

    @property
    def fresh(self) -> Listing | None:
        """The answer, if it is a new one."""
        return None if self.failure else self.listing

    @property
    def check(self) -> Check | None:
        """The same as a check of ``doctor``; None if the configuration does not ask."""
        if self.listing is None:
            return None
        inactive = len(self.listing.inactive)
        return checks.organizations(len(self.listing.accounts) - inactive, inactive, self.failure)

    def log(self, run_id: str) -> None:
        """Log what came of it."""
        if self.listing is not None:
            skipped = [f"{one.name} ({one.account_id}, {one.state.lower()})" for one in self.listing.inactive]
            active = len(self.listing.accounts) - len(skipped)
            organization_asked(run_id, accounts=active, skipped=skipped, asked_at=self.listing.at, failure=self.failure)


async def with_organization(settings: Settings) -> Asked:
    """``settings`` with the targets that Organizations names now, or, where it is out of reach, named before.

    Raises:
        OutOfReachError: it does not answer, and the ledger has no earlier answer.
        CredentialsError: there are no credentials, or they may not ask.
        ConfigurationError: there is no such unit or account; two targets have one name or place.
        LedgerError: the ledger cannot be read.
    """
    organizations = settings.fleet.organizations
    if not organizations.asked:
        return Asked(settings)
    try:
        listing, failure = await ask(organizations, time.time), ""
    except OutOfReachError as error:
        known = await _kept(settings)
        if known is None:
            raise
        listing, failure = known, error.why
    return Asked(settings.with_accounts(listing.targets(organizations)), listing, failure)


async def with_known(settings: Settings) -> Settings:
    """``settings`` with the targets that Organizations named in an earlier run, for what calls nothing.

    Raises:
        ConfigurationError: two targets have one name or place.
        LedgerError: the ledger cannot be read.
    """
    organizations = settings.fleet.organizations
    known = await _kept(settings) if organizations.asked else None
    return settings if known is None else settings.with_accounts(known.targets(organizations))


async def _kept(settings: Settings) -> Listing | None:
    location = locate(settings.run.ledger)
    if not await location.exists():
        return None
    async with location.read() as ledger:
        return await kept(ledger, settings.fleet.organizations)


class Moves(msgspec.Struct, frozen=True):
    """How the targets differ from those that a ledger knows.

    Attributes:
        new: those of the run that no run with this ledger has reached; none for a new ledger.
        gone: those that the ledger has and the configuration has no longer, with how many entries they have.
        joined: those that ``--target`` selects only since the tags of their account in AWS Organizations have changed.
        left: those that it selects no longer for that reason.
    """

    new: list[str] = []
    gone: dict[str, int] = {}
    joined: list[str] = []
    left: list[str] = []


async def moves(ledger: Ledger, order: Order) -> Moves:
    """Which targets have come since the last run, and which have gone, wherever they come from."""
    joined, left = await _reselected(ledger, order)
    counts = await ledger.counts()
    known = {*counts, *await ledger.places()}
    if not known:
        return Moves()
    gone = sorted(known - order.settings.targets.keys())
    return Moves(
        [target.name for target in order.targets if target.name not in known],
        {name: sum(counts.get(name, {}).values()) for name in gone},
        joined,
        left,
    )


async def _reselected(ledger: Ledger, order: Order) -> tuple[list[str], list[str]]:
    """The targets that are selected, and those that are not, because of tags that the ledger knows otherwise."""
    organizations, shard = order.settings.fleet.organizations, order.settings.shard
    if not organizations.tags or order.listing is None or not order.patterns:
        return [], []
    known = await kept(ledger, organizations)
    if known is None:
        return [], []
    tags = order.settings.tags
    for account in known.targets(organizations):
        for region in account.regions or order.settings.fleet.regions:
            if (name := account.target_name(region)) in tags:
                tags[name] = account.tags
    before = {name for name in choose(order.patterns, tags).names if shard is None or shard.has(name)}
    now = {target.name for target in order.targets}
    both = [name for name in tags if name in before ^ now]
    return [name for name in both if name in now], [name for name in both if name in before]
