"""Cuts what comes over a connection into requests, for servers that cost next to nothing."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import cast


class Requests(asyncio.Protocol, ABC):
    """One connection. Requests are cut by their Content-Length; nothing else in them is looked at."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end]
            size = end + 4 + _length(head)
            if len(buffer) < size:
                break
            body, buffer = buffer[end + 4 : size], buffer[size:]
            self.answer(head, body)
        self._buffer = buffer

    @abstractmethod
    def answer(self, head: bytes, body: bytes) -> None:
        """Write the response to a request, now or later."""


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    return 0 if at < 0 else int(lower[at + 17 :].split(b"\r\n", 1)[0])
