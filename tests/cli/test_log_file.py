"""The log file: whatever happens to it, no line is in it twice or cut off, and what is missing is counted."""

from __future__ import annotations

import io
import json
import os
import resource
import stat
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import structlog

from provisioner.cli.backlog import LIMIT
from provisioner.cli.log_file import LogFile
from provisioner.cli.logs import Logs
from provisioner.cli.output import UnwritableError
from provisioner.cli.unattended import Unattended
from provisioner.errors import ProvisionerError, UsageError
from provisioner.logger import log as log_event
from tests.definition_lines import manifest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_S = 10.0


def line(number: int, size: int = 0) -> str:
    """A line of a log."""
    return json.dumps({"timestamp": "t", "number": number, "more": "x" * size}) + "\n"


def numbers(path: Path) -> list[int]:
    """The lines of a log."""
    return [json.loads(one)["number"] for one in path.read_text().splitlines()]


def log(file: LogFile, *lines: str) -> None:
    """Write ``lines``, and wait for each."""
    for one in lines:
        file.write(one)
        assert file.drain(LIMIT_S)


def test_it_is_private_and_appended_to(tmp_path: Path) -> None:
    """A new one is for its owner alone; a second run adds to it and leaves its mode."""
    path = tmp_path / "log"
    log(LogFile(str(path)), line(1))
    private = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o640)
    log(LogFile(str(path)), line(2))

    assert (private, stat.S_IMODE(path.stat().st_mode), numbers(path)) == (0o600, 0o640, [1, 2])


@pytest.mark.parametrize("rotation", ["moved", "moved and made", "deleted", "emptied", "link"])
def test_it_survives_rotation(tmp_path: Path, rotation: str) -> None:
    """After each kind of rotation the next line is in the file of that name; a moved one keeps what it had."""
    path, old = tmp_path / "log", tmp_path / "old"
    if rotation == "link":
        (tmp_path / "first").touch()
        path.symlink_to("first")
    file = LogFile(str(path))
    log(file, line(1))
    match rotation:
        case "moved":
            path.rename(old)
        case "moved and made":
            path.rename(old)
            path.touch()
        case "deleted":
            path.unlink()
        case "emptied":
            os.truncate(path, 0)
        case "link":
            path.unlink()
            path.symlink_to("second")
            old = tmp_path / "first"

    log(file, line(2), line(3))

    assert numbers(path) == [2, 3]
    assert not old.exists() or numbers(old) == [1]
    assert file.losses() == (0, "")


@pytest.fixture
def full_at() -> Iterator[int]:
    """No file grows beyond this size, as on a full disk."""
    size = 200
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    yield size
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_loses_lines_and_counts_them(tmp_path: Path, full_at: int) -> None:
    """What does not fit is counted once; after that, lines are whole again, whichever was cut off."""
    path = tmp_path / "log"
    file = LogFile(str(path))

    log(file, line(1), line(2, full_at), line(3))
    cut_off = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    log(file, line(4))

    lines = path.read_text().splitlines()
    assert cut_off == full_at
    assert [json.loads(lines[0])["number"], json.loads(lines[2])["number"], len(lines)] == [1, 4, 3]
    assert file.losses() == (2, "File too large")
    assert file.losses() == (0, "")


def test_what_a_full_disk_lost_is_said_once_at_the_end(
    tmp_path: Path, full_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line on stderr says how many lines the file lacks, and why."""
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    unattended = Unattended(lambda: None)
    unattended.log_file = LogFile(str(tmp_path / "log"))
    Logs("info", "json", run_id="r", file=unattended.log_file)

    for _ in range(3):
        log_event.info("wait.began", what="x" * full_at)
    assert unattended.close_log()
    structlog.reset_defaults()

    event = json.loads(stderr.getvalue().splitlines()[-1])
    assert stderr.getvalue().count("log.dropped") == 1
    assert (event["messages"], event["why"], event["path"]) == (3, "File too large", str(tmp_path / "log"))


def test_a_line_that_an_earlier_run_left_cut_off_stays_alone(tmp_path: Path) -> None:
    """A run that appends to a log that ends within a line begins a new one."""
    path = tmp_path / "log"
    path.write_text(line(1) + line(2)[:20])
    log(LogFile(str(path)), line(3))

    lines = path.read_text().splitlines()
    assert (len(lines), json.loads(lines[-1])["number"]) == (3, 3)


def test_a_file_that_is_gone_for_good_fails_nobody(tmp_path: Path) -> None:
    """When its directory is deleted, lines are lost and counted; when it is back, the log goes on."""
    path = tmp_path / "logs" / "log"
    path.parent.mkdir()
    file = LogFile(str(path))
    log(file, line(1))
    path.unlink()
    path.parent.rmdir()
    log(file, line(2))
    path.parent.mkdir()
    log(file, line(3))

    assert numbers(path) == [3]
    assert file.losses() == (1, "No such file or directory")


class HangingFile(LogFile):
    """A log on a disk that takes a line only when ``goes_on`` is set."""

    goes_on = threading.Event()

    def _write(self, lines: memoryview) -> int:
        self.goes_on.wait(LIMIT_S)
        return super()._write(lines)


def test_a_disk_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    """Writing does not wait, the end waits only so long, and what exceeds the queue is dropped and counted."""
    path = tmp_path / "log"
    file = HangingFile(str(path))
    for number in range(30):
        file.write(line(number, LIMIT // 20))
    finished = file.finish(0.05)
    lost, why = file.losses()
    file.goes_on.set()

    assert file.finish(LIMIT_S)
    assert (finished, why) == (False, "the disk was too slow")
    assert lost + len(numbers(path)) == 30
    assert lost >= 10


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (".", UsageError),
        ("fifo", UsageError),
        ("ledger.db", UsageError),
        ("manifest.jsonl", UsageError),
        ("no/log", UnwritableError),
        ("manifest.jsonl/log", UnwritableError),
    ],
)
def test_what_cannot_be_the_log_is_refused(tmp_path: Path, name: str, error: type[ProvisionerError]) -> None:
    """A directory, a pipe, and a file with something else in it are refused, and stay as they are."""
    (tmp_path / "ledger.db").write_bytes(b"SQLite format 3\0")
    (tmp_path / "manifest.jsonl").write_bytes(manifest_of("a"))
    os.mkfifo(tmp_path / "fifo")
    before = (tmp_path / "manifest.jsonl").read_bytes()

    with pytest.raises(error, match=name.replace(".", r"\.")):
        LogFile(str(tmp_path / name))

    assert (tmp_path / "manifest.jsonl").read_bytes() == before
