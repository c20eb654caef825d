"""How the endpoint behaves: its limits, its faults, and which fault the next call meets.

A :class:`Behaviour` is a value; a running endpoint takes a new one at any moment. Random faults are drawn from the
generator that is passed in, so a seed replays them; a script names the faults of the next calls one by one and draws
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from random import Random

SERVER_ERROR = 500
"""The status of a server error that names none."""

MIN_ERROR, MAX_ERROR = 400, 599
"""The statuses that a server error may have."""

Effect = Literal["now", "late", "none"]
Ending = Literal["answer", "close", "reset", "hang", "cut"]


class InjectedFault(msgspec.Struct, frozen=True):
    """What happens to one call.

    Args:
        effect: whether the call is executed: now, after ``late_delay``, or never.
        ending: a response; a connection closed without a byte; a TCP reset; silence; a response cut in the middle.
        reply: what the response is, where it is not the call's own: the name of an error, or of a wrong 200.
        status: of a response that is a server error.
    """

    effect: Effect = "now"
    ending: Ending = "answer"
    reply: str = ""
    status: int = SERVER_ERROR


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
"""Every fault by name; "ok" is none. Those that are server errors may take a status: ``error:503``."""

UNREADABLE = ("truncated", "no_arn", "html")
"""The kinds of a 200 without a readable ARN; the random fault ``unreadable`` is one of them."""

_CREATE_ONLY = {"no_arn", "foreign_arn", "repeated_arn", "quota", "denied_role"}

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0)]
Rate = Annotated[float, Meta(ge=0)]
Script = tuple[str, ...]


def _doc(text: str, *, ge: int | None = None, le: int | None = None) -> Meta:
    return Meta(description=text, ge=ge, le=le)


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The switches of the endpoint. Times are seconds, rates are calls per second, shares are between 0 and 1.

    Raises:
        ValueError: a script names an unknown fault, or the shares of the random faults add up to more than 1.
    """

    rate: Annotated[Rate, _doc("creates per second in each account and Region; 0 means no limit")] = 0.0
    burst: Annotated[float, _doc("size of the token bucket of creates", ge=1)] = 1.0
    read_rate: Annotated[Rate, _doc("calls per second of each other operation; 0 means no limit")] = 0.0
    read_burst: Annotated[float, _doc("size of the token bucket of each other operation", ge=1)] = 1.0
    latency: Annotated[Seconds, _doc("seconds between a call and its response")] = 0.0
    jitter: Annotated[Seconds, _doc("sigma of a lognormal factor on the latency")] = 0.0
    names: Annotated[
        Literal["unique", "duplicates", "same"],
        _doc("what a second create of a name does: fail with 409, make a duplicate, or return the ARN of the first"),
    ] = "unique"
    list_lag: Annotated[Seconds, _doc("seconds until List shows a new algorithm; Get shows it at once")] = 0.0
    list_delete_lag: Annotated[Seconds, _doc("seconds for which List still shows a deleted algorithm")] = 0.0
    shuffle_metrics: Annotated[bool, _doc("Get returns metricDefinitions in another order each time")] = False
    tagging_lag: Annotated[Seconds, _doc("seconds until GetResources shows a create, a tag change or a delete")] = 0.0
    tagging_omissions: Annotated[Share, _doc("share of algorithms that GetResources never returns")] = 0.0
    tagging_ghosts: Annotated[Share, _doc("share of deleted algorithms that GetResources returns forever")] = 0.0
    quota: Annotated[int, _doc("algorithms per account and Region; 0 means no quota", ge=0)] = 0
    throttled: Annotated[Share, _doc("share of creates throttled whatever the rate")] = 0.0
    bare_throttles: Annotated[bool, _doc("throttle with a 429 that has no error code")] = False
    retry_after: Annotated[Seconds, _doc("the wait that each throttle advises; 0 means no advice")] = 0.0
    retry_after_form: Annotated[
        Literal["Retry-After", "x-amz-retry-after", "retryAfterSeconds"],
        _doc("where the advice is: in one of two headers, or in a member of the body"),
    ] = "Retry-After"
    lost_reply: Annotated[Share, _doc("share of creates executed, then the connection closes without a byte")] = 0.0
    late: Annotated[Share, _doc("share of creates whose connection closes and that take effect later")] = 0.0
    late_delay: Annotated[Seconds, _doc("seconds until a late call takes effect")] = 1.0
    hang: Annotated[Share, _doc("share of creates executed and never answered")] = 0.0
    hang_without_effect: Annotated[Share, _doc("share of creates not executed and never answered")] = 0.0
    reset: Annotated[Share, _doc("share of creates executed, then a TCP reset")] = 0.0
    reset_without_effect: Annotated[Share, _doc("share of creates not executed, then a TCP reset")] = 0.0
    error: Annotated[Share, _doc("share of creates executed and answered with a server error")] = 0.0
    error_without_effect: Annotated[Share, _doc("share of creates not executed, answered with a server error")] = 0.0
    error_status: Annotated[int, _doc("status of random server errors", ge=MIN_ERROR, le=MAX_ERROR)] = SERVER_ERROR
    unreadable: Annotated[Share, _doc("share of creates executed and answered 200 without a readable ARN")] = 0.0
    read_error: Annotated[Share, _doc("share of other calls not executed, answered with a server error")] = 0.0
    denied_roles: Annotated[tuple[str, ...], _doc("ARN of a role that may not be passed: 403")] = ()
    denied_actions: Annotated[tuple[str, ...], _doc("action that is denied, such as tag:GetResources: 403")] = ()
    allowed_actions: Annotated[
        tuple[str, ...], _doc("action that is allowed, while all others are denied: 403; with none, all are allowed")
    ] = ()
    denied: Annotated[bool, _doc("deny every action: 403")] = False
    tokens_since: Annotated[Seconds, _doc("session tokens issued before this epoch time have expired")] = 0.0
    token_lifetime: Annotated[Seconds, _doc("upper bound on the lifetime of a session token")] = 3600.0
    clock_offset: Annotated[float, _doc("seconds by which the endpoint's clock is ahead of the machine's")] = 0.0
    verify: Annotated[bool, _doc("verify signatures")] = True
    seed: Annotated[int, _doc("seed of ids, order and random faults; read when the endpoint starts")] = 0
    script: Annotated[Script, _doc("fault of the next create")] = ()
    list_script: Annotated[Script, _doc("fault of the next List")] = ()
    get_script: Annotated[Script, _doc("fault of the next Get")] = ()
    delete_script: Annotated[Script, _doc("fault of the next Delete")] = ()
    tag_script: Annotated[Script, _doc("fault of the next TagResource")] = ()
    untag_script: Annotated[Script, _doc("fault of the next UntagResource")] = ()
    get_resources_script: Annotated[Script, _doc("fault of the next GetResources")] = ()

    def __post_init__(self) -> None:
        for operation, field in SCRIPTS.items():
            for item in getattr(self, field):
                if fault_named(item).reply in _CREATE_ONLY and operation != "create":
                    message = f"{field}: {item!r} is a fault of creates only"
                    raise ValueError(message)
        if sum(share for _, share in self.chances()) > 1:
            message = "the shares of faults add up to more than 1"
            raise ValueError(message)

    def chances(self) -> list[tuple[str, float]]:
        """The random faults of creates, each with its share."""
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
    """The fault that an item of a script names, with a status where it has one: "error:503".

    Raises:
        ValueError: there is no such fault, or it takes no such status.
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
    """The next item of an operation's script, "" when there is none, and the behaviour without that item."""
    field = SCRIPTS.get(operation)
    script: Script = getattr(behaviour, field) if field else ()
    if not field or not script:
        return "", behaviour
    return script[0], msgspec.structs.replace(behaviour, **{field: script[1:]})


def draw(behaviour: Behaviour, operation: str, random: Random) -> str:
    """Draws the fault of a call that the rate limit has let through."""
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
    """Seconds from a call to its response: the latency times a lognormal factor of median 1."""
    if not behaviour.latency:
        return 0.0
    return behaviour.latency * (random.lognormvariate(0.0, behaviour.jitter) if behaviour.jitter else 1.0)


class TokenBucket:
    """A bucket that holds up to ``burst`` tokens and gains ``rate`` tokens a second; it starts full."""

    __slots__ = ("_at", "_tokens")

    def __init__(self) -> None:
        self._tokens = float("inf")
        self._at = float("-inf")

    def take(self, rate: float, burst: float, now: float) -> bool:
        """Takes a token if there is one. The limits may differ from one call to the next."""
        elapsed = max(0.0, now - self._at)  # a clock that goes back adds no tokens and takes none
        self._tokens = min(burst, self._tokens + elapsed * rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
