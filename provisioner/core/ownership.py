"""The ownership tag that every create carries, which proves which ledger made an algorithm; attempt ids; ARNs. Pure."""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from provisioner.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator

_TAG = re.compile(r"v1/([0-9a-f]{16})/([0-9a-f]{32})/([0-9A-Za-z.-]{1,64})")
_ARN = re.compile(r"arn:aws[-a-z]*:cleanrooms-ml:([-a-z0-9]+):([0-9]{12}):configured-model-algorithm/[-a-zA-Z0-9_/.]+")


ADOPTED = "adopted-"
"""What stands in place of an attempt for an algorithm that was taken over: no attempt of this ledger made it."""


def adopted_attempt(arn: str) -> str:
    """What stands in place of an attempt for ``arn``, which is taken over; the same whenever it is."""
    return ADOPTED + sha256(arn.encode()).hexdigest()[:12]


class OwnershipTag(msgspec.Struct, frozen=True):
    """Who made an algorithm: the ledger, the definition (its digest without tags), and the attempt."""

    ledger_id: str
    digest: str
    attempt: str

    @property
    def adopted(self) -> bool:
        """Whether the ledger took the algorithm over, and did not create it."""
        return self.attempt.startswith(ADOPTED)

    def __str__(self) -> str:
        return f"v1/{self.ledger_id}/{self.digest}/{self.attempt}"


def read_tag(value: str) -> OwnershipTag | None:
    """The ownership tag in the value of a tag; None when it is not one."""
    match = _TAG.fullmatch(value)
    return OwnershipTag(*match.groups()) if match else None


def take_tag(tags: dict[str, str], key: str) -> OwnershipTag | None:
    """Remove the ownership tag from ``tags`` and return it; None when there is none.

    Earlier runs may have written it under another key, and this one may write none. Its value has a fixed form, so it
    is recognized under any key.

    Args:
        tags: of an algorithm; what remains are the user's.
        key: to try first, "" for none in particular.
    """
    for name in sorted(tags, key=lambda name: name != key):
        if (tag := read_tag(tags[name])) is not None:
            del tags[name]
            return tag
    return None


def attempt_ids() -> Iterator[str]:
    """Unique ids of attempts: 48 random bits for the run, then a count."""
    run = secrets.token_hex(6)
    return (f"{run}-{number}" for number in count(1))


class Arn(msgspec.Struct, frozen=True):
    """The place in an algorithm's ARN."""

    region: str
    account_id: str


def read_arn(arn: str) -> Arn:
    """The Region and account in an algorithm's ARN.

    Raises:
        IntegrityError: it is not the ARN of a configured model algorithm.
    """
    match = _ARN.fullmatch(arn)
    if match is None:
        raise IntegrityError("this is not the ARN of a configured model algorithm", where=arn)
    return Arn(*match.groups())


is_id = re.compile(r"[-a-zA-Z0-9_/.]+").fullmatch
"""Whether text can be the last part of an algorithm's ARN, which the service generates."""


def check_place(arn: str, *, region: str, account_id: str) -> str:
    """Make sure that ``arn`` is in the target's place, and return its account.

    Args:
        arn: of the algorithm.
        region: of the target.
        account_id: of the target; "" while it is not known.

    Raises:
        IntegrityError: the ARN has another Region or another account.
    """
    place = read_arn(arn)
    if place.region != region:
        why = f"the target is in {region}"
        raise IntegrityError("a reply names an algorithm in another Region", where=arn, why=why)
    if account_id and place.account_id != account_id:
        why = f"the target is account {account_id}"
        raise IntegrityError("a reply names an algorithm of another account", where=arn, why=why)
    return place.account_id
