"""The command line: one file per command, loaded when it is called, so that ``--help`` stays quick."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

GARBAGE_OBJECTS = 20_000
"""Allocations between two collections of the youngest generation: some 10 MB."""
SWITCH_S = 0.001
"""How long a thread may keep the interpreter's lock from another that wants it. A commit takes the lock some thirty
times, and waited as often for up to 5 ms, the default, beside the event loop of a large fleet."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code; no traceback reaches a user.

    The imports are inside, in this order: signal handlers are installed before anything slow loads.
    """
    from provisioner.cli.signals import Signals

    # Neither modules nor creates leave cycles: collections every 700 objects took a tenth of the start and of a create.
    gc.set_threshold(GARBAGE_OBJECTS, 20, 50)
    sys.setswitchinterval(SWITCH_S)
    signals = Signals()
    signals.listen()
    from provisioner.cli.program import Program
    from provisioner.cli.streams import Streams

    Program(signals, Streams()).main(arguments)
