"""Connections to one place, kept open between requests.

aiohttp opens, secures and closes them, and parses what comes in; only who uses which is decided here, because its own
pool, made for any number of places, takes a tenth of a create.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from provisioner.aws.http import KEEPALIVE_S, UNTIMED, is_clean
from provisioner.aws.timeouts import responsive_timeout

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.connector import Connection

    from provisioner.aws.faces import Limits


class Pool:
    """Hands out one connection for one request; the one that was used last is used first, so that few are kept.

    Every connection that :meth:`take` gave ends in exactly one of :meth:`keep` and :meth:`drop`.

    Args:
        connector: opens connections, and has no limit of its own.
        request: where to, and through which proxy.
        limits: how many at once, and how long opening one may take.
    """

    def __init__(self, connector: aiohttp.BaseConnector, request: aiohttp.ClientRequest, limits: Limits) -> None:
        self._connector = connector
        self._request = request
        self._timeout_s = limits.connect_timeout_s
        self._places = asyncio.Semaphore(limits.max_connections)
        self._idle: list[tuple[Connection, float]] = []
        self._loop = asyncio.get_running_loop()

    async def take(self) -> Connection:
        """An open connection on which nothing lies to be read; waits for one while all are in use.

        Raises:
            TimeoutError: none could be opened in time, although the event loop was responsive.
            Exception: whatever aiohttp says of a connection that cannot be opened.
        """
        await self._places.acquire()
        try:
            return self._kept() or await self._open()
        except BaseException:
            self._places.release()
            raise

    def keep(self, connection: Connection) -> None:
        """The reply was read to its end: the connection may serve another request, if this one was sent whole."""
        line = connection.transport
        if line is None or line.get_write_buffer_size():
            self.drop(connection)
        else:
            self._idle.append((connection, self._loop.time()))
            self._places.release()

    def drop(self, connection: Connection) -> None:
        """Something went wrong: the connection ends at once, and what was not sent yet never leaves."""
        abort(connection)
        connection.close()
        self._places.release()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop()[0].close()

    async def _open(self) -> Connection:
        async with responsive_timeout(self._timeout_s):
            return await self._connector.connect(self._request, [], UNTIMED)

    def _kept(self) -> Connection | None:
        """The youngest idle connection, if it is still good."""
        oldest = self._loop.time() - KEEPALIVE_S
        while self._idle:
            connection, since = self._idle.pop()
            if since >= oldest and is_clean(connection.protocol):
                return connection
            connection.close()
        return None


def abort(connection: Connection) -> None:
    """Break the connection off; whoever reads from it is told."""
    if connection.transport is not None:
        connection.transport.abort()
