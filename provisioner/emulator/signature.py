"""Who calls: verifies SigV4 signatures and session tokens.

The signature of a call is computed again, from what came in, with a signing key that is cached per key, day, Region
and service. Before a call is refused for a wrong signature, botocore's own signer computes it once more: its word
decides. A test proves that both agree on arbitrary requests.

No credential here is a secret. A key id holds the number of its account, as those of AWS do; all long-lived keys share
one secret, which is public. Session tokens carry what they stand for, so that the endpoint can be
restarted, and nothing has to be remembered.
"""

from __future__ import annotations

import base64
import calendar
import hmac
import re
import time
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.utils import normalize_url_path

from provisioner.emulator.state import partition
from provisioner.emulator.wire import ApiError, Call

DEFAULT_ACCOUNT = "123456789012"
SERVICE_NAME = "cleanrooms-ml"
"""The signing name of Clean Rooms ML."""

STS_NAME = "sts"

LONG_LIVED, TEMPORARY = "AKIA", "ASIA"
"""What access key ids begin with (IAM User Guide, "Unique identifiers")."""

_REST = b"EMBD"
"""The last bytes of a long-lived key id, which tell it from the keys of other accounts' users."""

SECRET = "the-embedded-endpoint-has-no-secrets"  # noqa: S105 - public on purpose, accepted nowhere else
TOLERANCE_S = 300
"""Seconds between a signature and its arrival that AWS allows, either way (SigV4 documentation)."""

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=([^/,\s]+)/(\d{8})/([-a-z0-9]+)/([-a-z0-9]+)/aws4_request, *"
    r"SignedHeaders=([^,\s]+), *Signature=([0-9a-f]{64})"
).fullmatch
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_KEY_CACHE_SIZE = 1024
_SEAL_SIZE = 16


class Credentials(NamedTuple):
    """What a client signs with. ``session_token`` is empty for long-lived keys."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""
    expires_at: float = 0.0

    def environment(self) -> dict[str, str]:
        """The environment variables that hand these credentials to any AWS SDK."""
        variables = {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret_access_key}
        return {**variables, "AWS_SESSION_TOKEN": self.session_token} if self.session_token else variables


class Caller(NamedTuple):
    """Who signed a call, for which Region and service."""

    account_id: str
    region: str
    service: str
    arn: str
    user_id: str


class Session(msgspec.Struct, frozen=True, array_like=True):
    """What a session token stands for. Times are seconds since the epoch."""

    access_key_id: str
    role_arn: str
    name: str
    issued_at: float
    expires_at: float


class Authorization(NamedTuple):
    """The parts of an Authorization header."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: str
    signature: str


def credentials(account_id: str = DEFAULT_ACCOUNT) -> Credentials:
    """The long-lived credentials of an account; every account of twelve digits exists."""
    return Credentials(_key_id(LONG_LIVED, account_id, _REST), SECRET)


def _key_id(prefix: str, account_id: str, rest: bytes) -> str:
    """A key id as AWS forms them: in base 32, a one bit, the account in 40 bits, and what tells its keys apart."""
    return prefix + base64.b32encode((1 << 47 | int(account_id) << 7).to_bytes(6, "big") + rest).decode()


@lru_cache(maxsize=1024)
def _account(access_key_id: str) -> str:
    """The account of a long-lived key, "" when it is none of ours."""
    try:
        content = base64.b32decode(access_key_id.removeprefix(LONG_LIVED))
    except ValueError:
        return ""
    account_id = f"{int.from_bytes(content[:6], 'big') >> 7 & (1 << 40) - 1:012d}"
    return account_id if access_key_id == _key_id(LONG_LIVED, account_id, _REST) else ""


def issue(role_arn: str, name: str, issued_at: float, lifetime: float) -> Credentials:
    """Credentials of an assumed role for ``lifetime`` seconds, as AssumeRole gives them."""
    seed = sha256(f"{role_arn}\n{name}\n{issued_at!r}".encode()).digest()
    key_id = _key_id(TEMPORARY, role_arn.split(":")[4], seed[:4])
    payload = msgspec.json.encode(Session(key_id, role_arn, name, issued_at, issued_at + lifetime))
    token = base64.b64encode(payload + _seal(payload)).decode()
    return Credentials(key_id, _session_secret(key_id), token, issued_at + lifetime)


class Verifier:
    """Verifies calls; one per endpoint, for its cache of signing keys."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str, str, str], bytes] = {}

    def caller(self, call: Call, now: float, *, tokens_since: float = 0.0, verify: bool = True) -> Caller:
        """Who signed the call.

        Args:
            call: as it came in.
            now: the endpoint's time, seconds since the epoch.
            tokens_since: tokens issued before this time have expired.
            verify: False takes the caller's word for who it is.

        Raises:
            ApiError: 403, with the code that AWS gives for what is wrong.
        """
        authorization = _parse_authorization(call)
        session = _session(call, authorization.access_key_id)
        if verify:
            _check_date(call, authorization, now)
            self._check_signature(call, authorization)
        if session and (session.issued_at < tokens_since or session.expires_at <= now):
            raise expired_token()
        return _caller(authorization, session)

    def _check_signature(self, call: Call, authorization: Authorization) -> None:
        _check_signed_headers(call, authorization)
        secret = _secret(authorization.access_key_id)
        try:
            string = string_to_sign(call, authorization)
            expected = hmac.digest(self._signing_key(secret, authorization), string.encode(), "sha256").hex()
            if hmac.compare_digest(expected, authorization.signature):
                return
            if hmac.compare_digest(botocore_signature(call, authorization, secret), authorization.signature):
                return
        except UnicodeEncodeError as error:
            raise _invalid("The request is not UTF-8.") from error
        raise _invalid(
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
        )

    def _signing_key(self, secret: str, authorization: Authorization) -> bytes:
        cache_key = (secret, authorization.date, authorization.region, authorization.service)
        key = self._keys.get(cache_key)
        if key is None:
            key = f"AWS4{secret}".encode()
            for part in (*cache_key[1:], "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            if len(self._keys) >= _KEY_CACHE_SIZE:
                self._keys.clear()
            self._keys[cache_key] = key
        return key


def string_to_sign(call: Call, authorization: Authorization) -> str:
    """SigV4's string to sign, from the call as it came in."""
    names = authorization.signed_headers.split(";")
    lines = [
        call.method,
        _canonical_path(call.path),
        _canonical_query(call.query),
        *[f"{name}:{' '.join(call.headers[name].split())}" for name in sorted(names)],
        "",
        authorization.signed_headers,
        sha256(call.body).hexdigest(),
    ]
    scope = f"{authorization.date}/{authorization.region}/{authorization.service}/aws4_request"
    digest = sha256("\n".join(lines).encode()).hexdigest()
    return f"AWS4-HMAC-SHA256\n{call.headers['x-amz-date']}\n{scope}\n{digest}"


