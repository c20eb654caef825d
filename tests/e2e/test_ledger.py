"""``provisioner ledger``, through the real process."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.definition_lines import manifest_of
from tests.e2e.process import provisioner, start
from tests.ledger.processes import HOLD, line_of, running
from tests.postgres import fresh_ledger

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def registered(tmp_path: Path) -> Path:
    """A directory with a manifest of three definitions, registered by the target ``default``."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a0", "a1", "a2"))
    done = provisioner("apply", "m.jsonl", "--local", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


def exported(directory: Path) -> dict[tuple[str, str], str]:
    """ARN by target and name."""
    rows = map(json.loads, provisioner("export", cwd=directory).stdout.splitlines())
    return {(row["target"], row["name"]): row["arn"] for row in rows}


def test_a_renamed_target_finds_everything_unchanged(registered: Path) -> None:
    """After rename-target the entries have the new name, and apply under that name creates nothing."""
    before = exported(registered)
    (registered / "c.toml").write_text("[targets.prod]\n")

    done = provisioner("ledger", "rename-target", "default", "prod", cwd=registered)
    again = provisioner("apply", "m.jsonl", "-c", "c.toml", "--local", "--output", "json", cwd=registered)

    summary = json.loads(again.stdout)
    assert (done.returncode, done.stdout) == (0, "3 entries of default moved to prod, ledger ledger.db\n")
    assert exported(registered) == {("prod", name): arn for (_, name), arn in before.items()}
    assert (again.returncode, summary["outcomes"]["unchanged"], summary["calls"]["create"]) == (0, 3, 0)


def test_the_result_in_json(registered: Path) -> None:
    """With --output json stdout is one object; the same rename once more, as after a kill, says the same."""
    done = provisioner("ledger", "rename-target", "default", "prod", "--output", "json", cwd=registered)

    again = provisioner("ledger", "rename-target", "default", "prod", "--output", "json", cwd=registered)

    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert json.loads(done.stdout) == {
        "ledger": "ledger.db",
        "exit_code": 0,
        "old": "default",
        "new": "prod",
        "entries": 3,
    }


def test_a_ledger_that_was_moved_goes_on_in_its_new_place(registered: Path) -> None:
    """``copy`` says what it moved. A run at the old place ends with 74 and names the new one, where all is the same."""
    postgres = fresh_ledger()
    before = exported(registered)
    url = postgres.url.replace("postgres:@", "postgres:hush@")

    moved = provisioner("ledger", "copy", "ledger.db", url, cwd=registered)
    old = provisioner("apply", "m.jsonl", "--local", cwd=registered)
    again = provisioner("ledger", "copy", url, "back.db", "--output", "json", cwd=registered)
    (registered / "ledger.db.local").rename(registered / "back.db.local")
    new = provisioner(
        "apply", "m.jsonl", "--local", "--ledger", "back.db", "--summary-file", "summary.json", cwd=registered
    )

    assert (moved.returncode, moved.stdout.startswith("3 entries of ledger ")) == (0, True), moved.stderr
    assert (old.returncode, "the ledger has moved to postgresql://postgres@" in old.stdout) == (74, True)
    assert "hush" not in moved.stdout + old.stdout + again.stdout
    assert json.loads(again.stdout)["entries"] == 3
    assert new.returncode == 0, new.stdout + new.stderr
    assert json.loads((registered / "summary.json").read_bytes())["outcomes"]["unchanged"] == 3
    assert exported(registered) == before


def test_a_backup_is_a_ledger(registered: Path) -> None:
    """``backup`` makes a new file, which commands read like any other, and replaces none."""
    done = provisioner("ledger", "backup", "backup.db", cwd=registered)
    again = provisioner("ledger", "backup", "backup.db", "--output", "json", cwd=registered)
    status = [
        json.loads(provisioner("status", "--ledger", name, "--output", "json", cwd=registered).stdout)
        for name in ("ledger.db", "backup.db")
    ]

    assert (done.returncode, done.stdout) == (0, "ledger ledger.db backed up to backup.db\n"), done.stderr
    assert (again.returncode, "there is a file here already" in again.stdout) == (2, True)
    assert status[0]["ledger_id"] == status[1]["ledger_id"]


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("nobody", "prod", 2, "the ledger has no target 'nobody'. It has default"),
        ("nobody", "default", 2, "the ledger has no target 'nobody'. It has default"),
        ("default", "default", 2, "already has entries of a target 'default'"),
        ("default", "a b", 2, "a target cannot be called 'a b'"),
    ],
)
def test_a_rename_that_cannot_be(registered: Path, old: str, new: str, code: int, message: str) -> None:
    """What is refused changes nothing and says why; in JSON the refusal is one object too."""
    before = exported(registered)

    done = provisioner("ledger", "rename-target", old, new, "--output", "json", cwd=registered)

    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert json.loads(done.stdout)["exit_code"] == code
    assert exported(registered) == before


