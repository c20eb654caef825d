"""Opening a connection while this machine's event loop is busy."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
import uvloop

from provisioner.aws.faces import SIGNATURE_AGE_S
from provisioner.aws.timeouts import responsive_timeout
from provisioner.core.verdict import Loss
from tests.aws.certificates import Authority
from tests.aws.server import ARN, BODY, allowed, http

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.core.verdict import Reply
    from tests.aws.conftest import Open


class Slow:
    """A slow but healthy server in threads of its own, which no stall of the event loop holds up.

    Attributes:
        requests: with the time at which each arrived.
    """

    def __init__(self, tls: ssl.SSLContext, handshake_s: float) -> None:
        self._tls = tls
        self._handshake_s = handshake_s
        self.requests: list[tuple[float, bytes]] = []

    def answer(self, line: socket.socket) -> None:
        """Take a while for the handshake, then answer one create."""
        time.sleep(self._handshake_s)
        with line, self._tls.wrap_socket(line, server_side=True) as secured:
            received = b""
            while not received.endswith(b"}"):
                received += secured.recv(65536)
            self.requests.append((time.time(), received))
            time.sleep(0.05)
            secured.sendall(http(headers={"connection": "close"}))


@contextmanager
def listening(server: Slow) -> Iterator[str]:
    """The URL of ``server``."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:

        def serve() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=server.answer, args=(line,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Of a server that is trusted."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    return authority.server("localhost")


async def test_a_busy_event_loop_is_no_unreachable_endpoint(open_at: Open, tls: ssl.SSLContext) -> None:
    """Stalls of this machine's own, far longer than the time-out together, do not use up the time for connecting."""
    with listening(Slow(tls, 0.05)) as url:
        async with open_at(url, connect_timeout_s=0.4, read_timeout_s=5.0) as aws:
            creates = [asyncio.create_task(aws.creates.create(BODY, allowed)) for _ in range(3)]
            for _ in range(8):
                await asyncio.sleep(0)
                time.sleep(0.25)  # noqa: ASYNC251  the stall
            replies = await asyncio.gather(*creates)

    assert [(reply.loss, reply.arn) for reply in replies] == [(None, ARN)] * 3


@pytest.mark.parametrize("new_event_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_reply_that_lies_unread_is_not_lost(
    open_at: Open, tls: ssl.SSLContext, new_event_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A reply that came in time is read, though the event loop was busy until its time was over."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        reply = runner.run(stalled_while_waiting(open_at, Slow(tls, 0.0)))

    assert (reply.loss, reply.arn) == (None, ARN)


async def stalled_while_waiting(open_at: Open, slow: Slow) -> Reply:
    """The reply to a create during which the event loop is busy for longer than the reply may take."""
    with listening(slow) as url:
        async with open_at(url, read_timeout_s=0.3) as aws:
            create = asyncio.create_task(aws.creates.create(BODY, allowed))
            while not slow.requests:  # noqa: ASYNC110  another thread sets it
                await asyncio.sleep(0)
            time.sleep(1.0)  # noqa: ASYNC251  the stall
            return await create


async def test_no_signature_grows_old_while_a_connection_opens(open_at: Open, tls: ssl.SSLContext) -> None:
    """A connection that takes its time carries a signature of when it was open, not of when it was begun."""
    slow = Slow(tls, SIGNATURE_AGE_S + 0.5)

    with listening(slow) as url:
        async with open_at(url) as aws:
            # The second attempt of a transport that signs first finds a connection.
            assert (await aws.creates.create(BODY, allowed)).arn == ARN

    ((arrived_at, request),) = slow.requests
    stamp = request.lower().split(b"x-amz-date: ")[1].split(b"\r\n")[0].decode().upper()
    signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%S%z").timestamp()
    assert arrived_at - signed_at < SIGNATURE_AGE_S


async def test_an_unreachable_endpoint_is_reported_in_time(open_at: Open) -> None:
    """While the loop is responsive, the time for connecting ends when it says."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with open_at(f"https://localhost:{silent.getsockname()[1]}", connect_timeout_s=0.3) as aws:
            began = time.monotonic()
            reply = await aws.creates.create(BODY, allowed)

    assert reply.loss is Loss.CONNECT_TIMEOUT
    assert 0.3 <= time.monotonic() - began < 0.9


async def test_a_stall_hardly_counts() -> None:
    """A stall of many times the time-out leaves nearly all of it."""
    loop = asyncio.get_running_loop()
    async with responsive_timeout(0.5):
        began = loop.time()
        time.sleep(1.5)  # noqa: ASYNC251  the stall
        await asyncio.sleep(0.2)

    assert loop.time() - began >= 1.5


async def test_time_that_is_spent_is_a_timeout() -> None:
    """What does not happen while the loop is responsive raises TimeoutError."""
    with pytest.raises(TimeoutError):
        async with responsive_timeout(0.1):
            await asyncio.Event().wait()
