"""AWS Signature Version 4, made for one kind of request: one method, URL and query, and bodies of one type.

All that repeats is prepared: the signing key lives for a day, the canonical request up to the date for a second, and
only hashes are computed for a request. Equal to botocore's ``SigV4Auth``, which the tests prove.

Algorithm: AWS General Reference, "Create a signed AWS API request".
"""

from __future__ import annotations

import hmac
import time
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.utils import normalize_url_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.credentials import ReadOnlyCredentials

PORTS = {"https": 443, "http": 80}

_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

_UNSIGNED = frozenset({"authorization", "content-length", "x-amz-date", "x-amz-security-token"})
"""Headers of a prepared request that the SDK did not sign, or that its signature brought."""


@lru_cache(maxsize=64)
def host_header(url: str) -> str:
    """The Host of ``url``: the port only when it is not the scheme's own."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if parts.port in {None, PORTS.get(parts.scheme)} else f"{host}:{parts.port}"


class Signer:
    """Signs requests to ``url`` with one set of credentials.

    Args:
        url: without a query.
        region: of the signature's scope.
        service: the signing name.
        content_type: of every body, "" where there is none.
        credentials: key, secret and token.
        method: of every request.
        query: of every request, encoded, in the order of its names.
    """

    def __init__(  # noqa: PLR0913  what a signature is about
        self,
        url: str,
        region: str,
        service: str,
        content_type: str,
        credentials: ReadOnlyCredentials,
        *,
        method: str = "POST",
        query: str = "",
    ) -> None:
        self._access_key = credentials.access_key
        self._secret = b"AWS4" + credentials.secret_key.encode()
        self._scope = (region, service, "aws4_request")
        path = quote(normalize_url_path(urlsplit(url).path), safe="/~")
        token = credentials.token
        typed = f"content-type:{content_type}\n" if content_type else ""
        self._head = f"{method}\n{path}\n{query}\n{typed}host:{host_header(url)}\nx-amz-date:"
        names = ("content-type", "host", "x-amz-date", "x-amz-security-token")
        self._signed = ";".join(names[0 if typed else 1 : 4 if token else 3])
        tail = f"\nx-amz-security-token:{' '.join(token.split())}" if token else ""
        self._tail = f"{tail}\n\n{self._signed}\n"
        self._second = -1
        self._day = ""

    def sign(self, body: bytes, now: int) -> tuple[str, str]:
        """The values of the headers X-Amz-Date and Authorization.

        Args:
            body: what is sent.
            now: whole seconds since the epoch, by the server's clock.
        """
        if now != self._second:
            self._turn(now)
        canonical = self._canonical + sha256(body).hexdigest()
        to_sign = self._to_sign + sha256(canonical.encode()).hexdigest()
        return self._date, self._authorization + self._mac(to_sign.encode()).hex()

    def _turn(self, now: int) -> None:
        """Prepare what holds for the second ``now``."""
        self._second = now
        self._date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        day = self._date[:8]
        if day != self._day:
            self._turn_day(day)
        self._canonical = self._head + self._date + self._tail
        self._to_sign = f"AWS4-HMAC-SHA256\n{self._date}\n{self._credential_scope}\n"

    def _turn_day(self, day: str) -> None:
        self._day = day
        self._credential_scope = "/".join((day, *self._scope))
        key = self._secret
        for part in (day, *self._scope):
            key = hmac.digest(key, part.encode(), "sha256")
        self._mac = _hmac(key)
        credential = f"Credential={self._access_key}/{self._credential_scope}"
        self._authorization = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={self._signed}, Signature="


def _hmac(key: bytes) -> Callable[[bytes], bytes]:
    """HMAC-SHA-256 (RFC 2104, section 4) with a key of at most 64 bytes, which is prepared once."""
    # A ninth of what OpenSSL's one-shot function takes, which sets up the hash anew for each message.
    padded = key.ljust(64, b"\0")
    inner, outer = sha256(padded.translate(_INNER)), sha256(padded.translate(_OUTER))

    def mac(message: bytes) -> bytes:
        first, second = inner.copy(), outer.copy()
        first.update(message)
        second.update(first.digest())
        return second.digest()

    return mac


def sign_again(request: Any, credentials: ReadOnlyCredentials, now: float) -> None:  # noqa: ANN401  the SDK has no types
    """Replace the signature of ``request``, which the SDK has prepared, by one of the time ``now``.

    Region and service are those of the signature that it has. Only public methods of botocore's signer are used; it
    takes the time from the machine's clock nowhere but in ``add_auth``.
    """
    _, region, service, _ = text(request.headers["Authorization"]).split("Credential=")[1].split("/", 1)[1].split("/")
    signed = {name: text(value) for name, value in request.headers.items() if name.lower() not in _UNSIGNED}
    signed["X-Amz-Date"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    if credentials.token:
        signed["X-Amz-Security-Token"] = credentials.token
    fresh = AWSRequest(request.method, request.url, signed, request.body)
    fresh.context["timestamp"] = signed["X-Amz-Date"]
    signer = SigV4Auth(credentials, service, region)
    signature = signer.signature(signer.string_to_sign(fresh, signer.canonical_request(fresh)), fresh)
    names = signer.signed_headers(signer.headers_to_sign(fresh))
    del request.headers["Authorization"], request.headers["X-Amz-Date"]
    for name in ("X-Amz-Date", "X-Amz-Security-Token"):
        if name in signed:
            request.headers[name] = signed[name]
    request.headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(fresh)}, SignedHeaders={names}, Signature={signature}"
    )


def text(value: str | bytes) -> str:
    """The value of a header, which the SDK keeps as either."""
    return value.decode() if isinstance(value, bytes) else value
