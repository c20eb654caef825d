"""One call in, one ending out: who calls, whether it is let in, what it does, and how it ends. No I/O but the state's.

The order is AWS's: signature, token, rate, model, permission, and only then the state. A scripted fault takes the
place of the rate and of chance; it replaces nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from math import ceil
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.emulator import api, sts
from provisioner.emulator.behaviour import (
    FAULTS,
    Behaviour,
    Ending,
    InjectedFault,
    TokenBucket,
    delay,
    draw,
    fault_named,
    take_scripted,
)
from provisioner.emulator.model import partition
from provisioner.emulator.signature import SERVICE_NAME, STS_NAME, authenticate, expired_token
from provisioner.emulator.state import KIND, Accounts, conflict, quota_exceeded
from provisioner.emulator.store import StateFileError
from provisioner.emulator.wire import ApiError, Call, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.emulator.signature import Caller
    from provisioner.emulator.state import Algorithm

OK = 200
UNAVAILABLE = 503

REAL_QUOTA = 1000
"""The quota that a scripted 402 tells where none is set: L-CDB92F4A's default."""


_BEFORE_PARSING = {"throttle", "bare_throttle", "slow_down", "expired_token"}
"""The refusals that come before the service looks at the body."""


class CreateRecord(msgspec.Struct, frozen=True, gc=False):
    """One create call in the log.

    Args:
        time: when it came in, seconds since the epoch.
        account_id: twelve digits; "" when the caller is not known.
        region: of the signature; "" when the caller is not known.
        name: of the definition; "" when it could not be read.
        status: of the reply, 0 when none was sent.
        fault: what was scripted or drawn: a name of the faults.
        arn: of the algorithm that the call made at once, "" when it made none.
    """

    time: float
    account_id: str
    region: str
    name: str
    status: int
    fault: str
    arn: str


class Result(msgspec.Struct, frozen=True, gc=False):
    """How a call ends: the reply (of which a cut ending sends a half), the ending, seconds until then."""

    response: Response
    ending: Ending = "answer"
    delay_s: float = 0.0


class _Progress(msgspec.Struct, gc=False):
    """What is known of a call while it is handled."""

    operation: str = "unknown"
    account_id: str = ""
    region: str = ""
    name: str = ""
    fault: str = "ok"
    arn: str = ""


