"""Reads replies of Clean Rooms ML off the wire (rest-json). Pure, and shared by both transports.

The rules for code and message are those of botocore's ``RestJSONParser``, with three differences: a reply without a
code has the code "" (botocore invents one from the status), JSON that is not an object counts as no body (botocore
breaks down on it), and nothing that a server can send raises.
"""

from __future__ import annotations

import math
import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.core.verdict import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

MESSAGE_LIMIT = 2000
"""Characters that are kept of an error message."""


_TOKEN = re.compile(r"(?i)(x-amz-security-token[\s'\"\\]*[:=][\s'\"\\]*)[^\s&'\"\\]+")

_USER = re.compile(r"(?<=://)[^/\s@]+(?=@)")


class _Created(msgspec.Struct):
    arn: str = msgspec.field(name="configuredModelAlgorithmArn", default="")


HEADERS = frozenset(
    {
        b"date",
        b"retry-after",
        b"x-amz-request-id",
        b"x-amz-retry-after",
        b"x-amzn-errortype",
        b"x-amzn-requestid",
    }
)
"""The headers that :func:`read` looks at."""

_created = msgspec.json.Decoder(_Created)
_anything = msgspec.json.Decoder(strict=False)


def read(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Reply:
    """The Reply in an HTTP reply that was read to its end.

    Args:
        status: of the reply.
        headers: looked up in lower case.
        body: the whole body.
        now: seconds since the epoch, for a Retry-After date when the reply has no Date.
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Reply(status=status, arn=_arn(body), request_id=_request_id(headers))
    members = _members(body)
    return Reply(
        status=status,
        code=_code(headers, members),
        message=_message(members, body),
        request_id=_request_id(headers),
        retry_after_s=_advice(headers, members, now),
        quota_name=clean(_text(members.get("quotaName"))),
        quota_value=_number(members.get("quotaValue")),
    )


def _arn(body: bytes) -> str:
    try:
        arn = _created.decode(body).arn
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return arn if arn.startswith("arn:") else ""


def _members(body: bytes) -> dict[str, Any]:
    try:
        members = _anything.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def _code(headers: Mapping[str, str], members: dict[str, Any]) -> str:
    """The header wins over ``code``, that over ``__type``; namespace and URL around the code are dropped."""
    for code in (_header(headers, "x-amzn-errortype"), members.get("code"), members.get("Code"), members.get("__type")):
        if isinstance(code, str):
            return code.split(":", 1)[0].rsplit("#", 1)[-1][:MESSAGE_LIMIT]
    return ""


def _message(members: dict[str, Any], body: bytes) -> str:
    if not members and body.strip() != b"{}":
        return clean(body[: 16 * MESSAGE_LIMIT].decode(errors="replace"))
    return clean(_text(members.get("message", members.get("Message"))))


def clean(message: str) -> str:
    """``message``, bounded and without secrets, whoever wrote it.

    A refused signature comes back with all that was signed, the session token too; gateways repeat a whole request; and
    the HTTP library quotes the URL of a proxy with its password.
    """
    return _USER.sub("…", _TOKEN.sub(r"\1…", message))[:MESSAGE_LIMIT]


def _request_id(headers: Mapping[str, str]) -> str:
    return _header(headers, "x-amzn-requestid") or _header(headers, "x-amz-request-id") or ""


def _header(headers: Mapping[str, str], name: str) -> str | None:
    """The header as text: bytes that are no UTF-8 come as surrogates, which no ledger, log or JSON takes."""
    value = headers.get(name)
    return value if value is None or value.isascii() else value.encode(errors="replace").decode()


def _advice(headers: Mapping[str, str], members: dict[str, Any], now: float) -> float | None:
    """Seconds to wait: ``x-amz-retry-after`` (milliseconds), Retry-After, or the member ``retryAfterSeconds``."""
    milliseconds = _number(headers.get("x-amz-retry-after"))
    if milliseconds is not None:
        return milliseconds / 1000
    header = headers.get("retry-after")
    if header is not None:
        seconds = _number(header)
        return seconds if seconds is not None else _until(header, headers.get("date"), now)
    return _number(members.get("retryAfterSeconds"))


def _until(date: str, server_date: str | None, now: float) -> float | None:
    """Seconds from the server's own clock (its Date header), or else this machine's, to ``date``."""
    then = http_date(date)
    if then is None:
        return None
    started = http_date(server_date or "")
    return max(0.0, then - (now if started is None else started))


def http_date(text: str) -> float | None:
    """Seconds since the epoch of an HTTP date, None when it is not one."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
