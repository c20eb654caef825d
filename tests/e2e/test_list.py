"""``provisioner list``, through the real process."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import termios
import time
from array import array
from typing import TYPE_CHECKING

import pytest

from tests.e2e.ledgers import HOSTILE, make, multiply
from tests.e2e.process import LIMIT_S, Process, provisioner, start
from tests.e2e.process import command as command_of
from tests.ledger.contract.facts import arn

if TYPE_CHECKING:
    from pathlib import Path

PIPE = 65_536
"""Bytes that a pipe holds on Linux (pipe(7))."""
TABLE = f"""\
NAME       STATE                 ARN OR REASON
bad 0      failed                ValidationException: role 0 is wrong
bad 1      failed                ValidationException: role 1 is wrong
bad 2      failed                ValidationException: role 2 is wrong
bad 3      failed                ValidationException: role 3 is wrong
bad 4      failed                ValidationException: role 4 is wrong
found      created (recovered)   {arn(2)}
full       parked                ServiceQuotaExceededException: 1000 are there
lost       ambiguous             read_timeout: no reply in 20 s
moved      created               {arn(8)}
moved two  created               {arn(5)}
plain      created               {arn(1)}
taken      drifted (adopted)     roleArn differs  {arn(3)}
moved two  failed (replacement)  ValidationException: no such image
"""
CAUSES = """\
      6  failed     ValidationException: role 0 is wrong
                    east: bad 0, east: bad 1, east: bad 2 and 3 more
      1  ambiguous  read_timeout: no reply in 20 s
                    east: lost
      1  drifted    roleArn differs
                    east: taken
      1  parked     ServiceQuotaExceededException: 1000 are there
                    east: full
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a ledger that all tests here read."""
    folder = tmp_path_factory.mktemp("ledger")
    make(folder / "ledger.db")
    return folder


def test_entries_are_a_table(directory: Path) -> None:
    """Every entry is a row with its state, and its ARN or what is wrong; then come replacements that failed."""
    done = provisioner("list", "--target", "east", cwd=directory)

    assert (done.returncode, done.stdout, done.stderr) == (0, TABLE, "")


def test_several_targets_are_a_column_and_no_name_controls_the_terminal(directory: Path) -> None:
    """With several targets each row names its own; escapes and changes of direction in a name are made visible."""
    done = provisioner("list", "--name", "=*", "--name", "found", cwd=directory)

    shown = HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
    gap = " " * (len(shown) - len("NAME"))
    assert done.stdout == (
        f"TARGET  NAME{gap}  STATE                ARN OR REASON\n"
        f"east    found{gap[1:]}  created (recovered)  {arn(2)}\n"
        f"west    {shown}  created              {arn(7)}\n"
    )


def test_entries_as_json(directory: Path) -> None:
    """One object: every entry with all that the ledger has of it, names exact, and the exit code."""
    done = provisioner("list", "--name", "moved two", "--name", "=*", "--output", "json", cwd=directory)

    found = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert "\x1b" not in done.stdout
    assert (found["exit_code"], [entry["name"] for entry in found["entries"]]) == (
        0,
        ["moved two", "moved two", HOSTILE],
    )
    assert found["entries"][1] == {
        "target": "east",
        "name": "moved two",
        "state": "failed",
        "arn": "",
        "code": "ValidationException",
        "message": "no such image",
        "adopted": False,
        "incoming": True,
        "digest": "d" * 64,
        "tags_digest": "t" * 64,
        "attempt": "a2",
        "sent_at": "2026-09-21T14:13:20.125Z",
        "request_id": "",
        "updated_at": "2026-09-21T15:13:20.125Z",
        "run_id": "20260921T151320125-aabbbb",
    }


def test_superseded_versions_are_listed_on_request(directory: Path) -> None:
    """What was replaced and is still to be deleted stands there with why it is not deleted yet."""
    text = provisioner("list", "--state", "superseded", "--target", "east", cwd=directory)
    found = json.loads(provisioner("list", "--state", "superseded", "--output", "json", cwd=directory).stdout)

    assert text.stdout == (
        "NAME   STATE       ARN OR REASON\n"
        f"moved  superseded  replaced, not deleted: ConflictException: an association uses it  {arn(4)}\n"
    )
    (version,) = found["entries"]
    assert (version["state"], version["reason"], version["code"]) == ("superseded", "replaced", "ConflictException")


def test_causes(directory: Path) -> None:
    """--by code groups what failed, is parked, ambiguous or drifted, the most frequent first, with three examples."""
    text = provisioner("list", "--by", "code", cwd=directory)
    found = json.loads(provisioner("list", "--by", "code", "--output", "json", cwd=directory).stdout)
    created = json.loads(
        provisioner("list", "--by", "code", "--state", "created", "--output", "json", cwd=directory).stdout
    )

    assert (text.returncode, text.stdout) == (0, CAUSES)
    assert [(group["state"], group["code"], group["count"]) for group in found["groups"]] == [
        ("failed", "ValidationException", 6),
        ("ambiguous", "read_timeout", 1),
        ("drifted", "drifted", 1),
        ("parked", "ServiceQuotaExceededException", 1),
    ]
    assert found["groups"][3]["examples"] == [{"target": "east", "name": "full", "message": "1000 are there"}]
    assert {group["code"]: group["count"] for group in created["groups"]} == {"": 5, "recovered": 1}


def test_nothing_found_is_said(directory: Path) -> None:
    """When nothing is selected stdout has no table, stderr says so, and the exit code is 0."""
    text = provisioner("list", "--code", "nope", cwd=directory)
    causes = provisioner("list", "--code", "nope", "--by", "code", cwd=directory)
    found = provisioner("list", "--code", "nope", "--output", "json", cwd=directory)

    assert (text.returncode, text.stdout, text.stderr) == (0, "", "no entries\n")
    assert (causes.stdout, causes.stderr) == ("", "no entries\n")
    assert json.loads(found.stdout) == {"entries": [], "exit_code": 0}


def test_lines_are_cut_to_the_width_of_a_terminal(directory: Path) -> None:
    """On a terminal no line is longer than it is wide; what is left out is marked."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    run = Process(command_of("list", "--name", "plain", "--name", "bad 0", cwd=directory), stdout=theirs)
    run.communicate(timeout=LIMIT_S)
    os.close(theirs)
    lines = os.read(ours, 10_000).decode().replace("\r\n", "\n").splitlines()
    os.close(ours)

    assert run.returncode == 0
    assert lines == [
        "TARGET  NAME   STATE    ARN OR REASON",
        "east    bad 0  failed   ValidationExcep…",
        "east    plain  created  arn:aws:cleanro…",
        "west    plain  created  arn:aws:cleanro…",
    ]


