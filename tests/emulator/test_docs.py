"""docs/emulator.md is complete, and its examples work; so do those of docs/moto.md."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import click
import pytest
from moto.core.config import default_user_config

from provisioner.cli.emulate import command
from provisioner.emulator import FAULTS, Behaviour, running

pytest_plugins = ["pytester"]

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "emulator.md").read_text()
SHELL = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
PROGRAM = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("name", [*Behaviour.__struct_fields__, *FAULTS])
def test_every_switch_and_fault_is_documented(name: str) -> None:
    """The page's tables list every switch and every fault."""
    cells = [cell for line in TEXT.splitlines() if line.startswith("| `") for cell in line.split("|")[1:2]]

    assert any(f"`{name}`" in cell for cell in cells)


def test_documented_names_exist() -> None:
    """The tables list nothing that does not exist."""
    cells = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")]
    names = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}

    assert names == {*Behaviour.__struct_fields__, *FAULTS}


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("provisioner")])
def test_command_lines_are_accepted(line: str) -> None:
    """The command line takes every flag and value that the page shows."""
    _, name, *arguments = shlex.split(line)

    assert name == command.name
    assert command.make_context(name, arguments).params


@pytest.mark.parametrize(
    "arguments",
    [["--error-status", "99"], ["--burst", "0"], ["--rate", "-1"], ["--tagging-ghosts", "1.5"], ["--names", "odd"]],
)
def test_values_out_of_range_name_their_option(arguments: list[str]) -> None:
    """The command line refuses a value that a switch cannot have, and names the option and its range."""
    with pytest.raises(click.BadParameter) as caught:
        command.make_context("emulate", [*arguments])

    message = caught.value.format_message()
    assert arguments[0] in message
    assert "range" in message or "one of" in message


def test_requests_are_answered() -> None:
    """Each request that the page shows for curl is answered 200 by a running endpoint."""
    lines = [shlex.split(line) for line in SHELL if line.startswith("curl")]
    assert len(lines) == 3
    with running() as emulator:
        for line in lines:
            method = line[line.index("-X") + 1] if "-X" in line else "GET"
            body = line[line.index("-d") + 1].encode() if "-d" in line else None
            request = Request(line[-1].replace("$URL", emulator.url), data=body, method=method)  # noqa: S310 - loopback
            with urlopen(request) as reply:  # noqa: S310 - the same
                assert reply.status == 200
        assert emulator.behaviour == Behaviour(rate=50.0, lost_reply=0.05)


def test_python_runs() -> None:
    """The page's programs run unchanged."""
    names: dict[str, Any] = {}
    for program in PROGRAM.findall(TEXT):
        exec(program, names)  # noqa: S102 - our own page
    asyncio.run(names["story"]())


def test_the_tests_with_moto_pass(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program and the tests of docs/moto.md, in the files that they name, pass as they stand there."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setitem(default_user_config["core"], "reset_boto3_session", value=False)
    for program in PROGRAM.findall((DOCS / "moto.md").read_text()):
        name = re.match(r'"""(\w+)\.py"""', program)
        assert name
        pytester.makepyfile(**{name.group(1): program})

    pytester.runpytest_inprocess("-p", "no:asyncio", "-p", "no:cacheprovider").assert_outcomes(passed=3)
