"""What the targets of a run share at AWS: sessions and clients of the SDK, first credentials, connections, routes.

A client of the SDK takes up to 0.1 s of CPU and 3 MB, and a session a good part of that. Targets differ in their
credentials, which a client needs only when it signs, so one client serves all targets of a Region and an endpoint: it
signs with the credentials of the :class:`Caller` that the running task calls for.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from aiobotocore.credentials import AioCredentials

from provisioner.aws.direct import pool_of
from provisioner.aws.files import connections_at_most
from provisioner.aws.pool import Pool
from provisioner.aws.route import STS, Unsupported, find_route
from provisioner.aws.session import (
    ROLE_ATTEMPTS,
    auxiliary_config,
    auxiliary_limits,
    open_session,
    plain_endpoint,
    use_credentials,
)
from provisioner.aws.sts import Assumed, DirectSts, assumed

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from aiobotocore.session import AioSession
    from botocore.credentials import ReadOnlyCredentials
    from botocore.loaders import Loader

    from provisioner.aws.clock import ServerClock
    from provisioner.aws.faces import Limits
    from provisioner.aws.http import ClientConfig
    from provisioner.aws.pool import Place
    from provisioner.aws.route import Route
    from provisioner.aws.session import Identity
    from provisioner.config.target import Target

STS_PER_S = 100.0
"""Calls of STS that may start each second with the credentials of one profile. STS counts them for the calling account
and Region, 600/s (IAM User Guide, "IAM and AWS STS quotas"), which the account's other work shares, and which cannot be
raised."""


class Caller(NamedTuple):
    """A target, as the one that calls: whose credentials sign, and the clock that they are signed by."""

    identity: Identity
    clock: ServerClock

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Every call of the SDK that the task makes inside is this target's."""
        token = _caller.set(self)
        try:
            yield
        finally:
            _caller.reset(token)


_caller: ContextVar[Caller] = ContextVar("caller")


def current_caller() -> Caller:
    """The target that the running task calls for.

    Raises:
        LookupError: it calls outside :meth:`Caller.calling`.
    """
    return _caller.get()


class _CallersCredentials(AioCredentials):  # type: ignore[misc]  # the SDK has no types
    """Those of whoever calls."""

    def __init__(self) -> None:
        super().__init__("unused", "unused", method="provisioner")

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return await current_caller().identity.get_frozen_credentials()


class Profile:
    """An AWS profile, or the environment: where the first credentials come from, on which roles are assumed.

    Args:
        network: shared.
        session: of the profile; it reads environment and configuration files once.
    """

    def __init__(self, network: Network, session: AioSession) -> None:
        self.session = session
        self._network = network
        self._lock = asyncio.Lock()
        self._found: Any = None
        self._failure: Exception | None = None
        self._sought = False
        self._free_at = 0.0
        self._sts: dict[tuple[str, str], DirectSts | None] = {}

    async def credentials(self) -> Any:  # noqa: ANN401  the SDK has no types
        """The SDK's credentials object, None when there is none. It is looked for once, however many ask.

        Raises:
            Exception: whatever the SDK raises when it looks for them.
        """
        async with self._lock:
            if not self._sought:
                self._sought = True
                try:
                    self._found = await self.session.get_credentials()
                except Exception as error:
                    self._failure = error
                    raise
        if self._failure is not None:
            raise self._failure
        return self._found

    async def assume_role(self, region: str, url: str, params: dict[str, Any]) -> Assumed:
        """The credentials of a role, asked for with these.

        Args:
            region: of the STS that is asked.
            url: of its endpoint, "" for the SDK's own.
            params: of the operation.

        Raises:
            ConfigurationError: the proxy that is set is none.
            Exception: whatever the SDK raises when it does not get them.
        """
        attempts = ROLE_ATTEMPTS
        if (sts := self._direct_sts(region, plain_endpoint(url))) is not None:
            source = await self.credentials()
            keys = await source.get_frozen_credentials()
            await self.turn()
            if (found := await sts.assume_role(params, keys)) is not None:
                return found
            attempts -= 1
        client = await self._network.opened(self.session, Wanted("sts", region, url, auxiliary_config(attempts)))
        await self.turn()
        return assumed((await client.assume_role(**params))["Credentials"])

    async def turn(self) -> None:
        """Wait for the turn of a call of STS, which :data:`STS_PER_S` leaves to it."""
        loop = asyncio.get_running_loop()
        turn_at = max(loop.time(), self._free_at)
        self._free_at = turn_at + 1 / STS_PER_S
        await asyncio.sleep(turn_at - loop.time())

    def _direct_sts(self, region: str, url: str) -> DirectSts | None:
        """STS without the SDK; None where only the SDK can honour what is configured."""
        if (region, url) not in self._sts:
            route, limits = find_route(self.session, region, url, STS), auxiliary_limits()
            self._sts[region, url] = (
                None
                if isinstance(route, Unsupported)
                else DirectSts(route, pool_of(route, limits, self._network), limits.read_timeout_s)
            )
        return self._sts[region, url]


