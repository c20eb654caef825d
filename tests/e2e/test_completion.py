"""``provisioner completion`` in the shells themselves: what Tab suggests, and that it never gets in the way."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.cli.completion import SHELLS, VARIABLE
from tests.definition_lines import manifest_of
from tests.e2e.process import environment, executable, provisioner
from tests.missing import missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_S = 30
CONFIGURATION = "[targets.prod]\nregion = 'us-east-1'\ntags.env = 'live'\n[targets.prelive]\nregion = 'us-west-2'\n"
NAMES = ("lookalike 1", "it's a,b*$c\\d", "plain", "r\u00e9sum\u00e9:x")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two targets, and a ledger with names that shells find hard."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "m.jsonl").write_bytes(manifest_of(*NAMES))
    (folder / "provisioner.toml").write_text(CONFIGURATION)
    done = provisioner("apply", "m.jsonl", "--local", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def surroundings(folder: Path) -> dict[str, str]:
    """The environment of a shell."""
    found = environment(HOME=str(folder), TERM="xterm", LC_ALL="C.UTF-8")
    return {**found, "PATH": f"{executable().parent}:{found['PATH']}"}


def suggested(folder: Path, line: str, **more: str) -> list[str]:
    """What the program answers to a shell that asks it to complete the last word of ``line``; bash's form."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), VARIABLE: "bash_complete"}
    done = provisioner(cwd=folder, **{**words, **more})  # type: ignore[arg-type]
    assert (done.returncode, done.stderr) == (0, "")
    return [value for value in done.stdout.splitlines() if value]


class Terminal:
    """A shell on a terminal.

    Args:
        folder: where it starts.
        command: of the shell.
    """

    def __init__(self, folder: Path, *command: str) -> None:
        self._ours, theirs = pty.openpty()
        self._seen = ""
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=surroundings(folder),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, text: str, until: str) -> None:
        """Type ``text``, and wait until the terminal shows what matches ``until``."""
        os.write(self._ours, text.encode())
        self._seen = ""
        deadline = time.monotonic() + LIMIT_S
        while not re.search(until, self._seen, re.DOTALL):
            assert time.monotonic() < deadline, f"{text!r} led to {self._seen!r}"
            if select.select([self._ours], [], [], 0.1)[0]:
                self._seen += os.read(self._ours, 4096).decode(errors="replace")

    def close(self) -> None:
        """End the shell."""
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


def shell(name: str) -> str:
    """The path of a shell.

    Raises:
        Skipped: this machine does not have it.
    """
    found = shutil.which(name)
    if found is None:
        missing(f"completion in {name}, which is not installed here")
    return found


@contextlib.contextmanager
def interactive(name: str, folder: Path) -> Iterator[Terminal]:
    """A shell that has read the script."""
    bare = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}
    prepare = {"bash": "bind 'set enable-bracketed-paste off'", "zsh": "autoload -Uz compinit; compinit -u -D"}
    terminal = Terminal(folder, shell(name), *bare[name])
    try:
        # The prompt shows that the shell edits lines by now.
        terminal.type(f"PS1='@@ '; {prepare[name]}; eval \"$(provisioner completion {name})\"\n", "[^']@@ (?!')")
        yield terminal
    finally:
        terminal.close()


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_tab_completes_in_the_shell(folder: Path, name: str) -> None:
    """Commands, options, targets, choices, files and names with blanks; the finished line runs."""
    with interactive(name, folder) as terminal:
        for typed, line in [
            ("provisioner expl", "explain"),
            ("provisioner apply --on-ch", "--on-change"),
            ("provisioner list --target prel", "prelive"),
            ("provisioner apply --on-change rep", "replace"),
            ("provisioner config sh", "show"),
            ("provisioner validate m.j", "m.jsonl"),
            ("provisioner apply --summary-file m.j", "m.jsonl"),
        ]:
            terminal.type(f"{typed}\t", line.removeprefix(typed.rpartition(" ")[2]))
            terminal.type("\x15", "")
        terminal.type("provisioner show look\t", r"alike\\ 1")
        terminal.type("\n", "arn:aws:cleanrooms-ml")


@pytest.mark.parametrize("given", NAMES)
@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_a_name_arrives_as_it_is(folder: Path, name: str, given: str) -> None:
    """Whatever characters a name has, the completed line names exactly it."""
    with interactive(name, folder) as terminal:
        terminal.type(f"provisioner show {given[:2]}\t --output json\n".replace("'", r"\'"), '"arn"')


