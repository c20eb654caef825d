"""An outage at the start: 75 where trying again may help, 78 where it cannot, 77 where somebody has to be let in.

Each fault is a real one, of the endpoint and of STS, as the first calls of a run meet it.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from provisioner.aws.faces import CallError
from provisioner.core.verdict import judge
from provisioner.engine.breaker import UNREACHABLE, Breaker
from provisioner.engine.inventory import IncompleteListError
from provisioner.errors import ProvisionerError
from provisioner.exit_codes import code_for
from tests.aws.certificates import Authority
from tests.aws.proxy import Proxy
from tests.aws.server import BODY, Server, allowed, close, hang, http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.aws.conftest import Open
    from tests.aws.server import Line

ROLE = "arn:aws:iam::123456789012:role/provisioner"


class Place(NamedTuple):
    """Where a fault is met.

    Attributes:
        url: of the endpoint or of STS.
        variables: of the environment.
    """

    url: str
    variables: dict[str, str]


def resolving(error: int) -> Callable[..., Any]:
    """A resolver that fails so."""

    async def getaddrinfo(*_: object, **__: object) -> Any:
        raise socket.gaierror(error, "no address")

    return getaddrinfo


@asynccontextmanager
async def unresolved(error: int) -> AsyncIterator[Place]:
    """A name that the resolver answers with ``error``."""
    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "getaddrinfo", resolving(error), raising=False)
        yield Place("https://sts.us-nowhere-1.amazonaws.com", {})


@asynccontextmanager
async def refused() -> AsyncIterator[Place]:
    """A port where nothing listens."""
    yield Place("http://localhost:1", {})


@asynccontextmanager
async def black_hole() -> AsyncIterator[Place]:
    """A server that never takes a connection: its queue is full, so that the kernel answers nothing."""
    with socket.socket() as full, socket.socket() as other:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        other.setblocking(False)  # noqa: FBT003  as in socket
        held = [socket.socket() for _ in range(4)]
        for one in held:
            one.setblocking(False)  # noqa: FBT003  as in socket
            one.connect_ex(full.getsockname())
        try:
            yield Place(f"http://127.0.0.1:{full.getsockname()[1]}", {})
        finally:
            for one in held:
                one.close()


@asynccontextmanager
async def serving(action: Callable[[Line], Any]) -> AsyncIterator[Place]:
    """A server that answers so."""
    async with Server(action) as server:
        yield Place(server.url, {})


@asynccontextmanager
async def untrusted(folder: Path) -> AsyncIterator[Place]:
    """A certificate of an authority that nobody knows."""
    async with Server(tls=Authority(folder).server("localhost")) as server:
        yield Place(server.url, {})


@asynccontextmanager
async def without_tls() -> AsyncIterator[Place]:
    """Something that hangs up when TLS is spoken to it."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        yield Place(f"https://localhost:{server.sockets[0].getsockname()[1]}", {})


@asynccontextmanager
async def proxied(status: int) -> AsyncIterator[Place]:
    """A proxy that answers CONNECT with ``status``; 0 for one that is down."""
    async with Proxy(status) as proxy:
        port = proxy.port
        if status:
            yield Place("https://localhost:1", {"HTTPS_PROXY": f"http://127.0.0.1:{port}"})
    if not status:
        yield Place("https://localhost:1", {"HTTPS_PROXY": f"http://127.0.0.1:{port}"})


def answer(status: int) -> Callable[[Line], Any]:
    """An action that answers so."""

    async def action(line: Line) -> None:
        line.writer.write(http(status, b"<html>in trouble</html>"))
        await line.writer.drain()

    return action


AGAIN, WRONG = 75, 78
FAULTS: dict[str, tuple[Callable[[Path], AbstractAsyncContextManager[Place]], int]] = {
    "a name that does not exist": (lambda _: unresolved(socket.EAI_NONAME), WRONG),
    "a name without an address": (lambda _: unresolved(socket.EAI_NODATA), WRONG),
    "a resolver in trouble": (lambda _: unresolved(socket.EAI_AGAIN), AGAIN),
    "a resolver that fails": (lambda _: unresolved(socket.EAI_FAIL), AGAIN),
    "refused": (lambda _: refused(), AGAIN),
    "a black hole": (lambda _: black_hole(), AGAIN),
    "no answer": (lambda _: serving(hang(b"")), AGAIN),
    "hung up": (lambda _: serving(close(b"")), AGAIN),
    "500": (lambda _: serving(answer(500)), AGAIN),
    "503": (lambda _: serving(answer(503)), AGAIN),
    "an untrusted certificate": (untrusted, WRONG),
    "a handshake that breaks off": (lambda _: without_tls(), AGAIN),
    "a proxy that is down": (lambda _: proxied(0), AGAIN),
    "a proxy in trouble": (lambda _: proxied(503), AGAIN),
    "a proxy that asks who it is": (lambda _: proxied(407), WRONG),
    "a proxy that forbids": (lambda _: proxied(403), WRONG),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_endpoint_out_of_reach(
    open_at: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """What the first List meets, and what creates meet that come first, end the run with the same code."""
    place, code = FAULTS[fault]
    async with place(tmp_path) as (url, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        async with open_at(url, connect_timeout_s=0.3, read_timeout_s=0.3) as aws:
            with pytest.raises(CallError) as listed:
                await aws.control.list_algorithms()
            reply = await aws.creates.create(BODY, allowed)

    assert code_for([listed.value.reason]) == code
    assert code_for([IncompleteListError("default", listed.value).reason]) == code
    if reply.loss is not None and judge(reply) == "NOT_CREATED":
        breaker = Breaker(url)
        for _ in range(UNREACHABLE):
            breaker.record(ROLE, reply, judge(reply), 0.0)
        assert breaker.halt is not None
        assert code_for([breaker.halt.reason]) == code


@pytest.mark.parametrize("direct", [True], indirect=True)  # STS is the SDK's, whatever sends creates
@pytest.mark.parametrize("fault", FAULTS)
async def test_an_sts_out_of_reach(open_at: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Where a role is to be assumed, or the account asked for, it is the same: nobody has refused anything."""
    place, code = FAULTS[fault]
    monkeypatch.setattr("provisioner.aws.session.ROLE_ATTEMPTS", 1)
    monkeypatch.setattr("provisioner.aws.session.AUXILIARY_TIMEOUTS_S", (0.3, 0.3))
    async with place(tmp_path) as (url, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ProvisionerError) as assumed:
            async with open_at("http://localhost:1", {"assume_role_arn": ROLE, "sts_endpoint_url": url}):
                pass
        async with open_at("http://localhost:1", {"sts_endpoint_url": url}, connect_timeout_s=0.3) as aws:
            with pytest.raises(CallError) as asked:
                await aws.control.caller_account()

    assert code_for([assumed.value.reason]) == code
    assert "default" in str(assumed.value)
    assert code_for([asked.value.reason]) == code
