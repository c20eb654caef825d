"""How the endpoint behaves: its limits, its faults, and which of them hits the next call.

A :class:`Behaviour` is a value; a running endpoint takes a new one at any moment. Chances are drawn from the generator
that is handed in, so a seed replays them; scripts name the faults of the next calls one by one and draw nothing.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from random import Random

MIN_ERROR, MAX_ERROR = 400, 599
"""The statuses that a server error may have."""

Effect = Literal["now", "late", "none"]
Ending = Literal["answer", "close", "reset", "hang", "cut"]


class InjectedFault(msgspec.Struct, frozen=True):
    """What becomes of one call.

    Args:
        effect: whether the call is executed: now, after ``late_delay``, or never.
        ending: an answer; a connection closed without a byte; a TCP reset; silence; an answer cut in the middle.
        reply: which answer, where it is not the call's own: the name of an error or of a lie.
        status: of an answer that is a server error.
    """

    effect: Effect = "now"
    ending: Ending = "answer"
    reply: str = ""
    status: int = HTTPStatus.INTERNAL_SERVER_ERROR


FAULTS: dict[str, InjectedFault] = {
    "ok": InjectedFault(),
    "throttle": InjectedFault(effect="none", reply="throttle"),
    "bare_throttle": InjectedFault(effect="none", reply="bare_throttle"),
    "slow_down": InjectedFault(effect="none", reply="slow_down"),
    "lost_reply": InjectedFault(ending="close"),
    "lost_request": InjectedFault(effect="none", ending="close"),
    "late": InjectedFault(effect="late", ending="close"),
    "late_error": InjectedFault(effect="late", reply="error"),
    "hang": InjectedFault(ending="hang"),
    "hang_without_effect": InjectedFault(effect="none", ending="hang"),
    "reset": InjectedFault(ending="reset"),
    "reset_without_effect": InjectedFault(effect="none", ending="reset"),
    "error": InjectedFault(reply="error"),
    "error_without_effect": InjectedFault(effect="none", reply="error"),
    "truncated": InjectedFault(reply="truncated"),
    "no_arn": InjectedFault(reply="no_arn"),
    "html": InjectedFault(reply="html"),
    "cut_reply": InjectedFault(ending="cut"),
    "foreign_arn": InjectedFault(reply="foreign_arn"),
    "repeated_arn": InjectedFault(reply="repeated_arn"),
    "quota": InjectedFault(effect="none", reply="quota"),
    "denied": InjectedFault(effect="none", reply="denied"),
    "denied_role": InjectedFault(effect="none", reply="denied_role"),
    "expired_token": InjectedFault(effect="none", reply="expired_token"),
    "conflict": InjectedFault(effect="none", reply="conflict"),
}
"""Every fault by name. ``error`` and its kin take a status: ``error:503``. Without one it is 500."""

UNREADABLE = ("truncated", "no_arn", "html")
"""The kinds of a 2xx that holds no readable ARN; a chance of ``unreadable`` takes one of them."""

_CREATE_ONLY = {"no_arn", "foreign_arn", "repeated_arn", "quota", "denied_role"}

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0)]
Script = tuple[str, ...]


def _doc(text: str, *, ge: int | None = None, le: int | None = None) -> Meta:
    return Meta(description=text, ge=ge, le=le)


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The switches of the endpoint. Times are seconds, rates are calls per second, shares are between 0 and 1.

    Raises:
        ValueError: a script names an unknown fault, or the shares of faults add up to more than 1.
    """

    rate: Annotated[Seconds, _doc("creates per second, account and Region; 0: no limit")] = 0.0
    burst: Annotated[float, _doc("creates that may come at once", ge=1)] = 1.0
    read_rate: Annotated[Seconds, _doc("calls per second of each other operation; 0: no limit")] = 0.0
    read_burst: Annotated[float, _doc("calls of each other operation that may come at once", ge=1)] = 1.0
    latency: Annotated[Seconds, _doc("seconds between a call and its reply")] = 0.0
    jitter: Annotated[Seconds, _doc("sigma of the lognormal factor on the latency")] = 0.0
    names: Annotated[
        Literal["unique", "duplicates", "same"],
        _doc("a second create of a name: answers 409, makes a second algorithm, or answers the ARN of the first"),
    ] = "unique"
    list_lag: Annotated[Seconds, _doc("seconds until List shows a new algorithm; Get shows it at once")] = 0.0
    list_delete_lag: Annotated[Seconds, _doc("seconds for which List still shows a deleted algorithm")] = 0.0
    shuffle_metrics: Annotated[bool, _doc("Get returns metricDefinitions in another order each time")] = False
    tagging_lag: Annotated[Seconds, _doc("seconds until GetResources shows a create, a tag change or a delete")] = 0.0
    tagging_omissions: Annotated[Share, _doc("share of algorithms that GetResources never returns")] = 0.0
    tagging_ghosts: Annotated[Share, _doc("share of deleted algorithms that GetResources returns for ever")] = 0.0
    quota: Annotated[int, _doc("algorithms per account and Region; 0: no quota", ge=0)] = 0
    throttled: Annotated[Share, _doc("share of creates answered 429 whatever the rate")] = 0.0
    bare_throttles: Annotated[bool, _doc("429 without an error code")] = False
    retry_after: Annotated[Seconds, _doc("advice in each 429, in seconds; 0: none")] = 0.0
    retry_after_form: Annotated[
        Literal["Retry-After", "x-amz-retry-after", "retryAfterSeconds"],
        _doc("where the advice stands: one of two headers, or a member of the body"),
    ] = "Retry-After"
    lost_reply: Annotated[Share, _doc("share of creates executed whose connection closes without a byte")] = 0.0
    late: Annotated[Share, _doc("share of creates whose connection closes and which take effect later")] = 0.0
    late_delay: Annotated[Seconds, _doc("seconds until a late create takes effect")] = 1.0
    hang: Annotated[Share, _doc("share of creates executed and never answered")] = 0.0
    hang_without_effect: Annotated[Share, _doc("share of creates never executed and never answered")] = 0.0
    reset: Annotated[Share, _doc("share of creates executed and answered by a TCP reset")] = 0.0
    reset_without_effect: Annotated[Share, _doc("share of creates not executed and answered by a TCP reset")] = 0.0
    error: Annotated[Share, _doc("share of creates executed and answered by a server error")] = 0.0
    error_without_effect: Annotated[Share, _doc("share of creates not executed and answered by a server error")] = 0.0
    error_status: Annotated[int, _doc("status of the server errors", ge=MIN_ERROR, le=MAX_ERROR)] = (
        HTTPStatus.INTERNAL_SERVER_ERROR
    )
    unreadable: Annotated[Share, _doc("share of creates executed and answered 200 without a readable ARN")] = 0.0
    read_error: Annotated[Share, _doc("share of other calls answered by a server error, not executed")] = 0.0
    denied_roles: Annotated[tuple[str, ...], _doc("role ARNs that may not be passed: 403")] = ()
    denied_actions: Annotated[
        tuple[str, ...], _doc("actions that no policy allows, such as tag:GetResources: 403")
    ] = ()
    denied: Annotated[bool, _doc("403 for every call")] = False
    tokens_since: Annotated[Seconds, _doc("session tokens issued before this time have expired (epoch seconds)")] = 0.0
    token_lifetime: Annotated[Seconds, _doc("longest life of a token that AssumeRole issues")] = 3600.0
    clock_offset: Annotated[float, _doc("seconds that the endpoint's clock is ahead of the machine's")] = 0.0
    verify: Annotated[bool, _doc("verify signatures")] = True
    seed: Annotated[int, _doc("seed of ids, order and chances; read when the endpoint starts")] = 0
    script: Annotated[Script, _doc("faults of the next creates, in order")] = ()
    list_script: Annotated[Script, _doc("faults of the next Lists, in order")] = ()
    get_script: Annotated[Script, _doc("faults of the next Gets, in order")] = ()
    delete_script: Annotated[Script, _doc("faults of the next deletes, in order")] = ()
    tag_script: Annotated[Script, _doc("faults of the next TagResource calls, in order")] = ()
    untag_script: Annotated[Script, _doc("faults of the next UntagResource calls, in order")] = ()
    get_resources_script: Annotated[Script, _doc("faults of the next GetResources calls, in order")] = ()

    def __post_init__(self) -> None:
        for operation, field in SCRIPTS.items():
            for item in getattr(self, field):
                if fault_named(item).reply in _CREATE_ONLY and operation != "create":
                    message = f"{item!r} is a fault of creates alone"
                    raise ValueError(message)
        if sum(share for _, share in self.chances()) > 1:
            message = "the shares of faults add up to more than 1"
            raise ValueError(message)

    def chances(self) -> list[tuple[str, float]]:
        """Each fault that a create may draw, with its share."""
        return [(name, getattr(self, name)) for name in _CHANCES]


