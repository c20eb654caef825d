"""What travels: a call as it came in, a reply as it goes out, and an error in the service's own wire form."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads the field types at run time

import msgspec

JSON = "application/json"
XML = "text/xml"


class Call(msgspec.Struct, gc=False):
    """One HTTP request, as raw as the signature needs it.

    Args:
        method: upper case.
        target: path and query, percent-encoded as on the wire.
        headers: names in lower case; values of a repeated header are joined with a comma.
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


class Response(msgspec.Struct, gc=False):
    """One HTTP response.

    Args:
        status: the HTTP status.
        body: the whole body.
        headers: beside those that every reply has (content type, request id).
        content_type: of the body.
    """

    status: int
    body: bytes
    headers: dict[str, str] = {}
    content_type: str = JSON


class ApiError(Exception):
    """An error that the service answers with; never shown to a user of ours.

    Args:
        status: the HTTP status.
        code: the service's name for it; "" for an answer that carries none.
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
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.members = dict(members or {})
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The rest-json form: the code in ``x-amzn-errortype``, the text in ``message``."""
        headers = {**self.headers, "x-amzn-errortype": self.code} if self.code else self.headers
        return Response(self.status, msgspec.json.encode({"message": self.message, **self.members}), headers)


def validation_error(*problems: str) -> ApiError:
    """400 ValidationException that tells all ``problems``, worded as the service words them."""
    count = len(problems)
    noun = "error" if count == 1 else "errors"
    return ApiError(400, "ValidationException", f"{count} validation {noun} detected: {'; '.join(problems)}")


def not_found(arn: str) -> ApiError:
    """404 ResourceNotFoundException for ``arn``."""
    return ApiError(404, "ResourceNotFoundException", f"Resource {arn} does not exist.")
