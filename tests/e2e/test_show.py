"""``provisioner show``, through the real process."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.e2e.ledgers import FIRST, HOSTILE, SECOND, make, multiply
from tests.e2e.process import provisioner
from tests.ledger.contract.facts import arn

if TYPE_CHECKING:
    from pathlib import Path

AT, LATER = "2026-09-21T14:13:20.125Z", "2026-09-21T15:13:20.125Z"
MOVED = f"""\
name      moved
target    east (123456789012 us-east-1)
state     created
arn       {arn(8)}
digest    {"d" * 64}
tags      {"t" * 64} (digest)
attempt   a2, sent {AT}
request   req-moved
changed   {LATER} by run {SECOND}

earlier algorithms
  superseded: replaced, not deleted: ConflictException: an association uses it
    {arn(4)}
    changed {LATER} by run {SECOND}

history
  {LATER}  replace    {arn(8)}  (run {SECOND})
  {LATER}  keep       {arn(4)}  ConflictException: an association uses it  (run {SECOND})
"""
MOVED_TWO = f"""\
name      moved two
target    east (123456789012 us-east-1)
state     created
arn       {arn(5)}
digest    {"d" * 64}
tags      {"t" * 64} (digest)
attempt   a1, sent {AT}
changed   {AT} by run {FIRST}

replacement
  state     failed (replacement)
  reason    ValidationException: no such image
  digest    {"d" * 64}
  tags      {"t" * 64} (digest)
  attempt   a2, sent {AT}
  changed   {LATER} by run {SECOND}
