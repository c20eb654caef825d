"""Signals at every moment of a process's life: none is lost, and none ends it with a code that says nothing."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.definition_lines import manifest_of, numbered
from tests.e2e.moments import IN_A_CLASS, TERMINATED, at
from tests.e2e.process import (
    COMMAND,
    LIMIT_S,
    Endpoint,
    Process,
    environment,
    provisioner,
    read_terminal,
    start,
    until,
)
from tests.e2e.process import command as command_of
from tests.namespaces import unshare

if TYPE_CHECKING:
    from pathlib import Path

NOHUP = shutil.which("nohup") or "nohup"
LOADING = ["click", "provisioner.cli.apply", "provisioner.commands.apply", "uvloop"]
"""Modules in the order in which ``apply`` loads them; the last one when its event loop is made."""


@pytest.mark.parametrize("moment", LOADING)
def test_a_signal_while_the_program_loads_ends_it_before_anything_is_sent(tmp_path: Path, moment: str) -> None:
    """SIGTERM at any moment before the run begins: exit 130, one JSON object, no ledger."""
    (tmp_path / "m.jsonl").write_bytes(numbered(2))

    done = provisioner(
        "apply", "m.jsonl", "--local", "--output", "json", cwd=tmp_path, **at(moment, TERMINATED, tmp_path / "site")
    )

    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (130, 130), done.stderr
    assert "SIGTERM" in done.stderr
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.parametrize("moment", ["at exit", "in the last moment"])
def test_a_signal_after_the_result_changes_nothing(tmp_path: Path, moment: str) -> None:
    """SIGTERM while the interpreter takes itself apart: the code is that of the run."""
    (tmp_path / "m.jsonl").write_bytes(numbered(2))

    done = provisioner("apply", "m.jsonl", "--local", cwd=tmp_path, **at(moment, TERMINATED, tmp_path / "site"))

    assert (done.returncode, "2 created" in done.stdout) == (0, True)


@pytest.mark.parametrize(("moment", "code"), [*((moment, 130) for moment in LOADING), ("at exit", 0)])
def test_a_signal_reaches_the_first_process_of_a_container(tmp_path: Path, moment: str, code: int) -> None:
    """The kernel discards a signal to process 1 that has no handler: there is one from the first import on."""
    alone = unshare("--pid", "--fork", "--kill-child")
    (tmp_path / "m.jsonl").write_bytes(numbered(2))

    done = subprocess.run(
        [*alone, *COMMAND, "apply", "m.jsonl", "--local"],
        cwd=tmp_path,
        env=environment(**at(moment, TERMINATED, tmp_path / "site")),
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    ("command", "moment"),
    [
        ("export", "asyncio.runners"),
        ("validate m.jsonl", "provisioner.manifest.reader"),
        ("doctor --local", "provisioner.aws.account"),  # in a task among others
    ],
)
def test_a_signal_ends_a_command_that_only_reads(tmp_path: Path, command: str, moment: str) -> None:
    """SIGTERM in a command that has no run: exit 130 and one line, at once."""
    (tmp_path / "m.jsonl").write_bytes(numbered(2))
    provisioner("apply", "m.jsonl", "--local", cwd=tmp_path)

    done = provisioner(*command.split(), cwd=tmp_path, **at(moment, TERMINATED, tmp_path / "site"))

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (130, "", 1), done.stderr


def test_a_signal_while_a_class_is_created_is_no_internal_error(tmp_path: Path) -> None:
    """Python 3.11 raises a RuntimeError in its place: exit 130 and one line all the same."""
    (tmp_path / "m.jsonl").write_bytes(numbered(2))

    done = provisioner(
        "validate", "m.jsonl", cwd=tmp_path, **at("provisioner.manifest.reader", IN_A_CLASS, tmp_path / "site")
    )

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (130, "", 1), done.stderr


def test_a_signal_that_is_ignored_at_the_start_stays_ignored(tmp_path: Path, endpoint: Endpoint) -> None:
    """Under nohup a run outlives the terminal it was started from, and SIGTERM still drains it."""
    (tmp_path / "m.jsonl").write_bytes(numbered(60))
    endpoint.change(rate=20, burst=2)
    run = subprocess.Popen(
        [NOHUP, *COMMAND, "apply", "m.jsonl", "--endpoint-url", endpoint.url, "--output", "json"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    until(lambda: endpoint.creates() >= 3, run)

    run.send_signal(signal.SIGHUP)
    seen = endpoint.creates()
    until(lambda: endpoint.creates() >= seen + 5, run)
    run.send_signal(signal.SIGTERM)
    stdout, _ = run.communicate(timeout=LIMIT_S)

    assert (run.returncode, json.loads(stdout)["stopped"]) == (75, "signal SIGTERM")


def test_the_endpoint_in_the_background_of_a_script_outlives_its_interrupt(tmp_path: Path) -> None:
    """A shell starts background jobs with SIGINT ignored: Ctrl-C for the script does not end the embedded endpoint."""
    background = subprocess.Popen(
        ["/bin/sh", "-c", f"trap '' INT; exec {' '.join(COMMAND)} emulate"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
        text=True,
    )
    assert background.stdout is not None
    running = Endpoint(background.stdout.readline().strip())

    background.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        background.wait(0.5)
    alive = running.truth()
    background.terminate()
    background.communicate(timeout=LIMIT_S)

    assert (alive["algorithms"], background.returncode) == ([], 0)


def end_of_wait(tmp_path: Path, *arguments: str, said: bytes = b"", signalled: bool = True) -> tuple[int, str]:
    """Exit code and stdout of a command that reads a pipe into which ``said`` is written, and then nothing more."""
    os.mkfifo(tmp_path / "pipe")
    run = start(*arguments, cwd=tmp_path)
    writer = os.open(tmp_path / "pipe", os.O_WRONLY)  # returns once the run has opened it
    os.write(writer, said)
    if signalled:
        run.send_signal(signal.SIGTERM)
    try:
        stdout, _ = run.communicate(timeout=LIMIT_S)
    finally:
        run.kill()
        os.close(writer)
    return run.returncode, stdout


@pytest.mark.parametrize("command", [("apply", "--strict"), ("plan", "--strict"), ("plan",), ("adopt",)], ids=" ".join)
def test_a_signal_ends_a_run_that_waits_for_its_manifest(tmp_path: Path, command: tuple[str, ...]) -> None:
    """SIGTERM while the manifest is copied from a pipe whose writer says nothing: exit 75 at once."""
    code, stdout = end_of_wait(tmp_path, *command, "pipe", "--local")

    assert (code, "stopped   signal SIGTERM\n" in stdout) == (75, True), stdout


def test_a_signal_ends_a_verify_that_waits_for_its_manifest(tmp_path: Path) -> None:
    """What was compared until then is reported, and nothing is taken for a definition that left the manifest (75)."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b"))
    assert provisioner("apply", "m.jsonl", "--local", cwd=tmp_path).returncode == 0

    code, stdout = end_of_wait(tmp_path, "verify", "pipe", "--local", said=manifest_of("a"))

    assert (code, stdout.splitlines()[-2:]) == (75, ["stopped   signal SIGTERM", "not compared"]), stdout


