"""Authentication: verifies SigV4 signatures and session tokens.

botocore's signer signs the request again, as it arrived, and the two signatures are compared. That costs 32 us of CPU a
call, where code of our own with cached keys took 10, and nothing measures this endpoint at full speed.
"""

from __future__ import annotations

import calendar
import hmac
import re
import time
from functools import lru_cache
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from provisioner.emulator.keys import Session, account_of, open_token, secret_of
from provisioner.emulator.model import partition
from provisioner.emulator.wire import ApiError, Call

if TYPE_CHECKING:
    from botocore.compat import HTTPHeaders

SERVICE_NAME = "cleanrooms-ml"
"""The signing name of Clean Rooms ML."""

STS_NAME = "sts"

TOLERANCE_S = 300
"""The age and the lead that AWS allows a signature, in seconds (SigV4 documentation)."""

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=([^/,\s]+)/(\d{8})/([-a-z0-9]+)/([-a-z0-9]+)/aws4_request, *"
    r"SignedHeaders=([^,\s]+), *Signature=([0-9a-f]{64})"
).fullmatch
_TIMESTAMP = "%Y%m%dT%H%M%SZ"


class Caller(NamedTuple):
    """The identity behind a signature, and the Region and service that it was made for."""

    account_id: str
    region: str
    service: str
    arn: str
    user_id: str


class Authorization(NamedTuple):
    """The parts of an Authorization header."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: str
    signature: str


def authenticate(call: Call, now: float, *, tokens_since: float = 0.0, verify: bool = True) -> Caller:
    """Returns the caller that signed a call.

    Args:
        call: as it arrived.
        now: the endpoint's time, seconds since the epoch.
        tokens_since: tokens issued before this time count as expired.
        verify: False skips the signature and its date, and believes the Authorization header.

    Raises:
        ApiError: 403, with the code that AWS uses for the reason.
    """
    authorization = _parse_authorization(call)
    session = _session(call, authorization.access_key_id)
    if verify:
        _check_date(call, authorization, now)
        _check_signature(call, authorization)
    if session and (session.issued_at < tokens_since or session.expires_at <= now):
        raise expired_token()
    return _caller(authorization, session)


def _parse_authorization(call: Call) -> Authorization:
    header = call.headers.get("authorization")
    if header is None:
        raise ApiError(HTTPStatus.FORBIDDEN, "MissingAuthenticationTokenException", "Missing Authentication Token")
    match = _AUTHORIZATION(header)
    if match is None:
        message = "The Authorization header is not a complete signature."
        raise ApiError(HTTPStatus.FORBIDDEN, "IncompleteSignatureException", message)
    return Authorization(*match.groups())


def _session(call: Call, access_key_id: str) -> Session | None:
    """The session of a temporary key, None for a long-lived key.

    Raises:
        ApiError: 403 for an unknown key, and for a token that is missing, forged or of another key.
    """
    token = call.headers.get("x-amz-security-token")
    if token is None and account_of(access_key_id):
        return None
    session = None if token is None else open_token(token, access_key_id)
    if session is None:
        message = "The security token included in the request is invalid."
        raise ApiError(HTTPStatus.FORBIDDEN, "UnrecognizedClientException", message)
    return session


def _check_date(call: Call, authorization: Authorization, now: float) -> None:
    stamp = call.headers.get("x-amz-date", "")
    try:
        signed_at = _seconds(stamp)
    except ValueError as error:
        message = "X-Amz-Date is missing or unreadable."
        raise ApiError(HTTPStatus.FORBIDDEN, "IncompleteSignatureException", message) from error
    if stamp[:8] != authorization.date:
        raise _invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP")
    if now - signed_at > TOLERANCE_S:
        raise _invalid(f"Signature expired: {stamp} is now earlier than {_stamp(now)} - 5 min.")
    if signed_at - now > TOLERANCE_S:
        raise _invalid(f"Signature not yet current: {stamp} is still later than {_stamp(now)} + 5 min.")


@lru_cache(maxsize=1024)
def _seconds(stamp: str) -> int:
    return calendar.timegm(time.strptime(stamp, _TIMESTAMP))


def _stamp(seconds: float) -> str:
    return time.strftime(_TIMESTAMP, time.gmtime(seconds))


def _check_signature(call: Call, authorization: Authorization) -> None:
    """Requires that the host and every x-amz- header are signed, that a stated body digest is true, and the signature.

    Raises:
        ApiError: 403.
    """
    signed = set(authorization.signed_headers.split(";"))
    required = {name for name in call.headers if name.startswith("x-amz-")} | {"host"}
    if not required <= signed or not signed <= call.headers.keys():
        raise _invalid("There were headers present in the request which were not signed, or signed and not present.")
    stated = call.headers.get("x-amz-content-sha256")
    if stated is not None and stated != sha256(call.body).hexdigest():
        raise _invalid("The provided 'x-amz-content-sha256' header does not match what was computed.")
    try:
        expected = _expected_signature(call, authorization, signed)
    except UnicodeEncodeError as error:
        raise _invalid("The request is not UTF-8.") from error
    if not hmac.compare_digest(expected, authorization.signature):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
        )


class _SignerOfReceived(SigV4Auth):  # type: ignore[misc]  # botocore ships no types
    """Signs exactly the headers that the client signed: botocore's own choice leaves out user-agent and others."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        headers: HTTPHeaders = request.headers
        return headers


def _expected_signature(call: Call, authorization: Authorization, signed: set[str]) -> str:
    """The signature that botocore computes for a call as it arrived; UnicodeEncodeError for a call that is not UTF-8.

    The query is decoded here and encoded again by botocore, because a client may send ``:`` or ``%7E`` although it
    signs their canonical forms, ``%3A`` and ``~``.
    """
    headers = {name: value for name, value in call.headers.items() if name in signed}
    "".join(headers.values()).encode()  # the front decodes stray bytes to surrogates, which the signer cannot take
    request = AWSRequest(
        method=call.method,
        url=f"http://{call.headers['host']}{call.path}",
        headers=headers,
        data=call.body,
        params=[(unquote(key), unquote(value)) for key, value in _pairs(call.query)],
    )
    request.context["timestamp"] = call.headers["x-amz-date"]
    keys = BotocoreCredentials(authorization.access_key_id, secret_of(authorization.access_key_id))
    signer = _SignerOfReceived(keys, authorization.service, authorization.region)
    signature: str = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return signature


def _pairs(query: str) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (pair.partition("=") for pair in query.split("&") if pair)]


def _caller(authorization: Authorization, session: Session | None) -> Caller:
    region, service, key_id = authorization.region, authorization.service, authorization.access_key_id
    if session is None:
        account_id = account_of(key_id)
        return Caller(account_id, region, service, f"arn:{partition(region)}:iam::{account_id}:user/embedded", key_id)
    _, part, _, _, account_id, role = session.role_arn.split(":", 5)
    arn = f"arn:{part}:sts::{account_id}:assumed-role/{role.rpartition('/')[2]}/{session.name}"
    return Caller(account_id, region, service, arn, f"{key_id}:{session.name}")


def _invalid(message: str) -> ApiError:
    return ApiError(HTTPStatus.FORBIDDEN, "InvalidSignatureException", message)


def expired_token() -> ApiError:
    """403: the session token has expired."""
    message = "The security token included in the request is expired"
    return ApiError(HTTPStatus.FORBIDDEN, "ExpiredTokenException", message)
