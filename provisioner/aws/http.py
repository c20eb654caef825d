"""How requests leave: what both transports and every SDK client share below the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from botocore.httpsession import create_urllib3_context, get_cert_path

if TYPE_CHECKING:
    import ssl

KEEPALIVE_S = 4
"""An idle connection is closed after this: below the 5 s at which common servers close theirs, because a create that
meets a connection closed at that moment is ambiguous."""


def tls_context(verify: str | bool) -> ssl.SSLContext | None:  # noqa: FBT001  the SDK's own encoding of the setting
    """The SDK's TLS settings with the check of the host name; None when verification is switched off."""
    if not verify:
        return None
    context: ssl.SSLContext = create_urllib3_context()
    context.check_hostname = True
    context.load_verify_locations(get_cert_path(verify))
    return context


class RedirectedError(Exception):
    """The server redirects. Following would be a second request, with the body, to a place that nobody chose."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server redirects with status {status}")
        self.status = status


async def _refuse_redirect(_session: object, _context: object, params: aiohttp.TraceRequestRedirectParams) -> None:
    params.response.close()
    raise RedirectedError(params.response.status)


class OneRequest(AIOHTTPSession):  # type: ignore[misc]  # the SDK has no types
    """The SDK's HTTP session, made safe.

    It follows redirects by default, and it never checks the host name of a certificate: it took over urllib3's TLS
    context, in which the check is off because urllib3 does it by itself (aiobotocore 2.25, ``httpsession.py``).
    """

    def _get_ssl_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = super()._get_ssl_context()
        context.check_hostname = True
        return context

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
