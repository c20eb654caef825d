"""What AWS holds in a target, as List, GetResources and Get report it."""

from __future__ import annotations

import msgspec

from provisioner.core.ownership import OwnershipTag  # noqa: TC001  msgspec reads this type at run time


class Found(msgspec.Struct, frozen=True):
    """An algorithm, as Get reports it or as its tags describe it.

    Attributes:
        arn, name, created_at: of the algorithm.
        tag: the ownership tag, of any ledger; None when it has none.
        digest: of its definition without tags; "" when the definition is not valid here, so that it was made otherwise.
            A definition cannot change after its create, so the ownership tag has it, too.
        tags_digest: of its tags without the ownership tag.
        tags: these tags, sorted.
    """

    arn: str
    name: str
    created_at: float
    tag: OwnershipTag | None
    digest: str
    tags_digest: str
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def age_order(self) -> tuple[float, str]:
        """Sorts the oldest first."""
        return self.created_at, self.arn

    def is_of(self, ledger_id: str) -> bool:
        """Whether the ownership tag names this ledger."""
        return self.tag is not None and self.tag.ledger_id == ledger_id