class Service:
    """The endpoint without its sockets.

    Args:
        behaviour: assignable at any time; scripts shrink in it as they are used up.
        accounts: what it holds.
    """

    def __init__(self, behaviour: Behaviour, accounts: Accounts) -> None:
        self.behaviour = behaviour
        self.accounts = accounts
        self.calls: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.creates: list[CreateRecord] = []
        self._random = Random(behaviour.seed)  # noqa: S311 - chances and latencies, replayable by their seed
        self._buckets: defaultdict[tuple[str, str, str], TokenBucket] = defaultdict(TokenBucket)

    def handle(self, call: Call, now: float) -> Result:
        """Executes a call and says how it ends; counts it whatever its end. Times are seconds since the epoch."""
        self.accounts.advance(now)
        progress = _Progress()
        is_sts = call.path == "/"
        try:
            fault, reply = self._sts(call, now, progress) if is_sts else self._call(call, now, progress)
        except StateFileError:
            fault, reply = FAULTS["ok"], _server_error(500).response()
        except ApiError as error:
            fault, reply = FAULTS["ok"], sts.error_reply(error) if is_sts else error.response()
        status = reply.status if fault.ending in {"answer", "cut"} else 0
        self.calls[progress.operation][status] += 1
        if progress.operation == "create":
            self.creates.append(
                CreateRecord(
                    now, progress.account_id, progress.region, progress.name, status, progress.fault, progress.arn
                )
            )
        return Result(reply, fault.ending, delay(self.behaviour, self._random))

    def _sts(self, call: Call, now: float, progress: _Progress) -> tuple[InjectedFault, Response]:
        parameters = sts.parameters_of(call)
        progress.operation = sts.operation_of(parameters)
        caller = self._identify(call, now, STS_NAME)
        return FAULTS["ok"], sts.perform(progress.operation, parameters, caller, now, self.behaviour.token_lifetime)

    def _call(self, call: Call, now: float, progress: _Progress) -> tuple[InjectedFault, Response]:
        progress.operation = operation = api.operation_of(call)
        caller = self._identify(call, now, SERVICE_NAME)
        progress.account_id, progress.region = caller.account_id, caller.region
        scripted, self.behaviour = take_scripted(self.behaviour, operation)
        progress.fault = scripted or self._admit(caller, operation, now)
        fault = fault_named(progress.fault)
        if fault.reply in _BEFORE_PARSING:
            raise self._refusal(fault, caller, operation, {})
        parameters = api.parse(call, operation)
        progress.name = parameters.get("name", "")
        self._authorize(caller, operation, parameters)
        if not scripted and progress.fault == "ok":
            progress.fault = draw(self.behaviour, operation, self._random)
            fault = fault_named(progress.fault)
        return fault, self._execute(caller, parameters, now, fault, progress)

    def _identify(self, call: Call, now: float, service: str) -> Caller:
        behaviour = self.behaviour
        now += behaviour.clock_offset
        caller = authenticate(call, now, tokens_since=behaviour.tokens_since, verify=behaviour.verify)
        if caller.service != service:
            message = f"Credential should be scoped to correct service: '{service}'."
            raise ApiError(403, "InvalidSignatureException", message)
        return caller

    def _admit(self, caller: Caller, operation: str, now: float) -> str:
        """The fault that the rate gives a call: "ok" or one of the throttles."""
        behaviour = self.behaviour
        creating = operation == "create"
        rate, burst = (behaviour.rate, behaviour.burst) if creating else (behaviour.read_rate, behaviour.read_burst)
        if rate and not self._buckets[caller.account_id, caller.region, operation].take(rate, burst, now):
            return "throttle"
        if creating and behaviour.throttled and self._random.random() < behaviour.throttled:
            return "throttle"
        return "ok"

    def _authorize(self, caller: Caller, operation: str, parameters: dict[str, Any]) -> None:
        role_arn = parameters.get("roleArn")
        if self.behaviour.denied:
            raise _denied(caller, operation)
        if role_arn in self.behaviour.denied_roles:
            raise _denied_role(caller, role_arn)

    def _execute(
        self, caller: Caller, parameters: dict[str, Any], now: float, fault: InjectedFault, progress: _Progress
    ) -> Response:
        if fault.effect == "late":
            self._execute_late(caller, progress.operation, parameters, now)
        if fault.effect != "now":
            return self._refusal(fault, caller, progress.operation, parameters).response()
        try:
            reply, made = self._perform(caller, progress.operation, parameters, now)
        except ApiError as error:
            reply, made = error.response(), None
        progress.arn = made.arn if made else ""
        if fault.reply == "error":
            return _server_error(fault.status).response()
        return self._lie(fault.reply, caller, reply) if fault.reply and reply.status == OK else reply

    def _perform(
        self, caller: Caller, operation: str, parameters: dict[str, Any], now: float
    ) -> tuple[Response, Algorithm | None]:
        target = self.accounts.target(caller.account_id, caller.region)
        reply, made = api.perform(target, operation, parameters, now, self.behaviour)
        if made is not None:
            self.accounts.algorithms.append(made)
        return reply, made

    def _execute_late(self, caller: Caller, operation: str, parameters: dict[str, Any], now: float) -> None:
        def effect(time: float) -> None:
            with suppress(ApiError, StateFileError):
                self._perform(caller, operation, parameters, time)

        self.accounts.execute_at(now + self.behaviour.late_delay, effect)

    def _lie(self, kind: str, caller: Caller, reply: Response) -> Response:
        """A 200 that does not tell the truth about a call that was executed.

        A repeated ARN is that of the first algorithm of the account and Region.
        """
        if kind == "truncated":
            return Response(OK, reply.body[: len(reply.body) // 2])
        if kind == "no_arn":
            return Response(OK, b"{}")
        if kind == "html":
            return Response(OK, b"<html><body>It works!</body></html>", content_type="text/html")
        if kind == "foreign_arn":
            return Response(OK, reply.body.replace(f":{caller.account_id}:".encode(), b":999999999999:"))
        target = (caller.account_id, caller.region)
        return api.created(next(a.arn for a in self.accounts.algorithms if (a.account_id, a.region) == target))

    def _refusal(self, fault: InjectedFault, caller: Caller, operation: str, parameters: dict[str, Any]) -> ApiError:
        """The error of a fault that is not executed."""
        behaviour = self.behaviour
        errors: dict[str, Callable[[], ApiError]] = {
            "throttle": lambda: _throttled(behaviour, bare=behaviour.bare_throttles),
            "bare_throttle": lambda: _throttled(behaviour, bare=True),
            "slow_down": lambda: ApiError(503, "SlowDown", "Please reduce your request rate."),
            "expired_token": expired_token,
            "quota": lambda: quota_exceeded(behaviour.quota or REAL_QUOTA),
            "denied": lambda: _denied(caller, operation),
            "denied_role": lambda: _denied_role(caller, parameters.get("roleArn", "")),
            "conflict": lambda: conflict(parameters.get("name", "")),
        }
        make = errors.get(fault.reply)
        return make() if make else _server_error(fault.status)


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
    return ApiError(429, "" if bare else "ThrottlingException", "Rate exceeded", members=members, headers=headers)


def _server_error(status: int) -> ApiError:
    code = "ServiceUnavailableException" if status == UNAVAILABLE else "InternalServerException"
    return ApiError(status, code, "The service failed.")


def _denied(caller: Caller, operation: str) -> ApiError:
    action = f"{SERVICE_NAME}:{api.MODEL_NAMES[operation]}"
    where = f"arn:{partition(caller.region)}:{SERVICE_NAME}:{caller.region}:{caller.account_id}"
    return _not_authorized(caller, action, f"{where}:{KIND}/*")


def _denied_role(caller: Caller, role_arn: str) -> ApiError:
    return _not_authorized(caller, "iam:PassRole", role_arn)


def _not_authorized(caller: Caller, action: str, resource: str) -> ApiError:
    message = (
        f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource} "
        f"because no identity-based policy allows the {action} action"
    )
    return ApiError(403, "AccessDeniedException", message)
