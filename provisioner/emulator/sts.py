"""The two operations of STS that the product calls: GetCallerIdentity and AssumeRole. Query protocol, XML responses."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from provisioner.emulator.keys import issue
from provisioner.emulator.wire import ApiError, HttpResponse, timestamp

if TYPE_CHECKING:
    from provisioner.emulator.signature import Caller
    from provisioner.emulator.wire import Call

XML = "text/xml"
NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
DEFAULT_LIFETIME_S = 3600
"""From the API reference of AssumeRole."""

OPERATIONS = {"GetCallerIdentity": "get_caller_identity", "AssumeRole": "assume_role"}

_CODES = {
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "UnrecognizedClientException": "InvalidClientTokenId",
    "ExpiredTokenException": "ExpiredToken",
    "AccessDeniedException": "AccessDenied",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "IncompleteSignatureException": "IncompleteSignature",
    "ValidationException": "ValidationError",
}
"""The query protocol's names of errors that rest-json has too."""

_ROLE_ARN = re.compile(r"arn:aws[-a-z]*:iam::\d{12}:role/.+").fullmatch
_DURATION = re.compile(r"[0-9]{1,9}").fullmatch
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII).fullmatch


def parameters_of(call: Call) -> dict[str, str]:
    """The form in the body of a call."""
    return dict(parse_qsl(call.body.decode(errors="replace"), keep_blank_values=True))


def operation_of(call: Call) -> str:
    """The operation that a call requests.

    Raises:
        ApiError: 400 for an action that is not served.
    """
    operation = OPERATIONS.get(parameters_of(call).get("Action", ""))
    if operation is None:
        message = "The embedded endpoint serves GetCallerIdentity and AssumeRole."
        raise ApiError(HTTPStatus.BAD_REQUEST, "InvalidAction", message)
    return operation


def perform(call: Call, operation: str, caller: Caller, now: float, longest: float) -> HttpResponse:
    """Executes an operation; tokens are valid for at most ``longest`` seconds.

    Raises:
        ApiError: 400 for a malformed role ARN, session name or duration.
    """
    if operation == "get_caller_identity":
        identity = {"Arn": caller.arn, "UserId": caller.user_id, "Account": caller.account_id}
        return _ok("GetCallerIdentity", _elements(identity))
    return _ok("AssumeRole", _assume_role(parameters_of(call), now, longest))


def error_response(error: ApiError) -> HttpResponse:
    """The XML form of an error."""
    code = _CODES.get(error.code, error.code)
    body = (
        f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{escape(error.message)}</Message></Error></ErrorResponse>"
    )
    return HttpResponse(error.status, body.encode(), error.headers, XML)


def _assume_role(parameters: dict[str, str], now: float, longest: float) -> str:
    role_arn, name = parameters.get("RoleArn", ""), parameters.get("RoleSessionName", "")
    duration = parameters.get("DurationSeconds", str(DEFAULT_LIFETIME_S))
    if not _ROLE_ARN(role_arn) or not _SESSION_NAME(name) or not _DURATION(duration):
        message = "RoleArn, RoleSessionName or DurationSeconds is not valid."
        raise ApiError(HTTPStatus.BAD_REQUEST, "ValidationException", message)
    issued = issue(role_arn, name, now, min(int(duration), longest))
    keys = {
        "AccessKeyId": issued.access_key_id,
        "SecretAccessKey": issued.secret_access_key,
        "SessionToken": issued.session_token,
        "Expiration": timestamp(issued.expires_at),
    }
    account, role = role_arn.split(":")[4], role_arn.rpartition("/")[2]
    partition = role_arn.split(":")[1]
    arn = f"arn:{partition}:sts::{account}:assumed-role/{role}/{name}"
    user = {"AssumedRoleId": f"{issued.access_key_id}:{name}", "Arn": arn}
    return f"<Credentials>{_elements(keys)}</Credentials><AssumedRoleUser>{_elements(user)}</AssumedRoleUser>"


def _elements(values: dict[str, str]) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())


def _ok(action: str, result: str) -> HttpResponse:
    body = f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{result}</{action}Result></{action}Response>'
    return HttpResponse(HTTPStatus.OK, body.encode(), content_type=XML)