def test_the_deadline_ends_a_plan_that_waits_for_its_manifest(tmp_path: Path) -> None:
    """The deadline counts from the start, while the manifest is copied, too."""
    code, stdout = end_of_wait(tmp_path, "plan", "pipe", "--strict", "--local", "--deadline", "1s", signalled=False)

    assert (code, "stopped   the deadline of 1s has passed\n" in stdout) == (75, True), stdout


def test_the_first_signal_in_a_drain_for_the_deadline_is_not_a_second_one(tmp_path: Path, endpoint: Endpoint) -> None:
    """A run that drains because its deadline is over still answers the first SIGTERM with its results, not with 130."""
    (tmp_path / "m.jsonl").write_bytes(numbered(400))
    endpoint.change(rate=20, burst=1)
    run = start(
        "apply", "m.jsonl", "--endpoint-url", endpoint.url, "--deadline", "3s", "--output", "json", cwd=tmp_path
    )
    until(lambda: endpoint.creates() >= 1, run)
    endpoint.change(rate=0, latency=2)
    assert run.stderr is not None
    stopping = next(json.loads(line) for line in run.stderr if "run.stopping" in line)

    run.send_signal(signal.SIGTERM)
    stdout, _ = run.communicate(timeout=LIMIT_S)

    summary = json.loads(stdout)
    assert (stopping["in_flight"] > 0, "deadline" in stopping["reason"]) == (True, True)
    assert (run.returncode, summary["exit_code"], summary["stopped"]) == (75, 75, stopping["reason"])


def test_a_second_interrupt_leaves_a_clean_terminal(tmp_path: Path, endpoint: Endpoint) -> None:
    """The progress bar hides the cursor; a second Ctrl-C ends the run with 130 and shows it again."""
    (tmp_path / "m.jsonl").write_bytes(numbered(2))
    endpoint.change(hang=1.0)
    terminal, end = pty.openpty()
    line = command_of("apply", "m.jsonl", "--endpoint-url", endpoint.url, cwd=tmp_path, TERM="xterm")
    run = Process(line, stderr=end)
    os.close(end)
    seen = b""
    while not re.search(rb"[1-9] in flight", seen):
        seen += os.read(terminal, 4096)

    run.send_signal(signal.SIGINT)
    time.sleep(0.3)
    run.send_signal(signal.SIGINT)
    stdout, _ = run.communicate(timeout=LIMIT_S)
    seen += read_terminal(terminal)
    os.close(terminal)

    assert (run.returncode, "interrupted" in stdout) == (130, True)
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l")
