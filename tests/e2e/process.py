"""The real command line as a real process, and the endpoint that it is run against."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from provisioner.emulator import DEFAULT_ACCOUNT, credentials
from tests.e2e.forkserver import Command, Forked

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "configs" / "example.jsonl"
COMMAND = (sys.executable, "-m", "provisioner")
LIMIT_S = 60


def environment(**more: str) -> dict[str, str]:
    """A clean environment with the embedded endpoint's credentials, which are public."""
    # COLUMNS and LINES, which a parallel test run sets, would stand for the size of every terminal.
    unwanted = ("AWS_", "PROVISIONER_", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {
        **kept,
        **credentials(DEFAULT_ACCOUNT).environment(),
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "XDG_CONFIG_HOME": os.devnull,
        **more,
    }


def command(*arguments: object, cwd: Path, **more: str) -> Command:
    """A command line, run in ``cwd`` with a clean environment and ``more``."""
    return Command([*map(str, arguments)], os.fspath(cwd), environment(**more))


@functools.cache
def fork_server() -> str:
    """The address of a fork server (see :mod:`tests.e2e.forkserver`), which ends with this process."""
    path = Path(tempfile.mkdtemp(prefix="fork-server-")) / "socket"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.forkserver", path], cwd=ROOT, stdin=subprocess.PIPE, env=environment()
    )
    until(path.exists, server)
    atexit.register(_end, server, path)
    return os.fspath(path)


def _end(server: subprocess.Popen[bytes], path: Path) -> None:
    server.communicate(timeout=LIMIT_S)
    shutil.rmtree(path.parent)


def provisioner(*arguments: object, cwd: Path, stdin: bytes = b"", **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    if any(name.startswith(("PYTHON", "LC_", "LANG", "TEST_")) for name in more):  # read before the program runs
        return _interpreter(*arguments, cwd=cwd, stdin=stdin, **more)
    run = Process(command(*arguments, cwd=cwd, **more), stdin=subprocess.PIPE)
    stdout, stderr = run.communicate(stdin.decode(), timeout=LIMIT_S)
    return subprocess.CompletedProcess([*COMMAND, *map(str, arguments)], run.returncode, stdout, stderr)


def _interpreter(*arguments: object, cwd: Path, stdin: bytes, **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=LIMIT_S,
        env=environment(**more),
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Process:
    """The command as a process of the fork server, with the interface of ``subprocess.Popen``.

    Attributes:
        pid: its id.
        returncode: its exit code, None while it runs.
        stdin, stdout, stderr: this end of its standard streams, where they are pipes.
    """

    def __init__(
        self,
        command: Command,
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> None:
        self.returncode: int | Any = None
        with ExitStack() as stack:
            ours: list[IO[str] | None] = []
            theirs: list[int] = []
            for stream, mode in ((stdin, "w"), (stdout, "r"), (stderr, "r")):
                if stream == subprocess.PIPE:
                    reader, writer = os.pipe()
                    here, there = (writer, reader) if mode == "w" else (reader, writer)
                    ours.append(os.fdopen(here, mode, encoding="utf-8"))
                else:
                    there = os.open(os.devnull, os.O_RDWR) if stream == subprocess.DEVNULL else os.dup(stream)
                    ours.append(None)
                theirs.append(there)
                stack.callback(os.close, there)
            self._forked = Forked(fork_server(), command, theirs)
        self.pid = self._forked.pid
        self.stdin, self.stdout, self.stderr = ours

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code.

        Raises:
            subprocess.TimeoutExpired: it takes longer than this, in seconds.
        """
        if self.returncode is None:
            try:
                self.returncode = self._forked.exit_code(timeout)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(COMMAND, timeout or 0.0) from None
        return self.returncode

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def communicate(self, given: str = "", timeout: float | None = None) -> tuple[str, str]:
        """Write ``given`` to it, and wait for its end; what it wrote to stdout and stderr.

        Raises:
            subprocess.TimeoutExpired: it takes longer than this, in seconds.
        """
        with ThreadPoolExecutor(2) as pool:
            written = [pool.submit(stream.read) if stream else None for stream in (self.stdout, self.stderr)]
            try:
                if self.stdin:
                    with contextlib.suppress(BrokenPipeError), self.stdin:
                        self.stdin.write(given)
                self.wait(timeout)
            except BaseException:
                self.kill()  # or the threads would read for ever
                raise
            texts = [one.result() if one else "" for one in written]
        for stream in (self.stdout, self.stderr):
            if stream:
                stream.close()
        return texts[0], texts[1]

    def send_signal(self, number: int) -> None:
        """Send it this signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(*arguments: object, cwd: Path, **more: str) -> Process:
    """Start the command, its output in pipes; the caller ends it."""
    return Process(command(*arguments, cwd=cwd, **more))


@functools.cache
def executable() -> Path:
    """The command ``provisioner`` for a shell or a terminal, in a folder of its own: it asks the fork server.

    What it inherits beside arguments, environment, folder and standard streams does not count: limits, mounts, ignored
    signals, further descriptors.
    """
    path = Path(fork_server()).with_name("bin") / "provisioner"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable} -IS\n{_EXECUTABLE.format(os.fspath(ROOT), fork_server())}")
    path.chmod(0o700)
    return path


_EXECUTABLE = """
import os, signal, sys
streams = [sys.__stdin__, sys.__stdout__, sys.__stderr__]
closed = [number for number, stream in enumerate(streams) if stream is None]
for _ in closed:
    os.open(os.devnull, os.O_RDWR)
sys.path.insert(0, {!r})
from tests.e2e.forkserver import Command, Forked

forked = Forked({!r}, Command(sys.argv[1:], os.getcwd(), dict(os.environ), closed), (0, 1, 2))
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: os.kill(forked.pid, number))
code = forked.exit_code()
sys.exit(code if code >= 0 else 128 - code)
"""


def until(
    condition: Callable[[], object],
    run: subprocess.Popen[Any] | Process | None = None,
    *,
    limit_s: float = LIMIT_S,
    every_s: float = 0.02,
) -> None:
    """Wait until ``condition`` holds, which it must before ``run`` ends."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert run is None or run.poll() is None, f"it ended before, with {run.returncode}"
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(every_s)


def read_terminal(terminal: int) -> bytes:
    """What is written to the other end of ``terminal`` until that is closed."""
    seen = b""
    with contextlib.suppress(OSError):  # what Linux answers once the other end is closed
        while chunk := os.read(terminal, 4096):
            seen += chunk
    return seen


class Endpoint:
    """A running endpoint, in whatever process it is."""

    def __init__(self, url: str) -> None:
        self.url = url

    def truth(self) -> dict[str, Any]:
        """Everything that it holds and was asked."""
        with urlopen(f"{self.url}/_emulator/truth", timeout=LIMIT_S) as reply:  # noqa: S310  our own process
            answer: dict[str, Any] = json.load(reply)
            return answer

    def creates(self) -> int:
        """Creates that were answered so far."""
        return sum(self.truth()["calls"].get("create", {}).values())

    def change(self, **switches: object) -> None:
        """Turn switches while it runs."""
        request = Request(  # noqa: S310  our own process
            f"{self.url}/_emulator/behaviour", data=json.dumps(switches).encode(), method="PATCH"
        )
        with urlopen(request, timeout=LIMIT_S):  # noqa: S310  our own process
            pass
