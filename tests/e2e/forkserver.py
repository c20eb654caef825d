"""A process that has loaded the program, and forks a process for each command that a test runs.

To load the SDK takes ten times as long as most commands do. The forked process is a real one, with arguments,
environment, folder, standard streams and exit code of its own; it differs from ``python -m provisioner`` in that its
modules and the SDK's models are loaded already, and are not freed at its end. Tests of what happens while they load,
and of what the interpreter reads from its environment, start an interpreter of their own.
"""

from __future__ import annotations

import atexit
import contextlib
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
    "anyio._backends._asyncio",
    "anyio._core._fileio",
    "anyio.abc",
    "anyio.lowlevel",
    "anyio.streams.memory",
    "anyio.streams.tls",
    "encodings.idna",
    "_strptime",
)
"""What commands load later than their own modules."""
SERVICES = (
    "cleanroomsml",
    "ecr",
    "iam",
    "kms",
    "organizations",
    "resourcegroupstaggingapi",
    "s3",
    "service-quotas",
    "sts",
)
"""What commands may call."""


class Command(NamedTuple):
    """What a process is to do: as for ``subprocess.Popen``.

    Attributes:
        arguments: without the program's name.
        folder: where it starts.
        environment: all of its variables.
        closed: the numbers of the standard streams that are closed when it starts.
    """

    arguments: list[str]
    folder: str
    environment: dict[str, str]
    closed: Sequence[int] = ()


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
    _load_models()


def _load_models() -> None:
    """Read the SDK's models of the services, and its certificates: half the time of a command that calls AWS."""
    import botocore.session

    from provisioner.aws.http import tls_context

    create_loader = botocore.session.create_loader
    shared = create_loader()
    botocore.session.create_loader = lambda path=None: create_loader(path) if path else shared
    session = botocore.session.Session()
    for service in SERVICES:
        session.create_client(service, "us-east-1", aws_access_key_id="unused", aws_secret_access_key="unused")
    tls_context("")


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
        # Who asked for it may be gone, with the terminal it was typed into.
        with children.pop(pid) as connection, contextlib.suppress(ConnectionError):
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
    for number in command.closed:
        os.close(number)
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)


def main() -> None:
    """Serve, and in each forked process run the command."""
    load()
    assert threading.active_count() == 1, "a fork would lose the other threads"
    gc.collect()
    gc.freeze()
    become(serve(Path(sys.argv[1])))
    from provisioner.cli import main as run

    try:
        run()
    except SystemExit as end:
        if isinstance(end.code, int):
            _end(end.code)
        raise


def _end(code: int) -> None:
    """End as the interpreter does, but for freeing the memory: that would copy every page shared with the server.

    It takes eight times as long as a short command. A stream that cannot be flushed is left to the interpreter.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter calls first
    atexit._run_exitfuncs()
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
