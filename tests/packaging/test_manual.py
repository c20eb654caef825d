"""The man pages: one for each command, and every formatter can read them."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.test_options import commands
from tests.missing import missing

ROOT = Path(__file__).parents[2]
FORMATTERS = {"groff": ["-man", "-Tutf8", "-ww", "-z"], "mandoc": ["-T", "lint", "-W", "warning"]}
"""Each prints only what it does not like."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages, by name."""
    write = runpy.run_path(str(ROOT / "docs" / "manual.py"))["write"]
    return {path.stem: path for path in write(tmp_path_factory.mktemp("man"))}


def test_every_command_has_a_page(pages: dict[str, Path]) -> None:
    """One for each, and one for the program with the exit codes."""
    assert set(pages) == {"provisioner", *(f"provisioner-{name.replace(' ', '-')}" for name in commands())}
    assert re.search(r"^\.TP\n\\fB75\\fR\n", pages["provisioner"].read_text(), re.MULTILINE)


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_every_page_is_read(pages: dict[str, Path], formatter: str) -> None:
    """No formatter has a warning about one."""
    if shutil.which(formatter) is None:
        missing(f"man pages in {formatter}, which is not installed here")
    command = [formatter, *FORMATTERS[formatter], *map(str, pages.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_page_has_what_the_help_has(pages: dict[str, Path]) -> None:
    """Options with their variables, what the command does, and examples."""
    text = pages["provisioner-apply"].read_text()

    assert r"\fB\-\-max\-rate" in text
    assert r"\%PROVISIONER_APPLY_LEDGER, \%PROVISIONER_LEDGER." in text
    assert r"provisioner apply definitions.jsonl \-\-local" in text
    assert re.search(r"^\\fB\\-h, \\-\\-help", text, re.MULTILINE)
