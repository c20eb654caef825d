"""The seven operations of Clean Rooms ML, from the wire to the state and back; no signatures, limits or faults."""

from __future__ import annotations

import re
from collections.abc import Callable  # noqa: TC003 - used in an alias
from functools import partial
from http import HTTPStatus
from random import Random
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from provisioner.emulator.behaviour import Behaviour  # noqa: TC001 - used in an alias
from provisioner.emulator.model import checked_input, output_members
from provisioner.emulator.state import PAGE, Algorithm, TargetState
from provisioner.emulator.wire import ApiError, Call, HttpResponse, json_object, timestamp

ALGORITHMS = "/configured-model-algorithms"
TAGS = "/tags"

_INTEGER = re.compile(r"-?[0-9]{1,18}").fullmatch
"""No longer than any number that a query may have: int() refuses thousands of digits."""

MODEL_NAMES = {
    "create": "CreateConfiguredModelAlgorithm",
    "list": "ListConfiguredModelAlgorithms",
    "get": "GetConfiguredModelAlgorithm",
    "delete": "DeleteConfiguredModelAlgorithm",
    "tag": "TagResource",
    "untag": "UntagResource",
    "list_tags": "ListTagsForResource",
}
"""The name of each operation in the service model, and of its action in IAM policies."""

PASS_ROLE = "iam:PassRole"  # noqa: S105  an action, no password

_ROUTES = {
    ("POST", ALGORITHMS, False): "create",
    ("GET", ALGORITHMS, False): "list",
    ("GET", ALGORITHMS, True): "get",
    ("DELETE", ALGORITHMS, True): "delete",
    ("POST", TAGS, True): "tag",
    ("DELETE", TAGS, True): "untag",
    ("GET", TAGS, True): "list_tags",
}


def operation_of(call: Call) -> str:
    """The operation that a call requests.

    Raises:
        ApiError: 404 for a path or method without an operation.
    """
    head, slash, rest = call.path[1:].partition("/")
    operation = _ROUTES.get((call.method, f"/{head}", bool(slash and rest)))
    if operation is None:
        message = f"No operation answers {call.method} {call.path}."
        raise ApiError(HTTPStatus.NOT_FOUND, "UnknownOperationException", message)
    return operation


def action_of(operation: str) -> str:
    """The name of an operation in IAM policies."""
    return f"cleanrooms-ml:{MODEL_NAMES[operation]}"


def further_actions(operation: str, parameters: dict[str, Any]) -> list[str]:
    """The actions that a policy must also allow for an operation: a create passes a role, and tags what has tags."""
    if operation != "create":
        return []
    return [action_of("tag")] * bool(parameters.get("tags")) + [PASS_ROLE]


def parse(call: Call, operation: str) -> dict[str, Any]:
    """The checked parameters of a call, without members that the model does not know.

    Raises:
        ApiError: 400 that lists every violation of the service model.
    """
    return checked_input(_raw(call, operation), MODEL_NAMES[operation])


def perform(
    target: TargetState, operation: str, parameters: dict[str, Any], now: float, behaviour: Behaviour
) -> tuple[HttpResponse, Algorithm | None]:
    """Executes an operation.

    Returns:
        The response, and the algorithm that the call made, if it made one.

    Raises:
        ApiError: what the state refuses.
    """
    if operation == "create":
        algorithm, new = target.create(parameters, now, names=behaviour.names, quota=behaviour.quota)
        return created(algorithm.arn), algorithm if new else None
    return _ok(_PERFORM[operation](target, parameters, now, behaviour)), None


def created(arn: str) -> HttpResponse:
    """The response to a create."""
    return _ok({"configuredModelAlgorithmArn": arn})


def _raw(call: Call, operation: str) -> dict[str, Any]:
    if operation == "create":
        return json_object(call)
    if operation == "list":
        return {key: _number(value) if key == "maxResults" else value for key, value in _query(call)}
    arn = unquote(call.path[1:].partition("/")[2])
    if operation in {"get", "delete"}:
        return {"configuredModelAlgorithmArn": arn}
    if operation == "tag":
        return {"tags": json_object(call).get("tags"), "resourceArn": arn}
    keys = [value for key, value in _query(call) if key == "tagKeys"]
    return {"resourceArn": arn, "tagKeys": keys} if operation == "untag" else {"resourceArn": arn}


