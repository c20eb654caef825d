"""The rules of a run."""

from __future__ import annotations

from typing import Literal

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The assumptions about the service, and what the user allows.

    Attributes:
        ownership_tag: key of the tag that proves ownership, "" for none.
        settle_s: the settle time: after it an unanswered create can neither take effect nor be missing from List.
        list_lag_s: two sweeps that prove absence are at least this far apart.
        names: what is known of the uniqueness of names.
        adopt: what to do with an algorithm of the same name that no ledger created.
        take_over: id of another ledger whose algorithms this one takes over, "" for none.
        retry_failed: whether to try definitions again that failed for good before.
        wait: whether the run waits at its end until the settle time of unanswered creates has passed.
        on_change: what to do with a definition that changed in what only a new algorithm can express.
        delete_first: whether a replacement deletes the old algorithm before it creates the new one.
        keep: how many of the older versions of a name are kept when they are replaced.
        deletes: whether the run may delete what is recorded as superseded.
        own_tags: whether tags that others added are removed.
        adopted: whether algorithms that were taken over may be deleted.
        max_create: most creates in a target, throttled ones not counted; 0 is no bound.
        max_failures: a target stops when so many definitions have failed for the same cause; 0 is no bound.
        max_failures_share: the same as a share of those that are to be sent, 0 to 1.
    """

    ownership_tag: str
    settle_s: float
    list_lag_s: float
    names: Literal["unknown", "unique", "duplicates", "same"]
    adopt: Literal["never", "same", "any"]
    take_over: str
    retry_failed: bool
    wait: bool
    on_change: Literal["fail", "replace"] = "fail"
    delete_first: bool = False
    keep: int = 0
    deletes: bool = False
    own_tags: bool = False
    adopted: bool = False
    max_create: int = 0
    max_failures: int = 0
    max_failures_share: float = 0.0

    @property
    def resend_is_safe(self) -> bool:
        """Whether the service itself prevents a second algorithm of one name, so that a resend is harmless."""
        return self.names in {"unique", "same"}
