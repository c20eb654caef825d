"""The verdict: what a reply to a create, or its absence, means. Pure: transports report what they saw, this decides.

The question is always the same: may an algorithm exist because of this attempt? Only a certain no allows the create to
be sent again. Every transport maps what happened to a :class:`Reply`; no SDK type leaves it.

Sources: the table "What a reply means" in docs/exactly-once.md; throttle codes from botocore's own retry tables
(``botocore/retries/standard.py``). The modelled error list of the operation is not used: older service models miss
ThrottlingException, and 5xx errors come back unmodelled, so HTTP status and code decide.
"""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus

import msgspec

from provisioner.errors import Reason

# Each look at a member of an enumeration takes 0.1 us on Python 3.11, and every create makes several.
OK = HTTPStatus.OK.value
MULTIPLE_CHOICES = HTTPStatus.MULTIPLE_CHOICES.value
CONFLICT = HTTPStatus.CONFLICT.value
TOO_MANY_REQUESTS = HTTPStatus.TOO_MANY_REQUESTS.value
INTERNAL_SERVER_ERROR = HTTPStatus.INTERNAL_SERVER_ERROR.value
SERVICE_UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE.value


class Verdict(StrEnum):
    """What is known about an attempt."""

    CREATED = "CREATED"
    DONE = "DONE"
    """A change of tags or a deletion was executed."""
    THROTTLED = "THROTTLED"
    NOT_CREATED = "NOT_CREATED"
    AMBIGUOUS = "AMBIGUOUS"
    REJECTED = "REJECTED"
    QUOTA = "QUOTA"
    DENIED = "DENIED"


class Loss(StrEnum):
    """Why there is no HTTP reply. The first group happens before the first byte leaves this machine."""

    PARAMETERS = "parameters"
    CREDENTIALS = "credentials"
    UNFETCHED = "unfetched"
    """Where the credentials come from could not be reached."""
    MISCONFIGURED = "misconfigured"
    """A certificate that is not trusted, a proxy that refuses, a setting that cannot be used."""
    DNS = "dns"
    NO_SUCH_HOST = "no_such_host"
    REFUSED = "refused"
    CONNECT_TIMEOUT = "connect_timeout"
    PROXY = "proxy"
    HANDSHAKE = "handshake"
    FILES = "files"
    STALE = "stale"

    READ_TIMEOUT = "read_timeout"
    CLOSED = "closed"
    RESET = "reset"
    TLS = "tls"
    UNKNOWN = "unknown"


BEFORE_FIRST_BYTE = frozenset(
    {
        Loss.PARAMETERS,
        Loss.CREDENTIALS,
        Loss.UNFETCHED,
        Loss.MISCONFIGURED,
        Loss.DNS,
        Loss.NO_SUCH_HOST,
        Loss.REFUSED,
        Loss.CONNECT_TIMEOUT,
        Loss.PROXY,
        Loss.HANDSHAKE,
        Loss.FILES,
        Loss.STALE,
    },
)

HOPELESS = frozenset({Loss.NO_SUCH_HOST, Loss.MISCONFIGURED})
"""A second call fails like the first, until somebody corrects an address, a certificate or what a proxy lets pass."""

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
"""Codes about the caller's credentials or signature: they apply to every definition."""

SKEW_CODES = frozenset({"InvalidSignatureException", "RequestTimeTooSkewed", "SignatureDoesNotMatch"})


