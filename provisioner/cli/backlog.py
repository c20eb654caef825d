"""Messages to something that may block or fail, and must hold up nobody: a bounded queue that a thread writes."""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 1024 * 1024
"""Most bytes that wait to be written, some five thousand log lines; what exceeds it is dropped."""


class Backlog:
    """A queue that a thread writes, in order.

    If it is not written in time, it fills; what exceeds it is dropped, counted, and reported once there is room again.

    Args:
        name: of the thread.
        write: writes a part of what it is given and returns its length; it may block. When it raises OSError, the rest
            of what it was given is discarded.
        report: makes the message that reports how many were dropped.
    """

    def __init__(self, name: str, write: Callable[[memoryview], int], report: Callable[[int], bytes]) -> None:
        self._name = name
        self._write = write
        self._report = report
        self._queue: deque[bytes] = deque()
        self._waiting = 0  # bytes in the queue and in the hands of the thread
        self._written = 0
        self._dropped = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, message: bytes) -> None:
        """Put a message in the queue, or drop it when the queue is full."""
        with self._changed:
            if self._waiting and self._waiting + len(message) > LIMIT:
                self._dropped += 1
            else:
                self._put(self._take_report() + message)

    def add_all(self, messages: bytes) -> None:
        """Put ``messages`` in the queue, whatever their length."""
        with self._changed:
            self._put(messages)

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything is written, at most ``timeout_s``; returns whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout_s)

    def finish(self, patience_s: float) -> bool:
        """Write the rest, as long as some is accepted every ``patience_s``; returns whether all is written."""
        with self._changed:
            if report := self._take_report():
                self._put(report)
            before = -1
            while self._waiting and before != self._written:
                before = self._written
                self._changed.wait_for(partial(self._moved_since, before), patience_s)
            return not self._waiting

    def _moved_since(self, before: int) -> bool:
        return not self._waiting or self._written != before

    def _take_report(self) -> bytes:
        dropped, self._dropped = self._dropped, 0
        return self._report(dropped) if dropped else b""

    def _put(self, data: bytes) -> None:
        self._queue.append(data)
        self._waiting += len(data)
        self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._pump, name=self._name, daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no memory for a thread: write from here, without one
                self._thread = None
                self._write_queue()

    def _pump(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
            self._write_queue()

    def _write_queue(self) -> None:
        with self._changed:
            view = memoryview(b"".join(self._queue))
            self._queue.clear()
        while view:
            view = self._write_part(view)

    def _write_part(self, view: memoryview) -> memoryview:
        """Write a part of ``view``, or discard it if it cannot be written; returns the rest."""
        try:
            length = self._write(view)
        except OSError:
            length = len(view)
        with self._changed:
            self._waiting -= length
            self._written += length
            self._changed.notify_all()
        return view[length:]
