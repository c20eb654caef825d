"""``verify MANIFEST...``: what is defined, what the ledger has, and what AWS has, through the real process."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.definition_lines import lines_of
from tests.e2e.process import provisioner

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., subprocess.CompletedProcess[str]]

CONFIG = """\
[defaults]
templates = true
tags = { team = "ads" }
[targets.east]
region = "us-east-1"
account_id = "111111111111"
[targets.west]
region = "us-west-2"
account_id = "222222222222"
"""


def one(name: str, **more: Any) -> dict[str, Any]:
    """A definition whose role is of the target's account."""
    return {"name": name, "roleArn": "arn:aws:iam::{account_id}:role/access", **more}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two targets in which the same manifest is registered; no test changes that."""
    path = tmp_path_factory.mktemp("verify")
    (path / "provisioner.toml").write_text(CONFIG)
    (path / "m.jsonl").write_bytes(lines_of(one("a"), one("b"), one("c"), one("only east", targets=["east"])))
    done = provisioner("apply", "m.jsonl", "--local", cwd=path)
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def shown(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The findings of the text form, each without its ARN."""
    return [line.partition("arn:aws:")[0] for line in done.stdout.splitlines()[2:-1]]


def test_a_manifest_that_is_registered_in_each_of_its_targets(folder: Path) -> None:
    """After templates and defaults, and only in the targets that a line is for; nothing but reading is done."""
    done = provisioner("verify", "m.jsonl", "--local", "--output", "json", cwd=folder)
    found = json.loads(done.stdout)

    assert (done.returncode, found["findings"]) == (0, [])
    assert (found["manifest"], found["outcomes"]["unchanged"]) == ({"lines": 4, "valid": 4, "invalid": 0}, 7)
    assert {kind for kind, number in found["calls"].items() if number} == {"list", "get_resources"}


def test_what_the_manifest_adds_changes_and_lacks(folder: Path) -> None:
    """A line for each, by target in the order of the configuration, with source and line; from several sources."""
    (folder / "1.jsonl.gz").write_bytes(gzip.compress(lines_of(one("a"), one("b", description="new"))))
    piped = lines_of(one("d"), one("only east", tags={"team": "x"}))
    done = provisioner("verify", "1.jsonl.gz", "-", "--local", cwd=folder, stdin=piped)
    again = provisioner("runs", "last", cwd=folder)

    assert done.returncode == 3, done.stdout + done.stderr
    assert shown(done) == [
        "changed      east: b: ",
        "unregistered east: d: -:1: it is not registered; `apply` registers it",
        "changed      east: only east: ",
        "orphaned     east: c: ",
        "changed      west: b: ",
        "unregistered west: d: -:1: it is not registered; `apply` registers it",
        "unregistered west: only east: -:2: it is not registered; `apply` registers it",
        "orphaned     west: c: ",
    ]
    assert done.stdout.splitlines()[1] == "manifest     4 lines, 4 valid, 0 invalid"
    assert done.stdout.splitlines()[-1] == "8 findings"
    message = "its definition in the manifest differs from the one that is registered; "
    assert f": 1.jsonl.gz:2: {message}`apply --on-change replace` replaces it\n" in done.stdout
    assert "manifest  4 lines, 4 valid, 0 invalid\nfound     3 changed, 3 unregistered, 2 orphaned\n" in again.stdout
    assert "\n  -:1: d: unregistered: it is not registered; `apply` registers it  (east)\n" in again.stdout


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--name", "b*", "-t", "west"), {"b"}),
        (("--state", "created", "-t", "east"), {"b", "c"}),
        (("--code", "recovered"), set()),
        (("--run", "last", "-t", "west"), {"b", "c"}),
        (("--since", "1h", "-t", "west"), {"b", "c"}),
    ],
)
def test_a_selection_limits_what_is_compared(folder: Path, options: tuple[str, ...], names: set[str]) -> None:
    """Of the definitions as of the entries; what the ledger does not know has no state, run, time or code."""
    manifest = lines_of(one("a"), one("b", description="new"), one("d"), one("only east", targets=["east"]))
    done = provisioner("verify", "-", "--local", "--output", "json", *options, cwd=folder, stdin=manifest)

    assert {finding["name"] for finding in json.loads(done.stdout)["findings"]} == names
    assert done.returncode == (3 if names else 0)


def test_invalid_lines_are_reported_once(folder: Path) -> None:
    """Exit 65 with the messages that every command has; valid lines are compared, and nothing is called orphaned."""
    manifest = lines_of(one("a"), one("d")) + b'{"name": 3}\n{\n'
    done = provisioner("verify", "-", "--local", cwd=folder, stdin=manifest)
    found = json.loads(provisioner("verify", "-", "--local", "--output", "json", cwd=folder, stdin=manifest).stdout)

    assert done.returncode == found["exit_code"] == 65
    assert done.stdout.splitlines()[1:] == [
        "manifest     4 lines, 2 valid, 2 invalid",
        "unregistered east: d: -:2: it is not registered; `apply` registers it",
        "unregistered west: d: -:2: it is not registered; `apply` registers it",
        "problems     3",
        "  -:3: missing: roleArn: required field is missing; add it",
        "  -:3: wrong_type: name: must be a string, not a number; write a string",
        "  -:4: invalid_json: expected a key in double quotes, found the end of the line",
        "2 findings",
    ]
    assert [problem["line"] for problem in found["problems"]] == [3, 3, 4]
    assert found["findings"][0] == {
        "kind": "unregistered",
        "target": "east",
        "name": "d",
        "arn": "",
        "message": "it is not registered; `apply` registers it",
        "source": "-",
        "line": 2,
    }


def test_a_manifest_that_cannot_be_read(folder: Path) -> None:
    """The same message and exit code as for apply; nothing is compared."""
    done = provisioner("verify", "nowhere.jsonl", "--local", cwd=folder)

    assert done.returncode == 2
    assert done.stdout.splitlines()[-1] == "not compared"
    assert "nowhere.jsonl" in done.stdout
