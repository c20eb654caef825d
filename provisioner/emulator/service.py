"""The endpoint without its sockets: a call in, a result out. Its only I/O is the state file's.

The order is AWS's: signature, token, rate, model, permission, and only then the state. A scripted fault takes the place
of the rate and of the random faults; it replaces nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from http import HTTPStatus
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from provisioner.emulator import cleanrooms, sts, tagging
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
from provisioner.emulator.refusals import Refused, denied, denied_role, refusal, server_error
from provisioner.emulator.signature import SERVICE_NAME, STS_NAME, Caller, authenticate
from provisioner.emulator.store import StateFileError
from provisioner.emulator.wire import ApiError, Call, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.emulator.state import Accounts, Algorithm, TargetState

_BEFORE_PARSING = {"throttle", "bare_throttle", "slow_down", "expired_token"}
"""The refusals that come before the service looks at the body."""

_NOBODY = Caller("", "", "", "", "")


class CreateRecord(msgspec.Struct, frozen=True, gc=False):
    """One create call in the log.

    Args:
        time: of its arrival, seconds since the epoch.
        account_id: twelve digits; "" when the caller is unknown.
        region: of the signature; "" when the caller is unknown.
        name: of the definition; "" when it could not be read.
        status: of the response, 0 when none was sent.
        fault: scripted or drawn, one of :data:`~provisioner.emulator.behaviour.FAULTS`.
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
    """How a call ends: the response (a cut ending sends half of it), the ending, and seconds until then."""

    response: HttpResponse
    ending: Ending = "answer"
    delay_s: float = 0.0


class _Api(NamedTuple):
    """What differs between the services that share the endpoint."""

    signing_name: str
    operation_of: Callable[[Call], str]
    action_of: Callable[[str], str]
    parse: Callable[[Call, str], dict[str, Any]]
    perform: Callable[[TargetState, str, dict[str, Any], float, Behaviour], tuple[HttpResponse, Algorithm | None]]
    error: Callable[[ApiError], HttpResponse]


class _Exchange(msgspec.Struct, gc=False):
    """What is known about a call while it is handled."""

    call: Call
    now: float
    operation: str = "unknown"
    caller: Caller = _NOBODY
    parameters: dict[str, Any] = {}
    fault: str = "ok"
    arn: str = ""


_CLEAN_ROOMS = _Api(
    SERVICE_NAME,
    cleanrooms.operation_of,
    cleanrooms.action_of,
    cleanrooms.parse,
    cleanrooms.perform,
    ApiError.response,
)

_TAGGING = _Api(
    tagging.SIGNING_NAME,
    tagging.operation_of,
    tagging.action_of,
    tagging.parse,
    tagging.perform,
    tagging.error_response,
)


