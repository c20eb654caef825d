"""The quota of algorithms of an account and Region, as far as it is known, and what does not fit into it. Pure."""

from __future__ import annotations

import datetime as dt

import msgspec

FAMILY = "quota"
"""Under this name the ledger keeps what the last refused create said of the quota, beside what pacers learned."""


class Quota(msgspec.Struct, frozen=True):
    """How many algorithms may exist.

    Attributes:
        value: the number.
        said_at: when a reply to a create named it, seconds since the epoch; None if Service Quotas did just now.
    """

    value: float
    said_at: float | None = None

    @property
    def source(self) -> str:
        """Who said so, for people."""
        if self.said_at is None:
            return "by Service Quotas"
        day = dt.datetime.fromtimestamp(self.said_at, dt.UTC).date()
        return f"as AWS said on {day}; --preflight asks Service Quotas"


class Growth(msgspec.Struct, frozen=True):
    """A create, in the order of the manifest.

    Attributes:
        frees: how many older algorithms are deleted once it is done.
        first: whether what it replaces is deleted before, so that it needs no room.
    """

    frees: int = 0
    first: bool = False


def beyond(creates: list[Growth], room: int) -> int:
    """How many of ``creates`` do not fit, where there is room for ``room`` algorithms besides those that exist.

    A replacement takes a place and gives one back: with any room at all, replacements go one after the other.
    """
    over = 0
    for create in creates:
        if create.first:
            continue
        if room <= 0:
            over += 1
        else:
            room += create.frees - 1
    return over
