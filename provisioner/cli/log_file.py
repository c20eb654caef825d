"""The file of ``--log-file``: it is appended to, survives rotation, and never holds up or fails a run."""

from __future__ import annotations

import contextlib
import os
import stat

from provisioner.cli.backlog import Backlog
from provisioner.cli.output import UnwritableError
from provisioner.core.objects import is_object
from provisioner.errors import UsageError

BEGINNING = b'{"timestamp": "'
"""What every line of a log begins with."""
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # opening a pipe must not block either


class LogFile:
    """A log file, open from the start.

    Where another program moves it away or deletes it, as logrotate does, a new one is made for the next line; the idea
    is that of ``logging.handlers.WatchedFileHandler``. A line that cannot be written, as on a full disk, is lost and
    counted.

    Args:
        name: of the file; it is made, for its owner alone, if there is none.

    Attributes:
        name: the same.

    Raises:
        UsageError: it is a directory, a device or a pipe, a file that has something else in it, or in S3.
        UnwritableError: it cannot be written.
    """

    def __init__(self, name: str) -> None:
        if is_object(name):
            hint = "Name a file, or collect stderr"
            raise UsageError("a log is appended to, which objects in S3 do not allow", where=name, hint=hint)
        self.name = name
        self._path = os.path.abspath(name)  # noqa: PTH100  Path.resolve follows links, of which a rotation may change one
        self._backlog = Backlog("log file", self._write, self._report)
        self._dropped = 0
        self._lost = 0
        self._why = ""
        self._within_line = False
        try:
            self._cut_off = _ends_within_line(self._path)
            self._descriptor = os.open(self._path, _FLAGS, 0o600)
        except OSError as error:
            hint = "Check its directory, your permission to write there, and the space on the disk"
            why = error.strerror or str(error)
            raise UnwritableError("the log cannot be written", where=name, why=why, hint=hint) from error
        self._opened = os.fstat(self._descriptor)

    def write(self, line: str) -> None:
        """Append a line, soon."""
        self._backlog.add(line.encode("utf-8", "backslashreplace"))

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything is written, at most ``timeout_s``; returns whether it is."""
        return self._backlog.drain(timeout_s)

    def finish(self, patience_s: float) -> bool:
        """Write the rest, as long as the disk accepts some every ``patience_s``; returns whether all is written."""
        return self._backlog.finish(patience_s)

    def losses(self) -> tuple[int, str]:
        """How many lines are not in the file, and why; (0, "") once it has been told."""
        lost, why = self._lost + self._dropped, self._why or "the disk was too slow"
        self._lost = self._dropped = 0
        return (lost, why) if lost else (0, "")

    def _report(self, dropped: int) -> bytes:
        """Nothing in the file: :meth:`losses` says it at the end."""
        self._dropped += dropped
        return b""

    def _write(self, lines: memoryview) -> int:
        try:
            if not self._within_line:
                self._follow()
            if self._cut_off:  # what could be written of a line before the disk was full
                os.write(self._descriptor, b"\n")
                self._cut_off = False
            length = os.write(self._descriptor, lines)
        except OSError as error:
            self._lost += bytes(lines).count(b"\n")
            self._why = error.strerror or str(error)
            self._cut_off, self._within_line = self._cut_off or self._within_line, False
            return len(lines)
        self._within_line = lines[length - 1] != ord("\n")
        return length

    def _follow(self) -> None:
        """Open the file anew if its name leads to another one by now, or to none."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), self._opened):  # noqa: PTH116  samestat takes what it returns
                return
        descriptor = os.open(self._path, _FLAGS, 0o600)
        os.close(self._descriptor)
        self._descriptor, self._opened, self._cut_off = descriptor, os.fstat(descriptor), False


def _ends_within_line(path: str) -> bool:
    """Whether the log at ``path`` ends with a line that was cut off.

    Raises:
        UsageError: there is something else at ``path``.
        OSError: it cannot be read.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  its mode
    except FileNotFoundError:
        return False
    hint = "Name a file of its own for the log"
    if not stat.S_ISREG(status.st_mode):
        raise UsageError("the log must be a file", where=path, hint=hint)
    if not status.st_size:
        return False
    with open(path, "rb") as file:  # noqa: PTH123  as above
        begins = file.read(len(BEGINNING))
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
    if not BEGINNING.startswith(begins):
        raise UsageError("this file is not a log of provisioner, and is not appended to", where=path, hint=hint)
    return last != b"\n"
