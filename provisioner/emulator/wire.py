"""The HTTP messages: a call as it arrives, a response as it leaves, and an error in the service's own form."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads the field types at run time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec

JSON = "application/json"


class Call(msgspec.Struct, gc=False):
    """One HTTP request, as raw as its signature requires.

    Args:
        method: upper case.
        target: path and query, percent-encoded as on the wire.
        headers: names in lower case; the values of a repeated header are joined with a comma.
        body: the whole body.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path, percent-encoded as on the wire."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query, percent-encoded as on the wire, without the question mark."""
        return self.target.partition("?")[2]


class HttpResponse(msgspec.Struct, gc=False):
    """One HTTP response.

    Args:
        status: the HTTP status.
        body: the whole body.
        headers: besides those that every response has (content type, date, request id).
        content_type: of the body.
    """

    status: int
    body: bytes
    headers: dict[str, str] = {}
    content_type: str = JSON


class ApiError(Exception):
    """An error that the service answers with; it never reaches a user of the product as an exception.

    Args:
        status: the HTTP status.
        code: the service's name for it; "" for an answer without a code.
        message: the service's text.
        members: further members of the JSON body (``quotaName``...).
        headers: further headers (``Retry-After``...).
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        members: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{int(status)} {code}: {message}")
        self.status = int(status)
        self.code = code
        self.message = message
        self.members = dict(members or {})
        self.headers = dict(headers or {})

    def response(self) -> HttpResponse:
        """The rest-json form: the code in ``x-amzn-errortype``, the text in ``message``."""
        headers = {**self.headers, "x-amzn-errortype": self.code} if self.code else self.headers
        return HttpResponse(self.status, msgspec.json.encode({"message": self.message, **self.members}), headers)


def json_object(call: Call) -> dict[str, Any]:
    """The JSON object in the body of a call; an empty body is an empty one.

    Raises:
        ApiError: 400 for a body that is none.
    """
    try:
        body = msgspec.json.decode(call.body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(HTTPStatus.BAD_REQUEST, "SerializationException", "The body is not JSON.") from error
    if not isinstance(body, dict):
        raise ApiError(HTTPStatus.BAD_REQUEST, "SerializationException", "The body is not a JSON object.")
    return body


def validation_error(*problems: str) -> ApiError:
    """400 ValidationException that lists all ``problems``, worded as the service words them."""
    count = len(problems)
    noun = "error" if count == 1 else "errors"
    message = f"{count} validation {noun} detected: {'; '.join(problems)}"
    return ApiError(HTTPStatus.BAD_REQUEST, "ValidationException", message)


def not_found(arn: str) -> ApiError:
    """404 ResourceNotFoundException for ``arn``."""
    return ApiError(HTTPStatus.NOT_FOUND, "ResourceNotFoundException", f"Resource {arn} does not exist.")


def timestamp(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds and a Z: some SDKs read no other form."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