def _query(call: Call) -> list[tuple[str, str]]:
    return parse_qsl(call.query, keep_blank_values=True)


def _number(text: str) -> int | str:
    """The number in a query, or the text as it is, which the model's check then refuses."""
    return int(text) if _INTEGER(text) else text


def _ok(body: dict[str, Any]) -> HttpResponse:
    return HttpResponse(HTTPStatus.OK, msgspec.json.encode(body))


def _perform_list(target: TargetState, parameters: dict[str, Any], now: float, behaviour: Behaviour) -> dict[str, Any]:
    limit = parameters.get("maxResults", PAGE)
    page = target.page(partial(_listed, now, behaviour), parameters.get("nextToken"), limit)
    body: dict[str, Any] = {
        "configuredModelAlgorithms": [_summary(algorithm, behaviour) for algorithm in page.algorithms]
    }
    return {**body, "nextToken": page.next_token} if page.next_token else body


def _listed(now: float, behaviour: Behaviour, algorithm: Algorithm) -> bool:
    """Whether List shows an algorithm: neither too new nor deleted too long ago."""
    deleted_at = algorithm.deleted_at
    return now >= algorithm.created_at + behaviour.list_lag and (
        deleted_at is None or now < deleted_at + behaviour.list_delete_lag
    )


def _perform_get(target: TargetState, parameters: dict[str, Any], now: float, behaviour: Behaviour) -> dict[str, Any]:
    algorithm = target.get(parameters["configuredModelAlgorithmArn"])
    known = output_members(MODEL_NAMES["get"])
    definition = {name: value for name, value in algorithm.request.items() if name in known}
    if behaviour.shuffle_metrics:
        _shuffle_metrics(definition, Random(f"{behaviour.seed} {algorithm.arn} {now}"))  # noqa: S311 - replayable
    return {**definition, **_summary(algorithm, behaviour), "tags": algorithm.tags}


def _shuffle_metrics(definition: dict[str, Any], random: Random) -> None:
    """Reorders what the provider's schema calls unordered; two or more never come back as they were sent."""
    metrics = definition.get("trainingContainerConfig", {}).get("metricDefinitions", [])
    sent = list(metrics)
    while metrics == sent and any(metric != sent[0] for metric in sent):
        random.shuffle(metrics)


def _perform_delete(target: TargetState, parameters: dict[str, Any], now: float, _: Behaviour) -> dict[str, Any]:
    target.delete(parameters["configuredModelAlgorithmArn"], now)
    return {}


def _perform_tag(target: TargetState, parameters: dict[str, Any], now: float, _: Behaviour) -> dict[str, Any]:
    target.tag(parameters["resourceArn"], parameters["tags"], now)
    return {}


def _perform_untag(target: TargetState, parameters: dict[str, Any], now: float, _: Behaviour) -> dict[str, Any]:
    target.untag(parameters["resourceArn"], parameters["tagKeys"], now)
    return {}


def _perform_list_tags(target: TargetState, parameters: dict[str, Any], _now: float, _: Behaviour) -> dict[str, Any]:
    return {"tags": target.get(parameters["resourceArn"]).tags}


_PERFORM: dict[str, Callable[[TargetState, dict[str, Any], float, Behaviour], dict[str, Any]]] = {
    "list": _perform_list,
    "get": _perform_get,
    "delete": _perform_delete,
    "tag": _perform_tag,
    "untag": _perform_untag,
    "list_tags": _perform_list_tags,
}


def _summary(algorithm: Algorithm, behaviour: Behaviour) -> dict[str, Any]:
    time = timestamp(algorithm.created_at + behaviour.clock_offset)
    summary = {
        "configuredModelAlgorithmArn": algorithm.arn,
        "name": algorithm.name,
        "createTime": time,
        "updateTime": time,
    }
    description = algorithm.request.get("description")
    return summary if description is None else {**summary, "description": description}
