"""Foreign errors and the losses that they stand for."""

from __future__ import annotations

import socket
import ssl

import aiohttp
import pytest
import yarl
from aiohttp.client_reqrep import ConnectionKey
from botocore import exceptions as sdk
from multidict import CIMultiDict, CIMultiDictProxy

from provisioner.aws.losses import loss_of, lost
from provisioner.aws.wire import MESSAGE_LIMIT
from provisioner.core.verdict import Loss
from provisioner.errors import ConfigurationError, CredentialsError, OutageError

KEY = ConnectionKey("host", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)

URL = "https://host"


def chained(error: BaseException, cause: BaseException) -> BaseException:
    """``error`` as raised from ``cause``."""
    error.__cause__ = cause
    return error


def refused_by_proxy(status: int) -> aiohttp.ClientHttpProxyError:
    """A proxy's answer to CONNECT."""
    info = aiohttp.RequestInfo(yarl.URL(URL), "CONNECT", CIMultiDictProxy(CIMultiDict()))
    return aiohttp.ClientHttpProxyError(info, (), status=status, message="no")


TABLE: list[tuple[BaseException, Loss]] = [
    (sdk.ParamValidationError(report="x"), Loss.PARAMETERS),
    (sdk.NoCredentialsError(), Loss.CREDENTIALS),
    (sdk.CredentialRetrievalError(provider="p", error_msg="x"), Loss.CREDENTIALS),
    (sdk.UnauthorizedSSOTokenError(), Loss.CREDENTIALS),
    (CredentialsError("x"), Loss.CREDENTIALS),
    (OutageError("x"), Loss.UNFETCHED),
    (ConfigurationError("x"), Loss.MISCONFIGURED),
    *[(refused_by_proxy(status), Loss.MISCONFIGURED) for status in (401, 403, 404, 407)],
    *[(refused_by_proxy(status), Loss.PROXY) for status in (408, 429, 500, 502, 503, 504)],
    (aiohttp.ClientConnectorDNSError(KEY, OSError("x")), Loss.DNS),
    (chained(aiohttp.ClientConnectorDNSError(KEY, OSError("x")), socket.gaierror(socket.EAI_AGAIN, "x")), Loss.DNS),
    (
        chained(aiohttp.ClientConnectorDNSError(KEY, OSError("x")), socket.gaierror(socket.EAI_NONAME, "x")),
        Loss.NO_SUCH_HOST,
    ),
    (aiohttp.ClientProxyConnectionError(KEY, OSError("x")), Loss.PROXY),
    (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("x")), Loss.MISCONFIGURED),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError("x")), Loss.HANDSHAKE),
    (aiohttp.ClientConnectorError(KEY, ConnectionResetError()), Loss.HANDSHAKE),
    (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError()), Loss.REFUSED),
    (aiohttp.ClientConnectorError(KEY, TimeoutError()), Loss.CONNECT_TIMEOUT),
    (aiohttp.ConnectionTimeoutError(), Loss.CONNECT_TIMEOUT),
    (aiohttp.SocketTimeoutError(), Loss.READ_TIMEOUT),
    (TimeoutError(), Loss.READ_TIMEOUT),
    (aiohttp.ServerDisconnectedError(), Loss.CLOSED),
    (aiohttp.ClientPayloadError(), Loss.CLOSED),
    (chained(aiohttp.ClientOSError(104, "x"), ConnectionResetError()), Loss.RESET),
    (chained(aiohttp.ClientOSError(1, "x"), ssl.SSLError("x")), Loss.TLS),
    (aiohttp.ClientOSError(5, "x"), Loss.UNKNOWN),
    (RuntimeError("x"), Loss.UNKNOWN),
]


@pytest.mark.parametrize(("error", "loss"), TABLE, ids=[repr(error)[:50] for error, _ in TABLE])
def test_each_error_stands_for_its_loss(error: BaseException, loss: Loss) -> None:
    """The table of foreign errors."""
    assert loss_of(error) is loss


@pytest.mark.parametrize(("error", "loss"), TABLE, ids=[repr(error)[:50] for error, _ in TABLE])
def test_the_sdks_wrapping_changes_nothing(error: BaseException, loss: Loss) -> None:
    """Botocore wraps a refusal and a reset in mid-reply alike; what is inside decides."""
    assert loss_of(sdk.EndpointConnectionError(endpoint_url=URL, error=error)) is loss
    assert loss_of(sdk.HTTPClientError(error=sdk.HTTPClientError(error=error))) is loss


def test_an_earlier_failure_to_connect_does_not_excuse_a_later_loss() -> None:
    """An error after the first byte stays one, though it was raised while an earlier refusal was handled."""
    refusal = aiohttp.ClientConnectorError(KEY, ConnectionRefusedError())

    assert loss_of(chained(aiohttp.ServerDisconnectedError(), refusal)) is Loss.CLOSED
    assert loss_of(chained(aiohttp.ClientOSError(5, "x"), refusal)) is Loss.UNKNOWN


def test_a_loss_without_words_names_its_error() -> None:
    """The message is never empty."""
    assert lost(TimeoutError()).message == "TimeoutError"


def test_the_text_of_an_error_is_bounded_and_keeps_secrets() -> None:
    """The HTTP library quotes the line that it could not read, whatever its length and whatever stands in it."""
    garbage = lost(aiohttp.http_exceptions.BadStatusLine("A" * 100_000))
    token = lost(aiohttp.http_exceptions.BadHttpMessage("Invalid header: X-Amz-Security-Token: IQoJ/secret+=="))

    assert len(garbage.message) == MESSAGE_LIMIT
    assert "secret" not in token.message
