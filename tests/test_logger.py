"""Where events go in a program that only imports us."""

from __future__ import annotations

import subprocess
import sys

import pytest

EVENT = 'log.warning("target.halted", why="ten\\x1b[31m %s", name="x")'
STANDARD = 'import logging; logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")'
STRUCTLOG = "import structlog; structlog.configure(processors=[structlog.processors.JSONRenderer()])"


@pytest.mark.parametrize(
    ("configured", "stdout", "stderr"),
    [
        ("", "", ""),
        (STANDARD, "", "provisioner WARNING event='target.halted' why='ten\\x1b[31m %s' name='x'\n"),
        (STRUCTLOG, '{"why": "ten\\u001b[31m %s", "name": "x", "event": "target.halted"}\n', ""),
    ],
    ids=["nothing", "logging", "structlog"],
)
def test_the_program_decides_where_events_go(configured: str, stdout: str, stderr: str) -> None:
    """Nothing is printed unless the program has configured logging or structlog, also after importing us."""
    program = f"from provisioner.logger import log\n{configured}\n{EVENT}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == (stdout, stderr)
