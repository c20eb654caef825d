"""How the interpreter ends after a command."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.process import EXAMPLE, LIMIT_S, environment

if TYPE_CHECKING:
    from pathlib import Path


APPLY = ("apply", "m.jsonl", "--local", "--progress")


@pytest.mark.parametrize(
    "arguments",
    [(*APPLY, "always"), (*APPLY, "never"), ("version",), ("validate", "m.jsonl"), ("apply", "--help")],
    ids=" ".join,
)
def test_the_interpreter_ends_in_silence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """After the last line of a command the interpreter prints nothing: no traceback of an object that it tears down.

    Python 3.13 prints what fails in the destructor of a file object; development mode makes every Python print it.
    """
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(EXAMPLE.read_bytes().splitlines(keepends=True)[0])
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "provisioner", *arguments],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environment(),
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Exception ignored" not in done.stderr
    assert "Traceback" not in done.stderr
