"""The HTTP front on real sockets: every ending, hostile clients, the control API, a quick stop."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import msgspec
import pytest

from provisioner.emulator import Behaviour, Emulator, behaviour_at, change_at, running, truth_at

from .support import ALGORITHMS, create_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioner.emulator.wire import Call

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _bytes(call: Call) -> bytes:
    headers = "".join(f"{name}: {value}\r\n" for name, value in call.headers.items() if name != "content-length")
    head = f"{call.method} {call.target} HTTP/1.1\r\n{headers}Content-Length: {len(call.body)}\r\n\r\n"
    return head.encode() + call.body


@asynccontextmanager
async def _connection(emulator: Emulator) -> AsyncIterator[Streams]:
    host, port = emulator.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def _ask(streams: Streams, request: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body of the answer to a request."""
    reader, writer = streams
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    return int(head.split()[1]), head, await reader.readexactly(length)


async def _until(condition: object, seconds: float = 30.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the endpoint has no event for the end of a connection
            await asyncio.sleep(0.005)


async def test_wire_form_of_success_and_error() -> None:
    """Each response has its own request id; an error has its code in x-amzn-errortype and a message."""
    async with Emulator() as emulator, _connection(emulator) as streams:
        status, head, body = await _ask(streams, _bytes(create_call()))
        again, error_head, error_body = await _ask(streams, _bytes(create_call()))

    assert (status, again) == (200, 409)
    assert list(msgspec.json.decode(body)) == ["configuredModelAlgorithmArn"]
    assert b"\r\nx-amzn-errortype: conflictexception\r\n" in error_head
    assert list(msgspec.json.decode(error_body)) == ["message"]
    ids = {text.partition(b"x-amzn-requestid: ")[2].partition(b"\r\n")[0] for text in (head, error_head)}
    assert len(ids - {b""}) == 2


async def test_lost_reply_closes_without_a_byte() -> None:
    """With a lost reply the create is executed, and the connection closes without a byte."""
    async with Emulator(Behaviour(script=("lost_reply",))) as emulator, _connection(emulator) as (reader, writer):
        writer.write(_bytes(create_call()))

        assert await reader.read() == b""
        assert len(emulator.truth.alive) == 1


async def test_reset_is_a_tcp_reset() -> None:
    """A reset reaches the client as ECONNRESET, not as an end of file."""
    async with Emulator(Behaviour(script=("reset",))) as emulator, _connection(emulator) as (reader, writer):
        writer.write(_bytes(create_call()))

        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert len(emulator.truth.alive) == 1


async def test_cut_reply_ends_in_the_middle() -> None:
    """A cut reply announces more bytes than it sends."""
    async with Emulator(Behaviour(script=("cut_reply",))) as emulator, _connection(emulator) as streams:
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await _ask(streams, _bytes(create_call()))

    assert caught.value.partial.startswith(b'{"configuredModelAlgorithmArn"')


async def test_hang_says_nothing_until_the_client_goes() -> None:
    """A call that hangs gets no byte; when its client disconnects, the endpoint closes the connection."""
    async with Emulator(Behaviour(script=("hang",))) as emulator:
        async with _connection(emulator) as (reader, writer):
            writer.write(_bytes(create_call()))
            await _until(lambda: emulator.truth.count("create", 0))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)
        await _until(lambda: not emulator._front._server.connections)

        assert len(emulator.truth.alive) == 1


async def test_client_that_goes_before_the_reply_leaves_its_effect() -> None:
    """A client that disconnects before its response arrives has still created its algorithm."""
    async with Emulator(Behaviour(latency=30.0)) as emulator:
        async with _connection(emulator) as (_, writer):
            writer.write(_bytes(create_call()))
            await _until(lambda: emulator.truth.alive)
        await _until(lambda: not emulator._front._server.connections)

        assert emulator.truth.count("create", 200) == 1


@pytest.mark.parametrize("cut", [1, 60, -1])
async def test_client_that_goes_in_mid_request_has_no_effect(cut: int) -> None:
    """A request that ends before its last byte is not executed, and the endpoint keeps serving."""
    request = _bytes(create_call("half"))
    async with Emulator() as emulator:
        async with _connection(emulator) as (_, writer):
            writer.write(request[:cut])
            await writer.drain()
        await _until(lambda: not emulator._front._server.connections)
        async with _connection(emulator) as streams:
            status, _, _ = await _ask(streams, _bytes(create_call("whole")))

        assert status == 200
        assert [algorithm.name for algorithm in emulator.truth.algorithms] == ["whole"]


async def test_body_over_one_mebibyte_is_refused() -> None:
    """A body over 1 MiB is answered 413 and not executed, and the connection closes."""
    async with Emulator() as emulator, _connection(emulator) as (reader, writer):
        writer.write(
            b"POST /configured-model-algorithms HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n" + b" " * 1048577
        )
        head = await reader.readuntil(b"\r\n\r\n")

        assert b" 413 " in head
        assert b"connection: close" in head.lower()
        assert emulator.truth.calls == {}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_garbage_is_refused(request_bytes: bytes) -> None:
    """Bytes that are not HTTP are answered 4xx or dropped, and the endpoint keeps serving."""
    async with Emulator() as emulator:
        async with _connection(emulator) as (reader, writer):
            writer.write(request_bytes)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 30)
        async with _connection(emulator) as streams:
            status, _, _ = await _ask(streams, _bytes(create_call()))

    assert answer[:10] in {b"", b"HTTP/1.1 4", b"HTTP/1.0 4"}
    assert status == 200


