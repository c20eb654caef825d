"""A TCP proxy on loopback that cuts, resets, slices and delays at any byte of a request or of a reply."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
CHUNK = 65_536


class Cut(NamedTuple):
    """What happens to a connection.

    Attributes:
        where: in the request or in the reply, "" for nowhere.
        at: bytes that pass before it.
        how: an orderly end, or a reset.
        slice_bytes: bytes that pass at once, 0 for what comes.
        delay_s: before each of them.
    """

    where: Literal["", "request", "reply"] = ""
    at: int = 0
    how: Literal["close", "reset"] = "close"
    slice_bytes: int = 0
    delay_s: float = 0.0


class Proxy:
    """Stands between a client and a server on this machine.

    Args:
        port: the server's.
        plan: what happens to the next connection.

    Attributes:
        passed: bytes of requests and replies on the last connection.
    """

    def __init__(self, port: int, plan: Callable[[], Cut]) -> None:
        self._server_port = port
        self._plan = plan
        self._tasks: set[asyncio.Task[None]] = set()
        self.passed = {"request": 0, "reply": 0}
        self.port = 0

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._connected, HOST, 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.wait_closed()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        cut = self._plan()
        server, to_server = await asyncio.open_connection(HOST, self._server_port)
        self.passed = {"request": 0, "reply": 0}
        there = asyncio.create_task(self._pass(client, to_server, "request", cut))
        back = asyncio.create_task(self._pass(server, to_client, "reply", cut))
        try:
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (there, back):
                task.cancel()
            if cut.where and cut.how == "reset":
                _reset_on_close(to_client)
            for writer in (to_client, to_server):
                writer.close()
            await asyncio.gather(there, back, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str, cut: Cut) -> None:
        left = cut.at if where == cut.where else -1
        while left and (data := await reader.read(cut.slice_bytes or CHUNK)):
            part = data if left < 0 else data[:left]
            await asyncio.sleep(cut.delay_s)
            writer.write(part)
            await writer.drain()
            self.passed[where] += len(part)
            left -= len(part) if left > 0 else 0


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    """Have the kernel send RST instead of FIN (SO_LINGER with a time of 0)."""
    line: socket.socket | None = writer.get_extra_info("socket")
    if line is not None and line.fileno() >= 0:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
