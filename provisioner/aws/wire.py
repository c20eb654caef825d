"""Reads replies of Clean Rooms ML off the wire (rest-json). Pure, and shared by both transports.

The rules for code and message are those of botocore's ``RestJSONParser``, with three differences: a reply without a
code has the code "" (botocore invents one from the status), JSON that is not an object counts as no body (botocore
breaks down on it), and nothing that a server can send raises.
"""

from __future__ import annotations

import math
import re
from email.utils import parsedate_to_datetime
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


_HEAD = re.compile(rb"HTTP/1\.1 200 [\t\x20-\x7e]*+(?:\r\n[-!#$%&'*+.^_`|~0-9A-Za-z]++:[\t\x20-\x7e]*+)*+")
"""The head of a reply to a create that was done: RFC 9112, without folded lines, and in ASCII alone."""

_EXTRAORDINARY = (b"\r\ntransfer-encoding:", b"\r\ncontent-encoding:", b"\r\nconnection:", b"\r\nupgrade:")
"""What the head of an ordinary reply, in lower case, does not have."""

_created = msgspec.json.Decoder(_Created)
_anything = msgspec.json.Decoder(strict=False)


def whole(data: bytes) -> Reply | None:
    """The Reply in ``data`` when that is, from the first byte to the last, an ordinary reply to a create that was done.

    None for everything else: another status, a reply that is not complete or not alone, one that is framed by anything
    but one Content-Length, that is encoded, or that ends the connection.
    """
    head, gap, body = data.partition(b"\r\n\r\n")
    names = head.lower()
    if not gap or _HEAD.fullmatch(head) is None:
        return None
    if any(name in names for name in _EXTRAORDINARY) or names.count(b"\r\ncontent-length:") != 1:
        return None
    if _value(head, names, b"\r\ncontent-length:") != b"%d" % len(body):
        return None
    request_id = _value(head, names, b"\r\nx-amzn-requestid:") or _value(head, names, b"\r\nx-amz-request-id:")
    return Reply(status=200, arn=_arn(body), request_id=request_id.decode())


def _value(head: bytes, names: bytes, name: bytes) -> bytes:
    """The value of a header, as it stands in ``head``; ``names`` is the same in lower case."""
    at = names.find(name)
    if at < 0:
        return b""
    start = at + len(name)
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip(b" \t")


def read(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Reply:
    """The Reply in an HTTP reply that was read to its end.

    Args:
        status: of the reply.
        headers: looked up in lower case.
        body: the whole body.
        now: seconds since the epoch, for a Retry-After date when the reply has no Date.
    """
    if 200 <= status < 300:  # noqa: PLR2004  the 2xx class of HTTP
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
    if not members:
        return clean(body[: 16 * MESSAGE_LIMIT].decode(errors="replace"))
    return clean(_text(members.get("message", members.get("Message"))))


def clean(message: str) -> str:
    """``message``, bounded and without secrets, whoever wrote it.

    A refused signature comes back with all that was signed, the session token too; gateways repeat a whole request; and
    the HTTP library tells the URL of a proxy with its password.
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
    """Seconds from the server's own clock (its Date header), or else ours, to ``date``."""
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
