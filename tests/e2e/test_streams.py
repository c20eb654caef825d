"""The standard streams, whatever they are connected to: nothing is lost, and nothing is reported that is not so."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import struct
import subprocess
import termios
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.emulator import DEFAULT_ACCOUNT, credentials
from tests.alternating import alternating
from tests.definition_lines import manifest_of, numbered
from tests.e2e.moments import BUG, OUT_OF_MEMORY, at
from tests.e2e.process import COMMAND, LIMIT_S, Endpoint, Process, command, environment, executable, provisioner, until

if TYPE_CHECKING:
    from pathlib import Path

PIPE = 4096
"""Bytes of the smallest pipe."""


def small_pipe() -> tuple[int, int]:
    """The ends of a pipe that is soon full."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE)
    return reader, writer


def spawn(*arguments: object, cwd: Path, **streams: Any) -> subprocess.Popen[bytes]:
    """Start the command with these streams, and environment variables as ``env``."""
    more = streams.pop("env", {})
    streams.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen([*COMMAND, *map(str, arguments)], cwd=cwd, env=environment(**more), **streams)


def test_a_helper_process_does_not_consume_the_manifest(tmp_path: Path, endpoint: Endpoint) -> None:
    """A credential_process that reads its standard input leaves ``apply -`` every line."""
    keys = credentials(DEFAULT_ACCOUNT).environment()
    answer = {
        "Version": 1,
        "AccessKeyId": keys["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": keys["AWS_SECRET_ACCESS_KEY"],
    }
    helper = tmp_path / "helper"
    helper.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{json.dumps(answer)}'\n")
    helper.chmod(0o700)
    (tmp_path / "aws").write_text(f"[default]\ncredential_process = {helper}\n")
    unset = dict.fromkeys(keys, "")

    done = provisioner(
        "apply",
        "-",
        "--endpoint-url",
        endpoint.url,
        cwd=tmp_path,
        stdin=numbered(10),
        **{**unset, "AWS_CONFIG_FILE": str(tmp_path / "aws")},
    )

    assert (done.returncode, "10 created" in done.stdout) == (0, True), done.stdout


def test_standard_input_has_one_content_under_all_of_its_names(tmp_path: Path) -> None:
    """``/dev/stdin`` and a link to it are one source, read once; the pipe of a ``<(...)`` is another."""
    (tmp_path / "link").symlink_to("/dev/stdin")
    (tmp_path / "more").write_bytes(manifest_of("other"))
    line = f"{' '.join(COMMAND)} validate /dev/stdin link /proc/self/fd/0 <(cat more) --output json"

    done = subprocess.run(
        ["/bin/bash", "-c", line],
        cwd=tmp_path,
        input=numbered(10),
        env=environment(),
        capture_output=True,
        check=False,
    )

    assert (done.returncode, json.loads(done.stdout)["lines"]) == (0, 11), done.stderr


@pytest.mark.parametrize("arguments", [("status", "--config", "/dev/stdin"), ("apply", "--plan", "/dev/fd/0")])
def test_only_a_manifest_comes_from_standard_input(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A configuration or a plan on standard input is refused (2), rather than taken for an empty file."""
    done = provisioner(*arguments, cwd=tmp_path, stdin=b'[run]\nledger = "l.db"\n')

    assert done.returncode == 2
    assert "this is standard input" in done.stderr


def test_a_closed_standard_input_is_no_empty_manifest(tmp_path: Path) -> None:
    """``apply - more --prune <&-`` is a source that cannot be read (2), and nothing is done."""
    (tmp_path / "more").write_bytes(numbered(2))
    line = f"{executable()} apply - more --prune --yes --local <&-"

    done = subprocess.run(["/bin/bash", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, check=False)

    assert (done.returncode, b"standard input is closed" in done.stdout) == (2, True), done.stdout
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.parametrize("blocking", [False, pytest.param(True, marks=pytest.mark.torture)])
def test_a_slow_reader_gets_the_whole_result(tmp_path: Path, blocking: bool) -> None:  # noqa: FBT001  a parameter
    """A pipe that is soon full, blocking or not, cuts nothing off, with unbuffered output too."""
    (tmp_path / "m.jsonl").write_bytes(numbered(100))
    provisioner("apply", "m.jsonl", "--local", cwd=tmp_path)
    reader, writer = small_pipe()
    os.set_blocking(writer, blocking)
    run = spawn("export", "--format", "json", cwd=tmp_path, stdout=writer, env={"PYTHONUNBUFFERED": "1"})
    os.close(writer)
    while struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4))[0] < PIPE:
        assert run.poll() is None

    read = b""
    while chunk := os.read(reader, 1000):
        read += chunk
    os.close(reader)

    assert run.wait(LIMIT_S) == 0
    assert len(json.loads(read)) == 100


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_result_that_is_cut_off_is_an_error(tmp_path: Path, unbuffered: str) -> None:
    """A disk that is full after a part of the result ends with 74, with unbuffered output too."""
    with (tmp_path / "out").open("wb") as out:
        run = spawn(
            "schema",
            cwd=tmp_path,
            stdout=out,
            stderr=subprocess.PIPE,
            env={"PYTHONUNBUFFERED": unbuffered},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (PIPE, PIPE)),
        )
        _, stderr = run.communicate(timeout=LIMIT_S)

    assert (run.returncode, (tmp_path / "out").stat().st_size) == (74, PIPE)
    assert b"cannot be written to stdout" in stderr


@pytest.mark.parametrize("arguments", ["version", "apply m.jsonl --local --output json"])
def test_a_closed_stdout_is_an_error(tmp_path: Path, arguments: str) -> None:
    """A result that nothing can take ends with 74, as on a full disk."""
    (tmp_path / "m.jsonl").write_bytes(numbered(2))
    line = f"{executable()} {arguments} >&-"

    done = subprocess.run(["/bin/bash", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, check=False)

    assert done.returncode == 74
    assert b"cannot be written to stdout" in done.stderr


@pytest.mark.parametrize("locale", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "latin-1"}])
def test_results_are_utf8_whatever_the_locale(tmp_path: Path, locale: dict[str, Any]) -> None:
    """Names that the locale's encoding has no character for are exported, and the rest is not in that encoding."""
    names = ["Grüße", "日本"]
    (tmp_path / "m.jsonl").write_bytes(manifest_of(*names))
    applied = provisioner("apply", "m.jsonl", "--local", "--output", "json", cwd=tmp_path, **locale)

    exported = {
        form: provisioner("export", "--format", form, cwd=tmp_path, **locale) for form in ("jsonl", "json", "csv")
    }

    assert (applied.returncode, json.loads(applied.stdout)["outcomes"]["created"]) == (0, 2)
    assert {form: done.returncode for form, done in exported.items()} == {"jsonl": 0, "json": 0, "csv": 0}
    assert all(name in done.stdout for name in names for done in exported.values())


def test_a_stderr_that_nobody_reads_holds_up_nothing(tmp_path: Path) -> None:
    """A run whose log goes into a full pipe ends as fast as ever; what it dropped is counted once there is room."""
    (tmp_path / "m.jsonl").write_bytes(numbered(3) + b'{"name": 1}\n' * 10_000)
    reader, writer = small_pipe()
    arguments = ("apply", "m.jsonl", "--local", "--output", "json", "--log-level", "debug")
    run = Process(command(*arguments, cwd=tmp_path), stderr=writer)
    os.close(writer)
    assert run.stdout is not None

    summary = json.loads(run.stdout.readline())
    log = b""
    while chunk := os.read(reader, 65536):
        log += chunk
    os.close(reader)
    run.communicate(timeout=LIMIT_S)

    lines = log.decode().splitlines()
    logged = sum("definition.reported" in line for line in lines)
    dropped = sum(json.loads(line)["messages"] for line in lines if "log.dropped" in line)
    assert (run.returncode, summary["outcomes"]["created"], summary["problems_total"]) == (65, 3, 20_000)
    assert dropped
    assert logged + dropped >= 20_000


def test_a_stderr_that_nobody_reads_does_not_hold_up_a_signal(tmp_path: Path, endpoint: Endpoint) -> None:
    """SIGTERM drains a run whose log goes into a full pipe that stays full."""
    (tmp_path / "m.jsonl").write_bytes(numbered(400))
    endpoint.change(rate=40, burst=2)
    reader, writer = small_pipe()
    arguments = ("apply", "m.jsonl", "--endpoint-url", endpoint.url, "--output", "json", "--log-level", "debug")
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"x" * 1000)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    run = Process(command(*arguments, cwd=tmp_path), stderr=writer)
    os.close(writer)
    until(lambda: endpoint.creates() >= 5, run)

    run.send_signal(signal.SIGTERM)
    stdout, _ = run.communicate(timeout=LIMIT_S)
    os.close(reader)

    assert (run.returncode, json.loads(stdout)["stopped"]) == (75, "signal SIGTERM")


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2> >(exit)"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("apply m.jsonl --local --log-level debug --progress always", 65),
        ("validate m.jsonl", 65),
        ("status --ledger none.db", 74),
        ("frobnicate", 2),
    ],
)
def test_a_stderr_that_cannot_be_written_does_not_change_the_exit_code(
    tmp_path: Path, redirection: str, arguments: str, code: int
) -> None:
    """A full disk under stderr, a closed one, or one whose reader went away: the code is that of the command."""
    (tmp_path / "m.jsonl").write_bytes(numbered(2) + b"{}\n")
    line = f"{executable()} {arguments} {redirection}"

    done = subprocess.run(["/bin/bash", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, check=False)

    assert done.returncode == code, done.stdout


@pytest.mark.parametrize(
    ("moment", "action"),
    alternating(
        [OUT_OF_MEMORY, BUG], ["provisioner.commands.apply", "provisioner.engine.engine", "provisioner.cli.logs"]
    ),
)
def test_an_internal_error_is_one_json_object_too(tmp_path: Path, moment: str, action: str) -> None:
    """A bug, or a machine without memory, ends with 1, one line on stderr and one object on stdout."""
    (tmp_path / "m.jsonl").write_bytes(numbered(2))

    done = provisioner(
        "apply", "m.jsonl", "--local", "--output", "json", cwd=tmp_path, **at(moment, action, tmp_path / "site")
    )

    summary = json.loads(done.stdout)
    assert (done.returncode, summary["exit_code"]) == (1, 1)
    assert ("MemoryError" if action == OUT_OF_MEMORY else "LookupError: a bug") in summary["error"]
    assert "Traceback" not in done.stderr


HOSTILE = ["red\x9b31m", "evil\u202egpj.exe", "title\x9d0;x\x9c", "tab\there", "join\u200dner", "mark\u2066er"]
"""Names with CSI, OSC, a right-to-left override, a zero-width joiner and an isolate: all of them valid in the API."""


def unprintable(text: str) -> set[str]:
    """The characters in ``text`` that could steer a terminal."""
    return {character for character in text if not character.isprintable()} - {"\n"}


def test_names_cannot_steer_a_terminal(tmp_path: Path, endpoint: Endpoint) -> None:
    """Whatever a name contains, no output has it raw; JSON gives it back exactly."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of(*HOSTILE))
    common = ("--endpoint-url", endpoint.url, "--log-level", "debug")
    endpoint.change(lost_reply=1.0)
    done = [provisioner("apply", "m.jsonl", *common, "--no-wait", "--output", form, cwd=tmp_path) for form in ("json",)]
    done += [provisioner("status", "--output", form, cwd=tmp_path) for form in ("text", "json")]
    endpoint.change(lost_reply=0.0)
    fresh = ("--ledger", "second.db", *common)
    done += [provisioner("apply", "m.jsonl", *fresh, "--progress", "always", cwd=tmp_path)]
    done += [provisioner("verify", *fresh, "--output", form, cwd=tmp_path) for form in ("text", "json")]

    assert [unprintable(one.stdout) for one in done] == [set()] * len(done)
    assert all(unprintable(one.stderr) <= {"\x1b", "\r"} for one in done)
    assert sorted(entry["name"] for entry in json.loads(done[2].stdout)["open"]) == sorted(HOSTILE)


def test_exported_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    """Every export format escapes what could; the JSON ones give the name back exactly."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of(*HOSTILE))
    provisioner("apply", "m.jsonl", "--local", cwd=tmp_path)

    exported = {form: provisioner("export", "--format", form, cwd=tmp_path).stdout for form in ("json", "jsonl", "csv")}

    assert {form: unprintable(text) for form, text in exported.items()} == {form: set() for form in exported}
    assert set(json.loads(exported["json"])) == set(HOSTILE)
    assert {json.loads(line)["name"] for line in exported["jsonl"].splitlines()} == set(HOSTILE)
    assert "evil\\u202egpj.exe" in exported["csv"]
