"""An HTTP proxy that understands CONNECT, and refuses when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


class Proxy:
    """The proxy. ``asked`` holds each CONNECT's target and Proxy-Authorization.

    Args:
        status: of its answers.
        port_of: the port of this machine that answers for a ``host:port``; another one is reached itself.
    """

    def __init__(self, status: int = 200, port_of: Mapping[str, int] | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self._status = status
        self._port_of = port_of or {}
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._tunnel(reader, writer)
        self._tasks.discard(task)
        writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        target = head[0].split(" ")[1]
        secret = next((line.split(": ", 1)[1] for line in head if line.lower().startswith("proxy-auth")), "")
        self.asked.append((target, secret))
        writer.write(f"HTTP/1.1 {self._status} Any\r\n\r\n".encode())
        if self._status != 200:
            return
        host, port = target.rsplit(":", 1)
        if target in self._port_of:
            host, port = "127.0.0.1", str(self._port_of[target])
        there, back = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            back.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
