"""Logs on a terminal."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest
import structlog

from provisioner.cli import logs
from provisioner.logger import log

if TYPE_CHECKING:
    from collections.abc import Iterator


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

    logs.configure("auto", "auto")
    log.warning("target.halted")
    log.info("run.progress")

    assert ("\x1b[" in terminal.getvalue(), "run.progress" in terminal.getvalue()) == (colored, infos)
