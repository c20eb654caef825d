"""Opens a target to be read only, without a ledger."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from provisioner.core.place import Place
from provisioner.engine.target import ReadableTarget, Whereabouts
from provisioner.fleet.fleet import connect, guarded_account, read_gate
from provisioner.fleet.places import kind_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioner.config.settings import RunSettings, Target
    from provisioner.engine.clock import Clock
    from provisioner.engine.observer import Observer


@asynccontextmanager
async def open_readable(
    target: Target, run: RunSettings, clock: Clock, observer: Observer, *, embedded: bool
) -> AsyncIterator[ReadableTarget]:
    """Connect to ``target``. Its place is recorded nowhere.

    Raises:
        ConfigurationError: its configuration is wrong.
        CredentialsError: there are no usable credentials.
        IntegrityError: the credentials are of another account than the configured one.
    """
    async with connect(target, run) as calls:
        place = Place(kind_of(target, embedded=embedded), calls.region, await guarded_account(target, calls))
        yield ReadableTarget(
            name=target.name,
            place=Whereabouts(place, observer, _nowhere),
            aws=calls,
            reads=read_gate(run, clock),
            observer=observer,
        )


async def _nowhere(_: Place) -> None:
    """Record a place: there is no ledger."""
