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

import uvloop

from benchmarks.requests import Requests

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


class Answering(Requests):
    """One connection."""

    def answer(self, head: bytes, body: bytes) -> None:
        """An ARN, or an empty page."""
        del body
        self.transport.write(EMPTY_PAGE if head.startswith(b"GET ") else REPLY % RANDOM.getrandbits(128))


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
