"""The contract of the create transports, over real HTTP: each test holds for the direct transport and for the SDK's."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import time
from datetime import datetime
from email.utils import formatdate
from typing import TYPE_CHECKING

import msgspec
import pytest

from provisioner.aws.faces import SIGNATURE_AGE_S
from provisioner.core.verdict import Loss, Reply, Verdict, judge
from provisioner.errors import LedgerLockedError
from tests.aws.server import ARN, CREATED, Server, allowed, close, created, drip, hang, http, refuse, reset, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.aws.conftest import Open
    from tests.aws.server import Action, Line

BODY = b'{"name":"churn \xc3\xa9","roleArn":"arn:aws:iam::123456789012:role/access","tags":{"k":"v"}}'


def read(reply: Reply) -> Reply:
    """What was read off the wire."""
    return msgspec.structs.replace(reply, line=None)


async def test_a_create_is_one_signed_post_of_the_definition(open_at: Open) -> None:
    """The body arrives as the definition says, in one signed POST, and the reply's ARN comes back."""
    async with Server() as server, open_at(server.url) as aws:
        reply = await aws.creates.create(BODY, allowed)

        assert read(reply) == Reply(status=200, arn=ARN, request_id="req-1")
        (request,) = server.requests
        assert (request.method, request.path) == ("POST", "/configured-model-algorithms")
        assert json.loads(request.body) == json.loads(BODY)
        assert request.headers["content-type"] == "application/json"
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert "/us-east-1/cleanrooms-ml/aws4_request" in request.headers["authorization"]


async def test_leave_is_asked_for_when_the_connection_is_open_and_nothing_is_sent(open_at: Open) -> None:
    """The last word before a create leaves is the caller's: signed and connected, and not a byte on the wire."""
    asked: list[tuple[int, int]] = []

    async with Server() as server, open_at(server.url) as aws:
        for _ in range(2):
            reply = await aws.creates.create(BODY, lambda: asked.append((server.heard, len(server.requests))))
            assert reply.arn == ARN

        size = server.heard // 2
        assert asked == [(0, 0), (size, 1)]


async def test_a_create_that_may_not_leave_leaves_nothing(open_at: Open) -> None:
    """A refusal propagates as it is, no byte arrives, and the connection serves the next create."""
    refusals: list[BaseException] = [LedgerLockedError("the lock is lost"), TimeoutError(), KeyboardInterrupt()]

    def refuse_leave() -> None:
        raise refusals[-1]

    async with Server() as server, open_at(server.url) as aws:
        while refusals:
            with pytest.raises(type(refusals[-1])) as raised:
                await aws.creates.create(BODY, refuse_leave)
            assert raised.value is refusals.pop()
        await asyncio.sleep(0.02)
        assert server.heard == 0
        replies = [await aws.creates.create(BODY, allowed) for _ in range(2)]

        assert [reply.arn for reply in replies] == [ARN] * 2
        assert len(server.requests) == 2
        assert server.connections == 1


async def test_what_is_not_a_create_needs_no_leave(open_at: Open) -> None:
    """Only creates are asked for: neither a List afterwards nor a call in between is held up by one's refusal."""

    def refuse_leave() -> None:
        raise LedgerLockedError("the lock is lost")

    listed = send(http(body=b'{"configuredModelAlgorithms": []}'))
    async with Server(listed) as server, open_at(server.url) as aws:
        with pytest.raises(LedgerLockedError):
            await aws.creates.create(BODY, refuse_leave)

        assert (await aws.control.list_algorithms()).items == ()