def botocore_signature(call: Call, authorization: Authorization, secret: str) -> str:
    """The signature that botocore's signer computes for a call as it came in."""
    signed = set(authorization.signed_headers.split(";"))
    request = AWSRequest(
        method=call.method,
        url=f"http://{call.headers['host']}{call.target}",
        headers={name: value for name, value in call.headers.items() if name in signed},
        data=call.body,
    )
    request.context["timestamp"] = call.headers["x-amz-date"]
    signer = SigV4Auth(
        BotocoreCredentials(authorization.access_key_id, secret), authorization.service, authorization.region
    )
    signature: str = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return signature


@lru_cache(maxsize=1024)
def _canonical_path(path: str) -> str:
    return quote(normalize_url_path(path), safe="/~")


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return "&".join(f"{key}={value}" for key, value in pairs)


def _parse_authorization(call: Call) -> Authorization:
    header = call.headers.get("authorization")
    if header is None:
        raise ApiError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    match = _AUTHORIZATION(header)
    if match is None:
        raise ApiError(403, "IncompleteSignatureException", "The Authorization header is not a complete signature.")
    return Authorization(*match.groups())


def _session(call: Call, access_key_id: str) -> Session | None:
    """What the session token stands for, None for a long-lived key.

    Raises:
        ApiError: 403 for a key that is unknown, and for a token that is missing, forged or of another key.
    """
    token = call.headers.get("x-amz-security-token")
    if token is None:
        if not _account(access_key_id):
            raise _unrecognized()
        return None
    try:
        raw = base64.b64decode(token, validate=True)
        payload, seal = raw[:-_SEAL_SIZE], raw[-_SEAL_SIZE:]
        session = msgspec.json.decode(payload, type=Session)
    except (ValueError, msgspec.DecodeError) as error:
        raise _unrecognized() from error
    if not hmac.compare_digest(seal, _seal(payload)) or session.access_key_id != access_key_id:
        raise _unrecognized()
    return session


def _check_date(call: Call, authorization: Authorization, now: float) -> None:
    stamp = call.headers.get("x-amz-date", "")
    try:
        signed_at = _seconds(stamp)
    except ValueError as error:
        raise ApiError(403, "IncompleteSignatureException", "X-Amz-Date is missing or unreadable.") from error
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


def _check_signed_headers(call: Call, authorization: Authorization) -> None:
    """AWS wants the host and every x-amz- header signed, and a stated body digest to be true."""
    signed = set(authorization.signed_headers.split(";"))
    must = {name for name in call.headers if name.startswith("x-amz-")} | {"host"}
    if not must <= signed or not signed <= call.headers.keys():
        raise _invalid("There were headers present in the request which were not signed, or signed and not present.")
    stated = call.headers.get("x-amz-content-sha256")
    if stated is not None and stated != sha256(call.body).hexdigest():
        raise _invalid("The provided 'x-amz-content-sha256' header does not match what was computed.")


def _caller(authorization: Authorization, session: Session | None) -> Caller:
    region, service = authorization.region, authorization.service
    key_id = authorization.access_key_id
    if session is None:
        account_id = _account(key_id)
        return Caller(account_id, region, service, f"arn:{partition(region)}:iam::{account_id}:user/embedded", key_id)
    _, part, _, _, account_id, role = session.role_arn.split(":", 5)
    arn = f"arn:{part}:sts::{account_id}:assumed-role/{role.rpartition('/')[2]}/{session.name}"
    return Caller(account_id, region, service, arn, f"{key_id}:{session.name}")


def _secret(access_key_id: str) -> str:
    return SECRET if _account(access_key_id) else _session_secret(access_key_id)


def _session_secret(access_key_id: str) -> str:
    return base64.b64encode(hmac.digest(SECRET.encode(), access_key_id.encode(), "sha256")).decode()[:40]


def _seal(payload: bytes) -> bytes:
    return hmac.digest(SECRET.encode(), payload, "sha256")[:_SEAL_SIZE]


def _invalid(message: str) -> ApiError:
    return ApiError(403, "InvalidSignatureException", message)


def _unrecognized() -> ApiError:
    return ApiError(403, "UnrecognizedClientException", "The security token included in the request is invalid.")


def expired_token() -> ApiError:
    """403: the session token has expired."""
    return ApiError(403, "ExpiredTokenException", "The security token included in the request is expired")
