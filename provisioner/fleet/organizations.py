"""Targets from AWS Organizations: which accounts its units have, and what a ledger keeps of the answer.

A run asks anew. Where Organizations is out of reach, it goes on with the answer that an earlier run kept, so that an
outage there stops nothing here. Accounts that are suspended or closed are no targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import msgspec

from provisioner import aws
from provisioner.aws.faces import CallError
from provisioner.config.accounts import Account
from provisioner.config.settings import OrganizationsSettings  # noqa: TC001  msgspec reads this type at run time
from provisioner.config.target import is_variable
from provisioner.core.permissions import OF_ORGANIZATIONS, Action
from provisioner.core.verdict import is_denial
from provisioner.errors import (
    ConfigurationError,
    CredentialsError,
    ProvisionerError,
    Reason,
    first_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.aws.organizations import Member, Organization
    from provisioner.ledger import Ledger

ACTIVE = "ACTIVE"
NO_ACCOUNT = "TargetNotFoundException"
"""Code for the tags of an account that has left the organization since it was listed."""
UNITS_AT_ONCE = 4
"""Units that are read side by side. Organizations has one rate for the whole organization, which others use too."""
TAGS_AT_ONCE = 4
"""Accounts whose tags are read side by side."""
MOST_S = 60.0
"""How long the answer may take, with all retries."""
TAGS_PER_S = 5.0
"""Accounts whose tags are read each second, at least: with the tags the answer may take that much longer."""
DEFAULT_REGION = "us-east-1"
ORIGIN = "AWS Organizations"
KEPT_UNDER = ("@organizations", "listing")
"""The target and the family under which a ledger keeps the answer; no target has such a name."""
NOT_FOUND = {
    "AccountNotFoundException": "include",
    "ParentNotFoundException": "units",
}
"""Codes for an id that the organization does not have, and the key that names it."""
REFUSED = {"AWSOrganizationsNotInUseException", "InvalidInputException", "UnsupportedAPIEndpointException"}
"""Codes that trying again does not change."""


class OutOfReachError(ProvisionerError):
    """AWS Organizations does not answer, and no earlier answer is known."""

    reason = Reason.UNFINISHED


class Listed(msgspec.Struct, frozen=True, order=True):
    """An account as Organizations lists it; its tags, if these are asked for."""

    name: str
    account_id: str
    state: str = ACTIVE
    tags: dict[str, str] = {}

    @property
    def vars(self) -> dict[str, str]:
        """The tags whose key can stand in a template."""
        return {key: value for key, value in self.tags.items() if is_variable(key)}


class Listing(msgspec.Struct, frozen=True):
    """What Organizations answered.

    Attributes:
        asked: what was asked.
        at: when, seconds since the epoch.
        accounts: by name; also those that are no targets because they are not active.
    """

    asked: OrganizationsSettings
    at: float
    accounts: tuple[Listed, ...]

    def targets(self, settings: OrganizationsSettings) -> list[Account]:
        """The active accounts, with what ``settings`` say of all of them."""
        return [
            Account(
                account_id=one.account_id,
                name=one.name,
                regions=settings.regions,
                role=settings.role_name,
                tags=one.tags if settings.tags else {},
                vars=one.vars if settings.tags else {},
                origin=f"{ORIGIN} ({one.account_id})",
            )
            for one in self.accounts
            if one.state == ACTIVE
        ]

    @property
    def inactive(self) -> list[Listed]:
        """The accounts that are suspended, closed or on the way there."""
        return [one for one in self.accounts if one.state != ACTIVE]

    def answers(self, settings: OrganizationsSettings) -> bool:
        """Whether ``settings`` ask for the same accounts, and for no more of them."""
        same = all(getattr(self.asked, key) == getattr(settings, key) for key in ("units", "include", "exclude"))
        return same and (self.asked.tags or not settings.tags)


async def ask(settings: OrganizationsSettings, wall: Callable[[], float]) -> Listing:
    """Ask Organizations which accounts ``settings`` name.

    Raises:
        OutOfReachError: it does not answer.
        CredentialsError: there are no credentials, or they may not ask.
        ConfigurationError: there is no such unit or account.
    """
    region = next(iter(settings.regions), DEFAULT_REGION)
    most_s = MOST_S
    try:
        with anyio.fail_after(MOST_S) as bound:
            async with aws.organization(region, settings.endpoint_url) as organization:
                accounts = await accounts_of(organization, settings)
                if settings.tags:
                    most_s += len(accounts) / TAGS_PER_S
                    bound.deadline += most_s - MOST_S
                    accounts = await with_tags(organization, accounts)
    except TimeoutError as error:
        raise _out_of_reach(f"no complete answer in {most_s:.0f} s") from error
    except CallError as error:
        raise _told(error) from error
    return Listing(settings, wall(), tuple(sorted(accounts)))


async def accounts_of(organization: Organization, settings: OrganizationsSettings) -> list[Listed]:
    """The accounts that ``settings`` name: of the units and all units below them, and those that are included.

    Raises:
        CallError: one of them could not be read. A part of the answer is none.
    """
    excluded, seen = set(settings.exclude), set[str]()
    found: dict[str, Member] = {}
    limiter = anyio.CapacityLimiter(UNITS_AT_ONCE)

    async def walk(unit: str) -> None:
        if unit in excluded or unit in seen:
            return
        seen.add(unit)
        async with limiter:
            found.update({one.account_id: one for one in await organization.accounts(unit)})
            below = await organization.units(unit)
        for inner in below:
            group.start_soon(walk, inner)

    try:
        async with anyio.create_task_group() as group:
            for unit in settings.units:
                group.start_soon(walk, unit)
    except BaseExceptionGroup as error:
        raise first_error(error) from error
    for account_id in settings.include:
        if account_id not in found and account_id not in excluded:
            found[account_id] = await organization.account(account_id)
    return [Listed(one.name, one.account_id, one.state) for one in found.values() if one.account_id not in excluded]


async def with_tags(organization: Organization, accounts: Sequence[Listed]) -> list[Listed]:
    """``accounts``, the active ones with their tags; without those that have left the organization meanwhile.

    Raises:
        CallError: the tags of one of them could not be read. A part of the answer is none.
    """
    found: list[Listed] = []
    waiting = iter(accounts)

    async def read() -> None:
        for one in waiting:
            try:
                tags = await organization.tags(one.account_id) if one.state == ACTIVE else {}
            except CallError as error:
                if error.reply.code != NO_ACCOUNT:
                    raise
            else:
                found.append(msgspec.structs.replace(one, tags=tags))

    try:
        async with anyio.create_task_group() as group:
            for _ in range(TAGS_AT_ONCE):
                group.start_soon(read)
    except BaseExceptionGroup as error:
        raise first_error(error) from error
    return found


def _told(error: CallError) -> ProvisionerError:
    """What a call that failed means for a run."""
    code, why = error.reply.code, str(error.reply)
    if is_denial(error.reply.code) or error.reason is Reason.DENIED:
        needed = ", ".join(OF_ORGANIZATIONS)
        if error.operation == Action.LIST_ACCOUNT_TAGS.partition(":")[2]:
            needed = f"{Action.LIST_ACCOUNT_TAGS} for `tags = true` in [fleet.organizations]"
        hint = f"The caller needs {needed}, in the management account or in that of a delegated administrator"
        return CredentialsError("AWS Organizations denies access", why=why, hint=hint)
    if code in NOT_FOUND:
        hint = f"Check {NOT_FOUND[code]} in [fleet.organizations]"
        return ConfigurationError("AWS Organizations does not know this id", where=error.where, why=why, hint=hint)
    if code in REFUSED:
        return ConfigurationError("AWS Organizations refuses the request", where=error.where, why=why)
    return _out_of_reach(f"{error.operation}: {why}")


def _out_of_reach(why: str) -> OutOfReachError:
    return OutOfReachError("AWS Organizations is out of reach", why=why, hint="Run again later")


_listing = msgspec.json.Decoder(Listing)


async def kept(ledger: Ledger, settings: OrganizationsSettings) -> Listing | None:
    """The answer that an earlier run kept in ``ledger``; None if there is none to what ``settings`` ask."""
    state = await ledger.learned(*KEPT_UNDER)
    listing = _listing.decode(state) if state else None
    return listing if listing is not None and listing.answers(settings) else None


async def keep(ledger: Ledger, listing: Listing) -> None:
    """Keep an answer for a run that gets none."""
    await ledger.learn(*KEPT_UNDER, msgspec.json.encode(listing))
