"""Placeholders: the account and the Region in the strings of a definition, written as ``{account_id}``, ``{region}``.

The names and the regular expressions of metrics are left as they are: braces have a meaning of their own there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

UNTOUCHED = "metricDefinitions"


def with_placeholders(definition: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """``definition`` with a placeholder for each of ``values``, and every other brace doubled.

    A value counts where it stands alone: not as a part of a longer number or word, such as ``us-east-1a``.

    Args:
        definition: as JSON, with the API's names.
        values: by the names of the placeholders; "" for one that is not known.
    """
    known = {value: f"{{{name}}}" for name, value in values.items() if value}
    words = re.compile(rf"(?<![0-9A-Za-z])(?:{'|'.join(map(re.escape, known))})(?![0-9A-Za-z])") if known else None

    def text(value: str) -> str:
        doubled = value.replace("{", "{{").replace("}", "}}")
        return words.sub(lambda match: known[match[0]], doubled) if words else doubled

    def lift(value: Any) -> Any:  # noqa: ANN401  any JSON value
        match value:
            case str():
                return text(value)
            case list():
                return [lift(inner) for inner in value]
            case dict():
                return {key: inner if key == UNTOUCHED else lift(inner) for key, inner in value.items()}
        return value

    return {key: lift(value) for key, value in definition.items()}