def test_no_ledger_is_made_for_a_rename(tmp_path: Path) -> None:
    """Without a ledger the command ends with 74 and leaves no file."""
    done = provisioner("ledger", "rename-target", "default", "prod", cwd=tmp_path)

    assert (done.returncode, "there is no ledger here" in done.stderr) == (74, True)
    assert list(tmp_path.iterdir()) == []


def test_a_rename_waits_for_the_run_that_holds_the_ledger(registered: Path) -> None:
    """While a run holds the ledger the command ends with 6, or waits with --lock-timeout until the run has ended."""
    with running(HOLD, registered / "ledger.db") as holder:
        assert line_of(holder) == "held"
        refused = provisioner("ledger", "rename-target", "default", "prod", cwd=registered)
        waiting = start("ledger", "rename-target", "default", "prod", "--lock-timeout", "30s", cwd=registered)
        holder.communicate("end\n")
    _, errors = waiting.communicate(timeout=30)

    assert (refused.returncode, waiting.returncode) == (6, 0), errors
    assert {target for target, _ in exported(registered)} == {"prod"}


def test_check_reads_all_of_a_sound_ledger(registered: Path) -> None:
    """Also while a run holds the ledger; it says what was looked at."""
    with running(HOLD, registered / "ledger.db") as holder:
        line_of(holder)
        found = provisioner("ledger", "check", cwd=registered)
    quiet = provisioner("ledger", "check", "--quiet", cwd=registered)

    assert (found.returncode, found.stdout.splitlines()[3:]) == (
        0,
        ["entries   3 entries and their older versions: consistent"],
    )
    assert (quiet.returncode, quiet.stdout) == (0, "")


def test_check_finds_what_cannot_be(registered: Path) -> None:
    """Entries that say what no run can have recorded are named, with what to do; the exit code is 74."""
    with contextlib.closing(sqlite3.connect(registered / "ledger.db")) as connection, connection:
        connection.execute("UPDATE entries SET arn = '' WHERE name = 'a1'")

    text = provisioner("ledger", "check", cwd=registered)
    found = provisioner("ledger", "check", "--output", "json", cwd=registered)

    assert (text.returncode, "default/a1: it is created and has no ARN" in text.stdout) == (74, True), text.stdout
    assert "provisioner rebuild" in text.stdout.splitlines()[-1]
    result = json.loads(found.stdout)
    assert (result["exit_code"], result["entries"], result["findings_total"]) == (74, 3, 1)
    assert result["findings"] == [{"target": "default", "name": "a1", "message": "it is created and has no ARN"}]


def test_check_finds_damage(registered: Path) -> None:
    """An index that lacks a row of its table; without a ledger there is nothing to check."""
    path = registered / "ledger.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = sql || ' AND 0' WHERE name = 'entries_by_arn'")

    damaged = provisioner("ledger", "check", cwd=registered)
    none = provisioner("ledger", "check", "--ledger", "none.db", cwd=registered)

    assert (damaged.returncode, "the ledger is damaged" in damaged.stderr) == (74, True), damaged.stderr
    assert (none.returncode, "there is no ledger here" in none.stderr) == (74, True)
