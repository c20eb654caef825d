"""``python -m provisioner.emulator.moto``: the command ``moto_server``, with Clean Rooms ML among its services."""

from __future__ import annotations

import sys

from provisioner.emulator.moto import MISSING, register

if __name__ == "__main__":
    try:
        register()
        from moto.server import main
    except ImportError:
        sys.exit(MISSING)
    main()
