"""The command line: one file per command, loaded when it is called, so that ``--help`` stays quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code; no traceback reaches a user.

    The imports are inside, in this order: signal handlers are installed before anything slow loads.
    """
    from provisioner.cli.signals import Signals

    signals = Signals()
    signals.listen()
    from provisioner.cli.program import Program
    from provisioner.cli.streams import Streams

    Program(signals, Streams()).main(arguments)