def fish(folder: Path, line: str) -> list[str]:
    """What fish suggests for ``line``."""
    done = subprocess.run(
        [shell("fish"), "--no-config", "-c", 'provisioner completion fish | source; complete -C "$argv"', "--", line],
        cwd=folder,
        env=surroundings(folder),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    return [one.partition("\t")[0] for one in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("provisioner expl", ["explain"]),
        ("provisioner apply --on-ch", ["--on-change"]),
        ("provisioner list --target pro", ["prod"]),
        ("provisioner config sh", ["show"]),
        ("provisioner validate m.j", ["m.jsonl"]),
        ("provisioner show look", ["lookalike 1"]),
        ("provisioner show it", ["it's a,b*$c\\d"]),
    ],
)
def test_fish_suggests(folder: Path, line: str, expected: list[str]) -> None:
    """Commands, options, targets, files and names with blanks and commas."""
    assert fish(folder, line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("provisioner ledger rename-target pre", ["plain,prelive"]),
        ("provisioner runs ", ["plain,last"]),
        ("provisioner plan --target !pro", ["plain,\\!prod"]),
        ("provisioner plan -t ta", ["plain,tag:env=live"]),
        ("provisioner pause pre", ["plain,prelive"]),
        ("provisioner iam-policy ver", ["plain,verify", "plain,version"]),
        ("provisioner doctor --skip quo", ["plain,quota"]),
        ("provisioner explain other_l", ["plain,other_ledger"]),
        ("provisioner list --code other_l", ["plain,other_ledger"]),
        ("provisioner completion f", ["plain,fish"]),
        ("provisioner list --state amb", ["plain,ambiguous"]),
    ],
)
def test_every_kind_of_value_is_suggested(folder: Path, line: str, expected: list[str]) -> None:
    """Targets of the ledger, runs, commands, checks, codes, shells, states."""
    found = suggested(folder, line)

    assert found[: len(expected)] == expected
    assert len(found) == len(expected) + ("runs" in line)


def test_a_ledger_that_the_line_names_is_the_one(folder: Path, tmp_path: Path) -> None:
    """--ledger, its variable and --config decide where names come from, as in a run."""
    ledger = folder / "ledger.db"

    assert suggested(tmp_path, "provisioner show pl") == []
    assert suggested(tmp_path, f"provisioner show -l {ledger} pl") == ["plain,plain"]
    assert suggested(tmp_path, "provisioner show pl", PROVISIONER_LEDGER=str(ledger)) == ["plain,plain"]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "c.toml").write_text(f"[run]\nledger = {json.dumps(str(ledger))}\n")
    assert suggested(tmp_path, "provisioner show -c c.toml pl") == ["plain,plain"]


@pytest.mark.parametrize(
    "line",
    [
        "provisioner show x",
        "provisioner list --target x",
        "provisioner aply --x",
        "provisioner apply --keep many --targ",
        "provisioner apply 'm.js",
        "provisioner apply --summary-file s.json --quiet --ping-url http://example.com/secret --targ",
    ],
)
def test_nothing_is_said_and_nothing_done(tmp_path: Path, line: str) -> None:
    """A broken configuration, a file that is no ledger, a line that is wrong: no message, no file, exit code 0."""
    (tmp_path / "provisioner.toml").write_text("broken")
    (tmp_path / "ledger.db").write_text("no database")

    suggested(tmp_path, line)

    assert {path.name for path in tmp_path.iterdir()} == {"provisioner.toml", "ledger.db"}


def test_completion_of_a_command_loads_no_command(tmp_path: Path) -> None:
    """The list of commands is answered from the table, with the help of each for zsh and fish."""
    variables: dict[str, Any] = {"COMP_WORDS": "provisioner ", "COMP_CWORD": "1", VARIABLE: "zsh_complete"}

    done = provisioner(cwd=tmp_path, PYTHONVERBOSE="1", **variables)

    assert "Make AWS match the manifest" in done.stdout
    assert "import 'provisioner.cli.completion'" in done.stderr
    assert "import 'provisioner.cli.apply'" not in done.stderr


def test_an_unknown_shell_is_no_instruction(tmp_path: Path) -> None:
    """Another shell's script ends with 1; asked for on the command line, with 2."""
    unknown: dict[str, Any] = {VARIABLE: "tcsh_complete"}

    assert provisioner(cwd=tmp_path, **unknown).returncode == 1
    assert provisioner("completion", "tcsh", cwd=tmp_path).returncode == 2
    assert set(SHELLS) == {"bash", "zsh", "fish"}
