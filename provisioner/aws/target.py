"""Opens a target: session, credentials, the transport for creates, and a client for all else when it is asked for."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from botocore import exceptions as sdk

from provisioner.aws.clock import ServerClock
from provisioner.aws.direct import DirectCreates
from provisioner.aws.faces import Aws
from provisioner.aws.http import ClientConfig
from provisioner.aws.listing import DirectList
from provisioner.aws.network import Caller, Wanted
from provisioner.aws.route import Unsupported
from provisioner.aws.sdk import SdkControl, SdkCreates, handle
from provisioner.aws.session import (
    SERVICE,
    Identity,
    account_of_key,
    auxiliary_config,
    client_config,
    region_notice,
    region_of,
)
from provisioner.aws.tagging import SERVICE as TAGGING
from provisioner.core.place import real_region
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from provisioner.aws.faces import Creates, Limits
    from provisioner.aws.network import Network
    from provisioner.aws.route import Route
    from provisioner.config.target import Target


class Clients:
    """The SDK's clients for one target, made when one is first needed: many runs never do.

    Args:
        target: where to.
        region: of the target.
        network: shares them with other targets.
        limits: of the connections.
    """

    def __init__(self, target: Target, region: str, network: Network, limits: Limits) -> None:
        self._target = target
        self._region = region
        self._network = network
        self._limits = limits

    async def service(self) -> Any:  # noqa: ANN401  the SDK has no types
        """The client of Clean Rooms ML.

        Raises:
            ConfigurationError: the SDK cannot make one of this Region and endpoint.
        """
        return await self._client(SERVICE, self._target.endpoint_url)

    async def tagging(self) -> Any:  # noqa: ANN401  the SDK has no types
        """The client of the resource groups tagging API.

        Raises:
            ConfigurationError: the SDK cannot make one of this Region and endpoint.
        """
        return await self._client(TAGGING, self._target.tagging_endpoint_url)

    async def sts(self) -> Any:  # noqa: ANN401  the SDK has no types
        """A client of STS that sends each call once.

        Raises:
            BotoCoreError, ValueError: the SDK cannot make one of this Region and endpoint.
        """
        return await self._open("sts", self._target.sts_endpoint_url, auxiliary_config(1))

    async def quotas(self) -> Any:  # noqa: ANN401  the SDK has no types
        """A client of Service Quotas.

        Raises:
            BotoCoreError, ValueError: the SDK cannot make one of this Region.
        """
        config = ClientConfig(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
        return await self._open("service-quotas", "", config)

    async def _client(self, service: str, url: str) -> Any:  # noqa: ANN401  the SDK has no types
        try:
            return await self._open(service, url, client_config(self._limits), handle)
        except (sdk.BotoCoreError, ValueError) as error:
            raise ConfigurationError("no client can be made", where=self._target.name, why=str(error)) from error

    async def _open(
        self, service: str, url: str, config: ClientConfig, prepare: Callable[[Any], None] | None = None
    ) -> Any:  # noqa: ANN401  the SDK has no types
        return await self._network.client(self._target, Wanted(service, self._region, url, config, prepare))


@asynccontextmanager
async def open_target(target: Target, limits: Limits, network: Network, *, direct: bool) -> AsyncIterator[Aws]:
    """Connect to ``target``. See :func:`provisioner.aws.connect`."""
    region = region_of(target, network.profile(target).session)
    async with AsyncExitStack() as stack:
        identity = Identity(target, region, network)
        stack.push_async_callback(identity.close)
        caller = Caller(identity, ServerClock())
        credentials = await identity.get_frozen_credentials()
        clients = Clients(target, region, network, limits)
        route = network.route(target, region) if direct else Unsupported("")
        creates: Creates
        listing = None
        if isinstance(route, Unsupported):
            client = await clients.service()
            creates, endpoint = SdkCreates(client, caller, limits), client.meta.endpoint_url
        else:
            creates, endpoint = DirectCreates(route, caller, limits, network), route.endpoint
            listing = DirectList(route, caller, limits, network)
        yield Aws(
            creates=creates,
            control=SdkControl(clients, caller, listing),
            region=real_region(region),
            endpoint=endpoint,
            account_id=account_of_key(credentials.access_key),
            has_tagging=target.has_tagging,
            notices=(*region_notice(region), *_route_notice(route)),
            refresh_credentials=identity.refresh,
        )


def _route_notice(route: Route | Unsupported) -> tuple[str, ...]:
    """Why creates go through the SDK, when the caller did not ask for that."""
    if isinstance(route, Unsupported) and route.reason:
        return (f"Creates go through the SDK, which costs more CPU: {route.reason}",)
    return ()
