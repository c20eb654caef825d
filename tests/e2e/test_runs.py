"""``provisioner runs``, through the real process."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.e2e.ledgers import DIED, FIRST, SECOND, make
from tests.e2e.process import provisioner
from tests.ledger.processes import HOLD, line_of, running

if TYPE_CHECKING:
    from pathlib import Path

TABLE = f"""\
RUN                        STARTED                   COMMAND  TIME    EXIT  WHAT IT DID
{DIED}  2026-09-21T16:13:20.125Z  verify           died
{SECOND}  2026-09-21T15:13:20.125Z  apply    41.5 s  3     1 replaced, 1 failed, 1 drifted, 5 unchanged
{FIRST}  2026-09-21T14:13:20.125Z  apply    41.5 s  3     8 created, 5 failed, 1 parked, 1 ambiguous
"""
ONE = f"""\
run       {FIRST}: apply, began 2026-09-21T14:13:20.125Z, ended 2026-09-21T14:14:01.625Z, 41.5 s
ledger    DIRECTORY/ledger.db
manifest  15 lines, 15 valid, 0 invalid
outcomes  8 created, 5 failed, 1 parked, 1 ambiguous
calls     15 create (1 throttled), 2 list, 0 get
time      41.5 s, 0.3 creates/s
exit      3: some definitions failed or drifted: look at them (`provisioner explain 3`)
problems
  m.jsonl:1: bad 0: ValidationException: role 0 is wrong  (east)
  m.jsonl:2: bad 1: ValidationException: role 1 is wrong  (east)
  m.jsonl:3: bad 2: ValidationException: role 2 is wrong  (east)
  m.jsonl:4: bad 3: ValidationException: role 3 is wrong  (east)
  m.jsonl:5: bad 4: ValidationException: role 4 is wrong  (east)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a ledger that all tests here read."""
    folder = tmp_path_factory.mktemp("ledger")
    make(folder / "ledger.db")
    return folder


def test_past_runs_are_a_table(directory: Path) -> None:
    """The latest first: start, command, duration, exit code and what it did; one without an end has died."""
    done = provisioner("runs", cwd=directory)
    latest = provisioner("runs", "--limit", "1", cwd=directory)

    assert (done.returncode, done.stdout, done.stderr) == (0, TABLE, "")
    assert latest.stdout.count("\n") == 2


def test_past_runs_as_json(directory: Path) -> None:
    """One object, with the same about each run."""
    done = provisioner("runs", "--output", "json", cwd=directory)

    found = json.loads(done.stdout)
    assert (found["exit_code"], [run["status"] for run in found["runs"]]) == (0, ["died", "ended", "ended"])
    assert found["runs"][2] == {
        "run_id": FIRST,
        "command": "apply",
        "status": "ended",
        "started_at": "2026-09-21T14:13:20.125Z",
        "ended_at": "2026-09-21T14:14:01.625Z",
        "elapsed_s": 41.5,
        "exit_code": 3,
        "outcomes": {"created": 8, "failed": 5, "parked": 1, "ambiguous": 1},
    }


def test_only_the_latest_run_can_be_under_way(directory: Path) -> None:
    """While the ledger is held, a run without an end is under way, unless a later one has begun."""
    with running(HOLD, directory / "ledger.db") as holder:
        assert line_of(holder) == "held"
        held = json.loads(provisioner("runs", "--output", "json", cwd=directory).stdout)
        one = provisioner("runs", "last", cwd=directory)
        with closing(sqlite3.connect(directory / "ledger.db")) as connection:
            with connection:
                connection.execute("UPDATE runs SET ended_at = NULL, exit_code = NULL WHERE run_id = ?", (SECOND,))
            two = json.loads(provisioner("runs", "--output", "json", cwd=directory).stdout)
            with connection:
                connection.execute(
                    "UPDATE runs SET ended_at = started_at + 41.5, exit_code = 3 WHERE run_id = ?", (SECOND,)
                )
        holder.communicate("end\n")

    assert [run["status"] for run in held["runs"]] == ["running", "ended", "ended"]
    assert one.stdout == f"run       {DIED}: verify, began 2026-09-21T16:13:20.125Z, still running\n"
    assert [run["status"] for run in two["runs"]] == ["running", "died", "ended"]


@pytest.mark.parametrize("run", [FIRST, "20260921T14"])
def test_one_run_with_all_of_its_problems(directory: Path, run: str) -> None:
    """By its id or the beginning of it: the summary, and every problem that the ledger keeps."""
    done = provisioner("runs", run, cwd=directory)

    assert (done.returncode, done.stdout, done.stderr) == (0, ONE.replace("DIRECTORY", str(directory)), "")


def test_one_run_as_json(directory: Path) -> None:
    """One object: the run, its summary as it was printed, its problems, and the exit code of this command."""
    done = provisioner("runs", FIRST, "--output", "json", cwd=directory)
    last = json.loads(provisioner("runs", "last", "--output", "json", cwd=directory).stdout)

    found = json.loads(done.stdout)
    assert list(found) == ["run", "summary", "problems", "exit_code"]
    assert (found["run"]["run_id"], found["exit_code"], found["summary"]["exit_code"]) == (FIRST, 0, 3)
    assert [problem["line"] for problem in found["problems"]] == [1, 2, 3, 4, 5]
    assert (last["run"]["run_id"], last["summary"], last["problems"]) == (DIED, None, [])


def test_problems_that_are_no_longer_kept(tmp_path: Path) -> None:
    """Of an older run there are the problems in its summary, and how many there were."""
    make(tmp_path / "ledger.db")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute("DELETE FROM problems")

    done = provisioner("runs", FIRST, cwd=tmp_path)

    assert "problems  the first 0 of 5: the ledger keeps all of them for the last 20 runs only\n" in done.stdout


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("20260921", f"several runs begin with '20260921', such as {DIED} and {SECOND}. Type more of it, or `last`"),
        ("nope", "the ledger has no run 'nope'. `provisioner runs` lists those that it has"),
    ],
)
def test_a_run_that_is_not_one(directory: Path, run: str, message: str) -> None:
    """None and several are wrong usage."""
    done = provisioner("runs", run, cwd=directory)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"provisioner: {message}\n")


def test_a_real_run(tmp_path: Path) -> None:
    """What apply printed is what the ledger has of it, and a command that fails before it begins is no run."""
    (tmp_path / "m.jsonl").write_text('{"name": "a", "roleArn": "arn:aws:iam::123456789012:role/a"}\n')
    applied = provisioner("apply", "m.jsonl", "--local", "--output", "json", cwd=tmp_path)

    found = json.loads(provisioner("runs", "last", "--output", "json", cwd=tmp_path).stdout)
    text = provisioner("runs", cwd=tmp_path).stdout

    assert found["summary"] == json.loads(applied.stdout)
    assert text.splitlines()[1].endswith("0     1 created")
