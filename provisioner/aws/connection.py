"""Opens a target: session, credentials, the transport for creates, and a client for all else when it is asked for."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore import exceptions as sdk

from provisioner.aws.direct import open_direct
from provisioner.aws.faces import Aws
from provisioner.aws.route import Unsupported, find_route
from provisioner.aws.sdk import SdkControl, SdkCreates, keep_replies
from provisioner.aws.session import (
    SERVICE,
    Identity,
    check_endpoint,
    client_config,
    open_session,
    region_notice,
    region_of,
    sts_client,
    use_identity,
)
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiobotocore.session import AioSession

    from provisioner.aws.faces import Creates, Limits, Target


class LazyClient:
    """The SDK's client of the service, made when it is first needed: it takes 0.1 s of CPU, and many runs never do.

    Args:
        session: of the target, with the target's identity.
        region: of the target.
        endpoint_url: "" is the SDK's own.
        limits: of the connections.
    """

    def __init__(self, session: AioSession, region: str, endpoint_url: str, limits: Limits) -> None:
        self._session = session
        self._region = region
        self._endpoint_url = endpoint_url
        self._limits = limits
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._client: Any = None

    async def __call__(self) -> Any:  # noqa: ANN401  the SDK has no types
        """The client.

        Raises:
            ConfigurationError: the SDK cannot make one of this Region and endpoint.
        """
        async with self._lock:
            if self._client is None:
                self._client = await self._open()
        return self._client

    async def _open(self) -> Any:  # noqa: ANN401  the SDK has no types
        import aioboto3

        sdk_session = aioboto3.Session(botocore_session=self._session)
        config = client_config(self._limits)
        try:
            opened = sdk_session.client(SERVICE, self._region, endpoint_url=self._endpoint_url or None, config=config)
            client = await self._stack.enter_async_context(opened)
        except (sdk.BotoCoreError, ValueError) as error:
            raise ConfigurationError("no client can be made", where=self._region, why=str(error)) from error
        keep_replies(client)
        return client

    async def close(self) -> None:
        """Close the client's connections."""
        await self._stack.aclose()


@asynccontextmanager
async def open_target(target: Target, limits: Limits, *, direct: bool) -> AsyncIterator[Aws]:
    """Connect to ``target``. See :func:`provisioner.aws.connect`."""
    for url in filter(None, [target.endpoint_url, target.sts_endpoint_url]):
        check_endpoint(url, target.name)
    session = open_session(target)
    region = region_of(target, session)
    identity = Identity(target, region)
    await identity.get_frozen_credentials()
    use_identity(session, identity)
    client = LazyClient(session, region, target.endpoint_url, limits)
    route = find_route(session, region, target.endpoint_url) if direct else Unsupported("")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(identity.close)
        stack.push_async_callback(client.close)
        creates: Creates
        if isinstance(route, Unsupported):
            creates = SdkCreates(await client(), identity, limits)
            endpoint = (await client()).meta.endpoint_url
            notices = _notices(region, route)
        else:
            creates = await stack.enter_async_context(open_direct(route, identity, limits))
            endpoint, notices = route.endpoint, region_notice(region)
        yield Aws(
            creates=creates,
            control=SdkControl(client, partial(sts_client, session, target, region, 1), limits),
            region=region,
            endpoint=endpoint,
            notices=notices,
            refresh_credentials=identity.refresh,
        )


def _notices(region: str, route: Unsupported) -> tuple[str, ...]:
    slow = f"Creates go through the SDK, which costs more CPU: {route.reason}"
    return (*region_notice(region), *([slow] if route.reason else []))
