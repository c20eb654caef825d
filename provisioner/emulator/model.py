r"""What botocore's data files say: the service models, compiled once into closures that check requests; partitions.

The service refuses what the model forbids: wrong types, missing members, lengths, patterns. Members that the model
does not know are ignored, and so are nulls, as AWS does. Lengths are counted in code points, as the model's language
(Smithy) defines them. Patterns are Java's: they match whole values, ``\s`` is ASCII, and ``.`` matches no line end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from provisioner.emulator.wire import validation_error

Check = Callable[[object, str, list[str]], object]
"""Takes a value, its path and the list of problems to add to; returns the value without unknown members."""

CLEAN_ROOMS_MODEL = "cleanroomsml"
TAGGING_MODEL = "resourcegroupstaggingapi"
"""botocore's names of the two models."""

ASTRAL = r"\uD800\uDBFF-\uDC00\uDFFF"
"""How the model's patterns spell "any character beyond U+FFFF"."""

LINE_END = r"[\n\r\u0085\u2028\u2029]"


@cache
def input_check(operation: str, service: str = CLEAN_ROOMS_MODEL) -> Check:
    """The check of the whole input of an ``operation``, such as "CreateConfiguredModelAlgorithm"."""
    model = _model(service)
    return _compile(model["shapes"], model["operations"][operation]["input"]["shape"])


def checked_input(raw: dict[str, Any], operation: str, service: str = CLEAN_ROOMS_MODEL) -> dict[str, Any]:
    """The input of an ``operation`` without members that the model does not know.

    Raises:
        ApiError: 400 that lists every violation of the model.
    """
    problems: list[str] = []
    parameters = input_check(operation, service)(raw, "", problems)
    if problems or not isinstance(parameters, dict):
        raise validation_error(*problems)
    return parameters


@cache
def output_members(operation: str) -> frozenset[str]:
    """The names of the members that the response of a Clean Rooms ML ``operation`` may have."""
    model = _model(CLEAN_ROOMS_MODEL)
    return frozenset(model["shapes"][model["operations"][operation]["output"]["shape"]]["members"])


@cache
def _model(service: str) -> dict[str, Any]:
    from botocore.loaders import Loader

    model: dict[str, Any] = Loader().load_service_model(service, "service-2")
    return model


@cache
def partition(region: str) -> str:
    """The partition of a Region by botocore's list of them; "aws" for a Region that fits none."""
    return next((each["id"] for each in _partitions() if re.match(each["regionRegex"], region)), "aws")


@cache
def _partitions() -> list[dict[str, Any]]:
    from botocore.loaders import Loader

    listed: list[dict[str, Any]] = Loader().load_data("partitions")["partitions"]
    return listed


def _compile(shapes: dict[str, Any], name: str) -> Check:
    shape = shapes[name]
    return _COMPILERS[shape["type"]](shapes, shape)


def _compile_structure(shapes: dict[str, Any], shape: dict[str, Any]) -> Check:
    required = shape.get("required", [])
    members = [(name, _compile(shapes, member["shape"])) for name, member in shape["members"].items()]

    def check(value: object, path: str, problems: list[str]) -> object:
        if not isinstance(value, dict):
            problems.append(_problem(value, path, "Member must be a structure"))
            return None
        prefix = f"{path}." if path else ""
        problems += [_missing(prefix + name) for name in required if value.get(name) is None]
        return {
            name: inner(value[name], prefix + name, problems) for name, inner in members if value.get(name) is not None
        }

    return check


def _compile_list(shapes: dict[str, Any], shape: dict[str, Any]) -> Check:
    inner = _compile(shapes, shape["member"]["shape"])
    low, high = shape.get("min", 0), shape.get("max", float("inf"))

    def check(value: object, path: str, problems: list[str]) -> object:
        if not isinstance(value, list):
            problems.append(_problem(value, path, "Member must be a list"))
            return None
        if not low <= len(value) <= high:
            problems.append(_length_problem(value, path, low, high))
        return [inner(item, f"{path}.{index}.member", problems) for index, item in enumerate(value, 1)]

    return check


def _compile_map(shapes: dict[str, Any], shape: dict[str, Any]) -> Check:
    key_check = _compile(shapes, shape["key"]["shape"])
    value_check = _compile(shapes, shape["value"]["shape"])
    low, high = shape.get("min", 0), shape.get("max", float("inf"))

    def check(value: object, path: str, problems: list[str]) -> object:
        if not isinstance(value, dict):
            problems.append(_problem(value, path, "Member must be a map"))
            return None
        if not low <= len(value) <= high:
            problems.append(_length_problem(value, path, low, high))
        return {
            key_check(key, f"{path}.key", problems): value_check(item, f"{path}.{key}.member", problems)
            for key, item in value.items()
        }

    return check


def _compile_string(_: dict[str, Any], shape: dict[str, Any]) -> Check:
    low, high = shape.get("min", 0), shape.get("max", float("inf"))
    pattern = shape.get("pattern")
    matches = None if pattern is None else java_pattern(pattern).fullmatch

    def check(value: object, path: str, problems: list[str]) -> object:
        if not isinstance(value, str):
            problems.append(_problem(value, path, "Member must be a string"))
            return None
        if not low <= len(value) <= high:
            problems.append(_length_problem(value, path, low, high))
        if matches is not None and matches(value) is None:
            problems.append(_problem(value, path, f"Member must satisfy regular expression pattern: {pattern}"))
        return value

    return check


def _compile_integer(_: dict[str, Any], shape: dict[str, Any]) -> Check:
    low, high = shape.get("min", float("-inf")), shape.get("max", float("inf"))

    def check(value: object, path: str, problems: list[str]) -> object:
        if not isinstance(value, int) or isinstance(value, bool):
            problems.append(_problem(value, path, "Member must be an integer"))
            return None
        if value < low:
            problems.append(_problem(value, path, f"Member must have value greater than or equal to {low}"))
        if value > high:
            problems.append(_problem(value, path, f"Member must have value less than or equal to {high}"))
        return value

    return check


def _compile_boolean(_: dict[str, Any], __: dict[str, Any]) -> Check:
    def check(value: object, path: str, problems: list[str]) -> object:
        if not isinstance(value, bool):
            problems.append(_problem(value, path, "Member must be a boolean"))
            return None
        return value

    return check


_COMPILERS = {
    "structure": _compile_structure,
    "list": _compile_list,
    "map": _compile_map,
    "string": _compile_string,
    "integer": _compile_integer,
    "boolean": _compile_boolean,
}


def java_pattern(pattern: str) -> re.Pattern[str]:
    r"""A pattern of the model, for Python.

    Astral characters stand as such; ``\s`` is ASCII; ``.`` matches no line end; ``$`` also matches before a last one.
    """
    pattern = pattern.replace(ASTRAL, "\U00010000-\U0010ffff").replace("$", rf"{LINE_END}?\Z")
    return re.compile(re.sub(r"(?<!\\)\.(?=[*+])", LINE_END.replace("[", "[^").replace("\\", r"\\"), pattern), re.ASCII)


def _problem(value: object, path: str, constraint: str) -> str:
    return f"Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"


def _missing(path: str) -> str:
    return f"Value null at '{path}' failed to satisfy constraint: Member must not be null"


def _length_problem(value: object, path: str, low: float, high: float) -> str:
    size = len(value) if isinstance(value, (str, list, dict)) else 0
    bound = f"greater than or equal to {low}" if size < low else f"less than or equal to {high}"
    return _problem(value, path, f"Member must have length {bound}")
