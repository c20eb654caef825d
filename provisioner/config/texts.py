"""The texts of a target: what each may look like, for every place that a target may come from."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated

from msgspec import Meta


def text(pattern: str, says: str) -> Meta:
    """A string that matches ``pattern``; ``says`` is the same in words."""
    return Meta(pattern=rf"^{pattern}\Z", extra={"says": says})


_A_REGION = "an AWS Region such as us-east-1"
_REGION = re.compile("[a-z0-9]+(-[a-z0-9]+)*")
_ROLE_NAME = re.compile("(?!arn:)[A-Za-z0-9_+=,.@/-]{1,512}")
_ROLE_ARN = re.compile("arn:aws[-a-z]*:iam::[0-9]{12}:role/[!-~]+")

TargetName = Annotated[
    str,
    text(
        "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        "at most 64 letters, digits, dots, underscores and hyphens, and begin with a letter or digit",
    ),
]
Region = Annotated[str, text(f"({_REGION.pattern})?", _A_REGION)]
Profile = Annotated[
    str,
    text(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]*", "the name of an AWS profile, without control characters"),
]
RoleArn = Annotated[
    str,
    text(f"({_ROLE_ARN.pattern})?", "the ARN of an IAM role, such as arn:aws:iam::111122223333:role/provisioner"),
]
ExternalId = Annotated[str, text("([a-zA-Z0-9_+=,.@:/-]{2,1224})?", "2 to 1224 letters, digits or _ + = , . @ : / -")]
AccountId = Annotated[str, text("([0-9]{12})?", "a string of 12 digits")]


def _check_ids(pattern: re.Pattern[str], says: str, ids: tuple[str, ...]) -> None:
    for one in ids:
        if not pattern.fullmatch(one):
            raise ValueError(f"{one!r} is not {says}")


def _check_regions(regions: tuple[str, ...]) -> None:
    _check_ids(_REGION, _A_REGION, regions)
    if len(set(regions)) < len(regions):
        raise ValueError("a Region is named twice; remove one of them")


def _check_role(role: str) -> None:
    if role and not _ROLE_ARN.fullmatch(role) and not _ROLE_NAME.fullmatch(role):
        raise ValueError(f"{role!r} is neither the name of an IAM role nor its ARN")


_UNIT = "(r-[0-9a-z]{4,32}|ou-[0-9a-z]{4,32}-[0-9a-z]{8,32})"
"""Ids of a root and of an organizational unit (API reference of AWS Organizations)."""
_A_UNIT = "the id of an organizational unit, such as ou-ab12-11112222, or of the root, such as r-ab12"
_AN_ACCOUNT = "an account id of 12 digits"
check_units = partial(_check_ids, re.compile(_UNIT), _A_UNIT)
check_account_ids = partial(_check_ids, re.compile("[0-9]{12}"), _AN_ACCOUNT)
check_members = partial(_check_ids, re.compile(f"[0-9]{{12}}|{_UNIT}"), f"{_AN_ACCOUNT} or {_A_UNIT}")
RoleName = Annotated[str, text(f"({_ROLE_NAME.pattern})?", "the name of an IAM role, not its ARN")]
Regions = Annotated[tuple[str, ...], Meta(extra={"check": _check_regions})]
Role = Annotated[str, Meta(extra={"check": _check_role})]
"""The name of a role in the target's account, or an ARN; "" for none."""
