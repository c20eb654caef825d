"""GetResources of the resource groups tagging API: JSON 1.1, over the same algorithms.

The API has an index of its own, which lags, may not cover a resource, and may return one that is gone. Which resources
are left out or stay depends on the seed and the ARN only, so every sweep sees the same ones.
"""

from __future__ import annotations

from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.emulator.model import TAGGING_MODEL, checked_input
from provisioner.emulator.state import KIND
from provisioner.emulator.wire import ApiError, Call, HttpResponse, json_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.emulator.behaviour import Behaviour
    from provisioner.emulator.state import Algorithm, ListPage, TargetState

SIGNING_NAME = "tagging"
TARGET_PREFIX = "ResourceGroupsTaggingAPI_20170126."
"""What ``X-Amz-Target`` begins with."""

CONTENT_TYPE = "application/x-amz-json-1.1"
OPERATIONS = {"GetResources": "get_resources"}

RESOURCE_TYPES = {"cleanrooms-ml", f"cleanrooms-ml:{KIND}"}
"""The filters that match an algorithm: its service, and its type."""

PAGE, MAX_PAGE = 50, 100
TOKEN_LIFETIME_S = 900
"""Seconds for which a PaginationToken is valid (API reference, PaginationTokenExpiredException)."""

_CODES = {"ValidationException": "InvalidParameterException", "ThrottlingException": "ThrottledException"}
"""What this API calls errors that Clean Rooms ML has under other names."""


def operation_of(call: Call) -> str:
    """The operation that a call requests.

    Raises:
        ApiError: 400 for an operation that is not served.
    """
    name = call.headers["x-amz-target"].removeprefix(TARGET_PREFIX)
    if name not in OPERATIONS:
        message = "Of the resource groups tagging API the embedded endpoint serves GetResources."
        raise ApiError(HTTPStatus.BAD_REQUEST, "UnknownOperationException", message)
    return OPERATIONS[name]


def action_of(_: str) -> str:
    """The name of the operation in IAM policies."""
    return "tag:GetResources"


def parse(call: Call, _: str) -> dict[str, Any]:
    """The checked parameters of a call, without members that the model does not know.

    Raises:
        ApiError: 400 that lists every violation of the model, or for parameters that exclude each other.
    """
    parameters = checked_input(json_object(call), "GetResources", TAGGING_MODEL)
    if not 1 <= parameters.get("ResourcesPerPage", PAGE) <= MAX_PAGE:
        raise _invalid(f"ResourcesPerPage must be between 1 and {MAX_PAGE}.")
    if "ResourceARNList" in parameters and parameters.keys() & {"ResourcesPerPage", "TagsPerPage", "PaginationToken"}:
        raise _invalid("ResourceARNList and the parameters of pagination exclude each other.")
    if "TagsPerPage" in parameters:
        raise _invalid("The embedded endpoint pages by ResourcesPerPage alone.")
    return parameters


def perform(
    target: TargetState, _: str, parameters: dict[str, Any], now: float, behaviour: Behaviour
) -> tuple[HttpResponse, None]:
    """Executes GetResources; there is never a new algorithm to return.

    Raises:
        ApiError: 400 for a token that is not of this account and Region, or has expired.
    """
    index = _Index(target, now, behaviour)
    selected = _filter(parameters)

    def visible(algorithm: Algorithm) -> bool:
        return index.holds(algorithm) and selected(index.tags(algorithm))

    if "ResourceARNList" in parameters:
        algorithms, token = list(filter(visible, target.find(parameters["ResourceARNList"]))), ""
    else:
        page = _page(target, visible, parameters, now)
        algorithms, token = page.algorithms, f"{now:.0f}.{page.next_token}" if page.next_token else ""
    resources = [
        {
            "ResourceARN": algorithm.arn,
            "Tags": [{"Key": key, "Value": value} for key, value in index.tags(algorithm).items()],
        }
        for algorithm in algorithms
        if not index.omits(algorithm)
    ]
    body = {"PaginationToken": token, "ResourceTagMappingList": resources}
    return HttpResponse(HTTPStatus.OK, msgspec.json.encode(body), content_type=CONTENT_TYPE), None


def error_response(error: ApiError) -> HttpResponse:
    """The JSON 1.1 form of an error: the code in ``__type``; 400 for every mistake of the caller, a denial included."""
    code = _CODES.get(error.code, error.code)
    blamed_on_caller = code and error.status < HTTPStatus.INTERNAL_SERVER_ERROR
    body = {**({"__type": code} if code else {}), "Message": error.message, **error.members}
    status = HTTPStatus.BAD_REQUEST if blamed_on_caller else error.status
    return HttpResponse(status, msgspec.json.encode(body), error.headers, CONTENT_TYPE)


class _Index:
    """The algorithms as this API sees them at one moment."""

    def __init__(self, target: TargetState, now: float, behaviour: Behaviour) -> None:
        self._target = target
        self._seen_at = now - behaviour.tagging_lag
        self._behaviour = behaviour

    def holds(self, algorithm: Algorithm) -> bool:
        """Whether an algorithm is in the index: it existed at the index's time, or is a ghost, and was ever tagged."""
        gone = algorithm.deleted_at is not None and algorithm.deleted_at <= self._seen_at
        if algorithm.created_at > self._seen_at or (gone and not self._drawn("ghost", algorithm)):
            return False
        return self._target.was_ever_tagged(algorithm)

    def tags(self, algorithm: Algorithm) -> dict[str, str]:
        """The tags that the index has of an algorithm."""
        return self._target.tags_at(algorithm, self._seen_at)

    def omits(self, algorithm: Algorithm) -> bool:
        """Whether the index does not cover an algorithm; its page is one shorter."""
        return self._drawn("omission", algorithm)

    def _drawn(self, kind: str, algorithm: Algorithm) -> bool:
        behaviour = self._behaviour
        share = behaviour.tagging_ghosts if kind == "ghost" else behaviour.tagging_omissions
        if not share:
            return False
        digest = sha256(f"{kind} {behaviour.seed} {algorithm.arn}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < share * 2**64


def _filter(parameters: dict[str, Any]) -> Callable[[dict[str, str]], bool]:
    """A test of a resource's tags: they need the key of every filter, with one of its values if it has any."""
    types = parameters.get("ResourceTypeFilters", [])
    if types and not RESOURCE_TYPES & set(types):
        return lambda _: False
    filters = [(each.get("Key"), each.get("Values", [])) for each in parameters.get("TagFilters", [])]

    def fulfilled(tags: dict[str, str]) -> bool:
        return all(key in tags and (not values or tags[key] in values) for key, values in filters)

    return fulfilled


def _page(
    target: TargetState, visible: Callable[[Algorithm], bool], parameters: dict[str, Any], now: float
) -> ListPage:
    issued, _, token = parameters.get("PaginationToken", "").partition(".")
    if token and issued.isdecimal() and now > int(issued) + TOKEN_LIFETIME_S:
        message = "The PaginationToken is valid for 15 minutes and has expired."
        raise ApiError(HTTPStatus.BAD_REQUEST, "PaginationTokenExpiredException", message)
    if issued and not (token and issued.isdecimal()):
        raise _invalid("The PaginationToken is not valid.")
    return target.page(visible, token or None, parameters.get("ResourcesPerPage", PAGE))


def _invalid(message: str) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, "InvalidParameterException", message)
