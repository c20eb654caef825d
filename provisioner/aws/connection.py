"""One HTTP/1.1 connection of the direct transport: a request is one write, and its reply is read by httptools."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from provisioner.aws import wire
from provisioner.core.verdict import Line

if TYPE_CHECKING:
    from asyncio import Future, TimerHandle, Transport

REPLY_LIMIT = 1 << 20
"""Bytes of a reply that are read; the service's replies have a few hundred."""


class Response(NamedTuple):
    """A reply, read to its end.

    Attributes:
        status: of HTTP.
        headers: those that :data:`provisioner.aws.wire.HEADERS` names.
        body: the whole body.
        keep: whether the connection may serve another request.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    keep: bool


class ClosedError(ConnectionError):
    """The server closed the connection in good order before a whole reply came."""

    def __init__(self) -> None:
        super().__init__("the server closed the connection before the reply was complete")


class UnreadableError(Exception):
    """What came is no reply that can be relied on: no HTTP, too long, or more than was asked for."""


class Connection(asyncio.Protocol):
    """A connection, open from the moment that it exists.

    One request at a time: :meth:`exchange` writes it and returns the reply. Data that arrives while no reply is due
    would pass for the reply to the next request, so it ends the connection, and whatever came over it is in doubt.

    Attributes:
        line: says so.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: Transport
        self._parser = HttpResponseParser(self)
        self._waiter: Future[Response] | None = None
        self._expires_at = 0.0
        self._timer: TimerHandle | None = None
        self._timer_at = 0.0
        self.line = Line()
        self._reset()

    def _reset(self) -> None:
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body = b""
        self._keep = False
        self._size = 0
        self._in_head = True
        self._framed = False
        self._complete = False
        self._overlong = False

    @property
    def usable(self) -> bool:
        """Whether the connection is open and everything that was written to it has left."""
        return not (self._transport.is_closing() or self._transport.get_write_buffer_size())

    async def exchange(self, request: bytes, timeout_s: float) -> Response:
        """Write ``request`` and wait for its reply.

        The connection must be usable. After anything but a return it must be aborted: bytes may have left.

        Raises:
            TimeoutError: no whole reply came in ``timeout_s``.
            OSError: the connection broke.
            UnreadableError: what came is no reply.
        """
        self._reset()
        self._waiter = self._loop.create_future()
        self._expires_at = self._loop.time() + timeout_s
        # One timer for many requests: to set and cancel one for each takes longer than to parse the reply.
        if self._timer is None or self._timer_at > self._expires_at:
            self._set_timer()
        try:
            self._transport.write(request)
            return await self._waiter
        finally:
            self._waiter = None

    def abort(self) -> None:
        """End the connection at once; what was written and has not left yet never leaves."""
        self._transport.abort()

    def _set_timer(self) -> None:
        self._stop_timer()
        self._timer_at = self._expires_at
        self._timer = self._loop.call_at(self._timer_at, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        """End the exchange that has lasted too long; the timer may be that of an earlier one."""
        # Both event loops look at the sockets before they run this, so a reply that came during a stall is read.
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._expires_at:
            self._set_timer()
        else:
            self._fail(TimeoutError("no reply in time"))

    def _fail(self, error: BaseException) -> None:
        """End the connection, and the exchange that waits for a reply with ``error``."""
        self._transport.abort()
        if isinstance(error, UnreadableError):
            self.line.mixed_up = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast("Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Part of a reply, as a rule the whole."""
        self._size += len(data)
        if self._waiter is None or self._waiter.done():
            self._fail(UnreadableError("the server sent data without a request"))
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._overlong = self._complete
            if not self._complete:
                self._fail(UnreadableError(f"the reply is not HTTP/1.1: {wire.clean(str(error))}"))
                return
        if self._overlong:
            self._fail(UnreadableError("the server sent more than the reply to one request"))
        elif self._complete:
            self._succeed()
        elif self._size > REPLY_LIMIT:
            self._fail(UnreadableError(f"the reply has more than {REPLY_LIMIT} bytes"))

    def _succeed(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(Response(self._status, self._headers, self._body, self._keep))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone. Where no length was given, its end in good order is the end of the reply."""
        self._stop_timer()
        self.line.closed = True
        # Each refers to the other, which would leave both, and the transport, to the garbage collector.
        del self._parser
        if exc is None and not (self._in_head or self._framed or self._complete):
            self._succeed()
        else:
            self._fail(exc or ClosedError())

    # Called by the parser.

    def on_message_begin(self) -> None:
        """A reply begins: the one that is due, or one too many."""
        self._overlong = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what is of interest, and not from the trailers behind a chunked body."""
        lower = name.lower()
        if self._in_head and lower in wire.HEADERS:
            self._headers[lower.decode()] = value.decode(errors="replace")
        self._framed |= lower in {b"content-length", b"transfer-encoding"}

    def on_headers_complete(self) -> None:
        """The body begins."""
        self._in_head = False
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """The end, unless the reply is an informational one, which the real one follows."""
        if self._overlong:
            return
        if self._status < HTTPStatus.OK:
            self._headers, self._body, self._in_head, self._framed = {}, b"", True, False
        else:
            self._complete = True
            self._keep = self._parser.should_keep_alive()
