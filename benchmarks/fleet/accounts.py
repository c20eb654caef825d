"""A server of many accounts that costs next to nothing: a token bucket for each, an ARN for each create, an empty List.

python -m benchmarks.fleet.accounts LATENCY

The embedded endpoint takes ten times as long for a create, which leaves no processor to a client of a thousand targets
on the same machine. It prints its address. ``PUT /limits`` with ``{account: creates a second}`` sets what the accounts
allow, ``GET /made`` returns when each of them made an algorithm.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from itertools import count

import msgspec
import uvloop

from benchmarks.requests import Requests
from provisioner.aws.session import account_of_key
from provisioner.emulator.behaviour import TokenBucket

HEAD = (
    "HTTP/1.1 {}\r\nContent-Type: application/json\r\nx-amzn-RequestId: 01234567-89ab-cdef-0123-456789abcdef\r\n"
    "{}Content-Length: {}\r\n\r\n{}"
)


def response(status: str, body: str, header: str = "") -> bytes:
    """A response of HTTP/1.1."""
    return HEAD.format(status, header, len(body), body).encode()


THROTTLED = response(
    "429 Too Many Requests", '{"message":"Rate exceeded"}', "x-amzn-errortype: ThrottlingException\r\n"
)
NOTHING = response("200 OK", '{"configuredModelAlgorithms":[]}')
ARN = "arn:aws:cleanrooms-ml:{}:{}:configured-model-algorithm/{:08x}-0000-4000-8000-000000000000"
CREDENTIAL = b"Credential="
GRAIN_S = 0.001


class Account:
    """One account.

    Attributes:
        limit: creates a second, 0 for any number.
        made: when it made an algorithm, seconds since the epoch.
    """

    def __init__(self, account_id: str) -> None:
        self.limit = 0.0
        self.made: list[float] = []
        self._account_id = account_id
        self._bucket = TokenBucket()

    def create(self, number: int, region: str) -> bytes:
        """The response to a create."""
        now = time.time()
        if self.limit and not self._bucket.take(self.limit, max(1.0, self.limit), now):
            return THROTTLED
        self.made.append(now)
        arn = ARN.format(region, self._account_id, number)
        return response("200 OK", f'{{"configuredModelAlgorithmArn":"{arn}"}}')


class Accounts(defaultdict[str, Account]):
    """All of them, by id."""

    def __missing__(self, account_id: str) -> Account:
        account = self[account_id] = Account(account_id)
        return account


class Later:
    """Sends responses after a latency. Those of a millisecond, which is the grain of the event loop, share a timer.

    Args:
        latency_s: of all of them.
    """

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []
        self._since = float("-inf")

    def send(self, transport: asyncio.Transport, response: bytes) -> None:
        """Send ``response`` later."""
        now = self._loop.time()
        if now - self._since >= GRAIN_S:
            self._since, self._waiting = now, []
            self._loop.call_later(self._latency_s, self._write, self._waiting)
        self._waiting.append((transport, response))

    @staticmethod
    def _write(waiting: list[tuple[asyncio.Transport, bytes]]) -> None:
        for transport, response in waiting:
            transport.write(response)


class Serving(Requests):
    """One connection of one client."""

    def __init__(self, accounts: Accounts, callers: dict[bytes, tuple[Account, str]], later: Later) -> None:
        super().__init__()
        self._accounts = accounts
        self._callers = callers
        self._later = later

    def answer(self, head: bytes, body: bytes) -> None:
        """What the account says, or the truth."""
        if head.startswith(b"POST "):
            account, region = self._caller(head)
            self._later.send(self.transport, account.create(next(NUMBERS), region))
        elif head.startswith(b"GET /made "):
            made = {name: account.made for name, account in self._accounts.items()}
            self.transport.write(response("200 OK", msgspec.json.encode(made).decode()))
        elif head.startswith(b"PUT /limits "):
            for name, limit in msgspec.json.decode(body, type=dict[str, float]).items():
                self._accounts[name].limit = limit
            self.transport.write(response("200 OK", "{}"))
        else:
            self._later.send(self.transport, NOTHING)

    def _caller(self, head: bytes) -> tuple[Account, str]:
        """The account and the Region of a request: ``Credential=KEY/DATE/REGION/...``."""
        at = head.index(CREDENTIAL) + len(CREDENTIAL)
        scope = head[at : head.index(b"/aws4_request", at)]
        if (caller := self._callers.get(scope)) is None:
            key, _, region, _ = scope.decode().split("/")
            caller = self._callers[scope] = self._accounts[account_of_key(key)], region
        return caller


NUMBERS = count()


async def main() -> None:
    """Serve until the process is ended."""
    accounts, callers, later = Accounts(), dict[bytes, tuple[Account, str]](), Later(float(sys.argv[1]))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Serving(accounts, callers, later), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