async def test_a_signature_that_grew_old_is_made_anew(open_at: Open) -> None:
    """Where the process stood still before its create could leave, it is signed again, and leave is asked for again."""
    pauses = [SIGNATURE_AGE_S + 0.1, 0.0]
    asked_at: list[float] = []

    def stand_still() -> None:
        asked_at.append(time.time())
        time.sleep(pauses[len(asked_at) - 1])

    async with Server() as server, open_at(server.url) as aws:
        reply = await aws.creates.create(BODY, stand_still)

        assert reply.arn == ARN
        assert len(asked_at) == 2
        (request,) = server.requests
        signed_at = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%S%z").timestamp()
        assert signed_at > asked_at[0] + SIGNATURE_AGE_S - 1
        assert server.connections == 1


REFUSALS: list[tuple[Action, Reply]] = [
    (
        refuse(429, "ThrottlingException", {"x-amz-retry-after": "1500"}, message="Rate exceeded"),
        Reply(429, code="ThrottlingException", message="Rate exceeded", request_id="req-1", retry_after_s=1.5),
    ),
    (refuse(429), Reply(429, request_id="req-1")),
    (refuse(429, "", {"Retry-After": "7"}), Reply(429, request_id="req-1", retry_after_s=7)),
    (
        refuse(503, "SlowDown", retryAfterSeconds=3, message="slower"),
        Reply(503, code="SlowDown", message="slower", request_id="req-1", retry_after_s=3),
    ),
    (
        refuse(402, "ServiceQuotaExceededException", message="no", quotaName="algorithms", quotaValue=1000.0),
        Reply(
            402,
            code="ServiceQuotaExceededException",
            message="no",
            request_id="req-1",
            quota_name="algorithms",
            quota_value=1000,
        ),
    ),
    (
        refuse(400, "ValidationException:http://internal.amazon.com/coral/", message="bad"),
        Reply(400, code="ValidationException", message="bad", request_id="req-1"),
    ),
    (
        refuse(403, "", __type="com.amazon#ExpiredTokenException", Message="expired"),
        Reply(403, code="ExpiredTokenException", message="expired", request_id="req-1"),
    ),
    (
        refuse(409, "ConflictException", message="m"),
        Reply(409, code="ConflictException", message="m", request_id="req-1"),
    ),
    (send(http(500, b"<html>oops</html>")), Reply(500, message="<html>oops</html>", request_id="req-1")),
    (send(http(413, b"")), Reply(413, request_id="req-1")),
    (send(http(200, b"")), Reply(200, request_id="req-1")),
    (send(http(200, b'{"configuredModelAlgorithmArn":')), Reply(200, request_id="req-1")),
    (send(http(200, b'{"configuredModelAlgorithmArn": null}')), Reply(200, request_id="req-1")),
    (send(http(200, b"\xff\xfe\x00")), Reply(200, request_id="req-1")),
    (send(http(200, b"[1, 2]")), Reply(200, request_id="req-1")),
    (send(http(429, b"\xff\xff")), Reply(429, message="\ufffd\ufffd", request_id="req-1")),
    (send(http(400, b"[]")), Reply(400, message="[]", request_id="req-1")),
    (
        send(b"HTTP/1.1 100 Continue\r\n\r\n" + http()),
        Reply(200, arn=ARN, request_id="req-1"),
    ),
    (
        send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n"
            + CREATED[:4]
            + b"\r\n%x\r\n" % (len(CREATED) - 4)
            + CREATED[4:]
            + b"\r\n0\r\n\r\n"
        ),
        Reply(200, arn=ARN),
    ),
]


async def test_every_reply_is_read_alike(open_at: Open) -> None:
    """Status, code, message, quota, advice and ARN come off the wire the same way through either transport."""
    async with Server(*[action for action, _ in REFUSALS]) as server, open_at(server.url) as aws:
        seen = [read(await aws.creates.create(BODY, allowed)) for _ in REFUSALS]

        assert seen == [reply for _, reply in REFUSALS]
        assert len(server.requests) == len(REFUSALS)


