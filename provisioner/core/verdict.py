"""What a reply to a create, or its absence, means. Pure: the transports report, this module judges.

The question is always the same: may an algorithm exist because of this attempt? Only where the answer is a sure no
may the create be sent again. Every transport maps what happened to a :class:`Reply`; no SDK type passes this line.

Sources: the table "What a reply means" of the fault model; throttle codes from botocore's own retry tables
(``botocore/retries/standard.py``). The modelled error list of the operation is not used: older service models miss
ThrottlingException, and 5xx errors come back unmodelled, so HTTP status and code decide.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """What is known about an attempt."""

    CREATED = "CREATED"
    THROTTLED = "THROTTLED"
    NOT_CREATED = "NOT_CREATED"
    AMBIGUOUS = "AMBIGUOUS"
    REJECTED = "REJECTED"
    QUOTA = "QUOTA"
    DENIED = "DENIED"


class Loss(StrEnum):
    """Why there is no HTTP reply. The first group is told before the first byte left this machine."""

    PARAMETERS = "parameters"
    CREDENTIALS = "credentials"
    DNS = "dns"
    REFUSED = "refused"
    CONNECT_TIMEOUT = "connect_timeout"
    PROXY = "proxy"
    HANDSHAKE = "handshake"
    FILES = "files"

    READ_TIMEOUT = "read_timeout"
    CLOSED = "closed"
    RESET = "reset"
    TLS = "tls"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


BEFORE_FIRST_BYTE = frozenset(
    {
        Loss.PARAMETERS,
        Loss.CREDENTIALS,
        Loss.DNS,
        Loss.REFUSED,
        Loss.CONNECT_TIMEOUT,
        Loss.PROXY,
        Loss.HANDSHAKE,
        Loss.FILES,
    },
)

THROTTLE_CODES = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "PriorRequestNotComplete",
        "EC2ThrottledException",
    },
)

EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})

CREDENTIAL_CODES = frozenset(
    {
        *EXPIRED_CODES,
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    },
)
"""Codes that speak of the caller's credentials or signature: they meet every definition alike."""

SKEW_CODES = frozenset({"InvalidSignatureException", "RequestTimeTooSkewed", "SignatureDoesNotMatch"})


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a transport saw of one attempt.

    Attributes:
        status: the HTTP status, 0 when there was no reply.
        loss: why there was no reply, None when there was one.
        code: the error code (``x-amzn-errortype`` without namespace), "" when there is none.
        message: the message of the error, as the server or the transport told it.
        arn: the ARN of a readable 2xx.
        request_id: ``x-amzn-requestid``.
        retry_after_s: the server's advice in seconds, None when it gave none.
        quota_name: of a 402, "" when not told.
        quota_value: of a 402.
    """

    status: int = 0
    loss: Loss | None = None
    code: str = ""
    message: str = ""
    arn: str = ""
    request_id: str = ""
    retry_after_s: float | None = None
    quota_name: str = ""
    quota_value: float | None = None

    @property
    def expired(self) -> bool:
        """Whether fresh credentials would help."""
        return self.code in EXPIRED_CODES

    @property
    def concerns_credentials(self) -> bool:
        """Whether the caller's credentials or signature were refused, whatever the definition says."""
        return self.loss is Loss.CREDENTIALS or self.code in CREDENTIAL_CODES

    def __str__(self) -> str:
        head = str(self.status) if self.status else str(self.loss or "no reply")
        return " ".join(part for part in (head, self.code, self.message) if part)


_BY_STATUS = {
    400: Verdict.REJECTED,
    401: Verdict.DENIED,
    402: Verdict.QUOTA,
    403: Verdict.DENIED,
    404: Verdict.REJECTED,
    405: Verdict.REJECTED,
    413: Verdict.REJECTED,
    429: Verdict.THROTTLED,
}


def judge(reply: Reply) -> Verdict:
    """The verdict on ``reply``. Anything that is not known to be harmless is AMBIGUOUS."""
    if reply.loss is not None:
        return Verdict.NOT_CREATED if reply.loss in BEFORE_FIRST_BYTE else Verdict.AMBIGUOUS
    if 200 <= reply.status < 300:  # noqa: PLR2004  the 2xx class of HTTP
        return Verdict.CREATED if reply.arn else Verdict.AMBIGUOUS
    return _judge_error(reply)


def _judge_error(reply: Reply) -> Verdict:
    if reply.status >= 500 and not (reply.status == 503 and reply.code in THROTTLE_CODES):  # noqa: PLR2004  5xx
        return Verdict.AMBIGUOUS
    if reply.status == 429 or reply.code in THROTTLE_CODES:  # noqa: PLR2004  Too Many Requests
        return Verdict.THROTTLED
    if reply.expired:
        return Verdict.NOT_CREATED
    if reply.concerns_credentials:
        return Verdict.DENIED
    if reply.code == "ServiceQuotaExceededException":
        return Verdict.QUOTA
    return _BY_STATUS.get(reply.status, Verdict.AMBIGUOUS)


def is_conflict(code: str) -> bool:
    """Whether the recorded ``code`` of an ambiguous entry says that its create was refused for its name."""
    return code in {"ConflictException", "409"}


def is_denial(code: str) -> bool:
    """Whether the ``code`` of a failed entry speaks of permissions or of a wrong host, not of the definition."""
    return "AccessDenied" in code or code in {"401", "403", "404", "405"}
