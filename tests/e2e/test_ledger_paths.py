"""What ``--ledger`` may be, through the real process."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.definition_lines import manifest_of
from tests.e2e.process import provisioner
from tests.postgres import server_url

if TYPE_CHECKING:
    from pathlib import Path

WORKING = [["apply", "m.jsonl", "--local"], ["reconcile", "--local"], ["verify", "--local"], ["rebuild", "--local"]]
READING = [["status"], ["export"], ["ledger", "rename-target", "a", "b"]]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory of its own inside one that nothing may be written to, with a manifest."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "m.jsonl").write_bytes(manifest_of("a"))
    return inside


def names_in(directory: Path) -> set[str]:
    """The names of the files in ``directory`` and above it."""
    return {path.name for path in (*directory.iterdir(), *directory.parent.iterdir())} - {"inside", "m.jsonl"}


@pytest.mark.parametrize(("ledger", "what"), [("", "--ledger': it is empty"), ("../", "the ledger's path")])
@pytest.mark.parametrize("arguments", [*WORKING, *READING], ids=lambda arguments: arguments[0])
def test_no_file_is_wrong_usage(directory: Path, arguments: list[str], ledger: str, what: str) -> None:
    """An empty path or a directory ends with 2 before any file is made, in every command."""
    done = provisioner(*arguments, "--ledger", ledger, cwd=directory)

    assert (done.returncode, what in done.stderr + done.stdout) == (2, True), done.stderr
    assert names_in(directory) == set()


@pytest.mark.parametrize("arguments", [*WORKING, *READING], ids=lambda arguments: arguments[0])
def test_a_name_that_is_too_long(directory: Path, arguments: list[str]) -> None:
    """A path that cannot even be looked up ends with 74 and the reason in every command; no file is made."""
    done = provisioner(*arguments, "--ledger", "l" * 300, cwd=directory)

    assert (done.returncode, "File name too long" in done.stderr + done.stdout) == (74, True), done.stderr
    assert names_in(directory) == set()


@pytest.mark.parametrize("output", ["text", "json"])
@pytest.mark.parametrize("arguments", [*WORKING, *READING], ids=lambda arguments: arguments[0])
def test_the_password_of_a_database_is_not_printed(directory: Path, arguments: list[str], output: str) -> None:
    """A database that refuses or does not answer ends with 74 in every command, without a file and without a password.

    Those that work for a minute wait for one that does not answer.
    """
    form = [] if arguments == ["export"] else ["--output", output]
    url, says = "postgresql://me:secret@127.0.0.1:1/db?password=hush", "me@127.0.0.1:1/db: the database does not answer"
    if arguments in WORKING:
        url, says = (
            f"{server_url()}&password=hush".replace("postgres:@", "me:secret@"),
            "the database refuses the login",
        )

    done = provisioner(*arguments, *form, "--ledger", url, cwd=directory)

    assert done.returncode == 74, done.stderr
    assert says in done.stderr + done.stdout
    assert not {"secret", "hush"} & set(re.findall(r"\w+", done.stderr + done.stdout))
    assert names_in(directory) == set()


def test_a_start_that_fails_leaves_no_file(directory: Path) -> None:
    """Where the ledger is somebody else's file, neither lock nor the embedded endpoint's state stay behind."""
    with closing(sqlite3.connect(directory / "foreign.db")) as connection:
        connection.execute("CREATE TABLE entries (target, name)")

    codes = [
        provisioner(*arguments, "--ledger", ledger, cwd=directory).returncode
        for arguments in WORKING
        for ledger in ("foreign.db", "no/such/l.db")
    ]

    assert set(codes) <= {2, 74}
    assert names_in(directory) == {"foreign.db"}


@pytest.mark.parametrize(
    ("name", "output"),
    [
        (b"\xff\xfe.db", "json"),
        (b"a\nb.db", "text"),
        pytest.param(b"\xff\xfe.db", "text", marks=pytest.mark.torture),
        pytest.param(b" l d ", "json", marks=pytest.mark.torture),
        pytest.param("ü☂.db".encode(), "json", marks=pytest.mark.torture),
        pytest.param(b"100% #1 ?mode=ro&x.db", "json", marks=pytest.mark.torture),
    ],
)
def test_any_file_name_will_do(directory: Path, name: bytes, output: str) -> None:
    """Odd bytes, blanks, newlines and the characters of URLs: every command finds the ledger, and stdout is UTF-8."""
    ledger = os.fsdecode(name)
    for arguments in (WORKING[0], ["status"], ["verify", "--local"], ["ledger", "rename-target", "default", "prod"]):
        done = provisioner(*arguments, "--ledger", f"./{ledger}", "--output", output, cwd=directory)

        assert done.returncode == 0, done.stderr
        assert "internal error" not in done.stderr
        if output == "json":
            assert json.loads(done.stdout)["ledger"]
    done = provisioner("export", "--ledger", f"./{ledger}", cwd=directory)

    assert [json.loads(line)["target"] for line in done.stdout.splitlines()] == ["prod"]
    assert os.fsencode(ledger) in {os.fsencode(path.name) for path in directory.iterdir()}
