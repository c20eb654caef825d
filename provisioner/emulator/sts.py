"""The two calls of STS that the product makes: GetCallerIdentity and AssumeRole. Query protocol, XML answers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from provisioner.emulator.keys import issue
from provisioner.emulator.wire import XML, ApiError, Response

if TYPE_CHECKING:
    from provisioner.emulator.signature import Caller
    from provisioner.emulator.wire import Call

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
DEFAULT_LIFETIME_S = 3600
"""From the reference of AssumeRole."""

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
"""The names that the query protocol gives to errors that rest-json has too."""

_ROLE_ARN = re.compile(r"arn:aws[-a-z]*:iam::\d{12}:role/.+").fullmatch
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII).fullmatch


def parameters_of(call: Call) -> dict[str, str]:
    """The form that a call carries."""
    return dict(parse_qsl(call.body.decode(errors="replace"), keep_blank_values=True))


def operation_of(parameters: dict[str, str]) -> str:
    """Our word for the action.

    Raises:
        ApiError: 400 for an action that is not served.
    """
    operation = OPERATIONS.get(parameters.get("Action", ""))
    if operation is None:
        raise ApiError(400, "InvalidAction", "The embedded endpoint serves GetCallerIdentity and AssumeRole.")
    return operation


def perform(operation: str, parameters: dict[str, str], caller: Caller, now: float, longest: float) -> Response:
    """Executes an operation; tokens live for at most ``longest`` seconds.

    Raises:
        ApiError: 400 for a role or session name that no role can have.
    """
    if operation == "get_caller_identity":
        identity = {"Arn": caller.arn, "UserId": caller.user_id, "Account": caller.account_id}
        return _reply("GetCallerIdentity", _elements(identity))
    return _reply("AssumeRole", _assume_role(parameters, now, longest))


def error_reply(error: ApiError) -> Response:
    """The XML form of an error."""
    code = _CODES.get(error.code, error.code)
    body = (
        f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{escape(error.message)}</Message></Error></ErrorResponse>"
    )
    return Response(error.status, body.encode(), error.headers, XML)


def _assume_role(parameters: dict[str, str], now: float, longest: float) -> str:
    role_arn, name = parameters.get("RoleArn", ""), parameters.get("RoleSessionName", "")
    duration = parameters.get("DurationSeconds", str(DEFAULT_LIFETIME_S))
    if not _ROLE_ARN(role_arn) or not _SESSION_NAME(name) or not duration.isdecimal():
        raise ApiError(400, "ValidationException", "RoleArn, RoleSessionName or DurationSeconds is not valid.")
    issued = issue(role_arn, name, now, min(int(duration), longest))
    expiration = datetime.fromtimestamp(issued.expires_at, UTC).isoformat(timespec="milliseconds")
    keys = {
        "AccessKeyId": issued.access_key_id,
        "SecretAccessKey": issued.secret_access_key,
        "SessionToken": issued.session_token,
        "Expiration": expiration,
    }
    user = {"AssumedRoleId": f"{issued.access_key_id}:{name}", "Arn": f"{role_arn}/{name}"}
    return f"<Credentials>{_elements(keys)}</Credentials><AssumedRoleUser>{_elements(user)}</AssumedRoleUser>"


def _elements(values: dict[str, str]) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())


def _reply(action: str, result: str) -> Response:
    body = f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{result}</{action}Result></{action}Response>'
    return Response(200, body.encode(), content_type=XML)
