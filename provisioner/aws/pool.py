"""Connections to one place, opened when they are needed and kept between requests."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from typing import TYPE_CHECKING

import msgspec
from aiohappyeyeballs import AddrInfoType, start_connection

from provisioner.aws.connection import Connection
from provisioner.aws.files import OUT_OF_FILES, no_file_left
from provisioner.aws.timeouts import responsive_timeout
from provisioner.aws.wire import clean
from provisioner.core.verdict import Loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.aws.connection import Response

KEEPALIVE_S = 4.0
"""An idle connection is closed after this: below the 5 s at which common servers close theirs, because a create that
meets a connection closed at that moment is ambiguous."""

ADDRESSES_S = 10.0
"""How long the addresses of a name are used: a pool that opens its connections at once looks its name up once, and a
service that moves is found again within this."""

NEXT_ADDRESS_S = 0.25
"""When an address does not answer, the next is tried beside it after this (RFC 8305, section 5)."""


class UnconnectedError(Exception):
    """No connection could be opened, so nothing was sent.

    Args:
        loss: why, one of ``BEFORE_FIRST_BYTE``.
        error: what was raised.
    """

    def __init__(self, loss: Loss, error: Exception) -> None:
        super().__init__(clean(str(error)) or "the connection could not be opened in time")
        self.loss = loss


class Place(msgspec.Struct, frozen=True):
    """Where connections lead.

    Attributes:
        host: name or address.
        port: of TCP.
        tls: how the connection is secured and the host checked; None for plain http.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None


def loss_of_name(error: BaseException) -> Loss:
    """Why a host name could not be resolved: the host does not exist, or only this try failed."""
    # A resolver reads files. Where it cannot open them, it says that there is no such host.
    if no_file_left():
        return Loss.FILES
    unknown = isinstance(error, socket.gaierror) and error.errno in {socket.EAI_NONAME, socket.EAI_NODATA}
    return Loss.NO_SUCH_HOST if unknown else Loss.DNS


class Pool:
    """Hands out one connection for one request; the one that was used last is used first, so that few are kept.

    All targets with this place share it. Every connection that :meth:`take` gave ends in exactly one of :meth:`keep`
    and :meth:`drop`.

    Args:
        place: where to.
        timeout_s: how long opening a connection may take.
        free: a connection in use takes one; shared by the pools of a process, whose files are limited.
    """

    def __init__(self, place: Place, timeout_s: float, free: asyncio.Semaphore) -> None:
        self._place = place
        self._timeout_s = timeout_s
        self._free = free
        self._idle: deque[tuple[Connection, float]] = deque()
        self._in_use = 0
        self._returns: deque[asyncio.Future[None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._lookup = asyncio.Lock()
        self._addresses: list[AddrInfoType] = []
        self._looked_up_at = 0.0

    async def take(self) -> Connection:
        """A usable connection; waits for one while all are in use, or while this machine has no file left for another.

        Raises:
            UnconnectedError: none could be opened.
        """
        await self._free.acquire()
        try:
            while (connection := self._kept() or await self._open()) is None:
                await self._return_of_another()
        except BaseException:
            self._free.release()
            self._wake()
            raise
        self._in_use += 1
        return connection

    async def exchange(self, request: Callable[[], bytes], timeout_s: float) -> Response:
        """The reply to ``request``, which is made when there is a connection, so that its signature is fresh.

        Raises:
            UnconnectedError: no connection could be opened, so nothing was sent.
            Exception: what ``request`` raises, or :meth:`provisioner.aws.connection.Connection.exchange`.
        """
        connection = await self.take()
        try:
            response = await connection.exchange(request(), timeout_s)
        except BaseException:
            self.drop(connection)
            raise
        (self.keep if response.keep else self.drop)(connection)
        return response

    def keep(self, connection: Connection) -> None:
        """The connection may serve another request, if its last one has left whole."""
        if not connection.usable:
            self.drop(connection)
            return
        now = self._loop.time()
        if self._idle and self._idle[0][1] < now - KEEPALIVE_S:
            # One at a time is enough: no more are kept than were in use at once.
            self._idle.popleft()[0].abort()
        self._idle.append((connection, now))
        self._give_back()

    def drop(self, connection: Connection) -> None:
        """Something went wrong: the connection ends at once, and what has not left yet never leaves."""
        connection.abort()
        self._give_back()

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop()[0].abort()

    def _give_back(self) -> None:
        self._in_use -= 1
        self._free.release()
        self._wake()

    def _wake(self) -> None:
        """Let one that waits for the return of another look again."""
        while self._returns:
            if not (waiter := self._returns.popleft()).done():
                waiter.set_result(None)
                break

    async def _return_of_another(self) -> None:
        waiter = self._loop.create_future()
        self._returns.append(waiter)
        await waiter

    def _kept(self) -> Connection | None:
        """The youngest idle connection, if it is still good."""
        oldest = self._loop.time() - KEEPALIVE_S
        while self._idle:
            connection, since = self._idle.pop()
            if since >= oldest and connection.usable:
                return connection
            connection.abort()
        return None

    async def _open(self) -> Connection | None:
        """A new connection; None when there is no file left for it, but others of this pool will come back."""
        try:
            async with responsive_timeout(self._timeout_s):
                return await self._secure(await self._connect(await self._resolve()))
        except TimeoutError as error:
            raise UnconnectedError(Loss.CONNECT_TIMEOUT, error) from error
        except UnconnectedError as error:
            if error.loss is Loss.FILES and self._in_use:
                return None
            raise

    async def _resolve(self) -> list[AddrInfoType]:
        async with self._lookup:
            if not self._addresses or self._looked_up_at + ADDRESSES_S < self._loop.time():
                self._addresses = []
                try:
                    place = self._place
                    found = await self._loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
                except (OSError, UnicodeError) as error:
                    raise UnconnectedError(loss_of_name(error), error) from error
                self._addresses = [(family, kind, proto, name, where) for family, kind, proto, name, where in found]
                self._looked_up_at = self._loop.time()
            return list(self._addresses)

    async def _connect(self, addresses: list[AddrInfoType]) -> socket.socket:
        try:
            return await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S)
        except TimeoutError as error:
            raise UnconnectedError(Loss.CONNECT_TIMEOUT, error) from error
        except RuntimeError as error:  # uvloop raises it for some refusals
            raise UnconnectedError(Loss.REFUSED, error) from error
        except OSError as error:
            raise UnconnectedError(Loss.FILES if error.errno in OUT_OF_FILES else Loss.REFUSED, error) from error

    async def _secure(self, line: socket.socket) -> Connection:
        """Take ``line`` over, and secure it where the place asks for that."""
        tls = self._place.tls
        try:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            host = self._place.host if tls else None
            _, connection = await self._loop.create_connection(Connection, sock=line, ssl=tls, server_hostname=host)
        except OSError as error:
            line.close()
            loss = Loss.HANDSHAKE if tls else Loss.REFUSED
            untrusted = isinstance(error, ssl.SSLCertVerificationError)
            raise UnconnectedError(Loss.MISCONFIGURED if untrusted else loss, error) from error
        except BaseException:
            line.close()
            raise
        return connection
