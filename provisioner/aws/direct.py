"""The direct transport: a create is one write on a pooled connection, and one reply read off it.

There is nothing here that could send a request twice, and the line between "not sent" and "may have arrived" is exact:
it is the call of ``write`` in :meth:`provisioner.aws.connection.Connection.exchange`.
"""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from provisioner.aws import wire
from provisioner.aws.faces import SIGNATURE_AGE_S
from provisioner.aws.http import tls_context
from provisioner.aws.losses import lost
from provisioner.aws.pool import Place, UnconnectedError
from provisioner.aws.sigv4 import PORTS, Signer, host_header
from provisioner.aws.timeouts import now_s
from provisioner.core.verdict import SKEW_CODES, Reply
from provisioner.errors import ConfigurationError, CredentialsError, OutageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.credentials import ReadOnlyCredentials

    from provisioner.aws.clock import ServerClock
    from provisioner.aws.faces import Limits
    from provisioner.aws.network import Caller, Network
    from provisioner.aws.pool import Pool
    from provisioner.aws.route import Route

CONTENT_TYPE = "application/json"

_CREDENTIALS_AGE_S = 1.0
"""How long credentials are used before they are asked for again."""


class DirectCreates:
    """Creates over raw connections. See :class:`provisioner.aws.Creates` for the obligations."""

    def __init__(self, route: Route, caller: Caller, limits: Limits, network: Network) -> None:
        self._route = route
        self._identity = caller.identity
        self._read_timeout_s = limits.read_timeout_s
        self._mine = asyncio.Semaphore(limits.max_connections)
        self._pool = pool_of(route, limits, network)
        self._head = encoded([*head_of(route, "POST"), f"Content-Type: {CONTENT_TYPE}"])
        self._credentials: ReadOnlyCredentials | None = None
        self._signer: Signer
        self._generation = -1
        self._check_at = 0.0
        self._clock: ServerClock = caller.clock

    async def create(self, body: bytes, may_send: Callable[[], None]) -> Reply:
        """Send one create."""
        async with self._mine:
            return await self._create(body, may_send)

    async def _create(self, body: bytes, may_send: Callable[[], None]) -> Reply:
        try:
            if time.monotonic() >= self._check_at or self._identity.generation != self._generation:
                await self._renew()
            connection = await self._pool.take()
        except (ConfigurationError, CredentialsError, OutageError, UnconnectedError) as error:
            return unsent(error)
        try:
            request, now = self._sign(body, may_send)
        except BaseException:
            self._pool.keep(connection)
            raise
        try:
            response = await connection.exchange(request, self._read_timeout_s)
        except Exception as error:  # noqa: BLE001  the contract: nothing that happens to the call is raised
            self._pool.drop(connection)
            return self._identity.secrets.redact(lost(error))
        except BaseException:
            self._pool.drop(connection)
            raise
        (self._pool.keep if response.keep else self._pool.drop)(connection)
        reply = wire.read(response.status, response.headers, response.body, now)
        if reply.code in SKEW_CODES:
            self._clock.learn(response.headers.get("date", ""), now)
        return msgspec.structs.replace(self._identity.secrets.redact(reply), line=connection.line)

    async def _renew(self) -> None:
        """Take the credentials that are valid now, and prepare to sign with them."""
        generation = self._identity.generation
        credentials = await self._identity.get_frozen_credentials()
        if credentials != self._credentials:
            route = self._route
            self._signer = Signer(route.url, route.region, route.service.signing_name, CONTENT_TYPE, credentials)
            token = f"X-Amz-Security-Token: {credentials.token}\r\n" if credentials.token else ""
            self._token = token.encode()
            self._credentials = credentials
        self._generation = generation
        self._check_at = time.monotonic() + _CREDENTIALS_AGE_S

    def _sign(self, body: bytes, may_send: Callable[[], None]) -> tuple[bytes, float]:
        """The request with a signature that is fresh when this returns, and the time that it was signed for.

        Raises:
            Exception: what ``may_send`` raises.
        """
        while True:
            signed_at, now = now_s(), time.time()
            date, authorization = self._signer.sign(body, int(now + self._clock.offset_s))
            request = b"%bX-Amz-Date: %b\r\nAuthorization: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (
                self._head,
                date.encode(),
                authorization.encode(),
                self._token,
                len(body),
                body,
            )
            may_send()
            if now_s() - signed_at <= SIGNATURE_AGE_S:
                return request, now


def head_of(route: Route, method: str, query: str = "") -> list[str]:
    """The first lines of a request, which every one to ``route`` has."""
    path = urlsplit(route.url).path or "/"
    return [
        f"{method} {path}{'?' if query else ''}{query} HTTP/1.1",
        f"Host: {host_header(route.url)}",
        f"User-Agent: {route.user_agent}",
        "Accept-Encoding: identity",
    ]


def encoded(lines: list[str]) -> bytes:
    """Lines of a request, as they are sent."""
    return "".join(f"{line}\r\n" for line in lines).encode("ascii", "replace")


def pool_of(route: Route, limits: Limits, network: Network) -> Pool:
    """The connections to ``route``."""
    return network.pool(_place(route), limits)


def unsent(error: Exception) -> Reply:
    """What kept the request from being sent."""
    if isinstance(error, UnconnectedError):
        return Reply(loss=error.loss, message=str(error))
    return lost(error)


def signature(signer: Signer, body: bytes, signed_for: float, token: str | None) -> list[str]:
    """The lines of a request with its signature; ``token`` is that of the credentials."""
    date, authorization = signer.sign(body, int(signed_for))
    lines = [f"X-Amz-Date: {date}", f"Authorization: {authorization}"]
    return [*lines, f"X-Amz-Security-Token: {token}"] if token else lines


@lru_cache(maxsize=64)
def _place(route: Route) -> Place:
    parts = urlsplit(route.endpoint)
    tls = tls_context(route.ca_bundle) if parts.scheme == "https" else None
    return Place(parts.hostname or "", parts.port or PORTS[parts.scheme], tls)
