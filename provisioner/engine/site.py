"""What the engine and the reconciler of one target work with, and by which rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from provisioner.aws.faces import Aws
    from provisioner.engine.clock import Clock
    from provisioner.ledger import Ledger
    from provisioner.ledger.lease import Lease
    from provisioner.pacing.gate import Gate


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a run.

    Attributes:
        ownership_tag: key of the tag that proves ownership, "" for none.
        settle_s: after this an unanswered create can no longer take effect or be invisible to List.
        list_lag_s: two sweeps that prove absence are at least this far apart.
        names: what is known of the uniqueness of names.
        adopt: what to do with an algorithm of the same name that is not ours.
        retry_failed: whether to try definitions again that failed for good before.
        wait: whether the tail of the run waits for unanswered creates to settle.
    """

    ownership_tag: str
    settle_s: float
    list_lag_s: float
    names: Literal["unknown", "unique", "duplicates", "same"]
    adopt: Literal["never", "same", "any"]
    retry_failed: bool
    wait: bool

    @property
    def resend_is_safe(self) -> bool:
        """Whether the service itself prevents a second algorithm of one name, so that sending again is harmless."""
        return self.names in {"unique", "same"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One target's ledger, calls, gates and clock.

    Attributes:
        target: the target's name.
        account_id: the account it must be, "" when any will do.
        ledger: shared by all targets of a run.
        lease: the run's right to the ledger.
        aws: the calls.
        creates: the gate before creates.
        reads: the gate before List and Get.
        clock: of the run.
    """

    target: str
    account_id: str
    ledger: Ledger
    lease: Lease
    aws: Aws
    creates: Gate
    reads: Gate
    clock: Clock
