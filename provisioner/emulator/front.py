"""The HTTP front: aiohttp's low-level server around a :class:`Service`, and the control face for other processes."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct
import time
from itertools import count
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from provisioner.emulator.behaviour import Behaviour
from provisioner.emulator.service import CreateRecord  # noqa: TC001 - msgspec reads the field types at run time
from provisioner.emulator.state import Algorithm  # noqa: TC001 - the same
from provisioner.emulator.wire import JSON, ApiError, Call, Response

if TYPE_CHECKING:
    from provisioner.emulator.service import Result, Service

HOST = "127.0.0.1"
"""The endpoint is for this machine alone: its credentials are public."""

CONTROL = "/_emulator/"

BACKLOG = 1024
"""Connections that may wait to be accepted: several hundred come at once when a client fills its pool."""

SHUTDOWN_S = 0.2
"""Seconds that calls in progress have left when the endpoint stops."""


class Truth(msgspec.Struct, frozen=True):
    """What the endpoint knows for sure. In the same process its parts are live; over HTTP they are a copy.

    Args:
        algorithms: everything that ever existed, in the order of its creation.
        calls: how often each operation was called, by status; 0 counts the calls that got no reply.
        creates: every create call, in the order of arrival.
    """

    algorithms: list[Algorithm]
    calls: dict[str, dict[int, int]]
    creates: list[CreateRecord]

    @property
    def alive(self) -> list[Algorithm]:
        """The algorithms that are not deleted."""
        return [algorithm for algorithm in self.algorithms if algorithm.deleted_at is None]

    def count(self, operation: str, status: int | None = None) -> int:
        """How often an operation was called; with a status, how often it was answered so."""
        by_status = self.calls.get(operation, {})
        return sum(by_status.values()) if status is None else by_status.get(status, 0)


def truth_of(service: Service) -> Truth:
    """The live truth of a service."""
    return Truth(service.accounts.algorithms, service.calls, service.creates)  # type: ignore[arg-type] # live Counters


class Front:
    """Serves a service over HTTP on the loopback interface, until it is stopped.

    Args:
        service: what answers.
        port: 0 takes any free port.
    """

    def __init__(self, service: Service, port: int = 0) -> None:
        self.service = service
        self.port = port
        self._request_ids = count(1)

    async def start(self) -> None:
        """Begins to accept connections.

        Raises:
            OSError: the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._listener = await loop.create_server(self._server, HOST, self.port, backlog=BACKLOG)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes every connection, also those that hang, within a fraction of a second."""
        self._listener.close()
        self._server.pre_shutdown()
        await self._server.shutdown(SHUTDOWN_S)
        await self._listener.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            error = ApiError(413, "RequestEntityTooLargeException", "The request body is over 1 MiB.")
            response = self._response(error.response())
            response.force_close()
            return response
        call = Call(request.method, request.raw_path, _headers(request), body)
        if call.path.startswith(CONTROL):
            return self._response(_control(self.service, call, request.remote))
        result = self.service.handle(call, time.time())
        if result.delay_s:
            await asyncio.sleep(result.delay_s)
        return await self._finish(request, result)

    async def _finish(self, request: web.BaseRequest, result: Result) -> web.StreamResponse:
        transport = request.transport
        if result.ending == "hang":
            await asyncio.Event().wait()  # until the client goes or the endpoint stops: both cancel
        if transport is not None and result.ending != "answer":
            if result.ending == "reset":
                _reset_on_close(transport)
                transport.abort()
            elif result.ending == "cut":
                transport.write(_first_half(result.response))
            transport.close()
        return self._response(result.response)

    def _response(self, reply: Response) -> web.Response:
        request_id = f"{next(self._request_ids):08x}-0000-4000-8000-{self.port:012x}"
        headers = {"Content-Type": reply.content_type, "x-amzn-requestid": request_id, **reply.headers}
        return web.Response(body=reply.body, status=reply.status, headers=headers)


def _headers(request: web.BaseRequest) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        lower = name.lower()
        headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
    return headers


def _reset_on_close(transport: asyncio.BaseTransport) -> None:
    """Has the kernel send RST instead of FIN (SO_LINGER with a time of 0)."""
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as duplicate:
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _first_half(reply: Response) -> bytes:
    head = (
        f"HTTP/1.1 {reply.status} OK\r\nContent-Type: {reply.content_type}\r\nContent-Length: {len(reply.body)}\r\n\r\n"
    )
    return head.encode() + reply.body[: len(reply.body) // 2]


def _control(service: Service, call: Call, remote: str | None) -> Response:
    if remote is None or not ipaddress.ip_address(remote).is_loopback:
        return ApiError(403, "AccessDeniedException", "Only this machine may ask.").response()
    match call.method, call.path.removeprefix(CONTROL):
        case "GET", "truth":
            return Response(200, msgspec.json.encode(truth_of(service)))
        case "GET", "behaviour":
            return Response(200, msgspec.json.encode(service.behaviour))
        case ("PUT" | "PATCH") as method, "behaviour":
            return _change(service, call.body, keep=method == "PATCH")
        case _:
            return ApiError(404, "UnknownOperationException", f"{CONTROL} has truth and behaviour.").response()


def _change(service: Service, body: bytes, *, keep: bool) -> Response:
    """Sets the behaviour: all of it, or with ``keep`` only the fields that the body names."""
    before = msgspec.to_builtins(service.behaviour) if keep else {}
    try:
        changes = msgspec.json.decode(body, type=dict)
        service.behaviour = msgspec.convert({**before, **changes}, Behaviour)
    except (msgspec.MsgspecError, ValueError) as error:
        return ApiError(400, "ValidationException", str(error)).response()
    return Response(200, msgspec.json.encode(service.behaviour), content_type=JSON)
