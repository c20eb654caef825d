"""The parts of an ARN: ``arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE``. Pure."""

from __future__ import annotations

from typing import Literal

_PLACES = {"partition": 1, "region": 3, "account": 4}


def part(arn: str, name: Literal["partition", "region", "account"]) -> str:
    """The part ``name`` of ``arn``, "" where it has none."""
    parts = arn.split(":", 5)
    place = _PLACES[name]
    return parts[place] if len(parts) > place else ""


def iam_name(arn: str) -> str:
    """The name of the role or user ``arn``, without its path."""
    return arn.rpartition("/")[2]
