"""How requests of the SDK leave this machine, and the TLS settings of both transports."""

from __future__ import annotations

from contextlib import nullcontext
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary, finalize

import aiohttp
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.config import AioConfig
from botocore import exceptions as sdk
from botocore.httpsession import ProxyConfiguration, create_urllib3_context, get_cert_path
from multidict import CIMultiDict
from yarl import URL

from provisioner.aws.pool import KEEPALIVE_S
from provisioner.aws.sigv4 import text
from provisioner.aws.timeouts import responsive_timeout
from provisioner.core.verdict import Line
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

UNTIMED = aiohttp.ClientTimeout()
"""In place of aiohttp's own time-outs for connecting, which count while the event loop is stalled, and are rounded up
to whole seconds where they are long."""


@cache
def tls_context(ca_bundle: str) -> ssl.SSLContext:
    """The SDK's TLS settings with the check of the host name; ``ca_bundle`` is "" for the bundle that the SDK ships.

    One for all targets that use a bundle: reading the SDK's takes 20 ms of CPU.

    Raises:
        ConfigurationError: the bundle cannot be read.
    """
    context: ssl.SSLContext = create_urllib3_context()
    context.check_hostname = True
    path = ca_bundle or get_cert_path(True)  # noqa: FBT003  the SDK's own encoding of the setting
    try:
        context.load_verify_locations(path)
    except OSError as error:
        hint = "It comes from AWS_CA_BUNDLE, `ca_bundle` in the AWS configuration, or REQUESTS_CA_BUNDLE"
        raise ConfigurationError("the CA bundle cannot be read", where=path, why=str(error), hint=hint) from error
    return context


before_write: ContextVar[Callable[[Line], None] | None] = ContextVar("before_write", default=None)
"""Called by :class:`CleanConnector` with the connection for the running task's request when nothing of the request is
written: the SDK has no hook at that place. What it raises goes through the SDK to the caller."""


def is_clean(protocol: ResponseHandler | None) -> bool:
    """Whether a connection is open, and nothing lies on it to be read: that would pass for the next reply."""
    return protocol is not None and protocol.is_connected() and not protocol.should_close


class CleanConnector(aiohttp.TCPConnector):
    """A pool that hands out only connections that are clean.

    aiohttp looks only whether a pooled connection is still open. A server that answers one request twice, or says
    something of its own accord, would have the wrong ARN recorded.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  the options of aiohttp
        super().__init__(**options)
        self._lines: WeakKeyDictionary[ResponseHandler, Line] = WeakKeyDictionary()

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
            protocol = connection.protocol
            line = Line() if protocol is None else self._line(protocol)
            if not is_clean(protocol):
                # It is still open, so there is something to read.
                line.mixed_up |= protocol is not None and protocol.is_connected()
                connection.close()
                continue
            try:
                if check := before_write.get():
                    check(line)
            except BaseException:
                connection.release()
                raise
            return connection
        raise ConnectionResetError("the server closes the connection, or sends data, before a request is sent")

    def _line(self, protocol: ResponseHandler) -> Line:
        """What is known of the connection with ``protocol``."""
        if protocol not in self._lines:
            self._lines[protocol] = line = Line()
            finalize(protocol, setattr, line, "closed", True).atexit = False  # noqa: FBT003  the value
        return self._lines[protocol]


class HttpSession:
    """The HTTP session of every SDK client, in place of the SDK's own (aiobotocore 2.25, ``httpsession.py``).

    The SDK's follows redirects, with the body, to a place that the user did not choose. It never checks the host name
    of a certificate, because it took over urllib3's TLS context, in which that check is off since urllib3 does it by
    itself; and through a proxy it does not check the certificate at all.

    The arguments are those that the SDK gives. Certificates are always checked: of ``verify`` only a bundle counts.
    """

    def __init__(
        self,
        *,
        verify: str | bool = True,
        proxies: dict[str, str] | None = None,
        timeout: tuple[float, float],
        proxies_config: dict[str, Any] | None = None,
        connector_args: dict[str, Any] | None = None,
        **_: object,
    ) -> None:
        self._ca_bundle = verify if isinstance(verify, str) else ""
        self._proxies = ProxyConfiguration(proxies=proxies, proxies_settings=proxies_config)
        self._connect_s, self._read_s = timeout
        self._connector_args = connector_args or {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, request: Any) -> AioAWSResponse:  # noqa: ANN401  the SDK has no types
        """Send one request and read its reply to the end.

        Raises:
            EndpointConnectionError: no connection could be opened, or it broke.
            HTTPClientError: anything else went wrong; ``kwargs["error"]`` is what.
        """
        try:
            async with responsive_timeout(self._connect_s + self._read_s):
                return await self._send(request)
        except aiohttp.ClientConnectionError as error:
            raise sdk.EndpointConnectionError(endpoint_url=request.url, error=error) from error
        except Exception as error:
            raise sdk.HTTPClientError(error=error) from error

    async def _send(self, request: Any) -> AioAWSResponse:  # noqa: ANN401  the same
        if self._session is None:
            raise RuntimeError("the client is closed")
        headers = CIMultiDict((name, text(value)) for name, value in request.headers.items())
        headers["Accept-Encoding"] = "identity"
        response = await self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=headers,
            data=request.body,
            proxy=self._proxies.proxy_url_for(request.url),
            proxy_headers=self._proxies.proxy_headers_for(request.url),
            allow_redirects=False,
        )
        kept = {name.decode().lower(): value.decode(errors="replace") for name, value in response.raw_headers}
        answer = AioAWSResponse(request.url, response.status, kept, response)
        await answer.content
        return answer

    def _open(self) -> aiohttp.ClientSession:
        connector = CleanConnector(limit=0, ssl=tls_context(self._ca_bundle), **self._connector_args)
        timeout = aiohttp.ClientTimeout(sock_connect=self._connect_s)
        cookies = aiohttp.DummyCookieJar()
        skip = {"Content-Type"}
        return aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=cookies, skip_auto_headers=skip, auto_decompress=False
        )


class ClientConfig(AioConfig):  # type: ignore[misc]  # the SDK has no types
    """A client configuration whose clients use :class:`HttpSession`, also when it is merged under another one.

    Set as a session's default, it reaches the clients that the SDK makes on its own for SSO and assumed roles.
    """

    def __init__(self, **options: object) -> None:
        super().__init__({"keepalive_timeout": KEEPALIVE_S}, http_session_cls=HttpSession, **options)

    def merge(self, other_config: AioConfig) -> AioConfig:
        """This configuration with the options of ``other_config`` over it."""
        merged = super().merge(other_config)
        # AioConfig.merge drops it (aiobotocore 2.25).
        merged.http_session_cls = HttpSession
        return merged