class Wanted(NamedTuple):
    """A client of the SDK.

    Attributes:
        service: by the SDK's name.
        region: to call.
        url: of the endpoint, "" for the SDK's own.
        config: how it is set up.
        prepare: what is done with it once, before it is used.
    """

    service: str
    region: str
    url: str
    config: ClientConfig
    prepare: Callable[[Any], None] | None = None

    @property
    def key(self) -> Hashable:
        """The same for clients that do the same."""
        config = self.config
        options = (config.connect_timeout, config.read_timeout, *config.retries.values())
        return self.service, self.region, self.url, options


class Network:
    """Opens what targets share when the first of them needs it, and closes it at the end.

    Obligations: everything may be called by any number of tasks at once. A target that is cancelled takes nothing from
    the others.
    """

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._loaders: dict[str | None, Loader] = {}
        self._profiles: dict[str, Profile] = {}
        self._sessions: dict[str, AioSession] = {}
        self._clients: dict[Hashable, Any] = {}
        self._locks: defaultdict[Hashable, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._routes: dict[tuple[str, str, str], Route | Unsupported] = {}
        self._pools: dict[tuple[Place, float], Pool] = {}
        self._places = asyncio.Semaphore(connections_at_most())

    def profile(self, target: Target, instead_of: Profile | None = None) -> Profile:
        """The profile of ``target``; a fresh one if that was ``instead_of``, because its credentials are refused.

        Raises:
            ConfigurationError: there is no such profile, or the AWS configuration is broken.
        """
        kept = self._profiles.get(target.profile)
        if kept is None or kept is instead_of:
            kept = self._profiles[target.profile] = Profile(self, self._open_session(target))
        return kept

    async def client(self, target: Target, wanted: Wanted) -> Any:  # noqa: ANN401  the SDK has no types
        """A client whose calls are signed for the caller; see :class:`Caller`.

        Raises:
            BotoCoreError, ValueError: the SDK cannot make one of this Region and endpoint.
        """
        if target.profile not in self._sessions:
            session = self._sessions[target.profile] = self._open_session(target)
            use_credentials(session, _CallersCredentials())
        return await self.opened(self._sessions[target.profile], wanted)

    async def opened(self, session: AioSession, wanted: Wanted) -> Any:  # noqa: ANN401  the SDK has no types
        """The client of ``session``; whoever asks first makes it."""
        import aioboto3

        key = (session, wanted.key)
        async with self._locks[key]:
            if key not in self._clients:
                opening = aioboto3.Session(botocore_session=session).client(
                    wanted.service,
                    wanted.region,
                    endpoint_url=plain_endpoint(wanted.url) or None,
                    config=wanted.config,
                )
                client = await self._stack.enter_async_context(opening)
                if wanted.prepare is not None:
                    wanted.prepare(client)
                self._clients[key] = client
        return self._clients[key]

    def route(self, target: Target, region: str) -> Route | Unsupported:
        """The route of creates; see :func:`provisioner.aws.route.find_route`.

        Raises:
            ConfigurationError: the proxy that is set is none.
        """
        key = (target.profile, region, plain_endpoint(target.endpoint_url))
        if key not in self._routes:
            self._routes[key] = find_route(self.profile(target).session, region, key[2])
        return self._routes[key]

    def pool(self, place: Place, limits: Limits) -> Pool:
        """The connections to ``place``."""
        key = (place, limits.connect_timeout_s)
        if key not in self._pools:
            self._pools[key] = Pool(place, limits.connect_timeout_s, self._places)
        return self._pools[key]

    async def close(self) -> None:
        """Close all clients and connections; no call may be under way."""
        for pool in self._pools.values():
            pool.close()
        await self._stack.aclose()

    def _open_session(self, target: Target) -> AioSession:
        """A session that shares the SDK's service models with the others, which are most of what one costs."""
        session = open_session(target)
        path = session.get_config_variable("data_path")
        if path in self._loaders:
            session.register_component("data_loader", self._loaders[path])
        else:
            self._loaders[path] = session.get_component("data_loader")
        return session
