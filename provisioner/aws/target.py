"""Opens a target: session, credentials, the transport for creates, and a client for all else when it is asked for."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from botocore import exceptions as sdk

from provisioner.aws.clock import ServerClock
from provisioner.aws.direct import DirectCreates
from provisioner.aws.faces import Aws
from provisioner.aws.http import ClientConfig
from provisioner.aws.route import Unsupported, find_route
from provisioner.aws.sdk import Handlers, SdkControl, SdkCreates
from provisioner.aws.session import (
    SERVICE,
    Identity,
    account_of_key,
    client_config,
    open_session,
    plain_endpoint,
    region_notice,
    region_of,
    sts_client,
    use_identity,
)
from provisioner.aws.tagging import SERVICE as TAGGING
from provisioner.core.place import real_region
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiobotocore.session import AioSession

    from provisioner.aws.faces import Creates, Limits
    from provisioner.aws.route import Route
    from provisioner.config.settings import Target


class Clients:
    """The SDK's clients, made when they are first needed: that takes 0.1 s of CPU, and many runs never do.

    Args:
        target: where to.
        region: of the target.
        identity: of the target.
        limits: of the connections.
        clock: the server's.
    """

    def __init__(self, target: Target, region: str, identity: Identity, limits: Limits, clock: ServerClock) -> None:
        self._target = target
        self._region = region
        self._identity = identity
        self._limits = limits
        self._clock = clock
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._opened: dict[str, Any] = {}

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

    def sts(self) -> Any:  # noqa: ANN401  the SDK has no types
        """A client of STS that sends each call once, as an asynchronous context manager."""
        return sts_client(self._session(), self._target, self._region, 1)

    def quotas(self) -> Any:  # noqa: ANN401  the SDK has no types
        """A client of Service Quotas, as an asynchronous context manager."""
        config = ClientConfig(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
        return self._session().create_client("service-quotas", region_name=self._region, config=config)

    def _session(self) -> AioSession:
        session = open_session(self._target)
        use_identity(session, self._identity)
        return session

    async def _client(self, service: str, url: str) -> Any:  # noqa: ANN401  the SDK has no types
        async with self._lock:
            if service not in self._opened:
                self._opened[service] = await self._open(service, plain_endpoint(url))
        return self._opened[service]

    async def _open(self, service: str, url: str) -> Any:  # noqa: ANN401  the SDK has no types
        import aioboto3

        session = aioboto3.Session(botocore_session=self._session())
        try:
            opened = session.client(service, self._region, endpoint_url=url or None, config=client_config(self._limits))
            client = await self._stack.enter_async_context(opened)
        except (sdk.BotoCoreError, ValueError) as error:
            raise ConfigurationError("no client can be made", where=self._target.name, why=str(error)) from error
        Handlers(self._identity, self._clock).register(client)
        return client

    async def close(self) -> None:
        """Close the connections."""
        await self._stack.aclose()


@asynccontextmanager
async def open_target(target: Target, limits: Limits, *, direct: bool) -> AsyncIterator[Aws]:
    """Connect to ``target``. See :func:`provisioner.aws.connect`."""
    session = open_session(target)
    region = region_of(target, session)
    clock = ServerClock()
    async with AsyncExitStack() as stack:
        identity = Identity(target, region, session)
        stack.push_async_callback(identity.close)
        credentials = await identity.get_frozen_credentials()
        clients = Clients(target, region, identity, limits, clock)
        stack.push_async_callback(clients.close)
        route = find_route(session, region, plain_endpoint(target.endpoint_url)) if direct else Unsupported("")
        creates: Creates
        if isinstance(route, Unsupported):
            client = await clients.service()
            creates, endpoint = SdkCreates(client, identity, limits), client.meta.endpoint_url
        else:
            creates, endpoint = DirectCreates(route, identity, limits, clock), route.endpoint
            stack.callback(creates.close)
        yield Aws(
            creates=creates,
            control=SdkControl(clients, identity, clock),
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
