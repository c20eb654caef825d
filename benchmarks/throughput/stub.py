"""A server that answers every create at once with an ARN of its own, and List with nothing: only the client costs.

The ids come in no order, as those of AWS do: a client that keeps them in an index pays for that.

python -m benchmarks.throughput.stub [CERTIFICATE]

It prints the port that it listens on, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from random import Random
from typing import cast

import uvloop

ARN = b"arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/%032x"

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\n"
    b"x-amzn-RequestId: 01234567-89ab-cdef-0123-456789abcdef\r\nContent-Length: %d\r\n\r\n"
)

BODY = b'{"configuredModelAlgorithmArn":"%b"}'

SIZE = len(BODY % (ARN % 0))

REPLY = HEAD % SIZE + BODY % ARN

NOTHING = b'{"configuredModelAlgorithms":[]}'

EMPTY_PAGE = HEAD % len(NOTHING) + NOTHING
"""The answer to List, which is asked once before the first create."""

RANDOM = Random(1)  # noqa: S311 - a repeatable order


class Answering(asyncio.Protocol):
    """One connection. Requests are cut by their Content-Length; nothing else in them is looked at."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            size = end + 4 + _length(buffer[:end])
            if len(buffer) < size:
                break
            listed = buffer.startswith(b"GET ")
            buffer = buffer[size:]
            self._transport.write(EMPTY_PAGE if listed else REPLY % RANDOM.getrandbits(128))
        self._buffer = buffer


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    return 0 if at < 0 else int(lower[at + 17 :].split(b"\r\n", 1)[0])


async def main() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    context = None
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
    server = await loop.create_server(Answering, "127.0.0.1", 0, ssl=context, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
