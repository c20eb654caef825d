"""An open target: what the engine works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from provisioner.core.ownership import check_place, is_id
from provisioner.core.place import Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioner.aws.faces import Aws
    from provisioner.core.pause import Pause
    from provisioner.engine.clock import Clock
    from provisioner.engine.observer import Observer
    from provisioner.ledger import Ledger
    from provisioner.ledger.lease import Lease
    from provisioner.pacing.gate import Gate


class Whereabouts:
    """Where a target is. Every ARN must agree with it; if the account is unknown, the first ARN reveals it.

    Args:
        place: as far as it is known.
        observer: gets the Region and account.
        claim: records the place once the account is known. Raises ConfigurationError if another target is there.
        checked: whether the credentials are known to be of the account; see :attr:`checked`.

    Attributes:
        place: as far as it is known by now.
        checked: whether the credentials are known to be of its account, which a reply may have shown. As long as they
            are not, what does not exist for them proves nothing: they may be of another account.
    """

    def __init__(
        self, place: Place, observer: Observer, claim: Callable[[Place], Awaitable[object]], *, checked: bool
    ) -> None:
        self.place = place
        self.checked = checked
        self._observer = observer
        self._claim = claim
        self._proven = ""
        observer.target_opened(place.region, place.account_id)

    async def confirm(self, arn: str) -> None:
        """Make sure that ``arn`` is in this place.

        Raises:
            IntegrityError: it is not the ARN of an algorithm, or has another Region or account.
            ConfigurationError: it shows that another target is in this place.
        """
        # All ARNs of a place have the same prefix, up to the id: one comparison for all but the first.
        if self._proven and arn.startswith(self._proven) and is_id(arn[len(self._proven) :]):
            return
        found = check_place(arn, region=self.place.region, account_id=self.place.account_id)
        if found != self.place.account_id:
            self.place = Place(self.place.kind, self.place.region, found)
            self._observer.target_opened(self.place.region, found)
            await self._claim(self.place)
        self._proven = arn[: arn.index("/") + 1]

    async def show(self, arn: str) -> None:
        """Note that a reply names ``arn`` as an algorithm that exists: the credentials are of its account.

        Raises:
            IntegrityError, ConfigurationError: see :meth:`confirm`.
        """
        await self.confirm(arn)
        self.checked = True


async def _never() -> Pause:
    await anyio.sleep_forever()
    raise AssertionError  # it sleeps until it is cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTarget:
    """One target's ledger, calls, gates and clock.

    Attributes:
        name: the target's name.
        place: its Region and account.
        ledger: shared by all targets of a run.
        lease: the run's right to the ledger.
        aws: the calls.
        creates: the gate before creates.
        tags: the gate before changes of tags.
        deletes: the gate before deletions.
        reads: the gate before List and Get.
        tagging: the gate before GetResources, which has a rate of its own.
        clock: of the run.
        observer: watches this target.
        paused: waits until the target is paused, for as long as it is not.
    """

    name: str
    place: Whereabouts
    ledger: Ledger
    lease: Lease
    aws: Aws
    creates: Gate
    tags: Gate
    deletes: Gate
    reads: Gate
    tagging: Gate
    clock: Clock
    observer: Observer
    paused: Callable[[], Awaitable[Pause]] = _never
