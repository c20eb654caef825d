"""Maps the exceptions of the transports to a Loss. The one place where foreign errors of a call are known.

What decides is whether a byte of the request can have left. aiohttp shows it: ``ClientConnectorError`` and its kin,
``ConnectionTimeoutError`` and the proxy errors are raised while it connects, before it writes. All else may come after,
also on a kept-alive connection that the server closed at the moment of sending, and counts as after. botocore's own
exceptions blur the line (``EndpointConnectionError`` stands for a refusal and for a reset in mid-reply), so they are
peeled off first. Only the outermost error of aiohttp decides; what it was raised from merely names the loss.
"""

from __future__ import annotations

import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
from botocore import exceptions as sdk

from provisioner.aws.connection import ClosedError
from provisioner.aws.files import OUT_OF_FILES
from provisioner.aws.pool import loss_of_name
from provisioner.aws.wire import clean
from provisioner.core.verdict import INTERNAL_SERVER_ERROR, Loss, Reply
from provisioner.errors import ConfigurationError, CredentialsError, OutageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_Table = tuple[tuple[type[BaseException], Loss], ...]

_UNSENT: _Table = (
    (sdk.ParamValidationError, Loss.PARAMETERS),
    (ConfigurationError, Loss.MISCONFIGURED),
    (OutageError, Loss.UNFETCHED),
    (CredentialsError, Loss.CREDENTIALS),
    (sdk.NoCredentialsError, Loss.CREDENTIALS),
    (sdk.PartialCredentialsError, Loss.CREDENTIALS),
    (sdk.CredentialRetrievalError, Loss.CREDENTIALS),
    (sdk.SSOError, Loss.CREDENTIALS),
)

_CONNECTING: _Table = (
    (aiohttp.ClientConnectorDNSError, Loss.DNS),
    (aiohttp.ClientProxyConnectionError, Loss.PROXY),
    (aiohttp.ClientConnectorCertificateError, Loss.MISCONFIGURED),
    (aiohttp.ClientSSLError, Loss.HANDSHAKE),
    (aiohttp.ConnectionTimeoutError, Loss.CONNECT_TIMEOUT),
)

_SENDING: _Table = (
    (TimeoutError, Loss.READ_TIMEOUT),
    (ssl.SSLError, Loss.TLS),
    (ClosedError, Loss.CLOSED),
    (ConnectionResetError, Loss.RESET),
    (BrokenPipeError, Loss.RESET),
    (ConnectionAbortedError, Loss.RESET),
    (aiohttp.ServerDisconnectedError, Loss.CLOSED),
    (aiohttp.ClientPayloadError, Loss.CLOSED),
)


_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT.value, HTTPStatus.TOO_MANY_REQUESTS.value})
"""Refusals of a proxy that it may not repeat, besides 5xx."""


def lost(error: BaseException) -> Reply:
    """The Reply that stands for ``error``: its Loss, and its text as the message."""
    return Reply(loss=loss_of(error), message=clean(str(error)) or type(error).__name__)


def loss_of(error: BaseException) -> Loss:
    """What ``error`` says about the request. UNKNOWN, which counts as "may have arrived", when nothing is known."""
    inner = _peel(error)
    before = _find(inner, _UNSENT) or _find(inner, _CONNECTING)
    if before is Loss.DNS:
        return loss_of_name(next((one for one in causes(inner) if isinstance(one, socket.gaierror)), inner))
    if before is not None:
        return before
    if isinstance(inner, aiohttp.ClientHttpProxyError):
        # It wants other credentials, or lets nothing pass to this host; or it is in trouble itself.
        passes = inner.status >= INTERNAL_SERVER_ERROR or inner.status in _PASSING
        return Loss.PROXY if passes else Loss.MISCONFIGURED
    if isinstance(inner, aiohttp.ClientConnectorError):
        return _refusal(inner.os_error)
    return next((loss for e in causes(inner) if (loss := _find(e, _SENDING))), Loss.UNKNOWN)


def _find(error: BaseException, table: _Table) -> Loss | None:
    return next((loss for kind, loss in table if isinstance(error, kind)), None)


def _refusal(cause: OSError) -> Loss:
    """A connection that ends inside the TLS handshake shows as a connector error with the reset inside."""
    if isinstance(cause, ConnectionResetError | ConnectionAbortedError):
        return Loss.HANDSHAKE
    if cause.errno in OUT_OF_FILES:
        return Loss.FILES
    return Loss.CONNECT_TIMEOUT if isinstance(cause, TimeoutError) else Loss.REFUSED


def _peel(error: BaseException) -> BaseException:
    """The error under botocore's exceptions, which keep it in ``kwargs["error"]``."""
    while isinstance(error, sdk.BotoCoreError):
        inner = error.kwargs.get("error")
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what it was raised from, the outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
