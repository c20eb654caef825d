"""What a signal does at each moment of the process, from the first import to the last line of output.

The handlers stay installed throughout, for two reasons. The kernel discards a SIGTERM to process 1 of a container while
no handler is installed, and kills any other process with it: a scheduler then sees 143 instead of a documented exit
code. An event loop's own signal handlers leave such gaps at both ends of its life.

A signal is always recorded. What else it does depends on the moment: nothing while the program loads, an exception in a
command that only reads, a drain in a run. A signal that is ignored at the start (``nohup``) stays ignored.
"""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """The signals that ask this process to end.

    Attributes:
        received: their names, in order.
        first_at: when the first came, on the monotonic clock; None if none did.
    """

    def __init__(self) -> None:
        self.received: list[str] = []
        self.first_at: float | None = None
        self._react: Callable[[], None] | None = None

    def listen(self) -> None:
        """Install the handler for every signal that is not ignored."""
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._receive)

    def ignore(self) -> None:
        """Ignore all signals from now on: the exit code is decided, and the interpreter restores the defaults."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def reaction(self, react: Callable[[], None], *, missed: bool = False) -> Iterator[None]:
        """Call ``react`` for every signal inside.

        It is called on the main thread, between any two bytecodes: it may raise, and must not take a lock that the
        code inside may hold.

        Args:
            react: what to do.
            missed: call it at once if a signal came before.
        """
        before, self._react = self._react, react
        try:
            if missed and self.received:
                react()
            yield
        finally:
            self._react = before

    def _receive(self, number: int, _frame: object) -> None:
        if self.first_at is None:
            self.first_at = time.monotonic()
        self.received.append(signal.Signals(number).name)
        if self._react is not None:
            self._react()
