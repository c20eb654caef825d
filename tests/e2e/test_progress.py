"""The progress bar in a real terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

import pytest

from provisioner.emulator import Behaviour, running
from tests.definition_lines import numbered
from tests.e2e.process import LIMIT_S, Endpoint, Process, command, read_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_PER_S = 10


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint with a limit and a short burst."""
    with running(Behaviour(rate=LIMIT_PER_S, burst=2)) as emulator:
        yield Endpoint(emulator.url)


def in_terminal(*arguments: object, cwd: Path, columns: int, **more: str) -> tuple[int, list[str]]:
    """Run the command with its stderr on a terminal; the exit code and every bar that the terminal showed."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    line = command(*arguments, cwd=cwd, **{"TERM": "xterm", **more})
    run = Process(line, stdout=subprocess.DEVNULL, stderr=end)
    os.close(end)
    seen = read_terminal(terminal)
    os.close(terminal)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    return run.wait(LIMIT_S), [line for line in re.split(r"[\r\n]+", text) if re.search(r"\d/~?[\d?]+ ", line)]


@pytest.mark.parametrize("columns", [40, 80])
def test_the_bar_is_one_line_with_figures_that_are_true(tmp_path: Path, endpoint: Endpoint, columns: int) -> None:
    """The bar never wraps, counts up to what is done, and shows no pace that the account did not give."""
    (tmp_path / "m.jsonl").write_bytes(numbered(30))

    code, shown = in_terminal("apply", "m.jsonl", "--endpoint-url", endpoint.url, cwd=tmp_path, columns=columns)

    counts = [int(done) for done, total in re.findall(r"(\d+)/(\d+) ", "\n".join(shown))]
    paces = [float(pace) for pace in re.findall(r"\d  (\d+\.\d)/s", "\n".join(shown))]
    assert code == 0
    assert [line for line in shown if len(line) > columns] == []
    assert counts == sorted(counts)
    assert counts[-1] == 30
    assert max(paces[len(paces) // 2 :]) <= 1.5 * LIMIT_PER_S
    assert columns < 80 or re.search(r"30/30  \d+\.\d/s of \d+\.\d/s  ", shown[-1]), shown[-1]


def test_a_finished_manifest_is_complete_at_once(tmp_path: Path, endpoint: Endpoint) -> None:
    """The second run of the same manifest, which reads no line of it, still shows how many definitions there are."""
    (tmp_path / "m.jsonl").write_bytes(numbered(1))
    arguments = ("apply", "m.jsonl", "--endpoint-url", endpoint.url)
    in_terminal(*arguments, cwd=tmp_path, columns=80)

    code, shown = in_terminal(*arguments, cwd=tmp_path, columns=80)

    assert (code, "1/1 " in shown[-1]) == (0, True), shown[-1]


def test_a_run_that_stops_does_not_look_finished(tmp_path: Path, endpoint: Endpoint) -> None:
    """What is left for the next run is not counted as done."""
    (tmp_path / "m.jsonl").write_bytes(numbered(200))

    arguments = ("apply", "m.jsonl", "--endpoint-url", endpoint.url, "--deadline", "4s", "--summary-file", "s.json")
    code, shown = in_terminal(*arguments, cwd=tmp_path, columns=120)

    done = re.search(r"(\d+)/200 ", shown[-1])
    created = json.loads((tmp_path / "s.json").read_bytes())["outcomes"]["created"]
    assert code == 75
    assert done
    assert int(done[1]) == created
    assert "stopping: the deadline of 4s has passed" in shown[-1]