async def test_headers_that_are_no_text_can_be_recorded(open_at: Open) -> None:
    """Bytes in a header that are not UTF-8 leave a reply that every ledger, log and JSON takes."""
    garbled = b"HTTP/1.1 400 Any\r\nx-amzn-errortype: Bad\xff\r\nx-amzn-requestid: \xfe1\r\ncontent-length: 0\r\n\r\n"
    async with Server(send(garbled)) as server, open_at(server.url) as aws:
        reply = await aws.creates.create(BODY, allowed)

        assert msgspec.json.encode(read(reply))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(open_at: Open, status: int) -> None:
    """A redirect is a reply, not a second request to a place that nobody chose."""
    async with Server() as other, Server(send(http(status, b"", {"location": other.url}))) as server:
        async with open_at(server.url) as aws:
            reply = await aws.creates.create(BODY, allowed)

        assert (reply.status, judge(reply)) == (status, Verdict.AMBIGUOUS)
        assert (len(server.requests), len(other.requests)) == (1, 0)


LOST: dict[str, tuple[Action, Loss]] = {
    "hangs": (hang(), Loss.READ_TIMEOUT),
    "hangs in the head": (hang(http()[:20]), Loss.READ_TIMEOUT),
    "hangs in the body": (hang(http()[:-10]), Loss.READ_TIMEOUT),
    "drips": (drip(http(), 0.02), Loss.READ_TIMEOUT),
    "closes": (close(), Loss.CLOSED),
    "closes in the body": (close(http()[:-10]), Loss.CLOSED),
    "resets": (reset(), Loss.RESET),
    "answers garbage": (close(b"\x16\x03\x01 what?\r\n\r\n"), Loss.UNKNOWN),
}