class Line:
    """The connection that replies came over.

    Attributes:
        mixed_up: whether it brought a reply that nobody asked for. Each later reply may then be the one to an earlier
            request, so that none proves anything.
        closed: whether it will bring nothing more.
        results: how many creates it has brought a result for, of all targets that use it.
    """

    __slots__ = ("closed", "mixed_up", "results")

    def __init__(self) -> None:
        self.mixed_up = False
        self.closed = False
        self.results = 0


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a transport saw of one attempt.

    Attributes:
        status: the HTTP status, 0 when there was no reply.
        loss: why there was no reply, None when there was one.
        code: the error code (``x-amzn-errortype`` without namespace), "" when there is none.
        message: the error's message, from the server or the transport.
        arn: of a readable 2xx.
        request_id: ``x-amzn-requestid``.
        retry_after_s: the server's advice in seconds, None when it gave none.
        quota_name: of a 402, "" when it has none.
        quota_value: of a 402.
        line: the connection that it came over; None where that is not known.
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
    line: Line | None = None

    @property
    def expired(self) -> bool:
        """Whether fresh credentials would help."""
        return self.code in EXPIRED_CODES

    @property
    def concerns_credentials(self) -> bool:
        """Whether the caller's credentials or signature were refused, so that every definition would be."""
        return self.loss is Loss.CREDENTIALS or self.code in CREDENTIAL_CODES

    @property
    def is_strange(self) -> bool:
        """Whether it is not an answer of AWS: neither an error code nor a request id, and not a server in trouble."""
        answered = OK <= self.status < INTERNAL_SERVER_ERROR and self.status != TOO_MANY_REQUESTS
        return answered and not (self.code or self.request_id or self.arn)

    @property
    def is_hopeless(self) -> bool:
        """Whether trying again cannot help: it never gets to AWS as things are configured."""
        return self.is_strange or self.loss in HOPELESS

    def __str__(self) -> str:
        head = str(self.status) if self.status else str(self.loss or "no reply")
        return " ".join(part for part in (head, self.code, self.message) if part)


_BY_STATUS: dict[int, Verdict] = {
    HTTPStatus.BAD_REQUEST: Verdict.REJECTED,
    HTTPStatus.UNAUTHORIZED: Verdict.DENIED,
    HTTPStatus.PAYMENT_REQUIRED: Verdict.QUOTA,
    HTTPStatus.FORBIDDEN: Verdict.DENIED,
    HTTPStatus.NOT_FOUND: Verdict.REJECTED,
    HTTPStatus.METHOD_NOT_ALLOWED: Verdict.REJECTED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Verdict.REJECTED,
}
_BY_CODE = {"ServiceQuotaExceededException": Verdict.QUOTA}
_SURE_WITHOUT_CODE = {HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
"""Only the service sends 402; 413 is sent before the body is read, also by a gateway."""


def judge(reply: Reply) -> Verdict:
    """The verdict on ``reply``. Anything that is not known to be harmless is AMBIGUOUS."""
    if reply.loss is not None:
        return Verdict.NOT_CREATED if reply.loss in BEFORE_FIRST_BYTE else Verdict.AMBIGUOUS
    if OK <= reply.status < MULTIPLE_CHOICES:
        return Verdict.CREATED if reply.arn else Verdict.AMBIGUOUS
    return _judge_error(reply)


def reason_of(reply: Reply) -> Reason:
    """The reason of what ends because of ``reply``, which is no success."""
    if reply.is_hopeless:
        return Reason.CONFIGURATION
    return Reason.DENIED if judge(reply) is Verdict.DENIED else Reason.UNFINISHED


def _judge_error(reply: Reply) -> Verdict:
    slow_down = reply.status == SERVICE_UNAVAILABLE and reply.code in THROTTLE_CODES
    if reply.status >= INTERNAL_SERVER_ERROR and not slow_down:
        return Verdict.AMBIGUOUS
    if reply.status == TOO_MANY_REQUESTS or reply.code in THROTTLE_CODES:
        return Verdict.THROTTLED
    if reply.expired:
        return Verdict.NOT_CREATED
    if reply.concerns_credentials:
        return Verdict.DENIED
    if not reply.code and reply.status not in _SURE_WITHOUT_CODE:
        # A gateway or proxy may answer so although the request behind it was executed.
        return Verdict.AMBIGUOUS
    return _BY_CODE.get(reply.code) or _BY_STATUS.get(reply.status, Verdict.AMBIGUOUS)


NOT_FOUND = HTTPStatus.NOT_FOUND.value
GONE = "ResourceNotFoundException"
"""The only error code that proves that an algorithm does not exist: another 404 may come from a gateway."""


def is_gone(reply: Reply) -> bool:
    """Whether ``reply`` proves that the algorithm does not exist."""
    return reply.status == NOT_FOUND and reply.code == GONE


def is_about_role(reply: Reply) -> bool:
    """Whether a 403 is about the role of one definition rather than about the caller."""
    return not reply.concerns_credentials and "PassRole" in reply.message


def is_conflict(code: str) -> bool:
    """Whether the recorded ``code`` of an ambiguous entry says that its create was refused for its name."""
    return code in {"ConflictException", "409"}


def is_denial(code: str) -> bool:
    """Whether ``code``, of a reply or a failed entry, is about permissions: the definition may be right."""
    return "AccessDenied" in code
