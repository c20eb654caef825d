"""How requests leave: what both transports and every SDK client share below the API."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from botocore.httpsession import create_urllib3_context, get_cert_path

from provisioner.aws.timeouts import responsive_timeout
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

KEEPALIVE_S = 4
"""An idle connection is closed after this: below the 5 s at which common servers close theirs, because a create that
meets a connection closed at that moment is ambiguous."""

UNTIMED = aiohttp.ClientTimeout()
"""In place of aiohttp's own time-outs for connecting, which count while the event loop is stalled, and are rounded up
to whole seconds where they are long."""


@cache
def tls_context(verify: str | bool) -> ssl.SSLContext | None:  # noqa: FBT001  the SDK's own encoding of the setting
    """The SDK's TLS settings with the check of the host name; None when verification is switched off.

    One for all targets that use a bundle: reading the SDK's takes 20 ms of CPU. A setting that is there but empty is
    none: it never switches verification off.

    Raises:
        ConfigurationError: the bundle cannot be read.
    """
    if verify is False:
        return None
    context: ssl.SSLContext = create_urllib3_context()
    context.check_hostname = True
    path = get_cert_path(verify or True)
    try:
        context.load_verify_locations(path)
    except OSError as error:
        hint = "It comes from AWS_CA_BUNDLE, `ca_bundle` in the AWS configuration, or REQUESTS_CA_BUNDLE"
        raise ConfigurationError("the CA bundle cannot be read", where=path, why=str(error), hint=hint) from error
    return context


before_write: ContextVar[Callable[[], None] | None] = ContextVar("before_write", default=None)
"""Called by :class:`CleanConnector` when the connection for the running task's request is there and nothing of the
request is written: the SDK has no hook at that place. What it raises goes through the SDK to the caller."""


class RedirectedError(Exception):
    """The server redirects. Following would be a second request, with the body, to a place that nobody chose."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server redirects with status {status}")
        self.status = status


async def _refuse_redirect(_session: object, _context: object, params: aiohttp.TraceRequestRedirectParams) -> None:
    params.response.close()
    raise RedirectedError(params.response.status)


def is_clean(protocol: ResponseHandler | None) -> bool:
    """Whether a connection is open, and nothing lies on it to be read: that would pass for the next reply."""
    return protocol is not None and protocol.is_connected() and not protocol.should_close


class CleanConnector(aiohttp.TCPConnector):
    """A pool that hands out only connections that are clean.

    aiohttp looks only whether a pooled connection is still open. A server that answers one request twice, or says
    something of its own accord, would have the wrong ARN recorded.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> Connection:
        """An open connection with nothing to read.

        Raises:
            TimeoutError: it took longer than ``timeout.sock_connect`` with a responsive event loop.
            ConnectionResetError: three in a row were not.
            Exception: what :data:`before_write` raises.
        """
        for _ in range(3):
            async with responsive_timeout(timeout.sock_connect) if timeout.sock_connect else nullcontext():
                connection = await super().connect(req, traces, UNTIMED)
            if not is_clean(connection.protocol):
                connection.close()
                continue
            try:
                if check := before_write.get():
                    check()
            except BaseException:
                connection.release()
                raise
            return connection
        raise ConnectionResetError("the server closes connections, or talks, before a request is sent")


class OneRequest(AIOHTTPSession):  # type: ignore[misc]  # the SDK has no types
    """The SDK's HTTP session, made safe (aiobotocore 2.25, ``httpsession.py``).

    By default it follows redirects, with the body; it never checks the host name of a certificate, because it took over
    urllib3's TLS context, in which the check is off since urllib3 does it by itself; and through a proxy it does not
    check the certificate at all.
    """

    def __init__(self, max_pool_connections: int = 10, **options: Any) -> None:  # noqa: ANN401  the SDK has no types
        super().__init__(max_pool_connections=max_pool_connections, **options)
        self._places = asyncio.Semaphore(max_pool_connections)

    async def send(self, request: object) -> object:
        """Send one request. Waiting for a place in the pool is not part of the time for connecting."""
        async with self._places:
            return await super().send(request)

    def _create_connector(self, _proxy_url: str | None) -> aiohttp.TCPConnector:
        context = tls_context(self._verify) or False
        return CleanConnector(limit=0, ssl=context, **self._connector_args)

    async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)
        if not session.trace_configs:
            config = aiohttp.TraceConfig()
            config.on_request_redirect.append(_refuse_redirect)
            config.freeze()
            session.trace_configs.append(config)
        return session


class Config(AioConfig):  # type: ignore[misc]  # the SDK has no types
    """A client configuration whose clients use :class:`OneRequest`, also when it is merged under another one.

    Set as a session's default, it reaches the clients that the SDK makes on its own for SSO and assumed roles.
    """

    def __init__(self, connector_args: dict[str, object] | None = None, **options: object) -> None:
        super().__init__(connector_args or {"keepalive_timeout": KEEPALIVE_S}, http_session_cls=OneRequest, **options)

    def merge(self, other_config: AioConfig) -> Config:
        """This configuration with the options of ``other_config`` over it."""
        theirs = other_config._user_provided_options  # noqa: SLF001  what botocore's own merge works on
        return Config(self.connector_args, **(self._user_provided_options | theirs))
