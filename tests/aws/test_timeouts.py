"""Opening a connection while this machine's event loop is busy."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from provisioner.aws.timeouts import responsive_timeout
from provisioner.core.verdict import Loss
from tests.aws.certificates import Authority
from tests.aws.server import ARN, http

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

    from tests.aws.conftest import Open

BODY = b'{"name":"a","roleArn":"arn:aws:iam::123456789012:role/access"}'

HANDSHAKE_S = 0.05


def answer(line: socket.socket, tls: ssl.SSLContext) -> None:
    """Take a moment for the handshake, then answer one create."""
    time.sleep(HANDSHAKE_S)
    with line, tls.wrap_socket(line, server_side=True) as secured:
        received = b""
        while not received.endswith(b"}"):
            received += secured.recv(65536)
        secured.sendall(http(headers={"connection": "close"}))


@contextmanager
def slow_listener(tls: ssl.SSLContext) -> Iterator[str]:
    """The URL of a slow but healthy server in a thread of its own, which no stall of the event loop holds up."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:

        def serve() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(line, tls), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


async def test_a_busy_event_loop_is_no_unreachable_endpoint(
    open_at: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stalls of this machine's own, far longer than the time-out together, do not use up the time for connecting."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))

    with slow_listener(authority.server("localhost")) as url:
        async with open_at(url, connect_timeout_s=0.4, read_timeout_s=5.0) as aws:
            creates = [asyncio.create_task(aws.creates.create(BODY)) for _ in range(3)]
            for _ in range(8):
                await asyncio.sleep(0)
                time.sleep(0.25)  # noqa: ASYNC251  the stall
            replies = await asyncio.gather(*creates)

    assert [(reply.loss, reply.arn) for reply in replies] == [(None, ARN)] * 3


async def test_an_unreachable_endpoint_is_reported_in_time(open_at: Open) -> None:
    """While the loop is responsive, the time for connecting ends when it says."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with open_at(f"https://localhost:{silent.getsockname()[1]}", connect_timeout_s=0.3) as aws:
            began = time.monotonic()
            reply = await aws.creates.create(BODY)

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