@pytest.mark.parametrize("fault", LOST)
async def test_a_lost_reply_is_ambiguous_and_sent_once(open_at: Open, fault: str) -> None:
    """Whatever happens after the first byte is a loss of the second group, and the request is on the wire once."""
    action, loss = LOST[fault]
    async with (
        Server(action, created()) as server,
        open_at(server.url, connect_timeout_s=0.25, read_timeout_s=0.25) as aws,
    ):
        reply = await aws.creates.create(BODY, allowed)

        assert (reply.loss, judge(reply)) == (loss, Verdict.AMBIGUOUS)
        assert reply.message
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_the_sdk_never_retries(open_at: Open, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed create is one request on the wire, whatever retry mode the environment asks for."""
    monkeypatch.setenv("AWS_RETRY_MODE", "adaptive")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    async with Server(refuse(status, message="no"), created()) as server, open_at(server.url) as aws:
        reply = await aws.creates.create(BODY, allowed)

        assert reply.status == status
        assert len(server.requests) == 1


async def test_a_stale_connection_is_not_resent_on(open_at: Open) -> None:
    """A create that meets a kept-alive connection closed at that moment is ambiguous, and is not sent again."""
    async with Server(created(), close(), created()) as server, open_at(server.url) as aws:
        first = await aws.creates.create(BODY, allowed)
        second = await aws.creates.create(BODY, allowed)

        assert first.arn
        assert (second.loss, judge(second)) == (Loss.CLOSED, Verdict.AMBIGUOUS)
        assert [request.connection for request in server.requests] == [1, 1]


async def test_connections_are_kept_alive(open_at: Open) -> None:
    """Creates one after another use one connection."""
    async with Server() as server, open_at(server.url) as aws:
        for _ in range(5):
            await aws.creates.create(BODY, allowed)

        assert server.connections == 1


GZIPPED = gzip.compress(CREATED, mtime=0)  # the same bytes in every worker: they are in the names of tests

FRAMINGS: list[tuple[bytes, str, int]] = [
    (http(), ARN, 1),
    (http(headers={"Content-Type": "application/json", "Date": "Mon, 23 Nov 2026 10:00:00 GMT"}), ARN, 1),
    (http(headers={"connection": "keep-alive"}), ARN, 1),
    (http(headers={"Connection": "close"}), ARN, 2),
    (http(headers={"X-Long": "x" * 8000}), ARN, 1),
    (http(201), ARN, 1),
    (http(body=b""), "", 1),
    (http(body=b"{}"), "", 1),
    (http(body=b"\r\n\r\n" + CREATED), ARN, 1),
    (http(body=GZIPPED, headers={"content-encoding": "gzip"}), "", 1),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + http(), ARN, 1),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(CREATED), CREATED), ARN, 1),
    (b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(CREATED), CREATED), ARN, 2),
]
"""A reply, the ARN in it, and how many connections two creates need after it."""


@pytest.mark.parametrize(("reply", "arn", "connections"), FRAMINGS)
async def test_every_framing_of_a_reply_is_read(open_at: Open, reply: bytes, arn: str, connections: int) -> None:
    """However a reply says where it ends, its ARN is found, and its connection is used again where that may be."""
    async with Server(send(reply), created("arn:2")) as server, open_at(server.url) as aws:
        first, second = await aws.creates.create(BODY, allowed), await aws.creates.create(BODY, allowed)

        assert (first.arn, second.arn) == (arn, "arn:2")
        assert server.connections == connections


CHUNKED = FRAMINGS[-2][0]


@pytest.mark.parametrize("reply", [http(), CHUNKED], ids=["ordinary", "chunked"])
@pytest.mark.parametrize("more", [http(body=CREATED.replace(b"1f2e3d", b"forged")), b"HTTP/1.1 20", b"\0"])
async def test_what_comes_unasked_is_nobody_s_reply(open_at: Open, reply: bytes, more: bytes) -> None:
    """A connection on which the server says more than was asked, or begins to, is not used again."""
    written = asyncio.Event()

    async def talk(line: Line) -> None:
        line.writer.write(reply)
        await asyncio.sleep(0.02)
        line.writer.write(more)
        written.set()

    async with Server(talk, created("arn:2")) as server, open_at(server.url, direct=True) as aws:
        first = await aws.creates.create(BODY, allowed)
        await written.wait()
        await asyncio.sleep(0.02)
        second = await aws.creates.create(BODY, allowed)

        assert (first.arn, second.arn) == (ARN, "arn:2")
        assert server.connections == 2


async def test_a_refused_connection_is_not_sent(open_at: Open) -> None:
    """Where nobody listens, no byte can have left."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with open_at(f"http://localhost:{taken.getsockname()[1]}") as aws:
            reply = await aws.creates.create(BODY, allowed)

    assert (reply.loss, judge(reply)) == (Loss.REFUSED, Verdict.NOT_CREATED)


async def test_an_unknown_host_is_not_sent(open_at: Open) -> None:
    """A name that does not resolve, as that of a wrong Region, means that no byte can have left."""
    async with open_at("https://cleanrooms-ml.nowhere.invalid") as aws:
        reply = await aws.creates.create(BODY, allowed)

    assert reply.loss in {Loss.NO_SUCH_HOST, Loss.DNS}  # as the resolver of this machine has it
    assert judge(reply) is Verdict.NOT_CREATED


async def test_a_connection_that_is_not_accepted_in_time_is_not_sent(open_at: Open) -> None:
    """A connect time-out means that no byte can have left."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.settimeout(0)
            filler.connect_ex(full.getsockname())
        async with open_at(f"http://localhost:{full.getsockname()[1]}", connect_timeout_s=0.2) as aws:
            reply = await aws.creates.create(BODY, allowed)
        for filler in fillers:
            filler.close()

    assert (reply.loss, judge(reply)) == (Loss.CONNECT_TIMEOUT, Verdict.NOT_CREATED)


async def test_cancellation_passes_and_spoils_no_connection(open_at: Open) -> None:
    """A cancelled create raises CancelledError; its late reply is never taken for another create's."""
    async with Server(hang(), created()) as server, open_at(server.url) as aws:
        task = asyncio.create_task(aws.creates.create(BODY, allowed))
        await server.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        reply = await aws.creates.create(BODY, allowed)

        assert reply.arn == ARN
        assert [request.connection for request in server.requests] == [1, 2]


@pytest.mark.parametrize("pause_s", [0, 0.03])
async def test_an_unasked_reply_is_never_taken_for_an_answer(open_at: Open, pause_s: float) -> None:
    """Two replies to one create, at once or one later: the second is not the reply to the next create."""
    unasked = http(body=CREATED.replace(b"1f2e3d", b"wrong"))
    is_written = asyncio.Event()

    async def talk(line: Line) -> None:
        line.writer.write(http())
        await asyncio.sleep(pause_s)
        line.writer.write(unasked)
        is_written.set()

    async with Server(talk, created()) as server, open_at(server.url) as aws:
        first = await aws.creates.create(BODY, allowed)
        if pause_s:
            await is_written.wait()
            for _ in range(10):  # the loop looks at its sockets after each, however late it is
                await asyncio.sleep(0.005)
        second = await aws.creates.create(BODY, allowed)

    assert "wrong" not in first.arn + second.arn
    assert second.line is not None
    assert not second.line.mixed_up


async def test_a_reply_too_many_leaves_all_of_its_connection_in_doubt(open_at: Open) -> None:
    """Taken for the reply to the next create, it shows one reply later; then all that came before is known to be so."""
    is_known, is_written = asyncio.Event(), asyncio.Event()

    async def twice(line: Line) -> None:
        line.writer.write(http())
        await is_known.wait()
        line.writer.write(http(body=CREATED.replace(b"1f2e3d", b"wrong")))
        is_written.set()

    async with Server(created("arn:1"), twice, created("arn:3")) as server, open_at(server.url) as aws:
        first = await aws.creates.create(BODY, allowed)
        second = await aws.creates.create(BODY, allowed)
        known = second.line is not None and second.line.mixed_up
        is_known.set()
        await is_written.wait()
        await asyncio.sleep(0.05)  # it is read from the connection
        third = await aws.creates.create(BODY, allowed)

    assert (first.arn, second.arn, third.arn, known) == ("arn:1", ARN, "arn:3", False)
    assert [one.line is not None and one.line.mixed_up for one in (first, second, third)] == [True, True, False]


async def test_an_endless_reply_is_given_up(open_at: Open) -> None:
    """A reply of more than a megabyte is no reply of the service; it does not fill the memory."""
    flood = http(body=CREATED + b" " * (3 << 20))
    async with Server(send(flood)) as server, open_at(server.url, direct=True) as aws:
        reply = await aws.creates.create(BODY, allowed)

    assert judge(reply) is Verdict.AMBIGUOUS


async def test_the_servers_clock_is_followed(open_at: Open) -> None:
    """After a refusal for a skewed clock, later signatures carry the server's time; another refusal changes nothing."""
    ahead = formatdate(time.time() + 3600, usegmt=True)
    skewed = refuse(403, "RequestTimeTooSkewed", {"date": ahead})
    denied = refuse(403, "AccessDeniedException", {"date": formatdate(0, usegmt=True)})
    async with Server(denied, skewed, created()) as server:
        async with open_at(server.url, direct=True) as aws:
            for _ in range(3):
                await aws.creates.create(BODY, allowed)

        stamps = [request.headers["x-amz-date"] for request in server.requests]
        first, second, third = (datetime.strptime(stamp, "%Y%m%dT%H%M%S%z").timestamp() for stamp in stamps)
        assert abs(second - first) < 60
        assert abs(third - first - 3600) < 60


async def test_many_at_once_are_each_answered(open_at: Open) -> None:
    """Concurrent creates over a smaller pool each get the reply to their own request."""

    async def echo(line: Line) -> None:
        await created(f"arn:{json.loads(line.request.body)['name']}")(line)

    async with Server(echo) as server, open_at(server.url, max_connections=5) as aws:
        bodies = [json.dumps({"name": str(n), "roleArn": "r" * 20}).encode() for n in range(50)]
        replies = await asyncio.gather(*[aws.creates.create(body, allowed) for body in bodies])

        assert [reply.arn for reply in replies] == [f"arn:{n}" for n in range(50)]
        assert server.connections <= 5


async def test_those_that_find_no_free_connection_wait_for_one(open_at: Open) -> None:
    """However long the queue: the time-out for connecting is for connecting alone."""

    async def slowly(line: Line) -> None:
        await asyncio.sleep(0.1)
        await created()(line)

    async with (
        Server(slowly) as server,
        open_at(server.url, max_connections=2, connect_timeout_s=0.2) as aws,
    ):
        replies = await asyncio.gather(*[aws.creates.create(BODY, allowed) for _ in range(10)])

        assert [reply.arn for reply in replies] == [ARN] * 10


async def test_a_reply_before_the_request_has_left_ends_the_connection(open_at: Open) -> None:
    """What is left of a refused request never runs into the next one, on the transport that does its own writing."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        if len(writers) == 1:
            writer.write(http(413, b"{}"))  # and the body is left where it is
        else:
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            writer.write(http())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, open_at(f"http://localhost:{server.sockets[0].getsockname()[1]}", direct=True) as aws:
        huge = b'{"name":"%b"}' % (b"x" * 16_000_000)
        first, second = await aws.creates.create(huge, allowed), await aws.creates.create(BODY, allowed)

        for writer in writers:
            writer.close()

    assert (first.status, second.arn, len(writers)) == (413, ARN, 2)


async def sweep(open_at: Open, offsets: list[int], cut: Callable[[bytes], Action]) -> set[Verdict]:
    """The verdicts on a good reply that is cut at each of ``offsets``."""
    verdicts = set()
    reply = http()
    async with Server() as server, open_at(server.url, read_timeout_s=2) as aws:
        for offset in offsets:
            server.script = [cut(reply[:offset])]
            seen = await aws.creates.create(BODY, allowed)
            assert judge(seen) in {Verdict.AMBIGUOUS, Verdict.CREATED}, (offset, seen)
            assert (judge(seen) is Verdict.CREATED) <= (seen.arn == ARN), (offset, seen)
            verdicts.add(judge(seen))
        assert len(server.requests) == len(offsets)
    return verdicts


@pytest.mark.parametrize("cut", [close, reset])
async def test_a_reply_cut_anywhere_is_never_a_no(open_at: Open, cut: Callable[[bytes], Action]) -> None:
    """A reply that is closed or reset at any byte is AMBIGUOUS, or CREATED when it was whole; never NOT_CREATED."""
    size = len(http())
    offsets = sorted({0, 1, size - 1, size, *range(7, size, 19)})

    verdicts = await sweep(open_at, offsets, cut)

    assert verdicts == {Verdict.AMBIGUOUS, Verdict.CREATED}


@pytest.mark.torture
@pytest.mark.parametrize("cut", [close, reset])
async def test_a_reply_cut_at_every_byte_is_never_a_no(open_at: Open, cut: Callable[[bytes], Action]) -> None:
    """The same at every byte offset of the reply."""
    verdicts = await sweep(open_at, list(range(len(http()) + 1)), cut)

    assert verdicts == {Verdict.AMBIGUOUS, Verdict.CREATED}


@pytest.mark.parametrize("read", [0, 1, 40, 400])
async def test_a_request_cut_anywhere_is_a_no_only_when_nothing_of_it_arrived(open_at: Open, read: int) -> None:
    """A server that resets before it has read the whole request may have passed it on: ambiguous."""
    received = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readexactly(read))
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    listener = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with listener, open_at(f"http://localhost:{listener.sockets[0].getsockname()[1]}") as aws:
        reply = await aws.creates.create(BODY, allowed)

    expected = {Verdict.AMBIGUOUS} if any(received) else {Verdict.AMBIGUOUS, Verdict.NOT_CREATED}
    assert judge(reply) in expected
