"""The embedded Clean Rooms ML endpoint: the product without an AWS account, and what its tests compare it with.

    async with Emulator(Behaviour(rate=5, burst=5)) as emulator:
        client = session.client("cleanroomsml", endpoint_url=emulator.url, ...)

Its parts load when they are first used, so importing this package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.emulator.behaviour import FAULTS, Behaviour
    from provisioner.emulator.endpoint import Emulator, running, serve
    from provisioner.emulator.front import Truth
    from provisioner.emulator.keys import DEFAULT_ACCOUNT, Credentials, credentials, issue
    from provisioner.emulator.remote import behaviour_at, change_at, truth_at
    from provisioner.emulator.state import Algorithm

__all__ = [
    "DEFAULT_ACCOUNT",
    "FAULTS",
    "Algorithm",
    "Behaviour",
    "Credentials",
    "Emulator",
    "Truth",
    "behaviour_at",
    "change_at",
    "credentials",
    "issue",
    "running",
    "serve",
    "truth_at",
]

_HOMES = {
    "DEFAULT_ACCOUNT": "keys",
    "FAULTS": "behaviour",
    "Algorithm": "state",
    "Behaviour": "behaviour",
    "Credentials": "keys",
    "Emulator": "endpoint",
    "Truth": "front",
    "behaviour_at": "remote",
    "change_at": "remote",
    "credentials": "keys",
    "issue": "keys",
    "running": "endpoint",
    "serve": "endpoint",
    "truth_at": "remote",
}


if not TYPE_CHECKING:  # to a type checker, a module with this function has every name, misspelt ones too

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
