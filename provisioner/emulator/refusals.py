"""The errors that need no look at the state: throttles, denials, server errors, and whatever a script asks for."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from provisioner.emulator.model import partition
from provisioner.emulator.signature import Caller, expired_token
from provisioner.emulator.state import KIND, conflict, in_use, quota_exceeded
from provisioner.emulator.wire import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.emulator.behaviour import Behaviour, InjectedFault

DEFAULT_QUOTA = 1000
"""The quota that a scripted 402 names where none is set: the default of L-CDB92F4A."""


class Refused(NamedTuple):
    """The call that is refused. ``action`` is its name in IAM policies."""

    caller: Caller
    action: str
    parameters: dict[str, Any]


def refusal(fault: InjectedFault, behaviour: Behaviour, refused: Refused) -> ApiError:
    """The error of a fault that is not executed."""
    parameters = refused.parameters
    errors: dict[str, Callable[[], ApiError]] = {
        "throttle": lambda: _throttled(behaviour, bare=behaviour.bare_throttles),
        "bare_throttle": lambda: _throttled(behaviour, bare=True),
        "slow_down": lambda: ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "SlowDown", "Please reduce your request rate."),
        "expired_token": expired_token,
        "quota": lambda: quota_exceeded(behaviour.quota or DEFAULT_QUOTA),
        "denied": lambda: denied(refused),
        "denied_role": lambda: denied_role(refused),
        "conflict": lambda: conflict(parameters["name"]) if "name" in parameters else in_use(),
    }
    make = errors.get(fault.reply)
    return make() if make else server_error(fault.status)


def server_error(status: int = HTTPStatus.INTERNAL_SERVER_ERROR) -> ApiError:
    """A failure of the service itself, with the code that its model gives it."""
    unavailable = status == HTTPStatus.SERVICE_UNAVAILABLE
    code = "ServiceUnavailableException" if unavailable else "InternalServiceException"
    return ApiError(status, code, "The service failed.")


def denied(refused: Refused, action: str = "") -> ApiError:
    """403: no policy allows the action, or ``action``, which it needs too."""
    region, account_id = refused.caller.region, refused.caller.account_id
    action = action or refused.action
    service = action.partition(":")[0]
    where = "*" if service == "tag" else f"arn:{partition(region)}:{service}:{region}:{account_id}:{KIND}/*"
    return _not_authorized(refused.caller, action, where)


def denied_role(refused: Refused) -> ApiError:
    """403: no policy allows passing the role of a create."""
    return _not_authorized(refused.caller, "iam:PassRole", refused.parameters.get("roleArn", ""))


def _throttled(behaviour: Behaviour, *, bare: bool) -> ApiError:
    headers: dict[str, str] = {}
    members: dict[str, object] = {}
    if behaviour.retry_after:
        match behaviour.retry_after_form:
            case "Retry-After":
                headers["Retry-After"] = str(ceil(behaviour.retry_after))
            case "x-amz-retry-after":
                headers["x-amz-retry-after"] = str(ceil(behaviour.retry_after * 1000))
            case "retryAfterSeconds":
                members["retryAfterSeconds"] = ceil(behaviour.retry_after)
    code = "" if bare else "ThrottlingException"
    return ApiError(HTTPStatus.TOO_MANY_REQUESTS, code, "Rate exceeded", members=members, headers=headers)


def _not_authorized(caller: Caller, action: str, resource: str) -> ApiError:
    message = (
        f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource} "
        f"because no identity-based policy allows the {action} action"
    )
    return ApiError(HTTPStatus.FORBIDDEN, "AccessDeniedException", message)
