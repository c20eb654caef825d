"""The tag that proves whose algorithm it is: the value of the ownership tag that every create carries. Pure."""

from __future__ import annotations

import re
import secrets
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from provisioner.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK = re.compile(r"v1/([0-9a-f]{16})/([0-9a-f]{32})/([0-9A-Za-z.-]{1,64})")
_ARN = re.compile(r"arn:aws[-a-z]*:cleanrooms-ml:([-a-z0-9]+):([0-9]{12}):configured-model-algorithm/[-a-zA-Z0-9_/.]+")


class OwnershipTag(msgspec.Struct, frozen=True):
    """Who made an algorithm: the ledger, the definition (its digest without tags), and the attempt."""

    ledger_id: str
    digest: str
    attempt: str

    def __str__(self) -> str:
        return f"v1/{self.ledger_id}/{self.digest}/{self.attempt}"


def read_tag(value: str) -> OwnershipTag | None:
    """The tag in a tag's value, None when it is not one of ours."""
    match = _MARK.fullmatch(value)
    return OwnershipTag(*match.groups()) if match else None


def take_tag(tags: dict[str, str], key: str) -> OwnershipTag | None:
    """The ownership tag among ``tags``, which is taken out of them; None when there is none.

    A ledger may have written its tag under another key in earlier runs, and may write none today. What an ownership tag
    looks like is fixed, so it is found under any key.

    Args:
        tags: of an algorithm; those that stay are its user's.
        key: under which it is looked for first, "" for none in particular.
    """
    for name in sorted(tags, key=lambda name: name != key):
        if (tag := read_tag(tags[name])) is not None:
            del tags[name]
            return tag
    return None


def attempt_ids() -> Iterator[str]:
    """Ids that no other run and no other attempt has: 48 random bits for the run, then a count."""
    run = secrets.token_hex(6)
    return (f"{run}-{number}" for number in count(1))


class Arn(msgspec.Struct, frozen=True):
    """What an algorithm's ARN tells of its place."""

    region: str
    account_id: str


def read_arn(arn: str) -> Arn:
    """The Region and account in an algorithm's ARN.

    Raises:
        IntegrityError: it is not the ARN of a configured model algorithm.
    """
    match = _ARN.fullmatch(arn)
    if match is None:
        raise IntegrityError("the answer is not the ARN of a configured model algorithm", where=arn)
    return Arn(*match.groups())


is_id = re.compile(r"[-a-zA-Z0-9_/.]+").fullmatch
"""Whether text can be the last part of an algorithm's ARN, which the server mints."""


def check_place(arn: str, *, region: str, account_id: str) -> str:
    """The account of ``arn``, once it is proven to lie where the target does.

    Args:
        arn: of the algorithm.
        region: of the target.
        account_id: of the target; "" when it is not known yet.

    Raises:
        IntegrityError: the ARN has another Region or another account.
    """
    place = read_arn(arn)
    if place.region != region:
        why = f"the target is in {region}"
        raise IntegrityError("an answer names an algorithm in another Region", where=arn, why=why)
    if account_id and place.account_id != account_id:
        why = f"the target is account {account_id}"
        raise IntegrityError("an answer names an algorithm of another account", where=arn, why=why)
    return place.account_id
