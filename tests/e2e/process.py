"""The real command line as a real process, and the endpoint that it is run against."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from provisioner.emulator import DEFAULT_ACCOUNT, credentials

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


class Endpoint:
    """A running endpoint, in whatever process it is."""

    def __init__(self, url: str) -> None:
        self.url = url

    def truth(self) -> dict[str, Any]:
        """Everything that it holds and was asked."""
        with urlopen(f"{self.url}/_emulator/truth", timeout=LIMIT_S) as reply:  # noqa: S310  our own process
            answer: dict[str, Any] = json.load(reply)
            return answer

    def change(self, **switches: object) -> None:
        """Turn switches while it runs."""
        request = Request(  # noqa: S310  our own process
            f"{self.url}/_emulator/behaviour", data=json.dumps(switches).encode(), method="PATCH"
        )
        with urlopen(request, timeout=LIMIT_S):  # noqa: S310  our own process
            pass