_CHANCES = (
    "lost_reply",
    "late",
    "hang",
    "hang_without_effect",
    "reset",
    "reset_without_effect",
    "error",
    "error_without_effect",
    "unreadable",
)

SCRIPTS = {
    "create": "script",
    "list": "list_script",
    "get": "get_script",
    "delete": "delete_script",
    "tag": "tag_script",
    "untag": "untag_script",
    "get_resources": "get_resources_script",
}
"""The field of a behaviour that scripts an operation."""


def fault_named(text: str) -> InjectedFault:
    """The fault of a script's item: a name of :data:`FAULTS`, for server errors with a status: "error:503".

    Raises:
        ValueError: no such fault, or a status that is no error.
    """
    name, colon, status = text.partition(":")
    fault = FAULTS.get(name)
    if fault is None:
        message = f"unknown fault {text!r}; known: {', '.join(FAULTS)}"
        raise ValueError(message)
    if not colon:
        return fault
    if fault.reply != "error" or not status.isdigit() or not MIN_ERROR <= int(status) <= MAX_ERROR:
        message = f"{text!r}: only server errors take a status, {MIN_ERROR} to {MAX_ERROR}"
        raise ValueError(message)
    return msgspec.structs.replace(fault, status=int(status))


def take_scripted(behaviour: Behaviour, operation: str) -> tuple[str, Behaviour]:
    """The next item of an operation's script, "" when there is none, and the behaviour that is left without it."""
    field = SCRIPTS.get(operation)
    script: Script = getattr(behaviour, field) if field else ()
    if not field or not script:
        return "", behaviour
    return script[0], msgspec.structs.replace(behaviour, **{field: script[1:]})


