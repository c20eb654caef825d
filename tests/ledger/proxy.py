"""Stands between a ledger and its PostgreSQL server, and breaks their connections. For tests."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

Plan = Literal["pass", "lose the commit", "lose the reply", "be silent", "refuse"]


class Proxy:
    """Listens in ``folder`` as a server would, as an async context manager.

    Args:
        server: the URL of the real one, which listens on a Unix socket.
        folder: for the socket.

    Attributes:
        plan: what happens to the next commit (once) or to everything.
        budgets: after so many bytes, in whatever direction, every connection breaks; then comes the next budget.
        broken: how often connections were broken.
    """

    def __init__(self, server: str, folder: Path) -> None:
        self.plan: Plan = "pass"
        self.budgets: Iterator[int] = iter(())
        self._left: int | None = None
        self.broken = 0
        (self._host,) = parse_qs(urlsplit(server).query)["host"]
        self._folder = folder
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, self._folder / ".s.PGSQL.5432")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cut()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def through(self, url: str) -> str:
        """The URL of the same ledger by way of this proxy."""
        return url.replace(self._host, str(self._folder))

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.plan == "refuse":
            writer.transport.abort()
            return
        to_server = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.5432")
        self._writers |= {writer, to_server[1]}
        for task in (
            asyncio.create_task(self._requests(reader, to_server[1])),
            asyncio.create_task(self._replies(to_server[0], writer)),
        ):
            self._tasks.add(task)

    async def _requests(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if self.plan == "be silent":
                    continue
                if self.plan == "lose the commit" and b"COMMIT" in data and b"INSERT" in data:
                    self.plan = "pass"
                    self._break()
                    return
                if self._passes(server, data):
                    return
            server.close()

    async def _replies(self, server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await server.read(1 << 16):
                if self.plan == "lose the reply" and b"COMMIT" in data and b"INSERT" in data:
                    self.plan = "pass"
                    self._break()
                    return
                if self._passes(writer, data):
                    return
            writer.close()

    def _passes(self, writer: asyncio.StreamWriter, data: bytes) -> bool:
        """Forward as many bytes of ``data`` as the budget allows; whether it is used up."""
        if self._left is None:
            self._left = next(self.budgets, None)
        if self._left is None or self._left > len(data):
            self._left = None if self._left is None else self._left - len(data)
            writer.write(data)
            return False
        writer.write(data[: self._left])
        self._left = None
        # What was let through still arrives: breaking off in an orderly way sends it first.
        writer.close()
        self._break()
        return True

    def _break(self) -> None:
        self.broken += 1
        self.cut()
