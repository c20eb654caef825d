"""The question before a deletion, in a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import subprocess
import termios
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.definition_lines import manifest_of
from tests.e2e.process import LIMIT_S, Endpoint, environment, executable, provisioner, read_terminal

if TYPE_CHECKING:
    from pathlib import Path

CTRL_C, CTRL_D = b"\x03", b"\x04"


class Dialogue(NamedTuple):
    """How a command ended: its code, its result on stdout, and what the terminal showed."""

    code: int
    stdout: str
    seen: str


def answered(answer: bytes, *arguments: object, cwd: Path) -> Dialogue:
    """Run the command in a terminal of its own, and type ``answer`` when it asks."""
    terminal, end = pty.openpty()
    run = subprocess.Popen(
        [executable(), *map(str, arguments)],
        cwd=cwd,
        stdin=end,
        stdout=subprocess.PIPE,
        stderr=end,
        text=True,
        env=environment(TERM="xterm"),
        start_new_session=True,
        # Its controlling terminal, so that Ctrl-C is a signal.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  nothing of this process's threads
    )
    os.close(end)
    seen = b""
    while b"[y/N] " not in seen:
        seen += os.read(terminal, 4096)
    time.sleep(0.3)
    asked = len(seen)
    os.write(terminal, answer)
    seen += read_terminal(terminal)
    os.close(terminal)
    stdout, _ = run.communicate(timeout=LIMIT_S)
    assert b"Delete" in seen[:asked]
    return Dialogue(run.returncode, stdout, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()))


@pytest.fixture
def folder(tmp_path: Path, endpoint: Endpoint) -> Path:
    """Three algorithms, and a manifest that has two of them."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b", "c"))
    provisioner("apply", "m.jsonl", "--endpoint-url", endpoint.url, cwd=tmp_path)
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b"))
    return tmp_path


def alive(endpoint: Endpoint) -> list[str]:
    """The names that exist in AWS."""
    return sorted(one["name"] for one in endpoint.truth()["algorithms"] if one["deleted_at"] is None)


PRUNE = ("apply", "m.jsonl", "--prune")
DESTROY = ("destroy", "--name", "c")


@pytest.mark.parametrize("command", [PRUNE, DESTROY])
def test_yes_deletes(folder: Path, endpoint: Endpoint, command: tuple[str, ...]) -> None:
    """The question says how many and where; yes deletes, and the bar comes back after the answer."""
    endpoint.change(latency=0.5)  # so that the bar has time to come back

    done = answered(b"yes\n", *command, "--endpoint-url", endpoint.url, cwd=folder)

    assert done.code == 0, done.stdout
    assert re.search(r"Delete 1 algorithm.* in default \(123456789012 us-east-1\)\? \[y/N\] yes\r\n", done.seen)
    assert "1 deleted" in done.seen
    assert alive(endpoint) == ["a", "b"]


@pytest.mark.parametrize("command", [PRUNE, DESTROY])
@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"yess\n", CTRL_D])
def test_anything_else_deletes_nothing(
    folder: Path, endpoint: Endpoint, command: tuple[str, ...], answer: bytes
) -> None:
    """Another answer, or none, ends the run with 75, and says that nothing was done."""
    done = answered(answer, *command, "--endpoint-url", endpoint.url, cwd=folder)

    assert done.code == 75
    assert "stopped   nothing was done, because the deletion was not confirmed\n" in done.stdout
    assert "lines" not in done.stdout
    assert "error" not in done.stdout
    assert alive(endpoint) == ["a", "b", "c"]


@pytest.mark.parametrize("command", [PRUNE, DESTROY])
def test_an_interrupt_at_the_question_is_a_stop(folder: Path, endpoint: Endpoint, command: tuple[str, ...]) -> None:
    """Ctrl-C ends the run with 75 at once, and is not taken for an answer."""
    began = time.monotonic()
    done = answered(CTRL_C, *command, "--endpoint-url", endpoint.url, cwd=folder)

    assert time.monotonic() - began < LIMIT_S / 2
    assert done.code == 75
    assert "stopped   signal SIGINT\n" in done.stdout
    assert "confirmed" not in done.stdout
    assert alive(endpoint) == ["a", "b", "c"]


def test_yes_beforehand_is_not_asked_again(folder: Path, endpoint: Endpoint) -> None:
    """With --yes there is no question."""
    done = provisioner(*DESTROY, "--yes", "--endpoint-url", endpoint.url, cwd=folder)

    assert (done.returncode, "[y/N]" in done.stderr, alive(endpoint)) == (0, False, ["a", "b"])
