"""The make targets that people are told to use."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
HELP = set(re.findall(r"^([a-z][a-z-]*):.*## \S", MAKEFILE, re.MULTILINE))
COMMAND = re.compile(r"(?:^ {4}|`|^\$ )(?:\$ )?make ([a-z][a-z-]*)", re.MULTILINE)


def test_every_target_that_a_page_names_exists() -> None:
    """A make command in the documentation names a target of the Makefile."""
    named = {(page.name, target) for page in PAGES for target in COMMAND.findall(page.read_text())}

    assert {target for _, target in named} >= {"demo", "test"}
    assert {(page, target) for page, target in named if target not in TARGETS} == set()


def test_every_target_has_a_line_of_help() -> None:
    """`make help` lists every target."""
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)

    assert phony is not None
    assert set(phony.group(1).split()) == TARGETS == HELP


def test_contributing_lists_every_target() -> None:
    """CONTRIBUTING.md shows every target but help itself."""
    assert set(COMMAND.findall((ROOT / "CONTRIBUTING.md").read_text())) >= TARGETS - {"help"}


def test_the_gate_runs_targets() -> None:
    """Every step of the gate is a target of the Makefile, so that a contributor can run it alone."""
    steps = re.findall(r"^ *step (\S+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)

    assert {"check", "test", "package", "test-lowest", "test-newest"} <= set(steps) <= TARGETS
