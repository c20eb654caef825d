"""The HTTP front: aiohttp's low-level server around a :class:`Service`, and the control API for other processes."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct
import time
from email.utils import formatdate
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from provisioner.emulator.behaviour import Behaviour
from provisioner.emulator.service import CreateRecord  # noqa: TC001 - msgspec reads the field types at run time
from provisioner.emulator.state import Algorithm  # noqa: TC001 - the same
from provisioner.emulator.wire import ApiError, Call, HttpResponse

if TYPE_CHECKING:
    from provisioner.emulator.service import Result, Service

HOST = "127.0.0.1"
"""Loopback only, because the endpoint's credentials are public."""

CONTROL = "/_emulator/"

BACKLOG = 1024
"""Connections that may wait to be accepted: a client that fills its pool opens several hundred at once."""

SHUTDOWN_S = 0.2
"""Seconds that calls in progress have to finish when the endpoint stops."""


class Truth(msgspec.Struct, frozen=True):
    """Everything that happened at the endpoint. In the same process its parts are live; over HTTP they are a copy.

    Args:
        algorithms: everything that ever existed, in the order of its creation.
        calls: the number of calls of each operation, by status; 0 counts the calls that got no response.
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
        """The number of calls of an operation; with a status, of those that were answered with it."""
        by_status = self.calls.get(operation, {})
        return sum(by_status.values()) if status is None else by_status.get(status, 0)


def truth_of(service: Service) -> Truth:
    """The live truth of a service."""
    return Truth(service.accounts.algorithms, service.calls, service.creates)  # type: ignore[arg-type] # live Counters


def listen(port: int = 0) -> socket.socket:
    """A socket that listens on the loopback interface; port 0 takes any free port.

    Raises:
        OSError: the port is taken.
    """
    return socket.create_server((HOST, port), backlog=BACKLOG)


class Front:
    """Serves a service over HTTP until it is stopped.

    Args:
        service: answers the calls.
        listener: accepts the connections.
    """

    def __init__(self, service: Service, listener: socket.socket) -> None:
        self.service = service
        self.port: int = listener.getsockname()[1]
        self._socket = listener
        self._request_ids = count(1)

    async def start(self) -> None:
        """Starts to accept connections."""
        self._server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._server, sock=self._socket, backlog=BACKLOG)

    async def stop(self) -> None:
        """Closes every connection, including those that hang, within a fraction of a second."""
        self._listener.close()
        self._server.pre_shutdown()
        await self._server.shutdown(SHUTDOWN_S)
        await self._listener.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            error = ApiError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "RequestEntityTooLargeException", "The request body is over 1 MiB."
            )
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
            await asyncio.Event().wait()  # until the client disconnects or the endpoint stops: both cancel this task
        if transport is not None and result.ending != "answer":
            if result.ending == "reset":
                _reset_on_close(transport)
                transport.abort()
            elif result.ending == "cut":
                transport.write(_first_half(result.response, self._headers(result.response)))
            transport.close()
        return self._response(result.response)

    def _response(self, response: HttpResponse) -> web.Response:
        return web.Response(body=response.body, status=response.status, headers=self._headers(response))

    def _headers(self, response: HttpResponse) -> dict[str, str]:
        """The headers on the wire. The date is the endpoint's, from which SDKs work out how far their clock is off."""
        return {
            "Date": formatdate(time.time() + self.service.behaviour.clock_offset, usegmt=True),
            "Content-Type": response.content_type,
            "x-amzn-requestid": f"{next(self._request_ids):08x}-0000-4000-8000-{self.port:012x}",
            **response.headers,
        }


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


def _first_half(response: HttpResponse, headers: dict[str, str]) -> bytes:
    """The head of a response, which promises the whole body, and the first half of that body."""
    lines = [f"{name}: {value}" for name, value in {**headers, "Content-Length": len(response.body)}.items()]
    head = "\r\n".join([f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}", *lines, "", ""])
    return head.encode() + response.body[: len(response.body) // 2]


def _control(service: Service, call: Call, remote: str | None) -> HttpResponse:
    if remote is None or not ipaddress.ip_address(remote).is_loopback:
        message = "The control API answers this machine only."
        return ApiError(HTTPStatus.FORBIDDEN, "AccessDeniedException", message).response()
    match call.method, call.path.removeprefix(CONTROL):
        case "GET", "truth":
            return HttpResponse(HTTPStatus.OK, msgspec.json.encode(truth_of(service)))
        case "GET", "behaviour":
            return HttpResponse(HTTPStatus.OK, msgspec.json.encode(service.behaviour))
        case ("PUT" | "PATCH") as method, "behaviour":
            return _change(service, call.body, keep=method == "PATCH")
        case _:
            message = f"{CONTROL} has truth and behaviour."
            return ApiError(HTTPStatus.NOT_FOUND, "UnknownOperationException", message).response()


def _change(service: Service, body: bytes, *, keep: bool) -> HttpResponse:
    """Sets the behaviour: all of it, or with ``keep`` only the fields that the body names."""
    before = msgspec.to_builtins(service.behaviour) if keep else {}
    try:
        changes = msgspec.json.decode(body, type=dict)
        service.behaviour = msgspec.convert({**before, **changes}, Behaviour)
    except (msgspec.MsgspecError, ValueError) as error:
        return ApiError(HTTPStatus.BAD_REQUEST, "ValidationException", str(error)).response()
    return HttpResponse(HTTPStatus.OK, msgspec.json.encode(service.behaviour))
