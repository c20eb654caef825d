"""One connection of the direct transport, over real sockets."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import ref

import pytest

from provisioner.aws.connection import REPLY_LIMIT, ClosedError, Connection, Response, UnreadableError
from tests.aws.server import Server, close, drip, hang, http, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.aws.server import Action, Line

REQUEST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def connected(*script: Action) -> AsyncIterator[Connection]:
    """A connection to a server that does what ``script`` says."""
    async with Server(*script) as server:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", server.port)
        yield connection
        connection.abort()


OK = Response(200, {"x-amzn-requestid": "req-1"}, b"ok", keep=True)

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Amzn-RequestId: req-1\r\n\r\n2\r\nok\r\n0\r\n"
    b"x-amzn-errortype: a trailer\r\n\r\n"
)


READ: list[tuple[bytes, Response]] = [
    (http(body=b"ok"), OK),
    (http(body=b"ok", headers={"Connection": "close"}), OK._replace(keep=False)),
    (b"HTTP/1.1 100 Continue\r\nx-amzn-errortype: no\r\n\r\n" + http(body=b"ok"), OK),
    (b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n" + http(body=b"ok"), OK),
    (CHUNKED, OK),
    (
        b"HTTP/1.1 400 No\r\nX-Amzn-ErrorType: a\xff\r\nContent-Length: 0\r\n\r\n",
        Response(400, {"x-amzn-errortype": "a\ufffd"}, b"", keep=True),
    ),
]


@pytest.mark.parametrize(("data", "expected"), READ)
async def test_a_reply_is_read_however_it_is_cut(data: bytes, expected: Response) -> None:
    """Whole or byte by byte, a reply is the same; informational replies and trailers are passed over."""
    async with connected(send(data)) as connection:
        assert await connection.exchange(REQUEST, 5) == expected
    async with connected(*[drip(data, 0)]) as connection:
        assert await connection.exchange(REQUEST, 5) == expected


async def test_where_no_length_is_given_the_end_is_the_end() -> None:
    """A reply of the kind that ends with its connection is read to that end."""
    async with connected(close(b"HTTP/1.1 429 Slow down\r\n\r\nwait")) as connection:
        assert await connection.exchange(REQUEST, 5) == Response(429, {}, b"wait", keep=False)


UNREADABLE: dict[str, bytes] = {
    "two replies": http() + http(),
    "a reply and the beginning of one": http() + b"HTTP/1.1 20",
    "a reply and garbage": http() + b"\0",
    "more after the last one": http(headers={"Connection": "close"}) + http(),
    "two lengths": http(headers={"Content-Length": "2"}),
    "length and chunks": http(headers={"Transfer-Encoding": "chunked"}),
    "an upgrade": b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "bare line feeds": http().replace(b"\r\n", b"\n"),
    "a folded header": http(headers={"X": "a\r\n b"}),
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (REPLY_LIMIT // 6 + 1),
    "an endless body": b"HTTP/1.1 200 OK\r\n\r\n" + b"y" * REPLY_LIMIT,
    "TLS": b"\x16\x03\x01 what?\r\n\r\n",
}


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_what_cannot_be_relied_on_is_no_reply(kind: str) -> None:
    """More than one reply to a request, or one whose end is disputable, counts as none and ends the connection."""
    async with connected(send(UNREADABLE[kind])) as connection:
        with pytest.raises(UnreadableError):
            await connection.exchange(REQUEST, 5)

        assert not connection.usable


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200", http()[:-1]])
async def test_a_connection_that_ends_early_gives_no_reply(data: bytes) -> None:
    """The end in good order, before the reply is whole, is a loss."""
    async with connected(close(data)) as connection:
        with pytest.raises(ClosedError):
            await connection.exchange(REQUEST, 5)


async def test_each_request_has_its_own_time() -> None:
    """Neither does the time of an earlier one end it, nor does it get the rest of that."""

    async def later(line: Line) -> None:
        await asyncio.sleep(0.06)
        await send(http(body=b"ok"))(line)

    async with connected(send(http(body=b"ok")), later, hang()) as connection:
        replies = [await connection.exchange(REQUEST, timeout_s) for timeout_s in (0.05, 60)]
        with pytest.raises(TimeoutError):
            await connection.exchange(REQUEST, 0.02)

    assert replies == [OK, OK]


async def test_what_comes_between_two_requests_ends_the_connection() -> None:
    """Data that nobody asked for never waits for the next request."""

    async def talk(line: object) -> None:
        line.writer.write(http())  # type: ignore[attr-defined]
        await asyncio.sleep(0.02)
        line.writer.write(b"H")  # type: ignore[attr-defined]

    async with connected(talk) as connection:
        await connection.exchange(REQUEST, 5)
        assert connection.usable
        await asyncio.sleep(0.1)

        assert not connection.usable


async def test_a_closed_connection_is_not_left_to_the_garbage_collector() -> None:
    """Its memory is free at once: a fleet opens and closes many, and the collector comes late."""
    gc.disable()
    try:
        async with Server(send(http())) as server:
            loop = asyncio.get_running_loop()
            transport, connection = await loop.create_connection(Connection, "127.0.0.1", server.port)
            await connection.exchange(REQUEST, 5)
            left = ref(connection)
            connection.abort()
            await asyncio.sleep(0)
            del transport, connection
            await asyncio.sleep(0)

            assert left() is None
    finally:
        gc.enable()
