"""The options that select entries, through the real process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.ledgers import FIRST, HOSTILE, SECOND, make, names
from tests.e2e.process import provisioner

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a ledger that all tests here read."""
    folder = tmp_path_factory.mktemp("ledger")
    make(folder / "ledger.db")
    (folder / "provisioner.toml").write_text("[targets.west]\ntags.side = 'left'\n[targets.north]\n")
    return folder


@pytest.mark.parametrize(
    ("options", "selected"),
    [
        ("", ["found", "moved", "moved two", "plain", "taken", HOSTILE, "plain"]),
        ("--target west", [HOSTILE, "plain"]),
        ("--target !e*", [HOSTILE, "plain"]),
        ("--target tag:side=left", [HOSTILE, "plain"]),
        ("--name mov* --name found", ["found", "moved", "moved two"]),
        ("--name MOV*", []),
        ("--state drifted", ["taken"]),
        ("--state parked --state ambiguous", ["full", "lost"]),
        (f"--run {SECOND}", ["moved", "taken"]),
        ("--run 20260921T15", ["moved", "taken"]),
        ("--run 19990101T000000000-ffffff", []),
        ("--run last", []),
        ("--since 2026-09-21T15:00Z", ["moved", "taken"]),
        ("--since 2026-09-21T15:00", ["moved", "taken"]),
        ("--since 2026-09-21T17:00+02:00", ["moved", "taken"]),
        ("--since 1s", []),
        ("--since 36500d --code recovered", ["found"]),
    ],
)
def test_what_is_selected(directory: Path, options: str, selected: list[str]) -> None:
    """Each option alone and several together, by target and name."""
    done = provisioner("export", *options.split(), cwd=directory)

    assert (done.returncode, names(done.stdout)) == (0, selected), done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--run", "2026"), f"several runs begin with '2026', such as 20260921T161320125-cccccc and {SECOND}. Type"),
        (("--run", "nope"), "the ledger has no run 'nope'. `provisioner runs` lists those that it has"),
        (("--since", "yesterday"), "'yesterday' is neither a duration such as 2h nor a time such as 2026-11-23T20:19Z"),
        (("--state", "gone"), "'gone' is not one of 'planned', 'sent', "),
        (("--state", "superseded"), "'superseded' is not one of"),
        (("--target", "eas"), "the ledger has no entries of a target 'eas'. Did you mean east?"),
        (("--target", "north"), "the ledger has no entries of a target 'north'. The ledger has east, west"),
        (("--target", "tag:side=right"), "of a target with 'tag:side=right'. Did you mean tag:side=left?"),
    ],
)
def test_what_cannot_be_selected(directory: Path, options: tuple[str, ...], message: str) -> None:
    """What names nothing, or not one thing, is wrong usage, and says what could have been meant."""
    done = provisioner("export", *options, cwd=directory)

    assert (done.returncode, done.stdout, message in done.stderr) == (2, "", True), done.stderr


def test_globs_in_the_environment_stand_on_lines_of_their_own(directory: Path) -> None:
    """Names have blanks, so that in the variable a blank belongs to the glob."""
    done = provisioner("export", cwd=directory, PROVISIONER_EXPORT_NAME="moved t*\nfou*", PROVISIONER_EXPORT_RUN=FIRST)

    assert names(done.stdout) == ["found", "moved two"], done.stderr


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("list", "--state", "parked"), "full"),
        (("show", "plain"), "target    east"),
        (("status",), "target  east:"),
        (("forget", "--name", "full"), "1 entry would be removed from the ledger"),
    ],
)
def test_every_command_on_a_ledger_takes_patterns(directory: Path, command: tuple[str, ...], expected: str) -> None:
    """A glob that matches one of the two targets leaves the other out."""
    done = provisioner(*command, "--target", "ea*", cwd=directory)

    assert expected in done.stdout + done.stderr
    assert "west" not in done.stdout
