"""AWS Organizations through the SDK: the accounts and units below a unit, single accounts, and the tags of accounts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import tenacity
from botocore import exceptions as sdk
from botocore import xform_name

from provisioner.aws.clock import ServerClock
from provisioner.aws.faces import CallError
from provisioner.aws.network import Caller, Wanted
from provisioner.aws.sdk import seen
from provisioner.aws.session import Identity, auxiliary_config
from provisioner.aws.sharing import Sharing
from provisioner.config.target import Target
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ATTEMPTS = 3
"""All calls read, so the SDK may repeat one."""
THROTTLED_ATTEMPTS = 6
"""How often a call is throttled, with all attempts of the SDK, until it is given up: of the thousand calls for the tags
of a thousand accounts none may fail."""
THROTTLED = "TooManyRequestsException"
PAGE = 20
"""Most accounts or units in a page (API reference of AWS Organizations)."""
NAME = "organizations"
"""Of the service, and of the caller in messages."""


class Member(msgspec.Struct, frozen=True):
    """An account of the organization.

    Attributes:
        account_id, name: of the account.
        state: ``ACTIVE``, or why it cannot be used: ``SUSPENDED``, ``CLOSED``, ...
    """

    account_id: str
    name: str
    state: str


class Organization:
    """An open organization. Each method raises :class:`CallError` when it was not read to the end.

    Args:
        client: of the SDK.
        caller: whose credentials are used.
    """

    def __init__(self, client: Any, caller: Caller) -> None:  # noqa: ANN401  the SDK has no types
        self._client = client
        self._caller = caller

    async def accounts(self, unit: str) -> list[Member]:
        """The accounts directly in a unit."""
        return [_member(one) for one in await self._children("ListAccountsForParent", "Accounts", unit)]

    async def units(self, unit: str) -> list[str]:
        """The ids of the units directly in a unit."""
        pages = await self._children("ListOrganizationalUnitsForParent", "OrganizationalUnits", unit)
        return [str(one["Id"]) for one in pages]

    async def account(self, account_id: str) -> Member:
        """One account."""
        answer = await self._call("DescribeAccount", account_id, AccountId=account_id)
        return _member(answer["Account"])

    async def tags(self, account_id: str) -> dict[str, str]:
        """The tags of one account."""
        pages = await self._pages("ListTagsForResource", "Tags", account_id, ResourceId=account_id)
        return {str(one["Key"]): str(one["Value"]) for one in pages}

    async def _children(self, operation: str, key: str, unit: str) -> list[Any]:
        return await self._pages(operation, key, unit, ParentId=unit, MaxResults=PAGE)

    async def _pages(self, operation: str, key: str, where: str, **params: object) -> list[Any]:
        found: list[Any] = []
        more: dict[str, Any] = {}
        while True:
            answer = await self._call(operation, where, **params, **more)
            found += answer[key]
            if not answer.get("NextToken"):
                return found
            more = {"NextToken": answer["NextToken"]}

    async def _call(self, operation: str, where: str, **params: object) -> Any:  # noqa: ANN401  no SDK types
        patience = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_is_throttled),
            stop=tenacity.stop_after_attempt(THROTTLED_ATTEMPTS),
            wait=tenacity.wait_random_exponential(max=10),
            reraise=True,
        )
        return await patience(self._send, operation, where, **params)

    async def _send(self, operation: str, where: str, **params: object) -> Any:  # noqa: ANN401  no SDK types
        try:
            with self._caller.calling():
                return await getattr(self._client, xform_name(operation))(**params)
        except Exception as error:
            raise CallError(operation, self._caller.identity.secrets.redact(seen(error)), where) from error


def _is_throttled(error: BaseException) -> bool:
    return isinstance(error, CallError) and error.reply.code == THROTTLED


def _member(answer: Any) -> Member:  # noqa: ANN401  the SDK has no types
    # `State` takes the place of `Status`, which AWS gives up (API reference, Account).
    return Member(str(answer["Id"]), str(answer.get("Name", "")), str(answer.get("State") or answer["Status"]))


@asynccontextmanager
async def open_organization(region: str, endpoint_url: str) -> AsyncIterator[Organization]:
    """See :func:`provisioner.aws.organization`."""
    target = Target(name=NAME, region=region)
    # The limit is that of the whole organization, and not documented: the SDK learns it from what is throttled.
    wanted = Wanted(NAME, region, endpoint_url, auxiliary_config(ATTEMPTS, "adaptive"))
    async with Sharing() as sharing:
        caller = Caller(Identity(target, region, sharing.network), ServerClock())
        try:
            await caller.identity.get_frozen_credentials()
            client = await sharing.network.client(target, wanted)
            yield Organization(client, caller)
        except (sdk.BotoCoreError, ValueError) as error:
            raise ConfigurationError("AWS Organizations cannot be called", why=str(error)) from error
        finally:
            await caller.identity.close()
