"""The real command line as a real process, and the endpoint that it is run against."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from provisioner.emulator import DEFAULT_ACCOUNT, credentials

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


def provisioner(*arguments: object, cwd: Path, stdin: bytes = b"", **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
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


def start(*arguments: object, cwd: Path, **more: str) -> subprocess.Popen[str]:
    """Start the command, its output in pipes; the caller ends it."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )


def until(condition: Callable[[], object], run: subprocess.Popen[Any] | None = None) -> None:
    """Wait until ``condition`` holds, which it must before ``run`` ends."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert run is None or run.poll() is None, f"it ended before, with {run.returncode}"
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


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