async def test_connections_are_kept_alive() -> None:
    """One connection serves any number of calls, one after the other and pipelined."""
    async with Emulator() as emulator, _connection(emulator) as streams:
        for number in range(20):
            status, _, _ = await _ask(streams, _bytes(create_call(f"n{number}")))
            assert status == 200
        streams[1].write(b"".join(_bytes(create_call(f"p{number}")) for number in range(5)))
        for _ in range(5):
            assert (await _ask(streams, b""))[0] == 200

        assert len(emulator._front._server.connections) == 1


async def test_512_connections_at_once() -> None:
    """Every one of 512 clients that connect at once is served."""

    async def one(number: int) -> int:
        async with _connection(emulator) as streams:
            status, _, _ = await _ask(streams, _bytes(create_call(f"n{number}")))
            await everybody.wait()
            return status

    everybody = asyncio.Barrier(512)
    async with Emulator(Behaviour(names="duplicates")) as emulator:
        statuses = await asyncio.gather(*[one(number) for number in range(512)])

        assert set(statuses) == {200}
        assert len(emulator.truth.alive) == 512


async def test_stop_does_not_wait_for_what_hangs() -> None:
    """The endpoint stops at once while calls hang, take a minute, or are half sent."""
    behaviour = Behaviour(script=("hang",) * 20, latency=60.0)
    emulator = Emulator(behaviour)
    async with emulator:
        streams = [await asyncio.open_connection("127.0.0.1", emulator._front.port) for _ in range(60)]
        for number, (_, writer) in enumerate(streams):
            request = _bytes(create_call(f"n{number}"))
            writer.write(request if number < 40 else request[:-1])
        await _until(lambda: len(emulator.truth.creates) == 40)
        before = time.perf_counter()
    elapsed = time.perf_counter() - before
    for _, writer in streams:
        writer.close()

    assert elapsed < 10.0
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", emulator._front.port)


async def test_behaviour_can_be_assigned_while_it_runs() -> None:
    """An assigned behaviour applies from the next call on."""
    async with Emulator() as emulator, _connection(emulator) as streams:
        statuses = [(await _ask(streams, _bytes(create_call("a"))))[0]]
        emulator.behaviour = Behaviour(throttled=1.0)
        statuses.append((await _ask(streams, _bytes(create_call("b"))))[0])

    assert statuses == [200, 429]


def test_control_api_returns_the_truth() -> None:
    """Another process sees the same truth and behaviour as the endpoint's own."""
    with running(Behaviour(script=("ok", "throttle"))) as emulator:
        asyncio.run(_create_all(emulator, "abc"))
        truth = truth_at(emulator.url)

        assert truth.calls == {"create": {200: 2, 429: 1}}
        assert [algorithm.name for algorithm in truth.algorithms] == ["a", "c"]
        assert truth.algorithms[0].request["roleArn"]
        assert truth.creates == emulator.truth.creates
        assert truth.count("create") == emulator.truth.count("create") == 3
        assert behaviour_at(emulator.url) == emulator.behaviour == Behaviour()


async def _create_all(emulator: Emulator, names: str) -> None:
    async with _connection(emulator) as streams:
        for name in names:
            await _ask(streams, _bytes(create_call(name)))


def test_control_api_changes_single_switches() -> None:
    """PATCH changes the named switches and leaves the others; a value out of range changes nothing."""
    with running(Behaviour(rate=5.0)) as emulator:
        assert change_at(emulator.url, latency=0.5, script=["ok"]) == emulator.behaviour
        expected = Behaviour(rate=5.0, latency=0.5, script=("ok",))
        for wrong in ({"rate": -1}, {"no_such": 1}, {"script": ["no_such"]}, {"names": "x"}):
            with pytest.raises(HTTPError, match="400"):
                change_at(emulator.url, **wrong)

        assert emulator.behaviour == expected


async def test_put_replaces_all_switches() -> None:
    """PUT sets all switches: those that it leaves out get their defaults."""
    request = b'PUT /_emulator/behaviour HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n{"quota":3}'
    async with Emulator(Behaviour(rate=5.0)) as emulator, _connection(emulator) as streams:
        status, _, _ = await _ask(streams, request)

        assert status == 200
        assert emulator.behaviour == Behaviour(quota=3)


async def test_unknown_control_is_refused() -> None:
    """The control API has truth and behaviour; anything else is answered 404."""
    async with Emulator() as emulator, _connection(emulator) as streams:
        status, _, _ = await _ask(streams, b"DELETE /_emulator/truth HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")

    assert status == 404


async def test_listens_on_loopback_alone() -> None:
    """The endpoint is not reachable from other machines."""
    async with Emulator() as emulator:
        assert {socket.getsockname()[0] for socket in emulator._front._listener.sockets} == {"127.0.0.1"}
        assert ALGORITHMS not in emulator.url
