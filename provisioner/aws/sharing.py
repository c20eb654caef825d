"""What the targets of a run share at AWS, without loading the SDK before the first of them is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from provisioner.aws.network import Network


class Sharing:
    """Sessions, clients and connections, for :func:`provisioner.aws.connect`; closed at the end of ``async with``."""

    def __init__(self) -> None:
        self._network: Network | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._network is not None:
            await self._network.close()

    @property
    def network(self) -> Network:
        """Where they are opened."""
        if self._network is None:
            from provisioner.aws.network import Network

            self._network = Network()
        return self._network