def test_it_runs_beside_a_run(directory: Path) -> None:
    """A ledger that a run holds is listed all the same, and the lock file is left alone."""
    from tests.ledger.processes import HOLD, line_of, running

    with running(HOLD, directory / "ledger.db") as holder:
        assert line_of(holder) == "held"
        done = provisioner("list", "--target", "east", cwd=directory)
        holder.communicate("end\n")

    assert (done.returncode, done.stdout) == (0, TABLE)


def test_a_ledger_that_fails_under_the_list_ends_the_object(tmp_path: Path) -> None:
    """Where the ledger turns out to be damaged half way, stdout is still one object, with the error and 74."""
    make(tmp_path / "ledger.db")
    content = bytearray((tmp_path / "ledger.db").read_bytes())
    place = content.find(b"no such image")
    content[place - 3000 : place + 1000] = bytes(4000)
    (tmp_path / "ledger.db").write_bytes(content)

    done = provisioner("list", "--output", "json", cwd=tmp_path)

    found = json.loads(done.stdout)
    assert (done.returncode, found["exit_code"]) == (74, 74)
    assert "damaged" in found["error"]


def test_a_list_that_nobody_reads_ends_at_the_first_signal(tmp_path: Path) -> None:
    """A reader that has stopped reading holds up the list, and not its end."""
    make(tmp_path / "ledger.db")
    multiply(tmp_path / "ledger.db", 5000)
    process = start("list", cwd=tmp_path)
    assert process.stdout is not None
    waiting = array("i", [0])
    deadline = time.monotonic() + LIMIT_S
    while waiting[0] < PIPE and time.monotonic() < deadline:
        fcntl.ioctl(process.stdout, termios.FIONREAD, waiting)
        time.sleep(0.02)

    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=10)
    process.communicate()

    assert code == 130


def test_without_a_ledger(tmp_path: Path) -> None:
    """There is nothing to list, and no file is made: 74."""
    done = provisioner("list", cwd=tmp_path)

    assert (done.returncode, "there is no ledger here" in done.stderr, list(tmp_path.iterdir())) == (74, True, [])
