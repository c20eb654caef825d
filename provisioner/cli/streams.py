"""The three standard streams, made robust against what they are connected to.

The parent may have closed them, made them non-blocking, filled the disk, stopped reading, or chosen an encoding that
cannot express a name. None of this may change what is registered, and only a result that cannot be
written changes the exit code.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import select
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING

from provisioner.cli.backlog import LIMIT, Backlog

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

PRIORITIES = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>"}
"""What a line for the systemd journal begins with, by level (sd-daemon(3))."""
PATIENCE_S = 2.0
"""At the end, how long stderr may accept no byte before the rest is dropped."""


class Streams:
    """The standard streams of this process, once :meth:`open` has set them up.

    Attributes:
        stdin: the original standard input, unbuffered. Descriptor 0 itself is an empty pipe, because a helper process
            that the SDK starts (``credential_process``) or a prompt would otherwise consume the manifest.
        stdout: where results go.
        stderr: where everything else goes.
    """

    def __init__(self) -> None:
        _fill_gaps()
        self._stderr_before = sys.stderr
        self.stdin = _private_stdin()
        self.stdout = Stdout(1)
        self.stderr = Stderr(2, sys.stderr)
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(self.stdout), encoding="utf-8", errors="backslashreplace", newline="\n"
        )
        sys.stderr = self.stderr

    def close(self) -> bool:
        """Write what is left, as far as it is read; whether everything was written."""
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        written = self.stderr.finish(PATIENCE_S)
        sys.stderr = self._stderr_before
        return written


def leads_to_stdin(path: str) -> bool:
    """Whether ``path`` is standard input under another name; opened, it would be empty (see :class:`Streams`)."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(0))  # noqa: PTH116  samestat takes what it returns
    except (OSError, ValueError):
        return False


def priority(stream: TextIO, level: str) -> str:
    """What a line of this level to ``stream`` begins with: its priority if that is the systemd journal, or "".

    systemd names the journal in an environment variable (systemd.exec(5)), which a child that writes elsewhere inherits
    as well.
    """
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return ""
    return PRIORITIES[level] if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}" else ""


def draws(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that can move its cursor and show colors."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}


def _fill_gaps() -> None:
    """Fill the place of a stdin, stdout or stderr that the parent closed; using it still fails, with EBADF.

    Otherwise the first file that is opened gets its number, and output meant for stdout is written into it. What fills
    the place is open in the other direction: a closed stdin is no empty manifest, and a closed stdout takes no result.
    """
    for descriptor, name, mode, flags in (
        (0, "stdin", "r", os.O_WRONLY),
        (1, "stdout", "w", os.O_RDONLY),
        (2, "stderr", "w", os.O_RDONLY),
    ):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


def _private_stdin() -> io.FileIO:
    """A duplicate of descriptor 0 that no child process inherits; descriptor 0 becomes an empty pipe.

    A pipe rather than the null device: every path that leads to descriptor 0 (``/dev/stdin``, ``/proc/self/fd/0``) is
    recognised by the pipe's inode, which no other file has.
    """
    private = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
    empty, writer = os.pipe()
    os.dup2(empty, 0)
    os.close(empty)
    os.close(writer)
    return io.FileIO(private, "rb")


def _write_some(descriptor: int, data: memoryview) -> int:
    """Write a part of ``data``, waiting until the other end accepts some; returns its length."""
    while True:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:  # the parent made it non-blocking, and its buffer is full
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()


class Stdout(io.RawIOBase):
    """Descriptor 1. A write writes all of its data, although the kernel may accept only a part, or raises an error.

    A reader that has gone (``| head``) is not an error: the rest is discarded. Any other error is raised once; what
    comes after it is discarded too, so that the interpreter does not raise it again when it flushes at its end.

    Attributes:
        used: whether anything was written.
        failure: why it cannot be written, None while it can.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._reader_gone = False
        self.failure: OSError | None = None
        self.used = False

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: object, /) -> int:
        """Write all of ``data``.

        Raises:
            OSError: it cannot be written, unless its reader has gone.
        """
        view = memoryview(data).cast("B")  # type: ignore[arg-type]  # any buffer
        length = len(view)
        self.used = self.used or length > 0
        try:
            while view and not (self._reader_gone or self.failure):
                view = view[_write_some(self._descriptor, view) :]
        except BrokenPipeError:
            self._reader_gone = True
        except OSError as error:
            self.failure = error
            raise
        return length


class Stderr(io.TextIOBase):
    """Descriptor 2 as a file that neither blocks nor fails (see :class:`provisioner.cli.backlog.Backlog`).

    While it is held, nothing is written, and what exceeds the queue replaces the oldest.

    Args:
        descriptor: where to write.
        like: whose encoding to use.

    Attributes:
        report: makes the line that reports how many messages were dropped.
    """

    def __init__(self, descriptor: int, like: TextIO) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._encoding = like.encoding or "utf-8"
        self._backlog = Backlog("stderr", self._write_some, lambda dropped: self._encoded(self.report(dropped)))
        self._lock = threading.Lock()
        self._held: deque[bytes] | None = None
        self._kept = 0
        self._replaced = 0
        self.report: Callable[[int], str] = _report

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property here, an attribute there
        """That of the stream this one stands for."""
        return self._encoding

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str, /) -> int:
        """Put ``text`` in the queue, or drop it when the queue is full."""
        data = self._encoded(text)
        with self._lock:
            if self._held is not None:
                self._keep(self._held, data)
            else:
                self._backlog.add(data)
        return len(text)

    def close(self) -> None:
        """Leave the descriptor open.

        The destructor of a file object closes it, and so flushes it. When the interpreter ends, what a flush needs may
        be gone by then; from Python 3.13 on that would end every command with a traceback.
        """

    def hold(self) -> None:
        """Write nothing until :meth:`release`; a stream that is closed before is discarded."""
        with self._lock:
            self._held = deque()

    def release(self) -> None:
        """Write what was held, and from now on everything at once."""
        with self._lock:
            held, self._held = self._held, None
            if held and self._replaced:
                held.appendleft(f"provisioner: the {self._replaced} oldest messages were not kept\n".encode())
            if held:
                self._backlog.add_all(b"".join(held))

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything is written, at most ``timeout_s``; returns whether it is."""
        return self._backlog.drain(timeout_s)

    def finish(self, patience_s: float) -> bool:
        """Write the rest, as long as some is accepted every ``patience_s``; returns whether all is written."""
        return self._backlog.finish(patience_s)

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._encoding, "backslashreplace")

    def _write_some(self, data: memoryview) -> int:
        return _write_some(self._descriptor, data)

    def _keep(self, held: deque[bytes], data: bytes) -> None:
        held.append(data)
        self._kept += len(data)
        while self._kept > LIMIT and len(held) > 1:
            self._kept -= len(held.popleft())
            self._replaced += 1


def _report(dropped: int) -> str:
    return f"provisioner: {dropped} messages were dropped: stderr was not read in time\n"
