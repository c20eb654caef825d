"""Logs on a terminal, in the journal, in a file."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING

import pytest
import structlog

from provisioner.cli import logs
from provisioner.cli.log_file import LogFile
from provisioner.cli.output import talk
from provisioner.logger import log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Terminal(io.StringIO):
    """What a person reads."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.fixture
def _configured() -> Iterator[None]:
    """Afterwards logs go where they went before."""
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("_configured")
@pytest.mark.parametrize(
    ("variables", "colored", "infos"),
    [
        ({"TERM": "xterm", "NO_COLOR": ""}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb", "NO_COLOR": ""}, False, True),
    ],
)
def test_colors_are_for_those_who_want_them(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    colored: bool,  # noqa: FBT001  a table
    infos: bool,  # noqa: FBT001  a table
) -> None:
    """NO_COLOR and a dumb terminal get none; a dumb one, which can show no progress bar, gets its log lines instead."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    logs.Logs("auto", "auto")
    log.warning("target.halted")
    log.info("run.progress")

    assert ("\x1b[" in terminal.getvalue(), "run.progress" in terminal.getvalue()) == (colored, infos)


@pytest.mark.usefixtures("_configured")
@pytest.mark.parametrize(("level", "logged"), [("auto", ["outage.began"]), ("warning", ["run.failed", "outage.began"])])
def test_what_the_result_says_is_not_logged_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, level: str, logged: list[str]
) -> None:
    """On one terminal with the result, problems are said once; the log file, and who asks for a level, get them all."""
    terminal, unattended = Terminal(), LogFile(str(tmp_path / "log"))
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")

    logs.Logs(level, "auto", with_result=True, file=unattended)
    log.error("run.failed", why="x")
    log.warning("event.repeated", of="definition.reported", count=3)
    log.warning("outage.began", why="x")
    assert unattended.finish(1.0)

    in_file = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert [event for event in ("run.failed", "outage.began") if event in terminal.getvalue()] == logged
    assert ("event.repeated" in terminal.getvalue()) == (level != "auto")
    assert in_file == ["run.failed", "event.repeated", "outage.began"]


def written(
    monkeypatch: pytest.MonkeyPatch, path: Path, *, journal: str = "", level: str = "debug", form: str = "json"
) -> list[str]:
    """The lines that two events leave on a stderr that is a file, which may pass for the journal."""
    with path.open("w+") as stderr:
        status = os.fstat(stderr.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", journal.format(dev=status.st_dev, ino=status.st_ino))
        monkeypatch.setattr(sys, "stderr", stderr)
        logs.Logs(level, form, run_id="r")
        log.warning("outage.began", why="x", target="here", operation=None)
        log.debug("attempt.ended", name="red\x9b31m\ttab", latency_s=0.5, status=200)
        log.error("run.failed", why="x" * 3000)
        talk("provisioner: no", "error")
    return path.read_text().splitlines()


@pytest.mark.usefixtures("_configured")
@pytest.mark.parametrize(
    ("journal", "priorities"),
    [("{dev}:{ino}", ["<4>", "<7>", "<3>", "<3>"]), ("{dev}:1", [""] * 4), ("", [""] * 4)],
)
@pytest.mark.parametrize("form", ["json", "console"])
def test_the_journal_gets_priorities(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, journal: str, priorities: list[str], form: str
) -> None:
    """Where stderr is connected to the journal, each line begins with its priority, and nowhere else."""
    lines = written(monkeypatch, tmp_path / "err", journal=journal, form=form)

    assert [line[:3] if line.startswith("<") else "" for line in lines] == priorities


@pytest.mark.usefixtures("_configured")
def test_a_line_is_a_json_object_with_the_common_fields_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run id and target come first, None is left out, numbers are numbers, names are exact, texts are bounded."""
    outage, attempt, failed = map(json.loads, written(monkeypatch, tmp_path / "err")[:3])

    assert list(outage) == ["timestamp", "level", "event", "run_id", "target", "why"]
    assert (attempt["run_id"], attempt["latency_s"], attempt["status"]) == ("r", 0.5, 200)
    assert attempt["name"] == "red\x9b31m\ttab"
    assert len(failed["why"]) == 2000
    assert "\x9b" not in (tmp_path / "err").read_text()


@pytest.mark.usefixtures("_configured")
@pytest.mark.parametrize(("level", "lines"), [("info", ["x", 999]), ("debug", ["x"] * 1_000)])
def test_repeated_problems_are_summed_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, level: str, lines: list[object]
) -> None:
    """The same warning a thousand times is one line and a count on stderr and in the file, unless all is logged."""
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    file = LogFile(str(tmp_path / "log"))
    configured = logs.Logs(level, "json", file=file)

    for number in range(1_000):
        log.warning("definition.reported", code="invalid", message="x", line=number)
    configured.finish()
    configured.finish()
    file.finish(10.0)

    found = [json.loads(line) for line in terminal.getvalue().splitlines()]
    assert [one.get("message") or one["count"] for one in found] == lines
    assert (level == "debug") or (found[1]["of"], found[1]["code"]) == ("definition.reported", "invalid")
    assert [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()][:2] == found[:2]


@pytest.mark.usefixtures("_configured")
def test_a_file_has_info_where_a_terminal_has_warnings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a terminal the level is warning, since the bar shows the rest; the file has what a bar would show."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    file = LogFile(str(tmp_path / "log"))
    logs.Logs("auto", "auto", run_id="r", file=file)

    log.info("wait.began", what="x")
    log.warning("run.stopping", reason="SIGTERM")
    file.finish(10.0)

    assert [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()] == [
        "wait.began",
        "run.stopping",
    ]
    assert ("wait.began" in terminal.getvalue(), "run_id" in terminal.getvalue()) == (False, False)
    assert "run.stopping" in terminal.getvalue()