def draw(behaviour: Behaviour, operation: str, random: Random) -> str:
    """The name of the fault that chance gives an admitted call."""
    if operation != "create":
        hit = behaviour.read_error and random.random() < behaviour.read_error
        return f"error_without_effect:{behaviour.error_status}" if hit else "ok"
    point = random.random()
    for name, share in behaviour.chances():
        if point < share:
            return _spelled(behaviour, name, random)
        point -= share
    return "ok"


def _spelled(behaviour: Behaviour, name: str, random: Random) -> str:
    if name == "unreadable":
        return random.choice(UNREADABLE)
    return f"{name}:{behaviour.error_status}" if name.startswith("error") else name


def delay(behaviour: Behaviour, random: Random) -> float:
    """Seconds from a call to its reply: the latency times a lognormal factor of median 1."""
    if not behaviour.latency:
        return 0.0
    return behaviour.latency * (random.lognormvariate(0.0, behaviour.jitter) if behaviour.jitter else 1.0)


class TokenBucket:
    """A bucket that holds ``burst`` tokens and gains ``rate`` of them a second; it starts full."""

    __slots__ = ("_at", "_tokens")

    def __init__(self) -> None:
        self._tokens = float("inf")
        self._at = float("-inf")

    def take(self, rate: float, burst: float, now: float) -> bool:
        """Takes a token if there is one. The limits may differ from one call to the next."""
        elapsed = max(0.0, now - self._at)
        self._tokens = min(burst, self._tokens + elapsed * rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
