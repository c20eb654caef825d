"""The hot transport: a create is one write on a pooled connection and one reply off it.

aiohttp opens, secures and closes the connections (``TCPConnector``) and parses the replies; its client session, request
and response layers, two thirds of the cost of a call, are left out. So there is nothing here that could send a
request twice, and the line between "not sent" and "may have arrived" is exact: it is the call of ``write``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from provisioner.aws import wire
from provisioner.aws.faces import SIGNATURE_AGE_S
from provisioner.aws.http import tls_context
from provisioner.aws.losses import loss_of, lost
from provisioner.aws.pool import Pool, abort
from provisioner.aws.replies import ReplyConnector, ReplyHandler
from provisioner.aws.route import SIGNING_NAME
from provisioner.aws.sigv4 import Signer, host_header
from provisioner.aws.timeouts import now_s
from provisioner.core.verdict import BEFORE_FIRST_BYTE, SKEW_CODES, Loss, Reply
from provisioner.errors import CredentialsError, ProvisionerError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from aiohttp.connector import Connection
    from botocore.credentials import ReadOnlyCredentials

    from provisioner.aws.faces import Limits
    from provisioner.aws.route import Route
    from provisioner.aws.session import Identity

CONTENT_TYPE = "application/json"

SKEW_S = 60.0
"""A difference from the server's clock beyond this is corrected. The service accepts 300 s."""

_CREDENTIALS_AGE_S = 1.0
"""How long credentials are used before they are asked for again."""


class DirectCreates:
    """Creates over raw connections. See :class:`provisioner.aws.Creates` for the obligations."""

    def __init__(self, session: aiohttp.ClientSession, route: Route, identity: Identity, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        connector = session.connector
        assert connector is not None  # noqa: S101  a session that is open has one
        self._route = route
        self._identity = identity
        self._read_timeout_s = limits.read_timeout_s
        request = aiohttp.ClientRequest(
            "POST",
            URL(route.url, encoded=True),
            loop=self._loop,
            session=session,
            proxy=URL(route.proxy) if route.proxy else None,
        )
        self._pool = Pool(connector, request, limits)
        self._head = _head(route)
        self._credentials: ReadOnlyCredentials | None = None
        self._signer: Signer
        self._generation = -1
        self._check_at = 0.0
        self._clock_offset_s = 0.0

    async def create(self, body: bytes, may_send: Callable[[], None]) -> Reply:
        """Send one create."""
        try:
            if time.monotonic() >= self._check_at or self._identity.generation != self._generation:
                await self._renew()
            connection = await self._pool.take()
        except Exception as error:  # noqa: BLE001  the contract: nothing that happens to the call is raised
            return _unsent(error)
        try:
            request, now = self._sign(body, may_send)
        except BaseException:
            self._pool.keep(connection)
            raise
        deadline = self._loop.time() + self._read_timeout_s
        expiry = self._loop.call_at(deadline, abort, connection)
        try:
            reply = await self._exchange(connection, request, now)
        except Exception as error:  # noqa: BLE001  the same
            self._pool.drop(connection)
            late = self._loop.time() >= deadline
            return Reply(loss=Loss.READ_TIMEOUT, message="no reply in time") if late else lost(error)
        except BaseException:
            self._pool.drop(connection)
            raise
        finally:
            expiry.cancel()
        self._pool.keep(connection)
        return reply

    def close(self) -> None:
        """Close the connections; no create may be under way."""
        self._pool.close()

    async def _renew(self) -> None:
        """Take the credentials that are valid now, and prepare to sign with them."""
        generation = self._identity.generation
        credentials = await self._identity.get_frozen_credentials()
        if credentials != self._credentials:
            _check(credentials)
            route = self._route
            self._signer = Signer(route.url, route.region, SIGNING_NAME, CONTENT_TYPE, credentials)
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
            date, authorization = self._signer.sign(body, int(now + self._clock_offset_s))
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

    async def _exchange(self, connection: Connection, request: bytes, now: float) -> Reply:
        protocol, line = connection.protocol, connection.transport
        assert isinstance(protocol, ReplyHandler)  # noqa: S101  what the connector makes
        assert line is not None  # noqa: S101  an open connection has one
        protocol.expect()
        line.write(request)
        reply, told = await protocol.reply(now)
        if reply.code in SKEW_CODES:
            self._learn_clock(told, now)
        return reply

    def _learn_clock(self, told: str, now: float) -> None:
        """Follow the server's clock in later signatures, when it refused one of ours and its clock differs."""
        server = wire.http_date(told)
        if server is not None and abs(server - now - self._clock_offset_s) > SKEW_S:
            self._clock_offset_s = server - now


def _head(route: Route) -> bytes:
    """The request up to the headers that change from call to call."""
    path = URL(route.url, encoded=True).raw_path
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {host_header(route.url)}",
        f"User-Agent: {route.user_agent}",
        "Accept-Encoding: identity",
        f"Content-Type: {CONTENT_TYPE}",
    )
    return "".join(f"{line}\r\n" for line in lines).encode("ascii", "replace")


def _check(credentials: ReadOnlyCredentials) -> None:
    """Keep what would break out of a header line from being sent."""
    for value in (credentials.access_key, credentials.token or ""):
        if not (value.isascii() and value.isprintable()):
            raise CredentialsError("the credentials hold characters that cannot be sent")


def _unsent(error: Exception) -> Reply:
    """What kept the request from being sent. Nothing here can be taken for a loss after the first byte."""
    if isinstance(error, ProvisionerError):
        return Reply(loss=Loss.CREDENTIALS, message=str(error))
    loss = loss_of(error)
    if loss not in BEFORE_FIRST_BYTE:
        loss = Loss.CONNECT_TIMEOUT if isinstance(error, TimeoutError) else Loss.REFUSED
    return Reply(loss=loss, message=wire.clean(str(error)) or "the connection could not be opened in time")


def _tls(route: Route) -> ssl.SSLContext | bool:
    """False where nothing is to be verified: plain http, or verification switched off."""
    return (tls_context(route.verify) or False) if route.endpoint.startswith("https") else False


@asynccontextmanager
async def open_direct(route: Route, identity: Identity, limits: Limits) -> AsyncIterator[DirectCreates]:
    """The direct transport over ``route``, with its pool of connections."""
    connector = ReplyConnector(_tls(route))
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        with contextlib.closing(DirectCreates(session, route, identity, limits)) as creates:
            yield creates
