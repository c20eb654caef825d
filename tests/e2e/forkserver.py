"""A process that has loaded the program, and forks a process for each command that a test runs.

To load the SDK takes ten times as long as most commands do. The forked process is a real one, with arguments,
environment, folder, standard streams and exit code of its own; it differs from ``python -m provisioner`` in that its
modules are loaded already. Tests of what happens while they load, and of what the interpreter reads from its
environment, start an interpreter of their own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTH, NUMBER = struct.Struct("!I"), struct.Struct("!i")
LATE = (
    "aioboto3",
    "boto3",
    "uvloop",
    "anyio.abc",
    "anyio.lowlevel",
    "anyio.streams.tls",
    "encodings.idna",
    "_strptime",
)
"""What commands load later than their own modules."""


class Command(NamedTuple):
    """What a process is to do: as for ``subprocess.Popen``."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]


class Forked:
    """A process of the server at ``server`` that runs ``command``, with these descriptors as its standard streams.

    Attributes:
        pid: its id.
    """

    def __init__(self, server: str, command: Command, streams: Sequence[int]) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(server)
        request = json.dumps(command).encode("utf-8", "surrogateescape")
        socket.send_fds(self._connection, [LENGTH.pack(len(request))], streams)
        self._connection.sendall(request)
        (self.pid,) = NUMBER.unpack(self._connection.recv(NUMBER.size, socket.MSG_WAITALL))

    def exit_code(self, limit_s: float | None = None) -> int:
        """Wait for its end; its exit code, negative for a signal.

        Raises:
            TimeoutError: it takes longer than this, in seconds.
        """
        self._connection.settimeout(limit_s)
        (code,) = NUMBER.unpack(self._connection.recv(NUMBER.size, socket.MSG_WAITALL))
        self._connection.close()
        return int(code)


def load() -> None:
    """Load everything that a command may need."""
    import provisioner

    root = Path(provisioner.__path__[0])
    for file in root.rglob("*.py"):
        path = file.relative_to(root)
        if path.name != "__main__.py" and not path.is_relative_to("emulator/moto"):
            importlib.import_module(".".join(("provisioner", *path.with_suffix("").parts)).removesuffix(".__init__"))
    for name in LATE:
        importlib.import_module(name)


def serve(path: Path) -> Command:
    """Listen at ``path`` until standard input ends, and fork a process for each request; returns in that process."""
    children: dict[int, socket.socket] = {}
    woken, wake = socket.socketpair(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{path}.new")
    listener.listen(64)
    path.with_name(f"{path.name}.new").rename(path)
    while True:
        ready, _, _ = select.select([sys.stdin, listener, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _report(children)
        if sys.stdin in ready:
            raise SystemExit
        if listener not in ready:
            continue
        connection, _ = listener.accept()
        head, streams, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
        (length,) = LENGTH.unpack(head)
        request = b""
        while len(request) < length:
            request += connection.recv(length - len(request))
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for one in (woken, wake, listener, connection, *children.values()):
                one.close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            return Command(*json.loads(request.decode("utf-8", "surrogateescape")))
        for stream in streams:
            os.close(stream)
        connection.sendall(NUMBER.pack(pid))
        children[pid] = connection


def _report(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with children.pop(pid) as connection:
            connection.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def become(command: Command) -> None:
    """Make this process look as if it had been started for ``command``."""
    os.chdir(command.folder)
    os.environ.clear()
    os.environ.update(command.environment)
    time.tzset()
    sys.argv = ["provisioner", *command.arguments]
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def main() -> None:
    """Serve, and in each forked process run the command."""
    load()
    assert threading.active_count() == 1, "a fork would lose the other threads"
    gc.collect()
    gc.freeze()
    become(serve(Path(sys.argv[1])))
    from provisioner.cli import main as run

    run()


if __name__ == "__main__":
    main()