class Service:
    """Handles one call after the other.

    Args:
        behaviour: assignable at any time; its scripts shrink as they are used up.
        accounts: what it holds.
    """

    def __init__(self, behaviour: Behaviour, accounts: Accounts) -> None:
        self.behaviour = behaviour
        self.accounts = accounts
        self.calls: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.creates: list[CreateRecord] = []
        self._random = Random(behaviour.seed)  # noqa: S311 - faults and latencies, replayable by their seed
        self._buckets: defaultdict[tuple[str, str, str], TokenBucket] = defaultdict(TokenBucket)

    def handle(self, call: Call, now: float) -> Result:
        """Executes a call, counts it whatever its end, and returns how it ends. Times are seconds since the epoch."""
        self.accounts.advance(now)
        exchange = _Exchange(call, now)
        api = _TAGGING if call.headers.get("x-amz-target", "").startswith(tagging.TARGET_PREFIX) else _CLEAN_ROOMS
        is_sts = api is _CLEAN_ROOMS and call.path == "/"
        error_form = sts.error_response if is_sts else api.error
        try:
            fault, response = self._sts(exchange) if is_sts else self._answer(api, exchange)
        except StateFileError:
            fault, response = FAULTS["ok"], error_form(server_error())
        except ApiError as error:
            fault, response = FAULTS["ok"], error_form(error)
        status = response.status if fault.ending in {"answer", "cut"} else 0
        self.calls[exchange.operation][status] += 1
        if exchange.operation == "create":
            self._log(exchange, status)
        return Result(response, fault.ending, delay(self.behaviour, self._random))

    def _log(self, exchange: _Exchange, status: int) -> None:
        caller, name = exchange.caller, exchange.parameters.get("name", "")
        self.creates.append(
            CreateRecord(exchange.now, caller.account_id, caller.region, name, status, exchange.fault, exchange.arn)
        )

    def _sts(self, exchange: _Exchange) -> tuple[InjectedFault, HttpResponse]:
        exchange.operation = sts.operation_of(exchange.call)
        exchange.caller = self._authenticate(exchange, STS_NAME)
        time, longest = exchange.now + self.behaviour.clock_offset, self.behaviour.token_lifetime
        return FAULTS["ok"], sts.perform(exchange.call, exchange.operation, exchange.caller, time, longest)

    def _answer(self, api: _Api, exchange: _Exchange) -> tuple[InjectedFault, HttpResponse]:
        exchange.operation = api.operation_of(exchange.call)
        exchange.caller = self._authenticate(exchange, api.signing_name)
        scripted, self.behaviour = take_scripted(self.behaviour, exchange.operation)
        exchange.fault = scripted or self._admit(exchange)
        fault = fault_named(exchange.fault)
        if fault.reply in _BEFORE_PARSING:
            raise self._refusal(api, exchange, fault)
        exchange.parameters = api.parse(exchange.call, exchange.operation)
        self._authorize(exchange, _refused(api, exchange))
        if not scripted and exchange.fault == "ok":
            exchange.fault = draw(self.behaviour, exchange.operation, self._random)
            fault = fault_named(exchange.fault)
        return fault, self._execute(api, exchange, fault)

    def _authenticate(self, exchange: _Exchange, service: str) -> Caller:
        behaviour = self.behaviour
        time = exchange.now + behaviour.clock_offset
        caller = authenticate(exchange.call, time, tokens_since=behaviour.tokens_since, verify=behaviour.verify)
        if caller.service != service:
            message = f"Credential should be scoped to correct service: '{service}'."
            raise ApiError(HTTPStatus.FORBIDDEN, "InvalidSignatureException", message)
        return caller

    def _admit(self, exchange: _Exchange) -> str:
        """The fault that the rate limit gives a call: "ok" or a throttle."""
        behaviour, caller, operation = self.behaviour, exchange.caller, exchange.operation
        creating = operation == "create"
        rate, burst = (behaviour.rate, behaviour.burst) if creating else (behaviour.read_rate, behaviour.read_burst)
        bucket = self._buckets[caller.account_id, caller.region, operation]
        if rate and not bucket.take(rate, burst, exchange.now):
            return "throttle"
        if creating and behaviour.throttled and self._random.random() < behaviour.throttled:
            return "throttle"
        return "ok"

    def _authorize(self, exchange: _Exchange, refused: Refused) -> None:
        for action in (refused.action, *cleanrooms.further_actions(exchange.operation, exchange.parameters)):
            if self._denies(action):
                raise denied_role(refused) if action == cleanrooms.PASS_ROLE else denied(refused, action)
        if refused.parameters.get("roleArn") in self.behaviour.denied_roles:
            raise denied_role(refused)

    def _denies(self, action: str) -> bool:
        behaviour = self.behaviour
        not_allowed = bool(behaviour.allowed_actions) and action not in behaviour.allowed_actions
        return behaviour.denied or not_allowed or action in behaviour.denied_actions

    def _execute(self, api: _Api, exchange: _Exchange, fault: InjectedFault) -> HttpResponse:
        if fault.effect == "late":
            self._execute_late(api, exchange)
        if fault.effect != "now":
            return api.error(self._refusal(api, exchange, fault))
        try:
            response, made = self._perform(api, exchange, exchange.now)
        except ApiError as error:
            response, made = api.error(error), None
        exchange.arn = made.arn if made else ""
        if fault.reply == "error":
            return api.error(server_error(fault.status))
        lying = fault.reply and response.status == HTTPStatus.OK
        return self._lie(fault.reply, exchange.caller, response) if lying else response

    def _perform(self, api: _Api, exchange: _Exchange, now: float) -> tuple[HttpResponse, Algorithm | None]:
        target = self.accounts.target(exchange.caller.account_id, exchange.caller.region)
        response, made = api.perform(target, exchange.operation, exchange.parameters, now, self.behaviour)
        if made is not None:
            self.accounts.algorithms.append(made)
        return response, made

    def _execute_late(self, api: _Api, exchange: _Exchange) -> None:
        def effect(time: float) -> None:
            with suppress(ApiError, StateFileError):
                self._perform(api, exchange, time)

        self.accounts.execute_at(exchange.now + self.behaviour.late_delay, effect)

    def _refusal(self, api: _Api, exchange: _Exchange, fault: InjectedFault) -> ApiError:
        return refusal(fault, self.behaviour, _refused(api, exchange))

    def _lie(self, kind: str, caller: Caller, response: HttpResponse) -> HttpResponse:
        """A 200 that is wrong about a call that was executed.

        A repeated ARN is that of the first algorithm of the account and Region.
        """
        if kind == "truncated":
            return msgspec.structs.replace(response, body=response.body[: len(response.body) // 2])
        if kind == "no_arn":
            return HttpResponse(HTTPStatus.OK, b"{}")
        if kind == "html":
            return HttpResponse(HTTPStatus.OK, b"<html><body>It works!</body></html>", content_type="text/html")
        if kind == "foreign_arn":
            return HttpResponse(
                HTTPStatus.OK, response.body.replace(f":{caller.account_id}:".encode(), b":999999999999:")
            )
        target = (caller.account_id, caller.region)
        return cleanrooms.created(next(a.arn for a in self.accounts.algorithms if (a.account_id, a.region) == target))


def _refused(api: _Api, exchange: _Exchange) -> Refused:
    return Refused(exchange.caller, api.action_of(exchange.operation), exchange.parameters)