"""
HOSTILE_SHOWN = f"""\
name      {HOSTILE.encode("unicode_escape").decode()}
target    west
state     created
arn       {arn(7)}
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a ledger that all tests here read."""
    folder = tmp_path_factory.mktemp("ledger")
    make(folder / "ledger.db")
    return folder


@pytest.mark.parametrize("name", ["moved", arn(8), arn(4)])
def test_an_entry_with_earlier_algorithms(directory: Path, name: str) -> None:
    """By name, by its ARN, and by the ARN that was replaced: the entry, what it had before and why, its history."""
    done = provisioner("show", name, cwd=directory)

    assert (done.returncode, done.stdout, done.stderr) == (0, MOVED, "")


def test_a_replacement_that_failed(directory: Path) -> None:
    """The entry keeps its algorithm; the replacement stands beside it with its reason."""
    done = provisioner("show", "moved two", cwd=directory)

    assert done.stdout.startswith(MOVED_TWO)
    assert done.stdout.removeprefix(MOVED_TWO) == (
        f"\nhistory\n  {LATER}  reject     ValidationException: no such image  (run {SECOND})\n"
    )


def test_no_name_controls_the_terminal(directory: Path) -> None:
    """Escapes and changes of direction in a name are made visible; in JSON the name is exact."""
    text = provisioner("show", HOSTILE, cwd=directory)
    found = json.loads(provisioner("show", HOSTILE, "--output", "json", cwd=directory).stdout)

    assert text.stdout.startswith(HOSTILE_SHOWN)
    assert found["entry"]["name"] == HOSTILE


def test_json_of_one_entry(directory: Path) -> None:
    """One object: entry, replacement, versions, events and the exit code."""
    done = provisioner("show", "moved", "--output", "json", cwd=directory)

    found = json.loads(done.stdout)
    assert list(found) == ["entry", "replacement", "versions", "events", "exit_code"]
    assert (found["entry"]["arn"], found["replacement"], found["exit_code"]) == (arn(8), None, 0)
    (version,) = found["versions"]
    assert {key: version[key] for key in ("arn", "role", "reason", "code", "message", "deletion")} == {
        "arn": arn(4),
        "role": "superseded",
        "reason": "replaced",
        "code": "ConflictException",
        "message": "an association uses it",
        "deletion": "",
    }
    assert [(event["event"], event["arn"], event["attempt"], event["at"]) for event in found["events"]] == [
        ("replace", arn(8), "a2", LATER),
        ("keep", arn(4), "", LATER),
    ]


def test_a_name_in_several_targets(directory: Path) -> None:
    """Each target that has the name is shown; in JSON they are the entries of one object, and --target names one."""
    text = provisioner("show", "plain", cwd=directory)
    both = json.loads(provisioner("show", "plain", "--output", "json", cwd=directory).stdout)
    west = json.loads(provisioner("show", "plain", "-t", "west", "--output", "json", cwd=directory).stdout)

    assert [line.split()[1] for line in text.stdout.splitlines() if line.startswith("target")] == ["east", "west"]
    assert [shown["entry"]["target"] for shown in both["entries"]] == ["east", "west"]
    assert (both["exit_code"], west["entry"]["arn"]) == (0, arn(6))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("movd",), "the ledger has no entry 'movd'. Did you mean 'moved' or 'moved two'?"),
        (("MOVED",), "the ledger has no entry 'MOVED'. Did you mean 'moved' or 'moved two'?"),
        (("bad 9",), "the ledger has no entry 'bad 9'. Did you mean 'bad 0', 'bad 1' or 'bad 2'?"),
        (("xyzzy",), "the ledger has no entry 'xyzzy'. `provisioner list` lists them"),
        (("moved", "-t", "west"), "the ledger has no entry 'moved'. `provisioner list` lists them"),
        (("\x1b[2J",), r"the ledger has no entry '\x1b[2J'. `provisioner list` lists them"),
        ((arn(99),), f"{arn(99)}: no entry has or had this algorithm. `provisioner verify` looks for it in AWS"),
    ],
)
def test_an_unknown_name(directory: Path, arguments: tuple[str, ...], message: str) -> None:
    """It is wrong usage (2), and the nearest names are suggested."""
    done = provisioner("show", *arguments, cwd=directory)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"provisioner: {message}\n")


def test_an_unknown_name_among_names_of_the_same_characters(tmp_path: Path) -> None:
    """Of numbered names, those are suggested that differ in one place, not those that have the same digits."""
    make(tmp_path / "ledger.db")
    multiply(tmp_path / "ledger.db", 3000)

    done = provisioner("show", "nO123", cwd=tmp_path)

    assert done.stderr.endswith("Did you mean 'n0123', 'n1123' or 'n2123'?\n")


def test_a_forgotten_entry_has_its_history(tmp_path: Path) -> None:
    """What was forgotten is still found, by name and by ARN, as long as its history is kept."""
    make(tmp_path / "ledger.db")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute("DELETE FROM entries WHERE name = 'found'")

    text = provisioner("show", "found", cwd=tmp_path)
    by_arn = json.loads(provisioner("show", arn(2), "--output", "json", cwd=tmp_path).stdout)

    assert "state     forgotten: only its history is left" in text.stdout
    assert (by_arn["entry"], [event["event"] for event in by_arn["events"]]) == (None, ["doubt", "confirm"])


def test_the_request_id_of_a_create_is_kept(tmp_path: Path) -> None:
    """What support asks for: the id of the reply to a create, whether it was created, refused or left unanswered."""
    lines = [json.dumps({"name": name, "roleArn": "arn:aws:iam::123456789012:role/a"}) for name in ("a", "b", "c")]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    (tmp_path / "c.toml").write_text("[local]\nscript = ['ok', 'denied_role', 'error']\n[run]\nmax_in_flight = 1\n")
    provisioner("apply", "m.jsonl", "--local", "--no-wait", "-c", "c.toml", cwd=tmp_path)

    shown = [json.loads(provisioner("show", name, "--output", "json", cwd=tmp_path).stdout) for name in ("a", "b", "c")]
    text = provisioner("show", "a", cwd=tmp_path).stdout

    ids = [one["entry"]["request_id"] for one in shown]
    assert [one["entry"]["state"] for one in shown] == ["created", "failed", "ambiguous"]
    assert all(re.fullmatch(r"[0-9a-f]{8}-0000-4000-8000-[0-9a-f]{12}", request_id) for request_id in ids), ids
    assert len(set(ids)) == 3
    assert [one["events"][0]["request_id"] for one in shown[1:]] == ids[1:]
    assert f"\nrequest   {ids[0]}\n" in text
