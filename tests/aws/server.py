"""A raw HTTP server that misbehaves on order: it cuts, hangs, resets, drips and answers garbage at given points.

A script is a list of actions, one for each request in the order of arrival; the last one stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from typing import TYPE_CHECKING, Any, Self

import msgspec

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    Action = Callable[["Line"], Awaitable[None]]

ARN = "arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/1f2e3d"

BODY = b'{"name":"a","roleArn":"arn:aws:iam::123456789012:role/access"}'
"""A create."""
CREATED = json.dumps({"configuredModelAlgorithmArn": ARN}).encode()
"""The reply to it."""


class Request(msgspec.Struct, frozen=True):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


class Line(msgspec.Struct, frozen=True):
    """The connection that an action works on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: Request

    def reset(self) -> None:
        """Close with a RST, as a crashed server or a firewall does."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Server:
    """The server.

    Attributes:
        requests: every request that was read to its end; ``arrived`` is set by the first.
        heard: bytes of requests that arrived, whole or not.
    """

    def __init__(self, *script: Action, tls: ssl.SSLContext | None = None) -> None:
        self.script = list(script) or [created()]
        self.requests: list[Request] = []
        self.arrived = asyncio.Event()
        self.connections = 0
        self.heard = 0
        self._tls = tls
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        number = self.connections
        try:
            while not writer.is_closing():
                request = await self._read(reader, number)
                self.requests.append(request)
                self.arrived.set()
                await self._next()(Line(reader, writer, request))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._handlers.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Request:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await reader.readexactly(1)
            self.heard += 1
        first, *lines = head.decode().rstrip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.heard += len(body)
        return Request(method, path, headers, body, number)

    def _next(self) -> Action:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


def http(status: int = 200, body: bytes = CREATED, headers: dict[str, str] | None = None) -> bytes:
    """The bytes of a reply."""
    all_headers = {"x-amzn-requestid": "req-1", "content-length": str(len(body))} | (headers or {})
    lines = "".join(f"{key}: {value}\r\n" for key, value in all_headers.items())
    return f"HTTP/1.1 {status} Any\r\n{lines}\r\n".encode() + body


def send(data: bytes) -> Action:
    """Answer with ``data`` and keep the connection."""

    async def action(line: Line) -> None:
        line.writer.write(data)
        await line.writer.drain()

    return action


def created(arn: str = ARN) -> Action:
    """Answer that it was created."""
    return send(http(body=json.dumps({"configuredModelAlgorithmArn": arn}).encode()))


def refuse(status: int, code: str = "", headers: dict[str, str] | None = None, **members: Any) -> Action:
    """Answer with an error in the service's wire form."""
    kind = {"x-amzn-errortype": code} if code else {}
    return send(http(status, json.dumps(members).encode(), kind | (headers or {})))


def close(data: bytes = b"") -> Action:
    """Send ``data``, then close in good order."""

    async def action(line: Line) -> None:
        line.writer.write(data)
        await line.writer.drain()
        line.writer.close()

    return action


def reset(data: bytes = b"") -> Action:
    """Send ``data``, let it arrive, then reset the connection."""

    async def action(line: Line) -> None:
        line.writer.write(data)
        await line.writer.drain()
        if data:
            await asyncio.sleep(0.01)
        line.reset()

    return action


def hang(data: bytes = b"") -> Action:
    """Send ``data``, then say nothing more."""

    async def action(line: Line) -> None:
        line.writer.write(data)
        await line.reader.read()

    return action


def drip(data: bytes, pause_s: float) -> Action:
    """Send ``data`` a byte at a time."""

    async def action(line: Line) -> None:
        for n in range(len(data)):
            line.writer.write(data[n : n + 1])
            await line.writer.drain()
            await asyncio.sleep(pause_s)

    return action


def allowed() -> None:
    """Let every create leave."""
