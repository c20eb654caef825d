"""Checks parameters against the service model.

boto3 checks types, required parameters and minimum lengths before it sends a request.
Maximum lengths, patterns and ranges are for the service to check.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from moto.core.utils import get_service_model

from .exceptions import ConstraintViolation

PYTHON_TYPES: dict[str, type[Any]] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "integer": int,
}


def validate(operation_name: str, params: dict[str, Any]) -> None:
    """Raise a ConstraintViolation that lists everything that the model forbids."""
    model = get_service_model("cleanroomsml").operation_model(operation_name)
    if violations := list(_violations(model.input_shape, params, "")):
        raise ConstraintViolation(violations)


def _violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    prefix = f"Value '{value}' at '{path}' failed to satisfy constraint: Member must "
    if type(value) is not PYTHON_TYPES[shape.type_name]:
        yield f"{prefix}be of type {shape.type_name}"
        return
    for constraint in _broken_constraints(shape, value):
        yield prefix + constraint
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            member_path = f"{path}.{name}" if path else name
            if value.get(name) is not None:
                yield from _violations(member, value[name], member_path)
            elif name in shape.required_members:
                yield (
                    f"Value null at '{member_path}' failed to satisfy constraint: "
                    "Member must not be null"
                )
    elif shape.type_name == "list":
        for number, item in enumerate(value, 1):
            yield from _violations(shape.member, item, f"{path}.{number}.member")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _violations(shape.key, key, f"{path}.key")
            yield from _violations(shape.value, item, f"{path}.{key}.member")


def _broken_constraints(shape: Any, value: Any) -> Iterator[str]:
    is_number = shape.type_name == "integer"
    measured = value if is_number else len(value)
    what = "value" if is_number else "length"
    lowest, highest = shape.metadata.get("min"), shape.metadata.get("max")
    if lowest is not None and measured < lowest:
        yield f"have {what} greater than or equal to {lowest}"
    if highest is not None and measured > highest:
        yield f"have {what} less than or equal to {highest}"
    pattern = shape.metadata.get("pattern")
    if pattern and not _compile(pattern).fullmatch(value):
        yield f"satisfy regular expression pattern: {pattern}"


@lru_cache
def _compile(pattern: str) -> "re.Pattern[str]":
    # The model describes characters beyond U+FFFF as Java does, by their surrogates
    pattern = pattern.replace(r"\uD800\uDBFF-\uDC00\uDFFF", "\U00010000-\U0010ffff")
    return re.compile(pattern, re.ASCII)
