"""Clean Rooms ML for moto: ``register()``, then ``mock_aws`` or moto's server as ever.

The service itself is the package ``cleanroomsml`` in this folder, which is written to become a part of moto: it follows
moto's conventions, knows nothing of ours, and its tests (``tests/emulator/upstream``) are moto's as well. moto is an
extra; nothing else in the emulator imports it.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from provisioner.errors import DISTRIBUTION

SERVICE = "cleanroomsml"
MISSING = f"moto, or what its server needs, is not installed; install it with: pip install '{DISTRIBUTION}[moto]'"


def register() -> None:
    """Makes moto answer for Clean Rooms ML, in this process. May be called again.

    A moto that has the service itself keeps its own.

    Raises:
        ImportError: moto is not installed.
    """
    try:
        import moto
        from moto import backend_index
    except ModuleNotFoundError as error:
        raise ImportError(MISSING) from error
    folder = str(Path(__file__).parent)
    if folder not in moto.__path__:
        # moto imports moto.<service>. Its own folder comes first.
        moto.__path__.append(folder)
    if all(service != SERVICE for service, _ in backend_index.backend_url_patterns):
        bases = import_module(f"moto.{SERVICE}.urls").url_bases
        backend_index.backend_url_patterns += [(SERVICE, re.compile(base)) for base in bases]
